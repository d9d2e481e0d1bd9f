"""HTTP messages to and from a provider, as values. Neither `repr` shows a header or a body."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import msgspec

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.model import Record
from grantkeeper.oauth.client import Client, ClientAuthentication

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


def token_request(client: Client, url: str, parameters: Mapping[str, str]) -> Request:
    """A request to the token endpoint, as form or JSON, with the client's authentication (RFC 6749 §2.3)."""
    headers, body = _authenticated(client, client.authentication, parameters)
    headers |= {name.lower(): value for name, value in client.token_headers.items()}
    if not client.json_body:
        return form_request(url, headers, body)
    headers["content-type"] = "application/json"
    return Request(method="POST", url=url, headers=headers, body=msgspec.json.encode(body))


def revocation_form(client: Client, url: str, parameters: Mapping[str, str]) -> Request:
    """A request to the revocation endpoint: always a form (RFC 7009 §2.1)."""
    return form_request(url, *_authenticated(client, client.revocation_authentication, parameters))


def form_request(url: str, headers: Mapping[str, str], body: Mapping[str, str]) -> Request:
    """A POST of a form."""
    headers = {**headers, "content-type": _FORM}
    return Request(method="POST", url=url, headers=headers, body=urlencode(body).encode())


def _authenticated(
    client: Client, authentication: ClientAuthentication, parameters: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Headers and body parameters that say who we are."""
    headers, body = {"accept": "application/json"}, dict(parameters)
    if authentication == "client_secret_basic" and client.client_secret is not None:
        headers["authorization"] = _basic(client.client_id, client.client_secret)
        return headers, body
    body["client_id"] = client.client_id
    if authentication == "client_secret_post" and client.client_secret is not None:
        body["client_secret"] = client.client_secret
    return headers, body


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


def _basic(client_id: str, client_secret: str) -> str:
    """Both halves form-encoded first, as RFC 6749 §2.3.1 says."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
