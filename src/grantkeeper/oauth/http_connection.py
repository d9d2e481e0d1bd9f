"""One HTTP/1.1 connection to a provider, by h11 on an asyncio transport: bounded in size, and in time.

A process that was frozen past a time limit (a paused machine, SIGSTOP) finds the answer in its socket, and must not
throw it away, and with it a refresh token that is not given twice.
"""

from __future__ import annotations

import asyncio
import select
import zlib
from typing import Any

import h11

from grantkeeper.clock import steady_ns
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.oauth.message import Response

LARGEST_BODY = 1024 * 1024
"""Bytes of an answer; no token response comes near it."""
LARGEST_HEAD = 100 * 1024
"""Bytes of an answer's status line and headers."""
OVERSLEPT = 0.1
"""Seconds after a time limit that say that the process did not run when it passed."""
DRAIN = 1.0
"""Seconds for reading what came while the process did not run."""

# Idle ones are dropped before servers do it (Node after 5 s): a request that meets a closing connection fails,
# and a code is good for one request only.
_LONGEST_IDLE_NS = 2_000_000_000


class _HungUp(OSError):
    """The provider closed the connection before its answer was whole."""


class Connection(asyncio.Protocol):
    """One connection, for one exchange at a time (RFC 9112)."""

    def __init__(self, every: set[Connection]) -> None:
        self._every = every
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._answer: asyncio.Future[Response] | None = None
        self._expiry: asyncio.TimerHandle
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._readable = select.poll()
        self._idle_since = 0
        self.open = False
        self._ending = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.open = True
        self._every.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._every.discard(self)
        self.lost.set_result(None)
        self._fail(error or _HungUp())

    def eof_received(self) -> None:
        # The end of a body without a length, or of the connection, which its transport closes after this by itself:
        # one that is aborted here as well, uvloop may never report as lost.
        self._ending = True
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()
            return
        try:
            self._wire.receive_data(data)
            self._read()
        except (h11.RemoteProtocolError, ProviderProtocolError) as error:
            self._fail(error)

    def _read(self) -> None:
        while (event := self._wire.next_event()) is not h11.NEED_DATA:
            match event:
                case h11.Response():
                    self._head = event
                case h11.Data():
                    self._body += event.data
                    if len(self._body) > LARGEST_BODY:
                        raise _too_large()
                case h11.EndOfMessage():
                    self._finish()
                    return
                case h11.ConnectionClosed() | h11.PAUSED:
                    self._fail(_HungUp())
                    return

    def _finish(self) -> None:
        assert self._answer is not None
        assert self._head is not None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._head.headers}
        body = _decoded(bytes(self._body), headers.get("content-encoding", ""))
        if self._wire.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE} and not self._wire.trailing_data[0]:
            self._wire.start_next_cycle()
        else:
            self.abort()
        self._answer.set_result(Response(status=self._head.status_code, headers=headers, body=body))

    def prepare(self, request: h11.Request, body: bytes) -> bytes:
        """The bytes of a request."""
        data = self._wire.send(request) or b""
        if body:
            data += self._wire.send(h11.Data(data=body)) or b""
        return data + (self._wire.send(h11.EndOfMessage()) or b"")

    async def exchange(self, data: bytes, deadline: int) -> Response:
        """The answer to a prepared request; TimeoutError after the `deadline` of the steady clock."""
        loop = asyncio.get_running_loop()
        self._answer, self._head, self._body = loop.create_future(), None, bytearray()
        self._expiry = loop.call_later(max(0.0, (deadline - steady_ns()) / 1e9), self._expire, deadline)
        try:
            self._transport.write(data)
            return await self._answer
        finally:
            self._expiry.cancel()
            self._answer = None

    def _expire(self, deadline: int) -> None:
        if steady_ns() - deadline > OVERSLEPT * 1e9:
            self._expiry = asyncio.get_running_loop().call_later(DRAIN, self._fail, TimeoutError())
        else:
            self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.abort()

    def rest(self) -> None:
        """It is idle from now on."""
        self._idle_since = steady_ns()

    @property
    def fresh(self) -> bool:
        """Whether an idle one may carry a request: nothing has come, and the server cannot have tired of it yet."""
        return self.open and steady_ns() - self._idle_since < _LONGEST_IDLE_NS and not self._readable.poll(0)

    def abort(self) -> None:
        """End it at once."""
        if self.open:
            self.open = False
            if not self._ending:
                self._transport.abort()


def _decoded(body: bytes, encoding: str) -> bytes:
    """The body of a server that compresses what nobody asked it to."""
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        plain = zlib.decompressobj(wbits=47).decompress(body, LARGEST_BODY + 1)
    except zlib.error:
        raise ProviderProtocolError("the provider's answer is not compressed as it says") from None
    if len(plain) > LARGEST_BODY:
        raise _too_large()
    return plain


def _too_large() -> ProviderProtocolError:
    return ProviderProtocolError(f"the provider's answer is larger than {LARGEST_BODY} bytes")
