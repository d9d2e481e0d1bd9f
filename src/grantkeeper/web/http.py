"""A request as endpoints see it, and their reply. Bodies and headers are bounded here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from grantkeeper.access import RateLimit
from grantkeeper.errors import InvalidValue, MalformedRequest, UnsupportedMediaType

LARGEST_BODY = 64 * 1024
"""Bytes of a request body; nothing that this service reads comes near it."""

BODY_PATIENCE = 30
"""Seconds for which a body is waited for."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]


class Reply(msgspec.Struct):
    """An answer: status, body, headers in lower case."""

    status: int = 200
    body: bytes = b""
    headers: list[Header] = []

    def __repr__(self) -> str:
        return f"Reply({self.status}, {len(self.body)} bytes)"


class Request:
    """One request. Its `repr` shows method and path, never the query, a header or the body."""

    __slots__ = (
        "_headers",
        "_query",
        "_receive",
        "account_uuid",
        "id",
        "method",
        "parameters",
        "path",
        "rate_limit",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.id = request_id
        self.parameters: dict[str, str] = {}
        self.account_uuid: str | None = None
        self.rate_limit: RateLimit | None = None
        self._receive = receive
        self._headers: dict[bytes, bytes] | None = None
        self._query: list[tuple[str, str]] | None = None

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path})"

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> list[tuple[str, str]]:
        """Every query parameter, in order, repeated ones too."""
        if self._query is None:
            text = self.scope["query_string"].decode("utf-8", "replace")
            try:
                self._query = parse_qsl(text, keep_blank_values=True, max_num_fields=100) if text else []
            except ValueError:
                raise MalformedRequest("The query has too many parameters.") from None
        return self._query

    def cookie(self, name: str) -> str | None:
        """A cookie's value, as it was sent."""
        for pair in (self.header(b"cookie") or "").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value
        return None

    async def body(self) -> bytes:
        """The whole body, or MalformedRequest where it is too large or does not come in time."""
        try:
            async with asyncio.timeout(BODY_PATIENCE):
                return await self._body()
        except TimeoutError:
            raise MalformedRequest(f"The body did not arrive within {BODY_PATIENCE} seconds.") from None

    async def _body(self) -> bytes:
        parts = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequest("The body ended early.")
            parts += message.get("body", b"")
            if len(parts) > LARGEST_BODY:
                raise MalformedRequest(f"The body is larger than {LARGEST_BODY} bytes.")
            if not message.get("more_body"):
                return bytes(parts)

    async def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        body = await self.body()
        if not body:
            return {}
        media_type = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise UnsupportedMediaType("The body must be JSON, sent with Content-Type: application/json.")
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedRequest("The body is not valid JSON.") from None
        if not isinstance(value, dict):
            raise InvalidValue({"body": ["The body must be a JSON object."]})
        return value

    async def form(self) -> dict[str, str]:
        """The fields of a form, the last of each name."""
        media_type = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if media_type != "application/x-www-form-urlencoded":
            raise UnsupportedMediaType("The form must be sent as application/x-www-form-urlencoded.")
        try:
            return dict(parse_qsl((await self.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=50))
        except ValueError:
            raise MalformedRequest("The form cannot be read.") from None
