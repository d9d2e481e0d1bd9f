"""What tests of discovery talk to: metadata as values, and a small authorization server with an MCP resource."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from joserfc.jwk import ECKey

from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.clients import Clients, Found
from grantkeeper.config import ClientSettings
from grantkeeper.oauth.message import Request as Asked
from grantkeeper.oauth.message import Response as Answer
from grantkeeper.oauth.metadata import ResourceMetadata, resource_metadata, server_metadata
from grantkeeper.testing.asgi import Receive, Request, Response, Scope, Send, json_response, read_request

ISSUER = "https://as.example"
PUBLIC_URL = "https://gk.example"


def metadata(issuer: str, /, **changes: object) -> dict[str, Any]:
    """What an ordinary server says of itself; None leaves a member out."""
    members: dict[str, object] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "revocation_endpoint": f"{issuer}/revoke",
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
        "code_challenge_methods_supported": ["S256"],
    }
    return {name: value for name, value in (members | changes).items() if value is not None}


def found(**changes: object) -> Found:
    """The same, as it was found."""
    return Found(metadata=server_metadata(metadata(ISSUER, **changes), ISSUER))


def resource(url: str, **changes: object) -> ResourceMetadata:
    """What a resource says of itself."""
    return resource_metadata({"resource": url, "authorization_servers": [ISSUER]} | changes, (url,))


def clients(public_url: str = PUBLIC_URL, /, **given: dict[str, Any]) -> Clients:
    """Clients out of nothing but the shipped catalogue and these settings."""
    return Clients(
        load_catalogue(None), {name: ClientSettings(**settings) for name, settings in given.items()}, public_url
    )


class Server:
    """An authorization server's metadata, keys and registrations, and a resource at `/mcp`, served as ASGI.

    `counts` says what was asked for, by path; `hold` makes registrations wait for `released`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.document: dict[str, Any] | None = metadata(url, registration_endpoint=f"{url}/register")
        self.resource: dict[str, Any] | None = {
            "resource": f"{url}/mcp",
            "authorization_servers": [url],
            "scopes_supported": ["files:read"],
        }
        self.challenge: str | None = None
        self.keys: list[ECKey] = [new_key("first")]
        self.counts: Counter[str] = Counter()
        self.registered: dict[str, dict[str, Any]] = {}
        self.status = 200
        self.registration_answer: dict[str, Any] = {}
        self.refuse_registration: tuple[int, dict[str, Any]] | None = None
        self.hold = False
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()
        self.more: dict[str, dict[str, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await read_request(scope, receive, scope["path"])
        self.counts[f"{request.method} {request.path}"] += 1
        await (await self._answer(request)).send(send)

    async def _answer(self, request: Request) -> Response:
        if request.path.startswith("/register"):
            return await self._registration(request)
        if self.status != 200:
            return Response(status=self.status)
        if request.path == "/mcp":
            headers = (("www-authenticate", self.challenge),) if self.challenge else ()
            return json_response(401, {"error": "invalid_token"}, headers)
        documents = {
            "/.well-known/oauth-authorization-server": self.document,
            "/.well-known/oauth-protected-resource/mcp": self.resource,
            "/elsewhere": self.resource,
            "/jwks": {"keys": [{**key.as_dict(private=False), "use": "sig"} for key in self.keys]},
        } | self.more
        document = documents.get(request.path)
        return Response(status=404) if document is None else json_response(200, document)

    async def _registration(self, request: Request) -> Response:
        if self.hold:
            self.arrived.set()
            await self.released.wait()
        if self.refuse_registration is not None:
            return json_response(*self.refuse_registration)
        if request.method == "POST":
            client_id = f"client-{len(self.registered) + 1}"
            self.registered[client_id] = json.loads(request.body)
            return json_response(201, self._registered(client_id))
        client_id = request.path.rpartition("/")[2]
        if request.headers.get("authorization") != f"Bearer rat-{client_id}" or client_id not in self.registered:
            return json_response(401, {"error": "invalid_token"})
        if request.method == "DELETE":
            del self.registered[client_id]
            return Response(status=204)
        self.registered[client_id] = json.loads(request.body)
        return json_response(200, self._registered(client_id))

    def _registered(self, client_id: str) -> dict[str, Any]:
        return {
            "client_id": client_id,
            "client_secret": f"secret-of-{client_id}",
            "client_secret_expires_at": 0,
            "registration_access_token": f"rat-{client_id}",
            "registration_client_uri": f"{self.url}/register/{client_id}",
        } | self.registration_answer


def new_key(kid: str) -> ECKey:
    """A key to sign with."""
    return ECKey.generate_key("P-256", {"kid": kid})


class Plainly:
    """Sends what needs no proof, as the product's sender does."""

    def __init__(self, http: Any) -> None:
        self._http = http

    async def plain(self, request: Asked) -> Answer:
        """The answer, or ProviderUnavailable."""
        answer: Answer = await self._http.send(request)
        return answer
