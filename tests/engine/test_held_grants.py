"""Signing in as somebody else: the grant is held until its user chooses, and no connection suffers."""

from __future__ import annotations

import asyncio

import pytest

from grantkeeper.access import browser_caller
from grantkeeper.authorize import Completed, OtherIdentity
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import Connection, Login
from tests.engine.scenes import ADA, GRACE, begin, complete, connections_of, evidence_of
from tests.support.world import World


async def sign_in_as(world: World, connection: Connection, subject: str = GRACE) -> OtherIdentity:
    """Reauthorize a connection as somebody else."""
    callback = world.provider.approve(await begin(world, connection=connection), subject=subject)
    with pytest.raises(OtherIdentity) as failure:
        await complete(world, callback)
    return failure.value


async def keep(world: World, handle: str, login: Login | None = None) -> Completed:
    """The person keeps the held grant."""
    caller = browser_caller(login or world.login)
    return await world.services.authorizations.keep_held(caller, handle, "request-2")


async def discard(world: World, handle: str, login: Login | None = None) -> None:
    """The person does not want it."""
    await world.services.authorizations.discard_held(browser_caller(login or world.login), handle)


def live_subjects(world: World) -> list[str]:
    """Whose grants are alive at the provider, the oldest first."""
    return [grant.subject for grant in world.provider.grants() if grant.revoked_at is None]


async def test_somebody_elses_grant_is_held(either_world: World) -> None:
    """The connection is left as it was, and the page names both people."""
    world = either_world
    connection = await world.connect()
    failure = await sign_in_as(world, connection)

    assert (failure.reason, failure.status) == ("other_identity", 409)
    assert "Ada Lovelace" in failure.message
    assert "Grace Hopper" in failure.message
    assert await world.stored(connection) == connection
    assert (await world.read_token(connection)).status_code == 200
    assert live_subjects(world) == [ADA, GRACE]


async def test_a_held_grant_can_be_kept_as_a_connection_of_its_own(either_world: World) -> None:
    """It gets its own UUID, label and evidence, and works."""
    world = either_world
    connection = await world.connect()
    completed = await keep(world, (await sign_in_as(world, connection)).handle)

    kept = completed.connection
    assert completed.created
    assert kept.uuid != connection.uuid
    assert (kept.subject, kept.identity, kept.label) == (GRACE, "Grace Hopper", "My Demo Provider Account 2")
    assert [action for action, _ in await evidence_of(world, kept.uuid)] == ["connect"]
    world.clock.advance(3600)
    assert (await world.read_token(kept)).status_code == 200
    assert (await world.read_token(connection)).status_code == 200


async def test_it_can_be_kept_once(either_world: World) -> None:
    """A double click makes one connection."""
    world = either_world
    handle = (await sign_in_as(world, await world.connect())).handle
    outcomes = await asyncio.gather(*(keep(world, handle) for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 1
    failures = [outcome for outcome in outcomes if isinstance(outcome, AuthorizationFailed)]
    assert {failure.reason for failure in failures} == {"choice_expired"}
    assert len(await connections_of(world)) == 2


async def test_a_click_that_is_broken_off_loses_nothing(world: World) -> None:
    """Once taken, the grant becomes a connection, whether the browser waits or not."""
    handle = (await sign_in_as(world, await world.connect())).handle
    click = asyncio.create_task(keep(world, handle))
    await asyncio.sleep(0)
    click.cancel()
    await asyncio.wait([click])
    await world.services.authorizations.settle()

    assert len(await connections_of(world)) == 2


async def test_what_nobody_wants_is_revoked(world: World) -> None:
    """Discarding tells the provider; the connection's own grant lives on."""
    connection = await world.connect()
    await discard(world, (await sign_in_as(world, connection)).handle)
    await world.services.worker.run_once()

    assert live_subjects(world) == [ADA]
    assert (await world.stored(connection)) == connection


async def test_what_nobody_chooses_is_revoked_in_time(world: World) -> None:
    """After ten minutes the choice is over."""
    connection = await world.connect()
    handle = (await sign_in_as(world, connection)).handle
    world.clock.advance(599)
    await world.services.worker.run_once()
    assert live_subjects(world) == [ADA, GRACE]

    world.clock.advance(1)
    await world.services.worker.run_once()
    await world.services.worker.run_once()
    assert live_subjects(world) == [ADA]
    with pytest.raises(AuthorizationFailed) as failure:
        await keep(world, handle)
    assert (failure.value.reason, failure.value.retry_url) == ("choice_expired", "/connect")


async def test_a_choice_that_comes_too_late_revokes(world: World) -> None:
    """Also where the worker has not looked yet."""
    handle = (await sign_in_as(world, await world.connect())).handle
    world.clock.advance(600)
    with pytest.raises(AuthorizationFailed) as failure:
        await keep(world, handle)
    assert failure.value.reason == "choice_expired"

    await world.services.worker.run_once()
    assert live_subjects(world) == [ADA]
    assert len(await connections_of(world)) == 1


@pytest.mark.parametrize("handle", ["", "x", "é" * 40])
async def test_an_unknown_handle_does_nothing(world: World, handle: str) -> None:
    """It was never given."""
    await world.connect()
    await discard(world, handle)
    with pytest.raises(AuthorizationFailed):
        await keep(world, handle)
    assert live_subjects(world) == [ADA]


async def test_the_choice_is_its_users_alone(world: World) -> None:
    """Neither another account nor a colleague in the same one can take the grant."""
    handle = (await sign_in_as(world, await world.connect())).handle
    eve = await world.new_login("eve@example.com")
    bob = await world.new_login("bob@example.com", world.account_uuid)
    for other in (eve, bob):
        with pytest.raises(AuthorizationFailed):
            await keep(world, handle, other)
        await discard(world, handle, other)

    await world.services.worker.run_once()
    assert live_subjects(world) == [ADA, GRACE]
    assert (await keep(world, handle)).created


async def test_where_nobody_says_who_it_was_nothing_is_replaced(world: World) -> None:
    """Userinfo is down: the grant is held, and the page does not claim that it was somebody else."""
    connection = await world.connect()
    world.provider.fail_next(2, status=503, endpoint="userinfo")
    failure = await sign_in_as(world, connection, ADA)

    assert failure.title == "We could not confirm who signed in"
    assert "somebody else" not in failure.message
    assert await world.stored(connection) == connection


async def test_an_identity_without_a_subject_is_not_another_one(world: World) -> None:
    """A userinfo answer that names nobody confirms nothing."""
    connection = await world.connect()
    world.provider.answer_with(b'{"name": "Ada Lovelace"}', endpoint="userinfo")

    assert (await sign_in_as(world, connection, ADA)).title == "We could not confirm who signed in"


@pytest.mark.parametrize("how", ["discard", "expire"])
async def test_a_grant_of_unknown_identity_is_not_revoked(world: World, how: str) -> None:
    """It may be the connection's own person, and at some providers revoking it would end the connection."""
    connection = await world.connect()
    world.provider.fail_next(2, status=503, endpoint="userinfo")
    handle = (await sign_in_as(world, connection, ADA)).handle
    if how == "discard":
        await discard(world, handle)
    world.clock.advance(601)
    await world.services.worker.run_once()

    assert world.provider.counts["revoke"] == 0
    assert live_subjects(world) == [ADA, ADA]
    world.clock.advance(3600)
    assert (await world.read_token(connection)).status_code == 200


async def test_a_grant_of_somebody_who_is_connected_is_not_revoked(world: World) -> None:
    """Grace has a connection here: discarding her second grant must not end it."""
    ada, grace = await world.connect(), await world.connect(subject=GRACE)
    await discard(world, (await sign_in_as(world, ada)).handle)
    await world.services.worker.run_once()

    assert live_subjects(world) == [ADA, GRACE, GRACE]
    world.clock.advance(3600)
    assert (await world.read_token(grace)).status_code == 200
