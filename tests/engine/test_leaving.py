"""Browsers and readers that leave, and a service that stops: what the provider gave is stored all the same."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from grantkeeper.app import open_services
from tests.engine.scenes import begin, complete, connections_of
from tests.support.world import World, open_world, settings_for


async def leave(task: asyncio.Task[object]) -> None:
    """The one who waited goes away."""
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_browser_that_leaves_is_connected_all_the_same(either_world: World, when: str) -> None:
    """The code is spent, whether anybody looks at the answer or not."""
    world = either_world
    callback = world.provider.approve(await begin(world))
    world.provider.hold(when="before" if when == "before" else "after")
    browser = asyncio.create_task(complete(world, callback))
    await world.provider.wait_for_held()
    await leave(browser)
    world.provider.release()
    await world.services.authorizations.settle()

    assert len(await connections_of(world)) == 1


async def test_a_browser_that_leaves_has_reauthorized_all_the_same(world: World) -> None:
    """The same for a connection that exists."""
    connection = await world.connect()
    callback = world.provider.approve(await begin(world, connection=connection))
    world.provider.hold(when="after")
    browser = asyncio.create_task(complete(world, callback))
    await world.provider.wait_for_held()
    await leave(browser)
    world.provider.release()
    await world.services.authorizations.settle()

    assert (await world.stored(connection)).generation == 2


async def test_a_grant_whose_holder_left_is_held_and_then_revoked(world: World) -> None:
    """Nobody got the handle of somebody else's grant: it goes when its time is up."""
    connection = await world.connect()
    callback = world.provider.approve(await begin(world, connection=connection), subject="grace-hopper")
    world.provider.hold(when="after")
    browser = asyncio.create_task(complete(world, callback))
    await world.provider.wait_for_held()
    await leave(browser)
    world.provider.release()
    await world.services.authorizations.settle()
    world.clock.advance(601)
    await world.services.worker.run_once()
    await world.services.worker.run_once()

    assert [grant.subject for grant in world.provider.grants() if grant.revoked_at is None] == ["ada-lovelace"]


async def test_a_reader_that_leaves_does_not_break_off_the_refresh(either_world: World) -> None:
    """The others still get their token, and what was rotated is stored."""
    world = either_world
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3600)
    world.provider.hold(when="after")
    readers = [asyncio.create_task(world.read_token(connection)) for _ in range(3)]
    await world.provider.wait_for_held()
    await leave(readers[0])
    await leave(readers[1])
    world.provider.release()

    assert (await readers[2]).status_code == 200
    assert (await world.stored(connection)).generation == 2
    assert world.provider.counts["token"] == 2


async def test_when_all_readers_leave_the_refresh_is_stored(world: World) -> None:
    """Nobody waits for it any more, and nothing is lost."""
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3600)
    world.provider.hold(when="after")
    reader = asyncio.create_task(world.read_token(connection))
    await world.provider.wait_for_held()
    await leave(reader)
    world.provider.release()
    await world.services.refresher.settle()

    assert (await world.stored(connection)).generation == 2
    world.clock.advance(3600)
    async with open_services(world.services.settings, world.clock) as other:
        await other.refresher.fresh(connection.account_uuid, connection.uuid, 60)
    assert (await world.stored(connection)).generation == 3


async def test_settling_waits_for_what_is_on_its_way_only(world: World, tmp_path: Path) -> None:
    """A refresh of this process is awaited; waiting for another process's is broken off."""
    connection = await world.connect()
    settings = settings_for(tmp_path, world.services.settings.database, world.provider.issuer)
    world.clock.advance(3600)
    async with open_services(settings, world.clock) as other:
        world.provider.hold(when="after")
        mine = asyncio.create_task(world.read_token(connection))
        await world.provider.wait_for_held()
        asleep = world.clock.sleepers
        theirs = asyncio.create_task(other.refresher.fresh(connection.account_uuid, connection.uuid, 60))
        await world.clock.wait_for_sleepers(asleep + 1)

        await other.refresher.settle()
        await asyncio.wait([theirs])
        settling = asyncio.create_task(world.services.refresher.settle())
        await asyncio.sleep(0)
        assert not settling.done()
        world.provider.release()
        await settling

    assert (await mine).status_code == 200
    assert (await world.stored(connection)).generation == 2


async def test_a_service_that_stops_stores_what_is_on_its_way(tmp_path: Path) -> None:
    """Stopped in the middle of a refresh and of a connect, it loses neither."""
    url = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    opened = AsyncExitStack()
    world = await opened.enter_async_context(open_world(tmp_path, url))
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3600)
    callback = world.provider.approve(await begin(world))
    world.provider.hold(when="after")
    reader = asyncio.create_task(world.read_token(connection))
    browser = asyncio.create_task(complete(world, callback))
    await world.provider.wait_for_held(2)
    await leave(reader)
    await leave(browser)

    stopping = asyncio.create_task(opened.aclose())
    await asyncio.wait([stopping], timeout=0.5)
    world.provider.release()
    await stopping

    settings = settings_for(tmp_path, url, world.provider.issuer)
    async with open_services(settings, world.clock) as services:
        found = await services.store.find(connection.uuid)
        assert found is not None
        assert found.generation == 2
        assert len(await services.store.labels(world.account_uuid, "demo")) == 2
