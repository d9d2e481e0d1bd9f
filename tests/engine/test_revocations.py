"""Disconnecting: gone here at once, and the provider is told, for days if need be, with an honest outcome."""

from __future__ import annotations

import asyncio
from pathlib import Path

from grantkeeper.app import open_services
from grantkeeper.clock import DAY
from grantkeeper.model import Connection
from grantkeeper.revoke import PATIENCE
from tests.engine.scenes import changed_demo, connections_of, evidence_of, rough_world
from tests.support.world import World, open_world


async def disconnect(world: World, connection: Connection) -> None:
    """As the API does it."""
    answer = await world.client.delete(f"/api/v1/oauth/connections/{connection.uuid}")
    assert answer.status_code == 204
    assert answer.content == b""


async def outcomes(world: World, connection: Connection) -> list[str]:
    """What became of the revocation, as the evidence has it."""
    lines = await evidence_of(world, connection.uuid)
    return [detail["outcome"] for action, detail in lines if action == "revocation"]


async def pending(world: World) -> int:
    """Revocations that are still to be done."""
    row = await world.services.database.fetch_one("SELECT count(*) FROM revocations")
    assert row is not None
    return int(row[0])


async def test_a_disconnect_revokes_the_grant(either_world: World) -> None:
    """The whole grant by its refresh token, before the call is answered; nothing sealed is left."""
    world = either_world
    connection = await world.connect()
    await disconnect(world, connection)

    assert await connections_of(world) == []
    assert (await world.read_token(connection)).status_code == 404
    (grant,) = world.provider.grants()
    assert grant.revoked_at is not None
    request = world.provider.seen[-1]
    assert (request.endpoint, request.parameters["token_type_hint"]) == ("revoke", "refresh_token")
    assert request.auth_method == "client_secret_basic"
    assert await outcomes(world, connection) == ["revoked"]
    assert await pending(world) == 0


async def test_a_disconnect_is_not_undone_by_a_provider_that_is_down(either_world: World) -> None:
    """It is tried again, ever more rarely, and done as soon as the provider is back."""
    world = either_world
    connection = await world.connect()
    world.provider.fail_next(10, endpoint="revoke")
    await disconnect(world, connection)
    assert await outcomes(world, connection) == []
    for _ in range(2000):
        if not await pending(world):
            break
        world.clock.advance(60)
        await world.services.worker.run_once()

    assert await outcomes(world, connection) == ["revoked"]
    assert world.provider.grants()[0].revoked_at is not None
    assert world.provider.counts["revoke"] == 11


async def test_after_a_week_it_is_given_up_and_said(world: World) -> None:
    """The evidence says so, with the number of attempts; the tokens are forgotten."""
    connection = await world.connect()
    world.provider.fail_next(100_000, endpoint="revoke")
    await disconnect(world, connection)
    for _ in range(6):
        world.clock.advance(86_400)
        await world.services.worker.run_once()
    assert await pending(world) == 1
    world.clock.advance(86_400)
    await world.services.worker.run_once()

    assert PATIENCE == 7 * DAY
    assert await outcomes(world, connection) == ["gave_up"]
    _, detail = (await evidence_of(world, connection.uuid))[-1]
    assert detail == {"outcome": "gave_up", "provider": "demo", "attempts": "8"}
    assert await pending(world) == 0
    world.clock.advance(86_400)
    await world.services.worker.run_once()
    assert world.provider.counts["revoke"] == 8


async def test_where_it_cannot_be_done_that_is_said(tmp_path: Path) -> None:
    """A provider without a revocation endpoint: `not_supported`, and no attempt."""
    async with rough_world(tmp_path) as rough:
        connection = await rough.connect()
        await disconnect(rough.world, connection)

        assert await outcomes(rough.world, connection) == ["not_supported"]
        assert await pending(rough.world) == 0


async def test_a_grant_that_is_dead_already_is_revoked_too(world: World) -> None:
    """A connection that needs its user can be disconnected like any other."""
    connection = await world.connect()
    world.provider.revoke_grants()
    world.clock.advance(3600)
    await world.read_token(connection)
    await disconnect(world, connection)

    assert await outcomes(world, connection) == ["revoked"]


async def test_a_grant_without_a_refresh_token_is_revoked_by_its_access_token(world: World) -> None:
    """That is all there is."""
    world.provider.policy.omit.add("refresh_token")
    connection = await world.connect()
    await disconnect(world, connection)

    assert world.provider.seen[-1].parameters["token_type_hint"] == "access_token"
    assert await outcomes(world, connection) == ["revoked"]


async def test_retry_after_is_honoured(world: World) -> None:
    """The provider is left alone for as long as it asks."""
    connection = await world.connect()
    world.provider.fail_next(1, status=429, headers=[("retry-after", "1800")], endpoint="revoke")
    await disconnect(world, connection)
    world.clock.advance(1799)
    await world.services.worker.run_once()
    assert world.provider.counts["revoke"] == 1
    world.clock.advance(1)
    await world.services.worker.run_once()

    assert await outcomes(world, connection) == ["revoked"]


async def test_an_error_with_http_200_is_not_taken_for_success(tmp_path: Path) -> None:
    """Slack says `"ok": false`: it is tried again."""
    providers = changed_demo(tmp_path / "providers", ("[refresh]", '[token.response]\nok = "ok"\n[refresh]'))
    async with open_world(tmp_path, f"sqlite:///{tmp_path / 'db.sqlite3'}", providers_dir=providers) as world:
        connection = await world.connect()
        world.provider.answer_with(b'{"ok": false, "error": "fatal"}', endpoint="revoke")
        await disconnect(world, connection)
        assert await outcomes(world, connection) == []
        world.clock.advance(60)
        await world.services.worker.run_once()

        assert await outcomes(world, connection) == ["revoked"]


async def test_the_operators_error_is_waited_out(world: World) -> None:
    """A client that is no longer set up here: the revocation waits for it, and is done with the old one."""
    connection = await world.connect()
    settings = world.services.settings
    renamed = settings.clients["demo"].model_copy(update={"client_id": "new-client"})
    other = settings.model_copy(update={"clients": {"demo": renamed}})
    world.provider.fail_next(1, endpoint="revoke")
    await disconnect(world, connection)
    async with open_services(other, world.clock) as services:
        world.clock.advance(60)
        await services.worker.run_once()
    assert await outcomes(world, connection) == []
    assert world.provider.counts["revoke"] == 1
    world.clock.advance(600)
    await world.services.worker.run_once()

    assert await outcomes(world, connection) == ["revoked"]


async def test_a_slow_provider_holds_up_neither_the_caller_nor_the_others(world: World) -> None:
    """The call is answered after a few seconds at most, and another grant is revoked meanwhile."""
    first, second = await world.connect(), await world.connect()
    world.provider.hold("revoke")
    slow = asyncio.create_task(disconnect(world, first))
    await world.provider.wait_for_held(endpoint="revoke")
    also_slow = asyncio.create_task(disconnect(world, second))
    await world.provider.wait_for_held(2, endpoint="revoke")
    assert await connections_of(world) == []
    world.provider.release("revoke")
    await asyncio.gather(slow, also_slow)

    assert all(grant.revoked_at is not None for grant in world.provider.grants())


async def test_pending_revocations_are_tried_side_by_side(world: World) -> None:
    """One provider that hangs does not keep the others waiting until their turn has passed."""
    connections = [await world.connect() for _ in range(5)]
    world.provider.fail_next(5, endpoint="revoke")
    for connection in connections:
        await disconnect(world, connection)
    world.clock.advance(60)
    world.provider.hold("revoke")
    round_ = asyncio.create_task(world.services.worker.run_once())
    await asyncio.wait_for(world.provider.wait_for_held(5, endpoint="revoke"), 5)
    world.provider.release("revoke")
    await round_

    assert all(grant.revoked_at is not None for grant in world.provider.grants())


async def test_a_caller_that_leaves_changes_nothing(world: World) -> None:
    """The connection is gone and the grant is revoked, whoever waits for it."""
    connection = await world.connect()
    world.provider.hold("revoke")
    caller = asyncio.create_task(disconnect(world, connection))
    await world.provider.wait_for_held(endpoint="revoke")
    caller.cancel()
    await asyncio.wait([caller])
    world.provider.release("revoke")
    world.clock.advance(121)
    await world.services.worker.run_once()

    assert await outcomes(world, connection) == ["revoked"]
    assert world.provider.grants()[0].revoked_at is not None


async def test_two_processes_do_not_revoke_the_same_grant_twice(either_world: World) -> None:
    """Each pending revocation is tried by one at a time, and told of once."""
    world = either_world
    connections = [await world.connect() for _ in range(10)]
    world.provider.fail_next(10, endpoint="revoke")
    for connection in connections:
        await disconnect(world, connection)
    before = world.provider.counts["revoke"]
    world.clock.advance(600)
    async with open_services(world.services.settings, world.clock) as other:
        done = await asyncio.gather(world.services.revoker.work(), other.revoker.work())

    assert sum(done) == 10
    assert world.provider.counts["revoke"] == before + 10
    for connection in connections:
        assert await outcomes(world, connection) == ["revoked"]


async def test_what_cannot_be_opened_is_let_go(world: World) -> None:
    """A token set that does not open cannot be revoked; the person gets rid of the connection all the same."""
    connection = await world.connect()
    world.provider.fail_next(1, endpoint="revoke")
    await disconnect(world, connection)
    await world.services.database.execute("UPDATE revocations SET sealed_tokens = :sealed", sealed=b"garbage")
    world.clock.advance(60)
    await world.services.worker.run_once()

    assert await outcomes(world, connection) == ["unreadable"]
    assert await pending(world) == 0
