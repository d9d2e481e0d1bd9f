"""The only sockets to providers: bounded in time and size, no redirects, certificates verified.

HTTP/1.1 by h11 on asyncio's transports, without a client library between: that would cost a refresh three times
what everything else of it does together (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import h11

from grantkeeper import logs
from grantkeeper.clock import Clock, steady_ns
from grantkeeper.errors import ProviderUnavailable
from grantkeeper.oauth.http_connection import DRAIN, LARGEST_BODY, LARGEST_HEAD, OVERSLEPT, Connection
from grantkeeper.oauth.message import Request, Response

__all__ = ["DRAIN", "LARGEST_BODY", "LARGEST_HEAD", "OVERSLEPT", "SEND_BY", "ProviderHttp"]

SEND_BY = 0.5
"""The part of the time limit after which a request is no longer begun: its answer would come too late to be read."""

_MOST_CONNECTIONS = 200
_CLOSE_PATIENCE = 2.0
# Plain bodies only, so that what was read is what was counted.
_HEADERS = {"user-agent": "grantkeeper", "accept": "*/*", "accept-encoding": "identity"}
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


@functools.cache
def _tls() -> ssl.SSLContext:
    """The machine's certificate authorities; reading them takes a tenth of a second, so once for a process."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Origin(NamedTuple):
    """Where a connection leads (RFC 9110 §4.3.1)."""

    secure: bool
    host: str
    port: int


class _TooLate(Exception):
    """The time for beginning to send is over; nothing was sent."""


class _NotConnected(Exception):
    """There is no connection, by the name of what was in the way; nothing was sent."""


class ProviderHttp:
    """Sends requests to providers. `timeout` is in seconds, from connecting to the last byte."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self.timeout = timeout
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._every: set[Connection] = set()
        self._idle: dict[_Origin, list[Connection]] = {}
        self._closed = False

    async def send(self, request: Request) -> Response:
        """The provider's answer, or ProviderUnavailable when there is none; its `sent` says what that means.

        Where the process was frozen past the time limit, what came meanwhile is still read.
        """
        began = steady_ns()
        outcome, sent = "?", False
        try:
            origin, wire_request = _wire_request(request)
            async with self._place(began):
                connection = self._take(origin) or await self._connect(origin, began)
                try:
                    # Frozen while it connected, a process must not send what another may have sent since.
                    if self._left(began) <= 0:
                        raise _TooLate
                    data = connection.prepare(wire_request, request.body)
                    sent = True
                    response = await connection.exchange(data, began + round(self.timeout * 1e9))
                except BaseException:
                    # Nobody knows what it is in the middle of.
                    connection.abort()
                    raise
                self._give_back(origin, connection)
            outcome = str(response.status)
            return response
        except (TimeoutError, _TooLate):
            outcome = "timeout"
        except _NotConnected as error:
            outcome = f"ConnectError, {error}"
        except (OSError, h11.ProtocolError, ValueError) as error:
            outcome = type(error).__name__.lstrip("_")
        finally:
            logs.event(
                "provider.request",
                level=logs.DEBUG,
                method=request.method,
                url=request.url.partition("?")[0],
                outcome=outcome,
                seconds=round((steady_ns() - began) / 1e9, 4),
            )
        raise ProviderUnavailable(f"the provider did not answer: {outcome}", sent=sent)

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        self._idle.clear()
        if every := [*self._every]:
            for connection in every:
                connection.abort()
            await asyncio.wait([connection.lost for connection in every], timeout=_CLOSE_PATIENCE)

    def _left(self, began: int) -> float:
        """Seconds in which a request may yet be begun."""
        return self.timeout * SEND_BY - (steady_ns() - began) / 1e9

    @asynccontextmanager
    async def _place(self, began: int) -> AsyncIterator[None]:
        """One of the connections that a process may have; TimeoutError where none becomes free in time."""
        async with asyncio.timeout(self._left(began)):
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    async def _connect(self, origin: _Origin, began: int) -> Connection:
        tls: dict[str, Any] = {"ssl": _tls(), "server_hostname": origin.host} if origin.secure else {}
        try:
            async with asyncio.timeout(self._left(began)):
                connecting = asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._every), origin.host, origin.port, **tls
                )
                return (await connecting)[1]
        except TimeoutError:
            raise
        except OSError as error:
            raise _NotConnected(type(error).__name__) from None

    def _take(self, origin: _Origin) -> Connection | None:
        """The idle connection that was used last; older ones are closed with it when it is too old."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.fresh:
                return connection
            connection.abort()
        self._idle.pop(origin, None)
        return None

    def _give_back(self, origin: _Origin, connection: Connection) -> None:
        if not connection.open or self._closed:
            connection.abort()
            return
        connection.rest()
        idle = self._idle.setdefault(origin, [])
        idle.append(connection)
        if not idle[0].fresh:
            idle.pop(0).abort()


def _wire_request(request: Request) -> tuple[_Origin, h11.Request]:
    """Where a request goes, and its head (RFC 9112 §3); ValueError where its URL is none."""
    parts = urlsplit(request.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an absolute http(s) URL")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    origin = _Origin(parts.scheme == "https", host, parts.port or (443 if parts.scheme == "https" else 80))
    named = f"[{host}]" if ":" in host else host
    headers = {"host": named if parts.port is None else f"{named}:{parts.port}", **_HEADERS, **request.headers}
    if request.body or request.method in _WITH_BODY:
        headers["content-length"] = str(len(request.body))
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    return origin, h11.Request(method=request.method, target=target, headers=[*headers.items()])
