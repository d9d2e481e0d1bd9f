"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from grantkeeper.clock import SECOND, Instant
from grantkeeper.testing.tally import Tally

EPOCH: Instant = 1_768_569_023_951_021
"""Where a `FakeClock` starts unless told otherwise: 2026-01-16T13:10:23.951021Z."""


class FakeClock:
    """Implements `grantkeeper.clock.Clock`; only `advance` makes time pass.

    For one event loop. `now` and `monotonic` always move together.
    """

    def __init__(self, start: Instant = EPOCH) -> None:
        self._start = start
        self._elapsed = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._asleep = Tally()

    def now(self) -> Instant:
        """Microseconds since the epoch, UTC."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._elapsed / SECOND

    @property
    def sleepers(self) -> int:
        """How many tasks are in `sleep`."""
        return self._asleep.value

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been advanced by `seconds`; at once if that is not positive."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        due = self._elapsed + round(seconds * SECOND)
        heapq.heappush(self._sleepers, (due, next(self._order), woken))
        self._asleep.add()
        try:
            await woken
        finally:
            if not woken.done() or woken.cancelled():
                self._asleep.add(-1)

    def advance(self, seconds: float) -> None:
        """Move both clocks and wake every sleeper whose time has come, the earliest first.

        Woken tasks run when the caller next awaits; one that sleeps again does so from the new time.
        """
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._elapsed += round(seconds * SECOND)
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
                self._asleep.add(-1)

    async def wait_for_sleepers(self, least: int = 1) -> None:
        """Return once at least `least` tasks are asleep."""
        await self._asleep.reach(least)
