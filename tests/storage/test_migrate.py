"""Migrations: equal to the schema, all or nothing, safe to run twice and by several at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from grantkeeper.crypto import RootKeyset
from grantkeeper.errors import ConfigError, StorageError
from grantkeeper.storage.migrate import current_revision, known_revisions, migrate, open_database
from grantkeeper.storage.schema import metadata
from tests.storage.rivals import meet_at, migrate_in_process, open_in_process
from tests.storage.stores import AMPLE, open_stores
from tests.support.postgres import PostgresServer

PROCESSES = 2
POSTGRES_SHAPE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
    o.collname, pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_collation o ON o.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
UNION ALL
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
UNION ALL
SELECT tablename, indexname, indexdef, NULL, NULL, NULL, NULL
FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
ORDER BY 1, 2, 3
"""
SQLITE_SHAPE = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' ORDER BY name"
SQLITE_COLUMNS = """
SELECT t.name, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE '%alembic%'
ORDER BY t.name, c.cid
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a schema, on either engine; the SQLite file is not even there."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'data' / 'grantkeeper.sqlite3'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


def on(url: str, work: Callable[[Connection], Any]) -> Any:
    """What `work` answers, run on an SQLAlchemy connection of its own, in a transaction."""
    if url.startswith("sqlite"):
        with create_engine(url, poolclass=pool.NullPool).begin() as connection:
            return work(connection)

    async def on_postgres() -> Any:
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=pool.NullPool)
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    return asyncio.run(on_postgres())


def run(url: str, statement: str) -> Any:
    """The rows of one statement, if it has any."""

    def work(connection: Connection) -> Any:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else None

    return on(url, work)


def definitions(sql: str) -> list[str]:
    """The columns and constraints of a table; an index as it is. A column added later follows others on their line."""
    sql = " ".join(sql.split())
    if sql.startswith("CREATE TABLE"):
        sql = sql.partition("(")[2].removesuffix(")")
    return sorted(piece.strip() for piece in sql.split(", "))


def shape(url: str) -> Any:
    """Every column, constraint and index, as the engine itself describes them."""
    if url.startswith("sqlite"):
        made = [(name, definitions(sql or "")) for name, sql in run(url, SQLITE_SHAPE)]
        return [*made, *run(url, SQLITE_COLUMNS)]
    return run(url, POSTGRES_SHAPE)


def tables(url: str) -> set[str]:
    """The names of all tables."""
    where = (
        "sqlite_master WHERE type = 'table'"
        if url.startswith("sqlite")
        else "information_schema.tables WHERE table_schema = 'public'"
    )
    name = "name" if url.startswith("sqlite") else "table_name"
    return {row[0] for row in run(url, f"SELECT {name} FROM {where}")}


def test_alembic_finds_no_difference(empty_url: str) -> None:
    """After migrating from empty there is nothing that Alembic would still change."""
    migrate(empty_url)
    differences = on(empty_url, lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    assert differences == []


def test_migrating_from_empty_equals_the_schema(empty_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Tables made by migrations and tables made from the schema are the same to the engine, to the letter."""
    migrate(empty_url)
    if empty_url.startswith("sqlite"):
        other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    else:
        other = request.getfixturevalue("postgres").create_database()
    on(other, metadata.create_all)
    assert shape(empty_url) == shape(other)
    assert len(shape(empty_url)) > 20


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE connections ADD COLUMN colour TEXT",
        "ALTER TABLE connections DROP COLUMN unsettled_owner",
        "DROP INDEX ix_connections_leased",
        "CREATE INDEX another ON refreshes (owner)",
    ],
)
def test_the_comparison_finds_differences(empty_url: str, change: str) -> None:
    """A column too many or too few, an index likewise: what the test above compares is not the same then."""
    migrate(empty_url)
    before = shape(empty_url)
    run(empty_url, change)
    assert shape(empty_url) != before


def at_revision(url: str, revision: str) -> None:
    """Bring an empty database to an older revision."""
    config = Config()
    config.set_main_option("script_location", "grantkeeper.storage:migrations")
    config.attributes["url"] = url
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    command.upgrade(config, revision)


FIRST_COLUMNS = """
uuid, account_uuid, provider, client_id, label, label_key, status, created_at, updated_at, scopes, generation,
token_type, refreshable, subject, identity, sealed_tokens, access_token_expires_at, refresh_token_expires_at,
refreshed_at, next_refresh_at, failures, failure, must_act, lease_owner, lease_fence, lease_expires_at
"""
FIRST_CONNECTIONS = """
INSERT INTO connections (uuid, account_uuid, provider, client_id, label, label_key, status, created_at, updated_at,
    scopes, generation, token_type, refreshable, sealed_tokens, refreshed_at, next_refresh_at, failures, must_act,
    lease_fence, lease_owner, lease_expires_at)
VALUES ('new', 'a', 'demo', 'c', 'Kept', 'kept', 'active', 100, 100, 'read', 1, 'Bearer', 1, 'sealed', NULL, 400, 0,
    'nobody', 0, NULL, NULL),
('old', 'a', 'xero', 'c', 'Leased', 'leased', 'failing', 100, 300, 'read', 7, 'Bearer', 1, 'sealed', 200, 500, 2,
    'user', 9, 'worker', 600)
"""


async def test_connections_of_the_first_revision_are_kept(empty_url: str, root: RootKeyset) -> None:
    """They keep all they had, count as asked for and read when last refreshed, and are refreshed as any other."""
    await asyncio.to_thread(at_revision, empty_url, "0001_initial")
    await asyncio.to_thread(run, empty_url, "INSERT INTO accounts VALUES ('a', 'A', '', 1, 100)")
    await asyncio.to_thread(run, empty_url, FIRST_CONNECTIONS)
    before = await asyncio.to_thread(run, empty_url, f"SELECT {FIRST_COLUMNS} FROM connections ORDER BY uuid")
    assert await asyncio.to_thread(migrate, empty_url) == known_revisions()[-1]
    after = await asyncio.to_thread(run, empty_url, f"SELECT {FIRST_COLUMNS} FROM connections ORDER BY uuid")
    assert (after, len(after)) == (before, 2)
    async with open_stores(empty_url, root) as stores:
        (new,) = await stores.refreshes.claim_due("demo", AMPLE, "us", 600, 700, 5)
        (old,) = await stores.refreshes.claim_due("xero", AMPLE, "us", 600, 700, 5)
    assert [(c.issued_at, c.used_at, c.sealed_previous, c.previous_spare) for c in (new, old)] == [
        (100, 100, None, False),
        (200, 200, None, False),
    ]
    assert [(c.unsettled_at, c.unsettled_owner) for c in (new, old)] == [(None, None), (600, "worker")]
    consents = await asyncio.to_thread(run, empty_url, "SELECT consent_generation FROM connections ORDER BY uuid")
    assert consents == [(1,), (7,)]


def test_labels_are_sorted_by_code_point(postgres: PostgresServer, migrated_template: str) -> None:
    """On PostgreSQL the sorted column has the collation C, whatever the database's locale."""
    row = postgres.execute(
        "SELECT collation_name FROM information_schema.columns"
        " WHERE table_name = 'connections' AND column_name = 'label_key'",
        database=migrated_template,
    )
    assert row[0][0] == "C"


def test_revisions_are_one_line() -> None:
    """Each file is named after its revision, and each follows the one before it."""
    config = Config()
    config.set_main_option("script_location", "grantkeeper.storage:migrations")
    history = list(ScriptDirectory.from_config(config).walk_revisions())[::-1]
    assert [script.revision for script in history] == known_revisions()
    assert [script.down_revision for script in history] == [None, *known_revisions()[:-1]]


async def test_migrating_twice_changes_nothing(empty_url: str, root: RootKeyset) -> None:
    """The second time answers the same revision and keeps every row."""
    assert await asyncio.to_thread(migrate, empty_url) == known_revisions()[-1]
    async with open_stores(empty_url, root) as stores:
        account = await stores.new_account()
        assert await asyncio.to_thread(migrate, empty_url) == known_revisions()[-1]
        assert await stores.people.list_accounts() == [account]
        assert await current_revision(stores.database) == known_revisions()[-1]


@pytest.fixture
def processes() -> Iterator[Executor]:
    """Worker processes that begin together."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, meet_at, (context.Barrier(PROCESSES),)) as executor:
        yield executor


def test_several_processes_migrate_at_once(empty_url: str, processes: Executor) -> None:
    """Two that begin together both succeed, and the schema is there once."""
    answers = list(processes.map(migrate_in_process, [empty_url] * PROCESSES))
    assert answers == [known_revisions()[-1]] * PROCESSES
    assert run(empty_url, "SELECT version_num FROM alembic_version") == [(known_revisions()[-1],)]


def test_several_processes_open_a_new_file_at_once(tmp_path: Path, processes: Executor) -> None:
    """Two that start on a data directory that is not there yet both come up."""
    url = f"sqlite:///{tmp_path / 'new' / 'grantkeeper.sqlite3'}"
    assert list(processes.map(open_in_process, [url] * PROCESSES)) == [known_revisions()[-1]] * PROCESSES


def test_a_migration_that_fails_leaves_nothing(empty_url: str) -> None:
    """A table that is in the way: an error of ours, and not one table of ours is there."""
    if empty_url.startswith("sqlite"):
        Path(empty_url.removeprefix("sqlite:///")).parent.mkdir()
    run(empty_url, "CREATE TABLE users (colour TEXT)")
    with pytest.raises(StorageError, match="users"):
        migrate(empty_url)
    assert tables(empty_url) == {"users"}
    run(empty_url, "DROP TABLE users")
    assert migrate(empty_url) == known_revisions()[-1]


async def test_a_newer_schema_is_refused(empty_url: str) -> None:
    """Opening and migrating name the schema and what to do, and change nothing."""
    await asyncio.to_thread(migrate, empty_url)
    await asyncio.to_thread(run, empty_url, "UPDATE alembic_version SET version_num = '9999_future'")
    for attempt in (open_database(empty_url), asyncio.to_thread(migrate, empty_url)):
        with pytest.raises(ConfigError) as caught:
            await attempt
        (problem,) = caught.value.problems
        assert "9999_future" in problem
        assert "newer than this program" in problem
        assert "run the newer program, or restore a backup" in problem
    rows = await asyncio.to_thread(run, empty_url, "SELECT version_num FROM alembic_version")
    assert rows == [("9999_future",)]


@pytest.mark.postgres
async def test_postgres_is_not_migrated_behind_the_operators_back(postgres: PostgresServer) -> None:
    """An empty PostgreSQL database is refused with the command to run, and stays empty."""
    url = postgres.create_database()
    with pytest.raises(ConfigError, match="grantkeeper migrate"):
        await open_database(url)
    assert await asyncio.to_thread(tables, url) == set()
    postgres.drop_database(url)


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Files get the modes their makers ask for."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("by_hand", [False, True])
async def test_sqlite_makes_itself_for_its_owner_alone(tmp_path: Path, root: RootKeyset, by_hand: bool) -> None:
    """Opened or migrated first, whatever the umask: directory 0700, database, log and index 0600."""
    file = tmp_path / "data" / "grantkeeper.sqlite3"
    if by_hand:
        await asyncio.to_thread(migrate, f"sqlite:///{file}")
    async with open_stores(f"sqlite:///{file}", root) as stores:
        await stores.new_account()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    names = ("grantkeeper.sqlite3", "grantkeeper.sqlite3-shm", "grantkeeper.sqlite3-wal")
    assert modes == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_sqlite_keeps_what_was_committed(tmp_path: Path) -> None:
    """Reader and writer both have WAL, synchronous=FULL, foreign keys and overwriting of what is deleted."""
    database = await open_database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    for name, value in wanted.items():
        for statement in (f"PRAGMA {name}", f"SELECT * FROM pragma_{name}"):
            row = await database.fetch_one(statement)
            assert row is not None
            assert row[0] == value, statement
    await database.close()


@pytest.mark.parametrize("name", ["a b.db", "what?.db", "100%25#é🦊.db", "x?mode=memory"])
async def test_sqlite_takes_any_file_name(tmp_path: Path, name: str, root: RootKeyset) -> None:
    """Migrations and the program open the same file, also where its name looks like part of a URL."""
    url = f"sqlite:///{tmp_path / name}"
    await asyncio.to_thread(migrate, url)
    async with open_stores(url, root) as stores:
        await stores.new_account()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


async def test_a_relative_path_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes and a relative path: below where the program was started."""
    monkeypatch.chdir(tmp_path)
    await (await open_database("sqlite:///here.db")).close()
    assert (tmp_path / "here.db").exists()
