"""Reading a token: refreshed when need be, once for everybody, with what is stored and for as long as it works."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from grantkeeper.app import open_services
from grantkeeper.clock import DAY, HOUR
from grantkeeper.errors import Unavailable
from grantkeeper.model import MustAct, Status
from grantkeeper.testing import hostile
from tests.engine.scenes import changed_demo, connections_of, rough_world, token_set, tokens
from tests.support.world import CLIENT_ID, CLIENT_SECRET, World, open_world


async def test_200_readers_are_one_request(either_world: World) -> None:
    """All get the same new token."""
    world = either_world
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3590)
    world.provider.hold()
    readers = [asyncio.create_task(world.read_token(connection)) for _ in range(200)]
    await world.provider.wait_for_held()
    world.provider.release()
    answers = await asyncio.gather(*readers)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 1
    assert world.provider.counts["token"] == 2
    assert (await world.stored(connection)).generation == 2


async def test_connections_are_refreshed_side_by_side(world: World) -> None:
    """A slow provider holds up one connection, not the next."""
    first, second = await world.connect(), await world.connect()
    world.clock.advance(3600)
    world.provider.hold()
    readers = [asyncio.create_task(world.read_token(each)) for each in (first, second)]
    await world.provider.wait_for_held(2)
    world.provider.release()

    assert [(await reader).status_code for reader in readers] == [200, 200]


@pytest.mark.parametrize(
    ("left", "min_ttl", "refreshed"),
    [(61, 60, False), (60, 60, False), (59, 60, True), (600, 601, True), (600, 600, False), (1, 1, False),
     (1, 0, False), (1, 2, True), (1801, 3600, False), (1800, 86_400, False), (1799, 3600, True)],
)  # fmt: skip
async def test_a_token_is_refreshed_when_too_little_is_left(
    world: World, left: int, min_ttl: int, refreshed: bool
) -> None:
    """Where no token lives as long as is asked, half of its life must do: not every read refreshes."""
    connection = await world.connect()
    world.clock.advance(3600 - left)
    for _ in range(3):
        assert (await world.read_token(connection, min_ttl=min_ttl)).status_code == 200

    assert world.provider.counts["token"] == (2 if refreshed else 1)


async def test_five_second_tokens_are_not_refreshed_at_each_read(world: World) -> None:
    """The default `min_ttl` of a minute cannot be had: at most one request in half a life."""
    world.provider.policy.access_token_lifetime = 5
    connection = await world.connect()
    for _ in range(100):
        assert (await world.read_token(connection)).status_code == 200
        world.clock.advance(0.1)

    assert 4 <= world.provider.counts["token"] <= 6


async def test_a_rotated_refresh_token_is_used_once(either_world: World) -> None:
    """Ten refreshes with a strict provider: each spends the newest, and none is spent twice."""
    world = either_world
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    for _ in range(10):
        world.clock.advance(3600)
        assert (await world.read_token(connection)).status_code == 200

    grant = world.provider.grants()[0].grant_id
    assert dict(world.provider.refresh_counts) == {(grant, generation): 1 for generation in range(1, 11)}
    assert (await world.stored(connection)).generation == 11


async def test_a_refresh_token_that_does_not_rotate_is_kept(world: World) -> None:
    """The answer carries none: the old one stays, and works again and again."""
    world.provider.policy.mode = "off"
    connection = await world.connect()
    old = (await token_set(world, connection)).refresh_token
    for _ in range(3):
        world.clock.advance(3600)
        assert (await world.read_token(connection)).status_code == 200

    assert (await token_set(world, connection)).refresh_token == old
    assert (await world.stored(connection)).refreshable


async def test_a_refresh_moves_no_time_that_a_person_sees(world: World) -> None:
    """`updated_at` is for changes by people; label and identity are not touched by a refresh in flight."""
    connection = await world.connect()
    world.clock.advance(3600)
    world.provider.hold()
    reader = asyncio.create_task(world.read_token(connection))
    await world.provider.wait_for_held()
    url = f"/api/v1/oauth/connections/{connection.uuid}"
    assert (await world.client.put(url, json={"label": "Renamed"})).status_code == 200
    renamed_at = world.clock.now()
    world.clock.advance(1)
    world.provider.release()
    await reader

    stored = await world.stored(connection)
    assert (stored.label, stored.generation) == ("Renamed", 2)
    assert stored.updated_at == renamed_at


async def test_a_token_that_never_expires_is_never_refreshed(world: World) -> None:
    """No `expires_in`, no default: it is served for ten years without a request."""
    world.provider.policy.omit.add("expires_in")
    connection = await world.connect()
    world.clock.advance(10 * 365 * 86_400)
    await world.services.worker.run_once()

    assert (await world.read_token(connection, min_ttl=86_400)).json()["expires_at"] is None
    assert world.provider.counts["token"] == 1


async def test_a_definition_may_know_the_lifetime(tmp_path: Path) -> None:
    """Salesforce says nothing: the default counts, so that the token is refreshed in time."""
    lifetime = "[token.response]\ndefault_lifetime = 7200"
    async with rough_world(tmp_path, token=lifetime) as rough:
        connection = await rough.connect(tokens(expires_in=None))
        rough.script(tokens(2, expires_in=None))
        rough.world.clock.advance(7141)

        assert (await rough.world.read_token(connection)).json()["access_token"] == "access-2"


@pytest.mark.parametrize(
    ("words", "scope"),
    [("send_scope = true", "profile email accounts.read"), ("send_scope = false", None), ("", None)],
)
async def test_scopes_go_along_only_where_the_definition_says_so(tmp_path: Path, words: str, scope: str | None) -> None:
    """Microsoft needs them, Salesforce must not get them."""
    providers = changed_demo(tmp_path / "providers", ("rotates = true", f"rotates = true\n{words}"))
    async with open_world(tmp_path, f"sqlite:///{tmp_path / 'db.sqlite3'}", providers_dir=providers) as world:
        connection = await world.connect()
        world.clock.advance(3600)
        assert (await world.read_token(connection)).status_code == 200
        request = next(seen for seen in reversed(world.provider.seen) if seen.endpoint == "token")

    assert request.parameters.get("scope") == scope
    assert request.auth_method == "client_secret_basic"


async def test_a_grant_without_refresh_token_is_good_to_its_end(either_world: World) -> None:
    """Readers get it until its last second, without a write; then its user must act, once and for all."""
    world = either_world
    world.provider.policy.omit.add("refresh_token")
    connection = await world.connect()
    world.clock.advance(3599)
    for _ in range(3):
        assert (await world.read_token(connection)).status_code == 200
    assert await world.stored(connection) == connection
    leases = await world.services.database.fetch_one("SELECT lease_fence FROM connections")
    assert leases is not None
    assert leases[0] == 0

    world.clock.advance(1)
    for _ in range(3):
        answer = await world.read_token(connection)
        assert answer.status_code == 409
        assert answer.json()["refresh_authorization_url"].endswith(connection.uuid)
    assert world.provider.counts["token"] == 1


async def test_a_dead_grant_is_asked_for_once(either_world: World) -> None:
    """`invalid_grant` latches: neither readers nor the worker ask again, for weeks."""
    world = either_world
    connection = await world.connect()
    world.provider.revoke_grants()
    world.clock.advance(3600)
    answers = await asyncio.gather(*(world.read_token(connection) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {409}
    for _ in range(30):
        world.clock.advance(86_400)
        await world.services.worker.run_once()
        assert (await world.read_token(connection)).status_code == 409

    stored = await world.stored(connection)
    assert (stored.status, stored.must_act) == (Status.NEEDS_REAUTHORIZATION, MustAct.USER)
    assert (stored.next_refresh_at, stored.failures) == (None, 1)
    assert world.provider.counts["token"] == 2


async def test_the_operators_error_pauses_the_provider(either_world: World) -> None:
    """A wrong client secret: valid tokens are served on, one connection probes, and all go on once it is mended."""
    world = either_world
    connections = [await world.connect() for _ in range(3)]
    world.provider.rotate_client_secret(CLIENT_ID, "another secret")
    world.clock.advance(3590)
    assert (await world.read_token(connections[0])).status_code == 200
    world.clock.advance(10)
    assert await world.services.worker.run_once() == 0
    for connection in connections:
        answer = await world.read_token(connection)
        assert answer.status_code == 503
        assert "operator" in answer.json()["message"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert world.provider.counts["token"] == 4
    tried, *others = [await world.stored(connection) for connection in connections]
    assert (tried.status, tried.must_act) == (Status.FAILING, MustAct.OPERATOR)
    assert tried.failure == "Demo Provider answered invalid_client (HTTP 401)"
    assert {(other.status, other.must_act) for other in others} == {(Status.ACTIVE, MustAct.NOBODY)}

    # The longest that a pause lasts: one connection tries, and the provider is paused on.
    world.clock.advance(300)
    assert await world.services.worker.run_once() == 1
    assert world.provider.counts["token"] == 5
    world.provider.rotate_client_secret(CLIENT_ID, CLIENT_SECRET)
    world.clock.advance(300)
    assert await world.services.worker.run_once() == 3
    for connection in connections:
        stored = await world.stored(connection)
        assert (stored.status, stored.must_act, stored.failures) == (Status.ACTIVE, MustAct.NOBODY, 0)
        assert stored.failure is None
        assert (await world.read_token(connection)).status_code == 200


async def test_a_grant_is_never_used_with_another_client(world: World) -> None:
    """The settings name a new client id, or none: no request is made, and with the old one all goes on."""
    connection = await world.connect()
    world.clock.advance(3600)
    settings = world.services.settings
    renamed = settings.clients["demo"].model_copy(update={"client_id": "new-client"})
    for clients in ({"demo": renamed}, {}):
        other = settings.model_copy(update={"clients": clients})
        async with open_services(other, world.clock) as services:
            with pytest.raises(Unavailable, match="operator"):
                await services.refresher.fresh(connection.account_uuid, connection.uuid, 60)
        stored = await world.stored(connection)
        assert (stored.status, stored.must_act) == (Status.FAILING, MustAct.OPERATOR)
        assert "clients.demo" in (stored.failure or "")
        world.clock.advance(600)

    assert world.provider.counts["token"] == 1
    assert (await world.read_token(connection)).status_code == 200


async def test_a_row_that_does_not_open_fails_alone(world: World) -> None:
    """The others are listed and read; the broken one waits for the operator, who may restore the key."""
    good, bad = await world.connect(), await world.connect()
    await world.services.database.execute(
        "UPDATE connections SET sealed_tokens = :sealed WHERE uuid = :uuid", sealed=b"\x01garbage", uuid=bad.uuid
    )
    assert (await world.read_token(bad)).status_code == 503
    world.clock.advance(3600)
    await world.services.worker.run_once()

    assert (await world.read_token(good)).status_code == 200
    listed = {row["uuid"]: row["status"] for row in await connections_of(world)}
    assert listed == {good.uuid: "active", bad.uuid: "failing"}
    stored = await world.stored(bad)
    assert stored.must_act is MustAct.OPERATOR
    assert stored.next_refresh_at is not None


async def test_the_operator_can_refresh_before_it_is_due(world: World) -> None:
    """Whatever the expiry; a dead connection stays dead."""
    connection = await world.connect()
    refreshed = await world.services.refresher.refresh_now(connection)

    assert refreshed.generation == 2
    assert world.provider.counts["token"] == 2


async def test_a_reader_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A provider that never answers costs a reader what a provider may take, and no more."""
    async with rough_world(tmp_path, provider_timeout=0.5) as rough:
        connection = await rough.connect()
        rough.world.clock.advance(100)
        rough.script(hostile.never())
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await rough.world.read_token(connection)

    assert answer.status_code == 503
    assert loop.time() - began < 5


async def test_times_are_counted_from_the_request(world: World) -> None:
    """An answer that was long on its way is not thought to live longer than it does."""
    connection = await world.connect()
    world.clock.advance(3600)
    asked_at = world.clock.now()
    world.provider.hold(when="after")
    reader = asyncio.create_task(world.read_token(connection))
    await world.provider.wait_for_held()
    world.clock.advance(3)
    world.provider.release()
    await reader

    assert (await world.stored(connection)).access_token_expires_at == asked_at + HOUR


async def test_refresh_tokens_may_expire_too(world: World) -> None:
    """The provider's word for it is kept, and moves with each rotation."""
    world.provider.policy.refresh_token_lifetime = 365 * 86_400
    providers = changed_demo(
        world.services.settings.data_dir / "providers",
        ("[refresh]", '[token.response]\nrefresh_lifetime = "refresh_token_expires_in"\n[refresh]'),
    )
    other = world.services.settings.model_copy(update={"providers_dir": providers})
    async with open_services(other, world.clock) as services:
        connection = await world.connect()
        world.clock.advance(3600)
        refreshed, _ = await services.refresher.fresh(connection.account_uuid, connection.uuid, 60)

    assert refreshed.refresh_token_expires_at == world.clock.now() + 365 * DAY
