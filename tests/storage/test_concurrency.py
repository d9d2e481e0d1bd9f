"""Many callers at one time, over several instances, threads and processes: nothing is given twice."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from threading import Barrier

import pytest

from grantkeeper.clock import HOUR
from grantkeeper.crypto import RootKeyset
from grantkeeper.model import Claim, Connection, MustAct, Refresh, Status
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.storage.connections import Page
from tests.storage.rivals import (
    Claimed,
    claim_all_due,
    claim_each,
    claim_in_process,
    claim_in_thread,
    count_in_process,
    meet_at,
    read_in_process,
)
from tests.storage.stores import (
    LATER,
    NOW,
    Stores,
    new_authorization,
    new_evidence,
    new_given,
    new_grant,
    new_held_grant,
    new_token,
    new_tokens,
    open_stores,
    seconds,
)

DUE = 300
CLAIMERS = 16
PROCESSES = 4


@pytest.fixture
async def replicas(stores: Stores, root: RootKeyset) -> AsyncIterator[list[Stores]]:
    """Four database instances over one database: `stores` and three more."""
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(open_stores(stores.url, root)) for _ in range(3)]
        yield [stores, *others]


@pytest.fixture
def processes() -> Iterator[Executor]:
    """Worker processes that know nothing of this one but where the database is."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, meet_at, (context.Barrier(PROCESSES),)) as executor:
        yield executor


async def connect_many(stores: Stores, number: int) -> list[str]:
    """So many due connections of one account."""
    account = (await stores.new_account()).uuid
    return [(await stores.connect(account, next_refresh_at=seconds(-n))).uuid for n in range(number)]


def assert_each_once(claimed: list[Claimed], uuids: list[str]) -> None:
    """Every connection went to exactly one claimer, with its first fence."""
    assert sorted(itertools.chain.from_iterable(claimed)) == sorted((uuid, 1) for uuid in uuids)


async def test_claim_due_gives_each_row_once(replicas: list[Stores]) -> None:
    """300 due rows, 16 claimers over four instances: no row is leased twice, none is forgotten."""
    uuids = await connect_many(replicas[0], DUE)
    owners = zip(range(CLAIMERS), itertools.cycle(replicas), strict=False)
    claimed = await asyncio.gather(*(claim_all_due(stores, f"owner-{n}") for n, stores in owners))
    assert_each_once(claimed, uuids)


async def test_claim_due_gives_each_row_once_to_threads(stores: Stores, root_text: str) -> None:
    """The same with 16 threads, each with an event loop and an instance of its own."""
    uuids = await connect_many(stores, DUE)
    barrier, loop = Barrier(CLAIMERS), asyncio.get_running_loop()
    with ThreadPoolExecutor(CLAIMERS) as threads:
        claimed = await asyncio.gather(
            *(
                loop.run_in_executor(threads, claim_in_thread, stores.url, root_text, f"thread-{n}", barrier)
                for n in range(CLAIMERS)
            )
        )
    assert_each_once(claimed, uuids)


async def test_claim_due_gives_each_row_once_to_processes(stores: Stores, root_text: str, processes: Executor) -> None:
    """The same with four processes of four claimers."""
    uuids = await connect_many(stores, DUE)
    loop = asyncio.get_running_loop()
    claimed = await asyncio.gather(
        *(
            loop.run_in_executor(processes, claim_in_process, stores.url, root_text, f"process-{n}")
            for n in range(PROCESSES)
        )
    )
    assert_each_once(claimed, uuids)


async def test_claim_gives_each_lease_once(replicas: list[Stores]) -> None:
    """16 claimers that all want the same 40 connections: each lease goes to one of them."""
    uuids = await connect_many(replicas[0], 40)
    owners = zip(range(CLAIMERS), itertools.cycle(replicas), strict=False)
    claimed = await asyncio.gather(*(claim_each(stores, f"owner-{n}", uuids) for n, stores in owners))
    assert_each_once(claimed, uuids)


async def test_readers_and_workers_never_share_a_lease(replicas: list[Stores]) -> None:
    """`claim` of a reader and `claim_due` of a worker respect each other."""
    uuids = await connect_many(replicas[0], 60)
    readers = (claim_each(stores, f"reader-{n}", uuids) for n, stores in enumerate(replicas))
    workers = (claim_all_due(stores, f"worker-{n}") for n, stores in enumerate(replicas))
    assert_each_once(list(await asyncio.gather(*readers, *workers)), uuids)


async def test_a_revocation_is_claimed_once(replicas: list[Stores]) -> None:
    """16 claimers, 100 revocations: each goes to one."""
    account = (await replicas[0].new_account()).uuid
    pending = [str(uuid.uuid4()) for _ in range(100)]
    for revocation in pending:
        await replicas[0].connections.add_revocation(account, "c", "demo", "c", new_tokens(), revocation, NOW)

    async def claim_all(stores: Stores) -> list[str]:
        mine: list[str] = []
        while claims := await stores.connections.claim_revocations(NOW, LATER, 7):
            mine += [claim.uuid for claim in claims]
        return mine

    claimed = await asyncio.gather(*(claim_all(replicas[n % 4]) for n in range(CLAIMERS)))
    left = await claim_all(replicas[0])
    assert sorted([*itertools.chain.from_iterable(claimed), *left]) == sorted(pending)


async def test_an_attempt_is_taken_by_one(replicas: list[Stores]) -> None:
    """20 callbacks with one state over four instances: one gets the verifier."""
    attempt = new_authorization(await replicas[0].new_login())
    await replicas[0].authorizations.add(attempt)
    taken = await asyncio.gather(*(replicas[n % 4].authorizations.take(attempt, NOW) for n in range(20)))
    assert [secrets for secrets in taken if secrets] == [attempt.secrets]


async def test_a_held_grant_is_taken_by_one(replicas: list[Stores]) -> None:
    """20 choices, and the tidying of expired ones at the same time: one gets the grant."""
    login = await replicas[0].new_login()
    held = new_held_grant(login, expires_at=NOW)
    await replicas[0].authorizations.hold(held)
    ours = (held.handle_hash, login.account.uuid, login.user.uuid)
    chosen = (replicas[n % 4].authorizations.take_held(*ours) for n in range(20))
    expired = (stores.authorizations.take_expired_held(NOW) for stores in replicas)
    found = await asyncio.gather(*chosen, *expired)
    given = [grant for answer in found for grant in (answer if isinstance(answer, list) else [answer]) if grant]
    assert given == [held]


async def test_a_label_changed_during_a_refresh_survives(replicas: list[Stores]) -> None:
    """Relabelling and saving a refresh at the same moment both take effect, over and over."""
    connection = await replicas[0].connect()
    account = connection.account_uuid
    for number in range(15):
        claim = await replicas[0].refreshes.claim(connection.uuid, number + 1, "us", NOW, LATER)
        assert claim is not None
        evidence = new_evidence(account, "relabel", connection.uuid)
        await asyncio.gather(
            replicas[1].connections.set_label(account, connection.uuid, f"Label {number}", NOW, evidence),
            replicas[0].save(claim, new_given(number + 1), seconds(60)),
        )
        stored = await replicas[2].connections.get(account, connection.uuid)
        assert stored is not None
        assert (stored.label, stored.generation) == (f"Label {number}", number + 2)
        assert await replicas[3].tokens_of(connection) == new_tokens(number + 1)


async def test_a_reauthorization_during_a_refresh_wins(replicas: list[Stores]) -> None:
    """Whichever is first, the new consent's tokens are what is stored in the end."""
    for number in range(10):
        connection = await replicas[0].connect()
        claim = await replicas[0].claimed(connection)
        await asyncio.gather(
            replicas[number % 2].save(claim, new_given(2)),
            _replace(replicas[1], connection),
            replicas[2].refreshes.save_failure(claim, Status.FAILING, MustAct.USER, "503", None, NOW),
        )
        stored = await replicas[3].connections.find(connection.uuid)
        assert stored is not None
        assert (stored.status, stored.failure) == (Status.ACTIVE, None)
        assert await replicas[3].tokens_of(connection) == new_tokens(3)


async def _replace(stores: Stores, connection: Connection) -> None:
    evidence = new_evidence(connection.account_uuid, "reauthorize")
    await stores.connections.replace_grant(
        connection.account_uuid, connection.uuid, "client-1", new_grant(3), None, NOW, evidence
    )


@pytest.mark.parametrize("found_late", [False, True])
async def test_the_newest_of_many_late_refreshes_is_current(replicas: list[Stores], found_late: bool) -> None:
    """Of 8 owners whose leases lapsed one after another, saving at once: what was asked for last is current.

    Whether each saves its own or finds it in a journal; and none of them ever lowers the generation.
    """
    for _ in range(5):
        connection = await replicas[0].connect()
        claims = [await replicas[0].claimed(connection, f"owner-{n}", NOW + n * HOUR) for n in range(8)]
        mine = [new_given(n + 1) for n in range(8)]
        account = connection.account_uuid
        answers = await asyncio.gather(
            *(
                replicas[n % 4].refreshes.reconcile(account, connection.uuid, 1, mine[n], None, NOW)
                if found_late
                else replicas[n % 4].save(claim, mine[n])
                for n, claim in enumerate(claims)
            )
        )
        assert set(answers) <= {"refreshed", "reconciled", "superseded"}
        assert answers.count("refreshed") == 1
        assert await replicas[0].tokens_of(connection) == new_tokens(8)
        stored = await replicas[0].stored(connection)
        assert 2 <= stored.generation <= 9
        assert stored.lease_expires_at is None or found_late


async def test_leases_never_exceed_what_a_provider_may_be_asked(replicas: list[Stores]) -> None:
    """16 readers and workers over four instances want 60 connections: at no time more than 7 are leased."""
    policy = RefreshPolicy(concurrency=7)
    await connect_many(replicas[0], 60)
    connections = await replicas[0].connections.list_page(await account_of(replicas[0]), Page(limit=60))
    counts: list[int] = []
    refreshed: list[str] = []

    async def refresh(stores: Stores, claim: Claim) -> None:
        row = await stores.database.fetch_one("count_leases", provider="demo", now=NOW)
        counts.append(row[0] if row else 0)
        assert await stores.save(claim, new_given()) == "refreshed"
        refreshed.append(claim.connection.uuid)

    async def reader(stores: Stores, owner: str) -> None:
        for connection in connections:
            claim = await stores.refreshes.claim_within(policy, connection, owner, NOW, LATER)
            if isinstance(claim, Claim):
                await refresh(stores, claim)

    async def worker(stores: Stores, owner: str) -> None:
        while claims := await stores.refreshes.claim_due("demo", policy, owner, NOW, LATER, 3):
            for claim in claims:
                await refresh(stores, claim)

    pairs = [(replicas[n % 4], f"owner-{n}") for n in range(CLAIMERS)]
    await asyncio.gather(*(reader(*pair) if n % 2 else worker(*pair) for n, pair in enumerate(pairs)))
    assert 1 < max(counts) <= policy.concurrency
    assert len(refreshed) == len(set(refreshed))
    assert len(refreshed) >= policy.concurrency


@pytest.mark.parametrize(
    ("policy", "most"),
    [(RefreshPolicy(concurrency=5), 5), (RefreshPolicy(concurrency=100, per_minute=60), 10)],
    ids=["at once", "a minute"],
)
async def test_room_is_given_away_once(
    stores: Stores, root_text: str, processes: Executor, policy: RefreshPolicy, most: int
) -> None:
    """Readers of four processes, each wanting connections of its own: together they get as many as one would."""
    uuids = await connect_many(stores, 40)
    assert await claimed_by_processes(stores, root_text, processes, policy, uuids, NOW) == most


async def test_one_of_many_probes(stores: Stores, root_text: str, processes: Executor) -> None:
    """When a provider is to be tried again, 16 claimers of four processes get one claim between them, the probe."""
    uuids = await connect_many(stores, 40)
    first = await stores.refreshes.claim_due("demo", RefreshPolicy(), "us", NOW, LATER, 1)
    await stores.refreshes.release_lease(first[0].lease)
    assert await stores.refreshes.block_provider("demo", LATER, "503", MustAct.NOBODY, NOW, probe=False)
    assert await claimed_by_processes(stores, root_text, processes, RefreshPolicy(), uuids, LATER) == 1


async def account_of(stores: Stores) -> str:
    """The only account."""
    (account,) = await stores.people.list_accounts()
    return account.uuid


async def claimed_by_processes(
    stores: Stores, root_text: str, processes: Executor, policy: RefreshPolicy, uuids: list[str], now: int
) -> int:
    """How many leases four processes get that begin together, each with connections of its own."""
    loop = asyncio.get_running_loop()
    return sum(
        await asyncio.gather(
            *(
                loop.run_in_executor(
                    processes, read_in_process, stores.url, root_text, policy, uuids[n::PROCESSES], now
                )
                for n in range(PROCESSES)
            )
        )
    )


async def test_history_and_uses_are_written_from_all_sides(replicas: list[Stores]) -> None:
    """Instances that note the same reads in opposite orders do not lock each other out; history is all there."""
    connections = [await replicas[0].connect() for _ in range(20)]
    line = Refresh(
        at=NOW, connection_uuid="c", account_uuid="a", provider="demo", outcome="refreshed", generation=1, owner="us"
    )
    for at in range(1, 6):
        used = [(connection.uuid, NOW + at) for connection in connections]
        await asyncio.gather(
            *(stores.refreshes.touch(dict(used[:: 1 if n % 2 else -1])) for n, stores in enumerate(replicas)),
            *(stores.refreshes.add_history([line] * 5) for stores in replicas),
        )
    held = [await replicas[0].connections.get_with_tokens(row.account_uuid, row.uuid) for row in connections]
    assert {found.used_at for found in held if found} == {NOW + 5}
    assert len(await replicas[0].refreshes.history("c", 1000)) == 5 * 5 * len(replicas)


async def test_uses_add_up_across_processes(stores: Stores, root_text: str, processes: Executor) -> None:
    """Four processes count 50 uses each: the last total is 200."""
    loop = asyncio.get_running_loop()
    totals = await asyncio.gather(
        *(loop.run_in_executor(processes, count_in_process, stores.url, root_text, 50) for _ in range(PROCESSES))
    )
    assert max(totals) == 50 * PROCESSES
    assert await stores.people.add_uses("ada", NOW, 0) == 50 * PROCESSES


async def test_last_uses_are_noted_from_all_sides(replicas: list[Stores]) -> None:
    """Instances that note the same tokens in opposite orders do not lock each other out."""
    login = await replicas[0].new_login()
    tokens = [new_token(login) for _ in range(30)]
    for number, token in enumerate(tokens):
        await replicas[0].people.add_token(token, b"%d" % number)
    used = [(token.uuid, NOW) for token in tokens]
    for number in range(5):
        noted = [(uuid, at + number) for uuid, at in used]
        await asyncio.gather(
            *(stores.people.touch_tokens(noted[:: 1 if n % 2 else -1]) for n, stores in enumerate(replicas))
        )
    known = await replicas[0].people.list_tokens(login.user.uuid)
    assert {token.last_used_at for token in known} == {NOW + 4}
