"""What an operator asks of a database before trusting it: schema, keys, clock, whether it can be written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from grantkeeper.clock import DAY, SECOND, Instant
from grantkeeper.errors import StorageError, StorageUnavailable
from grantkeeper.model import Record
from grantkeeper.storage.database import Database
from grantkeeper.storage.migrate import current_revision
from grantkeeper.storage.postgres import PostgresDatabase
from grantkeeper.storage.sqlite import SqliteDatabase

SKEW_TOLERATED = SECOND
SKEW_HARMFUL = 40 * SECOND
"""What a lease of the default length has left when it is renewed: replicas whose clocks differ by more would take
each other's leases for lapsed."""

_LOOKS = 3
_LAST = 100_000 * DAY
"""An instant in the year 2243; nothing later was ever noted by a clock that was nearly right."""


class Skew(Record, frozen=True):
    """How far the database's clock is ahead of ours, in microseconds, `uncertain` by so many either way."""

    ahead: int
    uncertain: int


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


async def skew_of(database: Database, now: Callable[[], Instant]) -> Skew | None:
    """The database's clock against `now`: the look with the shortest round trip of a few. None: it is this machine."""
    looks = []
    for _ in range(_LOOKS):
        before = now()
        theirs = await clock_of(database)
        after = now()
        if theirs is None:
            return None
        looks.append(Skew(ahead=theirs - (before + after) // 2, uncertain=(after - before + 1) // 2))
    return min(looks, key=lambda look: look.uncertain)


async def note_clock(database: Database, now: Instant) -> None:
    """Keep what time it is now, in a database whose schema is ours."""
    await database.execute("note_clock", value=str(now).encode())


async def noted_clock(database: Database) -> Instant | None:
    """What `note_clock` kept last; None where it never did, or where it makes no sense."""
    row = await database.fetch_one("get_noted_clock")
    try:
        noted = int(bytes(row[0])) if row else None
    except ValueError:
        return None
    return noted if noted is not None and 0 <= noted <= _LAST else None


async def timeline_of(database: Database) -> str | None:
    """The timeline that a PostgreSQL server writes, which changes when a standby takes over.

    None on SQLite, and where the server does not tell.
    """
    if database.dialect == "sqlite":
        return None
    try:
        row = await database.fetch_one("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)")
    except StorageUnavailable:
        raise
    except StorageError:
        return None
    return row[0] if row else None
