"""What storage tests work with: the stores over one open database, and rows to put into it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from grantkeeper.clock import DAY, HOUR, SECOND, Instant
from grantkeeper.crypto import RootKeyset
from grantkeeper.model import (
    Account,
    AttemptSecrets,
    Authorization,
    Claim,
    Connection,
    Evidence,
    Grant,
    HeldGrant,
    Login,
    PersonalAccessToken,
    Scope,
    Status,
    TokenSet,
    User,
)
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.storage.authorizations import AuthorizationStore
from grantkeeper.storage.client_keys import ClientKey, ClientKeyStore
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.database import Database
from grantkeeper.storage.migrate import open_database
from grantkeeper.storage.people import PeopleStore
from grantkeeper.storage.refreshes import Given, RefreshStore, Saved
from grantkeeper.storage.vault import Vault
from grantkeeper.testing import FakeClock

NOW = FakeClock().now()
LATER = NOW + 30 * SECOND
"""Where leases of these tests end."""
AMPLE = RefreshPolicy(concurrency=10_000)
"""A provider that may be asked as much as anybody likes."""

_numbers = itertools.count(1)


class Stores:
    """Every store over one database."""

    def __init__(self, url: str, database: Database, root: RootKeyset) -> None:
        self.url = url
        self.root = root
        self.database = database
        self.vault = Vault(database, root)
        self.people = PeopleStore(database, self.vault)
        self.connections = ConnectionStore(database, self.vault)
        self.refreshes = RefreshStore(database, self.vault, self.connections)
        self.authorizations = AuthorizationStore(database, self.vault)
        self.client_keys = ClientKeyStore(database, self.vault)

    async def new_account(self, name: str = "Analytical Engines") -> Account:
        """A tenant."""
        return await self.people.add_account(str(uuid.uuid4()), name, NOW)

    async def new_user(self, email: str | None = None) -> User:
        """A person."""
        user = User(uuid=str(uuid.uuid4()), email=email or f"{next(_numbers)}@example.com", name="Ada", created_at=NOW)
        assert await self.people.add_user(user, "argon2 hash")
        return user

    async def new_login(self, user: User | None = None, account: Account | None = None) -> Login:
        """A user in an account; both new unless given."""
        user, account = user or await self.new_user(), account or await self.new_account()
        assert await self.people.add_login(str(uuid.uuid4()), user.uuid, account.uuid, NOW)
        logins = await self.people.list_logins(user.uuid)
        return next(login for login in logins if login.account == account)

    async def connect(
        self, account_uuid: str | None = None, tokens: TokenSet | None = None, **changes: Any
    ) -> Connection:
        """A stored connection, as it is stored; in a new account unless one is given."""
        account_uuid = account_uuid or (await self.new_account()).uuid
        connection = msgspec.structs.replace(new_connection(account_uuid), **changes)
        evidence = new_evidence(account_uuid, "connect", connection.uuid)
        await self.connections.add(connection, tokens or new_tokens(), evidence)
        stored = await self.connections.get(account_uuid, connection.uuid)
        assert stored is not None
        return stored

    async def stored(self, connection: Connection) -> Connection:
        """The connection as it is now."""
        found = await self.connections.find(connection.uuid)
        assert found is not None
        return found

    async def claimed(self, connection: Connection, owner: str = "us", now: Instant = NOW) -> Claim:
        """The lease of a connection, which must be free, for as long as from NOW to LATER."""
        claim = await self.refreshes.claim(connection.uuid, connection.generation, owner, now, now + LATER - NOW)
        assert claim is not None
        return claim

    async def save(self, claim: Claim, given: Given, due: Instant | None = None, now: Instant = NOW) -> Saved:
        """What becomes of what a refresh brought."""
        return await self.refreshes.save_refresh(claim, given, due, now)

    async def tokens_of(self, connection: Connection) -> TokenSet:
        """The token set that is stored now."""
        found = await self.connections.get_with_tokens(connection.account_uuid, connection.uuid)
        assert found is not None
        return await self.connections.open_tokens(found.connection, found.sealed_tokens)

    async def count(self, table: str) -> int:
        """How many rows a table has."""
        row = await self.database.fetch_one(f"SELECT count(*) FROM {table}")
        assert row is not None
        return int(row[0])


@asynccontextmanager
async def open_stores(url: str, root: RootKeyset, pool_size: int = 4) -> AsyncIterator[Stores]:
    """The stores over a database instance of their own: what another process would have."""
    database = await open_database(url, pool_size)
    try:
        yield Stores(url, database, root)
    finally:
        await database.close()


def new_tokens(number: int = 1, *, refreshable: bool = True, **changes: Any) -> TokenSet:
    """The token set that the provider gave the `number`th time."""
    tokens = TokenSet(
        access_token=f"access-token-{number}",
        token_type="Bearer",
        refresh_token=f"refresh-token-{number}" if refreshable else None,
        access_token_expires_at=NOW + HOUR,
        refresh_token_expires_at=NOW + 90 * DAY,
        issued_at=NOW,
    )
    return msgspec.structs.replace(tokens, **changes)


def new_grant(number: int = 2, **changes: Any) -> Grant:
    """What was consented, with the `number`th token set."""
    grant = Grant(tokens=new_tokens(number), scopes=("read", "write"), subject="ada", identity="ada@example.com")
    return msgspec.structs.replace(grant, **changes)


def new_given(number: int = 2, **changes: Any) -> Given:
    """The grant that the provider gave the `number`th time, which it was asked for after those before it."""
    return Given(grant=new_grant(number, **changes), asked_at=NOW + number)


def new_connection(account_uuid: str) -> Connection:
    """A connection that is not stored yet."""
    return Connection(
        uuid=str(uuid.uuid4()),
        account_uuid=account_uuid,
        provider="demo",
        client_id="client-1",
        label="My Demo 1",
        status=Status.ACTIVE,
        created_at=NOW,
        updated_at=NOW,
        scopes=("read", "write"),
        generation=1,
        token_type="Bearer",
        refreshable=True,
        subject="ada",
        identity="ada@example.com",
        access_token_expires_at=NOW + HOUR,
        refresh_token_expires_at=NOW + 90 * DAY,
        refreshed_at=NOW,
        next_refresh_at=NOW,
    )


def new_evidence(account_uuid: str, action: str, connection_uuid: str | None = None, **detail: str) -> Evidence:
    """A line of evidence."""
    return Evidence(
        at=NOW,
        account_uuid=account_uuid,
        actor="user:ada",
        action=action,
        connection_uuid=connection_uuid,
        request_id="request-1",
        detail=detail,
    )


def new_token(login: Login, **changes: Any) -> PersonalAccessToken:
    """An API token for a login's account."""
    token = PersonalAccessToken(
        uuid=str(uuid.uuid4()),
        user_uuid=login.user.uuid,
        account_uuid=login.account.uuid,
        name="ci",
        scopes=frozenset((Scope.CONNECTIONS_READ, Scope.TOKENS_READ)),
        created_at=NOW,
        expires_at=NOW + DAY,
    )
    return msgspec.structs.replace(token, **changes)


def new_client_key(kid: str, **changes: Any) -> ClientKey:
    """A key that signs and is not stored yet."""
    key = ClientKey(
        kid=kid, kind="signing", algorithm="ES256", created_at=NOW, signs_from=NOW, public_jwk='{"kty":"EC"}'
    )
    return msgspec.structs.replace(key, **changes)


def new_authorization(login: Login, **changes: Any) -> Authorization:
    """A browser attempt in flight."""
    attempt = Authorization(
        state_hash=uuid.uuid4().bytes * 2,
        account_uuid=login.account.uuid,
        user_uuid=login.user.uuid,
        provider="demo",
        client_id="client-1",
        redirect_uri="http://127.0.0.1:8080/oauth/demo/callback",
        browser_hash=b"b" * 32,
        created_at=NOW,
        expires_at=NOW + HOUR,
        secrets=AttemptSecrets(code_verifier="code-verifier-1", nonce="nonce-1"),
    )
    return msgspec.structs.replace(attempt, **changes)


def new_held_grant(login: Login, **changes: Any) -> HeldGrant:
    """A grant of another person than the connection's."""
    held = HeldGrant(
        handle_hash=uuid.uuid4().bytes * 2,
        account_uuid=login.account.uuid,
        user_uuid=login.user.uuid,
        provider="demo",
        client_id="client-1",
        connection_uuid=str(uuid.uuid4()),
        grant=new_grant(subject="charles"),
        expires_at=NOW + HOUR,
        redirect_to="/connections",
    )
    return msgspec.structs.replace(held, **changes)


def seconds(number: float) -> Instant:
    """The instant so many seconds after NOW."""
    return NOW + int(number * SECOND)
