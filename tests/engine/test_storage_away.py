"""The provider has answered and the database is away: what was given is stored once it is back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from grantkeeper.model import Connection, Status
from grantkeeper.storage import sqlite
from grantkeeper.storage.migrate import migrate
from tests.engine.scenes import begin, complete, connections_of, fails, token_set
from tests.support.postgres import PostgresServer, StopMode
from tests.support.world import World, open_world


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that these tests may stop."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def world(tmp_path: Path, own_postgres: PostgresServer) -> AsyncIterator[World]:
    """The product on it."""
    url = own_postgres.create_database()
    await asyncio.to_thread(migrate, url)
    async with open_world(tmp_path, url, rate_limit=1_000_000) as world:
        yield world


async def stop(server: PostgresServer, mode: StopMode = "fast") -> None:
    """In a thread: it takes a while."""
    await asyncio.to_thread(server.stop, mode)


def start(server: PostgresServer) -> None:
    """In this thread: the server ends with the one that starts it."""
    server.start()


async def run_until_done(world: World, task: asyncio.Task[Any]) -> Any:
    """Let the clock run until the task is done."""
    while not task.done():
        world.clock.advance(0.5)
        await asyncio.wait([task], timeout=0.02)
    return await task


async def goes_away_during(world: World, server: PostgresServer, task: asyncio.Task[Any], mode: StopMode) -> Any:
    """The database stops while the provider's answer is on its way, and comes back later."""
    await world.provider.wait_for_held()
    await stop(server, mode)
    world.provider.release()
    asleep = world.clock.sleepers
    await world.clock.wait_for_sleepers(asleep + 1)
    assert not task.done()
    start(server)
    return await run_until_done(world, task)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_refresh_survives(world: World, own_postgres: PostgresServer, mode: StopMode) -> None:
    """The rotated refresh token, which nobody gets twice, serves readers from the journal and is stored in the end."""
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3600)
    world.provider.hold(when="after")
    reader = asyncio.create_task(world.read_token(connection))
    await world.provider.wait_for_held()
    await stop(own_postgres, mode)
    world.provider.release()
    answer = await run_until_done(world, reader)
    late = await run_until_done(world, asyncio.create_task(world.read_token(connection)))
    assert (answer.status_code, late.status_code) == (200, 200)
    assert answer.json()["access_token"] == late.json()["access_token"]
    start(own_postgres)
    while (await world.stored(connection)).generation == 1:
        world.clock.advance(0.5)
        await asyncio.sleep(0.02)

    assert world.provider.counts["token"] == 2
    assert (await token_set(world, connection)).access_token == answer.json()["access_token"]
    world.clock.advance(3600)
    assert (await world.read_token(connection)).status_code == 200


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_new_connection_survives(world: World, own_postgres: PostgresServer, mode: StopMode) -> None:
    """The code is spent: the browser waits a little longer, and is connected once."""
    callback = world.provider.approve(await begin(world))
    world.provider.hold(when="after")
    connecting = asyncio.create_task(complete(world, callback))
    completed = await goes_away_during(world, own_postgres, connecting, mode)

    assert [row["uuid"] for row in await connections_of(world)] == [completed.connection.uuid]
    assert (await world.read_token(completed.connection)).status_code == 200


async def test_a_reauthorization_survives(world: World, own_postgres: PostgresServer) -> None:
    """The same for a new grant of an old connection."""
    connection = await world.connect()
    callback = world.provider.approve(await begin(world, connection=connection))
    world.provider.hold(when="after")
    again = asyncio.create_task(complete(world, callback))
    completed = await goes_away_during(world, own_postgres, again, "fast")

    assert (completed.connection.uuid, completed.connection.generation) == (connection.uuid, 2)


async def test_a_failure_is_noted_late(world: World, own_postgres: PostgresServer) -> None:
    """`invalid_grant` comes while the database is away: the connection is latched once it is back."""
    connection = await world.connect()
    world.provider.revoke_grants()
    world.clock.advance(3600)
    world.provider.hold(when="after")
    reader = asyncio.create_task(world.read_token(connection))
    answer = await goes_away_during(world, own_postgres, reader, "fast")

    assert answer.status_code == 409
    assert (await world.stored(connection)).status is Status.NEEDS_REAUTHORIZATION


async def test_a_connect_before_the_database_is_back_can_be_repeated(
    world: World, own_postgres: PostgresServer
) -> None:
    """Away when the browser returns: the attempt is not used up and the code not spent."""
    callback = world.provider.approve(await begin(world))
    await stop(own_postgres)
    page = await world.client.get(callback, headers={"cookie": "gk_browser=" + "b" * 43})
    assert page.status_code == 503
    assert world.provider.counts["token"] == 0
    start(own_postgres)

    assert (await complete(world, callback)).created
    assert (await fails(world, callback)).reason == "replayed"


async def test_readers_are_told_to_come_back(world: World, own_postgres: PostgresServer) -> None:
    """503 with Retry-After while it is away, and an answer as soon as it is back."""
    connection = await world.connect()
    await stop(own_postgres, "immediate")
    away = await world.read_token(connection)
    assert away.status_code == 503
    assert int(away.headers["retry-after"]) >= 1
    start(own_postgres)

    assert (await world.read_token(connection)).status_code == 200


async def test_a_restart_under_load_is_no_more_than_a_pause(world: World, own_postgres: PostgresServer) -> None:
    """Readers get their token or are told to come back, tokens run out meanwhile, and no grant is lost."""
    world.provider.policy.mode = "strict"
    connections = [await world.connect() for _ in range(4)]
    statuses: set[int] = set()
    stopped = False

    async def reads(connection: Connection) -> None:
        while not stopped:
            statuses.add((await world.read_token(connection)).status_code)
            await asyncio.sleep(0)

    readers = [asyncio.create_task(reads(connection)) for connection in connections * 4]
    for mode in ("fast", "immediate"):
        world.clock.advance(3600)
        await world.provider.wait_for_requests(world.provider.counts["token"] + 1)
        await stop(own_postgres, "fast" if mode == "fast" else "immediate")
        await asyncio.wait(readers, timeout=0.2)
        start(own_postgres)
        for _ in range(20):
            world.clock.advance(0.5)
            await asyncio.wait(readers, timeout=0.02)
    stopped = True
    for reader in readers:
        await run_until_done(world, reader)

    assert statuses == {200, 503}
    assert set(world.provider.refresh_counts.values()) == {1}
    for connection in connections:
        world.clock.advance(3600)
        assert (await world.read_token(connection)).status_code == 200


async def test_a_worker_survives(world: World, own_postgres: PostgresServer) -> None:
    """Its loop goes on after the outage, and refreshes what fell due meanwhile."""
    connection = await world.connect()
    worker = asyncio.create_task(world.services.worker.run())
    await stop(own_postgres)
    world.clock.advance(3500)
    for _ in range(5):
        await asyncio.wait([worker], timeout=0.02)
        world.clock.advance(1)
    start(own_postgres)
    refreshed = asyncio.create_task(world.provider.wait_for_requests(2))
    await run_until_done(world, refreshed)
    worker.cancel()
    await asyncio.wait([worker])

    assert (await world.stored(connection)).generation == 2


async def locked_during(world: World, folder: Path, task: asyncio.Task[Any]) -> None:
    """Another process holds SQLite's write lock while the provider's answer arrives."""
    await world.provider.wait_for_held()
    other = sqlite3.connect(folder / "grantkeeper.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    world.provider.release()
    asleep = world.clock.sleepers
    await world.clock.wait_for_sleepers(asleep + 1)
    other.execute("ROLLBACK")
    other.close()
    await run_until_done(world, task)


async def test_a_lock_on_sqlite_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a statement waits: the refresh and the connection are stored all the same."""
    monkeypatch.setattr(sqlite, "WRITE_PATIENCE", 0.1)
    async with open_world(tmp_path, f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}") as world:
        world.provider.policy.mode = "strict"
        connection = await world.connect()
        world.clock.advance(3600)
        world.provider.hold(when="after")
        reader = asyncio.create_task(world.read_token(connection))
        await locked_during(world, tmp_path, reader)
        assert reader.result().status_code == 200
        assert (await token_set(world, connection)).refresh_token is not None

        callback = world.provider.approve(await begin(world))
        world.provider.hold(when="after")
        connecting = asyncio.create_task(complete(world, callback))
        await locked_during(world, tmp_path, connecting)
        second: Connection = connecting.result().connection
        assert (await world.read_token(second)).status_code == 200
