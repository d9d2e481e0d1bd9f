"""The real oidc-provider behind the door: connections made by a person's consent, rotation without grace."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from faults.gateway import Relay
from faults.ground import DEMO, Ground
from faults.processes import Parent
from grantkeeper.access import browser_caller
from grantkeeper.app import open_services
from grantkeeper.clock import SystemClock
from grantkeeper.crypto import create_root_keyset
from grantkeeper.model import ALL_SCOPES, Login
from tests.support.oidc_provider import OidcProvider, callback_parameters
from tests.support.world import BROWSER, PUBLIC_URL, add_login, add_token

NAME = "oidc"
CALLBACK = f"{PUBLIC_URL}/oauth/{NAME}/callback"
DEFINITION = """
schema = 1
name = "oidc"
label = "OIDC Provider"
category = ["identity"]
colour = "#336699"
[verified]
basis = "operator"
date = 2026-11-22
[parameters.issuer]
label = "Issuer"
pattern = 'http://127\\.0\\.0\\.1:[0-9]+'
[parameters.door]
label = "The lab's door"
pattern = 'http://127\\.0\\.0\\.1:[0-9]+/w[0-9]+'
[authorization]
url = "{issuer}/auth"
issuer = "{issuer}"
issuer_in_response = true
[authorization.parameters]
prompt = "consent"
[scopes]
default = ["openid", "profile"]
offline = ["offline_access"]
[token]
url = "{door}/token"
[refresh]
rotates = true
[identity]
source = "userinfo"
url = "{issuer}/me"
label = "name"
"""


class OidcGround(Ground):
    """A ground whose provider is the real one."""

    real: OidcProvider
    login: Login

    def clients(self, serial: int) -> dict[str, str]:
        """One registration."""
        name = f"CLIENTS__{NAME.upper()}"
        return {
            f"{name}__CLIENT_ID": self.real.client_id,
            f"{name}__CLIENT_SECRET": self.real.client_secret,
            f"{name}__PARAMETERS__ISSUER": self.real.issuer,
            f"{name}__PARAMETERS__DOOR": f"{self.gateway.url}/w{serial}",
        }

    async def _seed_one(self, provider: str = DEMO) -> str:
        """A person with a fresh browser consents: each connection has a grant of its own."""
        authorizations = self.services.authorizations
        url = await authorizations.start(browser_caller(self.login), NAME, BROWSER, None, None)
        async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as browser:
            callback = await self.real.consent(browser, url, f"person-{len(self.connections)}")
        query = list(callback_parameters(callback).items())
        connection = (await authorizations.complete(NAME, query, BROWSER, "lab")).connection
        self.ledger.adopt_newcomer(connection.uuid)
        self.connections.append(connection.uuid)
        return connection.uuid


@asynccontextmanager
async def open_oidc_ground(
    directory: Path, url: str, parent: Parent, rng: random.Random, real: OidcProvider
) -> AsyncIterator[OidcGround]:
    """The ground with that provider, which must know CALLBACK."""
    ground = OidcGround(directory, url, "strict", parent, rng)
    ground.real = real
    create_root_keyset(directory / "root-keyset.json")
    (directory / "providers").mkdir()
    (directory / "providers" / f"{NAME}.toml").write_text(DEFINITION)
    relay = Relay(real.issuer)
    ground.gateway.behind = relay
    async with ground.gateway:
        async with open_services(ground.settings(), SystemClock()) as services:
            ground._services = services
            ground.login = await add_login(services, "lab@example.com")
            ground.token = await add_token(services, ground.login, tuple(ALL_SCOPES))
            try:
                yield ground
            finally:
                for child in [*ground.children.values()]:
                    await ground.kill(child)
        await relay.close()
