"""Token sets that were saved late, twice, or beside another one: the newest is current, none that is good is lost."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from grantkeeper.clock import HOUR
from grantkeeper.model import Connection, MustAct, Status, TokenSet
from grantkeeper.storage.refreshes import Saved
from tests.storage.stores import LATER, NOW, Stores, new_evidence, new_given, new_grant, new_tokens, seconds


async def reconcile(stores: Stores, connection: Connection, number: int, generation: int = 1) -> Saved:
    """What becomes of the token set of that number, given for that generation."""
    return await stores.refreshes.reconcile(
        connection.account_uuid, connection.uuid, generation, new_given(number), seconds(60), NOW + 5
    )


async def saved(stores: Stores, connection: Connection, *numbers: int) -> None:
    """Refresh in order, one after another."""
    for number in numbers:
        claim = await stores.claimed(await stores.stored(connection))
        assert await stores.save(claim, new_given(number)) == "refreshed"


async def kept(stores: Stores, connection: Connection) -> tuple[TokenSet, TokenSet | None, bool]:
    """The current token set, the previous one, and whether that is spare."""
    claim = await stores.claimed(await stores.stored(connection))
    await stores.refreshes.release_lease(claim.lease)
    current = await stores.connections.open_tokens(claim.connection, claim.sealed_tokens)
    return current, await stores.refreshes.open_previous(claim), claim.previous_spare


async def row(stores: Stores, connection: Connection) -> tuple[Any, ...]:
    """Everything that is stored of a connection."""
    found = await stores.database.fetch_one("SELECT * FROM connections WHERE uuid = :uuid", uuid=connection.uuid)
    assert found is not None
    return tuple(found)


async def reauthorized(stores: Stores, connection: Connection, number: int) -> None:
    """A new consent, which was asked for at NOW."""
    evidence = new_evidence(connection.account_uuid, "reauthorize")
    await stores.connections.replace_grant(
        connection.account_uuid, connection.uuid, "client-1", new_grant(number), None, NOW, evidence
    )


async def test_the_next_generation_whoever_has_the_lease(stores: Stores) -> None:
    """An answer found later is the next generation, as if saved in time; it settles what was open; leases stay."""
    connection = await stores.connect()
    await stores.claimed(connection, "dead")
    taker = await stores.claimed(connection, "us", LATER)
    assert await reconcile(stores, connection, 2) == "refreshed"
    stored = await stores.stored(connection)
    assert (stored.generation, stored.next_refresh_at, stored.refreshed_at) == (2, seconds(60), NOW + 5)
    assert await stores.refreshes.renew_lease(taker.lease, LATER + HOUR)
    await stores.refreshes.release_lease(taker.lease)
    assert await kept(stores, connection) == (new_tokens(2), new_tokens(1), False)
    assert (await stores.claimed(stored, now=LATER)).unsettled_at is None


async def test_the_next_generation_clears_a_failure(stores: Stores) -> None:
    """A connection that was condemned while its answer lay in a journal works again."""
    connection = await stores.connect()
    claim = await stores.claimed(connection)
    failure = (Status.NEEDS_REAUTHORIZATION, MustAct.USER, "invalid_grant", None, NOW + 1)
    assert await stores.refreshes.save_failure(claim, *failure) is not None
    assert await reconcile(stores, connection, 2) == "refreshed"
    stored = await stores.stored(connection)
    assert (stored.status, stored.failure, stored.failures, stored.updated_at) == (Status.ACTIVE, None, 0, NOW + 5)


async def test_a_database_that_has_gone_back(stores: Stores) -> None:
    """A copy that knows an earlier generation takes the last answer, and goes on from there."""
    connection = await stores.connect()
    assert await reconcile(stores, connection, 7, generation=5) == "refreshed"
    assert await kept(stores, connection) == (new_tokens(7), new_tokens(1), False)
    await saved(stores, connection, 8)
    assert await stores.tokens_of(connection) == new_tokens(8)


async def test_answers_found_after_the_database_has_gone_back(stores: Stores) -> None:
    """Two answers of one chain, in either order: the later one is current."""
    for found in ((2, 3), (3, 2)):
        connection = await stores.connect()
        for number in found:
            await reconcile(stores, connection, number, generation=number - 1)
        assert await stores.tokens_of(connection) == new_tokens(3)


async def test_the_newest_beside_another(stores: Stores) -> None:
    """Asked for last it becomes current; what was stored meanwhile is kept, and spare."""
    connection = await stores.connect()
    await saved(stores, connection, 2)
    assert await reconcile(stores, connection, 3) == "reconciled"
    assert await kept(stores, connection) == (new_tokens(3), new_tokens(2), True)
    stored = await stores.stored(connection)
    assert (stored.generation, stored.next_refresh_at) == (3, seconds(60))


async def test_an_older_one_beside_another(stores: Stores) -> None:
    """Asked for earlier it is kept as the previous one, and spare; the current one stays as it is."""
    connection = await stores.connect()
    await saved(stores, connection, 3)
    before = await stores.stored(connection)
    assert await reconcile(stores, connection, 2) == "reconciled"
    assert await kept(stores, connection) == (new_tokens(3), new_tokens(2), True)
    assert await stores.stored(connection) == before
    assert await stores.refreshes.issued_at(connection.uuid) == new_given(3).asked_at


async def test_the_next_refresh_leaves_nothing_spare(stores: Stores) -> None:
    """After it the previous token set is the one that it has spent."""
    connection = await stores.connect()
    await saved(stores, connection, 2)
    await reconcile(stores, connection, 3)
    await saved(stores, connection, 4)
    assert await kept(stores, connection) == (new_tokens(4), new_tokens(3), False)


async def test_one_that_the_connection_has_gone_on_from(stores: Stores) -> None:
    """An older answer for a generation long gone changes nothing: its successors have been used."""
    connection = await stores.connect()
    await saved(stores, connection, 3, 4)
    before = await row(stores, connection)
    assert await reconcile(stores, connection, 2) == "superseded"
    assert await row(stores, connection) == before


@pytest.mark.parametrize("others", [(), (2,), (4,)], ids=["as-next", "as-newest", "as-previous"])
async def test_repeating_changes_nothing(stores: Stores, others: tuple[int, ...]) -> None:
    """However it was kept the first time, again it is known, and not a column moves."""
    connection = await stores.connect()
    await saved(stores, connection, *others)
    assert await reconcile(stores, connection, 3) == ("reconciled" if others else "refreshed")
    before = await row(stores, connection)
    assert [await reconcile(stores, connection, 3) for _ in range(3)] == ["known"] * 3
    assert await row(stores, connection) == before


async def test_a_save_whose_answer_was_lost_is_known(stores: Stores) -> None:
    """Saved again with the same claim, as after a connection broke at the commit: known, also one refresh later."""
    connection = await stores.connect()
    claim = await stores.claimed(connection)
    assert await stores.save(claim, new_given(2)) == "refreshed"
    before = await row(stores, connection)
    assert await stores.save(claim, new_given(2)) == "known"
    assert await row(stores, connection) == before
    await saved(stores, connection, 3)
    assert await stores.save(claim, new_given(2)) == "known"
    assert await stores.tokens_of(connection) == new_tokens(3)


async def test_every_order_ends_with_the_newest(stores: Stores) -> None:
    """Three answers for one generation in any order: the one asked for last is current, another one is spare."""
    for order in itertools.permutations((2, 3, 4)):
        connection = await stores.connect()
        for number in order:
            await reconcile(stores, connection, number)
        current, previous, spare = await kept(stores, connection)
        assert (current, spare) == (new_tokens(4), True), order
        assert previous in (new_tokens(2), new_tokens(3)), order


@pytest.mark.parametrize("generation", [1, 0])
async def test_a_newer_consent_supersedes(stores: Stores, generation: int) -> None:
    """What was given for the grant before changes nothing of the new one, though asked for later."""
    connection = await stores.connect()
    await reauthorized(stores, connection, 9)
    before = await row(stores, connection)
    assert await reconcile(stores, connection, 2, generation) == "superseded"
    assert await row(stores, connection) == before
    assert await stores.tokens_of(connection) == new_tokens(9)


async def test_what_was_given_for_the_new_consent_is_kept(stores: Stores) -> None:
    """Its own generation is the first that reconciles again."""
    connection = await stores.connect()
    await reauthorized(stores, connection, 9)
    assert await reconcile(stores, connection, 2, generation=2) == "refreshed"
    assert await kept(stores, connection) == (new_tokens(2), new_tokens(9), False)


async def test_a_new_consent_drops_the_previous_token_set(stores: Stores) -> None:
    """A token set of another grant is of no use to this one; its place in the order is after all before it."""
    connection = await stores.connect()
    await saved(stores, connection, 2)
    await reconcile(stores, connection, 3)
    await reauthorized(stores, connection, 9)
    assert await kept(stores, connection) == (new_tokens(9), None, False)
    assert await stores.refreshes.issued_at(connection.uuid) == new_given(3).asked_at + 1


async def test_a_connection_that_is_gone(stores: Stores) -> None:
    """Nothing comes back, and whoever asked is told."""
    connection = await stores.connect()
    evidence = new_evidence(connection.account_uuid, "delete")
    await stores.connections.delete(connection.account_uuid, connection.uuid, "r", NOW, evidence)
    assert await reconcile(stores, connection, 2) == "gone"
    assert await stores.count("connections") == 0
