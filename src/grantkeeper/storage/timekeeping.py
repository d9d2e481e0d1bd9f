"""Which clock we go by: the database's on PostgreSQL, which all replicas share; on SQLite this machine's.

`SystemClock` reads the wall clock once. What it read may have been wrong, or the wall clock may be corrected
later: here that is noticed, followed where it is small, and told where somebody must act.
"""

from __future__ import annotations

from datetime import UTC, datetime

from grantkeeper import logs
from grantkeeper.clock import MINUTE, SECOND, Clock, Instant, SystemClock
from grantkeeper.errors import StorageError
from grantkeeper.storage.database import Database
from grantkeeper.storage.inspection import (
    SKEW_HARMFUL,
    SKEW_TOLERATED,
    note_clock,
    noted_clock,
    skew_of,
)

BEHIND_TOLERATED = MINUTE
"""How far a clock may lie behind the noted instant at a start: it is corrected by less all the time."""
FOLLOWED = 30 * SECOND
"""A difference up to this is followed while we run; a larger one is a leap, and either clock may be the wrong one."""
STEP_BACK = SECOND // 10
"""The most by which our time goes back in one watch."""
_NEGLIGIBLE = SECOND // 1000

_TIME_SERVICE = "run a time service (NTP) on this machine, on the database's and on every replica's"
_WENT_BACK = (
    "set this machine's clock, run a time service (NTP) and restart; until then time goes on from what was noted"
)
_JUMPED = (
    "find out which of the two is wrong, correct it, run a time service (NTP) and restart; until then we keep ours"
)


class Timekeeper:
    """Sets `clock` right once, and watches it. Only a SystemClock is corrected; with any other it only tells.

    Nothing here raises StorageError: without a comparison we go on by the clock that we have.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known = 0
        """The difference, in microseconds, that is not followed and was told of already."""

    async def start(self) -> None:
        """Go by the database's clock; on SQLite, not behind the instant that was noted last."""
        try:
            if self._database.dialect == "sqlite":
                await self._go_on_from_note()
            else:
                await self._follow_database()
        except StorageError as error:
            _not_compared(error)

    async def watch(self) -> None:
        """Note what time it is, follow a small correction of the clock that we go by, tell of a leap. Once a minute."""
        try:
            if self._database.dialect == "sqlite":
                await note_clock(self._database, self._clock.now())
                if isinstance(self._clock, SystemClock):
                    self._steer(self._clock.wall() - self._clock.now(), 0, "this machine's wall clock")
            else:
                skew = await skew_of(self._database, self._clock.now)
                if skew is not None and not self._slept(skew.ahead):
                    self._steer(skew.ahead, skew.uncertain, "the database's clock")
        except StorageError as error:
            _not_compared(error)

    async def _follow_database(self) -> None:
        skew = await skew_of(self._database, self._clock.now)
        if skew is None:
            return
        level, advice = logs.INFO, {}
        if (apart := abs(skew.ahead)) > SKEW_TOLERATED:
            level, advice = logs.ERROR if apart > SKEW_HARMFUL else logs.WARNING, {"advice": _TIME_SERVICE}
        logs.event("clock.skew", level=level, seconds=_seconds(skew.ahead), within=_seconds(skew.uncertain), **advice)
        if not self._correct(skew.ahead, skew.uncertain):
            self._known = skew.ahead

    async def _go_on_from_note(self) -> None:
        noted, shows = await noted_clock(self._database), self._clock.now()
        if noted is None or noted - shows <= BEHIND_TOLERATED:
            return
        logs.event(
            "clock.went_back",
            level=logs.ERROR,
            shows=_iso(shows),
            noted=_iso(noted),
            seconds=_seconds(noted - shows),
            advice=_WENT_BACK,
        )
        self._correct(noted - shows, 0)
        self._known = shows - noted

    def _slept(self, ahead: int) -> bool:
        """Whether our steady clock stood still, as a paused virtual machine's may: two others agree that it did.

        Going on late would serve tokens that have expired meanwhile.
        """
        clock = self._clock
        if ahead <= FOLLOWED or not isinstance(clock, SystemClock):
            return False
        if abs(clock.wall() - clock.now() - ahead) > FOLLOWED:
            return False
        clock.correct(ahead)
        logs.event("clock.slept", level=logs.WARNING, seconds=_seconds(ahead))
        return True

    def _steer(self, ahead: int, uncertain: int, reference: str) -> None:
        """Follow a clock that is `ahead` of ours by so many microseconds, or tell that it leapt."""
        if abs(ahead) <= FOLLOWED:
            self._correct(max(ahead, -STEP_BACK), uncertain)
            self._known = 0
        elif abs(ahead - self._known) > FOLLOWED:
            self._known = ahead
            now = self._clock.now()
            logs.event(
                "clock.jumped",
                level=logs.ERROR,
                reference=reference,
                shows=_iso(now + ahead),
                ours=_iso(now),
                seconds=_seconds(ahead),
                advice=_JUMPED,
            )

    def _correct(self, by: int, uncertain: int) -> bool:
        """Whether our clock, which is one that can be corrected, now shows what it should."""
        if not isinstance(self._clock, SystemClock):
            return False
        # What the measurement alone explains is not followed, or our time would wander with the network's.
        if abs(by) > max(uncertain, _NEGLIGIBLE):
            self._clock.correct(by)
        return True


def _not_compared(error: StorageError) -> None:
    logs.event("clock.not_compared", level=logs.WARNING, reason=error.message)


def _seconds(microseconds: int) -> float:
    return round(microseconds / SECOND, 3)


def _iso(instant: Instant) -> str:
    return datetime.fromtimestamp(instant / SECOND, UTC).isoformat(timespec="milliseconds")
