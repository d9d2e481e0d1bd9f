"""Fixtures: both databases, and the product over each."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from grantkeeper.storage.migrate import migrate
from tests.support.postgres import PostgresServer
from tests.support.world import World, open_world

# How quickly examples are made, or a test runs, says something of the machine only.
settings.register_profile("grantkeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("grantkeeper")


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


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for SQLite: a file with our schema."""
    file = tmp_path_factory.mktemp("template") / "grantkeeper.sqlite3"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """A fresh SQLite database with our schema."""
    file = tmp_path / "grantkeeper.sqlite3"
    shutil.copy(migrated_file, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database on either engine: the test runs on both."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
async def world(tmp_path: Path, sqlite_url: str) -> AsyncIterator[World]:
    """The product on SQLite with a clock that stands still."""
    async with open_world(tmp_path, sqlite_url) as world:
        yield world


@pytest.fixture
async def either_world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The product on either engine: the test runs on both."""
    async with open_world(tmp_path, database_url) as world:
        yield world
