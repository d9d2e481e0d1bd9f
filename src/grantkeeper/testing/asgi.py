"""The few ASGI 3 words a small provider needs: a request read whole, a response sent whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[str, str], ...]

BODY_LIMIT = 64 * 1024
"""The longest request body a provider's endpoint reads, in bytes."""

FIELD_LIMIT = 100

REPEATABLE = frozenset(("audience", "resource"))
"""Parameters that may be sent more than once (RFC 8693 §2.1, RFC 8707 §2)."""


class RequestRefused(Exception):
    """The request cannot even be read; `status` is the HTTP status code that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Parameters:
    """Parameters of a query or form. One sent without a value counts as not sent (RFC 6749 §3.1)."""

    def __init__(self, encoded: str) -> None:
        try:
            pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=FIELD_LIMIT)
        except ValueError:
            raise RequestRefused(400, "There are too many parameters.") from None
        names = [name for name, _ in pairs]
        self._values = {name: value for name, value in pairs if value}
        self.repeated = frozenset(name for name in names if names.count(name) > 1) - REPEATABLE
        self._pairs = [(name, value) for name, value in pairs if value]

    def get(self, name: str) -> str | None:
        """The value, or None when it is missing or empty."""
        return self._values.get(name)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a parameter that may be repeated."""
        return tuple(value for given, value in self._pairs if given == name)

    def pairs(self) -> list[tuple[str, str]]:
        """Every parameter that has a value, as often as it was sent."""
        return list(self._pairs)

    def items(self) -> Mapping[str, str]:
        """Every parameter that has a value; of a repeated one, the last."""
        return dict(self._values)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request. Its `repr` shows neither headers nor parameters, which carry secrets."""

    method: str
    path: str
    query: Parameters
    headers: dict[str, str]
    body: bytes
    came_to: str = ""
    """The path as it came, where `path` is another."""
    tenant: str | None = None
    """Below whose place it came, where the provider has tenants."""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path})"

    def form(self) -> Parameters:
        """The body as a form; refused with 400 unless it is declared to be one."""
        declared = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if declared != "application/x-www-form-urlencoded":
            raise RequestRefused(400, "The body must be application/x-www-form-urlencoded.")
        return Parameters(self.body.decode("utf-8", "replace"))

    def cookie(self, name: str) -> str | None:
        """The value of a cookie, or None."""
        pairs = (pair.strip().partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return next((value for key, _, value in pairs if key == name), None)


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP response. Its `repr` shows neither headers nor body, which may carry tokens."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"

    async def send(self, send: Send) -> None:
        """Answer with this."""
        headers = [*self.headers]
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("content-length", str(len(self.body))))
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": self.status, "headers": encoded})
        await send({"type": "http.response.body", "body": self.body})


def json_response(status: int, payload: object, headers: Headers = ()) -> Response:
    """A JSON answer that no cache keeps (RFC 6749 §5.1)."""
    kept_by_nobody = (("cache-control", "no-store"), ("pragma", "no-cache"))
    media_type = ("content-type", "application/json")
    return Response(status=status, headers=(media_type, *kept_by_nobody, *headers), body=msgspec.json.encode(payload))


def redirect(location: str, headers: Headers = ()) -> Response:
    """303: whatever was asked with, the browser goes on with GET, and takes no form along."""
    fixed = (("location", location), ("cache-control", "no-store"), ("referrer-policy", "no-referrer"))
    return Response(status=303, headers=(*fixed, *headers))


async def read_request(scope: Scope, receive: Receive, path: str) -> Request:
    """Read one request to its end; refused with 413 when the body is too long."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefused(400, "The request ended too early.")
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise RequestRefused(413, "The request is too large.")
        more = message.get("more_body", False)
    headers = _joined((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    query = Parameters(scope.get("query_string", b"").decode("utf-8", "replace"))
    return Request(method=scope["method"], path=path, query=query, headers=headers, body=bytes(body))


def _joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Fields of one name as one value (RFC 9110 §5.3; cookies by RFC 9113 §8.2.3)."""
    headers: dict[str, str] = {}
    for name, value in fields:
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers


async def accept_lifespan(receive: Receive, send: Send) -> None:
    """Answer a server's start-up and shutdown messages: there is nothing to do at either."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
