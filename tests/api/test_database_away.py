"""While the database is away: who was let in lately still is, and is served what is journalled."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from grantkeeper.access import TRUST, TRUST_WITHOUT_DATABASE, Access, new_api_token
from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import StorageUnavailable, Unauthenticated
from grantkeeper.model import ALL_SCOPES, PersonalAccessToken
from grantkeeper.storage.migrate import migrate
from grantkeeper.storage.people import PeopleStore
from tests.api.builders import INDEX
from tests.api.journal import Journal
from tests.support.postgres import PostgresServer
from tests.support.world import World, open_world

EVENT = "access.trusted_without_database"


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that these tests may stop."""
    with PostgresServer() as server:
        yield server


class MovablePeople(PeopleStore):
    """The real store, whose database can be taken away; `asked` counts the look-ups of tokens."""

    def __init__(self, people: PeopleStore) -> None:
        super().__init__(people._database, people._vault)
        self.away = False
        self.asked = 0

    def _here(self) -> None:
        if self.away:
            raise StorageUnavailable("the database is away")

    async def get_live_token(self, token_hash: bytes, now: Instant) -> PersonalAccessToken | None:
        self.asked += 1
        self._here()
        return await super().get_live_token(token_hash, now)

    async def revoke_token(self, uuid: str, now: Instant) -> bool:
        self._here()
        return await super().revoke_token(uuid, now)

    async def add_uses(self, subject: str, start: Instant, uses: int) -> int:
        self._here()
        return await super().add_uses(subject, start, uses)

    async def touch_tokens(self, used: Sequence[tuple[str, Instant]]) -> None:
        self._here()
        await super().touch_tokens(used)


class Gate:
    """The gate of a process of its own over the world's database, and a token that it may let in."""

    def __init__(self, world: World, header: str, record: PersonalAccessToken) -> None:
        self.people = MovablePeople(world.services.people)
        self.clock = world.clock
        self.access = Access(self.people, world.clock, 500)
        self.header, self.record = header, record

    async def opens(self, seconds_later: float = 0) -> bool:
        """Whether it lets the token in, that many seconds from now; StorageUnavailable where it cannot tell."""
        self.clock.advance(seconds_later)
        try:
            return (await self.access.authenticate(self.header)).token_uuid == self.record.uuid
        except Unauthenticated:
            return False


async def gate_of(world: World, *, lifetime: int | None = None) -> Gate:
    """A fresh one, with a token that lasts that many seconds."""
    expires_at = None if lifetime is None else world.clock.now() + lifetime * SECOND
    token, record = await world.services.access.create_token(
        world.login.user.uuid, world.account_uuid, "away", ALL_SCOPES, expires_at
    )
    return Gate(world, f"Bearer {token}", record)


async def test_a_token_found_good_is_trusted_on(either_world: World, journal: Journal) -> None:
    """For five minutes after the database last confirmed it, and told once in the log for each outage."""
    gate = await gate_of(either_world)
    assert await gate.opens()
    gate.people.away = True
    assert await gate.opens(TRUST + 0.1)
    assert await gate.opens(TRUST_WITHOUT_DATABASE - TRUST - 0.1)
    [line] = journal.events(EVENT)
    assert (line["level"], line["seconds"]) == ("warning", TRUST_WITHOUT_DATABASE)
    with pytest.raises(StorageUnavailable):
        await gate.opens(TRUST + 0.1)
    gate.people.away = False
    assert await gate.opens(), "it is back"
    gate.people.away = True
    assert await gate.opens(TRUST + 0.1)
    assert len(journal.events(EVENT)) == 2


async def test_one_look_a_second(world: World) -> None:
    """A look-up may take seconds to fail: not every request waits for one of its own."""
    gate = await gate_of(world)
    await gate.opens()
    gate.people.away = True
    for _ in range(10):
        assert await gate.opens(TRUST / 4)
    assert gate.people.asked <= 4


async def test_a_token_nobody_knows(world: World) -> None:
    """One that this process has not let in is not let in now, good or not: nobody can tell."""
    gate = await gate_of(world)
    gate.people.away = True
    with pytest.raises(StorageUnavailable):
        await gate.opens()
    with pytest.raises(StorageUnavailable):
        await gate.access.authenticate(f"Bearer {new_api_token()}")


async def test_an_expired_token(world: World) -> None:
    """Its end is known without the database."""
    gate = await gate_of(world, lifetime=60)
    assert await gate.opens()
    gate.people.away = True
    assert await gate.opens(59)
    assert not await gate.opens(1)


async def test_a_revoked_token(either_world: World) -> None:
    """One that the database refused since is trusted no more; nor one whose revocation may have been stored."""
    gate = await gate_of(either_world)
    assert await gate.opens()
    await either_world.services.people.revoke_token(gate.record.uuid, either_world.clock.now())
    assert not await gate.opens(TRUST + 0.1)
    gate.people.away = True
    with pytest.raises(StorageUnavailable):
        await gate.opens()

    other = await gate_of(either_world)
    assert await other.opens()
    other.people.away = True
    with pytest.raises(StorageUnavailable):
        await other.access.revoke_token(other.record.uuid)
    with pytest.raises(StorageUnavailable):
        await other.opens()


async def test_nothing_that_was_counted_is_lost(either_world: World) -> None:
    """Requests and last uses of the outage are counted on, and shared once the database is back."""
    world = either_world
    gate = await gate_of(world)
    caller = await gate.access.authenticate(gate.header)
    gate.people.away = True
    for left in (499, 498):
        assert gate.access.count(caller).remaining == left
        with pytest.raises(StorageUnavailable):
            await gate.access.settle()
    gate.people.away = False
    await gate.access.settle()
    assert gate.access.count(caller).remaining == 497
    other = Access(gate.people, gate.clock, 500)
    other.count(caller)
    await other.settle()
    assert other.count(caller).remaining == 496, "what was counted meanwhile is known to others"
    found = await world.services.people.list_tokens(world.login.user.uuid)
    assert next(token for token in found if token.uuid == gate.record.uuid).last_used_at == world.clock.now()


async def until(world: World, task: asyncio.Task[httpx2.Response]) -> httpx2.Response:
    """What the task answers, the clock running meanwhile."""
    while not task.done():
        world.clock.advance(0.5)
        await asyncio.wait([task], timeout=0.02)
    return task.result()


def fingerprint(answer: httpx2.Response) -> str:
    """Of the token in an answer: a failing test prints no token."""
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.json()["access_token"].encode()).hexdigest()


async def test_a_token_is_read_without_the_database(tmp_path: Path, own_postgres: PostgresServer) -> None:
    """The provider has answered, the database is away: every reader has the new token, and it is stored later."""
    url = own_postgres.create_database()
    await asyncio.to_thread(migrate, url)
    async with open_world(tmp_path, url) as world:
        world.provider.policy.mode = "strict"
        connection = await world.connect()
        first = fingerprint(await world.read_token(connection))
        world.clock.advance(3600)
        assert (await world.client.get("/api/v1/logins")).status_code == 200
        world.provider.hold(when="after")
        reader = asyncio.create_task(world.read_token(connection))
        await world.provider.wait_for_held()
        await asyncio.to_thread(own_postgres.stop, "immediate")
        world.provider.release()
        second = fingerprint(await until(world, reader))
        assert second != first
        for _ in range(3):
            world.clock.advance(TRUST + 1)
            assert fingerprint(await world.read_token(connection)) == second
        refused = {"refused_token_sha256": first}
        answer = await world.client.post(f"{INDEX}/{connection.uuid}/token", json=refused)
        assert fingerprint(answer) == second
        assert (await world.client.get(INDEX)).status_code == 503, "what only the database knows"
        own_postgres.start()
        stored = asyncio.create_task(world.read_token(connection))
        assert fingerprint(await until(world, stored)) == second
        while (await world.stored(connection)).generation == 1:
            world.clock.advance(0.5)
            await asyncio.sleep(0.01)
        assert fingerprint(await world.read_token(connection)) == second
        assert world.provider.counts["token"] == 2
