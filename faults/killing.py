"""`kill -9` of a random process at random points of the refresh."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections import Counter

from faults.examine import examine
from faults.ground import Ground
from faults.ledger import Spending
from faults.processes import Child
from faults.report import Row, spread

PROCESSES = 4
LONGEST_LIFE = 0.6
"""Seconds that a process goes on after its first refresh, at most, where it is killed at any time."""
PATIENCE = 3.0
"""Seconds to wait for the refresh at which a kill is aimed."""
LATEST = 0.003
"""Seconds after the answer, at most, of an aimed kill."""
SLOWEST = 0.04
"""Seconds that the provider takes at most."""

AIMS = {
    "start": "while starting",
    "any": "at any time",
    "unanswered": "between commit and answer",
    "answered": "0-3 ms after the answer",
}


class Killer:
    """Ends processes: some whenever it comes, some just after the provider's commit, before or after its answer."""

    def __init__(self, ground: Ground, rng: random.Random) -> None:
        self._ground = ground
        self._rng = rng
        self._aimed: dict[int, tuple[str, asyncio.Event]] = {}
        self.kills: Counter[str] = Counter()
        self._active: dict[int, asyncio.Event] = {}
        ground.gateway.on_arrival = self._arrived
        ground.gateway.on_commit = self._committed
        ground.gateway.on_answer = self._answered

    async def strike(self, child: Child) -> None:
        """Let a process live until its moment has come, and kill it."""
        aim = self._rng.choices([*AIMS], [0.1, 0.45, 0.1, 0.35])[0]
        if aim == "start":
            await asyncio.sleep(self._rng.uniform(0.0, 0.4))
        else:
            active = self._active[child.serial] = asyncio.Event()
            await _at_most(PATIENCE, active)
            await asyncio.sleep(self._rng.uniform(0.0, LONGEST_LIFE))
        if aim in ("unanswered", "answered"):
            struck = asyncio.Event()
            self._aimed[child.serial] = (aim, struck)
            if not await _at_most(PATIENCE, struck):
                aim = "any"
            self._aimed.pop(child.serial, None)
        self.kills[aim] += 1
        if self.kills.total() % 50 == 0:
            print(f"{self._ground.engine}: {self.kills.total()} killed", file=sys.stderr)
        await self._ground.kill(child)

    def _arrived(self, spending: Spending) -> None:
        if (active := self._active.get(spending.serial)) is not None:
            active.set()

    def _committed(self, spending: Spending) -> None:
        aim, struck = self._aimed.get(spending.serial, ("", None))
        if struck is not None and aim == "unanswered" and not struck.is_set():
            self._child(spending).kill()
            struck.set()

    def _answered(self, spending: Spending) -> None:
        aim, struck = self._aimed.get(spending.serial, ("", None))
        if struck is not None and aim == "answered" and spending.committed is not None and not struck.is_set():
            child, delay, loop = self._child(spending), self._rng.uniform(0, LATEST), asyncio.get_running_loop()

            def strike() -> None:
                # A thread: the loop's own timers count in milliseconds.
                time.sleep(delay)
                child.kill()
                loop.call_soon_threadsafe(struck.set)

            self._aimed[spending.serial] = ("", struck)
            threading.Thread(target=strike).start()

    def _child(self, spending: Spending) -> Child:
        return self._ground.children[spending.serial]


async def run(ground: Ground, row: Row, kills: int, pool: int) -> Row:
    """Kill and start anew until so many have been killed; then settle and examine."""
    rng = ground.rng
    ground.gateway.delay = lambda: rng.uniform(0.0, SLOWEST)
    await ground.seed(pool)
    killer = Killer(ground, rng)

    async def place() -> None:
        """One of the places for processes: there is always somebody in it."""
        while True:
            [child] = await ground.start()
            if killer.kills.total() + len(dying) >= kills:
                return
            dying.add(child.serial)
            await killer.strike(child)
            dying.discard(child.serial)

    dying: set[int] = set()
    gardener = asyncio.create_task(_replace_lost(ground, pool))
    try:
        await asyncio.gather(*(place() for _ in range(PROCESSES)))
    finally:
        gardener.cancel()
        await asyncio.wait([gardener])
    stuck = await ground.settle()
    row.broken += await ground.stop()
    findings = await examine(ground, stuck)
    findings.fill(row)
    row.refreshes = ground.ledger.refreshes
    row.events = f"{killer.kills.total()} kills"
    kinds = ", ".join(f"{killer.kills[aim]} {words}" for aim, words in AIMS.items())
    row.figures += [f"kills: {kinds}", f"{len(ground.connections)} connections"]
    row.figures.append(findings.window())
    if findings.again and ground.mode == "grace":
        seconds = [microseconds / 1e6 for microseconds in findings.again]
        row.figures.append(f"asked again after a lost answer: {spread(seconds, 's', 1)}")
    if findings.gaps:
        between = [gap for gap in findings.gaps if gap >= 0]
        row.figures.append(
            f"of the lost, {findings.on_the_way} were killed with the request on its way, {len(between)} after the "
            f"commit and before the journal's fsync: {spread(between, 'µs')} after it"
        )
    return row


async def undisturbed(ground: Ground, row: Row, seconds: float) -> Row:
    """One process, one refresh at a time, nobody killed: the window as it is on a machine with time to spare."""
    await ground.seed(3)
    await ground.start(WORKER_CONCURRENCY="1")
    await ground.started()
    await asyncio.sleep(seconds)
    stuck = await ground.settle()
    row.broken += await ground.stop()
    findings = await examine(ground, stuck)
    findings.fill(row)
    row.refreshes = ground.ledger.refreshes
    row.figures.append(findings.window())
    return row


async def _at_most(seconds: float, event: asyncio.Event) -> bool:
    """Whether it happened in time."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def _replace_lost(ground: Ground, pool: int) -> None:
    """Keep as many connections alive as there were."""
    while True:
        await asyncio.sleep(0.5)
        missing = pool - (len(ground.connections) - len(await ground.lost()))
        await ground.seed(missing)
