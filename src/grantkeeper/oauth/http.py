"""The only sockets to providers: to checked addresses, bounded in time and size, no redirects, certificates verified.

A name is resolved once, all its addresses are checked, and those are connected to: whoever answers for the name
cannot say one thing to the check and another to the socket. An idle connection was checked when it was made.

HTTP/1.1 by h11 on asyncio's transports, without a client library between: that would cost a refresh three times
what everything else of it does together (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import h11

from grantkeeper import logs
from grantkeeper.clock import steady_ns
from grantkeeper.errors import AddressRefused, ClientRejected, ProviderUnavailable
from grantkeeper.oauth.address import address_of, allow, checked
from grantkeeper.oauth.http_connection import DRAIN, LARGEST_BODY, LARGEST_HEAD, OVERSLEPT, Connection
from grantkeeper.oauth.message import Request, Response
from grantkeeper.oauth.signing import ClientCertificate
from grantkeeper.oauth.tls import check_authorities, context_for

__all__ = ["DRAIN", "LARGEST_BODY", "LARGEST_HEAD", "OVERSLEPT", "SEND_BY", "ProviderHttp", "Resolve"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Finds the addresses of a host name for a port; OSError where there are none."""

SEND_BY = 0.5
"""The part of the time limit after which a request is no longer begun: its answer would come too late to be read."""

_MOST_CONNECTIONS = 200
# One for each certificate of ours, old ones included until the process ends.
_MOST_CONTEXTS = 64
_CLOSE_PATIENCE = 2.0
# Plain bodies only, so that what was read is what was counted.
_HEADERS = {"user-agent": "grantkeeper", "accept": "*/*", "accept-encoding": "identity"}
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


async def _system_resolver(host: str, port: int) -> Sequence[str]:
    """What this machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [*dict.fromkeys(str(place[0]) for *_, place in found)]


class _Origin(NamedTuple):
    """Where a connection leads (RFC 9110 §4.3.1), and the certificate by which we are known on it."""

    secure: bool
    host: str
    port: int
    thumbprint: str | None


class _TooLate(Exception):
    """The time for beginning to send is over; nothing was sent."""


class _NotConnected(Exception):
    """There is no connection, by the name of what was in the way; nothing was sent."""


class ProviderHttp:
    """Sends requests to providers. `timeout` is in seconds, from connecting to the last byte.

    `allowed`: networks, addresses and names that are connected to although they are not public; `ca_file`: PEM
    certificates trusted besides the machine's, ConfigError where there are none; `resolve`: by default the machine's.
    """

    def __init__(
        self,
        timeout: float,
        *,
        allowed: Sequence[str] = (),
        ca_file: Path | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        if ca_file is not None:
            check_authorities(ca_file)
        self.timeout = timeout
        self._allowed = allow(allowed)
        self._ca_file = ca_file
        self._resolve = resolve or _system_resolver
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._every: set[Connection] = set()
        self._idle: dict[_Origin, list[Connection]] = {}
        self._closed = False

    async def send(self, request: Request, certificate: ClientCertificate | None = None) -> Response:
        """The provider's answer, or ProviderUnavailable when there is none; its `sent` says what that means.

        `certificate`: shown in mutual TLS (RFC 8705 §2), ClientRejected where it cannot be. AddressRefused where the
        URL leads to what may not be connected to. Where the process was frozen past the time limit, what came
        meanwhile is still read.
        """
        began = steady_ns()
        outcome, sent = "?", False
        try:
            origin, wire_request = _wire_request(request, certificate)
            async with self._place(began):
                connection = self._take(origin) or await self._connect(origin, certificate, began)
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
        except ClientRejected as error:
            outcome = type(error).__name__
            raise
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
                url=request.url.partition("?")[0].rpartition("@")[2],
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

    async def _connect(self, origin: _Origin, certificate: ClientCertificate | None, began: int) -> Connection:
        try:
            async with asyncio.timeout(self._left(began)):
                addresses = await self._addresses(origin)
                context = await self._context(certificate) if origin.secure else None
                return await self._open(origin, addresses, context)
        except TimeoutError:
            raise
        except OSError as error:
            raise _NotConnected(type(error).__name__) from None

    async def _addresses(self, origin: _Origin) -> list[str]:
        """Where an origin is, each address checked; AddressRefused where one of them may not be connected to."""
        literal = address_of(origin.host)
        found = [origin.host] if literal else await self._resolve(origin.host, origin.port)
        return checked(origin.host, found, self._allowed)

    async def _context(self, certificate: ClientCertificate | None) -> ssl.SSLContext:
        thumbprint = certificate.thumbprint if certificate else None
        if (context := self._contexts.get(thumbprint)) is None:
            context = await asyncio.to_thread(context_for, self._ca_file, certificate)
            if len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            self._contexts[thumbprint] = context
        return context

    async def _open(self, origin: _Origin, addresses: Sequence[str], context: ssl.SSLContext | None) -> Connection:
        """A connection to the first address that takes one; the certificate has to be the name's."""
        tls: dict[str, Any] = {"ssl": context, "server_hostname": origin.host} if context else {}
        failure: OSError = socket.gaierror()
        for address in addresses:
            try:
                connecting = asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._every), address, origin.port, **tls
                )
                return (await connecting)[1]
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure

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


def _wire_request(request: Request, certificate: ClientCertificate | None) -> tuple[_Origin, h11.Request]:
    """Where a request goes, and its head (RFC 9112 §3); ValueError where its URL is none."""
    parts = urlsplit(request.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an absolute http(s) URL")
    if "@" in parts.netloc:
        # Readers differ in where such a URL leads, and its password would be one more secret.
        raise AddressRefused("the URL of a provider must not carry a user or a password")
    if certificate is not None and parts.scheme == "http":
        raise ClientRejected("a certificate can be shown to a provider by https only; correct its URLs")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = _Origin(parts.scheme == "https", host, port, certificate.thumbprint if certificate else None)
    named = f"[{host}]" if ":" in host else host
    headers = {"host": named if parts.port is None else f"{named}:{parts.port}", **_HEADERS, **request.headers}
    if request.body or request.method in _WITH_BODY:
        headers["content-length"] = str(len(request.body))
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    return origin, h11.Request(method=request.method, target=target, headers=[*headers.items()])
