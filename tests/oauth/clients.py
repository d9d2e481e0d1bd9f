"""Clients and answers for the protocol's tests."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from grantkeeper.clock import Instant
from grantkeeper.model import Grant, TokenSet
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Request, Response

NOW: Instant = 1_768_569_023_951_021
"""2026-01-16T13:10:23.951021Z."""

SHOP = Client(
    name="shop",
    label="Shop",
    client_id="id-1",
    client_secret="secret-1",
    redirect_uri="https://gk.example/oauth/shop/callback",
    authorization_url="https://shop.example/authorize",
    token_url="https://shop.example/token",
    revocation_url="https://shop.example/revoke",
    revocation_style="rfc7009",
)
"""A provider that does everything as the standards say."""


def shop(**changes: Any) -> Client:
    """The same with other habits."""
    return msgspec.structs.replace(SHOP, **changes)


def answer(body: object, status: int = 200, **headers: str) -> Response:
    """A JSON answer, or these bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers={"content-type": "application/json"} | named, body=content)


def good(**changes: object) -> dict[str, object]:
    """The members of a good token response; None leaves one out."""
    members: dict[str, object] = {
        "access_token": "at-2",
        "token_type": "Bearer",
        "expires_in": 3600,
        "refresh_token": "rt-2",
        "scope": "read write",
    }
    return {name: value for name, value in (members | changes).items() if value is not None}


def before(**changes: Any) -> Grant:
    """The grant that a refresh begins with."""
    tokens = TokenSet(
        access_token="at-1",
        token_type="Bearer",
        refresh_token="rt-1",
        issued_at=NOW - 10,
        access_token_expires_at=NOW,
        refresh_token_expires_at=NOW + 77,
    )
    return Grant(tokens=msgspec.structs.replace(tokens, **changes), scopes=("read",), subject="s-1", identity="Ada")


def jwt(payload: object, header: object = None) -> str:
    """A compact JWS with a signature of zeros: over TLS from the token endpoint nobody looks at it."""
    parts = ({"alg": "RS256"} if header is None else header, payload)
    encoded = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*encoded, bytes(32)])


def form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    pairs = parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(request.body))
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)
