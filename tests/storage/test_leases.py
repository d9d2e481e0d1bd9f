"""Leases, refreshes and failures: who may store what, and when."""

from __future__ import annotations

import msgspec

from grantkeeper.clock import HOUR
from grantkeeper.model import Claim, Connection, MustAct, Status
from tests.storage.stores import LATER, NOW, Stores, new_evidence, new_grant, new_tokens, seconds


async def claimed(stores: Stores, connection: Connection, owner: str = "us", now: int = NOW) -> Claim:
    """The lease of a connection, which must be free."""
    claim = await stores.connections.claim(connection.uuid, connection.generation, owner, now, now + LATER - NOW)
    assert claim is not None
    return claim


async def test_a_lease_is_given_to_one_owner_until_it_ends(stores: Stores) -> None:
    """Held it is refused, to its holder too; at its end it is free, and each giving raises the fence."""
    connection = await stores.connect()
    first = await claimed(stores, connection)
    assert (first.lease.owner, first.lease.fence, first.lease.expires_at) == ("us", 1, LATER)
    assert first.connection.lease_expires_at == LATER
    for owner in ("us", "them"):
        assert await stores.connections.claim(connection.uuid, 1, owner, LATER - 1, LATER) is None
    assert (await claimed(stores, connection, "them", LATER)).lease.fence == 2


async def test_a_lease_is_for_one_generation(stores: Stores) -> None:
    """Who read an older generation gets no lease: somebody has refreshed meanwhile."""
    connection = await stores.connect()
    claim = await claimed(stores, connection)
    assert await stores.connections.save_refresh(claim, new_grant(), None, NOW)
    assert await stores.connections.claim(connection.uuid, 1, "us", NOW, LATER) is None
    assert await stores.connections.claim(connection.uuid, 2, "us", NOW, LATER) is not None


async def test_a_claim_carries_the_sealed_token_set(stores: Stores) -> None:
    """What was claimed can be opened without another read."""
    claim = await claimed(stores, await stores.connect())
    assert await stores.connections.open_tokens(claim.connection, claim.sealed_tokens) == new_tokens()


async def test_renewing_and_releasing_are_the_holders(stores: Stores) -> None:
    """A holder renews and releases; one whose fence is old does neither."""
    connection = await stores.connect()
    old = await claimed(stores, connection)
    assert await stores.connections.renew_lease(old.lease, LATER + 5)
    assert await stores.connections.claim(connection.uuid, 1, "them", LATER, LATER + 9) is None
    new = await claimed(stores, connection, "us", LATER + 5)
    assert not await stores.connections.renew_lease(old.lease, LATER + HOUR)
    await stores.connections.release_lease(old.lease)
    assert await stores.connections.renew_lease(new.lease, LATER + HOUR)
    await stores.connections.release_lease(new.lease)
    assert not await stores.connections.renew_lease(new.lease, LATER + HOUR)
    assert (await claimed(stores, connection, "them", LATER + 6)).lease.fence == 3


async def test_a_refresh_stores_the_next_generation(stores: Stores) -> None:
    """Tokens, scopes, expiries and the next date are new; `updated_at` stays; the lease is given back."""
    connection = await stores.connect()
    grant = new_grant(tokens=new_tokens(2, refreshable=False), scopes=("read",))
    saved = await stores.connections.save_refresh(await claimed(stores, connection), grant, seconds(60), NOW + 5)
    assert saved == msgspec.structs.replace(
        connection,
        generation=2,
        scopes=("read",),
        refreshable=False,
        refreshed_at=NOW + 5,
        next_refresh_at=seconds(60),
    )
    assert await stores.tokens_of(connection) == grant.tokens


async def test_a_failure_latches_who_must_act(stores: Stores) -> None:
    """Failures are counted and explained; `updated_at` moves with the status only; the token set stays."""
    connection = await stores.connect()
    first = await stores.connections.save_failure(
        await claimed(stores, connection), Status.FAILING, MustAct.NOBODY, "503", seconds(9), NOW + 1
    )
    assert first == msgspec.structs.replace(
        connection,
        status=Status.FAILING,
        failure="503",
        failures=1,
        next_refresh_at=seconds(9),
        updated_at=NOW + 1,
    )
    again = await claimed(stores, connection, now=NOW + 2)
    second = await stores.connections.save_failure(
        again, Status.FAILING, MustAct.OPERATOR, "invalid_client", None, NOW + 2
    )
    assert second is not None
    assert (second.failures, second.must_act, second.updated_at) == (2, MustAct.OPERATOR, NOW + 1)
    assert await stores.tokens_of(connection) == new_tokens()


async def test_a_refresh_clears_a_failure(stores: Stores) -> None:
    """After a good refresh nothing of the failure is left, and `updated_at` tells that the status changed."""
    connection = await stores.connect()
    await stores.connections.save_failure(
        await claimed(stores, connection), Status.FAILING, MustAct.OPERATOR, "invalid_client", None, NOW
    )
    saved = await stores.connections.save_refresh(await claimed(stores, connection), new_grant(), None, NOW + 5)
    assert saved is not None
    assert (saved.status, saved.failures, saved.failure, saved.must_act, saved.updated_at) == (
        Status.ACTIVE,
        0,
        None,
        MustAct.NOBODY,
        NOW + 5,
    )


async def test_a_lapsed_lease_does_not_lose_what_the_provider_gave(stores: Stores) -> None:
    """Late, but before the next owner stored anything: the tokens are kept, and that owner's lease too."""
    connection = await stores.connect()
    slow = await claimed(stores, connection)
    quick = await claimed(stores, connection, "them", LATER)
    saved = await stores.connections.save_refresh(slow, new_grant(2), seconds(60), LATER + 1)
    assert saved is not None
    assert (saved.generation, saved.lease_expires_at) == (2, quick.lease.expires_at)
    assert await stores.tokens_of(connection) == new_tokens(2)
    assert await stores.connections.renew_lease(quick.lease, LATER + HOUR)


async def test_a_released_lease_does_not_lose_what_the_provider_gave(stores: Stores) -> None:
    """Also where nobody holds the lease any more."""
    connection = await stores.connect()
    claim = await claimed(stores, connection)
    await stores.connections.release_lease(claim.lease)
    assert await stores.connections.save_refresh(claim, new_grant(2), None, LATER + 1) is not None
    assert await stores.tokens_of(connection) == new_tokens(2)


async def test_a_late_refresh_never_overwrites_a_newer_generation(stores: Stores) -> None:
    """Who comes after the next owner stored its tokens gets None, and the newer ones stay."""
    connection = await stores.connect()
    slow = await claimed(stores, connection)
    quick = await claimed(stores, connection, "them", LATER)
    assert await stores.connections.save_refresh(quick, new_grant(3), None, LATER)
    assert await stores.connections.save_refresh(slow, new_grant(2), None, LATER) is None
    assert await stores.tokens_of(connection) == new_tokens(3)


async def test_a_loser_condemns_nothing(stores: Stores) -> None:
    """A failure of an old lease, or of an old generation, is not written down."""
    connection = await stores.connect()
    slow = await claimed(stores, connection)
    quick = await claimed(stores, connection, "them", LATER)
    condemned = (Status.NEEDS_REAUTHORIZATION, MustAct.USER, "invalid_grant", None, LATER)
    assert await stores.connections.save_failure(slow, *condemned) is None
    saved = await stores.connections.save_refresh(quick, new_grant(2), None, LATER)
    assert await stores.connections.save_failure(slow, *condemned) is None
    assert await stores.connections.save_failure(quick, *condemned) is None
    assert await stores.connections.find(connection.uuid) == saved


async def test_reauthorizing_voids_a_refresh_in_flight(stores: Stores) -> None:
    """What a refresh of the old grant brings changes nothing of the new one, whose lease is free at once."""
    connection = await stores.connect()
    claim = await claimed(stores, connection)
    replaced = await stores.connections.replace_grant(
        connection.account_uuid,
        connection.uuid,
        "client-1",
        new_grant(3),
        None,
        NOW,
        new_evidence(connection.account_uuid, "reauthorize"),
    )
    assert await stores.connections.save_refresh(claim, new_grant(2), None, NOW) is None
    assert not await stores.connections.renew_lease(claim.lease, LATER)
    failed = await stores.connections.save_failure(claim, Status.FAILING, MustAct.NOBODY, "503", None, NOW)
    assert failed is None
    assert await stores.connections.find(connection.uuid) == replaced
    assert await stores.tokens_of(connection) == new_tokens(3)
    again = await stores.connections.claim(connection.uuid, 2, "us", NOW, LATER)
    assert again is not None
    assert again.lease.fence > claim.lease.fence


async def test_a_refresh_of_a_deleted_connection_brings_nothing_back(stores: Stores) -> None:
    """The connection stays gone, whatever its refresh brings."""
    connection = await stores.connect()
    claim = await claimed(stores, connection)
    evidence = new_evidence(connection.account_uuid, "delete")
    assert await stores.connections.delete(connection.account_uuid, connection.uuid, "r", NOW, evidence)
    assert await stores.connections.save_refresh(claim, new_grant(2), None, NOW) is None
    failed = await stores.connections.save_failure(claim, Status.FAILING, MustAct.NOBODY, "503", None, NOW)
    assert failed is None
    assert await stores.count("connections") == 0


async def test_claim_due_takes_what_is_due_longest_first(stores: Stores) -> None:
    """Only what is due and free, in order, no more than asked for; each lease is like any other."""
    account = (await stores.new_account()).uuid
    due = [
        await stores.connect(account, next_refresh_at=seconds(-number), label=str(number)) for number in (3, 0, 5, 1)
    ]
    await stores.connect(account, next_refresh_at=seconds(1))
    await stores.connect(account, next_refresh_at=None)
    await claimed(stores, await stores.connect(account, next_refresh_at=seconds(-9)), "them")
    claims = await stores.connections.claim_due("us", NOW, LATER, 3)
    assert [claim.connection.label for claim in claims] == ["5", "3", "1"]
    assert {claim.lease.expires_at for claim in claims} == {LATER}
    rest = await stores.connections.claim_due("us", NOW, LATER, 3)
    assert [claim.connection.uuid for claim in rest] == [due[1].uuid]
    assert await stores.connections.claim_due("us", NOW, LATER, 3) == []
    assert await stores.connections.open_tokens(rest[0].connection, rest[0].sealed_tokens) == new_tokens()
    assert await stores.connections.save_refresh(rest[0], new_grant(), None, NOW) is not None


async def test_claim_due_takes_what_a_dead_owner_left(stores: Stores) -> None:
    """A lease that ended is no obstacle."""
    connection = await stores.connect()
    await claimed(stores, connection, "dead")
    assert await stores.connections.claim_due("us", LATER - 1, LATER + 9, 5) == []
    (claim,) = await stores.connections.claim_due("us", LATER, LATER + 9, 5)
    assert claim.lease.fence == 2


async def test_next_due_at_is_the_earliest(stores: Stores) -> None:
    """None without a connection that falls due, else the earliest instant."""
    account = (await stores.new_account()).uuid
    assert await stores.connections.next_due_at() is None
    await stores.connect(account, next_refresh_at=None)
    assert await stores.connections.next_due_at() is None
    for number in (7, 3, 5):
        await stores.connect(account, next_refresh_at=seconds(number))
    assert await stores.connections.next_due_at() == seconds(3)
