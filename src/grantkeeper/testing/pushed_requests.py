"""POST /par (RFC 9126) and signed request objects (RFC 9101): requests that do not stand in the browser's URL."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec

from grantkeeper.clock import SECOND, Instant
from grantkeeper.testing.asgi import Parameters, Request, Response, json_response
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.jwt_reading import BadJwt, Claims, check_claims, read_jwt
from grantkeeper.testing.vocabulary import FakeClient, OAuthError, PageRefusal

PREFIX = "urn:ietf:params:oauth:request_uri:"

LIFETIME = 60
"""Seconds that a pushed request waits for its browser."""

_AUTHENTICATION = frozenset(("client_secret", "client_assertion", "client_assertion_type"))
_ABOUT_THE_JWT = frozenset(("iss", "aud", "exp", "iat", "nbf", "jti", "sub"))


class _Pushed(msgspec.Struct, frozen=True):
    client_id: str
    pairs: list[tuple[str, str]]
    expires_at: Instant

    def __repr__(self) -> str:
        return f"_Pushed({self.client_id!r})"


class PushedRequests:
    """Keeps pushed requests, in memory; each is good once."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._waiting: dict[str, _Pushed] = {}

    def push(self, request: Request, check: Callable[[Parameters], object]) -> Response:
        """Answer POST /par. `check` reads the request as the authorization endpoint would."""
        form, client = self._ground.authentication.request(request)
        if form.get("request_uri") is not None:
            raise OAuthError("invalid_request", "A request_uri cannot be pushed (RFC 9126 §2.1).")
        named = [("client_id", client.client_id)]
        pairs = [pair for pair in form.pairs() if pair[0] not in _AUTHENTICATION | {"client_id"}] + named
        query = self._bound_to_key(request, self._opened(client, Parameters(urlencode(pairs))))
        try:
            check(query)
        except PageRefusal as refusal:
            raise OAuthError("invalid_request", str(refusal)) from refusal
        uri = PREFIX + secrets.token_urlsafe(24)
        now = self._ground.clock.now()
        self._waiting = {known: entry for known, entry in self._waiting.items() if entry.expires_at > now}
        self._waiting[uri] = _Pushed(client.client_id, query.pairs(), now + LIFETIME * SECOND)
        return json_response(201, {"request_uri": uri, "expires_in": LIFETIME})

    def resolve(self, query: Parameters) -> Parameters:
        """The request that a browser brings, wherever it stands; `PageRefusal` if it is not there."""
        features = self._ground.features
        uri = query.get("request_uri")
        if uri is not None and features.pushed_requests != "off":
            return self._taken(uri, query.get("client_id"))
        client = self._ground.clients.get(query.get("client_id") or "")
        if client is None:
            return query  # the page that says so comes later
        if features.pushed_requests == "required":
            raise OAuthError("invalid_request", "Requests must be pushed first (RFC 9126 §5).")
        return self._opened(client, query)

    def _taken(self, uri: str, client_id: str | None) -> Parameters:
        entry = self._waiting.get(uri)
        if entry is None or entry.client_id != client_id:
            raise PageRefusal("The request_uri is unknown, has been used, or is another client's.")
        del self._waiting[uri]
        if entry.expires_at <= self._ground.clock.now():
            raise PageRefusal("The request_uri has expired.")
        return Parameters(urlencode(entry.pairs))

    def _opened(self, client: FakeClient, query: Parameters) -> Parameters:
        """The parameters of the request object, and no others (RFC 9101 §6.3)."""
        token, demand = query.get("request"), self._ground.features.request_objects
        if demand == "off" or (token is None and demand == "offered"):
            return query
        if token is None:
            raise OAuthError("invalid_request", "The request must be signed (RFC 9101).")
        try:
            header, claims = read_jwt(token, self._ground.clients.public_keys(client))
            check_claims(claims, audiences={self._ground.issuer}, now=self._ground.clock.now())
            if claims.get("client_id") != client.client_id or claims.get("iss") != client.client_id:
                raise BadJwt("It is another client's.")
            if claims.keys() & {"request", "request_uri"} or header.get("typ") not in ("oauth-authz-req+jwt", "JWT"):
                raise BadJwt("It is not a request object.")
        except BadJwt as reason:
            raise OAuthError("invalid_request_object", f"The request object is not good. {reason}") from reason
        return Parameters(urlencode(_pairs(claims)))

    def _bound_to_key(self, request: Request, query: Parameters) -> Parameters:
        """A proof at /par binds the code, as `dpop_jkt` does (RFC 9449 §10.1)."""
        thumbprint = self._ground.proofs.presented(request)
        if thumbprint is None:
            return query
        if query.get("dpop_jkt") not in (None, thumbprint):
            raise OAuthError("invalid_dpop_proof", "The proof is by another key than dpop_jkt names.")
        others = [pair for pair in query.pairs() if pair[0] != "dpop_jkt"]
        return Parameters(urlencode([*others, ("dpop_jkt", thumbprint)]))


def _pairs(claims: Claims) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in claims.items():
        if name in _ABOUT_THE_JWT:
            continue
        several = value if name == "resource" and isinstance(value, list) else [value]
        pairs += [(name, each if isinstance(each, str) else json.dumps(each)) for each in several]
    return pairs
