"""Times as people read them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND
from grantkeeper.web.relative_time import calendar_time, machine_time, relative_time

JANUARY = 1_768_569_023_951_021
"""2026-01-16T13:10:23.951021Z."""
JULY = JANUARY + 181 * DAY


@pytest.mark.parametrize(
    ("away", "future", "past"),
    [
        (1, "in less than a minute", "just now"),
        (59 * SECOND, "in less than a minute", "just now"),
        (MINUTE, "in 1 minute", "1 minute ago"),
        (89 * SECOND, "in 1 minute", "1 minute ago"),
        (90 * SECOND, "in 2 minutes", "2 minutes ago"),
        (50 * MINUTE, "in 50 minutes", "50 minutes ago"),
        (HOUR - SECOND, "in 60 minutes", "60 minutes ago"),
        (90 * MINUTE, "in 2 hours", "2 hours ago"),
        (3 * HOUR, "in 3 hours", "3 hours ago"),
        (2 * DAY - SECOND, "in 48 hours", "48 hours ago"),
        (2 * DAY, "in 2 days", "2 days ago"),
        (59 * DAY, "in 59 days", "59 days ago"),
        (60 * DAY, "in 2 months", "2 months ago"),
        (365 * DAY, "in 12 months", "12 months ago"),
        (730 * DAY, "in 2 years", "2 years ago"),
        (3650 * DAY, "in 10 years", "10 years ago"),
    ],
)
def test_relative_time(away: int, future: str, past: str) -> None:
    """Each distance has its unit, ahead and behind."""
    assert relative_time(JANUARY + away, JANUARY) == future
    assert relative_time(JANUARY - away, JANUARY) == past


def test_now_is_now() -> None:
    """No distance at all is neither ahead nor `0 minutes ago`."""
    assert relative_time(JANUARY, JANUARY) == "just now"


@given(st.integers(min_value=MINUTE, max_value=100 * 365 * DAY))
def test_the_unit_names_the_distance_within_its_half(away: int) -> None:
    """Whatever is said is off by no more than half of the unit it is said in, and never zero."""
    number, unit = relative_time(JANUARY + away, JANUARY).removeprefix("in ").split()
    length = {
        "minute": MINUTE,
        "hour": HOUR,
        "day": DAY,
        "month": DAY * 365 // 12,
        "year": 365 * DAY,
    }[unit.removesuffix("s")]
    assert int(number) >= 1
    assert unit.endswith("s") == (number != "1")
    assert abs(int(number) * length - away) <= length / 2


def test_calendar_time_is_in_the_zone() -> None:
    """Winter and summer are told by the zone's own name for its time."""
    london = ZoneInfo("Europe/London")
    assert calendar_time(JANUARY, london) == "16 January 2026, 13:10 GMT"
    assert calendar_time(JULY, london) == "16 July 2026, 14:10 BST"
    assert calendar_time(JANUARY, ZoneInfo("UTC")) == "16 January 2026, 13:10 UTC"


def test_machine_time_is_what_html_reads() -> None:
    """Whole seconds in UTC."""
    assert machine_time(JANUARY) == "2026-01-16T13:10:23Z"
    assert datetime.fromisoformat(machine_time(JULY)).tzname() == "UTC"
