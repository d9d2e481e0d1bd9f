"""A TCP server on loopback, inside the running event loop, for as long as a test needs it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

_BACKLOG = 1024


class LoopbackServer(ABC):
    """Listens while its `async with` block runs; connections still open at the end are cut.

    The port is chosen by the system unless given.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port, once the server has started."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end, once the server has started."""
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        # Whoever connects once this has returned waits in the backlog: there is no readiness to poll for.
        self._server = await asyncio.start_server(self._accept, self._host, self._port, backlog=_BACKLOG)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak on one connection; it is closed afterwards."""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.get_running_loop().create_task(self._connected(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # A task that is cancelled before it has begun never comes to its own end.
        connection.add_done_callback(lambda _: writer.transport.abort())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
            writer.close()
            await writer.wait_closed()  # once what was written has been sent
        except ConnectionError:
            pass  # the client went away
        finally:
            writer.transport.abort()  # at the end of the block, do not wait for a client that does not read
