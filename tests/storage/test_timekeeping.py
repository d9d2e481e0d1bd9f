"""Which clock a process goes by, and what it says when clocks differ."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from grantkeeper import logs
from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND, Clock, Instant
from grantkeeper.storage.database import Database
from grantkeeper.storage.inspection import SKEW_HARMFUL, SKEW_TOLERATED, clock_of, noted_clock, skew_of
from grantkeeper.storage.migrate import open_database
from grantkeeper.storage.timekeeping import BEHIND_TOLERATED, FOLLOWED, STEP_BACK, Timekeeper
from grantkeeper.testing import FakeClock
from grantkeeper.testing.clock import EPOCH
from tests.support.machine_clock import BOOTED, MachineClocks

Told = Callable[[str], list[dict[str, Any]]]

SLACK = 20 * SECOND
"""More than any test here takes, and less than every difference that it means."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The events of one name, as they were logged."""
    lines: list[str] = []
    monkeypatch.setattr(logs._Sink, "level", logs.INFO)
    monkeypatch.setattr(logs._Sink, "write", lines.append)
    return lambda name: [event for event in map(json.loads, lines) if event["event"] == name]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database on either engine."""
    database = await open_database(database_url, 2)
    yield database
    await database.close()


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    """One on this machine."""
    database = await open_database(sqlite_url)
    yield database
    await database.close()


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[Database]:
    """One on a machine of its own, as far as one can tell."""
    database = await open_database(postgres_url, 2)
    yield database
    await database.close()


async def real(database: Database) -> Instant:
    """What time the database has."""
    theirs = await clock_of(database)
    assert theirs is not None
    return theirs


class TestAlone:
    """On SQLite: this machine's wall clock, and the instant that was noted last."""

    async def test_a_first_start(self, sqlite: Database, told: Told) -> None:
        """Where nothing was noted the wall clock is right; watching notes what time it is."""
        machine = MachineClocks(EPOCH)
        clock = machine.clock()
        keeper = Timekeeper(sqlite, clock)
        await keeper.start()
        assert (clock.now(), await noted_clock(sqlite)) == (EPOCH, None)
        machine.pass_(MINUTE)
        await keeper.watch()
        assert await noted_clock(sqlite) == EPOCH + MINUTE
        machine.pass_(MINUTE)
        await keeper.watch()
        assert await noted_clock(sqlite) == EPOCH + 2 * MINUTE
        assert told("clock.went_back") == told("clock.jumped") == []

    @pytest.mark.parametrize("behind", [6 * HOUR, BEHIND_TOLERATED + 1, EPOCH])
    async def test_a_clock_that_went_back(self, sqlite: Database, told: Told, behind: int) -> None:
        """A machine that starts with a wall clock behind the noted instant goes on from there, and says so once."""
        await Timekeeper(sqlite, MachineClocks(EPOCH).clock()).watch()
        machine = MachineClocks(EPOCH - behind)
        clock = machine.clock()
        keeper = Timekeeper(sqlite, clock)
        await keeper.start()
        assert clock.now() == EPOCH
        machine.pass_(MINUTE)
        await keeper.watch()
        assert await noted_clock(sqlite) == EPOCH + MINUTE
        (event,) = told("clock.went_back")
        assert (event["level"], event["seconds"]) == ("error", round(behind / SECOND, 3))
        assert event["noted"] == "2026-01-16T13:10:23.951+00:00"
        assert "time service" in event["advice"]
        assert told("clock.jumped") == []

    async def test_the_clock_is_set_right_later(self, sqlite: Database) -> None:
        """Once the wall clock has caught up, it is followed again."""
        await Timekeeper(sqlite, MachineClocks(EPOCH).clock()).watch()
        machine = MachineClocks(EPOCH - 6 * HOUR)
        clock = machine.clock()
        keeper = Timekeeper(sqlite, clock)
        await keeper.start()
        machine.wall = EPOCH + 10 * SECOND
        await keeper.watch()
        assert clock.now() == EPOCH + 10 * SECOND

    async def test_a_little_behind(self, sqlite: Database, told: Told) -> None:
        """A correction of less than a minute is a correction."""
        await Timekeeper(sqlite, MachineClocks(EPOCH).clock()).watch()
        clock = MachineClocks(EPOCH - BEHIND_TOLERATED).clock()
        await Timekeeper(sqlite, clock).start()
        assert clock.now() == EPOCH - BEHIND_TOLERATED
        assert told("clock.went_back") == []

    @pytest.mark.parametrize("value", [b"", b"soon", b"-1", b"9" * 30, b"\xff\xfe"])
    async def test_a_note_that_makes_no_sense(self, sqlite: Database, told: Told, value: bytes) -> None:
        """It is passed over."""
        await sqlite.execute("note_clock", value=value)
        clock = MachineClocks(EPOCH).clock()
        await Timekeeper(sqlite, clock).start()
        assert clock.now() == EPOCH
        assert told("clock.went_back") == told("clock.not_compared") == []

    @pytest.mark.parametrize("leap", [6 * HOUR, -6 * HOUR, FOLLOWED + 1, -FOLLOWED - 1])
    async def test_a_leap_is_not_followed(self, sqlite: Database, told: Told, leap: int) -> None:
        """A wall clock that leaps moves nothing; it is told of once a leap, with what to do."""
        machine = MachineClocks(EPOCH)
        clock = machine.clock()
        keeper = Timekeeper(sqlite, clock)
        await keeper.start()
        machine.wall += leap
        for minutes in range(1, 5):
            machine.pass_(MINUTE)
            await keeper.watch()
            assert clock.now() == await noted_clock(sqlite) == EPOCH + minutes * MINUTE
        (event,) = told("clock.jumped")
        assert (event["level"], event["seconds"]) == ("error", round(leap / SECOND, 3))
        assert event["ours"] == "2026-01-16T13:11:23.951+00:00"
        assert "restart" in event["advice"]

    async def test_every_leap_is_told(self, sqlite: Database, told: Told) -> None:
        """Another leap is another event; setting the clock right is none, and a leap after that is one again."""
        machine = MachineClocks(EPOCH)
        keeper = Timekeeper(sqlite, machine.clock())
        seen = []
        for leap in (6 * HOUR, 2 * HOUR, -8 * HOUR, 8 * HOUR):
            machine.wall += leap
            await keeper.watch()
            await keeper.watch()
            seen.append(len(told("clock.jumped")))
        assert seen == [1, 2, 2, 3]

    async def test_small_corrections(self, sqlite: Database, told: Told) -> None:
        """Forward at once, back in small steps, and what is next to nothing not at all."""
        machine = MachineClocks(EPOCH)
        clock = machine.clock()
        keeper = Timekeeper(sqlite, clock)
        machine.wall += FOLLOWED
        await keeper.watch()
        assert clock.now() == EPOCH + FOLLOWED
        machine.wall -= STEP_BACK * 5 // 2
        shown = []
        for _ in range(4):
            await keeper.watch()
            shown.append(clock.now() - machine.wall)
        assert shown == [STEP_BACK * 3 // 2, STEP_BACK // 2, 0, 0]
        machine.wall += 900
        await keeper.watch()
        assert clock.now() == machine.wall - 900
        assert told("clock.jumped") == []


@pytest.mark.postgres
class TestDatabaseClock:
    """On PostgreSQL: the database's clock."""

    @pytest.mark.parametrize(
        ("apart", "level"),
        [
            (0, "info"),
            (SKEW_TOLERATED + SLACK, "warning"),
            (-SKEW_HARMFUL - SLACK, "error"),
            (6 * HOUR, "error"),
            (-400 * DAY, "error"),
        ],
    )
    async def test_it_is_followed(self, postgres_database: Database, told: Told, apart: int, level: str) -> None:
        """Whatever this machine's clock shows at the start; the more they differ, the louder it is told."""
        machine = MachineClocks(await real(postgres_database) + apart)
        clock = machine.clock()
        keeper = Timekeeper(postgres_database, clock)
        await keeper.start()
        assert abs(clock.now() - await real(postgres_database)) < SLACK
        (event,) = told("clock.skew")
        assert abs(event["seconds"] * SECOND + apart) < SLACK
        # A busy machine may need a second for the comparison itself.
        assert event["level"] == level or (apart == 0 and event["seconds"] > 1)
        assert ("time service" in event.get("advice", "")) == (event["level"] != "info")
        await keeper.watch()
        assert told("clock.jumped") == []

    async def test_small_corrections(self, postgres_database: Database, told: Told) -> None:
        """Forward at once, back in small steps."""
        machine = MachineClocks(await real(postgres_database) - 8 * SECOND)
        clock = machine.clock()
        keeper = Timekeeper(postgres_database, clock)
        await keeper.watch()
        assert 8 * SECOND <= clock.now() - machine.wall < FOLLOWED
        clock.correct(FOLLOWED - SECOND)
        before = clock.now()
        await keeper.watch()
        assert clock.now() == before - STEP_BACK
        assert told("clock.jumped") == []

    @pytest.mark.parametrize("leap", [6 * HOUR, -6 * HOUR])
    async def test_a_leap_is_not_followed(self, postgres_database: Database, told: Told, leap: int) -> None:
        """A database whose clock leaps, or another one in its place, moves nothing; it is told of once."""
        machine = MachineClocks(await real(postgres_database) - leap)
        clock = machine.clock()
        keeper = Timekeeper(postgres_database, clock)
        for _ in range(3):
            await keeper.watch()
            assert clock.now() == machine.wall
        (event,) = told("clock.jumped")
        assert event["reference"] == "the database's clock"
        assert abs(event["seconds"] * SECOND - leap) < SLACK

    async def test_a_machine_that_was_paused(self, postgres_database: Database, told: Told) -> None:
        """Its steady clock stood still: where its wall clock and the database's agree, we catch up with them."""
        machine = MachineClocks(await real(postgres_database) - HOUR)
        clock = machine.clock()
        keeper = Timekeeper(postgres_database, clock)
        await keeper.start()
        clock.correct(-HOUR)
        machine.wall += HOUR
        await keeper.watch()
        assert abs(clock.now() - await real(postgres_database)) < SLACK
        assert len(told("clock.slept")) == 1
        assert told("clock.jumped") == []

    async def test_this_machines_wall_clock_is_nothing_to_us(self, postgres_database: Database, told: Told) -> None:
        """Once started, a replica goes by the database's clock, whatever its own machine's wall clock does."""
        machine = MachineClocks(await real(postgres_database))
        clock = machine.clock()
        keeper = Timekeeper(postgres_database, clock)
        await keeper.start()
        machine.wall -= 6 * HOUR
        await keeper.watch()
        assert abs(clock.now() - await real(postgres_database)) < SLACK
        assert told("clock.jumped") == []

    async def test_what_the_measurement_explains(self, postgres_database: Database) -> None:
        """A difference within half the round trip is no difference."""
        round_trip, apart = 40 * SECOND, 15 * SECOND
        machine = MachineClocks(await real(postgres_database) - round_trip * 3 // 2 + apart)
        clock, began = machine.clock(), machine.wall
        machine.tick = round_trip
        await Timekeeper(postgres_database, clock).start()
        machine.tick = 0
        assert clock.now() == began + machine.steady - BOOTED

    async def test_the_quickest_look_counts(self, postgres_database: Database) -> None:
        """The shortest round trip of three tells the most."""
        looks = iter([0, 10 * SECOND, HOUR, HOUR + 40, 2 * HOUR, 2 * HOUR + 30 * SECOND])
        before = await real(postgres_database)
        skew = await skew_of(postgres_database, lambda: next(looks))
        assert skew is not None
        assert skew.uncertain == 20
        assert before - HOUR <= skew.ahead + 20 <= await real(postgres_database) - HOUR


class TestEither:
    """On both engines."""

    async def test_another_clock_is_only_compared(self, database: Database) -> None:
        """A clock that a test steps is left alone."""
        clock: Clock = FakeClock()
        keeper = Timekeeper(database, clock)
        await keeper.start()
        await keeper.watch()
        await Timekeeper(database, FakeClock(EPOCH - DAY)).start()
        assert clock.now() == EPOCH

    async def test_no_database_no_comparison(self, database: Database, told: Told) -> None:
        """A database that is away stops nothing, and moves nothing."""
        clock = MachineClocks(EPOCH).clock()
        keeper = Timekeeper(database, clock)
        await database.close()
        await keeper.start()
        await keeper.watch()
        assert clock.now() == EPOCH
        assert {event["level"] for event in told("clock.not_compared")} == {"warning"}
        assert told("clock.not_compared")
