"""Whose grant it is at the provider: userinfo, ID token or a member of the token response."""

from __future__ import annotations

from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Request, Response, at_path

_LONGEST = 255
_LEEWAY = 120 * SECOND


class Identity(Record, frozen=True):
    """The stable subject at the provider, and a name to show beside the label."""

    subject: str | None = None
    label: str | None = None


def userinfo_request(client: Client, access_token: str) -> Request | None:
    """Ask the provider whose token this is (OpenID Connect Core §5.3); None where it has no such place."""
    if client.identity.source != "userinfo" or client.identity.url is None:
        return None
    headers = {"accept": "application/json", "authorization": f"Bearer {access_token}"}
    headers |= {name.lower(): value for name, value in client.identity.headers.items()}
    return Request(method="GET", url=client.identity.url, headers=headers)


def userinfo_response(client: Client, response: Response) -> Identity:
    """The identity in a userinfo answer."""
    if response.status == 429 or response.status >= 500:
        raise ProviderUnavailable(f"{client.label} answered HTTP {response.status} when asked whose grant it is")
    if response.status >= 300:
        raise ProviderProtocolError(f"{client.label} answered HTTP {response.status} when asked whose grant it is")
    return _identity(client, response.json_object())


def identity_in_token_response(
    client: Client, document: dict[str, Any], nonce: str | None, now: Instant
) -> Identity | None:
    """The identity that came with the tokens; None where the provider is to be asked.

    ProviderProtocolError for an ID token that is not for us: its tokens must not be used either.
    """
    if client.identity.source == "token_response":
        return _identity(client, document)
    if client.identity.source == "id_token":
        token = document.get("id_token")
        return _identity(client, id_token_claims(client, token, nonce, now)) if isinstance(token, str) else None
    return None


def id_token_claims(client: Client, id_token: str, nonce: str | None, now: Instant) -> dict[str, Any]:
    """The claims of an ID token that came straight from the token endpoint over TLS.

    OpenID Connect Core §3.1.3.7 lets TLS stand for the signature there; issuer, audience, expiry and
    nonce are checked.
    """
    try:
        claims = msgspec.json.decode(jws.extract_compact(id_token.encode()).payload, type=dict[str, Any])
    except (JoseError, ValueError, RecursionError):
        raise ProviderProtocolError(f"{client.label} sent an ID token that is not a JWT") from None
    audience, expiry = claims.get("aud"), claims.get("exp")
    wrong = [
        name
        for name, bad in (
            ("aud", client.client_id not in (audience if isinstance(audience, list) else [audience])),
            ("exp", not isinstance(expiry, int | float) or expiry * SECOND + _LEEWAY < now),
            ("nonce", nonce is not None and claims.get("nonce") != nonce),
            ("iss", client.issuer is not None and claims.get("iss") != client.issuer),
        )
        if bad
    ]
    if wrong:
        raise ProviderProtocolError(f"{client.label} sent an ID token that is not for us: {', '.join(wrong)}")
    return claims


def _identity(client: Client, document: dict[str, Any]) -> Identity:
    subject = at_path(document, client.identity.subject)
    label = at_path(document, client.identity.label) if client.identity.label else None
    return Identity(subject=_text(subject), label=_text(label))


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return "".join(c for c in str(value) if c.isprintable())[:_LONGEST] or None
