"""Two processes and one refresh token: who holds the lease asks, and nobody undoes what another has stored.

The second process is a second set of services over the same database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grantkeeper.app import Services, open_services
from grantkeeper.clock import SECOND
from grantkeeper.errors import NeedsReauthorization
from grantkeeper.model import Claim, Connection, Status
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.testing import hostile
from tests.engine.scenes import held, rough_world, token_set, tokens
from tests.support.world import World, open_world


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The product on either engine; a lease lasts 15 seconds."""
    async with open_world(tmp_path, database_url) as world:
        assert world.services.refresher.lease_seconds == 15
        yield world


@pytest.fixture
async def other(world: World) -> AsyncIterator[Services]:
    """Another process on the same database."""
    async with open_services(world.services.settings, world.clock) as services:
        yield services


async def claim(world: World, connection: Connection, owner: str, *, later: int = 0) -> Claim:
    """The lease, as a process takes it; so many seconds later, for which all others slept."""
    now, seconds = world.clock.now() + later * SECOND, world.services.refresher.lease_seconds
    found = await world.services.refreshes.claim(
        connection.uuid, connection.generation, owner, now, now + int(seconds * SECOND)
    )
    assert found is not None
    return found


async def expired(world: World) -> Connection:
    """A connection whose token has run out, at a provider that forgives no second use of a refresh token."""
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3600)
    return connection


async def step(world: World, task: asyncio.Task[Any], seconds: float = 0.5) -> None:
    """Let the clock run until the task is done."""
    while not task.done():
        world.clock.advance(seconds)
        await asyncio.wait([task], timeout=0.02)


def reading(services: Services, connection: Connection) -> asyncio.Task[Any]:
    """A reader in that process."""
    return asyncio.create_task(services.refresher.fresh(connection.account_uuid, connection.uuid, 60))


async def behind_another(world: World, other: Services, connection: Connection) -> tuple[asyncio.Task[Any], ...]:
    """A reader whose refresh is held at the provider, and a reader in another process that waits for it."""
    world.provider.hold(when="after")
    mine = reading(world.services, connection)
    await world.provider.wait_for_held()
    asleep = world.clock.sleepers
    theirs = reading(other, connection)
    await world.clock.wait_for_sleepers(asleep + 1)
    return mine, theirs


async def test_the_loser_waits_for_the_next_generation(world: World, other: Services) -> None:
    """Both readers get the one new token."""
    connection = await expired(world)
    mine, theirs = await behind_another(world, other, connection)
    world.provider.release()
    await mine
    await step(world, theirs)

    assert mine.result()[1] == theirs.result()[1]
    assert mine.result()[0].generation == 2
    assert world.provider.counts["token"] == 2


async def test_the_loser_is_told_what_the_winner_learnt(world: World, other: Services) -> None:
    """`invalid_grant` in one process is a 409 in the other, without another request."""
    connection = await expired(world)
    world.provider.revoke_grants()
    mine, theirs = await behind_another(world, other, connection)
    world.provider.release()
    for reader in (mine, theirs):
        await step(world, reader)
        with pytest.raises(NeedsReauthorization):
            reader.result()

    assert world.provider.counts["token"] == 2


async def test_a_live_lease_is_never_taken_over(world: World, other: Services) -> None:
    """The provider takes ten times as long as a lease: the heartbeat keeps it, and nobody else asks."""
    connection = await expired(world)
    mine, theirs = await behind_another(world, other, connection)
    for _ in range(60):
        world.clock.advance(2.5)
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert await other.worker.run_once() == 0
    assert world.provider.counts["token"] == 2
    world.provider.release()
    await asyncio.gather(mine, step(world, theirs))

    assert (await world.stored(connection)).generation == 2
    assert world.provider.counts["token"] == 2


async def test_a_dead_owners_lease_is_taken_over_when_it_lapses(world: World) -> None:
    """A process was killed with the lease: readers wait its time out, not longer."""
    connection = await expired(world)
    await claim(world, connection, "dead:1")
    world.clock.advance(14.9)
    assert await world.services.worker.run_once() == 0
    reader = reading(world.services, connection)
    await step(world, reader, 0.1)

    assert reader.result()[0].generation == 2
    assert world.provider.counts["token"] == 2


async def test_a_lapsed_owners_answer_is_kept_where_nothing_newer_is_stored(world: World, other: Services) -> None:
    """It slept through its lease, but what the provider gave is not given twice."""
    connection = await expired(world)
    slow = await claim(world, connection, world.services.refresher.owner)
    world.provider.hold(when="after")
    late = asyncio.create_task(world.services.refresher.run(slow))
    await world.provider.wait_for_held()
    taken = await claim(world, connection, "other:2", later=16)
    assert taken.lease.fence > slow.lease.fence
    world.provider.release()
    await late

    stored = await world.stored(connection)
    assert (stored.generation, stored.status) == (2, Status.ACTIVE)
    # The other owner looks before it asks, finds the answer stored, and gives its lease back.
    await other.refresher.run(taken)
    assert await world.stored(connection) == msgspec.structs.replace(stored, lease_expires_at=None)
    assert world.provider.counts["token"] == 2
    assert (await token_set(world, connection)).refresh_token is not None


async def test_a_lapsed_owners_answer_heals_what_the_next_owner_condemned(tmp_path: Path, database_url: str) -> None:
    """The next owner got `invalid_grant` because the first had spent the token a moment before."""
    async with rough_world(tmp_path, database_url, provider_timeout=10.0) as rough:
        world, connection, gate = rough.world, await rough.connect(), asyncio.Event()
        world.clock.advance(100)
        rough.script(held(gate, tokens(2)), hostile.json_body({"error": "invalid_grant"}, status=400))
        late = asyncio.create_task(world.services.refresher.run(await claim(world, connection, "slow:1")))
        await rough.server.wait_for_requests("/token", 2)
        async with open_services(world.services.settings, world.clock) as other:
            await other.refresher.run(await claim(world, connection, "other:2", later=31))
        assert (await world.stored(connection)).status is Status.NEEDS_REAUTHORIZATION
        gate.set()
        await late

        stored = await world.stored(connection)
        assert (stored.status, stored.generation, stored.failures) == (Status.ACTIVE, 2, 0)
        assert (await token_set(world, connection)).refresh_token == "refresh-2"


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "server_error"])
async def test_a_lapsed_owners_failure_says_nothing(world: World, other: Services, error: str) -> None:
    """Another process has refreshed since: the loser of the race condemns nothing and delays nothing."""
    connection = await expired(world)
    slow = await claim(world, connection, "slow:1")
    world.clock.advance(16)
    await other.refresher.fresh(connection.account_uuid, connection.uuid, 60)
    stored = await world.stored(connection)
    world.provider.fail_next(1, status=400, error=error)
    await world.services.refresher.run(slow)

    assert await world.stored(connection) == stored


@pytest.mark.parametrize("error", ["invalid_grant", "server_error"])
async def test_a_failure_that_ended_just_before_is_respected(world: World, other: Services, error: str) -> None:
    """Between reading the row and taking the lease another attempt failed: nobody asks again before its time."""
    connection = await expired(world)
    world.provider.fail_next(1, status=400, error=error)
    now = world.clock.now()
    (claimed,) = await world.services.refreshes.claim_due("demo", RefreshPolicy(), "one:1", now, now + SECOND, 1)
    await world.services.refresher.run(claimed)
    failed = await world.stored(connection)

    # As the reader saw it before.
    await other.refresher.refresh_now(connection)
    after = await world.stored(connection)
    assert (after.status, after.failures, after.lease_expires_at) == (failed.status, 1, None)
    assert world.provider.counts["token"] == 2


async def test_a_claim_of_an_old_generation_is_not_given(world: World) -> None:
    """Who read the row before another refreshed it cannot take its lease."""
    connection = await expired(world)
    await world.services.refresher.fresh(connection.account_uuid, connection.uuid, 60)

    now = world.clock.now()
    again = await world.services.refreshes.claim(connection.uuid, connection.generation, "x:1", now, now + SECOND)
    assert again is None


async def test_two_processes_share_a_hundred_due_connections(world: World, other: Services) -> None:
    """Two workers, one database, a strict provider: each connection is refreshed once, and none is lost."""
    world.provider.policy.mode = "strict"
    connections = [await world.connect() for _ in range(100)]
    world.clock.advance(3590)
    before = world.provider.counts["token"]
    tried = await asyncio.gather(world.services.worker.run_once(), other.worker.run_once())

    assert sum(tried) == 100
    assert world.provider.counts["token"] == before + 100
    assert set(world.provider.refresh_counts.values()) == {1}
    for connection in connections:
        stored = await world.stored(connection)
        assert (stored.generation, stored.status, stored.lease_expires_at) == (2, Status.ACTIVE, None)


async def test_a_clock_that_leaps_does_not_make_a_process_its_own_rival(world: World) -> None:
    """The machine woke up in the middle of a refresh: the lease has lapsed, and the token is not sent again."""
    connection = await expired(world)
    world.provider.hold(when="after")
    reader = reading(world.services, connection)
    await world.provider.wait_for_held()
    world.clock.advance(60)
    await world.services.worker.run_once()
    assert world.provider.counts["token"] == 2
    world.provider.release()
    await reader

    assert reader.result()[0].generation == 2
    world.clock.advance(3600)
    assert (await world.read_token(connection)).status_code == 200
