"""A count that tests can wait on, so that none of them sleeps and hopes."""

from __future__ import annotations

import asyncio


class Tally:
    """A number that goes up and down inside one event loop."""

    def __init__(self) -> None:
        self._value = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def value(self) -> int:
        """The number as it stands."""
        return self._value

    def add(self, change: int = 1) -> None:
        """Change the number and wake whoever waited for it to get this high."""
        self._value += change
        for least, reached in self._waiting:
            if self._value >= least and not reached.done():
                reached.set_result(None)
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]

    async def reach(self, least: int) -> None:
        """Return once the number is, or has been since this call, at least `least`."""
        if self._value >= least:
            return
        reached = asyncio.get_running_loop().create_future()
        self._waiting.append((least, reached))
        await reached
