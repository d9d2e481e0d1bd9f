"""Users of several accounts: which one a call works in."""

from __future__ import annotations

import uuid

import pytest

from grantkeeper.model import ALL_SCOPES, Login
from tests.api.builders import INDEX, TOKENS, UNKNOWN_UUID, add_connection, client_of
from tests.support.world import PASSWORD, World

HEADERS = ("X-Account-UUID", "X-PLANNR-ACCOUNT-UUID", "x-account-uuid", "x-plannr-account-uuid")


async def join(world: World, owner: str) -> Login:
    """The world's user joins the account of somebody else; the new login."""
    other = await world.new_login(owner)
    world.clock.advance(60)
    joined = str(uuid.uuid4())
    await world.services.people.add_login(joined, world.login.user.uuid, other.account.uuid, world.clock.now())
    logins = await world.services.people.list_logins(world.login.user.uuid)
    return next(login for login in logins if login.uuid == joined)


async def test_each_header_chooses(either_world: World) -> None:
    """A token for any account works in the one that either header names, in any case of its letters."""
    world = either_world
    second = await join(world, "owner@example.com")
    token = await world.new_token(world.login, tuple(ALL_SCOPES), any_account=True)
    for login in (world.login, second):
        connection = await add_connection(world, f"of {login.account.uuid}", login=login)
        for header in HEADERS:
            for account in (login.account.uuid, login.account.uuid.upper()):
                client = client_of(world, token, **{header: account})
                rows = (await client.get(INDEX)).json()["data"]
                assert [row["uuid"] for row in rows] == [connection.uuid]
                assert (await client.get(f"{INDEX}/{connection.uuid}")).status_code == 200


async def test_without_a_choice(either_world: World) -> None:
    """Without a header such a token is 422 where an account is needed, and served where none is."""
    world = either_world
    second = await join(world, "owner@example.com")
    connection = await add_connection(world)
    client = client_of(world, await world.new_token(world.login, tuple(ALL_SCOPES), any_account=True))
    for answer in (
        await client.get(INDEX),
        await client.get(f"{INDEX}/{connection.uuid}"),
        await client.get(f"{INDEX}/{connection.uuid}/token"),
        await client.put(f"{INDEX}/{connection.uuid}", json={"label": "x"}),
        await client.delete(f"{INDEX}/{connection.uuid}"),
    ):
        assert answer.status_code == 422
        problem = "You belong to several accounts; choose one with the header X-Account-UUID."
        assert answer.json() == {"message": problem, "errors": {"X-Account-UUID": [problem]}}
    accounts = [login["account"]["uuid"] for login in (await client.get("/api/v1/logins")).json()["data"]]
    assert accounts == [world.account_uuid, second.account.uuid]
    body = {"name": "n", "password": PASSWORD, "account_uuid": second.account.uuid}
    assert (await client.post(TOKENS, json=body)).status_code == 201


async def test_a_token_for_one_account(either_world: World) -> None:
    """It works in its account with no header or its own; the user's other account is 404 for it."""
    world = either_world
    second = await join(world, "owner@example.com")
    theirs = await add_connection(world, "second", login=second)
    assert (await world.client.get(INDEX)).json() == {"data": []}
    assert (await world.client.get(f"{INDEX}/{theirs.uuid}")).status_code == 404
    for header in HEADERS:
        own = client_of(world, world.token, **{header: world.account_uuid})
        assert (await own.get(INDEX)).status_code == 200
        other = client_of(world, world.token, **{header: second.account.uuid})
        assert (await other.get(INDEX)).status_code == 404


async def test_the_products_own_header_wins(world: World) -> None:
    """Where both headers are sent, X-Account-UUID counts."""
    second = await join(world, "owner@example.com")
    token = await world.new_token(world.login, tuple(ALL_SCOPES), any_account=True)
    connection = await add_connection(world, login=second)
    for product, vendor, status in (
        (second.account.uuid, world.account_uuid, 200),
        (world.account_uuid, second.account.uuid, 404),
        (UNKNOWN_UUID, second.account.uuid, 404),
        ("", second.account.uuid, 200),
    ):
        client = client_of(world, token, X_Account_UUID=product, X_Plannr_Account_UUID=vendor)
        assert (await client.get(f"{INDEX}/{connection.uuid}")).status_code == status


@pytest.mark.parametrize("any_account", [False, True])
async def test_a_login_that_is_removed(either_world: World, any_account: bool) -> None:
    """Who is put out of an account is out of it within the second for which a token is trusted."""
    world = either_world
    second = await join(world, "owner@example.com")
    header = {"X_Account_UUID": second.account.uuid} if any_account else {}
    client = client_of(world, await world.new_token(second, tuple(ALL_SCOPES), any_account=any_account), **header)
    assert (await client.get(INDEX)).status_code == 200
    await world.services.people.delete_login(world.login.user.uuid, second.account.uuid)
    world.clock.advance(1.1)
    assert (await client.get(INDEX)).status_code == (404 if any_account else 401)
    assert (await world.client.get(INDEX)).status_code == 200, "the user's other account stays open"


async def test_the_last_login_is_removed(either_world: World) -> None:
    """A user of no account is nobody: 401, and no talk of several accounts to choose from."""
    world = either_world
    client = client_of(world, await world.new_token(world.login, tuple(ALL_SCOPES), any_account=True))
    assert (await client.get(INDEX)).status_code == 200, "a single account need not be chosen"
    await world.services.people.delete_login(world.login.user.uuid, world.account_uuid)
    world.clock.advance(1.1)
    for path in (INDEX, "/api/v1/logins"):
        assert (await client.get(path)).status_code == 401


async def test_a_login_that_is_added(world: World) -> None:
    """With the second account the choice begins to matter for a token for any account."""
    client = client_of(world, await world.new_token(world.login, tuple(ALL_SCOPES), any_account=True))
    assert (await client.get(INDEX)).status_code == 200
    second = await join(world, "owner@example.com")
    assert (await client.get(INDEX)).status_code == 422
    client.headers["X-Account-UUID"] = second.account.uuid
    assert (await client.get(INDEX)).status_code == 200


async def test_the_log_names_the_account(world: World) -> None:
    """What is done in a chosen account is evidence in that account, by the token that did it."""
    second = await join(world, "owner@example.com")
    connection = await add_connection(world, login=second)
    token = await world.new_token(world.login, tuple(ALL_SCOPES), any_account=True)
    client = client_of(world, token, X_Account_UUID=second.account.uuid)
    await client.put(f"{INDEX}/{connection.uuid}", json={"label": "x"}, headers={"x-request-id": "mine-1"})
    [line] = await world.services.store.evidence(second.account.uuid, connection.uuid)
    [record] = [t for t in await world.services.people.list_tokens(world.login.user.uuid) if t.account_uuid is None]
    assert (line.action, line.actor, line.request_id) == ("label", f"token:{record.uuid}", "mine-1")
    assert line.detail == {"from": "My account", "to": "x"}
