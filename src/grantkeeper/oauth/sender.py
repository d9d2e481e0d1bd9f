"""The one way a request leaves for a provider: the client proves itself, the tokens prove their holder.

Authentication (RFC 6749 §2.3, RFC 7523 §2.2, RFC 8705 §2), DPoP proofs and the server's nonces (RFC 9449 §4, §8) are
done here for every endpoint and every grant, so that none can forget them.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from grantkeeper.clock import Clock, steady_ns
from grantkeeper.errors import ClientRejected, ProviderUnavailable
from grantkeeper.model import TokenSet
from grantkeeper.oauth import dpop
from grantkeeper.oauth.assertion import client_secret_jwt, private_key_jwt
from grantkeeper.oauth.client import BY_CERTIFICATE, Client
from grantkeeper.oauth.message import Call, Request, Response, basic, renamed, written
from grantkeeper.oauth.signing import ClientCertificate, ClientKeys
from grantkeeper.terms import ClientAuthentication

_MOST_NONCES = 10_000


class Http(Protocol):
    """What sends: `http.ProviderHttp`. `timeout` is in seconds, for one request."""

    timeout: float

    async def send(self, request: Request, certificate: ClientCertificate | None = None) -> Response:
        """The provider's answer, or ProviderUnavailable."""
        ...


class Sender:
    """Sends requests as a client of the provider, with the certificate and the proofs that it wants."""

    def __init__(self, http: Http, keys: ClientKeys, clock: Clock) -> None:
        self._http = http
        self.keys = keys
        self._clock = clock
        self._nonces: dict[str, str] = {}

    @property
    def timeout(self) -> float:
        """Seconds that one request may take; with a nonce to be learned first, a call takes two."""
        return self._http.timeout

    async def call(self, client: Client, call: Call, dpop_key: str | None = None) -> Response:
        """The answer of an endpoint at which the client proves itself.

        `dpop_key`: what the tokens are bound to, or are to be. Raises ClientRejected where we have nothing to prove
        ourselves with, ProviderUnavailable where nobody answers.
        """
        began = steady_ns()
        certificate = await self._certificate(client, call.authentication)
        response, again = await self._once(client, call, dpop_key, certificate, began)
        if again:
            # Once: a server that is never content must not keep us busy (RFC 9449 §8).
            response, _ = await self._once(client, call, dpop_key, certificate, began, tries=2)
        return response

    async def protected(self, client: Client, request: Request, tokens: TokenSet) -> Response:
        """The answer of a protected resource to our access token (RFC 6750 §2.1, RFC 9449 §7)."""
        certificate = await self._certificate(client, client.authentication)
        if client.identity.token == "query":
            query = urlencode({"access_token": tokens.access_token})
            url = f"{request.url}{'&' if '?' in request.url else '?'}{query}"
            return await self._http.send(msgspec.structs.replace(request, url=url), certificate)
        response = await self._http.send(self._with_token(client, request, tokens), certificate)
        if self._learned(request.url, _proving_key(tokens), response):
            response = await self._http.send(self._with_token(client, request, tokens), certificate)
        return response

    async def plain(self, request: Request) -> Response:
        """The answer to a request that needs no proof: metadata, keys."""
        return await self._http.send(request)

    async def _once(
        self,
        client: Client,
        call: Call,
        dpop_key: str | None,
        certificate: ClientCertificate | None,
        began: int,
        tries: int = 1,
    ) -> tuple[Response, bool]:
        # Anew each time: an assertion is good for one request (RFC 7523 §3, `jti`).
        headers, parameters = await self._authenticated(client, call)
        if dpop_key is not None:
            headers["dpop"] = self._proof(dpop_key, call.method, call.url)
        request = written(call.method, call.url, headers, renamed(parameters, call.renames), call.encoding)
        if steady_ns() - began > (tries - 0.5) * self.timeout * 1e9:
            # A key that took long, or a process that was frozen: by now the lease may be another's, and what is in
            # the request may be good for one use.
            raise ProviderUnavailable("the request was not ready in time", sent=False)
        response = await self._http.send(request, certificate)
        return response, self._learned(call.url, dpop_key, response)

    async def _authenticated(self, client: Client, call: Call) -> tuple[dict[str, str], dict[str, str | list[str]]]:
        """Headers and parameters that say who we are."""
        method = call.authentication or client.authentication
        headers = {"accept": "application/json"} | {name.lower(): value for name, value in call.headers.items()}
        parameters = dict(call.parameters)
        if "authorization" in headers:
            # The token in question speaks for itself.
            return headers, parameters
        secret = client.client_secret
        if method == "client_secret_basic" and secret is not None:
            headers["authorization"] = basic(client.client_id, secret)
            return headers, parameters
        parameters["client_id"] = client.client_id
        if method == "client_secret_post" and secret is not None:
            parameters["client_secret"] = secret
        parameters |= await self._assertion(client, method)
        return headers, parameters

    async def _assertion(self, client: Client, method: ClientAuthentication) -> dict[str, str]:
        now = self._clock.now()
        if method == "private_key_jwt":
            signer = await self.keys.signer(client.signing_algorithm)
            return await private_key_jwt(
                signer, client.client_id, client.audience, now, speaker=client.assertion_speaker
            )
        if method == "client_secret_jwt":
            if client.client_secret is None:
                raise ClientRejected(f"clients.{client.name}.client_secret is missing; client_secret_jwt needs it")
            return client_secret_jwt(
                client.client_secret, client.client_id, client.audience, now, speaker=client.assertion_speaker
            )
        return {}

    async def _certificate(self, client: Client, method: ClientAuthentication | None) -> ClientCertificate | None:
        if not client.shows_certificate and method not in BY_CERTIFICATE:
            return None
        return await self.keys.certificate(client.certificate)

    def _with_token(self, client: Client, request: Request, tokens: TokenSet) -> Request:
        headers = {name.lower(): value for name, value in request.headers.items()}
        key = _proving_key(tokens)
        if key is not None:
            headers["dpop"] = self._proof(key, request.method, request.url, tokens.access_token)
            headers["authorization"] = f"DPoP {tokens.access_token}"
        else:
            headers[client.token_header] = f"{client.token_scheme} {tokens.access_token}".strip()
        return msgspec.structs.replace(request, headers=headers)

    def _proof(self, key: str, method: str, url: str, access_token: str | None = None) -> str:
        nonce = self._nonces.get(_origin(url))
        return dpop.proof(key, method, url, self._clock.now(), nonce=nonce, access_token=access_token)

    def _learned(self, url: str, dpop_key: str | None, response: Response) -> bool:
        """Whether the answer is to be asked for again, now that we know the server's nonce."""
        nonce = response.headers.get("dpop-nonce")
        if dpop_key is None or not nonce:
            return False
        if len(self._nonces) >= _MOST_NONCES:
            self._nonces.clear()
        self._nonces[_origin(url)] = nonce
        return dpop.nonce_wanted(response.status, response.headers, response.body)


def _proving_key(tokens: TokenSet) -> str | None:
    """What the access token is bound to; None: it is a bearer token, though the connection may have a key."""
    return tokens.dpop_key if tokens.token_type.lower() == "dpop" else None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
