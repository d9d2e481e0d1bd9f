"""The PostgreSQL server of the tests is real, fresh, and survives what tests do to it."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres import MAX_CONNECTIONS, PostgresServer
from tests.support.process import (
    alive,
    eventually,
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this file's own, as its tests stop it."""
    with PostgresServer() as server:
        yield server


async def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What one statement answers, over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


@pytest.mark.postgres
async def test_postgres_makes_fresh_databases_from_a_template(server: PostgresServer) -> None:
    """A copy has the template's rows, an empty one has not, and a write to the copy stays there."""
    template = server.create_database()
    await rows(template, "CREATE TABLE colours AS SELECT 'red' AS name")
    first, second, empty = (
        server.create_database(template),
        server.create_database(template),
        server.create_database(),
    )
    await rows(first, "INSERT INTO colours VALUES ('blue')")
    assert await rows(second, "SELECT name FROM colours") == [("red",)]
    with pytest.raises(asyncpg.UndefinedTableError):
        await rows(empty, "SELECT name FROM colours")


@pytest.mark.postgres
async def test_postgres_is_what_was_ordered(server: PostgresServer) -> None:
    """Version 15 or later, 200 connections, superuser grantkeeper, UTF-8; no entry without the password."""
    ((version, connections, user, encoding),) = await rows(
        server.url,
        "SELECT current_setting('server_version_num')::int, current_setting('max_connections')::int,"
        " current_user, current_setting('server_encoding')",
    )
    assert (version >= 150000, connections, user, encoding) == (True, MAX_CONNECTIONS, "grantkeeper", "UTF8")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url, password="guessed")


@pytest.mark.postgres
async def test_postgres_drops_a_database_in_use(server: PostgresServer) -> None:
    """A test that leaks a connection does not keep its database alive."""
    url = server.create_database()
    connection = await asyncpg.connect(url)
    server.drop_database(url)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetch("SELECT 1")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(url)


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_postgres_restart_breaks_sessions_and_keeps_data(server: PostgresServer, mode: Any) -> None:
    """After a restart on the same URL the old connection is dead and the committed row is there."""
    url = server.create_database()
    await rows(url, "CREATE TABLE kept AS SELECT 1 AS number")
    connection = await asyncpg.connect(url)
    server.restart(mode)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetch("SELECT 1")
    assert await rows(url, "SELECT number FROM kept") == [(1,)]


@pytest.mark.postgres
async def test_postgres_listens_on_its_unix_socket(server: PostgresServer) -> None:
    """The socket lies in the server's own folder."""
    database = server.create_database().rpartition("/")[2]
    password = urlsplit(server.url).password
    connection = await asyncpg.connect(
        host=str(server.socket_directory),
        port=server.port,
        user="grantkeeper",
        password=password,
        database=database,
    )
    assert await connection.fetchval("SELECT inet_server_addr()") is None
    await connection.close()


@pytest.mark.postgres
def test_postgres_durable_syncs_and_leaves_nothing() -> None:
    """With durable=True the disk is synced as in production; in the end server and files are gone."""
    with PostgresServer(durable=True) as server:
        settings = server.execute(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
            " current_setting('full_page_writes')"
        )
        assert tuple(settings[0]) == ("on", "on", "on")
        folder = server.socket_directory.parent
        pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        assert alive(pid)
    assert not folder.exists()
    assert not alive(pid)


@pytest.mark.postgres
async def test_a_standby_follows_refuses_writes_and_takes_over() -> None:
    """What the primary committed is there; a URL of both servers leads to the one that takes writes."""
    with PostgresServer() as primary, primary.standby() as standby:
        url = standby.failover_url(primary.create_database())
        await rows(url, "CREATE TABLE kept AS SELECT 1 AS number")
        follows = "SELECT pg_last_wal_replay_lsn() >= '{}'::pg_lsn"
        ((position,),) = primary.execute("SELECT pg_current_wal_lsn()::text")
        eventually(
            lambda: standby.execute(follows.format(position))[0][0] or None, within=10, what="waiting for the row"
        )
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            standby.execute("CREATE TABLE refused ()", database=url)
        primary.stop("immediate")
        standby.promote()
        await rows(url, "INSERT INTO kept VALUES (2)")
        assert await rows(url, "SELECT number FROM kept ORDER BY number") == [(1,), (2,)]


@pytest.mark.postgres
async def test_a_synchronous_standby_has_all_that_was_answered() -> None:
    """Killed right after a commit was answered, the primary takes nothing along."""
    with PostgresServer() as primary, primary.standby(synchronous=True) as standby:
        url = standby.failover_url(primary.create_database())
        await rows(url, "CREATE TABLE kept (number integer)")
        for number in range(20):
            await rows(url, f"INSERT INTO kept VALUES ({number})")
        primary.stop("immediate")
        standby.promote()
        assert await rows(url, "SELECT count(*) FROM kept") == [(20,)]
        await rows(url, "INSERT INTO kept VALUES (20)")
        primary.close()
        # And so on: the next standby stands where the primary stood, and the same URL goes on being good.
        with standby.standby(synchronous=True, port=primary.port) as second:
            await rows(url, "INSERT INTO kept VALUES (21)")
            standby.stop("immediate")
            second.promote()
            assert await rows(url, "SELECT count(*) FROM kept") == [(22,)]


@pytest.mark.postgres
async def test_a_commit_waits_for_a_standby_that_is_required() -> None:
    """With the synchronous standby stopped a commit is not answered until it is required no more."""
    with PostgresServer() as primary:
        url = primary.create_database()
        await rows(url, "CREATE TABLE kept (number integer)")
        with primary.standby(synchronous=True) as standby:
            standby.stop()
            writing = asyncio.ensure_future(rows(url, "INSERT INTO kept VALUES (1)"))
            done, _ = await asyncio.wait({writing}, timeout=0.5)
            assert not done
            primary.require_standby(False)
            await asyncio.wait_for(writing, 10)
