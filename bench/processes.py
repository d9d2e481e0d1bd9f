"""Programs that a measurement starts, and ends by their pid; and the CPU they use."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1
_PATIENCE = 30.0


@contextmanager
def running(
    command: list[str], environment: dict[str, str], ready: Callable[[], bool], log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process once `ready` answers true; SystemExit where it ends before that, or is not ready in 30 seconds.

    Its standard error goes to `log`. It is asked to end (SIGTERM) and, after 30 seconds, killed.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRANTKEEPER_")}
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH") or f"{ROOT}:{ROOT / 'src'}"}
    with (
        Path(log or os.devnull).open("wb") as errors,
        subprocess.Popen(
            command, env=inherited | path | environment, cwd=ROOT, stderr=errors, stdout=subprocess.DEVNULL
        ) as process,
    ):
        try:
            _wait(process, ready)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        if ready():
            return
        time.sleep(0.005)
    raise SystemExit(f"{process.args!r} is not ready")


def answers(port: int) -> Callable[[], bool]:
    """Whether a server answers `/health` on that port of 127.0.0.1."""

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except OSError:
            return False

    return ready


def says(log: Path, event: str) -> Callable[[], bool]:
    """Whether a process has logged that event."""
    return lambda: f'"event":"{event}"' in log.read_text("utf-8")


def resident(pid: int) -> float:
    """Megabytes in memory, of the one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    """User and system time of a living process with all its threads, to the nanosecond.

    The clock of another process, as clock_getcpuclockid(3) makes it: /proc/PID/stat counts in steps of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def family_cpu_seconds(pid: int) -> float:
    """The same of a process and its children, those that have ended included."""
    total = sum(_ticks(pid)[13:15]) / os.sysconf("SC_CLK_TCK")
    for child in (pid, *_children(pid)):
        try:
            total += cpu_seconds(child)
        except OSError:
            continue
    return total


def machine_seconds() -> tuple[float, float]:
    """CPU seconds of the whole machine so far: spent by anybody here, and taken by the hypervisor for other guests."""
    first = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, softirq, stolen = (int(value) for value in first)
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, stolen / tick


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if _ticks(int(folder.name))[1] == pid:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def _ticks(pid: int) -> list[int]:
    """The fields of /proc/PID/stat after the state: [1] is the parent, [13:15] the CPU of children that ended."""
    _state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [0, *(int(value) for value in rest)]
