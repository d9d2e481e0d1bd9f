"""Reading a token: fresh, refreshed, or why there is none."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx2
import pytest

from grantkeeper.model import Connection, Status
from tests.api.builders import INDEX
from tests.support.world import CLIENT_ID, PUBLIC_URL, World

HOUR = 3600


def fingerprint(answer: httpx2.Response) -> str:
    """Of the token that was read: a failing test prints no token."""
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.json()["access_token"].encode()).hexdigest()


async def health(world: World, connection: Connection) -> dict[str, Any]:
    """How the API says the connection fares."""
    answer = await world.client.get(f"{INDEX}/{connection.uuid}", params={"include": "status,health"})
    document = answer.json()
    told: dict[str, Any] = document["health"]
    return told | {"status": document["status"]}


def reauthorization(answer: httpx2.Response, connection: Connection) -> None:
    """The answer sends the user to authorize this very connection again."""
    assert answer.status_code == 409
    assert list(answer.json()) == ["message", "refresh_authorization_url"]
    url = f"{PUBLIC_URL}/oauth/demo/authorize/{connection.uuid}"
    assert answer.json()["refresh_authorization_url"] == url
    assert answer.headers["cache-control"] == "no-store"


async def test_a_fresh_token(either_world: World) -> None:
    """The provider's own token, read as often as one likes without a request to the provider."""
    connection = await either_world.connect()
    asked = either_world.provider.counts["token"]
    first, second = [await either_world.read_token(connection) for _ in range(2)]
    assert fingerprint(first) == fingerprint(second)
    async with httpx2.AsyncClient() as provider:
        me = await provider.get(
            f"{either_world.provider.issuer}/userinfo",
            headers={"authorization": f"{first.json()['token_type']} {first.json()['access_token']}"},
        )
    assert me.json()["sub"] == "ada-lovelace"
    assert either_world.provider.counts["token"] == asked


async def test_refreshed_when_less_than_min_ttl_is_left(either_world: World) -> None:
    """60 seconds unless told otherwise: exactly that much is enough, less is not."""
    world = either_world
    connection = await world.connect()
    first = fingerprint(await world.read_token(connection))
    world.clock.advance(HOUR - 60)
    assert fingerprint(await world.read_token(connection)) == first
    assert fingerprint(await world.read_token(connection, min_ttl=0)) == first
    answer = await world.read_token(connection, min_ttl=61)
    second = fingerprint(answer)
    assert second != first
    assert answer.json()["expires_at"] == "2026-01-16T15:09:23.951021Z"
    assert world.provider.counts["token"] == 2
    world.clock.advance(HOUR - 59)
    assert fingerprint(await world.read_token(connection)) != second
    assert world.provider.counts["token"] == 3
    assert (await health(world, connection))["generation"] == 3


async def test_an_expired_token_is_never_read(world: World) -> None:
    """Not even by who asks for no time at all."""
    connection = await world.connect()
    first = fingerprint(await world.read_token(connection))
    world.clock.advance(HOUR)
    assert fingerprint(await world.read_token(connection, min_ttl=0)) != first


async def test_min_ttl_beyond_what_the_provider_gives(world: World) -> None:
    """More than any token of the provider lives is not refreshed for over and over."""
    connection = await world.connect()
    answer = await world.read_token(connection, min_ttl=86_400)
    assert fingerprint(answer) == fingerprint(await world.read_token(connection))
    assert world.provider.counts["token"] == 1


async def test_the_refresh_token_is_kept_unless_replaced(world: World) -> None:
    """A provider that sends none with the new access token means the old one to be used again."""
    connection = await world.connect()
    world.provider.policy.mode = "off"
    for generation in (2, 3, 4):
        world.clock.advance(HOUR)
        assert (await world.read_token(connection)).status_code == 200
        assert (await health(world, connection))["generation"] == generation
    refreshes = [seen for seen in world.provider.seen if seen.parameters.get("grant_type") == "refresh_token"]
    assert [seen.generation for seen in refreshes] == [1, 1, 1]


async def test_a_rotated_refresh_token_is_used(world: World) -> None:
    """Where each refresh token is good once, every refresh presents the one that came last."""
    connection = await world.connect()
    world.provider.policy.mode = "strict"
    for _ in range(3):
        world.clock.advance(HOUR)
        assert (await world.read_token(connection)).status_code == 200
    refreshes = [seen for seen in world.provider.seen if seen.parameters.get("grant_type") == "refresh_token"]
    assert [seen.generation for seen in refreshes] == [1, 2, 3]


async def test_a_refresh_is_no_change(world: World) -> None:
    """`updated_at` tells what people and callers did: a refresh moves the expiry alone."""
    connection = await world.connect()
    before = (await world.client.get(f"{INDEX}/{connection.uuid}")).json()
    world.clock.advance(HOUR)
    await world.read_token(connection)
    after = (await world.client.get(f"{INDEX}/{connection.uuid}")).json()
    assert after == before | {"access_token_expires_at": "2026-01-16T15:10:23.951021Z"}


async def test_invalid_grant(either_world: World) -> None:
    """409 with the address to authorize at, the status told, and the provider asked no more."""
    world = either_world
    connection = await world.connect()
    world.provider.revoke_grants()
    world.clock.advance(HOUR)
    reauthorization(await world.read_token(connection), connection)
    asked = world.provider.counts["token"]
    reauthorization(await world.read_token(connection), connection)
    assert world.provider.counts["token"] == asked
    told = await health(world, connection)
    assert (told["status"], told["must_act"]) == ("needs_reauthorization", "user")
    assert told["failure"] == "Demo Provider answered invalid_grant (HTTP 400)"
    assert (await world.client.get(INDEX, params={"filter[status]": "needs_reauthorization"})).json()["data"]
    again = await world.reauthorize(connection)
    assert again.uuid == connection.uuid
    assert (await world.read_token(connection)).status_code == 200
    assert (await health(world, connection))["status"] == "active"


async def test_invalid_grant_before_expiry(world: World) -> None:
    """A grant that is over is over, even if its last access token has some time left."""
    connection = await world.connect()
    world.provider.revoke_grants()
    world.clock.advance(HOUR - 30)
    reauthorization(await world.read_token(connection), connection)


@pytest.mark.parametrize("trouble", ["503", "429", "nonsense", "temporarily_unavailable"])
async def test_a_provider_that_is_down(either_world: World, trouble: str) -> None:
    """While the token is valid it is read all the same; once it has expired it is 503 with `Retry-After`."""
    world = either_world
    connection = await world.connect()
    first = fingerprint(await world.read_token(connection))
    make_trouble(world, trouble, times=2)
    world.clock.advance(HOUR - 30)
    assert fingerprint(await world.read_token(connection)) == first
    asked = world.provider.counts["token"]
    assert fingerprint(await world.read_token(connection)) == first
    assert world.provider.counts["token"] == asked, "a failing provider is left alone for a while"
    world.clock.advance(30)
    answer = await world.read_token(connection)
    assert answer.status_code == 503
    assert list(answer.json()) == ["message"]
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    told = await health(world, connection)
    assert (told["status"], told["must_act"]) == ("failing", "nobody")
    world.clock.advance(HOUR)
    assert fingerprint(await world.read_token(connection)) != first
    told = await health(world, connection)
    assert (told["status"], told["failures"], told["failure"]) == ("active", 0, None)


def make_trouble(world: World, trouble: str, times: int) -> None:
    """What the provider's token endpoint answers that many times from now on."""
    if trouble == "nonsense":
        world.provider.answer_with(b"<h1>Down for maintenance</h1>", times=times)
    elif trouble == "429":
        world.provider.fail_next(times, status=429, headers=[("retry-after", "20")])
    elif trouble == "503":
        world.provider.fail_next(times, status=503)
    else:
        world.provider.fail_next(times, status=400, error=trouble)


async def test_invalid_client_condemns_nothing(either_world: World) -> None:
    """The operator's mistake: the valid token is read, then 503; with the secret set right it goes on."""
    world = either_world
    connection = await world.connect()
    first = fingerprint(await world.read_token(connection))
    secret = world.services.settings.clients["demo"].client_secret
    assert secret is not None
    world.provider.rotate_client_secret(CLIENT_ID, "another secret")
    world.clock.advance(HOUR - 30)
    assert fingerprint(await world.read_token(connection)) == first
    world.clock.advance(HOUR)
    answer = await world.read_token(connection)
    assert answer.status_code == 503
    told = await health(world, connection)
    assert (told["status"], told["must_act"]) == ("failing", "operator")
    assert told["failure"] == "Demo Provider answered invalid_client (HTTP 401)"
    assert (await world.stored(connection)).status is Status.FAILING
    world.provider.rotate_client_secret(CLIENT_ID, secret.get_secret_value())
    world.clock.advance(HOUR)
    assert fingerprint(await world.read_token(connection)) != first


async def test_no_refresh_token(either_world: World) -> None:
    """Such a grant is read while it lasts, is never asked for more, and is 409 once it has expired."""
    world = either_world
    world.provider.policy.omit = {"refresh_token"}
    connection = await world.connect()
    assert (await health(world, connection))["refreshable"] is False
    first = fingerprint(await world.read_token(connection))
    world.clock.advance(HOUR - 2)
    assert fingerprint(await world.read_token(connection, min_ttl=600)) == first
    world.clock.advance(2)
    reauthorization(await world.read_token(connection), connection)
    told = await health(world, connection)
    assert (told["status"], told["must_act"]) == ("needs_reauthorization", "user")
    assert world.provider.counts["token"] == 1


async def test_a_token_that_does_not_expire(either_world: World) -> None:
    """`expires_at` is null, whatever `min_ttl` asks for, for years."""
    world = either_world
    world.provider.policy.omit = {"expires_in", "refresh_token"}
    connection = await world.connect()
    for min_ttl in (0, 86_400):
        answer = await world.read_token(connection, min_ttl=min_ttl)
        assert (answer.status_code, answer.json()["expires_at"]) == (200, None)
    world.clock.advance(300 * 24 * HOUR)
    assert (await world.read_token(connection)).json() == answer.json()
    assert world.provider.counts["token"] == 1


@pytest.mark.parametrize(
    ("expires_in", "shown"),
    [
        ("3600", "2026-01-16T14:10:23.951021Z"),
        (10**12, "2036-01-14T13:10:23.951021Z"),
        (-1, "2026-01-16T13:11:23.951021Z"),
        (0, "2026-01-16T13:11:23.951021Z"),
        ("soon", None),
        (None, None),
        (True, None),
        (1.9, "2026-01-16T13:10:24.951021Z"),
    ],
)
async def test_odd_lifetimes(world: World, expires_in: object, shown: str | None) -> None:
    """However odd the lifetime, the connection can be read, listed and shown."""
    world.provider.policy.override = {"expires_in": expires_in}
    connection = await world.connect()
    answer = await world.read_token(connection, min_ttl=0)
    assert (answer.status_code, answer.json()["expires_at"]) == (200, shown)
    [row] = (await world.client.get(INDEX, params={"include": "health"})).json()["data"]
    assert row["access_token_expires_at"] == shown


async def test_no_answer_repeats_a_token_elsewhere(world: World) -> None:
    """The tokens stand in this one answer, and in no other with everything included."""
    connection = await world.connect()
    token = (await world.read_token(connection)).json()["access_token"]
    everything = {"include": "status,scopes,identity,health"}
    for answer in (
        await world.client.get(INDEX, params=everything),
        await world.client.get(f"{INDEX}/{connection.uuid}", params=everything),
        await world.client.put(f"{INDEX}/{connection.uuid}", params=everything, json={"label": "x"}),
        await world.client.get("/api/v1/oauth/providers"),
        await world.client.head(f"{INDEX}/{connection.uuid}/token"),
    ):
        assert token not in answer.text
        assert "sealed" not in answer.text


async def test_a_row_that_cannot_be_opened(world: World) -> None:
    """It fails alone: 503 for its token, every other call and connection goes on, and it can be deleted."""
    broken, good = await world.connect(), await world.connect(subject="grace-hopper")
    await world.services.database.execute(
        f"UPDATE connections SET sealed_tokens = (SELECT sealed_tokens FROM connections WHERE uuid = '{good.uuid}')"
        f" WHERE uuid = '{broken.uuid}'"
    )
    answer = await world.read_token(broken)
    assert answer.status_code == 503
    assert (await world.read_token(good)).status_code == 200
    assert len((await world.client.get(INDEX)).json()["data"]) == 2
    assert (await world.client.delete(f"{INDEX}/{broken.uuid}")).status_code == 204
    assert (await world.read_token(good)).status_code == 200
