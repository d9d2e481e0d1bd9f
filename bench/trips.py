"""Counts database round trips on the wire, whatever driver makes them.

A relay between the product and PostgreSQL. A round trip is whatever ends with the server's ReadyForQuery
(PostgreSQL documentation, "Message Flow"): a simple statement, BEGIN and COMMIT among them, or everything up to a Sync.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_READY = ord("Z")


class Relay:
    """Relays to one server; `trips` counts for all connections since it began."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.trips = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
        with suppress(ConnectionError):
            await asyncio.gather(_copy(reader, upstream_writer), self._count(upstream_reader, writer))

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass the server's messages on: one byte of type, four of length (themselves included), the rest."""
        pending = b""
        while data := await reader.read(65536):
            writer.write(data)
            pending += data
            position = 0
            while len(pending) - position >= 5:
                end = position + 1 + int.from_bytes(pending[position + 1 : position + 5], "big")
                if end > len(pending):
                    break
                self.trips += pending[position] == _READY
                position = end
            pending = pending[position:]
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@contextmanager
def relaying(port: int, target: int) -> Iterator[Relay]:
    """A relay from `port` to `target`, both of 127.0.0.1, in a thread of its own."""
    relay, loop, started = Relay(target), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        async with await asyncio.start_server(relay.relay, "127.0.0.1", port):
            started.set()
            await stop.wait()

    async def main() -> None:
        serving = asyncio.create_task(serve())
        await serving
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        started.wait(10)
        yield relay
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
