"""The product in a test: services over a fresh database, the shipped provider on loopback, an HTTP client."""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import argon2
import httpx2

from grantkeeper.access import browser_caller
from grantkeeper.app import Application, Services
from grantkeeper.clock import Clock
from grantkeeper.config import load_settings
from grantkeeper.crypto import create_root_keyset
from grantkeeper.model import ALL_SCOPES, Connection, Login, Scope, User
from grantkeeper.testing import FakeClient, FakeClock, FakeProvider
from grantkeeper.testing.server import ProviderServer

CLIENT_ID = "grantkeeper-test"
CLIENT_SECRET = "client secret: with / odd + characters"
PASSWORD = "correct horse battery staple"
EMAIL = "ada@example.com"
PUBLIC_URL = "http://127.0.0.1:8080"
REDIRECT_URI = f"{PUBLIC_URL}/oauth/demo/callback"
BROWSER = "b" * 43


class World:
    """Everything a test may want to touch."""

    def __init__(
        self, application: Application, provider: FakeProvider, clock: FakeClock, login: Login, token: str
    ) -> None:
        assert application.services is not None
        self.application = application
        self.services: Services = application.services
        self.provider = provider
        self.clock = clock
        self.login = login
        self.token = token
        self.client = http_client(application, token)

    @property
    def account_uuid(self) -> str:
        """The account that `token` works in."""
        return self.login.account.uuid

    async def connect(self, *, subject: str = "ada-lovelace", login: Login | None = None) -> Connection:
        """Connect the demo provider as a browser would, without the pages."""
        caller = browser_caller(login or self.login)
        url = await self.services.authorizations.start(caller, "demo", BROWSER, None, None)
        return await self.finish(self.provider.approve(url, subject=subject))

    async def reauthorize(self, connection: Connection, *, subject: str = "ada-lovelace") -> Connection:
        """Authorize an existing connection again."""
        caller = browser_caller(self.login)
        url = await self.services.authorizations.start(caller, "demo", BROWSER, connection.uuid, None)
        return await self.finish(self.provider.approve(url, subject=subject))

    async def finish(self, callback_url: str) -> Connection:
        """Complete the authorization that a callback URL belongs to."""
        query = list(httpx2.URL(callback_url).params.multi_items())
        completed = await self.services.authorizations.complete("demo", query, BROWSER, "test")
        return completed.connection

    async def read_token(self, connection: Connection, **query: Any) -> httpx2.Response:
        """`GET …/token` with the world's API token."""
        return await self.client.get(f"/api/v1/oauth/connections/{connection.uuid}/token", params=query)

    async def stored(self, connection: Connection) -> Connection:
        """The connection as the database has it now."""
        found = await self.services.store.find(connection.uuid)
        assert found is not None
        return found

    async def new_login(self, email: str, account: str | None = None) -> Login:
        """Another user, in an account of its own or in the one given."""
        return await add_login(self.services, email, account)

    async def new_token(
        self, login: Login, scopes: Sequence[Scope] = tuple(ALL_SCOPES), *, any_account: bool = False
    ) -> str:
        """An API token of that login."""
        return await add_token(self.services, login, scopes, any_account=any_account)


@functools.cache
def _password_hash() -> str:
    """PASSWORD's hash, made once: it costs as much time as it should."""
    return argon2.PasswordHasher().hash(PASSWORD)


def http_client(application: Application, token: str | None = None, **options: Any) -> httpx2.AsyncClient:
    """A client that talks to the application in this process."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    transport = httpx2.ASGITransport(application, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL, headers=headers, **options)


async def add_login(services: Services, email: str, account: str | None = None) -> Login:
    """A user with PASSWORD, and an account where none is given."""
    now = services.clock.now()
    user = User(uuid=str(uuid.uuid4()), email=email, name=email.partition("@")[0], created_at=now)
    await services.people.add_user(user, _password_hash())
    if account is None:
        account = (await services.people.add_account(str(uuid.uuid4()), f"Account of {email}", now)).uuid
    await services.people.add_login(str(uuid.uuid4()), user.uuid, account, now)
    return (await services.people.list_logins(user.uuid))[0]


async def add_token(services: Services, login: Login, scopes: Sequence[Scope], *, any_account: bool = False) -> str:
    """An API token for the login's account, or for any account of its user."""
    account = None if any_account else login.account.uuid
    token, _ = await services.access.create_token(login.user.uuid, account, "test", frozenset(scopes), None)
    return token


def settings_for(
    directory: Path, database_url: str, provider_url: str, also: Mapping[str, str] = {}, **overrides: Any
) -> Any:
    """Settings with the demo provider at `provider_url` and a fresh root keyset in `directory`.

    `also`: further definitions of that provider, each with the client id that it is set up with.
    """
    keyset = directory / "root-keyset.json"
    if not keyset.exists():
        create_root_keyset(keyset)
    values: dict[str, Any] = {
        "public_url": PUBLIC_URL,
        "data_dir": directory,
        "database_url": database_url,
        "worker": "off",
        "provider_timeout": 5.0,
        "provider_networks": ["127.0.0.0/8", "::1"],
        "clients": {
            name: {"client_id": client_id, "client_secret": CLIENT_SECRET, "parameters": {"base_url": provider_url}}
            for name, client_id in {"demo": CLIENT_ID, **also}.items()
        },
    }
    return load_settings({}, None, values | overrides)


@asynccontextmanager
async def open_world(
    directory: Path, database_url: str, *, clock: Clock | None = None, **overrides: Any
) -> AsyncIterator[World]:
    """A running application with one user, one account and a token with every scope."""
    fake_clock = FakeClock()
    async with ProviderServer() as server:
        provider = FakeProvider(
            server.url,
            [FakeClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uris=(REDIRECT_URI,))],
            clock or fake_clock,
        )
        server.app = provider
        settings = settings_for(directory, database_url, server.url, **overrides)
        application = Application(settings, clock or fake_clock)
        async with application.running() as services:
            login = await add_login(services, EMAIL)
            token = await add_token(services, login, tuple(ALL_SCOPES))
            world = World(application, provider, fake_clock, login, token)
            async with world.client:
                yield world
        provider.close()
