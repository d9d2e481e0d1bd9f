"""Users, accounts, logins, API tokens, sessions and rate windows: the same on both engines."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from grantkeeper.clock import DAY, MINUTE
from grantkeeper.errors import StorageError
from grantkeeper.model import ALL_SCOPES, User
from tests.storage.stores import NOW, Stores, new_token, seconds


async def test_accounts_are_listed_oldest_first(stores: Stores) -> None:
    """An account comes back as it was added, in order of creation."""
    second = await stores.people.add_account(str(uuid.uuid4()), "Second 🦊", NOW + 1)
    first = await stores.people.add_account(str(uuid.uuid4()), "First", NOW)
    assert await stores.people.list_accounts() == [first, second]


async def test_an_account_is_added_once(stores: Stores) -> None:
    """A second account with the same UUID is refused, and the first keeps its name."""
    account = await stores.new_account("First")
    with pytest.raises(StorageError):
        await stores.people.add_account(account.uuid, "Second", NOW)
    assert [known.name for known in await stores.people.list_accounts()] == ["First"]


async def test_a_user_is_found_by_uuid_and_by_email(stores: Stores) -> None:
    """Both ways answer the user with the password's hash; unknown ones answer None."""
    user = User(uuid=str(uuid.uuid4()), email="ada@example.com", name="Ada Lovelace", created_at=NOW)
    assert await stores.people.add_user(user, "hash")
    assert await stores.people.get_user(user.uuid) == (user, "hash")
    assert await stores.people.get_user_by_email("ada@example.com") == (user, "hash")
    assert await stores.people.get_user(str(uuid.uuid4())) is None
    assert await stores.people.get_user_by_email("grace@example.com") is None
    assert await stores.people.list_users() == [user]


async def test_an_email_address_is_taken_once(stores: Stores) -> None:
    """The second user of an address is refused with False, and nothing changes."""
    user = await stores.new_user("ada@example.com")
    twin = msgspec.structs.replace(user, uuid=str(uuid.uuid4()), name="Eve")
    assert not await stores.people.add_user(twin, "other hash")
    assert await stores.people.list_users() == [user]


async def test_a_new_password_signs_out(stores: Stores) -> None:
    """Changing the password ends the user's sessions and nobody else's."""
    ada, grace = await stores.new_login(), await stores.new_login()
    for token, login in ((b"ada", ada), (b"ada 2", ada), (b"grace", grace)):
        await stores.people.add_session(token, login, NOW, NOW + DAY)
    await stores.people.set_password(ada.user.uuid, "new hash")
    assert await stores.people.get_user(ada.user.uuid) == (ada.user, "new hash")
    alive = [await stores.people.get_session(token, NOW) for token in (b"ada", b"ada 2", b"grace")]
    assert [session is not None for session in alive] == [False, False, True]


async def test_a_deleted_user_is_gone_everywhere(stores: Stores) -> None:
    """Deletion ends tokens, sessions and logins, frees the address, and happens once."""
    login = await stores.new_login(await stores.new_user("ada@example.com"))
    await stores.people.add_token(new_token(login), b"token")
    await stores.people.add_session(b"session", login, NOW, NOW + DAY)
    assert await stores.people.delete_user(login.user.uuid, NOW + 5)
    assert not await stores.people.delete_user(login.user.uuid, NOW + 6)
    assert await stores.people.get_user(login.user.uuid) is None
    assert await stores.people.get_user_by_email("ada@example.com") is None
    assert await stores.people.list_users() == []
    assert await stores.people.list_logins(login.user.uuid) == []
    assert await stores.people.list_account_logins(login.account.uuid) == []
    assert await stores.people.get_live_token(b"token", NOW) is None
    assert await stores.people.get_session(b"session", NOW) is None
    assert [token.revoked_at for token in await stores.people.list_tokens(login.user.uuid)] == [NOW + 5]
    await stores.new_user("ada@example.com")


async def test_logins_join_users_and_accounts(stores: Stores) -> None:
    """A user in two accounts and an account with two users are listed from either side, each once."""
    ada, grace = await stores.new_user(), await stores.new_user()
    one, two = await stores.new_account("One"), await stores.new_account("Two")
    for number, (user, account) in enumerate(((ada, one), (ada, two), (grace, one))):
        assert await stores.people.add_login(str(uuid.uuid4()), user.uuid, account.uuid, NOW + number)
    assert not await stores.people.add_login(str(uuid.uuid4()), ada.uuid, one.uuid, NOW + 9)
    assert [login.account for login in await stores.people.list_logins(ada.uuid)] == [one, two]
    assert [login.user for login in await stores.people.list_account_logins(one.uuid)] == [ada, grace]
    assert [login.created_at for login in await stores.people.list_logins(ada.uuid)] == [NOW, NOW + 1]


async def test_a_login_needs_its_user_and_account(stores: Stores) -> None:
    """Nobody is let into an account that does not exist."""
    user = await stores.new_user()
    with pytest.raises(StorageError):
        await stores.people.add_login(str(uuid.uuid4()), user.uuid, str(uuid.uuid4()), NOW)


async def test_ending_a_login_stops_its_tokens_and_sessions(stores: Stores) -> None:
    """Tokens for that account and sessions in it die with the membership; the others live on."""
    user = await stores.new_user()
    here, there = await stores.new_login(user), await stores.new_login(user)
    anywhere = new_token(here, account_uuid=None)
    for token, secret in ((new_token(here), b"here"), (new_token(there), b"there"), (anywhere, b"any")):
        await stores.people.add_token(token, secret)
    await stores.people.add_session(b"session", here, NOW, NOW + DAY)
    assert await stores.people.delete_login(user.uuid, here.account.uuid)
    assert not await stores.people.delete_login(user.uuid, here.account.uuid)
    alive = [await stores.people.get_live_token(secret, NOW) for secret in (b"here", b"there", b"any")]
    assert [token is not None for token in alive] == [False, True, True]
    assert await stores.people.get_session(b"session", NOW) is None


async def test_a_token_comes_back_as_it_was_added(stores: Stores) -> None:
    """Every field survives, with all scopes and with none, bound to an account or not."""
    login = await stores.new_login()
    tokens = [
        new_token(login, name="ünïcode 🦊", scopes=ALL_SCOPES),
        new_token(login, account_uuid=None, scopes=frozenset(), expires_at=None, created_at=NOW + 1),
    ]
    for number, token in enumerate(tokens):
        await stores.people.add_token(token, b"secret %d" % number)
    assert await stores.people.list_tokens(login.user.uuid) == tokens
    assert await stores.people.get_live_token(b"secret 0", NOW) == tokens[0]
    assert await stores.people.get_live_token(b"secret 1", NOW) == tokens[1]
    assert await stores.people.list_tokens(str(uuid.uuid4())) == []


async def test_a_token_lives_until_it_expires_or_is_revoked(stores: Stores) -> None:
    """Good a microsecond before its expiry, dead at it; revoked at once, and only once."""
    login = await stores.new_login()
    brief, revoked = new_token(login, expires_at=NOW + MINUTE), new_token(login, expires_at=None)
    await stores.people.add_token(brief, b"brief")
    await stores.people.add_token(revoked, b"revoked")
    assert await stores.people.get_live_token(b"brief", NOW + MINUTE - 1) == brief
    assert await stores.people.get_live_token(b"brief", NOW + MINUTE) is None
    assert await stores.people.get_live_token(b"unknown", NOW) is None
    assert await stores.people.revoke_token(revoked.uuid, NOW + 7)
    assert not await stores.people.revoke_token(revoked.uuid, NOW + 8)
    assert not await stores.people.revoke_token(str(uuid.uuid4()), NOW)
    assert await stores.people.get_live_token(b"revoked", NOW + 7) is None
    assert {t.revoked_at for t in await stores.people.list_tokens(login.user.uuid)} == {None, NOW + 7}


async def test_two_tokens_never_share_a_hash(stores: Stores) -> None:
    """The same secret cannot be kept twice."""
    login = await stores.new_login()
    await stores.people.add_token(new_token(login), b"secret")
    with pytest.raises(StorageError):
        await stores.people.add_token(new_token(login), b"secret")


async def test_last_use_moves_forward_only(stores: Stores) -> None:
    """A late note of an earlier use changes nothing; an unknown token is ignored."""
    token = new_token(await stores.new_login())
    await stores.people.add_token(token, b"secret")
    for at in (seconds(5), seconds(3)):
        await stores.people.touch_tokens([(token.uuid, at), (str(uuid.uuid4()), at)])
    await stores.people.touch_tokens([])
    found = await stores.people.get_live_token(b"secret", NOW)
    assert found is not None
    assert found.last_used_at == seconds(5)


async def test_uses_are_counted_by_subject_and_window(stores: Stores) -> None:
    """Uses of one window add up; another subject's and another window's stay apart; old windows go."""
    assert await stores.people.add_uses("ada", NOW, 3) == 3
    assert await stores.people.add_uses("ada", NOW, 4) == 7
    assert await stores.people.add_uses("grace", NOW, 1) == 1
    assert await stores.people.add_uses("ada", NOW + MINUTE, 1) == 1
    await stores.people.purge(NOW, windows_before=NOW + MINUTE)
    assert await stores.people.add_uses("ada", NOW, 0) == 0
    assert await stores.people.add_uses("ada", NOW + MINUTE, 0) == 1


async def test_a_session_names_who_and_where(stores: Stores) -> None:
    """A session answers its login until it expires or is signed out."""
    login = await stores.new_login()
    await stores.people.add_session(b"session", login, NOW, NOW + MINUTE)
    session = await stores.people.get_session(b"session", NOW + MINUTE - 1)
    assert session is not None
    assert session.login == login
    assert await stores.people.get_session(b"session", NOW + MINUTE) is None
    assert await stores.people.get_session(b"other", NOW) is None
    await stores.people.delete_session(b"session")
    await stores.people.delete_session(b"session")
    assert await stores.people.get_session(b"session", NOW) is None


async def test_a_session_moves_between_the_accounts_of_its_user(stores: Stores) -> None:
    """Moved to another account of the user it works there; moved to a stranger's it works nowhere."""
    user = await stores.new_user()
    one, two = await stores.new_login(user), await stores.new_login(user)
    stranger = await stores.new_account()
    await stores.people.add_session(b"session", one, NOW, NOW + DAY)
    await stores.people.set_session_account(b"session", two.account.uuid)
    session = await stores.people.get_session(b"session", NOW)
    assert session is not None
    assert session.login == two
    await stores.people.set_session_account(b"session", stranger.uuid)
    assert await stores.people.get_session(b"session", NOW) is None


async def test_purge_drops_expired_sessions_only(stores: Stores) -> None:
    """What has expired leaves the table, what has not stays."""
    login = await stores.new_login()
    await stores.people.add_session(b"old", login, NOW, NOW + MINUTE)
    await stores.people.add_session(b"new", login, NOW, NOW + DAY)
    await stores.people.purge(NOW + MINUTE, windows_before=NOW)
    assert await stores.count("sessions") == 1
    assert await stores.people.get_session(b"new", NOW + MINUTE) is not None
