"""Two real processes, `grantkeeper serve`, on one PostgreSQL: each refresh token is spent once, and none is lost."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from grantkeeper.clock import HOUR, SECOND, SystemClock
from grantkeeper.model import Connection, Evidence, Status, TokenSet
from tests.support.process import Process, free_port, grantkeeper
from tests.support.world import CLIENT_ID, CLIENT_SECRET, World, open_world

pytestmark = pytest.mark.postgres


@pytest.fixture
async def world(tmp_path: Path, postgres_url: str) -> AsyncIterator[World]:
    """The provider, at which every second use of a refresh token ends the grant, and the database; real time."""
    async with open_world(tmp_path, postgres_url, clock=SystemClock()) as world:
        world.provider.policy.mode = "strict"
        yield world


@contextmanager
def replicas(world: World, directory: Path, *, worker: str, count: int = 2) -> Iterator[list[tuple[Process, str]]]:
    """Processes that serve, each with its address."""
    settings = world.services.settings
    with ExitStack() as running:
        found = []
        for number in range(count):
            port = free_port()
            environment = {
                "GRANTKEEPER_DATABASE_URL": settings.database,
                "GRANTKEEPER_ROOT_KEYSET_FILE": str(settings.keyset_path),
                "GRANTKEEPER_DATA_DIR": str(directory),
                "GRANTKEEPER_PORT": str(port),
                "GRANTKEEPER_WORKER": worker,
                "GRANTKEEPER_PROVIDER_TIMEOUT": "10",
                "GRANTKEEPER_PROVIDER_NETWORKS": "127.0.0.1",
                "GRANTKEEPER_CLIENTS__DEMO__CLIENT_ID": CLIENT_ID,
                "GRANTKEEPER_CLIENTS__DEMO__CLIENT_SECRET": CLIENT_SECRET,
                "GRANTKEEPER_CLIENTS__DEMO__PARAMETERS__BASE_URL": world.provider.issuer,
            }
            process = grantkeeper("serve", directory=directory, env=environment, name=f"replica-{number}")
            found.append((running.enter_context(process), f"http://127.0.0.1:{port}"))
        for process, _ in found:
            process.wait_for_line('"event":"serve.started"', stream="stderr")
        yield found


async def make_due(world: World) -> None:
    """Every token has run out, and its refresh is due."""
    now = world.services.clock.now()
    await world.services.database.execute(
        "UPDATE connections SET access_token_expires_at = :now, next_refresh_at = :now", now=now - SECOND
    )


async def add_connections(world: World, count: int) -> list[Connection]:
    """Connections with tokens that the provider has given, without a browser each."""
    now = world.services.clock.now()
    made = []
    for number in range(count):
        issued = world.provider.issue(CLIENT_ID)
        connection = Connection(
            uuid=str(uuid.uuid4()),
            account_uuid=world.account_uuid,
            provider="demo",
            client_id=CLIENT_ID,
            label=f"Connection {number}",
            status=Status.ACTIVE,
            created_at=now,
            updated_at=now,
            scopes=issued.scopes,
            generation=1,
            token_type="Bearer",
            refreshable=True,
            next_refresh_at=now + HOUR,
        )
        tokens = TokenSet(
            access_token=issued.access_token,
            token_type="Bearer",
            refresh_token=issued.refresh_token,
            access_token_expires_at=now + HOUR,
            issued_at=now,
        )
        evidence = Evidence(at=now, account_uuid=world.account_uuid, actor="test", action="connect")
        await world.services.store.add(connection, tokens, evidence)
        made.append(connection)
    return made


async def all_refreshed(world: World, connections: list[Connection]) -> None:
    """Each is in its next generation; asked again until it is so, for as long as a test may take."""
    for connection in connections:
        while (await world.stored(connection)).generation == 1:  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.02)


async def test_200_readers_of_two_processes_are_one_request(world: World, tmp_path: Path) -> None:
    """The losers in both processes wait, and all get the one new token."""
    connection = await world.connect()
    await make_due(world)
    world.provider.hold()
    headers = {"authorization": f"Bearer {world.token}"}
    limits = httpx2.Limits(max_connections=200)
    with replicas(world, tmp_path, worker="off") as running:
        async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=30, trust_env=False) as client:
            path = f"/api/v1/oauth/connections/{connection.uuid}/token"
            readers = [asyncio.create_task(client.get(url + path)) for _ in range(100) for _, url in running]
            await world.provider.wait_for_held()
            # All the others have time to ask as well, if they would.
            done, _ = await asyncio.wait(readers, timeout=1.0)
            assert not done
            world.provider.release()
            answers = await asyncio.gather(*readers)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 1
    assert set(world.provider.refresh_counts.values()) == {1}
    assert world.provider.counts["token"] == 2
    assert (await world.stored(connection)).generation == 2


async def test_two_serving_processes_share_the_work(world: World, tmp_path: Path) -> None:
    """A hundred due connections, two workers and readers besides: none is refreshed twice."""
    connections = await add_connections(world, 100)
    await make_due(world)
    headers = {"authorization": f"Bearer {world.token}"}
    with replicas(world, tmp_path, worker="in-process") as running:
        async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
            answers = await asyncio.gather(
                *(
                    client.get(f"{url}/api/v1/oauth/connections/{connection.uuid}/token")
                    for connection in connections[::2]
                    for _, url in running
                )
            )
        await all_refreshed(world, connections)

    assert {answer.status_code for answer in answers} == {200}
    assert set(world.provider.refresh_counts.values()) == {1}
    assert world.provider.counts["token"] == 100
    assert all([(await world.stored(connection)).status is Status.ACTIVE for connection in connections])


async def test_a_process_that_is_killed_leaves_its_work_to_the_other(world: World, tmp_path: Path) -> None:
    """Killed before its requests were carried out: their leases lapse, and the other one does them."""
    connections = await add_connections(world, 5)
    await make_due(world)
    world.provider.fail_next(5)
    world.provider.hold()
    with replicas(world, tmp_path, worker="in-process", count=1) as [(doomed, _)]:
        await world.provider.wait_for_held(5)
        doomed.kill()
    world.provider.release()
    await world.services.database.execute(
        "UPDATE connections SET lease_expires_at = :now", now=world.services.clock.now()
    )
    with replicas(world, tmp_path, worker="in-process", count=1):
        await all_refreshed(world, connections)

    assert all([(await world.read_token(connection)).status_code == 200 for connection in connections])


async def test_a_process_that_is_asked_to_stop_stores_what_is_in_flight(world: World, tmp_path: Path) -> None:
    """SIGTERM in the middle of refreshes: it ends when their answers are stored."""
    connections = await add_connections(world, 5)
    await make_due(world)
    world.provider.hold(when="after")
    with replicas(world, tmp_path, worker="in-process", count=1) as [(process, _)]:
        await world.provider.wait_for_held(5)
        stopping = asyncio.create_task(asyncio.to_thread(process.stop, signal.SIGTERM))
        await asyncio.wait([stopping], timeout=0.3)
        world.provider.release()
        assert await stopping == 0

    assert world.provider.counts["token"] == 5
    for connection in connections:
        stored = await world.stored(connection)
        assert (stored.generation, stored.status) == (2, Status.ACTIVE)
