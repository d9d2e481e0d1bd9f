"""Providers are protected: as many requests as they bear, over all processes, and one alone while they are down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantkeeper.app import Services, open_services
from grantkeeper.clock import SECOND
from grantkeeper.model import Connection, MustAct, Status
from grantkeeper.refresh.breaker import STRIKES
from tests.engine.scenes import changed_demo
from tests.support.world import CLIENT_ID, CLIENT_SECRET, World, open_world


async def limited(world: World, *changes: tuple[str, str]) -> AsyncIterator[Services]:
    """Another process on the same database, whose demo provider bears less."""
    providers = changed_demo(world.services.settings.data_dir / "providers", *changes)
    settings = world.services.settings.model_copy(update={"providers_dir": providers})
    async with open_services(settings, world.clock) as services:
        yield services


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The product on either engine, with patience for requests that a test holds."""
    async with open_world(tmp_path, database_url, provider_timeout=60.0) as world:
        yield world


async def due(world: World, count: int) -> list[Connection]:
    """So many connections whose tokens have run out, at a provider that forgives no second use."""
    world.provider.policy.mode = "strict"
    connections = [await world.connect() for _ in range(count)]
    world.clock.advance(3600)
    return connections


async def generations(world: World, connections: list[Connection]) -> list[int]:
    """How far each has got."""
    return [(await world.stored(connection)).generation for connection in connections]


async def test_no_more_at_one_time_than_the_provider_bears(world: World) -> None:
    """Two processes with ten due connections each: the provider sees four at a time, and a reader still gets in."""
    connections = await due(world, 20)
    change = ("concurrency = 200", "concurrency = 4")
    async for one in limited(world, change):
        async with open_services(one.settings, world.clock) as two:
            world.provider.hold()
            rounds = [asyncio.create_task(each.worker.run_once()) for each in (one, two)]
            # A quarter is left to readers.
            await world.provider.wait_for_held(3)
            # Which three fall due first is a matter of chance.
            early, later, *_ = [each for each in connections if (await world.stored(each)).lease_expires_at is None]
            reader = asyncio.create_task(one.refresher.fresh(early.account_uuid, early.uuid, 60))
            await world.provider.wait_for_held(4)
            late = asyncio.create_task(two.refresher.fresh(later.account_uuid, later.uuid, 60))
            await asyncio.wait([late], timeout=0.2)
            assert world.provider.counts["token"] == 20 + 4
            world.provider.release()
            await reader
            await asyncio.gather(*rounds)
            while not late.done():
                # Slowly: its patience is by this clock.
                world.clock.advance(0.05)
                await asyncio.wait([late], timeout=0.02)
            await asyncio.gather(one.worker.run_once(), two.worker.run_once())

    assert await generations(world, connections) == [2] * 20
    assert set(world.provider.refresh_counts.values()) == {1}


async def test_no_more_in_a_minute_than_the_provider_bears(world: World) -> None:
    """Thirty a minute over two processes: five at once, then one every two seconds, and none is forgotten."""
    connections = await due(world, 12)
    async for one in limited(world, ("concurrency = 200", "concurrency = 200\nper_minute = 30")):
        async with open_services(one.settings, world.clock) as two:
            assert sum(await asyncio.gather(one.worker.run_once(), two.worker.run_once())) == 5
            for expected in (1, 1, 1):
                world.clock.advance(2)
                assert sum(await asyncio.gather(one.worker.run_once(), two.worker.run_once())) == expected
            world.clock.advance(10)
            assert await one.worker.run_once() == 4

    assert await generations(world, connections) == [2] * 12


async def test_while_a_provider_is_down_one_connection_probes(world: World) -> None:
    """After failures in a row the others are left as they are; at the first answer all go on."""
    connections = await due(world, 30)
    world.provider.fail_next(10_000)
    async with open_services(world.services.settings, world.clock) as other:
        workers = [world.services.worker, other.worker]
        await asyncio.gather(*(worker.run_once() for worker in workers))
        # Those that were on their way already when the first failures were counted, and no other.
        asked = world.provider.counts["token"]
        (state,) = await world.services.refreshes.provider_states()
        assert (state.must_act, state.blocked_until is not None) == (MustAct.NOBODY, True)
        for _ in range(8):
            (state,) = await world.services.refreshes.provider_states()
            assert state.blocked_until is not None
            world.clock.advance((state.blocked_until - world.clock.now()) / SECOND)
            assert sum(await asyncio.gather(*(worker.run_once() for worker in workers))) == 1
            asked += 1
            assert world.provider.counts["token"] == asked
        untouched = [connection for connection in connections if (await world.stored(connection)).failures == 0]
        answer = await world.read_token(connections[-1])
        assert answer.status_code == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert world.provider.counts["token"] == asked
        world.provider.forget_script()
        world.clock.advance(300)
        await asyncio.gather(*(worker.run_once() for worker in workers))
        world.clock.advance(300)
        await asyncio.gather(*(worker.run_once() for worker in workers))

    assert len(connections) - len(untouched) <= 30
    assert await generations(world, connections) == [2] * 30
    (state,) = await world.services.refreshes.provider_states()
    assert (state.blocked_at, state.probes) == (None, 0)


async def test_one_failing_connection_blocks_nobody(world: World) -> None:
    """Its failures in a row are its own, as long as others are answered in between."""
    connections = await due(world, 2)
    for _ in range(2 * STRIKES):
        world.provider.fail_next(1)
        await world.services.worker.run_once()
        world.clock.advance(3600)

    (state,) = await world.services.refreshes.provider_states()
    assert state.blocked_at is None
    assert sum(await generations(world, connections)) > 2 * STRIKES


async def test_a_start_tries_a_paused_provider_at_once(world: World) -> None:
    """The operator mended the secret and restarted: nobody waits until the pause is over."""
    connections = await due(world, 3)
    world.provider.rotate_client_secret(CLIENT_ID, "another secret")
    await world.services.worker.run_once()
    world.provider.rotate_client_secret(CLIENT_ID, CLIENT_SECRET)
    assert await world.services.worker.run_once() == 0
    async with open_services(world.services.settings, world.clock) as restarted:
        worker = asyncio.create_task(restarted.worker.run())
        while await generations(world, connections) != [2, 2, 2]:
            world.clock.advance(0.5)
            await asyncio.sleep(0.01)
        worker.cancel()
        await asyncio.wait([worker])

    assert {(await world.stored(connection)).status for connection in connections} == {Status.ACTIVE}
