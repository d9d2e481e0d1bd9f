"""The clock is the only source of time."""

from __future__ import annotations

import ast
import asyncio
import time
from pathlib import Path

import pytest

import grantkeeper
from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND, Clock, SystemClock, steady_ns
from grantkeeper.testing import FakeClock
from grantkeeper.testing.clock import EPOCH
from tests.support.machine_clock import BOOTED, MachineClocks

ASKING = {
    *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
    *("clock_gettime", "clock_gettime_ns", "now", "utcnow", "today"),
}


def test_units_are_microseconds() -> None:
    """A day is 86,400,000,000 of them."""
    assert (SECOND, MINUTE, HOUR, DAY) == (10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6)


def test_the_system_clock_tells_the_time() -> None:
    """A process that begins now starts with what the machine's clock shows, in whole microseconds."""
    before = time.time_ns() // 1000
    clock = SystemClock(wall=time.time_ns)
    now = clock.now()
    assert before - 1000 <= now <= time.time_ns() // 1000 + 1000
    assert before <= clock.wall() <= time.time_ns() // 1000
    assert isinstance(now, int)


@pytest.mark.parametrize("leap", [6 * HOUR, -6 * HOUR])
def test_the_wall_clock_may_leap(leap: int) -> None:
    """Whoever sets the machine's clock while we run does not change what time it is for us."""
    machine = MachineClocks(EPOCH)
    clock = machine.clock()
    machine.pass_(SECOND)
    machine.wall += leap
    assert (clock.now(), clock.wall()) == (EPOCH + SECOND, EPOCH + SECOND + leap)
    machine.pass_(HOUR)
    assert (clock.now(), clock.wall()) == (EPOCH + SECOND + HOUR, EPOCH + SECOND + leap + HOUR)
    assert clock.monotonic() == (BOOTED + SECOND + HOUR) / SECOND


def test_a_given_start() -> None:
    """Whoever knows better than the wall clock says when we begin."""
    machine = MachineClocks(EPOCH)
    clock = SystemClock(steady=lambda: machine.steady * 1000, start=7 * DAY)
    machine.pass_(MINUTE)
    assert clock.now() == 7 * DAY + MINUTE


@pytest.mark.parametrize("by", [-3 * SECOND, 1, 6 * HOUR])
def test_a_correction(by: int) -> None:
    """It moves what time it is, and neither the monotonic clock nor the wall clock."""
    machine = MachineClocks(EPOCH)
    clock = machine.clock()
    clock.correct(by)
    assert clock.now() == EPOCH + by
    assert (clock.wall(), clock.monotonic()) == (EPOCH, BOOTED / SECOND)


def test_the_closest_reading_counts() -> None:
    """A process that is put aside while it reads both clocks the first time still starts right."""
    steady = iter([0, 9 * HOUR, 9 * HOUR, 9 * HOUR + 2, *[10 * HOUR, 20 * HOUR] * 3, 30 * HOUR])
    wall = iter([EPOCH, EPOCH + 9 * HOUR + 1, *[EPOCH] * 3])
    clock = SystemClock(wall=lambda: next(wall) * 1000, steady=lambda: next(steady) * 1000)
    assert clock.now() == EPOCH + 30 * HOUR


def test_clocks_of_one_process_agree() -> None:
    """Made before or after a correction, they show the same; one with sources of its own goes its own way."""
    early, alone = SystemClock(), MachineClocks(EPOCH).clock()
    early.correct(DAY)
    try:
        late = SystemClock()
        looks = [early.now(), late.now(), early.now()]
        assert looks == sorted(looks)
        assert late.now() - SystemClock(wall=time.time_ns).now() > DAY // 2
        assert alone.now() == EPOCH
    finally:
        early.correct(-DAY)


def test_the_steady_clock_goes_on() -> None:
    """It counts nanoseconds, at the rate of the machine's other clocks, also while the machine is suspended."""
    before, began = time.monotonic_ns(), steady_ns()
    while (passed := steady_ns() - began) < 2_000_000:
        pass
    assert passed <= time.monotonic_ns() - before
    if hasattr(time, "CLOCK_BOOTTIME"):
        boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert boot <= steady_ns() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


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
    """But for `clock`, the time stamp of a log line and the command line, no module asks for the time or sleeps."""
    root = Path(grantkeeper.__file__).parent
    asking = {
        f"{file.relative_to(root)}: {ast.unparse(node)}"
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (
            (node.value.id in ("time", "datetime", "date") and node.attr in ASKING)
            or (node.value.id in ("time", "asyncio") and node.attr == "sleep")
        )
    }
    allowed = {
        *("clock.py: time.time_ns", "clock.py: time.clock_gettime_ns", "clock.py: time.monotonic_ns"),
        *("clock.py: asyncio.sleep", "clock.py: time.sleep", "logs.py: time.time"),
    }
    assert {ask for ask in asking if not ask.startswith(("testing/", "cli/"))} <= allowed
