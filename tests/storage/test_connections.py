"""Connections, their token sets, revocations and evidence: the same on both engines."""

from __future__ import annotations

import uuid
from contextlib import suppress

import msgspec
import pytest

from grantkeeper.clock import DAY
from grantkeeper.errors import SealError, StorageError
from grantkeeper.model import MustAct, Status
from tests.storage.stores import (
    LATER,
    NOW,
    Stores,
    new_connection,
    new_evidence,
    new_grant,
    new_tokens,
    seconds,
)


async def test_a_connection_comes_back_as_it_was_added(stores: Stores) -> None:
    """Every field survives, the token set too, and how it came about is on record."""
    account = await stores.new_account()
    connection = msgspec.structs.replace(new_connection(account.uuid), label="Ünï 🦊 %_!", subject=None)
    evidence = new_evidence(account.uuid, "connect", connection.uuid, scopes="read write")
    await stores.connections.add(connection, new_tokens(), evidence)
    assert await stores.connections.get(account.uuid, connection.uuid) == connection
    assert await stores.connections.find(connection.uuid) == connection
    assert await stores.tokens_of(connection) == new_tokens()
    assert await stores.connections.evidence(account.uuid, connection.uuid) == [evidence]


async def test_what_a_reader_gets(stores: Stores) -> None:
    """Connection, sealed token set and when it was last read in one; a new one counts as read when it was made."""
    connection = await stores.connect(created_at=NOW + 7)
    held = await stores.connections.get_with_tokens(connection.account_uuid, connection.uuid)
    assert held is not None
    assert (held.connection, held.used_at) == (connection, NOW + 7)
    assert await stores.connections.open_tokens(held.connection, held.sealed_tokens) == new_tokens()


async def test_a_bare_token_set_comes_back_as_it_was_added(stores: Stores) -> None:
    """A token that never expires and cannot be refreshed is stored as such."""
    bare = new_tokens(refreshable=False, access_token_expires_at=None, refresh_token_expires_at=None)
    connection = await stores.connect(tokens=bare, next_refresh_at=None, scopes=())
    assert not connection.refreshable
    assert connection.access_token_expires_at is None
    assert connection.refresh_token_expires_at is None
    assert connection.next_refresh_at is None
    assert connection.scopes == ()
    assert await stores.tokens_of(connection) == bare


async def test_a_connection_can_be_added_in_a_transaction_of_others(stores: Stores) -> None:
    """With `statements` it is part of the caller's transaction: undone with it, done with it."""
    account = await stores.new_account()
    connection, evidence = new_connection(account.uuid), new_evidence(account.uuid, "connect")
    with suppress(ZeroDivisionError):
        async with stores.database.transaction() as statements:
            await stores.connections.add(connection, new_tokens(), evidence, statements=statements)
            raise ZeroDivisionError
    assert await stores.connections.find(connection.uuid) is None
    async with stores.database.transaction() as statements:
        await stores.connections.add(connection, new_tokens(), evidence, statements=statements)
    assert await stores.connections.find(connection.uuid) == connection


async def test_a_connection_is_added_once(stores: Stores) -> None:
    """A second row of the same UUID is refused, with its evidence."""
    connection = await stores.connect()
    with pytest.raises(StorageError):
        await stores.connect(uuid=connection.uuid)
    assert await stores.count("evidence") == 1


async def test_another_account_sees_nothing(stores: Stores) -> None:
    """Every call that takes an account treats a connection of another as unknown, and changes nothing."""
    connection, stranger = await stores.connect(), (await stores.new_account()).uuid
    evidence = new_evidence(stranger, "intrude", connection.uuid)
    assert await stores.connections.get(stranger, connection.uuid) is None
    assert await stores.connections.get_with_tokens(stranger, connection.uuid) is None
    assert await stores.connections.labels(stranger, "demo") == set()
    assert await stores.connections.set_label(stranger, connection.uuid, "Mine", NOW, evidence) is None
    assert not await stores.connections.delete(stranger, connection.uuid, str(uuid.uuid4()), NOW, evidence)
    replaced = await stores.connections.replace_grant(
        stranger, connection.uuid, "client-2", new_grant(), None, NOW, evidence
    )
    assert replaced is None
    assert await stores.connections.find(connection.uuid) == connection
    assert await stores.connections.evidence(stranger, connection.uuid) == []
    assert await stores.count("revocations") == 0


async def test_labels_in_use_are_those_of_one_provider(stores: Stores) -> None:
    """Another provider's labels are not among them."""
    account = (await stores.new_account()).uuid
    for provider, label in (("demo", "One"), ("demo", "Two 🦊"), ("xero", "Three")):
        await stores.connect(account, provider=provider, label=label)
    assert await stores.connections.labels(account, "demo") == {"One", "Two 🦊"}


async def test_a_new_label_changes_nothing_else(stores: Stores) -> None:
    """The label and `updated_at` move; tokens, lease and generation stay; it is on record."""
    connection = await stores.connect()
    claim = await stores.refreshes.claim(connection.uuid, 1, "us", NOW, LATER)
    assert claim is not None
    evidence = new_evidence(connection.account_uuid, "relabel", connection.uuid, label="New")
    renamed = await stores.connections.set_label(connection.account_uuid, connection.uuid, "New", NOW + 5, evidence)
    expected = msgspec.structs.replace(connection, label="New", updated_at=NOW + 5, lease_expires_at=LATER)
    assert renamed == expected
    assert await stores.refreshes.renew_lease(claim.lease, LATER + 1)
    assert (await stores.connections.evidence(connection.account_uuid, connection.uuid))[-1] == evidence


async def test_an_unknown_connection_is_nothing(stores: Stores) -> None:
    """Every call answers None or False for a UUID that nobody has."""
    account, unknown = (await stores.new_account()).uuid, str(uuid.uuid4())
    evidence = new_evidence(account, "try", unknown)
    assert await stores.connections.get(account, unknown) is None
    assert await stores.connections.find(unknown) is None
    assert await stores.connections.set_label(account, unknown, "New", NOW, evidence) is None
    assert not await stores.connections.delete(account, unknown, str(uuid.uuid4()), NOW, evidence)
    assert await stores.refreshes.claim(unknown, 1, "us", NOW, LATER) is None
    assert await stores.count("evidence") == 0


async def test_deleting_leaves_the_grant_to_be_revoked(stores: Stores) -> None:
    """The connection is gone, its token set waits for the revocation, and its evidence outlives it."""
    connection, revocation = await stores.connect(), str(uuid.uuid4())
    account, evidence = (
        connection.account_uuid,
        new_evidence(connection.account_uuid, "delete", connection.uuid),
    )
    assert await stores.connections.delete(account, connection.uuid, revocation, NOW, evidence)
    assert not await stores.connections.delete(account, connection.uuid, str(uuid.uuid4()), NOW, evidence)
    assert await stores.connections.find(connection.uuid) is None
    (pending,) = await stores.connections.claim_revocations(NOW, LATER, 10)
    assert (pending.uuid, pending.connection_uuid, pending.provider, pending.client_id) == (
        revocation,
        connection.uuid,
        "demo",
        "client-1",
    )
    assert await stores.connections.open_revocation(pending) == new_tokens()
    actions = [line.action for line in await stores.connections.evidence(account, connection.uuid)]
    assert actions == ["connect", "delete"]


@pytest.mark.parametrize(
    "breakage",
    [
        "UPDATE connections SET sealed_tokens = :rubbish",
        "UPDATE accounts SET wrapped_keyset = :rubbish",
    ],
)
async def test_what_cannot_be_opened_can_still_be_deleted(stores: Stores, breakage: str) -> None:
    """A broken token set, or an account whose keyset is broken, does not keep a person from disconnecting."""
    connection = await stores.connect()
    await stores.database.execute(breakage, rubbish=b"rubbish")
    fresh = Stores(stores.url, stores.database, stores.root)
    evidence = new_evidence(connection.account_uuid, "delete", connection.uuid)
    with pytest.raises(SealError):
        await fresh.tokens_of(connection)
    assert await fresh.connections.delete(connection.account_uuid, connection.uuid, str(uuid.uuid4()), NOW, evidence)
    assert await fresh.connections.find(connection.uuid) is None
    assert await fresh.count("revocations") == 0


async def test_reauthorizing_keeps_uuid_and_label(stores: Stores) -> None:
    """The next generation is stored in place; status, failures and lease start afresh; it is on record."""
    connection = await stores.connect(label="Kept")
    claim = await stores.refreshes.claim(connection.uuid, 1, "us", NOW, LATER)
    assert claim is not None
    await stores.refreshes.save_failure(claim, Status.NEEDS_REAUTHORIZATION, MustAct.USER, "invalid_grant", None, NOW)
    grant, evidence = new_grant(scopes=("read",)), new_evidence(connection.account_uuid, "reauthorize")
    replaced = await stores.connections.replace_grant(
        connection.account_uuid, connection.uuid, "client-2", grant, seconds(60), NOW + 5, evidence
    )
    assert replaced == msgspec.structs.replace(
        connection,
        client_id="client-2",
        scopes=("read",),
        generation=2,
        updated_at=NOW + 5,
        refreshed_at=NOW + 5,
        next_refresh_at=seconds(60),
    )
    assert await stores.tokens_of(connection) == grant.tokens


async def test_reauthorizing_without_an_identity_keeps_the_known_one(stores: Stores) -> None:
    """A grant that does not say whose it is does not erase what is known."""
    connection = await stores.connect()
    grant = new_grant(subject=None, identity=None)
    replaced = await stores.connections.replace_grant(
        connection.account_uuid,
        connection.uuid,
        "client-1",
        grant,
        None,
        NOW,
        new_evidence(connection.account_uuid, "x"),
    )
    assert replaced is not None
    assert (replaced.subject, replaced.identity) == ("ada", "ada@example.com")


async def test_a_revocation_is_claimed_postponed_and_finished(stores: Stores) -> None:
    """Claimed it is nobody else's; postponed it comes again, counted; finished it is gone, on record."""
    account, connection = (await stores.new_account()).uuid, str(uuid.uuid4())
    await stores.connections.add_revocation(
        account, connection, "demo", "client-1", new_tokens(), str(uuid.uuid4()), NOW
    )
    assert await stores.connections.claim_revocations(NOW - 1, LATER, 10) == []
    (first,) = await stores.connections.claim_revocations(NOW, LATER, 10)
    assert first.attempts == 1
    assert await stores.connections.claim_revocations(LATER - 1, LATER, 10) == []
    await stores.connections.postpone_revocation(first, NOW + DAY)
    assert await stores.connections.claim_revocations(NOW + DAY - 1, LATER, 10) == []
    (again,) = await stores.connections.claim_revocations(NOW + DAY, NOW + 2 * DAY, 10)
    assert (again.uuid, again.attempts, again.created_at) == (first.uuid, 2, NOW)
    assert await stores.connections.open_revocation(again) == new_tokens()
    evidence = new_evidence(account, "revoked", connection, outcome="done")
    await stores.connections.finish_revocation(again, evidence)
    assert await stores.count("revocations") == 0
    assert await stores.connections.evidence(account, connection) == [evidence]


async def test_most_bounds_how_many_revocations_are_claimed(stores: Stores) -> None:
    """Those due longest come first, and no more than asked for."""
    account = (await stores.new_account()).uuid
    uuids = [str(uuid.uuid4()) for _ in range(5)]
    for number, revocation in enumerate(uuids):
        await stores.connections.add_revocation(
            account, str(uuid.uuid4()), "demo", "client-1", new_tokens(), revocation, seconds(-number)
        )
    claimed = [pending.uuid for pending in await stores.connections.claim_revocations(NOW, LATER, 3)]
    assert sorted(claimed) == sorted(uuids[2:])


async def test_evidence_is_kept_in_order(stores: Stores) -> None:
    """Lines of one instant come back in the order they were written, unicode and all."""
    connection = await stores.connect()
    for number in range(20):
        evidence = new_evidence(connection.account_uuid, "relabel", connection.uuid, label=f"№ {number} 🦊")
        await stores.connections.set_label(connection.account_uuid, connection.uuid, f"{number}", NOW, evidence)
    lines = await stores.connections.evidence(connection.account_uuid, connection.uuid)
    assert [line.detail.get("label") for line in lines] == [None, *(f"№ {n} 🦊" for n in range(20))]
