"""Fixtures: the stores over either engine, and a root keyset."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from grantkeeper.crypto import RootKeyset, create_root_keyset
from grantkeeper.storage.migrate import migrate
from grantkeeper.storage.schema import metadata
from tests.storage.stores import Stores, open_stores
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def storage_database(postgres: PostgresServer, migrated_template: str) -> str:
    """One PostgreSQL database for all of these tests: emptying it is quicker than making another."""
    return postgres.create_database(template=migrated_template)


@pytest.fixture
def postgres_url(postgres: PostgresServer, storage_database: str) -> Iterator[str]:
    """An empty PostgreSQL database with our schema. Emptying it again waits for a test that left a lock."""
    yield storage_database
    deletions = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
    postgres.execute(f"DO $$ BEGIN {deletions}; END $$", database=storage_database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with our schema, to copy."""
    file = tmp_path_factory.mktemp("template") / "template.sqlite3"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    """A fresh database with our schema on either engine: the test runs on both."""
    if request.param == "sqlite":
        file = shutil.copy(sqlite_template, tmp_path / "grantkeeper.sqlite3")
        return f"sqlite:///{file}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def root_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root keyset, as its file holds it."""
    file = tmp_path_factory.mktemp("keys") / "root-keyset.json"
    create_root_keyset(file)
    return file.read_text("utf-8")


@pytest.fixture(scope="session")
def root(root_text: str) -> RootKeyset:
    """A root keyset."""
    return RootKeyset.parse(root_text, "test")


@pytest.fixture
async def stores(database_url: str, root: RootKeyset) -> AsyncIterator[Stores]:
    """The stores over a fresh database: the test runs on both engines."""
    async with open_stores(database_url, root) as stores:
        yield stores
