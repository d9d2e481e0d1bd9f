"""The clock is the only source of time."""

from __future__ import annotations

import ast
import asyncio
import time
from pathlib import Path

import grantkeeper
from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND, Clock, SystemClock
from grantkeeper.testing import FakeClock

ASKING = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "now", "utcnow", "today"}


def test_units_are_microseconds() -> None:
    """A day is 86,400,000,000 of them."""
    assert (SECOND, MINUTE, HOUR, DAY) == (10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6)


def test_the_system_clock_tells_the_time() -> None:
    """Between two looks at the machine's clock, in whole microseconds."""
    before = time.time_ns() // 1000
    now = SystemClock().now()
    assert before <= now <= time.time_ns() // 1000
    assert isinstance(now, int)


def test_the_monotonic_clock_does_not_run_backwards() -> None:
    """A thousand looks are in order."""
    looks = [SystemClock().monotonic() for _ in range(1000)]
    assert looks == sorted(looks)


async def test_sleep_lets_others_run() -> None:
    """A sleeper gives way, also when there is nothing to sleep."""
    clock = SystemClock()
    ran: list[bool] = []
    task = asyncio.create_task(asyncio.to_thread(ran.append, True))
    while not ran:
        await clock.sleep(0)
    await task


def test_both_clocks_are_clocks() -> None:
    """The product's and the tests' clock offer the same."""
    clocks: list[Clock] = [SystemClock(), FakeClock()]
    assert all(isinstance(clock.now(), int) and isinstance(clock.monotonic(), float) for clock in clocks)


def test_nothing_else_asks_the_machine() -> None:
    """But for `clock`, the time stamp of a log line and the command line, no module calls for the time or sleeps."""
    root = Path(grantkeeper.__file__).parent
    asking = {
        f"{file.relative_to(root)}: {ast.unparse(node.func)}"
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (
            (node.func.value.id in ("time", "datetime", "date") and node.func.attr in ASKING)
            or (node.func.value.id in ("time", "asyncio") and node.func.attr == "sleep")
        )
    }
    allowed = {"clock.py: time.time_ns", "clock.py: time.monotonic", "clock.py: asyncio.sleep", "logs.py: time.time"}
    assert {ask for ask in asking if not ask.startswith(("testing/", "cli/"))} <= allowed
