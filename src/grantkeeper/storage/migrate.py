"""Which revision a database has, and bringing it to ours. Alembic is imported only to migrate."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from grantkeeper.errors import ConfigError, StorageError
from grantkeeper.storage.database import Database
from grantkeeper.storage.postgres import PostgresDatabase
from grantkeeper.storage.sqlite import SqliteDatabase


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
    """Bring the database to our revision and answer it. Safe to call from several processes at a time."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", f"{__package__}:migrations")
    config.attributes["url"] = _sqlalchemy_url(url)
    with _one_at_a_time(url):
        command.upgrade(config, "head")
    return known_revisions()[-1]


async def open_database(url: str, pool_size: int = 8) -> Database:
    """Open a database whose schema is ours; SQLite is brought there first, PostgreSQL is refused politely."""
    if url.startswith("sqlite:///"):
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
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Created here so that nobody else on the machine may read it, whatever the umask.
        path.touch(mode=0o600)
    database = SqliteDatabase(path)
    try:
        if not check_revision(await current_revision(database)):
            await asyncio.to_thread(migrate, url)
    except BaseException:
        await database.close()
        raise
    return database


def _sqlalchemy_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return url if scheme == "sqlite" else f"postgresql+asyncpg://{rest}"


@contextmanager
def _one_at_a_time(url: str) -> Iterator[None]:
    """On SQLite a lock on a file beside the database; PostgreSQL's lock is taken by the migration itself."""
    if not url.startswith("sqlite:///"):
        yield
        return
    try:
        with Path(url.removeprefix("sqlite:///") + ".migrate-lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StorageError(f"the database cannot be migrated: {error.strerror}") from None
