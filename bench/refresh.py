"""Refreshes a second against a token endpoint on this machine, where the CPU goes, and database round trips.

Each round measures the endpoint's own ceiling (wrk in the workers' place) and then every case. A case is
`grantkeeper worker`, once or four times, on a database full of due connections; what is measured is a window in
the middle, when every process runs. The same cores carry workers, database and endpoint.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.endpoint import Endpoint, token_endpoint
from bench.many import Many, add_refreshable, create, make_due
from bench.processes import CORES, cpu_seconds, family_cpu_seconds, machine_seconds, running, says
from bench.server import BenchServer
from bench.trips import relaying
from tests.support.process import free_port

STORED = 24_000
WORKER = [sys.executable, "-m", "grantkeeper", "worker"]
_WARM = 1.0
_PATIENCE = 30.0


class Case(NamedTuple):
    """How many workers, and how many refreshes at one time in each; None: the product's default."""

    engine: str
    processes: int
    concurrency: int | None = None


class Window(NamedTuple):
    """What passed in a stretch of seconds: refreshes, database round trips, and CPU seconds by who spent them.

    `elsewhere` is what others on this machine spent, and what the hypervisor gave to other guests.
    """

    seconds: float
    refreshes: int
    trips: int
    worker: float
    database: float
    endpoint: float
    elsewhere: float

    @property
    def rate(self) -> float:
        """Refreshes a second."""
        return self.refreshes / self.seconds

    @property
    def costs(self) -> tuple[float, float, float]:
        """CPU microseconds of workers, database and endpoint for each refresh."""
        worker, database, endpoint = self.worker, self.database, self.endpoint
        return worker / self.refreshes * 1e6, database / self.refreshes * 1e6, endpoint / self.refreshes * 1e6

    @property
    def spent(self) -> float:
        """CPU seconds of all three."""
        return self.worker + self.database + self.endpoint

    @property
    def allowed(self) -> float:
        """Refreshes a second, were all cores busy with them all the time at the same cost each."""
        return self.refreshes * CORES / self.spent

    @property
    def busy(self) -> float:
        """How much of the cores was busy with refreshing: the rate, of what is allowed."""
        return self.spent / self.seconds / CORES

    @property
    def busy_of_the_rest(self) -> float:
        """The same, of what `elsewhere` left."""
        return self.spent / max(self.spent, self.seconds * CORES - self.elsewhere)


class Bench:
    """The endpoint and a database of each engine, for as many cases as wanted."""

    def __init__(self, directory: Path, postgres: BenchServer, endpoint: Endpoint) -> None:
        self._directory = directory
        self._postgres = postgres
        self._endpoint = endpoint
        self._databases: dict[str, Many] = {}
        for number, engine in enumerate(("postgresql", "sqlite")):
            home = directory / f"refresh-{engine}"
            url = postgres.create_database() if engine == "postgresql" else f"sqlite:///{home}/grantkeeper.sqlite3"
            self._databases[engine] = create(home, url, endpoint.port)
            add_refreshable(self._databases[engine], STORED, number * STORED)

    def window(self, case: Case, seconds: float) -> Window:
        """Run a case and measure at most `seconds` in its middle; prove that everything given was stored."""
        many = self._databases[case.engine]
        return self._run(case, many.environment, seconds, lambda: 0)

    def trips(self, case: Case, seconds: float) -> float:
        """Database round trips for each refresh: the same with a relay between, that counts."""
        port = free_port()
        with relaying(port, self._postgres.port) as relay:
            many = self._databases[case.engine]
            # The relay reads along: no TLS, which PostgreSQL would be asked for first.
            url = many.url.replace(f":{self._postgres.port}/", f":{port}/") + "?sslmode=disable"
            environment = many.environment | {"GRANTKEEPER_DATABASE_URL": url}
            window = self._run(case, environment, seconds, lambda: relay.trips)
        return window.trips / window.refreshes

    def _run(self, case: Case, environment: dict[str, str], seconds: float, trips: Callable[[], int]) -> Window:
        many = self._databases[case.engine]
        make_due(many)
        generations, refreshed = _generations(many), self._endpoint.refreshed()
        if case.concurrency is not None:
            environment = environment | {"GRANTKEEPER_WORKER_CONCURRENCY": str(case.concurrency)}
        with ExitStack() as stack:
            logs = [self._directory / f"worker-{number}.log" for number in range(case.processes)]
            pids = [stack.enter_context(running(WORKER, environment, lambda: True, log)).pid for log in logs]
            _until_all_work(logs)
            window = self._measure(pids, case.engine, refreshed, seconds, trips)
        stored, given = _generations(many) - generations, self._endpoint.refreshed() - refreshed
        if stored != given:
            raise SystemExit(f"{case}: the endpoint gave {given} token sets, {stored} are stored")
        return window

    def _measure(
        self, pids: Sequence[int], engine: str, refreshed: int, seconds: float, trips: Callable[[], int]
    ) -> Window:
        def look() -> tuple[float, ...]:
            database = family_cpu_seconds(self._postgres.pid) if engine == "postgresql" else 0.0
            counts = (self._endpoint.refreshed(), trips())
            return (*counts, sum(map(cpu_seconds, pids)), database, cpu_seconds(self._endpoint.pid), *machine_seconds())

        began, before = time.monotonic(), look()
        # The last connections are few: not all workers would have something to do.
        while time.monotonic() < began + seconds and self._endpoint.refreshed() - refreshed < STORED * 0.9:
            time.sleep(0.1)
        after, passed = look(), time.monotonic() - began
        if passed < min(1.0, seconds):
            raise SystemExit(f"{STORED} connections are too few for these workers")
        refreshes, turns, worker, database, endpoint, busy, stolen = (b - a for a, b in zip(before, after, strict=True))
        elsewhere = max(0.0, busy - worker - database - endpoint) + stolen
        return Window(passed, int(refreshes), int(turns), worker, database, endpoint, elsewhere)


def _until_all_work(logs: Sequence[Path]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not all(says(log, "worker.started")() for log in logs):
        if time.monotonic() > deadline:
            raise SystemExit("the workers do not start")
        time.sleep(0.02)
    time.sleep(_WARM)


def _generations(many: Many) -> int:
    ((total,),) = many.ask("SELECT sum(generation) FROM connections")
    return int(total)


def measure(
    directory: Path, postgres: BenchServer, rounds: int, seconds: float, concurrencies: Sequence[int | None]
) -> None:
    """Every case in every round; print tables."""
    kinds = (("postgresql", 1), ("postgresql", 4), ("sqlite", 1))
    cases = [Case(engine, processes, places) for engine, processes in kinds for places in concurrencies]
    windows: dict[Case, list[Window]] = {case: [] for case in cases}
    ceilings: list[tuple[float, float]] = []
    with token_endpoint() as endpoint:
        endpoint.ceiling()
        bench = Bench(directory, postgres, endpoint)
        for _ in range(rounds):
            ceilings.append(endpoint.ceiling())
            for case in cases:
                windows[case].append(bench.window(case, seconds))
        shipped = [case for case in cases if case.engine == "postgresql" and case.concurrency is None]
        trips = [(case, bench.trips(case, seconds)) for case in shipped]
    _print(windows, ceilings, seconds)
    print("\n| background path, PostgreSQL | database round trips for each refresh |")
    print("|---|---:|")
    for case, count in trips:
        print(f"| {_name(case)} | {count:.2f} |")


def _print(windows: dict[Case, list[Window]], ceilings: Sequence[tuple[float, float]], seconds: float) -> None:
    rate, cost = (statistics.median(values) for values in zip(*ceilings, strict=True))
    print(
        f"\nThe token endpoint by itself: {rate:,.0f} answers/s, {cost * 1e6:.0f} µs of CPU each. "
        f"Median of {len(ceilings)} rounds of {seconds:g} s, {CORES} cores.\n"
    )
    print(
        "| workers | refreshes/s (lowest to highest) | of the endpoint's ceiling | CPU µs each: worker | database "
        "| endpoint | what the cores allow, /s | reached (lowest to highest) | reached, of what others left |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for case, found in windows.items():
        rates = [window.rate for window in found]
        share = statistics.median(a / b for a, (b, _) in zip(rates, ceilings, strict=True))
        busy = [window.busy for window in found]
        costs = map(statistics.median, zip(*(window.costs for window in found), strict=True))
        cells = [
            f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
            f"{share:.1%}",
            *(f"{each:,.0f}" if each else "in the worker" for each in costs),
            f"{statistics.median(window.allowed for window in found):,.0f}",
            f"{statistics.median(busy):.0%} ({min(busy):.0%} to {max(busy):.0%})",
            f"{statistics.median(window.busy_of_the_rest for window in found):.0%}",
        ]
        print(f"| {_name(case)} | {' | '.join(cells)} |")


def _name(case: Case) -> str:
    places = "as shipped" if case.concurrency is None else f"{case.concurrency} places"
    return f"{case.engine}, {case.processes}, {places}"
