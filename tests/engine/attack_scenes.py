"""What the attacks need: a bank, another provider that may be hostile, and the proof that nothing was stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from grantkeeper.clock import SECOND
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import Connection, TokenSet
from grantkeeper.testing import FakeClient, FakeClock, FakeProvider, Features
from grantkeeper.testing.server import ProviderServer
from tests.engine.scenes import ADA, begin, complete, connections_of, fails, redirect_uri, token_set
from tests.support.world import BROWSER, CLIENT_ID, CLIENT_SECRET, World, open_world

MALLORY = "alan-turing"
"""Who attacks, and is a customer of the bank as well."""

_DEFINITION = """
schema = 1
name = "{name}"
label = "{label}"
category = ["test"]
colour = "#000000"
{top}
[verified]
basis = "product"
date = 2026-11-22
[parameters.base_url]
label = "Base URL"
pattern = '.+'
[authorization]
url = "{{base_url}}/authorize"
issuer = "{{base_url}}"
issuer_in_response = true
{authorization}
[scopes]
default = ["openid", "profile"]
[token]
url = "{{base_url}}/token"
{token}
[revocation]
style = "rfc7009"
url = "{{base_url}}/revoke"
[signatures]
jwks_url = "{{base_url}}/jwks"
[identity]
source = "userinfo"
url = "{{base_url}}/userinfo"
label = "name"
{more}
"""

DEVICE = _DEFINITION.replace("issuer_in_response = true\n{authorization}", "{authorization}")


def openid() -> Features:
    """What the bank can do, unless told otherwise."""
    return Features(openid=True)


class Bank(msgspec.Struct, frozen=True):
    """The product, the bank that its user connects, and a provider besides that the attacker may own."""

    world: World
    fake: FakeProvider
    other: FakeProvider
    clock: FakeClock

    async def begin(self, connection: Connection | None = None, provider: str = "bank") -> str:
        """The user begins; where the browser is sent."""
        return await begin(self.world, provider, connection=connection)

    async def callback(self, connection: Connection | None = None, subject: str = ADA) -> str:
        """Where the browser comes back to after the user has allowed it."""
        return self.fake.approve(await self.begin(connection), subject=subject)

    async def connect(self, subject: str = ADA) -> Connection:
        """A connection made as it should be."""
        return (await complete(self.world, await self.callback(subject=subject), provider="bank")).connection

    async def refused(
        self, callback: str, *, provider: str = "bank", browser: str | None = BROWSER
    ) -> AuthorizationFailed:
        """How this callback fails; nothing may have changed by it."""
        before = await self.stored()
        failure = await fails(self.world, callback, provider=provider, browser=browser)
        assert await self.stored() == before
        return failure

    async def stored(self) -> list[tuple[Connection, TokenSet]]:
        """Every connection of the account and its tokens, as the database has them."""
        found = []
        for shown in await connections_of(self.world):
            connection = await self.world.services.store.find(shown["uuid"])
            assert connection is not None
            found.append((connection, await token_set(self.world, connection)))
        return found

    def seconds(self) -> int:
        """The time, in seconds since the epoch."""
        return self.clock.now() // SECOND

    def claims(self, authorization_url: str, **changes: Any) -> dict[str, Any]:
        """The claims of a good ID token for that attempt, but for the changes; None leaves a claim out."""
        claims = {
            "iss": self.fake.issuer,
            "aud": CLIENT_ID,
            "sub": ADA,
            "iat": self.seconds(),
            "exp": self.seconds() + 60,
            "nonce": parameters_of(authorization_url)["nonce"],
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}


def parameters_of(url: str) -> dict[str, str]:
    """The query of a URL."""
    return dict(httpx2.URL(url).params)


def changed(url: str, **changes: str | None) -> str:
    """That URL with other parameters; None leaves one out."""
    kept = {name: value for name, value in (parameters_of(url) | changes).items() if value is not None}
    return str(httpx2.URL(url).copy_with(params=kept))


def write_bank(folder: Path, name: str, definition: str = _DEFINITION, **parts: str) -> None:
    """A definition of that name; `top`, `authorization`, `token` and `more` go on where they say."""
    folder.mkdir(exist_ok=True)
    words = {"top": "", "authorization": "", "token": "", "more": ""} | parts
    (folder / f"{name}.toml").write_text(definition.format(name=name, label=name.title(), **words))


def bank_client(name: str) -> FakeClient:
    """Our registration at one of them."""
    return FakeClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uris=(redirect_uri(name),))


@asynccontextmanager
async def bank_world(
    folder: Path, *, features: Features | None = None, definition: str = _DEFINITION, **parts: str
) -> AsyncIterator[Bank]:
    """The product with the providers `bank` and `other`, which have one definition and are two servers."""
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        fakes: dict[str, FakeProvider] = {}
        for name in ("bank", "other"):
            write_bank(folder / "providers", name, definition, **parts)
            server = await stack.enter_async_context(ProviderServer())
            server.app = fakes[name] = FakeProvider(
                server.url, [bank_client(name)], clock, features=msgspec.structs.replace(features or openid())
            )
            stack.callback(fakes[name].close)
        clients = {
            name: {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "parameters": {"base_url": fake.issuer}}
            for name, fake in fakes.items()
        }
        world = await stack.enter_async_context(
            open_world(
                folder,
                f"sqlite:///{folder / 'grantkeeper.sqlite3'}",
                clock=clock,
                providers_dir=folder / "providers",
                clients=clients,
            )
        )
        yield Bank(world, fakes["bank"], fakes["other"], clock)
