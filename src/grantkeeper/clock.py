"""The only source of time.

An instant is an integer: microseconds since the epoch, UTC. Nothing else in the product asks the
operating system what time it is, so that tests can step it.
"""

from __future__ import annotations

import asyncio
import time
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
        """The wall clock."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for waiting and for measuring."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` of the monotonic clock pass."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Instant:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
