"""One piece of work for all who want it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Sharing(Generic[T]):
    """Runs work by name: who asks while it runs gets the same outcome; it goes on if an asker leaves."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[T]] = {}

    async def run(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of the work under way, or of `work`."""
        return await asyncio.shield(self.begin(name, work))

    def begin(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The task of the work under way, or a new one."""
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._ended(name))
        return task

    def cancel(self) -> None:
        """End what is under way; for work that can be done another time."""
        for task in self._tasks.values():
            task.cancel()

    async def settle(self) -> None:
        """Return once nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def _ended(self, name: str) -> None:
        task = self._tasks.pop(name)
        if not task.cancelled():
            # Heard by whoever asked; if they have all left, by nobody.
            task.exception()
