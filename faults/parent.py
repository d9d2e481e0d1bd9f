"""The parent of the processes under test: has the product imported, and forks one on every order.

Starting Python with the product costs a second of processor time, a fork hundredths of it. Orders come as JSON
lines on standard input; when it ends, so do all children. Nothing of the product runs in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
from typing import Any

from faults import injections

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve orders until there are none any more."""
    _preload()
    gc.collect()
    gc.freeze()
    children: set[int] = set()
    _answer({"ready": os.getpid()})
    try:
        while line := sys.stdin.readline():
            order = json.loads(line)
            if "reap" in order:
                _, status = os.waitpid(order["reap"], 0)
                children.discard(order["reap"])
                _answer({"status": os.waitstatus_to_exitcode(status)})
                continue
            pid = os.fork()
            if pid == 0:
                _become(order)
            children.add(pid)
            _answer({"pid": pid})
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _preload() -> None:
    """Everything that a worker or a server imports, also what commands import when they run."""
    package = importlib.import_module("grantkeeper")
    for module in pkgutil.walk_packages(package.__path__, "grantkeeper."):
        if not any(part in module.name for part in ("__main__", ".testing", ".migrations", ".demo")):
            importlib.import_module(module.name)
    for name in ("uvloop", "granian.server.embed", "httpx2", "asyncpg", "sqlite3"):
        importlib.import_module(name)
    # Reading the machine's certificate authorities takes a tenth of a second.
    with contextlib.suppress(AttributeError):
        importlib.import_module("grantkeeper.oauth.http")._tls()


def _answer(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _become(order: dict[str, Any]) -> None:
    """Be `grantkeeper COMMAND` with that environment; never returns."""
    code = 1
    try:
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDWR)
        for source, target in ((nothing, 0), (nothing, 1), (output, 2)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(order["environment"])
        injections.apply(order["injections"])
        sys.argv = ["grantkeeper", *order["command"]]
        importlib.import_module("grantkeeper.cli").main()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
