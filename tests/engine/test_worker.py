"""The background loops with a clock that the test moves: ahead of expiry, rarer after failures, and cheap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grantkeeper.app import open_services
from grantkeeper.clock import HOUR, MINUTE, SECOND
from grantkeeper.errors import StorageUnavailable
from grantkeeper.model import Connection, MustAct, Status
from grantkeeper.storage.refreshes import RefreshStore
from grantkeeper.worker import Worker
from tests.engine.scenes import changed_demo, token_set
from tests.support.world import World

LOOPS = 4
"""The worker's two loops, the one that shares rate counts, and the upkeep of the refresher."""


def worker_of(world: World, store: Any = None, concurrency: int = 16) -> Worker:
    """A worker over the world's services, with a store of the test's."""
    services = world.services
    return Worker(
        store or services.refreshes,
        services.people,
        services.clients,
        services.authorizations,
        services.refresher,
        services.revoker,
        world.clock,
        concurrency,
        30,
    )


@asynccontextmanager
async def running(world: World) -> AsyncIterator[asyncio.Task[None]]:
    """The worker's loops; cancelled and ended at the end."""
    task = asyncio.create_task(world.services.worker.run())
    yield task
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def let_run(world: World, seconds: float, *, step: float = 5.0, in_flight: int = 0) -> None:
    """Let so much time pass, in steps, at each of which the loops do what they do and go back to sleep.

    They are LOOPS, and the heartbeat of each refresh in flight.
    """
    for _ in range(int(seconds / step)):
        world.clock.advance(step)
        await world.clock.wait_for_sleepers(LOOPS + in_flight)


async def until(world: World, reached: Callable[[], bool], *, step: float) -> None:
    """Let the clock run until that is so, slowly beside a lease of 15 seconds."""
    while not reached():
        world.clock.advance(step)
        await asyncio.sleep(0.005)


async def refreshed(world: World, connection: Connection, generation: int) -> Connection:
    """The connection once it is in that generation, for which the clock runs slowly."""
    while (stored := await world.stored(connection)).generation < generation:
        world.clock.advance(0.1)
        await asyncio.sleep(0.005)
    return stored


async def due_in(world: World, connection: Connection) -> float:
    """Seconds until the worker looks at a connection."""
    stored = await world.stored(connection)
    assert stored.next_refresh_at is not None
    return (stored.next_refresh_at - world.clock.now()) / SECOND


@pytest.mark.parametrize(
    ("lifetime", "earliest", "latest"),
    [(86_400, 66_960, 77_760), (3600, 2790, 3240), (600, 300, 375), (60, 30, 37.5), (5, 2.5, 3.125)],
)
async def test_a_refresh_is_due_ahead_of_expiry(world: World, lifetime: int, earliest: float, latest: float) -> None:
    """Before the last tenth or five minutes, whichever is more, but not in the first half; spread by an eighth."""
    world.provider.policy.access_token_lifetime = lifetime
    due = [await due_in(world, await world.connect()) for _ in range(30)]

    assert all(earliest <= each <= latest for each in due)
    assert max(due) - min(due) > (latest - earliest) / 4


async def test_the_worker_refreshes_before_a_reader_must_wait(either_world: World) -> None:
    """Through most of a day, whenever it refreshes, the token is still good for the minute readers ask for."""
    world = either_world
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    async with running(world):
        for generation in range(2, 20):
            world.clock.advance(await due_in(world, connection))
            expires_at = connection.access_token_expires_at
            connection = await refreshed(world, connection, generation)
            assert expires_at is not None
            assert expires_at - world.clock.now() > MINUTE

    assert (await world.read_token(connection)).status_code == 200
    assert set(world.provider.refresh_counts.values()) == {1}


class Counting:
    """A store that counts what is asked of it."""

    def __init__(self, store: RefreshStore) -> None:
        self._store = store
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        return getattr(self._store, name)


@pytest.mark.parametrize("connections", [1, 30])
async def test_nothing_due_costs_next_to_nothing(world: World, connections: int) -> None:
    """One statement a look, a look every five seconds, however many connections are stored; no provider call."""
    for _ in range(connections):
        await world.connect()
    before = world.provider.counts.total()
    store: Any = Counting(world.services.refreshes)
    task = asyncio.create_task(worker_of(world, store).run())
    await world.clock.wait_for_sleepers(LOOPS)
    await let_run(world, 600)
    task.cancel()
    await asyncio.wait([task])

    assert 120 <= store.calls <= 140
    assert world.provider.counts.total() == before


async def test_failures_are_retried_ever_more_rarely(world: World) -> None:
    """From seconds up to minutes, with the connection still there when the provider comes back."""
    connection = await world.connect()
    world.provider.fail_next(30)
    world.clock.advance(3600)
    delays = []
    for number in range(30):
        assert await world.services.worker.run_once() == 1
        assert world.provider.counts["token"] == 2 + number
        (state,) = await world.services.refreshes.provider_states()
        blocked = max(0, (state.blocked_until or 0) - world.clock.now()) / SECOND
        delays.append(max(await due_in(world, connection), blocked))
        world.clock.advance(delays[-1] - 0.001)
        assert await world.services.worker.run_once() == 0
        world.clock.advance(0.001)

    assert 1 <= delays[0] <= 2
    # After five in a row it is the provider that is left alone: for five seconds at first, then twice as long.
    assert all(1 <= delay <= max(5, min(300, 2 ** (number + 1))) for number, delay in enumerate(delays))
    assert min(delays[12:]) >= 150
    stored = await world.stored(connection)
    assert (stored.status, stored.must_act, stored.failures) == (Status.FAILING, MustAct.NOBODY, 30)
    assert await world.services.worker.run_once() == 1
    assert (await world.stored(connection)).status is Status.ACTIVE


async def test_retry_after_is_honoured(world: World) -> None:
    """The worker does not ask before its time, and asks after it."""
    connection = await world.connect()
    world.clock.advance(3600)
    world.provider.fail_next(1, status=429, headers=[("retry-after", "900")])
    await world.services.worker.run_once()
    assert await due_in(world, connection) == 900
    world.clock.advance(899)
    assert await world.services.worker.run_once() == 0
    world.clock.advance(1)
    assert await world.services.worker.run_once() == 1

    assert (await world.stored(connection)).status is Status.ACTIVE


async def test_a_grant_without_refresh_token_ends_in_words(either_world: World) -> None:
    """At its expiry, not before, it is shown as one whose user must act."""
    world = either_world
    world.provider.policy.omit.add("refresh_token")
    connection = await world.connect()
    world.clock.advance(3599)
    assert await world.services.worker.run_once() == 0
    assert (await world.stored(connection)).status is Status.ACTIVE
    world.clock.advance(1)
    assert await world.services.worker.run_once() == 1

    stored = await world.stored(connection)
    assert (stored.status, stored.must_act) == (Status.NEEDS_REAUTHORIZATION, MustAct.USER)
    assert stored.failure == "the access token has expired and the provider gave no refresh token"
    assert await world.services.worker.run_once() == 0
    assert world.provider.counts["token"] == 1


async def test_a_provider_without_refresh_keeps_no_worker_busy(world: World) -> None:
    """Its definition says that refresh tokens do not exist: one that comes all the same is not waited with."""
    world.provider.policy.access_token_lifetime = 600
    providers = changed_demo(world.services.settings.data_dir / "providers", ("rotates = true", "supported = false"))
    other = world.services.settings.model_copy(update={"providers_dir": providers})
    async with open_services(other, world.clock) as services:
        mine, world.services = world.services, services
        connection = await world.connect()
        assert not connection.refreshable
        assert connection.next_refresh_at == connection.access_token_expires_at
        world.clock.advance(500)
        assert await services.worker.run_once() == 0
        world.services = mine


async def test_many_due_connections_are_done_a_few_at_a_time(world: World) -> None:
    """No more requests at one time than the setting allows, and all are done."""
    for _ in range(40):
        await world.connect()
    world.clock.advance(3590)
    world.provider.hold()
    task = asyncio.create_task(worker_of(world, concurrency=16).run())
    await world.provider.wait_for_held(16)
    assert world.provider.counts["token"] == 40 + 16
    world.provider.release()
    await until(world, lambda: world.provider.counts["token"] == 80, step=0.1)
    task.cancel()
    await asyncio.wait([task])

    assert set(world.provider.refresh_counts.values()) == {1}


async def test_a_slow_provider_does_not_hold_up_the_others(world: World) -> None:
    """One connection hangs; another that falls due later is refreshed meanwhile."""
    first = await world.connect()
    world.clock.advance(1000)
    second = await world.connect()
    world.provider.hold()
    async with running(world):
        await world.clock.wait_for_sleepers(LOOPS)
        world.clock.advance(await due_in(world, first))
        await world.provider.wait_for_held()
        await world.clock.wait_for_sleepers(LOOPS + 1)
        await let_run(world, await due_in(world, second) - 10, in_flight=1)
        assert world.provider.counts["token"] == 3
        await until(world, lambda: world.provider.counts["token"] == 4, step=1)
        await world.provider.wait_for_held(2)
        world.provider.release()
    assert [(await world.stored(each)).generation for each in (first, second)] == [2, 2]


async def test_a_worker_that_is_stopped_stores_what_is_in_flight(either_world: World) -> None:
    """Cancelled in the middle of a refresh, it ends when that is stored."""
    world = either_world
    world.provider.policy.mode = "strict"
    connection = await world.connect()
    world.clock.advance(3590)
    world.provider.hold(when="after")
    worker = asyncio.create_task(world.services.worker.run())
    await world.provider.wait_for_held()
    worker.cancel()
    await asyncio.wait([worker], timeout=0.1)
    assert not worker.done()
    world.provider.release()
    await asyncio.wait([worker])

    assert worker.cancelled()
    assert (await world.stored(connection)).generation == 2
    assert (await token_set(world, connection)).refresh_token is not None


class Failing:
    """A store whose first looks for work fail."""

    def __init__(self, store: RefreshStore, *errors: Exception) -> None:
        self._store = store
        self._errors = list(errors)

    async def claim_due(self, *arguments: Any) -> Any:
        if self._errors:
            raise self._errors.pop()
        return await self._store.claim_due(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("error", [StorageUnavailable("away"), RuntimeError("a bug"), KeyError("x")])
async def test_a_broken_round_does_not_end_the_loop(world: World, error: Exception) -> None:
    """Whatever it was, a worker that stopped quietly would let every connection die."""
    connection = await world.connect()
    world.clock.advance(3590)
    store: Any = Failing(world.services.refreshes, error, error)
    task = asyncio.create_task(worker_of(world, store).run())
    await until(world, lambda: world.provider.counts["token"] == 2, step=5)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert (await world.stored(connection)).generation == 2


async def test_a_connection_made_by_another_process_is_seen(world: World) -> None:
    """The worker sleeps no longer than it takes for one to fall due."""
    async with running(world):
        await world.clock.wait_for_sleepers(LOOPS)
        world.provider.policy.access_token_lifetime = 60
        connection = await world.connect()
        await until(world, lambda: world.provider.counts["token"] == 2, step=1)

    stored = await world.stored(connection)
    assert stored.refreshed_at is not None
    assert stored.refreshed_at - connection.created_at <= 39 * SECOND


async def test_the_worker_looks_at_nothing_twice(world: World) -> None:
    """One round refreshes what is due, and the next finds nothing."""
    for _ in range(5):
        await world.connect()
    world.clock.advance(3590)

    assert await world.services.worker.run_once() == 5
    assert await world.services.worker.run_once() == 0
    assert world.clock.now() > HOUR
