"""What the engine's tests set up: browser attempts step by step, and providers of the test's own making."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from grantkeeper.access import browser_caller
from grantkeeper.authorize import Completed
from grantkeeper.clock import Clock
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import Connection, Login, TokenSet
from grantkeeper.testing import hostile
from grantkeeper.testing.hostile import Answer, HostileServer
from tests.support.world import BROWSER, CLIENT_ID, CLIENT_SECRET, PUBLIC_URL, World, open_world

ADA, GRACE = "ada-lovelace", "grace-hopper"

_DEFINITION = """
schema = 1
name = "{name}"
label = "{label}"
category = ["test"]
colour = "#000000"
[verified]
basis = "product"
date = 2026-11-22
[parameters.base_url]
label = "Base URL"
pattern = '.+'
[parameters.token_url]
label = "Token endpoint"
pattern = '.+'
[authorization]
url = "{{base_url}}/authorize"
[scopes]
default = {scopes}
[token]
url = "{{token_url}}"
{token}
"""


def write_definition(folder: Path, name: str, *, token: str = "", scopes: str = '["profile"]') -> None:
    """A provider definition with a `base_url` and a `token_url`; `token` goes on with further tables."""
    folder.mkdir(exist_ok=True)
    text = _DEFINITION.format(name=name, label=name.title(), scopes=scopes, token=token)
    (folder / f"{name}.toml").write_text(text)


def changed_demo(folder: Path, *changes: tuple[str, str]) -> Path:
    """A directory whose `demo.toml` stands in for the shipped one, with these words replaced by others."""
    text = resources.files("grantkeeper.catalogue").joinpath("providers", "demo.toml").read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    (folder / "demo.toml").write_text(text)
    return folder


def settings_of(base_url: str, token_url: str, **more: Any) -> dict[str, Any]:
    """The client of a definition that `write_definition` wrote."""
    parameters = {"base_url": base_url, "token_url": token_url}
    return {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "parameters": parameters, **more}


def redirect_uri(provider: str) -> str:
    """Where the provider sends the browser back to."""
    return f"{PUBLIC_URL}/oauth/{provider}/callback"


async def begin(
    world: World,
    provider: str = "demo",
    *,
    connection: Connection | None = None,
    redirect_to: str | None = None,
    login: Login | None = None,
    browser: str = BROWSER,
) -> str:
    """Start an attempt; the URL at the provider."""
    uuid = connection.uuid if connection else None
    caller = browser_caller(login or world.login)
    return await world.services.authorizations.start(caller, provider, browser, uuid, redirect_to)


async def complete(
    world: World, callback_url: str, *, provider: str = "demo", browser: str | None = BROWSER
) -> Completed:
    """What the callback does with a URL."""
    query = list(httpx2.URL(callback_url).params.multi_items())
    return await world.services.authorizations.complete(provider, query, browser, "request-1")


async def fails(
    world: World, callback_url: str, *, provider: str = "demo", browser: str | None = BROWSER
) -> AuthorizationFailed:
    """How the callback fails."""
    with pytest.raises(AuthorizationFailed) as failure:
        await complete(world, callback_url, provider=provider, browser=browser)
    return failure.value


async def connections_of(world: World) -> list[dict[str, Any]]:
    """The account's connections as the API lists them."""
    answer = await world.client.get("/api/v1/oauth/connections?include=status,health,identity,scopes")
    assert answer.status_code == 200
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def token_set(world: World, connection: Connection) -> TokenSet:
    """The tokens as they are stored, opened."""
    found = await world.services.store.get_with_tokens(connection.account_uuid, connection.uuid)
    assert found is not None
    return await world.services.store.open_tokens(found.connection, found.sealed_tokens)


async def evidence_of(world: World, uuid: str) -> list[tuple[str, dict[str, str]]]:
    """What happened to a connection: actions and their details, in order."""
    return [(line.action, line.detail) for line in await world.services.store.evidence(world.account_uuid, uuid)]


def tokens(number: int = 1, **changes: object) -> Answer:
    """A good token response, whose tokens end in `number`; None leaves a member out."""
    members: dict[str, object] = {
        "access_token": f"access-{number}",
        "refresh_token": f"refresh-{number}",
        "token_type": "Bearer",
        "expires_in": 100,
    }
    return hostile.json_body({name: value for name, value in (members | changes).items() if value is not None})


def held(gate: asyncio.Event, answer: Answer) -> Answer:
    """That answer, once the gate is opened."""

    async def waits(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await answer(writer)

    return waits


class Rough(msgspec.Struct, frozen=True):
    """A world with the provider `rough`, whose token endpoint is hostile; its pages are not needed."""

    world: World
    server: HostileServer

    def script(self, *answers: Answer) -> None:
        """What the token endpoint answers from now on; the last one for ever."""
        self.server.script("/token", *answers)

    @property
    def requests(self) -> int:
        """How often the token endpoint was asked."""
        return self.server.counts["/token"]

    async def approve(self, connection: Connection | None = None) -> str:
        """A callback URL with a code, as the provider gives it."""
        return self.callback(await begin(self.world, "rough", connection=connection))

    def callback(self, authorization_url: str) -> str:
        """Where the browser comes back to from that URL."""
        state = httpx2.URL(authorization_url).params["state"]
        return str(httpx2.URL(redirect_uri("rough"), params={"code": "a-code", "state": state}))

    async def reauthorize(self, connection: Connection) -> Connection:
        """The callback of a reauthorization; the token endpoint answers as scripted."""
        return (await complete(self.world, await self.approve(connection), provider="rough")).connection

    async def connect(self, answer: Answer | None = None) -> Connection:
        """A connection with tokens that end in 1 and live 100 seconds."""
        self.script(answer or tokens())
        return (await complete(self.world, await self.approve(), provider="rough")).connection


@asynccontextmanager
async def rough_world(
    tmp_path: Path,
    database_url: str | None = None,
    *,
    clock: Clock | None = None,
    token: str = "",
    scopes: str = '["profile"]',
    **overrides: Any,
) -> AsyncIterator[Rough]:
    """The product with the provider `rough`, to whose answers it gives a second."""
    write_definition(tmp_path / "providers", "rough", token=token, scopes=scopes)
    async with HostileServer() as server:
        url = database_url or f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
        values: dict[str, Any] = {
            "providers_dir": tmp_path / "providers",
            "provider_timeout": 1.0,
        } | overrides
        async with open_world(
            tmp_path,
            url,
            clock=clock,
            # Nobody is at the base URL, and nobody goes there.
            clients={"rough": settings_of("http://127.0.0.1:9", f"{server.url}/token")},
            **values,
        ) as world:
            yield Rough(world, server)
