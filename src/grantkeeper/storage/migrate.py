"""Which revision a database has, and bringing it to ours. Alembic is imported only to migrate."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path

from grantkeeper.errors import ConfigError
from grantkeeper.storage import postgres, sqlite
from grantkeeper.storage.database import Database
from grantkeeper.storage.postgres import PostgresDatabase
from grantkeeper.storage.sqlite import SqliteDatabase

_SQLITE = "sqlite:///"


def known_revisions() -> list[str]:
    """The revisions this program knows, oldest first: the stems of its migration files."""
    versions = files(f"{__package__}.migrations").joinpath("versions")
    return sorted(entry.name.removesuffix(".py") for entry in versions.iterdir() if entry.name[:4].isdigit())


async def current_revision(database: Database) -> str | None:
    """The revision of an open database; None: it is empty."""
    table = (
        "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        if database.dialect == "sqlite"
        else "SELECT 1 FROM pg_catalog.pg_class WHERE oid = to_regclass('alembic_version')"
    )
    if await database.fetch_one(table) is None:
        return None
    row = await database.fetch_one("SELECT version_num FROM alembic_version")
    return row[0] if row else None


def check_revision(revision: str | None) -> bool:
    """True where the revision is ours, False where migrations are missing; ConfigError where it is newer."""
    known = known_revisions()
    if revision is not None and revision not in known:
        raise ConfigError(
            [
                f"the database has schema {revision}, which is newer than this program (it knows up to {known[-1]}); "
                "run the newer program, or restore a backup from before the upgrade"
            ]
        )
    return revision == known[-1]


def migrate(url: str) -> str:
    """Bring the database to our revision and answer it. Safe to call from several processes at a time.

    All or nothing. Raises ConfigError where its schema is newer, StorageError as `open_database` does.
    """
    from grantkeeper.storage.migrations.upgrade import upgrade

    if url.startswith(_SQLITE):
        _create_file(url)
    with sqlite.translated() if url.startswith(_SQLITE) else postgres.translated_opening():
        upgrade(url)
    return known_revisions()[-1]


async def open_database(url: str, pool_size: int = 8) -> Database:
    """Open a database whose schema is ours; SQLite is brought there first, PostgreSQL is refused politely."""
    if url.startswith(_SQLITE):
        return await _open_sqlite(url)
    database = await PostgresDatabase.open(url, pool_size)
    try:
        if not check_revision(await current_revision(database)):
            raise ConfigError(["the database wants migrating; run `grantkeeper migrate` once, then start again"])
    except BaseException:
        await database.close()
        raise
    return database


async def _open_sqlite(url: str) -> Database:
    database = SqliteDatabase(_create_file(url))
    try:
        if not check_revision(await current_revision(database)):
            await asyncio.to_thread(migrate, url)
    except BaseException:
        await database.close()
        raise
    return database


def _create_file(url: str) -> Path:
    """The file of an SQLite URL, there from now on; ConfigError where it cannot be made."""
    path = Path(url.removeprefix(_SQLITE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Created here so that nobody else on the machine may read it, whatever the umask.
            path.touch(mode=0o600)
    except OSError as error:
        raise ConfigError([f"{path}: the database cannot be created: {error.strerror}"]) from None
    return path
