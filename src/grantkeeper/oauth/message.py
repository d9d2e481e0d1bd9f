"""HTTP messages to and from a provider, as values. Neither `repr` shows a header or a body."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, quote_plus, urlencode

import msgspec

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.model import Record
from grantkeeper.terms import ClientAuthentication

_FORM = "application/x-www-form-urlencoded"


class Request(Record, frozen=True):
    """One request to a provider."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url.partition('?')[0]})"


class Response(Record, frozen=True):
    """One answer of a provider; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object, or ProviderProtocolError."""
        if self.headers.get("content-type", "").lower().startswith(_FORM):
            return self._form()
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderProtocolError(f"the provider's answer (HTTP {self.status}) is not JSON") from None
        if not isinstance(value, dict):
            raise ProviderProtocolError(f"the provider's answer (HTTP {self.status}) is not a JSON object")
        return value

    def _form(self) -> dict[str, Any]:
        try:
            return dict(parse_qsl(self.body.decode("utf-8", "replace"), max_num_fields=100))
        except ValueError:
            problem = f"the provider's answer (HTTP {self.status}) has too many fields"
        raise ProviderProtocolError(problem)

    def retry_after(self, now: Instant) -> int | None:
        """Seconds to wait (RFC 9110 §10.2.3: a number or a date), where the provider says so."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return min(int(value), 86_400) if len(value) < 10 else 86_400
        try:
            date = parsedate_to_datetime(value)
            instant = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(0, int(instant - now / SECOND)), 86_400)


class Call(Record, frozen=True):
    """A request to an endpoint where the client proves itself, before it does; its `repr` shows no parameter.

    A parameter with several values is sent several times in a form (RFC 8707 §2). `authentication` None: as the
    client does at the token endpoint. `renames`: what the provider calls a parameter; empty: it is left out.
    """

    url: str
    parameters: dict[str, str | list[str]]
    method: str = "POST"
    encoding: Literal["form", "json"] = "form"
    authentication: ClientAuthentication | None = None
    headers: dict[str, str] = {}
    renames: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Call({self.method} {self.url.partition('?')[0]})"


def renamed(parameters: Mapping[str, Any], renames: Mapping[str, str]) -> dict[str, Any]:
    """The parameters by the names that the provider has for them; without those that it wants left out."""
    if not renames:
        return dict(parameters)
    return {renames.get(name, name): value for name, value in parameters.items() if renames.get(name, name)}


def written(
    method: str, url: str, headers: Mapping[str, str], parameters: Mapping[str, Any], encoding: str = "form"
) -> Request:
    """A request whose body holds these parameters; with GET, its URL does."""
    if method == "GET":
        query = urlencode(parameters, doseq=True)
        return Request(method=method, url=f"{url}{'&' if '?' in url else '?'}{query}", headers={**headers})
    if encoding == "json":
        headers = {**headers, "content-type": "application/json"}
        return Request(method=method, url=url, headers=headers, body=msgspec.json.encode(parameters))
    headers = {**headers, "content-type": _FORM}
    return Request(method=method, url=url, headers=headers, body=urlencode(parameters, doseq=True).encode())


def at_path(document: Any, path: str) -> Any:
    """What a dotted path leads to in a JSON document; digits index a list. None where it leads nowhere."""
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def basic(client_id: str, client_secret: str) -> str:
    """The Authorization header of a client with a secret; both halves form-encoded first (RFC 6749 §2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
