"""`make bench`: requests a second, latency, start-up and memory, as ratios within one run.

The machine may be shared and noisy, so each round measures the null handler and every subject right
after one another; what is reported is the median over the rounds of subject / null handler.
Everything talks to 127.0.0.1, for a bounded time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.seed import Seeded, seed  # noqa: E402 - after the path is set
from tests.support.postgres import PostgresServer  # noqa: E402
from tests.support.process import free_port  # noqa: E402

CONNECTIONS = 16
LINE = re.compile(r"(50%|99%|Requests/sec:|Non-2xx or 3xx responses:)\s+(\S+)")


class Sample(NamedTuple):
    """One run of the load generator: answers a second, latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


class Subject(NamedTuple):
    """Something to ask for."""

    name: str
    url: str
    token: str


def main() -> int:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 21))
    parser.add_argument("--seconds", type=int, default=3, choices=range(1, 31))
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is missing: apt install wrk", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gk-bench-")))
        postgres = stack.enter_context(PostgresServer(durable=True))
        null_port = free_port()
        stack.enter_context(_process([sys.executable, "-m", "bench.null_server", str(null_port)], {}, null_port))
        subjects, starts = [], []
        for engine in ("sqlite", "postgresql"):
            home = directory / engine
            home.mkdir(mode=0o700)
            url = f"sqlite:///{home}/grantkeeper.sqlite3" if engine == "sqlite" else postgres.create_database()
            port = free_port()
            seeded = seed(home, url, port)
            command = [sys.executable, "-m", "grantkeeper", "serve"]
            began = time.monotonic()
            pid = stack.enter_context(_process(command, seeded.environment, port))
            starts.append((engine, time.monotonic() - began, _resident(pid)))
            subjects += _subjects(engine, seeded, port)
        _measure(Subject("null handler", f"http://127.0.0.1:{null_port}/", ""), subjects, arguments)
        _print_starts(starts)
    return 0


def _subjects(engine: str, seeded: Seeded, port: int) -> list[Subject]:
    base = f"http://127.0.0.1:{port}/api/v1/oauth/connections"
    return [
        Subject(f"list of 15, {engine}", base, seeded.token),
        Subject(f"one token read, {engine}", f"{base}/{seeded.connection_uuid}/token", seeded.token),
    ]


def _measure(null: Subject, subjects: Sequence[Subject], arguments: argparse.Namespace) -> None:
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in (null, *subjects)}
    ratios: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for subject in (null, *subjects):
        _load(subject, 1)
    for _ in range(arguments.rounds):
        for subject in subjects:
            before = _load(null, arguments.seconds)
            sample = _load(subject, arguments.seconds)
            after = _load(null, arguments.seconds)
            samples[null.name] += [before, after]
            samples[subject.name].append(sample)
            ratios[subject.name].append(sample.rate / ((before.rate + after.rate) / 2))
    print(f"\n{CONNECTIONS} connections, one process, median of {arguments.rounds} rounds of {arguments.seconds} s\n")
    print("| what | answers/s | of the null handler (lowest to highest) | p50 ms | p99 ms |")
    print("|---|---:|---:|---:|---:|")
    for subject in (null, *subjects):
        found = samples[subject.name]
        rate, p50, p99 = (statistics.median(values) for values in zip(*found, strict=True))
        share = ratios.get(subject.name)
        text = f"{statistics.median(share):.0%} ({min(share):.0%} to {max(share):.0%})" if share else "100%"
        print(f"| {subject.name} | {rate:,.0f} | {text} | {p50:.1f} | {p99:.1f} |")


def _load(subject: Subject, seconds: int) -> Sample:
    header = ["-H", f"Authorization: Bearer {subject.token}"] if subject.token else []
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", *header, subject.url]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    found = dict(LINE.findall(output))
    if "Non-2xx or 3xx responses:" in found:
        raise SystemExit(f"{subject.name}: wrong answers\n{output}")
    return Sample(float(found["Requests/sec:"]), _milliseconds(found["50%"]), _milliseconds(found["99%"]))


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


@contextmanager
def _process(command: list[str], environment: dict[str, str], port: int) -> Iterator[int]:
    """A server that has answered once; ended by its pid."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRANTKEEPER_")}
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    with subprocess.Popen(
        command, env=inherited | path | environment, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port, process)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.005)
    raise SystemExit(f"{process.args!r} does not answer")


def _resident(pid: int) -> float:
    """Megabytes in memory, of the one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _print_starts(starts: Sequence[tuple[str, float, float]]) -> None:
    print("\n| engine | start to first answer, s | resident memory after start, MB |")
    print("|---|---:|---:|")
    for engine, seconds, megabytes in starts:
        print(f"| {engine} | {seconds:.2f} | {megabytes:.0f} |")


if __name__ == "__main__":
    raise SystemExit(main())
