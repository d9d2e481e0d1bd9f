"""What lives how long at odd providers: tokens that die of idleness, that are few, that are spent, that grow up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grantkeeper.app import Services
from grantkeeper.clock import DAY, SECOND
from grantkeeper.model import Connection, Status
from tests.engine.quirk_answers import EXCHANGE, LONG_LIVED, two_steps
from tests.engine.quirky import LIFETIME, Case, Document, Flow, behave, odd_world
from tests.engine.scenes import token_set
from tests.support.world import World

FIVE_DAYS = 432_000


def case(definition: Document, **quirks: Any) -> Case:
    """A provider with these quirks, and a definition that says so."""
    return Case(definition=definition, quirks=quirks, breaks=None)


async def idle(world: World, services: Services, days: int) -> None:
    """Nobody reads a token for so many days; the worker looks every four hours."""
    for _ in range(6 * days):
        world.clock.advance(4 * 3600)
        await services.worker.run_once()


@pytest.mark.parametrize("mode", ["off", "strict"])
@pytest.mark.parametrize(
    ("key", "lives"),
    [({"idle_lifetime": FIVE_DAYS}, True), ({"keep_alive": FIVE_DAYS // 2}, True), ({}, False)],
    ids=["idle_lifetime", "keep_alive", "neither"],
)
async def test_a_refresh_token_that_dies_of_idleness(
    tmp_path: Path, sqlite_url: str, key: Document, lives: bool, mode: Any
) -> None:
    """`refresh.idle_lifetime` or `refresh.keep_alive`: kept alive for a month that nobody uses it; else it dies."""
    dying = case({"refresh": key}, idle_lifetime=FIVE_DAYS)
    async with odd_world(tmp_path, sqlite_url, dying) as world:
        world.provider.policy.mode = mode
        connection = await Flow(world, dying).connect()
        # A reader now, so that what follows is idleness.
        await Flow(world, dying).read(connection)
        await idle(world, world.services, 30)
        answer = await world.read_token(connection)
        assert answer.status_code == (200 if lives else 409)
        assert world.provider.counts["token"] < 100


async def test_a_refresh_token_that_is_spent_at_once(tmp_path: Path, sqlite_url: str) -> None:
    """Without grace every refresh spends its token: readers and worker together never use one twice."""
    strict = case({"refresh": {"rotates": True}})
    async with odd_world(tmp_path, sqlite_url, strict) as world:
        world.provider.policy.mode = "strict"
        await Flow(world, strict).run()
        assert max(world.provider.refresh_counts.values()) == 1


async def test_a_refresh_token_with_grace(tmp_path: Path, sqlite_url: str) -> None:
    """`refresh.grace`: the answer was lost, and the spent token, shown again within that time, saves the grant."""
    lenient = case({"refresh": {"rotates": True, "grace": 1800}})
    async with odd_world(tmp_path, sqlite_url, lenient) as world:
        behave(world, Case(definition={}, policy={"mode": "grace", "grace_seconds": 1800}, breaks=None))
        connection = await Flow(world, lenient).connect()
        world.clock.advance(LIFETIME)
        world.provider.fail_next(1, status=502, commit=True)
        await world.read_token(connection)
        world.clock.advance(1700)
        assert (await world.read_token(connection)).status_code == 200
        assert max(world.provider.refresh_counts.values()) == 2


async def test_few_refresh_tokens_of_one_person(tmp_path: Path, sqlite_url: str) -> None:
    """`refresh.most_tokens`: the oldest connection of that person is told to authorize again, and the others work."""
    few = case({"refresh": {"most_tokens": 2}}, most_tokens=2)
    async with odd_world(tmp_path, sqlite_url, few) as world:
        flow = Flow(world, few)
        connections = [await flow.connect() for _ in range(3)]
        world.clock.advance(LIFETIME)
        answers = [(await world.read_token(connection)).status_code for connection in connections]
        assert answers == [409, 200, 200]
        # Refreshing does not make them more.
        for _ in range(3):
            world.clock.advance(LIFETIME)
            assert [(await world.read_token(one)).status_code for one in connections[1:]] == [200, 200]


async def test_another_person_has_tokens_of_their_own(tmp_path: Path, sqlite_url: str) -> None:
    """The limit is for each person."""
    few = case({}, most_tokens=1)
    async with odd_world(tmp_path, sqlite_url, few) as world:
        flow = Flow(world, few)
        ada = await flow.connect()
        grace = (await flow.completed(subject="grace-hopper")).connection
        world.clock.advance(LIFETIME)
        assert [(await world.read_token(one)).status_code for one in (ada, grace)] == [200, 200]


EXCHANGES = {
    "one-grant": Case(definition={"refresh": EXCHANGE}, quirks=LONG_LIVED, breaks=None),
    "another-for-the-first": two_steps(),
}


class TestExchange:
    """An access token that is exchanged for its successor (`refresh.style = "access_token"`)."""

    async def test_it_lives_for_ever_though_nobody_reads_it(self, tmp_path: Path, sqlite_url: str) -> None:
        """Nothing but the token itself can renew it: the worker does so before it ends, idle or not."""
        exchange = Case(definition={"refresh": EXCHANGE}, quirks=LONG_LIVED, breaks=None)
        async with odd_world(tmp_path, sqlite_url, exchange) as world:
            world.provider.policy.access_token_lifetime = 5 * 86_400
            connection = (await Flow(world, exchange).completed()).connection
            await idle(world, world.services, 20)
            stored = await world.stored(connection)
            assert (stored.status, stored.refreshable) == (Status.ACTIVE, True)
            tokens = await token_set(world, connection)
            assert tokens.refresh_token is None
            assert world.provider.is_good(tokens.access_token)
            assert world.provider.counts["token"] < 15

    @pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
    async def test_the_first_exchange_may_fail(self, tmp_path: Path, sqlite_url: str, exchange: Case) -> None:
        """The short-lived token is kept, and the worker exchanges it before it ends, as a first one still."""
        async with odd_world(tmp_path, sqlite_url, exchange) as world:
            flow = Flow(world, exchange)
            url = await flow.begin()
            callback = world.provider.approve(url)
            world.provider.hold(when="before")
            connection = await finish_with_a_failed_exchange(world, callback)
            assert connection.access_token_expires_at == world.clock.now() + 600 * SECOND
            assert connection.next_refresh_at is not None
            world.clock.advance(500)
            await world.services.worker.run_once()
            stored = await world.stored(connection)
            assert stored.access_token_expires_at == world.clock.now() + LIFETIME * SECOND
            await flow.refresh_by_worker(connection, (await token_set(world, connection)).access_token)

    async def test_a_first_token_of_unknown_life_is_exchanged_soon(self, tmp_path: Path, sqlite_url: str) -> None:
        """No answer states an end, and the first exchange fails: it is tried again before anything can have ended."""
        exchange = msgspec.structs.replace(two_steps(), policy={"omit": {"expires_in"}})
        async with odd_world(tmp_path, sqlite_url, exchange) as world:
            callback = world.provider.approve(await Flow(world, exchange).begin())
            world.provider.hold(when="before")
            connection = await finish_with_a_failed_exchange(world, callback)
            assert connection.access_token_expires_at is None
            assert connection.next_refresh_at == world.clock.now() + 300 * SECOND
            before = (await token_set(world, connection)).access_token
            world.clock.advance(301)
            await world.services.worker.run_once()
            stored, tokens = await world.stored(connection), await token_set(world, connection)
            assert (stored.status, stored.generation, stored.next_refresh_at) == (Status.ACTIVE, 2, None)
            assert tokens.access_token != before
            assert world.provider.is_good(tokens.access_token)

    async def test_once_it_has_ended_only_its_person_can_help(self, tmp_path: Path, sqlite_url: str) -> None:
        """The service was off for longer than the token lives: that is told, and reauthorizing mends it."""
        exchange = Case(definition={"refresh": EXCHANGE}, quirks=LONG_LIVED, breaks=None)
        async with odd_world(tmp_path, sqlite_url, exchange) as world:
            flow = Flow(world, exchange)
            connection = await flow.connect()
            world.clock.advance(2 * DAY / SECOND)
            assert (await world.read_token(connection)).status_code == 409
            await flow.reauthorize(connection)


async def finish_with_a_failed_exchange(world: World, callback: str) -> Connection:
    """The code is redeemed; the exchange that follows gets no answer."""
    finishing = asyncio.create_task(world.finish(callback))
    await world.provider.wait_for_held()
    world.provider.fail_next(1, status=503)
    world.provider.release()
    return await finishing
