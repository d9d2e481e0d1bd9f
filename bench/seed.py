"""A database to measure on: one account with 15 connections, whose tokens are as long as real ones."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import NamedTuple

from grantkeeper.app import Services, open_services
from grantkeeper.clock import DAY, HOUR, Instant
from grantkeeper.config import load_settings
from grantkeeper.crypto import create_root_keyset
from grantkeeper.model import ALL_SCOPES, Account, Connection, Evidence, Status, TokenSet, User
from grantkeeper.storage.migrate import migrate

CONNECTIONS = 15


class Seeded(NamedTuple):
    """What the load generator needs."""

    token: str
    connection_uuid: str
    environment: dict[str, str]


def prepare(directory: Path, database_url: str) -> dict[str, str]:
    """A root keyset in `directory` and an empty schema; the settings that name them, as an environment."""
    create_root_keyset(directory / "root-keyset.json")
    migrate(database_url)
    return {
        "GRANTKEEPER_DATA_DIR": str(directory),
        "GRANTKEEPER_DATABASE_URL": database_url,
        "GRANTKEEPER_PROVIDER_NETWORKS": "127.0.0.1",
    }


def seed(directory: Path, database_url: str, port: int) -> Seeded:
    """Create the data in `directory` and `database_url`; the environment is for `grantkeeper serve`."""
    environment = prepare(directory, database_url) | {
        "GRANTKEEPER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GRANTKEEPER_PORT": str(port),
        "GRANTKEEPER_RATE_LIMIT": "1000000000",
        "GRANTKEEPER_CLIENTS__DEMO__CLIENT_ID": "bench",
        "GRANTKEEPER_CLIENTS__DEMO__CLIENT_SECRET": "bench",
        "GRANTKEEPER_CLIENTS__DEMO__PARAMETERS__BASE_URL": "http://127.0.0.1:9",
    }
    token, connection_uuid = asyncio.run(_fill(environment))
    return Seeded(token, connection_uuid, environment)


async def _fill(environment: dict[str, str]) -> tuple[str, str]:
    async with open_services(load_settings(environment)) as services:
        now = services.clock.now()
        user, account = await new_account(services, now)
        token, _ = await services.access.create_token(user.uuid, account.uuid, "bench", ALL_SCOPES, now + DAY)
        tokens = TokenSet(
            access_token="a" * 800,
            token_type="Bearer",
            refresh_token="r" * 200,
            issued_at=now,
            access_token_expires_at=now + 4 * HOUR,
        )
        for number in range(CONNECTIONS):
            connection = new_connection(str(uuid.uuid4()), account.uuid, "demo", now, number)
            evidence = Evidence(at=now, account_uuid=account.uuid, actor="bench", action="connect")
            await services.store.add(connection, tokens, evidence)
        return token, connection.uuid


async def new_account(services: Services, now: Instant) -> tuple[User, Account]:
    """An account and a user who belongs to it."""
    user = User(uuid=str(uuid.uuid4()), email="bench@example.com", name="Bench", created_at=now)
    await services.people.add_user(user, "no password")
    account = await services.people.add_account(str(uuid.uuid4()), "Bench", now)
    await services.people.add_login(str(uuid.uuid4()), user.uuid, account.uuid, now)
    return user, account


def new_connection(uuid: str, account_uuid: str, provider: str, now: Instant, number: int = 0) -> Connection:
    """A connection that has just been made and is due in three hours."""
    return Connection(
        uuid=uuid,
        account_uuid=account_uuid,
        provider=provider,
        client_id="bench",
        label=f"My {provider.title()} Account {number + 1}",
        status=Status.ACTIVE,
        created_at=now + number,
        updated_at=now + number,
        scopes=("profile", "accounts.read"),
        generation=1,
        token_type="Bearer",
        refreshable=True,
        access_token_expires_at=now + 4 * HOUR,
        refreshed_at=now,
        next_refresh_at=now + 3 * HOUR,
    )
