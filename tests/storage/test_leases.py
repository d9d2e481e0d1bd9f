"""Leases, refreshes and failures: who may store what, and when."""

from __future__ import annotations

import msgspec
import pytest

from grantkeeper.clock import HOUR
from grantkeeper.errors import StorageError
from grantkeeper.model import MustAct, Refresh, Status
from grantkeeper.storage.refreshes import Footing
from tests.storage.stores import (
    AMPLE,
    LATER,
    NOW,
    Stores,
    new_evidence,
    new_given,
    new_grant,
    new_tokens,
    seconds,
)


async def test_a_lease_is_given_to_one_owner_until_it_ends(stores: Stores) -> None:
    """Held it is refused, to its holder too; at its end it is free, and each giving raises the fence."""
    connection = await stores.connect()
    first = await stores.claimed(connection)
    assert (first.lease.owner, first.lease.fence, first.lease.expires_at) == ("us", 1, LATER)
    assert first.connection.lease_expires_at == LATER
    for owner in ("us", "them"):
        assert await stores.refreshes.claim(connection.uuid, 1, owner, LATER - 1, LATER) is None
    assert (await stores.claimed(connection, "them", LATER)).lease.fence == 2


async def test_a_lease_is_for_one_generation(stores: Stores) -> None:
    """Who read an older generation gets no lease: somebody has refreshed meanwhile."""
    connection = await stores.connect()
    assert await stores.save(await stores.claimed(connection), new_given()) == "refreshed"
    assert await stores.refreshes.claim(connection.uuid, 1, "us", NOW, LATER) is None
    assert await stores.refreshes.claim(connection.uuid, 2, "us", NOW, LATER) is not None


async def test_a_claim_carries_the_sealed_token_set(stores: Stores) -> None:
    """What was claimed can be opened without another read, and its place in the order is told."""
    claim = await stores.claimed(await stores.connect())
    assert await stores.connections.open_tokens(claim.connection, claim.sealed_tokens) == new_tokens()
    assert (claim.issued_at, claim.used_at, claim.probes) == (NOW, NOW, None)
    assert (claim.sealed_previous, await stores.refreshes.open_previous(claim)) == (None, None)


async def test_renewing_and_releasing_are_the_holders(stores: Stores) -> None:
    """A holder renews and releases; one whose fence is old does neither."""
    connection = await stores.connect()
    old = await stores.claimed(connection)
    assert await stores.refreshes.renew_lease(old.lease, LATER + 5)
    assert await stores.refreshes.claim(connection.uuid, 1, "them", LATER, LATER + 9) is None
    new = await stores.claimed(connection, "us", LATER + 5)
    assert not await stores.refreshes.renew_lease(old.lease, LATER + HOUR)
    await stores.refreshes.release_lease(old.lease)
    assert await stores.refreshes.renew_lease(new.lease, LATER + HOUR)
    await stores.refreshes.release_lease(new.lease)
    assert not await stores.refreshes.renew_lease(new.lease, LATER + HOUR)
    assert (await stores.claimed(connection, "them", LATER + 6)).lease.fence == 3


async def test_a_refresh_stores_the_next_generation(stores: Stores) -> None:
    """Tokens, scopes, expiries and the next date are new; `updated_at` stays; the lease is given back."""
    connection = await stores.connect()
    given = new_given(tokens=new_tokens(2, refreshable=False), scopes=("read",))
    assert await stores.save(await stores.claimed(connection), given, seconds(60), NOW + 5) == "refreshed"
    assert await stores.stored(connection) == msgspec.structs.replace(
        connection,
        generation=2,
        scopes=("read",),
        refreshable=False,
        refreshed_at=NOW + 5,
        next_refresh_at=seconds(60),
    )
    assert await stores.tokens_of(connection) == given.grant.tokens
    assert await stores.refreshes.issued_at(connection.uuid) == given.asked_at


async def test_a_refresh_keeps_the_token_set_it_replaces(stores: Stores) -> None:
    """The previous token set opens, is the replaced one each time, and is known to be spent."""
    connection = await stores.connect()
    for number in (2, 3):
        assert await stores.save(await stores.claimed(await stores.stored(connection)), new_given(number))
        claim = await stores.claimed(await stores.stored(connection))
        assert await stores.refreshes.open_previous(claim) == new_tokens(number - 1)
        assert not claim.previous_spare
        await stores.refreshes.release_lease(claim.lease)


async def test_a_failure_latches_who_must_act(stores: Stores) -> None:
    """Failures are counted and explained; `updated_at` moves with the status only; the token set stays."""
    connection = await stores.connect()
    first = await stores.refreshes.save_failure(
        await stores.claimed(connection), Status.FAILING, MustAct.NOBODY, "503", seconds(9), NOW + 1
    )
    assert first == msgspec.structs.replace(
        connection,
        status=Status.FAILING,
        failure="503",
        failures=1,
        next_refresh_at=seconds(9),
        updated_at=NOW + 1,
    )
    again = await stores.claimed(connection, now=NOW + 2)
    second = await stores.refreshes.save_failure(
        again, Status.FAILING, MustAct.OPERATOR, "invalid_client", None, NOW + 2
    )
    assert second is not None
    assert (second.failures, second.must_act, second.updated_at) == (2, MustAct.OPERATOR, NOW + 1)
    assert await stores.tokens_of(connection) == new_tokens()


async def test_a_refresh_clears_a_failure(stores: Stores) -> None:
    """After a good refresh nothing of the failure is left, and `updated_at` tells that the status changed."""
    connection = await stores.connect()
    await stores.refreshes.save_failure(
        await stores.claimed(connection), Status.FAILING, MustAct.OPERATOR, "invalid_client", None, NOW
    )
    assert await stores.save(await stores.claimed(connection), new_given(), None, NOW + 5) == "refreshed"
    saved = await stores.stored(connection)
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
    slow = await stores.claimed(connection)
    quick = await stores.claimed(connection, "them", LATER)
    assert await stores.save(slow, new_given(2), seconds(60), LATER + 1) == "refreshed"
    saved = await stores.stored(connection)
    assert (saved.generation, saved.lease_expires_at) == (2, quick.lease.expires_at)
    assert await stores.tokens_of(connection) == new_tokens(2)
    assert await stores.refreshes.renew_lease(quick.lease, LATER + HOUR)


async def test_a_released_lease_does_not_lose_what_the_provider_gave(stores: Stores) -> None:
    """Also where nobody holds the lease any more."""
    connection = await stores.connect()
    claim = await stores.claimed(connection)
    await stores.refreshes.release_lease(claim.lease)
    assert await stores.save(claim, new_given(2), None, LATER + 1) == "refreshed"
    assert await stores.tokens_of(connection) == new_tokens(2)


async def test_a_late_refresh_never_overwrites_a_newer_one(stores: Stores) -> None:
    """Who comes after the next owner stored what it asked for later: the newer tokens stay current."""
    connection = await stores.connect()
    slow = await stores.claimed(connection)
    quick = await stores.claimed(connection, "them", LATER)
    assert await stores.save(quick, new_given(3), None, LATER) == "refreshed"
    assert await stores.save(slow, new_given(2), None, LATER) == "reconciled"
    assert await stores.tokens_of(connection) == new_tokens(3)
    assert (await stores.stored(connection)).generation == 2


async def test_a_lease_ends_with_what_its_holder_saves(stores: Stores) -> None:
    """Also where a late refresh of another has moved the generation meanwhile: the next one meets no dead lease."""
    connection = await stores.connect()
    slow = await stores.claimed(connection)
    quick = await stores.claimed(connection, "them", LATER)
    assert await stores.save(slow, new_given(2), None, LATER) == "refreshed"
    assert await stores.save(quick, new_given(3), None, LATER) == "reconciled"
    claim = await stores.claimed(await stores.stored(connection), now=LATER)
    assert (claim.connection.generation, claim.unsettled_at, claim.unsettled_owner) == (3, None, None)
    assert await stores.tokens_of(connection) == new_tokens(3)


async def test_a_loser_condemns_nothing(stores: Stores) -> None:
    """A failure of an old lease, or of an old generation, is not written down."""
    connection = await stores.connect()
    slow = await stores.claimed(connection)
    quick = await stores.claimed(connection, "them", LATER)
    condemned = (Status.NEEDS_REAUTHORIZATION, MustAct.USER, "invalid_grant", None, LATER)
    assert await stores.refreshes.save_failure(slow, *condemned) is None
    assert await stores.save(quick, new_given(2), None, LATER) == "refreshed"
    saved = await stores.stored(connection)
    assert await stores.refreshes.save_failure(slow, *condemned) is None
    assert await stores.refreshes.save_failure(quick, *condemned) is None
    assert await stores.stored(connection) == saved


async def test_reauthorizing_voids_a_refresh_in_flight(stores: Stores) -> None:
    """What a refresh of the old grant brings changes nothing of the new one, whose lease is free at once."""
    connection = await stores.connect()
    claim = await stores.claimed(connection)
    replaced = await stores.connections.replace_grant(
        connection.account_uuid,
        connection.uuid,
        "client-1",
        new_grant(3),
        None,
        NOW,
        new_evidence(connection.account_uuid, "reauthorize"),
    )
    assert await stores.save(claim, new_given(2)) == "superseded"
    assert not await stores.refreshes.renew_lease(claim.lease, LATER)
    failed = await stores.refreshes.save_failure(claim, Status.FAILING, MustAct.NOBODY, "503", None, NOW)
    assert failed is None
    assert await stores.connections.find(connection.uuid) == replaced
    assert await stores.tokens_of(connection) == new_tokens(3)
    again = await stores.refreshes.claim(connection.uuid, 2, "us", NOW, LATER)
    assert again is not None
    assert again.lease.fence > claim.lease.fence


async def test_a_refresh_of_a_deleted_connection_brings_nothing_back(stores: Stores) -> None:
    """The connection stays gone, whatever its refresh brings."""
    connection = await stores.connect()
    claim = await stores.claimed(connection)
    evidence = new_evidence(connection.account_uuid, "delete")
    assert await stores.connections.delete(connection.account_uuid, connection.uuid, "r", NOW, evidence)
    assert await stores.save(claim, new_given(2)) == "gone"
    failed = await stores.refreshes.save_failure(claim, Status.FAILING, MustAct.NOBODY, "503", None, NOW)
    assert failed is None
    assert await stores.refreshes.issued_at(connection.uuid) is None
    assert await stores.count("connections") == 0


async def test_taking_over_a_lapsed_lease_tells_whose_attempt_is_unsettled(stores: Stores) -> None:
    """Claimed one by one or by the worker: since when, and of whom; a lease that was given back tells nothing."""
    for number in range(2):
        connection = await stores.connect(provider=f"p{number}")
        first = await stores.claimed(connection, "dead")
        assert (first.unsettled_at, first.unsettled_owner) == (None, None)
        await stores.refreshes.release_lease(first.lease)
        second = await stores.claimed(connection, "dead")
        assert (second.unsettled_at, second.unsettled_owner) == (None, None)
        if number:
            (claim,) = await stores.refreshes.claim_due("p1", AMPLE, "us", LATER + 7, LATER + 9, 5)
        else:
            claim = await stores.claimed(connection, "us", LATER + 7)
        assert (claim.unsettled_at, claim.unsettled_owner) == (LATER, "dead")


async def test_an_unsettled_attempt_is_known_until_a_token_set_is_stored(stores: Stores) -> None:
    """Giving the lease back does not settle it; a stored token set does, and none of it is left."""
    connection = await stores.connect()
    await stores.claimed(connection, "dead")
    taker = await stores.claimed(connection, "us", LATER)
    await stores.refreshes.release_lease(taker.lease)
    again = await stores.claimed(connection, "them", LATER)
    assert (again.unsettled_at, again.unsettled_owner) == (LATER, "dead")
    assert await stores.save(again, new_given(), None, LATER) == "refreshed"
    settled = await stores.claimed(await stores.stored(connection), now=LATER)
    assert (settled.unsettled_at, settled.unsettled_owner) == (None, None)


@pytest.mark.parametrize("unsettled", [False, True])
async def test_a_failure_may_leave_the_outcome_open(stores: Stores, unsettled: bool) -> None:
    """With `unsettled` the next one knows since when, and that there is no owner to wait for; else nothing is open."""
    connection = await stores.connect()
    claim = await stores.claimed(connection)
    await stores.refreshes.save_failure(
        claim, Status.FAILING, MustAct.NOBODY, "timed out", NOW, NOW + 3, unsettled=unsettled
    )
    again = await stores.claimed(connection, now=NOW + 4)
    assert (again.unsettled_at, again.unsettled_owner) == (NOW + 3 if unsettled else None, None)


@pytest.mark.parametrize("unsettled", [False, True])
async def test_a_failure_settles_nothing_but_the_waiting(stores: Stores, unsettled: bool) -> None:
    """What a dead owner left open stays open since then; but whoever failed has waited for that owner already."""
    connection = await stores.connect()
    await stores.claimed(connection, "dead")
    claim = await stores.claimed(connection, "us", LATER)
    failure = (Status.FAILING, MustAct.NOBODY, "503", NOW, LATER + 3)
    assert await stores.refreshes.save_failure(claim, *failure, unsettled=unsettled) is not None
    again = await stores.claimed(connection, now=LATER + 4)
    assert (again.unsettled_at, again.unsettled_owner) == (LATER, None)


async def test_who_waits_for_whom(stores: Stores) -> None:
    """Whoever takes over waits for the owner before until it asks itself; then it is the one to be waited for."""
    connection = await stores.connect()
    await stores.claimed(connection, "first")
    second = await stores.claimed(connection, "second", LATER)
    assert await stores.refreshes.waited_for(connection.uuid) == "first"
    assert await stores.refreshes.waits_for("first") == [connection.uuid]
    third = await stores.claimed(connection, "third", LATER + HOUR)
    assert third.unsettled_owner == "first"
    assert not await stores.refreshes.begin_asking(second.lease)
    assert await stores.refreshes.waited_for(connection.uuid) == "first"
    assert await stores.refreshes.begin_asking(third.lease)
    assert (await stores.refreshes.waited_for(connection.uuid), await stores.refreshes.waits_for("first")) == (None, [])
    fourth = await stores.claimed(connection, "fourth", LATER + 2 * HOUR)
    assert (fourth.unsettled_owner, fourth.unsettled_at) == ("third", third.lease.expires_at)


async def test_an_owner_that_stands_down_is_not_waited_for(stores: Stores) -> None:
    """It ends the waiting for itself, for nobody else; that the outcome is unknown stays."""
    connection = await stores.connect()
    await stores.claimed(connection, "first")
    await stores.claimed(connection, "second", LATER)
    await stores.refreshes.stand_down(connection.uuid, "another")
    assert await stores.refreshes.waited_for(connection.uuid) == "first"
    await stores.refreshes.stand_down(connection.uuid, "first")
    footing = await stores.refreshes.footing(connection.uuid)
    assert footing is not None
    assert (footing.unsettled_at, footing.unsettled_owner) == (LATER, None)
    assert await stores.refreshes.waits_for("first") == []
    assert await stores.refreshes.waited_for("gone") is None


async def test_the_footing_of_a_connection(stores: Stores) -> None:
    """What the engine keeps beside what readers see; None where the connection is gone."""
    connection = await stores.connect()
    assert await stores.refreshes.footing(connection.uuid) == Footing(
        unsettled_at=None, unsettled_owner=None, previous_issued_at=None, previous_spare=False, used_at=NOW
    )
    claim = await stores.claimed(connection)
    assert await stores.save(claim, new_given(3)) == "refreshed"
    assert await stores.save(claim, new_given(2)) == "reconciled"
    await stores.refreshes.touch({connection.uuid: NOW + 9})
    assert await stores.refreshes.footing(connection.uuid) == Footing(
        unsettled_at=None, unsettled_owner=None, previous_issued_at=NOW + 2, previous_spare=True, used_at=NOW + 9
    )
    assert await stores.refreshes.footing("gone") is None


async def test_a_failure_is_told_with_its_line_of_history_or_not_at_all(stores: Stores) -> None:
    """Where the failure is not ours to write down, the line is not written; where the line is refused, neither is."""
    connection = await stores.connect()
    claim = await stores.claimed(connection)
    line = Refresh(
        at=NOW,
        connection_uuid=connection.uuid,
        account_uuid=connection.account_uuid,
        provider="demo",
        outcome="failing",
        generation=1,
        owner="us",
    )
    failure = (Status.FAILING, MustAct.NOBODY, "503", None, NOW)
    broken = msgspec.structs.replace(line, duration=2**64)
    with pytest.raises(StorageError):
        await stores.refreshes.save_failure(claim, *failure, line=broken)
    assert (await stores.stored(connection)).failures == 0
    assert await stores.refreshes.save_failure(claim, *failure, line=line) is not None
    assert await stores.refreshes.save_failure(claim, *failure, line=line) is None
    assert (await stores.stored(connection)).failures == 1
    assert await stores.refreshes.history(connection.uuid, 5) == [line]


async def test_leases_of_a_dead_owner_end_at_once(stores: Stores) -> None:
    """Those of others, and those that were over already, stay; whoever takes one over knows whose it was."""
    account = (await stores.new_account()).uuid
    ours, theirs, over = [await stores.connect(account, label=label) for label in ("ours", "theirs", "over")]
    await stores.claimed(ours, "dead")
    await stores.claimed(theirs, "alive")
    await stores.refreshes.claim(over.uuid, 1, "dead", NOW, NOW + 1)
    assert await stores.refreshes.lapse_leases("dead", NOW + 5) == 1
    assert await stores.refreshes.lapse_leases("dead", NOW + 5) == 0
    claims = await stores.refreshes.claim_due("demo", AMPLE, "us", NOW + 5, LATER, 5)
    assert {(claim.connection.label, claim.unsettled_owner, claim.unsettled_at) for claim in claims} == {
        ("ours", "dead", NOW + 5),
        ("over", "dead", NOW + 1),
    }


async def test_claim_due_takes_what_is_due_longest_first(stores: Stores) -> None:
    """Only what is due and free, of that provider, in order, no more than asked for; each lease is like any other."""
    account = (await stores.new_account()).uuid
    due = [
        await stores.connect(account, next_refresh_at=seconds(-number), label=str(number)) for number in (3, 0, 5, 1)
    ]
    await stores.connect(account, next_refresh_at=seconds(1))
    await stores.connect(account, next_refresh_at=None)
    await stores.connect(account, next_refresh_at=seconds(-9), provider="another")
    await stores.claimed(await stores.connect(account, next_refresh_at=seconds(-9)), "them")
    assert await stores.refreshes.count_due("demo", NOW) == 5
    claims = await stores.refreshes.claim_due("demo", AMPLE, "us", NOW, LATER, 3)
    assert [claim.connection.label for claim in claims] == ["5", "3", "1"]
    assert {claim.lease.expires_at for claim in claims} == {LATER}
    rest = await stores.refreshes.claim_due("demo", AMPLE, "us", NOW, LATER, 3)
    assert [claim.connection.uuid for claim in rest] == [due[1].uuid]
    assert await stores.refreshes.claim_due("demo", AMPLE, "us", NOW, LATER, 3) == []
    assert await stores.connections.open_tokens(rest[0].connection, rest[0].sealed_tokens) == new_tokens()
    assert await stores.save(rest[0], new_given()) == "refreshed"


async def test_claim_due_takes_what_a_dead_owner_left(stores: Stores) -> None:
    """A lease that ended is no obstacle."""
    connection = await stores.connect()
    await stores.claimed(connection, "dead")
    assert await stores.refreshes.claim_due("demo", AMPLE, "us", LATER - 1, LATER + 9, 5) == []
    (claim,) = await stores.refreshes.claim_due("demo", AMPLE, "us", LATER, LATER + 9, 5)
    assert claim.lease.fence == 2


async def test_a_claim_within_is_for_one_generation_too(stores: Stores) -> None:
    """Who read an older generation, or comes while another holds the lease, gets None and uses up no room."""
    policy = msgspec.structs.replace(AMPLE, per_minute=1)
    connection = await stores.connect()
    ours = await stores.claimed(connection)
    assert await stores.refreshes.claim_within(policy, connection, "them", NOW, LATER) is None
    assert await stores.save(ours, new_given()) == "refreshed"
    assert await stores.refreshes.claim_within(policy, connection, "them", NOW, LATER) is None
    claim = await stores.refreshes.claim_within(policy, await stores.stored(connection), "them", NOW, LATER)
    assert claim is not None
