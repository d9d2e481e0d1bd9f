"""What an operator asks of a database before trusting it: schema, keys, clock, whether it can be written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from grantkeeper.clock import Instant
from grantkeeper.storage.database import Database
from grantkeeper.storage.migrate import current_revision
from grantkeeper.storage.postgres import PostgresDatabase
from grantkeeper.storage.sqlite import SqliteDatabase


class _RollBack(Exception):
    """Ends a transaction that was never meant to last."""


@asynccontextmanager
async def inspected(url: str) -> AsyncIterator[Database | None]:
    """The database, whatever its schema, neither created nor migrated; None where there is no file yet."""
    database: Database
    if not url.startswith("sqlite:///"):
        database = await PostgresDatabase.open(url, 2)
    elif (path := Path(url.removeprefix("sqlite:///"))).exists():
        database = SqliteDatabase(path)
    else:
        yield None
        return
    try:
        yield database
    finally:
        await database.close()


async def revision_of(url: str) -> str | None:
    """The revision of the database at `url`; None: it is empty, or there is no file yet."""
    async with inspected(url) as database:
        return await current_revision(database) if database else None


async def root_key_ids(database: Database) -> set[int]:
    """The ids of the root keys that this database, whose schema is ours, was sealed with."""
    return {int(row[0]) for row in await database.fetch_all("list_root_key_ids")}


async def check_writable(database: Database) -> None:
    """Write to a database whose schema is ours, and take it back; StorageError where that fails."""
    try:
        async with database.transaction() as statements:
            await statements.execute("put_instance_value", name="write-check", value=b"")
            raise _RollBack
    except _RollBack:
        return


async def clock_of(database: Database) -> Instant | None:
    """What time the database's machine has; None: it is this machine.

    For comparing clocks only: what the product stores comes from its own clock.
    """
    if database.dialect == "sqlite":
        return None
    row = await database.fetch_one("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    return int(row[0]) if row else None
