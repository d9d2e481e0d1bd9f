"""What a million stored connections cost while nothing is due, and when a thousand of them fall due.

The same is measured with ten thousand, in alternation; what counts is the ratio.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.many import PROVIDER, Many, add_stored, create
from bench.processes import cpu_seconds, running, says
from bench.server import BenchServer
from grantkeeper.app import Services, open_services
from grantkeeper.clock import DAY, HOUR, MINUTE, SystemClock

SIZES = (10_000, 1_000_000)
DUE = 1_000
_WARM = 3.0
_NO_PORT = 9
WORKER = [sys.executable, "-m", "grantkeeper", "worker"]


class Stored(NamedTuple):
    """A database of one size; `due` are the instants at each of which a thousand connections fall due."""

    many: Many
    size: int
    due: list[int]


class Idle(NamedTuple):
    """CPU milliseconds a minute while nothing is due."""

    worker: float
    database: float


def measure(directory: Path, postgres: BenchServer, rounds: int, idle_seconds: float) -> None:
    """Fill, measure both, print a table."""
    stores = [_fill(directory, postgres, engine, size, rounds) for engine in ("postgresql", "sqlite") for size in SIZES]
    idle = _idle(directory, stores, idle_seconds)
    claims = _claims(stores, rounds)
    print(f"\n{DUE:,} due connections, spread evenly among those stored; median of {rounds} rounds\n")
    print("| engine | stored | idle worker, CPU ms a minute | database for it, ms | time to claim, ms | ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    for number, (stored, times) in enumerate(zip(stores, claims, strict=True)):
        ratio = statistics.median(b / a for a, b in zip(claims[number // 2 * 2], times, strict=True))
        database = f"{idle[number].database:.1f}" if stored.many.engine == "postgresql" else "in the worker"
        took = f"{statistics.median(times) * 1000:.0f} ({min(times) * 1000:.0f} to {max(times) * 1000:.0f})"
        about = f"| {stored.many.engine} | {stored.size:,} | {idle[number].worker:.1f} | {database}"
        print(f"{about} | {took} | {ratio:.2f} |")


def _fill(directory: Path, postgres: BenchServer, engine: str, size: int, rounds: int) -> Stored:
    home = directory / f"scale-{engine}-{size}"
    url = postgres.create_database() if engine == "postgresql" else f"sqlite:///{home}/grantkeeper.sqlite3"
    many = create(home, url, _NO_PORT)
    # Tomorrow: due for the store, which is told the time, and not for the idle workers.
    first = SystemClock().now() + DAY
    due = [first + number * HOUR for number in range(rounds)]
    add_stored(many, size, [(instant, DUE) for instant in due])
    many.tidy()
    return Stored(many, size, due)


def _idle(directory: Path, stores: list[Stored], seconds: float) -> list[Idle]:
    """All at the same time: they hardly do anything, and CPU seconds are counted by process."""
    with ExitStack() as stack:
        pids = []
        for number, stored in enumerate(stores):
            log = directory / f"idle-{number}.log"
            process = running(WORKER, stored.many.environment, says(log, "worker.started"), log)
            pids.append(stack.enter_context(process).pid)
        time.sleep(_WARM)
        backends = [_backends(stored.many) for stored in stores]
        began, before = time.monotonic(), _spent(pids, backends)
        time.sleep(seconds)
        after, passed = _spent(pids, backends), time.monotonic() - began
    factor = 60_000 / passed
    return [
        Idle((b.worker - a.worker) * factor, (b.database - a.database) * factor)
        for a, b in zip(before, after, strict=True)
    ]


def _spent(pids: list[int], backends: list[list[int]]) -> list[Idle]:
    return [Idle(cpu_seconds(pid), sum(map(cpu_seconds, own))) for pid, own in zip(pids, backends, strict=True)]


def _backends(many: Many) -> list[int]:
    """The processes of PostgreSQL that serve this database's worker."""
    if many.engine == "sqlite":
        return []
    rows = many.ask(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'grantkeeper'"
    )
    return [row[0] for row in rows]


def _claims(stores: list[Stored], rounds: int) -> list[list[float]]:
    """Seconds to claim a thousand, for each database and round; the databases take turns."""
    return asyncio.run(_claim_in_turns(stores, rounds))


async def _claim_in_turns(stores: list[Stored], rounds: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in stores]
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(open_services(stored.many.settings)) for stored in stores]
        for number in range(rounds):
            for found, opened, stored in zip(times, services, stores, strict=True):
                found.append(await _claim(opened, stored.due[number]))
    return times


async def _claim(services: Services, now: int) -> float:
    """Seconds to claim what is due at that instant; it does not fall due again."""
    # No provider may be asked by so many at one time; here that is not what is measured.
    policy = msgspec.structs.replace(services.clients.policy(PROVIDER), concurrency=10 * DUE)
    began = time.perf_counter()
    claims = await services.refreshes.claim_due(PROVIDER, policy, "bench", now, now + MINUTE, DUE)
    passed = time.perf_counter() - began
    if len(claims) != DUE:
        raise SystemExit(f"{len(claims)} connections were claimed, not {DUE}")
    # A claim may leave them due, or due again when the lease ends.
    await services.database.execute(
        "UPDATE connections SET next_refresh_at = NULL WHERE next_refresh_at BETWEEN :now AND :until",
        now=now,
        until=now + MINUTE,
    )
    return passed
