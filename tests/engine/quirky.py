"""A provider that is told to behave oddly, a definition that says so, and the whole flow between them, step by step."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import msgspec

from grantkeeper.access import browser_caller
from grantkeeper.authorize import Completed
from grantkeeper.clock import SECOND, Instant
from grantkeeper.model import Connection, Status
from tests.engine.scenes import ADA, token_set
from tests.support.world import BROWSER, CLIENT_ID, REDIRECT_URI, World, open_world

Document = dict[str, Any]
Step = Literal[
    "start", "consent", "callback", "connected", "read", "refresh", "worker", "withdrawn", "reauthorize", "disconnect"
]

LIFETIME = 3600
"""Seconds that the provider's access tokens live."""
SCOPES = ("profile", "email", "accounts.read")

PLAIN: Document = {
    "schema": 1,
    "name": "demo",
    "label": "Demo Provider",
    "category": ["demo"],
    "colour": "#000000",
    "verified": {"basis": "product", "date": "2026-11-22"},
    "parameters": {"base_url": {"label": "Base URL", "pattern": ".+"}},
    "authorization": {"url": "{base_url}/authorize"},
    "scopes": {"default": list(SCOPES)},
    "token": {"url": "{base_url}/token"},
    "revocation": {"style": "rfc7009", "url": "{base_url}/revoke"},
    "identity": {"source": "userinfo", "url": "{base_url}/userinfo", "label": "name"},
}
"""A definition of the shipped provider as it is without quirks."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One way to be odd: what the provider does (`quirks`, `features`, `policy`), and what says so (`definition`).

    `without`: the definition with the key in question left out (None: `PLAIN`), with which the flow breaks at
    `breaks`; None: it does not break, as the product needs no telling. The rest is what the flow must find.
    """

    definition: Document
    quirks: Document = {}
    features: Document = {}
    policy: Document = {}
    without: Document | None = None
    breaks: Step | None
    given: dict[str, str] = {}
    """What the user says when connecting."""
    auth_methods: frozenset[str] | None = None
    scopes: tuple[str, ...] = SCOPES
    scopes_later: tuple[str, ...] | None = None
    """The scopes after a refresh, where they are not the same."""
    identity: str = "Ada Lovelace"
    refreshable: bool = True
    refresh_lives: int | None = None
    """Seconds that the refresh token is known to live."""
    refused_revocations: tuple[bytes, ...] = ()
    """What the first revocations are answered with, HTTP 200, though nothing is revoked."""


def merged(plain: Document, *changes: Document) -> Document:
    """The definition with these tables merged into it, key by key; None takes a key out."""
    document = dict(plain)
    for change in changes:
        for key, value in change.items():
            before = document.get(key)
            document[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return {key: value for key, value in document.items() if value is not None}


def in_toml(document: Document) -> str:
    """The definition as its file says it."""
    return "".join(f"{key} = {_value(key, value)}\n" for key, value in document.items())


def _value(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value(name, inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value("", inner) for inner in value) + "]"
    return str(value) if key == "date" else json.dumps(value)


@asynccontextmanager
async def odd_world(directory: Path, database_url: str, case: Case, *, told: bool = True) -> AsyncIterator[World]:
    """The product, and the provider behaving so; `told`: the definition says it."""
    change = case.definition if told else case.without or {}
    providers = directory / "providers"
    providers.mkdir()
    (providers / "demo.toml").write_text(in_toml(merged(PLAIN, change)))
    async with open_world(directory, database_url, providers_dir=providers) as world:
        behave(world, case)
        yield world


def behave(world: World, case: Case) -> None:
    """The provider behaves so from now on."""
    provider = world.provider
    for part, changes in (
        (provider.quirks, case.quirks),
        (provider.features, case.features),
        (provider.policy, case.policy),
    ):
        for name, value in changes.items():
            assert hasattr(part, name), name
            setattr(part, name, value)
    if case.auth_methods is not None:
        known = provider.client(CLIENT_ID)
        provider.register(msgspec.structs.replace(known, auth_methods=case.auth_methods))


def assert_lives(until: Instant | None, now: Instant, seconds: int | None) -> None:
    """It ends so many seconds from now, to the whole second in which a provider may state it."""
    if until is None or seconds is None:
        assert (until, seconds) == (None, None)
        return
    assert 0 <= now + seconds * SECOND - until < 2 * SECOND


class Flow:
    """Everything that happens to a connection, from the first click to its end. `step` is where it is."""

    def __init__(self, world: World, case: Case) -> None:
        self.world = world
        self.case = case
        self.step: Step = "start"

    async def run(self) -> None:
        """All of it; whatever goes wrong is raised, and `step` tells where."""
        connection = await self.connect(self.case.given)
        token = await self.read(connection)
        if self.case.refreshable:
            token = await self.refresh_by_reader(connection, token)
            await self.refresh_by_worker(connection, token)
        await self.withdraw(connection)
        await self.disconnect(connection, await self.reauthorize(connection))

    async def begin(self, connection: Connection | None = None, given: Mapping[str, str] = {}) -> str:
        """Where the browser is sent."""
        self.step = "start"
        uuid = connection.uuid if connection else None
        caller = browser_caller(self.world.login)
        authorizations = self.world.services.authorizations
        return await authorizations.start(caller, "demo", BROWSER, uuid, None, parameters=given)

    async def completed(
        self, connection: Connection | None = None, given: Mapping[str, str] = {}, subject: str = ADA
    ) -> Completed:
        """One authorization, as a browser has it."""
        url = await self.begin(connection, given)
        self.step = "consent"
        callback = self.world.provider.approve(url, subject=subject)
        assert callback.startswith(REDIRECT_URI)
        self.step = "callback"
        query = list(httpx2.URL(callback).params.multi_items())
        return await self.world.services.authorizations.complete("demo", query, BROWSER, "test")

    async def connect(self, given: Mapping[str, str] = {}) -> Connection:
        """A new connection, which is what the provider means."""
        completed = await self.completed(given=given)
        self.step = "connected"
        await self.check(completed)
        return completed.connection

    async def check(self, completed: Completed) -> None:
        """The connection says of the grant what the provider knows of it."""
        case, world = self.case, self.world
        connection, now = completed.connection, world.clock.now()
        assert connection.status is Status.ACTIVE
        assert (connection.subject, connection.identity) == (ADA, case.identity)
        assert (connection.scopes, completed.refused_scopes) == (case.scopes, ())
        assert connection.token_type == "Bearer"
        assert connection.refreshable is case.refreshable
        assert_lives(connection.access_token_expires_at, now, LIFETIME)
        assert_lives(connection.refresh_token_expires_at, now, case.refresh_lives)
        assert world.provider.is_good((await token_set(world, connection)).access_token)

    async def read(self, connection: Connection) -> str:
        """The token, as the API hands it out."""
        self.step = "read"
        return await self._read(connection)

    async def refresh_by_reader(self, connection: Connection, before: str) -> str:
        """A new token for whoever comes when the old one is over."""
        self.step = "refresh"
        self.world.clock.advance(LIFETIME - 1)
        token = await self._read(connection)
        assert token != before
        await self.check_refreshed(connection)
        return token

    async def refresh_by_worker(self, connection: Connection, before: str) -> None:
        """A new token before anybody has to wait for it, twice."""
        self.step = "worker"
        world = self.world
        for _ in range(2):
            stored = await world.stored(connection)
            assert stored.next_refresh_at is not None
            world.clock.advance((stored.next_refresh_at - world.clock.now()) / SECOND + 1)
            await world.services.worker.run_once()
            after = await world.stored(connection)
            assert (after.status, after.generation) == (Status.ACTIVE, stored.generation + 1)
            token = (await token_set(world, connection)).access_token
            assert token != before
            assert world.provider.is_good(token)
            await self.check_refreshed(connection)

    async def check_refreshed(self, connection: Connection) -> None:
        """What is stored is what the provider meant by its answer to a refresh, a moment ago."""
        stored, now = await self.world.stored(connection), self.world.clock.now()
        assert stored.scopes == (self.case.scopes_later or self.case.scopes)
        assert stored.token_type == "Bearer"
        assert_lives(stored.access_token_expires_at, now, LIFETIME)
        assert_lives(stored.refresh_token_expires_at, now, self.case.refresh_lives)

    async def withdraw(self, connection: Connection) -> None:
        """The person ends the grant at the provider: they are told, and sent to authorize again."""
        self.step = "withdrawn"
        self.world.provider.revoke_grants()
        self.world.clock.advance(LIFETIME)
        answer = await self.world.read_token(connection)
        assert answer.status_code == 409
        assert (await self.world.stored(connection)).status is Status.NEEDS_REAUTHORIZATION

    async def reauthorize(self, connection: Connection) -> str:
        """The same connection with a new grant; the user need not say again what they have said."""
        completed = await self.completed(connection)
        self.step = "reauthorize"
        assert completed.connection.uuid == connection.uuid
        await self.check(completed)
        return await self._read(connection)

    async def disconnect(self, connection: Connection, token: str) -> None:
        """The provider knows that the grant is over."""
        self.step = "disconnect"
        world = self.world
        for body in self.case.refused_revocations:
            world.provider.answer_with(body, endpoint="revoke")
        answer = await world.client.delete(f"/api/v1/oauth/connections/{connection.uuid}")
        assert answer.status_code == 204
        for _ in range(len(self.case.refused_revocations) + 1):
            await world.services.worker.run_once()
            world.clock.advance(600)
        assert not world.provider.is_good(token)

    async def _read(self, connection: Connection) -> str:
        answer = await self.world.read_token(connection)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["token_type"] == "Bearer"
        assert self.world.provider.is_good(body["access_token"])
        await self.world.services.refresher.write_down()
        return str(body["access_token"])
