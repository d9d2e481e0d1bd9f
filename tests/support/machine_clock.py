"""The clocks of a machine, set and stepped by a test."""

from __future__ import annotations

from grantkeeper.clock import SECOND, Instant, SystemClock

BOOTED = 5_000 * SECOND
"""What the steady clock of a `MachineClocks` shows at first."""


class MachineClocks:
    """A wall clock that can be set, and a steady one that cannot; time passes when the test says so."""

    def __init__(self, wall: Instant, tick: int = 0) -> None:
        self.wall = wall
        self.steady = BOOTED
        self.tick = tick
        """Microseconds that pass with each look at the steady clock."""

    def pass_(self, microseconds: int) -> None:
        """Let time go by."""
        self.wall += microseconds
        self.steady += microseconds

    def clock(self) -> SystemClock:
        """The clock of a process that begins now."""
        return SystemClock(wall=lambda: self.wall * 1000, steady=self._look)

    def _look(self) -> int:
        self.steady += self.tick
        return self.steady * 1000
