"""When a connection is refreshed: ahead while it is in use, rarely while idle, on demand where asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from grantkeeper.app import Services, open_services
from grantkeeper.clock import DAY, HOUR, SECOND
from grantkeeper.model import Connection, Status
from tests.engine.scenes import changed_demo
from tests.support.world import World


@asynccontextmanager
async def policy(world: World, *lines: str) -> AsyncIterator[Services]:
    """The product with these lines in the demo provider's refresh policy."""
    change = ("concurrency = 200", "\n".join(("concurrency = 200", *lines)))
    providers = changed_demo(world.services.settings.data_dir / "providers", change)
    settings = world.services.settings.model_copy(update={"providers_dir": providers})
    async with open_services(settings, world.clock) as services:
        mine, world.services = world.services, services
        yield services
        world.services = mine


async def days(world: World, services: Services, count: int, *, reader: Connection | None = None) -> int:
    """Let so many days pass, hour by hour, perhaps with a reader each day; how often the provider was asked."""
    before = world.provider.counts["token"]
    for hour in range(24 * count):
        if reader is not None and hour % 24 == 0:
            await services.refresher.fresh(reader.account_uuid, reader.uuid, 60)
            await services.refresher.write_down()
        world.clock.advance(3600)
        await services.worker.run_once()
    return world.provider.counts["token"] - before


async def test_an_idle_connection_is_kept_alive_and_no_more(world: World) -> None:
    """Its refresh token dies after ten days without use: refreshed in time, and not every hour for nobody."""
    async with policy(world, "idle_lifetime = 864000") as services:
        connection = await world.connect()
        await days(world, services, 8)
        assert await days(world, services, 60) in range(8, 12)
        stored = await world.stored(connection)
        assert (stored.status, stored.access_token_expires_at or 0) < (Status.ACTIVE, world.clock.now())
        # Whoever wants it after all gets it, and from then on it is in use.
        await services.refresher.fresh(connection.account_uuid, connection.uuid, 60)
        await services.refresher.write_down()
        assert await days(world, services, 1) in range(23, 33)


async def test_a_connection_in_use_is_always_ready(world: World) -> None:
    """A reader a day: no reader has to wait for the provider."""
    async with policy(world, "idle_lifetime = 864000") as services:
        connection = await world.connect()
        for _ in range(20):
            await days(world, services, 1)
            stored = await world.stored(connection)
            assert (stored.access_token_expires_at or 0) > world.clock.now()
            await services.refresher.fresh(connection.account_uuid, connection.uuid, 1)
            await services.refresher.write_down()


async def test_on_demand_means_by_readers_only(world: World) -> None:
    """The worker leaves it alone for weeks; a reader has it refreshed."""
    async with policy(world, 'when = "on_demand"') as services:
        connection = await world.connect()
        assert connection.next_refresh_at is None
        assert await days(world, services, 30) == 0
        after, _ = await services.refresher.fresh(connection.account_uuid, connection.uuid, 60)
        assert (after.generation, after.next_refresh_at) == (2, None)


async def test_a_token_from_the_future_is_not_trusted(either_world: World) -> None:
    """Stored by a process whose clock was six hours ahead: nobody knows when it expires, so it is refreshed."""
    world = either_world
    connection = await world.connect()
    later = world.clock.now() + 6 * HOUR
    await world.services.database.execute(
        "UPDATE connections SET refreshed_at = :later, access_token_expires_at = :expires_at",
        later=later,
        expires_at=later + HOUR,
    )
    assert (await world.read_token(connection)).status_code == 200

    stored = await world.stored(connection)
    assert stored.generation == 2
    assert stored.access_token_expires_at == world.clock.now() + 3600 * SECOND
    assert (await world.read_token(connection)).status_code == 200
    assert world.provider.counts["token"] == 2


@pytest.mark.parametrize("mode", ["strict", "grace"])
async def test_an_answer_that_was_lost_on_its_way(either_world: World, mode: str) -> None:
    """The provider rotated and its answer got lost: kept where it gives grace, else told as no fault of the user's."""
    world = either_world
    world.provider.policy.mode = "strict" if mode == "strict" else "grace"
    connection = await world.connect()
    world.clock.advance(3600)
    world.provider.fail_next(1, status=502, commit=True)
    await world.services.worker.run_once()
    assert (await world.stored(connection)).status is Status.FAILING
    world.clock.advance(5)
    await world.services.worker.run_once()

    stored = await world.stored(connection)
    await world.services.refresher.write_down()
    newest, *_ = await world.services.refreshes.history(connection.uuid, 10)
    if mode == "grace":
        assert (stored.status, newest.outcome) == (Status.ACTIVE, "refreshed")
    else:
        assert (stored.status, newest.outcome) == (Status.NEEDS_REAUTHORIZATION, "lost")
        assert "not the user's doing" in (stored.failure or "")
        assert stored.failure == newest.reason


async def test_a_refresh_token_that_is_over_is_not_tried_for_ever(world: World) -> None:
    """It ended more than a day ago and the provider has only failed since: its user must act."""
    world.provider.policy.refresh_token_lifetime = 86_400
    async with policy(world, "[token.response]", 'refresh_lifetime = "refresh_token_expires_in"') as services:
        connection = await world.connect()
        world.provider.fail_next(10_000)
        for _ in range(100):
            # Past the longest pause between two tries, of the connection or of its provider.
            world.clock.advance(1800)
            await services.worker.run_once()

        stored = await world.stored(connection)
        assert stored.status is Status.NEEDS_REAUTHORIZATION
        assert "over for a day" in (stored.failure or "")
        assert world.clock.now() - connection.created_at > 2 * DAY
        asked = world.provider.counts["token"]
        world.clock.advance(86_400)
        await services.worker.run_once()
        assert world.provider.counts["token"] == asked
