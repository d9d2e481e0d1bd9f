"""The only source of time.

An instant is an integer: microseconds since the epoch, UTC. Nothing else in the product asks the
operating system what time it is, so that tests can step it.

The wall clock of a machine may leap by hours while we run: somebody sets it, or a time service corrects it
late. Then valid tokens would look expired, or expired ones valid. So the wall clock is read once, and from
there the steady clock counts, which nobody can set.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Callable
from typing import Protocol

Instant = int
"""Microseconds since the epoch, UTC."""

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """What the product needs of time."""

    def now(self) -> Instant:
        """What time it is."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for waiting and for measuring."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` of the monotonic clock pass."""
        ...


def _steady_source() -> Callable[[], int]:
    """Nanoseconds that nobody can set, and that go on while the machine is suspended where it can tell."""
    # Linux: CLOCK_MONOTONIC stands still while suspended. macOS: CLOCK_MONOTONIC is the one that goes on.
    clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC if sys.platform == "darwin" else None)
    if clock_id is None:
        return time.monotonic_ns
    try:
        time.clock_gettime_ns(clock_id)
    except OSError:
        return time.monotonic_ns
    return functools.partial(time.clock_gettime_ns, clock_id)


steady_ns: Callable[[], int] = _steady_source()
"""Nanoseconds of the machine's steady clock, from an arbitrary start."""


class _Anchor:
    """How far the time told is ahead of the steady clock, in nanoseconds."""

    def __init__(self, wall: Callable[[], int], steady: Callable[[], int], start: Instant | None = None) -> None:
        if start is not None:
            self.ahead = start * 1000 - steady()
            return
        # A process may be put aside between two readings: the closest pair of a few is the true one.
        looks = [(steady(), wall(), steady()) for _ in range(5)]
        before, seen, after = min(looks, key=lambda look: look[2] - look[0])
        self.ahead = seen - (before + after) // 2


_shared = _Anchor(time.time_ns, steady_ns)
"""One for the process: a clock made later, after the wall clock has leapt, shows the same time as the others."""


class SystemClock:
    """The machine's wall clock as it was when the process began, and from there its steady clock.

    For tests: `wall` and `steady` answer nanoseconds, `start` stands in for the first look at the wall clock;
    with any of them given, the clock stands alone and shares no correction with others.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], int] | None = None,
        steady: Callable[[], int] | None = None,
        start: Instant | None = None,
    ) -> None:
        self._wall = wall or time.time_ns
        self._steady = steady or steady_ns
        alone = wall is not None or steady is not None or start is not None
        self._anchor = _Anchor(self._wall, self._steady, start) if alone else _shared

    def now(self) -> Instant:
        """What time it is; only `correct` makes it leap."""
        return (self._steady() + self._anchor.ahead) // 1000

    def wall(self) -> Instant:
        """What the machine's wall clock shows now, right or wrong."""
        return self._wall() // 1000

    def correct(self, by: int) -> None:
        """Move `now` by so many microseconds, for all clocks of this process that share it."""
        self._anchor.ahead += by * 1000

    def monotonic(self) -> float:
        return self._steady() / 1_000_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def pause(seconds: float) -> None:
    """Let time pass in a thread of its own; never in the event loop's."""
    time.sleep(seconds)
