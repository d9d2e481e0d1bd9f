"""Times as people read them. Pure: the clock and the time zone are arguments."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND, Instant

MONTH = DAY * 365 // 12
YEAR = DAY * 365

# Up to which distance a unit is used, to the nearest whole one; what is farther away is told in years.
_UNITS = ((90 * MINUTE, MINUTE, "minute"), (2 * DAY, HOUR, "hour"), (60 * DAY, DAY, "day"), (2 * YEAR, MONTH, "month"))


def relative_time(instant: Instant, now: Instant) -> str:
    """How far away it is: `in 50 minutes`, `3 hours ago`, `just now`."""
    distance = abs(instant - now)
    if distance < MINUTE:
        return "in less than a minute" if instant > now else "just now"
    words = _duration(distance)
    return f"in {words}" if instant > now else f"{words} ago"


def calendar_time(instant: Instant, zone: ZoneInfo) -> str:
    """The date and the time of day: `16 January 2026, 13:10 GMT`."""
    moment = datetime.fromtimestamp(instant // SECOND, zone)
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}"


def machine_time(instant: Instant) -> str:
    """What HTML's `datetime` attribute holds: `2026-01-16T13:10:23Z`."""
    return f"{datetime.fromtimestamp(instant // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _duration(distance: int) -> str:
    for limit, unit, name in _UNITS:
        if distance < limit:
            return _count(distance, unit, name)
    return _count(distance, YEAR, "year")


def _count(distance: int, unit: int, name: str) -> str:
    number = (distance + unit // 2) // unit
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
