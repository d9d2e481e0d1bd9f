"""Reauthorizing in place: the connection stays what it is, and what works is never made worse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import Connection, MustAct, Status
from grantkeeper.testing import hostile
from grantkeeper.testing.hostile import Answer
from tests.engine.scenes import (
    ADA,
    Rough,
    begin,
    complete,
    connections_of,
    evidence_of,
    fails,
    held,
    rough_world,
    token_set,
    tokens,
)
from tests.support.world import World


@pytest.fixture
async def rough(tmp_path: Path) -> AsyncIterator[Rough]:
    """The provider `rough`, whose identities nobody knows."""
    async with rough_world(tmp_path, provider_timeout=10.0) as rough:
        yield rough


async def rename(world: World, connection: Connection, label: str) -> None:
    """As the API does it."""
    url = f"/api/v1/oauth/connections/{connection.uuid}"
    assert (await world.client.put(url, json={"label": label})).status_code == 200


async def disconnect(world: World, connection: Connection) -> None:
    """As the API does it."""
    answer = await world.client.delete(f"/api/v1/oauth/connections/{connection.uuid}")
    assert answer.status_code == 204


async def test_everything_but_the_grant_stays(either_world: World) -> None:
    """UUID, label and birthday are kept; the tokens are new, and the old refresh token is forgotten."""
    world = either_world
    connection = await world.connect()
    before = await token_set(world, connection)
    await rename(world, connection, "Savings")
    world.clock.advance(100)
    again = await world.reauthorize(connection)

    assert (again.uuid, again.label, again.created_at) == (connection.uuid, "Savings", connection.created_at)
    assert (again.generation, again.status, again.subject) == (2, Status.ACTIVE, ADA)
    assert again.updated_at == world.clock.now()
    after = await token_set(world, connection)
    assert {after.access_token, after.refresh_token}.isdisjoint({before.access_token, before.refresh_token})
    assert [action for action, _ in await evidence_of(world, connection.uuid)] == ["connect", "label", "reauthorize"]
    assert len(await connections_of(world)) == 1


async def test_a_dead_connection_comes_back_to_life(either_world: World) -> None:
    """After `invalid_grant` the 409's link is all it takes."""
    world = either_world
    connection = await world.connect()
    world.provider.revoke_grants()
    world.clock.advance(3600)
    refused = await world.read_token(connection)
    assert refused.status_code == 409
    assert refused.json()["refresh_authorization_url"].endswith(f"/oauth/demo/authorize/{connection.uuid}")

    again = await world.reauthorize(connection)

    assert (again.status, again.failure, again.must_act, again.failures) == (Status.ACTIVE, None, MustAct.NOBODY, 0)
    assert again.next_refresh_at is not None
    assert (await world.read_token(connection)).status_code == 200


async def test_a_working_refresh_token_is_kept_where_no_new_one_comes(world: World) -> None:
    """Google gives one at the first consent only."""
    connection = await world.connect()
    old = await token_set(world, connection)
    world.provider.policy.omit.add("refresh_token")
    again = await world.reauthorize(connection)

    after = await token_set(world, connection)
    assert again.refreshable
    assert after.refresh_token == old.refresh_token
    assert after.access_token != old.access_token
    world.clock.advance(3600)
    assert (await world.read_token(connection)).status_code == 200


async def test_a_dead_refresh_token_is_not_kept(world: World) -> None:
    """Only its user could mend it, and did so with a grant that cannot be refreshed: that is shown."""
    connection = await world.connect()
    world.provider.revoke_grants()
    world.clock.advance(3600)
    await world.read_token(connection)
    world.provider.policy.omit.add("refresh_token")
    again = await world.reauthorize(connection)

    assert not again.refreshable
    assert (await token_set(world, connection)).refresh_token is None


async def test_the_newest_grant_wins_over_a_refresh_in_flight(rough: Rough) -> None:
    """What the old grant's refresh brings later is not stored over it, and condemns nothing."""
    world, connection, gate = rough.world, await rough.connect(), asyncio.Event()
    for number, late in enumerate((tokens(2), hostile.json_body({"error": "invalid_grant"}, status=400))):
        gate.clear()
        world.clock.advance(100)
        rough.script(held(gate, late), tokens(3 + number))
        reader = asyncio.create_task(world.read_token(connection))
        await rough.server.wait_for_requests("/token", rough.requests + 1)
        again = await rough.reauthorize(connection)
        gate.set()

        assert (await reader).json()["access_token"] == f"access-{3 + number}"
        assert await world.stored(connection) == again
        assert (await token_set(world, connection)).refresh_token == f"refresh-{3 + number}"


async def behind_a_refresh(
    rough: Rough, gate: asyncio.Event, late: Answer
) -> tuple[Connection, asyncio.Task[Any], asyncio.Task[Any]]:
    """A refresh whose answer is held, a reader of it, and a reauthorization without a refresh token behind it."""
    world, connection = rough.world, await rough.connect()
    world.clock.advance(100)
    rough.script(held(gate, late), tokens(3, refresh_token=None))
    reader = asyncio.create_task(world.read_token(connection))
    await rough.server.wait_for_requests("/token", 2)
    asleep = world.clock.sleepers
    again = asyncio.create_task(rough.reauthorize(connection))
    await world.clock.wait_for_sleepers(asleep + 1)
    return connection, reader, again


async def finish(world: World, task: asyncio.Task[Any]) -> Any:
    """Let the clock run until the task is done."""
    while not task.done():
        world.clock.advance(0.1)
        await asyncio.wait([task], timeout=0.01)
    return await task


async def test_the_refresh_token_that_is_kept_is_the_newest(rough: Rough) -> None:
    """A refresh in flight is spending the stored one: the reauthorization waits, and keeps what it brings."""
    gate = asyncio.Event()
    connection, reader, again = await behind_a_refresh(rough, gate, tokens(2))
    gate.set()
    assert (await reader).json()["access_token"] == "access-2"
    await finish(rough.world, again)

    stored = await token_set(rough.world, connection)
    assert (stored.access_token, stored.refresh_token) == ("access-3", "refresh-2")
    assert (await rough.world.stored(connection)).generation == 3


async def test_a_refresh_token_that_dies_meanwhile_is_not_kept(rough: Rough) -> None:
    """The refresh in flight ends in `invalid_grant`: the new grant stands alone, and the connection works."""
    gate = asyncio.Event()
    dead = hostile.json_body({"error": "invalid_grant"}, status=400)
    connection, reader, again = await behind_a_refresh(rough, gate, dead)
    gate.set()
    assert (await reader).status_code == 409
    await finish(rough.world, again)

    stored = await rough.world.stored(connection)
    assert (stored.status, stored.refreshable) == (Status.ACTIVE, False)
    assert (await rough.world.read_token(connection)).json()["access_token"] == "access-3"


async def test_a_connection_that_goes_while_a_reauthorization_waits_is_gone(rough: Rough) -> None:
    """Neither its refresh nor its reauthorization brings it back."""
    gate = asyncio.Event()
    connection, reader, again = await behind_a_refresh(rough, gate, tokens(2))
    await disconnect(rough.world, connection)
    gate.set()
    assert (await reader).status_code == 404

    with pytest.raises(AuthorizationFailed) as failure:
        await finish(rough.world, again)
    assert failure.value.reason == "connection_gone"
    assert await connections_of(rough.world) == []


async def test_a_connection_that_went_while_its_user_was_away_stays_gone(world: World) -> None:
    """The page says so, and the grant that was just given is revoked."""
    connection = await world.connect()
    callback = world.provider.approve(await begin(world, connection=connection))
    await disconnect(world, connection)
    failure = await fails(world, callback)

    assert (failure.reason, failure.retry_url) == ("connection_gone", "/oauth/demo/authorize")
    assert await connections_of(world) == []
    await world.services.worker.run_once()
    assert all(grant.revoked_at is not None for grant in world.provider.grants())


async def test_a_connection_that_goes_during_the_exchange_stays_gone(world: World) -> None:
    """The same where it happens a moment later."""
    connection = await world.connect()
    callback = world.provider.approve(await begin(world, connection=connection))
    world.provider.hold("userinfo")
    again = asyncio.create_task(complete(world, callback))
    await world.provider.wait_for_held(endpoint="userinfo")
    await disconnect(world, connection)
    world.provider.release("userinfo")

    with pytest.raises(AuthorizationFailed) as failure:
        await again
    assert failure.value.reason == "connection_gone"
    await world.services.worker.run_once()
    assert all(grant.revoked_at is not None for grant in world.provider.grants())


async def test_a_refresh_in_flight_does_not_outlive_a_disconnect(world: World) -> None:
    """What the provider gives to a connection that is gone is revoked too: nobody else knows of it."""
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3600)
    world.provider.hold(when="after")
    reader = asyncio.create_task(world.read_token(connection))
    await world.provider.wait_for_held()
    world.provider.fail_next(1, endpoint="revoke")
    await disconnect(world, connection)
    world.provider.release()
    assert (await reader).status_code == 404

    before = world.provider.counts["revoke"]
    world.clock.advance(600)
    await world.services.worker.run_once()
    assert world.provider.counts["revoke"] == before + 2
    assert all(grant.revoked_at is not None for grant in world.provider.grants())


async def test_two_reauthorizations_at_once_end_in_one_of_them(either_world: World) -> None:
    """Two tabs: both say that it is done, and what is stored works."""
    world = either_world
    connection = await world.connect()
    callbacks = [world.provider.approve(await begin(world, connection=connection)) for _ in range(2)]
    await asyncio.gather(*(complete(world, callback) for callback in callbacks))

    assert (await world.stored(connection)).generation == 3
    world.clock.advance(3600)
    assert (await world.read_token(connection)).status_code == 200
