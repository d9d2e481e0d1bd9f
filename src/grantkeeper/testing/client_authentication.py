"""How the fake provider knows a client (RFC 6749 §2.3, RFC 7523 §2.2)."""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import unquote_plus

from joserfc.jwk import OctKey

from grantkeeper.clock import Clock
from grantkeeper.testing.asgi import Parameters, Request
from grantkeeper.testing.client_directory import ClientDirectory
from grantkeeper.testing.features import Features
from grantkeeper.testing.jwt_reading import BadJwt, Claims, SeenIds, check_claims, read_jwt, unverified
from grantkeeper.testing.quirks import Quirks
from grantkeeper.testing.vocabulary import FakeClient, OAuthError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def auth_method(request: Request, form: Parameters) -> str | None:
    """Which method the request uses, whether or not it succeeds."""
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    if scheme:
        return {"basic": "client_secret_basic"}.get(scheme, scheme)
    if assertion := form.get("client_assertion"):
        return "client_secret_jwt" if _algorithm(assertion).startswith("HS") else "private_key_jwt"
    return "client_secret_post" if form.get("client_secret") else None


def named_client(request: Request, form: Parameters) -> str | None:
    """The client id that a request names, believed by nobody yet."""
    try:
        if request.headers.get("authorization", "").lower().startswith("basic "):
            return _basic(request.headers["authorization"])[0]
        if assertion := form.get("client_assertion"):
            return str(unverified(assertion)[1].get("sub"))
    except (BadJwt, OAuthError):
        return None
    return form.get("client_id")


class ClientAuthentication:
    """Finds out which client sent a request."""

    def __init__(self, issuer: str, clients: ClientDirectory, clock: Clock, features: Features, quirks: Quirks) -> None:
        self._issuer = issuer
        self._clients = clients
        self._clock = clock
        self._features = features
        self._quirks = quirks
        self._used = SeenIds()

    def request(self, request: Request) -> tuple[Parameters, FakeClient]:
        """The form, no parameter of it repeated, and the client that sent it."""
        form = request.form()
        if form.repeated:
            raise OAuthError("invalid_request", "A parameter is repeated.")
        return form, self.client(request, form)

    def client(self, request: Request, form: Parameters) -> FakeClient:
        """The client, or `invalid_client`; with two methods at once, `invalid_request`."""
        method = auth_method(request, form)
        _require_one_method(request, form)
        if method in ("private_key_jwt", "client_secret_jwt"):
            client = self._by_assertion(request, form, method)
        elif method is None and self._is_public(form.get("client_id")):
            return self._clients[form.get("client_id") or ""]
        else:
            client = self._by_secret(request, form, method)
        if method not in client.auth_methods:
            raise _unknown(f"This client must not use {method}.")
        return client

    def _is_public(self, client_id: str | None) -> bool:
        client = self._clients.get(client_id or "")
        return self._features.public_clients and client is not None and "none" in client.auth_methods

    def _by_secret(self, request: Request, form: Parameters, method: str | None) -> FakeClient:
        if method == "client_secret_basic":
            client_id, secret = _basic(request.headers["authorization"])
            if form.get("client_id") not in (None, client_id):
                raise OAuthError("invalid_request", "Two different clients are named.")
        else:
            client_id, secret = form.get("client_id") or "", form.get("client_secret") or ""
        client = self._clients.get(client_id)
        expected = client.client_secret if client else ""
        if client is None or not secret or not hmac.compare_digest(expected.encode(), secret.encode()):
            raise _unknown("The client is unknown or its secret is wrong.")
        return client

    def _by_assertion(self, request: Request, form: Parameters, method: str) -> FakeClient:
        """RFC 7523 §3: issuer and subject are the client, the audience is us, and it is good once."""
        assertion = form.get("client_assertion") or ""
        if not self._features.client_assertions or form.get("client_assertion_type") != ASSERTION_TYPE:
            raise _unknown("Assertions of this type are not known here.")
        try:
            client = self._clients.get(str(unverified(assertion)[1].get("sub")))
            if client is None or form.get("client_id") not in (None, client.client_id):
                raise BadJwt("Its subject is not the client.")
            claims = self._verified(client, assertion, method)
            if claims.get("iss") != (self._quirks.assertion_issuer or client.client_id):
                raise BadJwt("Its issuer is not the client.")
            self._check_audience(claims, request)
            self._used.use(client.client_id, claims.get("jti"), self._clock.now())
        except BadJwt as reason:
            raise _unknown(f"The assertion is not good. {reason}") from reason
        return client

    def _verified(self, client: FakeClient, assertion: str, method: str) -> Claims:
        if method == "private_key_jwt":
            return read_jwt(assertion, self._clients.public_keys(client))[1]
        if not client.client_secret:
            raise BadJwt("The client has no secret.")
        return read_jwt(assertion, OctKey.import_key(client.client_secret), ("HS256", "HS384", "HS512"))[1]

    def _check_audience(self, claims: Claims, request: Request) -> None:
        audiences = {self._issuer, f"{self._issuer}/token", self._issuer + request.path}
        if self._features.assertion_audience_is_issuer:
            audiences = {self._issuer}
            if claims.get("aud") != self._issuer:
                raise BadJwt("Its audience is not the issuer alone.")
        check_claims(claims, audiences=audiences, now=self._clock.now())


def _require_one_method(request: Request, form: Parameters) -> None:
    by_header = request.headers.get("authorization", "").lower().startswith("basic")
    used = [by_header, form.get("client_secret") is not None, form.get("client_assertion") is not None]
    if sum(used) > 1:
        raise OAuthError("invalid_request", "More than one way of client authentication was used.")


def _algorithm(assertion: str) -> str:
    try:
        return str(unverified(assertion)[0].get("alg"))
    except BadJwt:
        return ""


def _unknown(description: str) -> OAuthError:
    return OAuthError("invalid_client", description, status=401)


def _basic(header: str) -> tuple[str, str]:
    """Client id and secret, each form-urlencoded before they were joined (RFC 6749 §2.3.1)."""
    try:
        decoded = base64.b64decode(header.partition(" ")[2].strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise OAuthError("invalid_client", "The Authorization header is malformed.", status=401) from None
    client_id, _, secret = decoded.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)
