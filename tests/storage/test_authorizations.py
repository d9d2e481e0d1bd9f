"""Browser attempts and held grants: each used once, by its own user, and forgotten in time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from grantkeeper.clock import HOUR
from grantkeeper.errors import SealError
from grantkeeper.model import AttemptSecrets, DeviceCode
from tests.storage.stores import NOW, Stores, new_authorization, new_held_grant, seconds

DEVICE = DeviceCode(device_code="device-code-1", user_code="WDJB-MJHT", verification_uri="https://provider.example/go")


async def test_an_attempt_is_read_without_its_secrets(stores: Stores) -> None:
    """Everything but verifier and nonce comes back, and that it has not been taken."""
    attempt = new_authorization(await stores.new_login(), connection_uuid="c", redirect_to="/x?y=1")
    await stores.authorizations.add(attempt)
    bare = msgspec.structs.replace(attempt, secrets=AttemptSecrets())
    assert await stores.authorizations.get(attempt.state_hash) == (bare, False)
    assert await stores.authorizations.get(b"unknown") is None


async def test_an_attempt_is_taken_once_and_its_secrets_forgotten(stores: Stores) -> None:
    """The first taker gets what only we know of it, the second None; nothing sealed is left in the row."""
    attempt = new_authorization(await stores.new_login())
    await stores.authorizations.add(attempt)
    assert await stores.authorizations.take(attempt, NOW + 1) == attempt.secrets
    assert await stores.authorizations.take(attempt, NOW + 2) is None
    found = await stores.authorizations.get(attempt.state_hash)
    assert found is not None
    assert found[1]
    row = await stores.database.fetch_one("SELECT sealed_secrets, taken_at FROM authorizations")
    assert row is not None
    assert tuple(row) == (None, NOW + 1)


async def test_an_attempt_may_have_no_secrets(stores: Stores) -> None:
    """Without PKCE and OpenID there are none, and it is still taken once."""
    attempt = new_authorization(await stores.new_login(), secrets=AttemptSecrets())
    await stores.authorizations.add(attempt)
    assert await stores.authorizations.take(attempt, NOW) == AttemptSecrets()
    assert await stores.authorizations.take(attempt, NOW) is None


async def test_an_unknown_attempt_is_not_taken(stores: Stores) -> None:
    """Nothing to take, nothing given."""
    assert await stores.authorizations.take(new_authorization(await stores.new_login()), NOW) is None


async def test_a_device_authorization_is_read_until_it_is_taken(stores: Stores) -> None:
    """Each poll needs the device code; once the tokens are there, nobody gets it again."""
    attempt = new_authorization(await stores.new_login(), secrets=AttemptSecrets(device=DEVICE))
    await stores.authorizations.add(attempt)
    assert await stores.authorizations.peek(attempt) == attempt.secrets
    assert await stores.authorizations.peek(attempt) == attempt.secrets
    assert await stores.authorizations.take(attempt, NOW) == attempt.secrets
    assert await stores.authorizations.peek(attempt) is None


async def test_of_many_pollers_one_polls_in_an_interval(stores: Stores) -> None:
    """Twenty at one time, in however many processes: the provider is asked once, and again after the interval."""
    attempt = new_authorization(await stores.new_login(), secrets=AttemptSecrets(device=DEVICE))
    await stores.authorizations.add(attempt)
    for round_number in range(3):
        now = NOW + round_number * 5
        claims = [stores.authorizations.claim_poll(attempt, now, now + 5) for _ in range(20)]
        assert sorted(await asyncio.gather(*claims)) == [False] * 19 + [True]
        assert not await stores.authorizations.claim_poll(attempt, now + 4, now + 9)


async def test_a_poll_is_put_off_with_a_longer_interval(stores: Stores) -> None:
    """`slow_down` holds for all later polls; a taken attempt stays as it is."""
    attempt = new_authorization(await stores.new_login(), secrets=AttemptSecrets(device=DEVICE))
    await stores.authorizations.add(attempt)
    assert await stores.authorizations.claim_poll(attempt, NOW, NOW + 5)
    slower = msgspec.structs.replace(DEVICE, interval=10)
    slow = msgspec.structs.replace(attempt, secrets=AttemptSecrets(device=slower))
    await stores.authorizations.put_off_poll(slow, NOW + 10)
    assert not await stores.authorizations.claim_poll(attempt, NOW + 9, NOW + 19)
    assert await stores.authorizations.peek(attempt) == slow.secrets
    await stores.authorizations.take(attempt, NOW)
    await stores.authorizations.put_off_poll(attempt, NOW)
    assert await stores.authorizations.peek(attempt) is None


async def test_purge_drops_old_attempts_only(stores: Stores) -> None:
    """What expired by that instant goes, taken or not; the rest stays."""
    login = await stores.new_login()
    old, new = new_authorization(login, expires_at=NOW), new_authorization(login, expires_at=NOW + 1)
    for attempt in (old, new):
        await stores.authorizations.add(attempt)
    await stores.authorizations.purge(NOW)
    assert await stores.authorizations.get(old.state_hash) is None
    assert await stores.authorizations.get(new.state_hash) is not None


async def test_a_held_grant_is_its_users_once(stores: Stores) -> None:
    """Another user's or account's handle finds nothing; the owner gets it whole, once."""
    login, other = await stores.new_login(), await stores.new_login()
    held = new_held_grant(login)
    await stores.authorizations.hold(held)
    for account, user in (
        (other.account, login.user),
        (login.account, other.user),
        (other.account, other.user),
    ):
        assert await stores.authorizations.take_held(held.handle_hash, account.uuid, user.uuid) is None
    ours = (login.account.uuid, login.user.uuid)
    assert await stores.authorizations.take_held(b"unknown", *ours) is None
    assert await stores.authorizations.take_held(held.handle_hash, *ours) == held
    assert await stores.authorizations.take_held(held.handle_hash, *ours) is None


async def test_expired_held_grants_are_taken_together(stores: Stores) -> None:
    """Those whose time is over are given once, from every account; the others stay."""
    logins = [await stores.new_login() for _ in range(3)]
    expired = [new_held_grant(login, expires_at=seconds(-number)) for number, login in enumerate(logins)]
    waiting = new_held_grant(logins[0], expires_at=NOW + HOUR)
    for held in (*expired, waiting):
        await stores.authorizations.hold(held)
    taken = await stores.authorizations.take_expired_held(NOW)
    assert sorted(taken, key=lambda held: -held.expires_at) == expired
    assert await stores.authorizations.take_expired_held(NOW) == []
    ours = (logins[0].account.uuid, logins[0].user.uuid)
    assert await stores.authorizations.take_held(waiting.handle_hash, *ours) == waiting


async def test_a_held_grant_that_does_not_open_fails_alone(stores: Stores) -> None:
    """One broken row among expired ones is dropped; the others are handed out."""
    login = await stores.new_login()
    held = [new_held_grant(login, expires_at=seconds(-number)) for number in range(3)]
    for grant in held:
        await stores.authorizations.hold(grant)
    await stores.database.execute(
        "UPDATE held_grants SET sealed_grant = :rubbish WHERE handle_hash = :handle",
        rubbish=b"rubbish",
        handle=held[1].handle_hash,
    )
    taken = await stores.authorizations.take_expired_held(NOW)
    assert sorted(taken, key=lambda grant: -grant.expires_at) == [held[0], held[2]]
    assert await stores.count("held_grants") == 0


async def test_secrets_of_another_attempt_do_not_open(stores: Stores) -> None:
    """A verifier sealed for one attempt and copied to another is refused."""
    login = await stores.new_login()
    one, two = new_authorization(login), new_authorization(login)
    for attempt in (one, two):
        await stores.authorizations.add(attempt)
    await stores.database.execute(
        "UPDATE authorizations SET sealed_secrets ="
        " (SELECT sealed_secrets FROM authorizations WHERE state_hash = :one) WHERE state_hash = :two",
        one=one.state_hash,
        two=two.state_hash,
    )
    with pytest.raises(SealError):
        await stores.authorizations.take(two, NOW)
    assert await stores.authorizations.take(one, NOW) == one.secrets
