"""How the fake provider knows a client at its token and revocation endpoints (RFC 6749 §2.3)."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from urllib.parse import unquote_plus

from grantkeeper.testing.asgi import Parameters, Request
from grantkeeper.testing.vocabulary import FakeClient, OAuthError


def auth_method(request: Request, form: Parameters) -> str | None:
    """Which method the request uses, whether or not it succeeds."""
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    if scheme:
        return {"basic": "client_secret_basic"}.get(scheme, scheme)
    return "client_secret_post" if form.get("client_secret") else None


def authenticate_client(request: Request, form: Parameters, clients: Mapping[str, FakeClient]) -> FakeClient:
    """The client that sent the request, or `invalid_client`; with two methods at once, `invalid_request`."""
    method = auth_method(request, form)
    if method == "client_secret_basic":
        if form.get("client_secret"):
            raise OAuthError("invalid_request", "More than one way of client authentication was used.")
        client_id, secret = _basic(request.headers["authorization"])
        if form.get("client_id") not in (None, client_id):
            raise OAuthError("invalid_request", "Two different clients are named.")
    else:
        client_id, secret = form.get("client_id") or "", form.get("client_secret") or ""
    client = clients.get(client_id)
    expected = client.client_secret if client else ""
    matches = hmac.compare_digest(expected.encode(), secret.encode())
    if client is None or not secret or not matches:
        raise OAuthError("invalid_client", "The client is unknown or its secret is wrong.", status=401)
    if method not in client.auth_methods:
        raise OAuthError("invalid_client", f"This client must not use {method}.", status=401)
    return client


def _basic(header: str) -> tuple[str, str]:
    """Client id and secret, each form-urlencoded before they were joined (RFC 6749 §2.3.1)."""
    try:
        decoded = base64.b64decode(header.partition(" ")[2].strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise OAuthError("invalid_client", "The Authorization header is malformed.", status=401) from None
    client_id, _, secret = decoded.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)
