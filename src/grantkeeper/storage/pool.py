"""A pool of PostgreSQL connections, without what we do not need of asyncpg's own.

No statement of ours leaves state in a session, so giving a connection back costs neither a round trip
nor a task; asyncpg's pool doubles the time of a one-row read (measured: docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

_CLOSE_PATIENCE = 2.0


class Pool:
    """At most `size` connections, the one given back last given out first. `patience` is in seconds."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], size: int, patience: float) -> None:
        self._connect = connect
        self._patience = patience
        # Served in order of arrival: who gives a connection back does not get it again before who waits.
        self._places = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []
        self._out: set[asyncpg.Connection] = set()
        self._closed = False
        self.interruptions = 0
        """How often a connection was found closed by the other side, or could not be made."""

    async def acquire(self) -> asyncpg.Connection:
        """A connection that was open when last seen; TimeoutError where none becomes free in time.

        InterfaceError once the pool is closed.
        """
        if self._places.locked():
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        else:
            await self._places.acquire()
        try:
            connection = self._open_idle() or await self._connect()
            self._out.add(connection)
            return connection
        except BaseException as error:
            if isinstance(error, OSError | asyncpg.PostgresError):
                self.interruptions += 1
            self._places.release()
            raise

    def release(self, connection: asyncpg.Connection, *, broken: bool) -> None:
        """Give it back; `broken` ends it: nobody knows what it is in the middle of."""
        self._out.discard(connection)
        if connection.is_closed():
            self.interruptions += 1
        if broken or self._closed:
            connection.terminate()
        else:
            self._idle.append(connection)
        self._places.release()

    async def close(self) -> None:
        """Close the idle connections in order, those that do not answer at once too, and end those that are out."""
        self._closed = True
        for connection in self._out:
            connection.terminate()
        idle, self._idle = self._idle, []
        closing = [asyncio.create_task(connection.close()) for connection in idle]
        if not closing:
            return
        # The driver's own time limit does not cover a cancellation that the server has not confirmed.
        await asyncio.wait(closing, timeout=_CLOSE_PATIENCE)
        for connection, task in zip(idle, closing, strict=True):
            if not task.done():
                task.cancel()
                connection.terminate()
        await asyncio.gather(*closing, return_exceptions=True)

    def _open_idle(self) -> asyncpg.Connection | None:
        if self._closed:
            raise asyncpg.InterfaceError("the pool is closed")
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self.interruptions += 1
        return None
