"""What a provider may be asked, by all processes together: how many at once, how many a minute, and when blocked."""

from __future__ import annotations

import pytest

from grantkeeper.clock import DAY, MINUTE, SECOND, Instant
from grantkeeper.model import Blocked, Claim, Connection, MustAct
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.storage.refreshes import ProviderDue, ProviderState
from tests.storage.stores import AMPLE, LATER, NOW, Stores, new_evidence, new_given, seconds

UNTIL = seconds(60)
"""Until when providers are blocked here."""
BLOCKED = Blocked(until=UNTIL, must_act=MustAct.OPERATOR, reason="invalid_client", probes=1)


async def connect_many(stores: Stores, number: int, provider: str = "demo") -> list[Connection]:
    """So many connections of one account that are due."""
    account = (await stores.new_account()).uuid
    return [await stores.connect(account, provider=provider) for _ in range(number)]


async def read(
    stores: Stores, policy: RefreshPolicy, connection: Connection, now: Instant = NOW, owner: str = "reader"
) -> Claim | Blocked | None:
    """What a reader gets who finds a token too old."""
    return await stores.refreshes.claim_within(policy, connection, owner, now, now + 30 * SECOND)


async def work(stores: Stores, policy: RefreshPolicy, now: Instant = NOW, most: int = 100) -> list[Claim]:
    """What a worker gets."""
    return await stores.refreshes.claim_due("demo", policy, "worker", now, now + 30 * SECOND, most)


async def block(stores: Stores, *, until: Instant = UNTIL, probe: bool = False, reason: str = "invalid_client") -> bool:
    """Block the provider, which has been refreshed before."""
    return await stores.refreshes.block_provider("demo", until, reason, MustAct.OPERATOR, NOW, probe=probe)


@pytest.fixture
async def pair(stores: Stores) -> tuple[Connection, Connection]:
    """Two connections of a provider that was refreshed before."""
    one, two = await connect_many(stores, 2)
    claim = await read(stores, AMPLE, one)
    assert isinstance(claim, Claim)
    await stores.refreshes.release_lease(claim.lease)
    return one, two


async def test_so_many_leases_at_once(stores: Stores) -> None:
    """Leases of all owners count, those that are given back or lapse no longer, those of other providers never."""
    policy, connections = RefreshPolicy(concurrency=2), await connect_many(stores, 4)
    await stores.claimed((await connect_many(stores, 1, "another"))[0])
    first = await read(stores, policy, connections[0], owner="a")
    second = await read(stores, policy, connections[1], NOW + SECOND, owner="b")
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    assert await read(stores, policy, connections[2], owner="c") is None
    await stores.refreshes.release_lease(second.lease)
    assert isinstance(await read(stores, policy, connections[2], NOW + SECOND, owner="c"), Claim)
    assert await read(stores, policy, connections[3], LATER - 1) is None
    assert isinstance(await read(stores, policy, connections[3], LATER), Claim)


async def test_a_quarter_is_left_to_readers(stores: Stores) -> None:
    """Of eight places a worker takes six, however much is due; readers then have two, and nobody a ninth."""
    policy, connections = RefreshPolicy(concurrency=8), await connect_many(stores, 12)
    claims = await work(stores, policy)
    assert len(claims) == 6
    assert await work(stores, policy) == []
    taken = {claim.connection.uuid for claim in claims}
    left = [connection for connection in connections if connection.uuid not in taken]
    answers = [await read(stores, policy, connection) for connection in left]
    assert [isinstance(answer, Claim) for answer in answers] == [True, True, False, False, False, False]


@pytest.mark.parametrize("concurrency", [1, 2, 3])
async def test_a_narrow_provider_is_still_refreshed(stores: Stores, concurrency: int) -> None:
    """Where a quarter is less than one, nothing is left over."""
    await connect_many(stores, 4)
    assert len(await work(stores, RefreshPolicy(concurrency=concurrency))) == concurrency


async def test_so_many_a_minute(stores: Stores) -> None:
    """Ten seconds' worth may be taken ahead, by workers and readers together; then one for each slot that passes."""
    policy = RefreshPolicy(concurrency=10_000, per_minute=60)
    connections = await connect_many(stores, 14)
    assert isinstance(await read(stores, policy, connections[13]), Claim)
    assert len(await work(stores, policy)) == 9
    assert await work(stores, policy) == []
    assert await read(stores, policy, connections[12]) is None
    assert await work(stores, policy, NOW + SECOND - 1) == []
    assert len(await work(stores, policy, NOW + SECOND)) == 1
    assert len(await work(stores, policy, NOW + 3 * SECOND)) == 2


async def test_slots_are_not_saved_up(stores: Stores) -> None:
    """After an idle day there are as many as at the start; over a minute it is the limit and what was ahead."""
    policy = RefreshPolicy(concurrency=10_000, per_minute=60)
    await connect_many(stores, 90)
    assert len(await work(stores, policy)) == 10
    taken = [len(await work(stores, policy, NOW + DAY + second * SECOND)) for second in range(60)]
    assert taken == [10, *[1] * 59]


async def test_fewer_than_one_in_ten_seconds(stores: Stores) -> None:
    """At two a minute there is one, and the next half a minute later."""
    policy = RefreshPolicy(per_minute=2)
    await connect_many(stores, 5)
    taken = [len(await work(stores, policy, seconds(at))) for at in (0, 1, 29, 30, 59, 60)]
    assert taken == [1, 0, 0, 1, 0, 1]


async def test_a_slot_of_a_clock_that_was_wrong(stores: Stores) -> None:
    """Ten years ahead, it is forgotten, and the limit holds from there."""
    policy = RefreshPolicy(concurrency=10_000, per_minute=60)
    await connect_many(stores, 20)
    assert len(await work(stores, policy, most=1)) == 1
    await stores.database.execute("UPDATE provider_states SET next_slot_at = :at", at=NOW + 3650 * DAY)
    assert [len(await work(stores, policy, seconds(at))) for at in (0, 0, 1, 2, 3)] == [10, 0, 1, 1, 1]


async def test_slots_of_a_replica_whose_clock_is_ahead(stores: Stores) -> None:
    """What it has taken, up to half a minute ahead, counts: two that take turns get no more than one does."""
    policy = RefreshPolicy(concurrency=10_000, per_minute=60)
    await connect_many(stores, 60)
    taken = [len(await work(stores, policy, seconds(at))) for at in (0, 30, 1, 31, 2, 32)]
    assert taken == [10, 10, 0, 1, 0, 1]


async def test_a_limit_that_is_lifted_is_forgotten(stores: Stores) -> None:
    """Without `per_minute` slots hold nobody up."""
    await connect_many(stores, 14)
    assert len(await work(stores, RefreshPolicy(per_minute=1))) == 1
    assert len(await work(stores, AMPLE)) == 13


async def test_a_blocked_provider_is_left_alone(stores: Stores, pair: tuple[Connection, Connection]) -> None:
    """Readers are told until when, who must act and why; workers get nothing; another provider goes on."""
    (other,) = await connect_many(stores, 1, "another")
    assert await block(stores)
    assert await read(stores, AMPLE, pair[0], UNTIL - 1) == BLOCKED
    assert await work(stores, AMPLE, UNTIL - 1) == []
    assert isinstance(await read(stores, AMPLE, other), Claim)
    assert await stores.refreshes.provider_states() == [
        ProviderState(
            provider="another", blocked_at=None, blocked_until=None, probes=0, reason=None, must_act=MustAct.NOBODY
        ),
        ProviderState(
            provider="demo",
            blocked_at=NOW,
            blocked_until=UNTIL,
            probes=1,
            reason="invalid_client",
            must_act=MustAct.OPERATOR,
        ),
    ]


async def test_then_one_tries_it(stores: Stores, pair: tuple[Connection, Connection]) -> None:
    """The first to come, reader or worker, probes; others wait for it until its lease is over, then one more does."""
    assert await block(stores)
    (probe,) = await work(stores, AMPLE, UNTIL)
    assert probe.probes == 1
    waits = await read(stores, AMPLE, pair[0], UNTIL)
    assert isinstance(waits, Blocked)
    assert waits.until == probe.lease.expires_at
    assert await work(stores, AMPLE, probe.lease.expires_at - 1) == []
    second = await read(stores, AMPLE, pair[1], probe.lease.expires_at)
    assert isinstance(second, Claim)
    assert second.probes == 1


async def test_a_probe_that_fails_blocks_on(stores: Stores, pair: tuple[Connection, Connection]) -> None:
    """It is counted, its reason stands, and since when the provider is blocked stays."""
    assert await block(stores)
    assert isinstance(await read(stores, AMPLE, pair[0], UNTIL), Claim)
    assert await block(stores, until=UNTIL + MINUTE, probe=True, reason="503")
    told = await read(stores, AMPLE, pair[1], UNTIL + 1)
    assert told == Blocked(until=UNTIL + MINUTE, must_act=MustAct.OPERATOR, reason="503", probes=2)
    (state,) = await stores.refreshes.provider_states()
    assert state.blocked_at == NOW


async def test_who_comes_late_blocks_nothing(stores: Stores, pair: tuple[Connection, Connection]) -> None:
    """Whoever was under way when it was blocked changes nothing, before its end, after it, and during a probe."""
    assert await block(stores)
    assert not await block(stores, until=UNTIL + DAY, reason="late")
    assert await read(stores, AMPLE, pair[0], UNTIL - 1) == BLOCKED
    assert isinstance(await read(stores, AMPLE, pair[0], UNTIL), Claim)
    before = await stores.refreshes.provider_states()
    assert not await block(stores, until=UNTIL + DAY, reason="late")
    assert await stores.refreshes.provider_states() == before


async def test_a_probe_that_gets_no_lease_is_none(stores: Stores, pair: tuple[Connection, Connection]) -> None:
    """Whoever comes for a connection that another has leaves the probe to the next."""
    assert await block(stores)
    await stores.claimed(pair[0], now=UNTIL)
    assert await read(stores, AMPLE, pair[0], UNTIL) is None
    claim = await read(stores, AMPLE, pair[1], UNTIL)
    assert isinstance(claim, Claim)


async def test_an_unblocked_provider_goes_on(stores: Stores, pair: tuple[Connection, Connection]) -> None:
    """Once it answers all are claimed again, as no probes, and its state tells nothing of it; once only."""
    assert not await stores.refreshes.unblock_provider("demo")
    assert await block(stores)
    assert await stores.refreshes.unblock_provider("demo")
    assert not await stores.refreshes.unblock_provider("demo")
    claims = await work(stores, AMPLE)
    assert {(claim.connection.uuid, claim.probes) for claim in claims} == {(one.uuid, None) for one in pair}
    (state,) = await stores.refreshes.provider_states()
    assert (state.blocked_at, state.blocked_until, state.probes, state.reason) == (None, None, 0, None)
    assert state.must_act is MustAct.NOBODY


async def test_a_probe_at_once(stores: Stores, pair: tuple[Connection, Connection]) -> None:
    """An operator who has mended it need not wait; where nothing waits there is nothing to do."""
    assert not await stores.refreshes.probe_now("demo", NOW)
    assert await block(stores)
    assert await stores.refreshes.probe_now("demo", NOW + 1)
    assert not await stores.refreshes.probe_now("demo", NOW + 1)
    claim = await read(stores, AMPLE, pair[0], NOW + 1)
    assert isinstance(claim, Claim)
    assert claim.probes == 1


async def test_dues_of_every_provider(stores: Stores) -> None:
    """The earliest date of each that has connections, None where none falls due, and what is blocked."""
    assert await stores.refreshes.provider_dues() == []
    account = (await stores.new_account()).uuid
    for provider, dates in {"b": (7, 3, None, 5), "a": (None,), "demo": (0,), "zz": (9,)}.items():
        for date in dates:
            due = None if date is None else seconds(date)
            await stores.connect(account, provider=provider, next_refresh_at=due)
    assert await stores.refreshes.claim_due("demo", AMPLE, "us", NOW, LATER, 1)
    assert await block(stores)
    dues = {due.provider: due for due in await stores.refreshes.provider_dues()}
    assert dues == {
        "a": ProviderDue(provider="a", due_at=None, blocked_until=None),
        "b": ProviderDue(provider="b", due_at=seconds(3), blocked_until=None),
        "demo": ProviderDue(provider="demo", due_at=NOW, blocked_until=UNTIL),
        "zz": ProviderDue(provider="zz", due_at=seconds(9), blocked_until=None),
    }


async def test_a_provider_without_connections_is_due_nothing(stores: Stores) -> None:
    """When its last connection is gone, its state is kept and no worker looks at it."""
    (connection,) = await connect_many(stores, 1)
    claim = await read(stores, AMPLE, connection)
    assert isinstance(claim, Claim)
    assert await stores.save(claim, new_given()) == "refreshed"
    evidence = new_evidence(connection.account_uuid, "delete")
    await stores.connections.delete(connection.account_uuid, connection.uuid, "r", NOW, evidence)
    assert await stores.refreshes.provider_dues() == []
    assert [state.provider for state in await stores.refreshes.provider_states()] == ["demo"]
