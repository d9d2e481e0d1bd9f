"""The product with one provider, the real oidc-provider over TLS, whose definition says which profile it speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from grantkeeper.access import browser_caller
from grantkeeper.app import Application
from grantkeeper.authorize import Completed
from grantkeeper.model import Connection, TokenSet
from grantkeeper.testing import FakeClock
from tests.support.certificates import DAY, Authority, Pair, self_signed
from tests.support.oidc_provider import OidcProvider, callback_parameters
from tests.support.world import BROWSER, PUBLIC_URL, World, open_world, settings_for

CALLBACK = f"{PUBLIC_URL}/oauth/bank/callback"
LIFETIME = 300
"""Seconds that the provider's access tokens live."""
AUTHORITY = Authority()
# The provider's clock goes on through all tests, in whatever order they come: by days.
_LONG = 3650 * DAY
CERTIFICATES = {
    "tls_client_auth": AUTHORITY.client("grantkeeper", lifetime=_LONG),
    "self_signed_tls_client_auth": self_signed("us", _LONG),
}

HEAD = """
schema = 1
name = "bank"
label = "Bank"
category = ["banking"]
colour = "#336699"
TOP
[verified]
basis = "operator"
date = 2026-11-22
[parameters.issuer]
label = "Issuer"
pattern = 'https://127\\.0\\.0\\.1:[0-9]+'
[authorization]
issuer = "{issuer}"
"""
"""What every definition of it begins with; TOP stands for keys of the outermost table."""
ENDPOINTS = """
url = "{issuer}/auth"
issuer_in_response = true
AUTHORIZATION
[authorization.parameters]
prompt = "consent"
[scopes]
default = ["openid", "profile"]
offline = ["offline_access"]
[token]
url = "{issuer}/token"
TOKEN
[refresh]
rotates = true
[revocation]
style = "rfc7009"
url = "{issuer}/token/revocation"
[signatures]
jwks_url = "{issuer}/jwks"
[identity]
source = "userinfo"
url = "{issuer}/me"
label = "name"
"""
PUSHED = 'pushed_url = "{issuer}/request"'
SECRET = "a secret of thirty-two characters, or more"
FAPI: dict[str, Any] = {
    "fapi_profile": "2.0",
    "token_endpoint_auth_method": "private_key_jwt",
    "id_token_signed_response_alg": "ES256",
    "require_pushed_authorization_requests": True,
}
DPOP: dict[str, Any] = {"dpop_bound_access_tokens": True}


def definition(top: str = "", authorization: str = "", token: str = "") -> str:
    """The provider's definition with these lines more in the tables that profiles are made of."""
    text = HEAD.replace("TOP", top) + ENDPOINTS
    return text.replace("AUTHORIZATION", authorization).replace("TOKEN", token)


def lines(**keys: str) -> str:
    """Keys of a TOML table, all of them texts."""
    return "\n".join(f'{key} = "{value}"' for key, value in keys.items())


@dataclass(frozen=True)
class Profile:
    """A way to speak to the provider: what the definition says, and what the provider knows of the client.

    Without a definition the operator's settings are all there is; without `registered` the provider knows nothing.
    """

    definition: str | None = None
    registered: Mapping[str, Any] | None = None
    secret: str | None = None

    @property
    def authentication(self) -> str:
        """How the client proves itself."""
        return str(self._known("token_endpoint_auth_method") or "client_secret_basic")

    @property
    def algorithm(self) -> Any:
        """What signs the client's assertions and requests."""
        return self._known("token_endpoint_auth_signing_alg") or "ES256"

    @property
    def certificate(self) -> Pair | None:
        """What our requests show, and those of whoever uses a token that is bound to it."""
        bound = self._known("tls_client_certificate_bound_access_tokens")
        return CERTIFICATES.get(self.authentication, CERTIFICATES["tls_client_auth"] if bound else None)

    @property
    def token_type(self) -> str:
        """What the provider's answers are to say."""
        return "DPoP" if self._known("dpop_bound_access_tokens") else "Bearer"

    def _known(self, name: str) -> Any:
        return (self.registered or {}).get(name)


class Bank:
    """A person, the product, and the provider."""

    def __init__(self, world: World, provider: OidcProvider, profile: Profile) -> None:
        self.world = world
        self.provider = provider
        self.profile = profile
        self._nonce: str | None = None

    def advance(self, seconds: float) -> None:
        """Let time pass, for both sides."""
        self.advance_ours(seconds)
        self.provider.advance(seconds)

    def advance_ours(self, seconds: float) -> None:
        """Let our clock run ahead of the provider's."""
        clock = self.world.services.clock
        assert isinstance(clock, FakeClock)
        clock.advance(seconds)

    async def callback(self, connection: Connection | None = None, *, login: str | None = "ada") -> str:
        """Where a person with a fresh browser comes back to; `login`: None takes what the provider suggests."""
        caller, uuid = browser_caller(self.world.login), connection.uuid if connection else None
        url = await self.world.services.authorizations.start(caller, "bank", BROWSER, uuid, None)
        async with self.provider.browser() as browser:
            return await self.provider.consent(browser, url, login)

    async def complete(self, callback: str) -> Completed:
        """The callback."""
        query = list(callback_parameters(callback).items())
        return await self.world.services.authorizations.complete("bank", query, BROWSER, "request-1")

    async def connect(self, connection: Connection | None = None, *, login: str | None = "ada") -> Connection:
        """A new connection, or that one once more."""
        return (await self.complete(await self.callback(connection, login=login))).connection

    async def read(self, connection: Connection) -> str:
        """Its access token, as the API gives it, of the type that the profile wants."""
        answer = await self.world.read_token(connection)
        assert answer.status_code == 200, answer.text
        assert answer.json()["token_type"] == self.profile.token_type
        return str(answer.json()["access_token"])

    async def tokens(self, connection: Connection) -> TokenSet:
        """What is stored."""
        found = await self.world.services.store.get_with_tokens(connection.account_uuid, connection.uuid)
        assert found is not None
        return await self.world.services.store.open_tokens(found.connection, found.sealed_tokens)

    async def whose(self, connection: Connection, access_token: str) -> str | None:
        """Whose token it is, as the provider says to a plain client; None: it takes the token no more."""
        answer = await self.ask(access_token, await self.proof(connection))
        if "dpop-nonce" in answer.headers:
            self._nonce = answer.headers["dpop-nonce"]
            answer = await self.ask(access_token, await self.proof(connection))
        return answer.json()["sub"] if answer.status_code == 200 else None

    async def ask(
        self, access_token: str, proof: str | None, *, url: str | None = None, certificate: Pair | None = None
    ) -> httpx2.Response:
        """GET with that token, by a client that holds no key but perhaps a certificate; who the person is, mostly."""
        headers = {"authorization": f"{self.profile.token_type} {access_token}"}
        if proof is not None:
            headers["dpop"] = proof
        async with self.provider.browser(certificate or self.profile.certificate) as client:
            return await client.get(url or self.provider.userinfo_endpoint, headers=headers)

    async def proof(self, connection: Connection, method: str = "GET", url: str | None = None) -> str | None:
        """A proof for a request with the connection's token, as the API gives it; None where none is needed."""
        if self.profile.token_type != "DPoP":
            return None
        wanted = {"method": method, "url": url or self.provider.userinfo_endpoint}
        wanted |= {"nonce": self._nonce} if self._nonce else {}
        answer = await self.world.client.post(f"/api/v1/oauth/connections/{connection.uuid}/proof", json=wanted)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["proof"])

    async def disconnect(self, connection: Connection) -> None:
        """By the API."""
        gone = await self.world.client.delete(f"/api/v1/oauth/connections/{connection.uuid}")
        assert gone.status_code == 204

    async def register(self, profile: Profile, client_id: str, **more: Any) -> None:
        """Make our keys, and tell the provider of them and of the client."""
        keys = self.world.services.keys
        await keys.create(profile.algorithm)
        if profile.certificate is not None:
            chain, private_key = profile.certificate.certificate.encode(), profile.certificate.private_key.encode()
            await keys.import_certificate("default", chain, private_key)
        if profile.authentication == "tls_client_auth":
            more["tls_client_auth_subject_dn"] = CERTIFICATES["tls_client_auth"].subject
        if profile.secret is not None:
            more["client_secret"] = profile.secret
        elif "jwks_uri" not in more:
            more["jwks"] = dict(await keys.published())
        self.provider.register(client_id, **(dict(profile.registered or {}) | more))


@asynccontextmanager
async def open_bank(
    folder: Path, database_url: str, provider: OidcProvider, profile: Profile, client: Mapping[str, Any] | None = None
) -> AsyncIterator[Bank]:
    """The product with that provider, speaking that profile; `client` replaces the operator's settings for it."""
    known = {"client_id": client_id_in(folder), "parameters": {"issuer": provider.issuer}}
    secret = {"client_secret": profile.secret} if profile.secret is not None else {}
    overrides = _prepared(folder, profile, known | secret if client is None else client)
    async with open_world(folder, database_url, clock=FakeClock(provider.now), **overrides) as world:
        run = Bank(world, provider, profile)
        if profile.registered is not None:
            await run.register(profile, client_id_in(folder))
        yield run


@asynccontextmanager
async def reopened(
    folder: Path, database_url: str, before: Bank, profile: Profile, client: Mapping[str, Any]
) -> AsyncIterator[Bank]:
    """The product started again over the same database: same people, same settings but for `client`."""
    settings = settings_for(folder, database_url, "http://127.0.0.1:9", **_prepared(folder, profile, client))
    application = Application(settings, FakeClock(before.provider.now))
    async with application.running():
        world = World(application, before.world.provider, before.world.clock, before.world.login, before.world.token)
        async with world.client:
            yield Bank(world, before.provider, profile)


def _prepared(folder: Path, profile: Profile, client: Mapping[str, Any]) -> dict[str, Any]:
    """The files that the settings name, and the settings."""
    (folder / "providers").mkdir(exist_ok=True)
    if profile.definition is not None:
        (folder / "providers" / "bank.toml").write_text(profile.definition)
    (folder / "authority.pem").write_text(AUTHORITY.certificate)
    return {
        "providers_dir": folder / "providers",
        "provider_ca_file": folder / "authority.pem",
        "clients": {"bank": dict(client)},
    }


def client_id_in(folder: Path) -> str:
    """The client id of a test, which is nobody else's."""
    return f"client-{folder.name}"
