"""Whose grant it is at the provider: userinfo, ID token or a member of the token response."""

from __future__ import annotations

from typing import Any

from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Request, Response, at_path

_LONGEST = 255


class Identity(Record, frozen=True):
    """The stable subject at the provider, and a name to show beside the label."""

    subject: str | None = None
    label: str | None = None


def userinfo_request(client: Client) -> Request | None:
    """Ask the provider whose token this is (OpenID Connect Core §5.3); None where it has no such place.

    The token itself is added by `Sender.protected`.
    """
    if client.identity.source != "userinfo" or client.identity.url is None:
        return None
    identity = client.identity
    headers = {"accept": "application/json"}
    if identity.body is not None:
        headers["content-type"] = "application/json"
    headers |= {name.lower(): value for name, value in identity.headers.items()}
    body = (identity.body or "").encode()
    return Request(method=identity.method, url=client.identity.url, headers=headers, body=body)


def userinfo_response(client: Client, response: Response, id_token_subject: str | None = None) -> Identity:
    """The identity in a userinfo answer; it must be the one of the ID token, where there was one (§5.3.2)."""
    if response.status == 429 or response.status >= 500:
        raise ProviderUnavailable(f"{client.label} answered HTTP {response.status} when asked whose grant it is")
    if response.status >= 300:
        raise ProviderProtocolError(f"{client.label} answered HTTP {response.status} when asked whose grant it is")
    document = response.json_object()
    if id_token_subject is not None and client.identity.subject == "sub" and document.get("sub") != id_token_subject:
        raise ProviderProtocolError(
            f"{client.label} names one person in the ID token and another when asked", code="userinfo_subject"
        )
    return _identity(client, document)


def identity_in_token_response(
    client: Client, document: dict[str, Any], claims: dict[str, Any] | None
) -> Identity | None:
    """The identity that came with the tokens, `claims` being the ID token's; None: the provider is to be asked."""
    if client.identity.source == "token_response":
        return _identity(client, document)
    if client.identity.source == "id_token" and claims is not None:
        return _identity(client, claims)
    return None


def _identity(client: Client, document: dict[str, Any]) -> Identity:
    subject = at_path(document, client.identity.subject)
    label = _text(at_path(document, client.identity.label)) if client.identity.label else None
    tenant = _text(at_path(document, client.identity.tenant)) if client.identity.tenant else None
    if label is not None and tenant is not None and tenant != label:
        label = f"{label} ({tenant})"[:_LONGEST]
    return Identity(subject=_text(subject), label=label or tenant)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return "".join(c for c in str(value) if c.isprintable())[:_LONGEST] or None
