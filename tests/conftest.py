"""Fixtures: both databases, and the product over each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from grantkeeper.storage.migrate import migrate
from tests.support.postgres import PostgresServer
from tests.support.world import World, open_world


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole run."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """A database with our schema, to copy fresh ones from: migrating each anew takes seconds."""
    url = postgres.create_database()
    migrate(url)
    return url


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A fresh PostgreSQL database with our schema."""
    url = postgres.create_database(template=migrated_template)
    yield url
    postgres.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database on either engine: the test runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The product on SQLite with a clock that stands still."""
    async with open_world(tmp_path, f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}") as world:
        yield world


@pytest.fixture
async def either_world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The product on either engine: the test runs on both."""
    async with open_world(tmp_path, database_url) as world:
        yield world
