"""Rivals for the concurrency tests, in threads of this process or in processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from multiprocessing.synchronize import Barrier as ProcessBarrier
from threading import Barrier as ThreadBarrier

from grantkeeper.clock import DAY, SECOND, Instant
from grantkeeper.crypto import RootKeyset
from grantkeeper.model import Claim
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.storage.migrate import current_revision, migrate, open_database
from tests.storage.stores import AMPLE, LATER, NOW, Stores, new_client_key, open_stores

Claimed = list[tuple[str, int]]
_MOST = 10
_EMPTY_HANDS = 3


async def claim_all_due(stores: Stores, owner: str) -> Claimed:
    """Claim until nothing is left, a few times over; the UUID and fence of each lease that was given."""
    mine: Claimed = []
    empty = 0
    while empty < _EMPTY_HANDS:
        claims = await stores.refreshes.claim_due("demo", AMPLE, owner, NOW, LATER, _MOST)
        mine += [(claim.lease.connection_uuid, claim.lease.fence) for claim in claims]
        empty = 0 if claims else empty + 1
    return mine


async def claim_each(stores: Stores, owner: str, uuids: list[str]) -> Claimed:
    """Claim connections one by one; the UUID and fence of each lease that was given."""
    mine: Claimed = []
    for uuid in uuids:
        claim = await stores.refreshes.claim(uuid, 1, owner, NOW, LATER)
        if claim is not None:
            mine.append((uuid, claim.lease.fence))
    return mine


async def _claimers(url: str, root: str, owner: str, wait: Callable[[], object], many: int) -> Claimed:
    async with open_stores(url, RootKeyset.parse(root, "test"), pool_size=many) as stores:
        await asyncio.to_thread(wait)
        found = await asyncio.gather(*(claim_all_due(stores, f"{owner}.{number}") for number in range(many)))
    return [claim for claims in found for claim in claims]


def claim_in_thread(url: str, root: str, owner: str, barrier: ThreadBarrier) -> Claimed:
    """One claimer with an event loop and a database of its own, beginning when the others do."""
    return asyncio.run(_claimers(url, root, owner, barrier.wait, 1))


_barrier: ProcessBarrier


def meet_at(barrier: ProcessBarrier) -> None:
    """Where the claimers of a worker process wait for those of the others."""
    global _barrier
    _barrier = barrier


def claim_in_process(url: str, root: str, owner: str) -> Claimed:
    """Four claimers in this process, beginning when the other processes do."""
    return asyncio.run(_claimers(url, root, owner, _barrier.wait, 4))


def read_in_process(url: str, root: str, policy: RefreshPolicy, uuids: list[str], now: Instant) -> int:
    """Four readers in this process that claim these connections; how many leases they get."""

    async def read(stores: Stores, number: int) -> int:
        found = [await stores.connections.find(uuid) for uuid in uuids[number::4]]
        claims = [
            await stores.refreshes.claim_within(policy, connection, f"reader-{number}", now, now + 30 * SECOND)
            for connection in found
            if connection
        ]
        return sum(isinstance(claim, Claim) for claim in claims)

    async def readers() -> int:
        async with open_stores(url, RootKeyset.parse(root, "test")) as stores:
            await asyncio.to_thread(_barrier.wait)
            return sum(await asyncio.gather(*(read(stores, number) for number in range(4))))

    return asyncio.run(readers())


def count_in_process(url: str, root: str, times: int) -> int:
    """Count `times` uses of one rate window, one by one; the highest total that was answered."""

    async def count() -> int:
        async with open_stores(url, RootKeyset.parse(root, "test")) as stores:
            await asyncio.to_thread(_barrier.wait)
            return max([await stores.people.add_uses("ada", NOW, 1) for _ in range(times)])

    return asyncio.run(count())


def add_client_key_in_process(url: str, root: str, kid: str) -> tuple[Instant, list[bytes | None]]:
    """Add the first key that signs, or the second: when it begins, and the private keys that open here then."""

    async def add() -> tuple[Instant, list[bytes | None]]:
        async with open_stores(url, RootKeyset.parse(root, "test")) as stores:
            await asyncio.to_thread(_barrier.wait)
            added = await stores.client_keys.add(new_client_key(kid), kid.encode(), DAY)
            assert added is not None
            await asyncio.to_thread(_barrier.wait)
            keys = await stores.client_keys.list_keys()
            return added.signs_from, [await stores.client_keys.open_private_key(key) for key in keys]

    return asyncio.run(add())


def migrate_in_process(url: str) -> str:
    """Migrate when the other processes do; the revision."""
    _barrier.wait()
    return migrate(url)


def open_in_process(url: str) -> str | None:
    """Open when the other processes do; the revision."""

    async def revision() -> str | None:
        database = await open_database(url)
        try:
            return await current_revision(database)
        finally:
            await database.close()

    _barrier.wait()
    return asyncio.run(revision())
