"""A provider on its worst day: a raw TCP server whose answers break the rules of HTTP and of OAuth.

    async with HostileServer() as server:
        server.script("/token", hostile.reset(), hostile.never())

Every answer is bounded in size and time, and everything stops when the block ends.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

from grantkeeper.testing.loopback import LoopbackServer
from grantkeeper.testing.tally import Tally

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes whatever it likes; the connection is closed when it returns."""

TIME_LIMIT = 60.0
"""No connection lives longer, in seconds."""

SIZE_LIMIT = 64 * 1024 * 1024
"""No answer gets larger, in bytes."""

_REQUEST_LIMIT = 1024 * 1024
_CHUNK = b"x" * 65_536


def raw(data: bytes) -> Answer:
    """These bytes, headers and all, and nothing else."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


def response(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A well-formed HTTP response with this body."""
    return raw(_head(status, {"content-length": str(len(body)), **(headers or {})}) + body)


def html(body: str = "<!doctype html><h1>Down for maintenance</h1>", *, status: int = 200) -> Answer:
    """A page where JSON should be."""
    return response(body.encode(), status=status, headers={"content-type": "text/html; charset=utf-8"})


def json_body(payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Any JSON value: an array, an error with status 200, an absurd `expires_in`."""
    body = json.dumps(payload).encode()
    return response(body, status=status, headers={"content-type": "application/json", **(headers or {})})


def empty(*, status: int = 200) -> Answer:
    """A response that says JSON and has no body."""
    return response(b"", status=status, headers={"content-type": "application/json"})


def hang_up() -> Answer:
    """Closes without a word."""
    return raw(b"")


def big(size: int = 10 * 1024 * 1024) -> Answer:
    """A JSON object of `size` bytes, correct in every other way."""
    start, end = b'{"access_token": "', b'", "token_type": "Bearer"}'
    length = min(size, SIZE_LIMIT)
    head = _head(200, {"content-type": "application/json", "content-length": str(length)})
    filler = length - len(start) - len(end)

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head + start)
        for offset in range(0, filler, len(_CHUNK)):
            writer.write(_CHUNK[: filler - offset])
            await writer.drain()
        writer.write(end)
        await writer.drain()

    return answer


def endless_chunks() -> Answer:
    """A chunked body whose last chunk never comes: data up to `SIZE_LIMIT`, and then silence."""
    head = _head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(SIZE_LIMIT // len(_CHUNK)):
            writer.write(b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK))
            await writer.drain()
        await asyncio.Event().wait()

    return answer


def drip(seconds: float = 0.05) -> Answer:
    """One more byte of the body every `seconds`: no single read is slow, the whole never ends."""
    head = _head(200, {"content-type": "application/json", "content-length": str(SIZE_LIMIT)})

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(seconds)

    return answer


def cut(body: bytes = b'{"access_token": "', *, promised: int = 1000) -> Answer:
    """Promises `promised` bytes and closes after `body`."""
    head = _head(200, {"content-type": "application/json", "content-length": str(promised)})
    return raw(head + body)


def reset() -> Answer:
    """Resets the connection (RST), as a crashing process or a firewall does."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


def never() -> Answer:
    """Takes the request and says nothing."""

    async def answer(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    return answer


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1")


class HostileServer(LoopbackServer):
    """Answers each path as scripted, on loopback; a path without a script gets 404."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host=host, port=port)
        self._scripts: dict[str, deque[Answer]] = {}
        self._arrived: dict[str, Tally] = {}
        self.counts: Counter[str] = Counter()
        """Requests by path."""

    def script(self, path: str, *answers: Answer) -> None:
        """Answer requests for `path` with these, one each; the last one is repeated for ever."""
        if not answers:
            raise ValueError("a script needs at least one answer")
        self._scripts[path] = deque(answers)

    async def wait_for_requests(self, path: str, least: int = 1) -> None:
        """Return once at least `least` requests for `path` have been read."""
        await self._arrived.setdefault(path, Tally()).reach(least)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIME_LIMIT):
                path = await _read_request(reader)
                await self._next_answer(path)(writer)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client took too long, or went away, or is no HTTP client

    def _next_answer(self, path: str) -> Answer:
        self.counts[path] += 1
        self._arrived.setdefault(path, Tally()).add()
        script = self._scripts.get(path)
        if script is None:
            return response(b"not scripted\n", status=404)
        return script.popleft() if len(script) > 1 else script[0]


async def _read_request(reader: asyncio.StreamReader) -> str:
    """Read one request to its end, or the answer to it could be lost to a reset; returns its path."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *fields = head.split("\r\n")
    for field in fields:
        name, _, value = field.partition(":")
        if name.strip().lower() == "content-length":
            await reader.readexactly(min(int(value), _REQUEST_LIMIT))
    target = request_line.split(" ")[1] if request_line.count(" ") >= 2 else ""
    return target.partition("?")[0]
