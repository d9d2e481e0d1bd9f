"""Programs under test: each has an environment of its own, writes its output to files, and always ends."""

import contextlib
import importlib.util
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import httpx2

Stream = Literal["stdout", "stderr"]
Found = TypeVar("Found")

POLL_INTERVAL = 0.02
PORTS = (15_000, 32_000)
TAIL = 2000


class HarnessError(Exception):
    """A real part did not do what the harness asked of it: the message tells what the program said."""


class PartMissing(HarnessError):
    """A real part is not installed here: the message tells how to get it."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    It lies below the range that systems give to outgoing connections, so that none of these takes it while
    its owner restarts; a client that retries a closed port of that range can even connect to itself.
    """

    def probe() -> int | None:
        port = random.randrange(*PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
        return None

    return eventually(probe, within=5.0, what="looking for a free port")


def eventually(probe: Callable[[], Found | None], *, within: float, what: str) -> Found:
    """The first answer of `probe` that is not None; HarnessError when none came `within` so many seconds."""
    deadline = time.monotonic() + within
    while (found := probe()) is None:
        if time.monotonic() > deadline:
            raise HarnessError(f"{what}: nothing within {within:g} s")
        time.sleep(POLL_INTERVAL)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    if sys.platform == "linux":
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip()[:1] not in {"", "Z"}


class Process:
    """One program, started by `start()` or `with`, and never left behind.

    Its output goes to `NAME.stdout` and `NAME.stderr` in `directory`, appended when the same name runs again.
    Its whole environment is `env`. It leads a process group of its own, so that an interrupt meant for the
    tests does not reach it and its workers end with it. Where `setpriv` exists, the kernel sends it `leash`
    should the tests die first; the kernel watches the *thread* that called `start()`, so start it in one that
    lives long enough. The `wait_for_…` methods and `stop` block, and may run in any thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        env: Mapping[str, str],
        name: str = "process",
        user: str | None = None,
        leash: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._directory = directory
        self.environment = dict(env)
        self._user = user
        self._leash = leash
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id; HarnessError when it was never started."""
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; the negative signal number when a signal ended it."""
        child = self._started()
        if child.returncode is not None or not hasattr(os, "waitid"):
            return child.poll()
        # Looked at without being reaped: until `kill` has ended its group, its id must not go to another.
        seen = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if seen is None:
            return None
        return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status

    @property
    def stdout(self) -> str:
        """All it printed so far."""
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        """All it complained of so far."""
        return self._read("stderr")

    def path(self, stream: Stream) -> Path:
        """The file that keeps `stream`."""
        return self._directory / f"{self.name}.{stream}"

    def start(self) -> Self:
        """Starts it, without waiting until it is ready."""
        with self.path("stdout").open("ab") as stdout, self.path("stderr").open("ab") as stderr:
            self._child = subprocess.Popen(
                [*_leashed(self._leash), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self._directory,
                env=self.environment,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [],
                start_new_session=True,
            )
        return self

    def wait_for_line(self, pattern: str, *, within: float = 30.0, stream: Stream = "stdout") -> re.Match[str]:
        """The first match of `pattern` in the output; HarnessError when it ended or stayed silent."""
        expression = re.compile(pattern, re.MULTILINE)

        def probe() -> re.Match[str] | None:
            # Asked before reading, so that the last words of a program that ends now are still read.
            ended = self.returncode is not None
            match = expression.search(self._read(stream))
            if match is None and ended:
                raise self._ended_early()
            return match

        return eventually(probe, within=within, what=f"{self.name}: waiting for a line like {pattern!r}")

    def wait_for_http(self, url: str, *, within: float = 30.0) -> None:
        """Returns when a GET of `url` is answered with 2xx; HarnessError when it ended or never did."""

        def probe() -> bool | None:
            if self.returncode is not None:
                raise self._ended_early()
            try:
                return httpx2.get(url, timeout=2.0, trust_env=False).is_success or None
            except httpx2.TransportError:
                return None

        eventually(probe, within=within, what=f"{self.name}: waiting for its first good answer")

    def wait(self, *, within: float = 30.0) -> int:
        """Its exit code, once it has ended by itself; HarnessError when it goes on."""
        return eventually(lambda: self.returncode, within=within, what=f"{self.name}: waiting for its end")

    def stop(self, first: signal.Signals = signal.SIGTERM, *, within: float = 10.0) -> int | None:
        """Sends `first`, after `within` seconds SIGKILL; its exit code, None when it was never started."""
        if self._child is None:
            return None
        if self.returncode is None:
            os.kill(self._child.pid, first)
            with contextlib.suppress(HarnessError):
                self.wait(within=within)
        self.kill()
        return self._child.returncode

    def kill(self) -> None:
        """Ends it and all that is left of its process group at once, as a power cut would."""
        child = self._started()
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise HarnessError(f"{self.name} was never started")
        return self._child

    def _ended_early(self) -> HarnessError:
        said = (self.stderr or self.stdout)[-TAIL:]
        return HarnessError(f"{self.name} ended with exit code {self.returncode}:\n{said}")

    def _read(self, stream: Stream) -> str:
        return self.path(stream).read_text("utf-8", "replace")


def grantkeeper(
    *arguments: str,
    directory: Path,
    env: Mapping[str, str] | None = None,
    name: str = "grantkeeper",
) -> Process:
    """The command line of the package that the tests import, not yet started.

    HOME is an empty folder below `directory`. Of the tests' own environment only what finds programs and says
    the language reaches it; `env` comes on top.
    """
    home = directory / f"{name}.home"
    home.mkdir(exist_ok=True)
    return Process(
        [sys.executable, "-m", "grantkeeper.cli", *arguments],
        directory=directory,
        env={**clean_environment(), "HOME": str(home), "PYTHONPATH": _package_root(), **(env or {})},
        name=name,
        leash=signal.SIGTERM,
    )


def clean_environment() -> dict[str, str]:
    """What a program needs of the tests' environment: where programs are and which language to speak."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _package_root() -> str:
    spec = importlib.util.find_spec("grantkeeper")
    if spec is None or spec.origin is None:
        raise HarnessError("the package grantkeeper is not installed here: `make test` installs it")
    return str(Path(spec.origin).parent.parent)


def _leashed(sent: signal.Signals) -> list[str]:
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", sent.name.removeprefix("SIG"), "--"] if setpriv else []
