"""The token endpoint as the measurements see it: a process, what it has answered, and its own ceiling."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from bench.load import load
from bench.processes import ROOT, answers, cpu_seconds, running
from tests.support.process import free_port

_SECONDS = 2
_CONNECTIONS = 64


class Endpoint:
    """The token endpoint's process."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self._families = 1_000_000_000

    def refreshed(self) -> int:
        """How many refreshes it has answered; SystemExit where a spent token was ever used."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/counts", timeout=5) as answer:
            counts = json.load(answer)
        if counts["spent"]:
            raise SystemExit(f"{counts['spent']} refresh tokens were used twice")
        return int(counts["refreshed"])

    def ceiling(self) -> tuple[float, float]:
        """Refreshes a second that it answers wrk, and its own CPU seconds for each."""
        before, spent = self.refreshed(), cpu_seconds(self.pid)
        script = [str(ROOT / "bench" / "token_endpoint.lua"), "--", str(self._families)]
        sample = load(f"http://127.0.0.1:{self.port}/token", _SECONDS, _CONNECTIONS, script=script)
        done = self.refreshed() - before
        self._families += done + 1000
        return sample.rate, (cpu_seconds(self.pid) - spent) / done


@contextmanager
def token_endpoint() -> Iterator[Endpoint]:
    """A fresh one."""
    port = free_port()
    with running([sys.executable, "-m", "bench.token_endpoint", str(port)], {}, answers(port)) as process:
        yield Endpoint(port, process.pid)
