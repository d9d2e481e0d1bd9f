"""Requests a second of the API, latency, start-up and memory, as ratios within one run."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.load import Sample, load
from bench.processes import answers, resident, running
from bench.seed import Seeded, seed
from tests.support.postgres import PostgresServer
from tests.support.process import free_port

CONNECTIONS = 16


class Subject(NamedTuple):
    """Something to ask for."""

    name: str
    url: str
    token: str


def measure(directory: Path, postgres: PostgresServer, rounds: int, seconds: int) -> None:
    """The null handler before and after every subject, each round; print tables."""
    with ExitStack() as stack:
        null_port = free_port()
        command = [sys.executable, "-m", "bench.null_server", str(null_port)]
        stack.enter_context(running(command, {}, answers(null_port)))
        subjects, starts = [], []
        for engine in ("sqlite", "postgresql"):
            home = directory / f"api-{engine}"
            home.mkdir(mode=0o700)
            url = f"sqlite:///{home}/grantkeeper.sqlite3" if engine == "sqlite" else postgres.create_database()
            port = free_port()
            seeded = seed(home, url, port)
            command = [sys.executable, "-m", "grantkeeper", "serve"]
            began = time.monotonic()
            process = stack.enter_context(running(command, seeded.environment, answers(port)))
            starts.append((engine, time.monotonic() - began, resident(process.pid)))
            subjects += _subjects(engine, seeded, port)
        null = Subject("null handler", f"http://127.0.0.1:{null_port}/", "")
        _measure(null, subjects, rounds, seconds)
        _print_starts(starts)


def _subjects(engine: str, seeded: Seeded, port: int) -> list[Subject]:
    base = f"http://127.0.0.1:{port}/api/v1/oauth/connections"
    return [
        Subject(f"list of 15, {engine}", base, seeded.token),
        Subject(f"one token read, {engine}", f"{base}/{seeded.connection_uuid}/token", seeded.token),
    ]


def _measure(null: Subject, subjects: Sequence[Subject], rounds: int, seconds: int) -> None:
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in (null, *subjects)}
    ratios: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for subject in (null, *subjects):
        _load(subject, 1)
    for _ in range(rounds):
        for subject in subjects:
            before = _load(null, seconds)
            sample = _load(subject, seconds)
            after = _load(null, seconds)
            samples[null.name] += [before, after]
            samples[subject.name].append(sample)
            ratios[subject.name].append(sample.rate / ((before.rate + after.rate) / 2))
    print(f"\n{CONNECTIONS} connections, one process, median of {rounds} rounds of {seconds} s\n")
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
    return load(subject.url, seconds, CONNECTIONS, header)


def _print_starts(starts: Sequence[tuple[str, float, float]]) -> None:
    print("\n| engine | start to first answer, s | resident memory after start, MB |")
    print("|---|---:|---:|")
    for engine, seconds, megabytes in starts:
        print(f"| {engine} | {seconds:.2f} | {megabytes:.0f} |")
