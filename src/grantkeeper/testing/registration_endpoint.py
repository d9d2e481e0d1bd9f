"""POST /register (RFC 7591), and a registration's own place, /register/<client_id> (RFC 7592)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from grantkeeper.clock import SECOND
from grantkeeper.testing.asgi import Request, Response, json_response
from grantkeeper.testing.client_metadata import SECRET_METHODS, client_from_metadata
from grantkeeper.testing.features import CODE
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.vocabulary import FakeClient, OAuthError

REGISTER = "/register"
_OURS = frozenset(
    (
        "client_secret_expires_at",
        "client_id_issued_at",
        "registration_access_token",
        "registration_client_uri",
    )
)
"""Members that only the server states (RFC 7592 §2.2)."""


class _Registration(msgspec.Struct):
    metadata: dict[str, Any]
    access_token: str
    issued_at: int

    def __repr__(self) -> str:
        return "_Registration()"


class RegistrationEndpoint:
    """Registers clients, in memory, and lets each read, change and remove itself."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._registered: dict[str, _Registration] = {}

    def register(self, request: Request) -> Response:
        """201 with the client as it was registered (RFC 7591 §3.2.1)."""
        expected = self._ground.features.initial_access_token
        if expected is not None and not hmac.compare_digest(_bearer(request).encode(), expected.encode()):
            return _unauthorized()
        metadata = _metadata(request)
        client_id = f"registered-{secrets.token_hex(8)}"
        client = self._client(client_id, secrets.token_urlsafe(32), metadata)
        registration = _Registration(metadata, secrets.token_urlsafe(32), self._ground.clock.now() // SECOND)
        self._registered[client_id] = registration
        self._ground.clients.add(client)
        return json_response(201, self._answer(client, registration))

    def manage(self, request: Request) -> Response:
        """GET, PUT and DELETE of one registration, by whoever holds its access token (RFC 7592 §2)."""
        client_id = unquote(request.path.removeprefix(f"{REGISTER}/"))
        registration, client = self._registered.get(client_id), self._ground.clients.get(client_id)
        shown = _bearer(request).encode()
        if registration is None or client is None or not hmac.compare_digest(registration.access_token.encode(), shown):
            return _unauthorized()
        if request.method == "DELETE":
            return self._remove(client_id)
        if request.method == "PUT":
            client = self._replaced(client, registration, _metadata(request))
        return json_response(200, self._answer(client, registration))

    def _replaced(self, client: FakeClient, registration: _Registration, metadata: dict[str, Any]) -> FakeClient:
        if metadata.get("client_id") != client.client_id or metadata.keys() & _OURS:
            raise OAuthError("invalid_request", "The client is to name itself, and none of what only we state.")
        if metadata.pop("client_secret", client.client_secret) != client.client_secret:
            raise OAuthError("invalid_client_metadata", "A client does not choose its secret (RFC 7592 §2.2).")
        changed = self._client(client.client_id, client.client_secret or secrets.token_urlsafe(32), metadata)
        registration.metadata = metadata
        # As RFC 7592 §2.2 allows: the old registration access token is over.
        registration.access_token = secrets.token_urlsafe(32)
        self._ground.clients.add(changed)
        return changed

    def _remove(self, client_id: str) -> Response:
        """204; what the client was granted ends with it (§2.3)."""
        del self._registered[client_id]
        self._ground.clients.remove(client_id)
        for grant in self._ground.store.grants():
            if grant.client_id == client_id:
                self._ground.store.revoke_grants(self._ground.clock.now(), grant.grant_id)
        return Response(status=204, headers=(("cache-control", "no-store"),))

    def _client(self, client_id: str, secret: str, metadata: Mapping[str, Any]) -> FakeClient:
        features = self._ground.features
        unknown = set(metadata.get("grant_types") or ()) - set(features.grant_types())
        if unknown:
            raise OAuthError("invalid_client_metadata", "A grant_type is not known here.")
        return client_from_metadata(client_id, secret, metadata, features.auth_methods())

    def _answer(self, client: FakeClient, registration: _Registration) -> dict[str, object]:
        [method] = client.auth_methods
        members: dict[str, object] = {
            "grant_types": [CODE],
            "response_types": ["code"],
            **registration.metadata,
            "token_endpoint_auth_method": method,
            "client_id": client.client_id,
            "client_id_issued_at": registration.issued_at,
            "registration_access_token": registration.access_token,
            "registration_client_uri": f"{self._ground.issuer}{REGISTER}/{quote(client.client_id)}",
        }
        if method in SECRET_METHODS:
            members |= {"client_secret": client.client_secret, "client_secret_expires_at": 0}
        return members


def _metadata(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise OAuthError("invalid_client_metadata", "The body must be application/json.")
    try:
        return msgspec.json.decode(request.body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise OAuthError("invalid_client_metadata", "The body is not a JSON object.") from error


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _unauthorized() -> Response:
    header = ("www-authenticate", 'Bearer realm="demo provider", error="invalid_token"')
    return json_response(401, {"error": "invalid_token"}, (header,))
