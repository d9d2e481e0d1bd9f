"""Users, accounts, logins, API tokens and browser sessions."""

from __future__ import annotations

from collections.abc import Sequence

from grantkeeper.clock import Instant
from grantkeeper.model import Account, Login, PersonalAccessToken, Record, Scope, User
from grantkeeper.storage.database import Database, Row
from grantkeeper.storage.vault import Vault


class Session(Record, frozen=True):
    """A browser's sign-in: who, and in which account."""

    login: Login


class PeopleStore:
    """The rows behind sign-in and access. Tokens come and go as SHA-256 hashes only."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def add_account(self, uuid: str, name: str, now: Instant) -> Account:
        """A new tenant, with a data keyset of its own."""
        wrapped, root_key_id = self._vault.new_keyset(uuid)
        await self._database.execute(
            "add_account",
            uuid=uuid,
            name=name,
            wrapped_keyset=wrapped,
            root_key_id=root_key_id,
            created_at=now,
        )
        return Account(uuid=uuid, name=name, created_at=now)

    async def list_accounts(self) -> list[Account]:
        """Every account, oldest first."""
        rows = await self._database.fetch_all("list_accounts")
        return [Account(uuid=row[0], name=row[1], created_at=row[2]) for row in rows]

    async def add_user(self, user: User, password_hash: str) -> bool:
        """False where the e-mail address is taken."""
        return (
            await self._database.execute(
                "add_user",
                uuid=user.uuid,
                email=user.email,
                name=user.name,
                password_hash=password_hash,
                created_at=user.created_at,
            )
            == 1
        )

    async def list_users(self) -> list[User]:
        """Every user that is not deleted, oldest first."""
        return [_user(row) for row in await self._database.fetch_all("list_users")]

    async def get_user(self, uuid: str) -> tuple[User, str] | None:
        """A user and the password's hash."""
        row = await self._database.fetch_one("get_user", uuid=uuid)
        return (_user(row), row[4]) if row else None

    async def get_user_by_email(self, email: str) -> tuple[User, str] | None:
        """The user of an address in lower case, and the password's hash."""
        row = await self._database.fetch_one("get_user_by_email", email=email)
        return (_user(row), row[4]) if row else None

    async def set_password(self, user_uuid: str, password_hash: str) -> None:
        """Change the password; every browser of the user is signed out."""
        async with self._database.transaction() as statements:
            await statements.execute("set_password", uuid=user_uuid, password_hash=password_hash)
            await statements.execute("delete_user_sessions", user_uuid=user_uuid)

    async def delete_user(self, user_uuid: str, now: Instant) -> bool:
        """End a user's tokens and sessions and free the e-mail address; the row stays for the evidence."""
        async with self._database.transaction() as statements:
            gone = await statements.execute("delete_user", uuid=user_uuid, now=now, email=f"deleted:{user_uuid}")
            await statements.execute("revoke_user_tokens", user_uuid=user_uuid, now=now)
            await statements.execute("delete_user_sessions", user_uuid=user_uuid)
        return gone == 1

    async def add_login(self, uuid: str, user_uuid: str, account_uuid: str, now: Instant) -> bool:
        """Let a user into an account; False where that is so already."""
        return (
            await self._database.execute(
                "add_login", uuid=uuid, user_uuid=user_uuid, account_uuid=account_uuid, created_at=now
            )
            == 1
        )

    async def delete_login(self, user_uuid: str, account_uuid: str) -> bool:
        """End a membership; the user's tokens for that account stop working with it."""
        return await self._database.execute("delete_login", user_uuid=user_uuid, account_uuid=account_uuid) == 1

    async def list_logins(self, user_uuid: str) -> list[Login]:
        """The accounts of a user."""
        return [_login(row) for row in await self._database.fetch_all("list_logins", user_uuid=user_uuid)]

    async def list_account_logins(self, account_uuid: str) -> list[Login]:
        """The users of an account."""
        rows = await self._database.fetch_all("list_account_logins", account_uuid=account_uuid)
        return [_login(row) for row in rows]

    async def add_token(self, token: PersonalAccessToken, token_hash: bytes) -> None:
        """Keep a new API token's hash."""
        await self._database.execute(
            "add_personal_access_token",
            uuid=token.uuid,
            token_hash=token_hash,
            user_uuid=token.user_uuid,
            account_uuid=token.account_uuid,
            name=token.name,
            scopes=" ".join(sorted(token.scopes)),
            created_at=token.created_at,
            expires_at=token.expires_at,
        )

    async def list_tokens(self, user_uuid: str) -> list[PersonalAccessToken]:
        """A user's API tokens, dead ones too."""
        rows = await self._database.fetch_all("list_personal_access_tokens", user_uuid=user_uuid)
        return [_token(row) for row in rows]

    async def get_live_token(self, token_hash: bytes, now: Instant) -> PersonalAccessToken | None:
        """The token of that hash, if it is neither revoked nor expired and its user and login still stand."""
        row = await self._database.fetch_one("get_live_token", token_hash=token_hash, now=now)
        return _token(row) if row else None

    async def revoke_token(self, uuid: str, now: Instant) -> bool:
        """False where there is no such living token."""
        return await self._database.execute("revoke_personal_access_token", uuid=uuid, now=now) == 1

    async def touch_tokens(self, used: Sequence[tuple[str, Instant]]) -> None:
        """Note when tokens were last used."""
        async with self._database.transaction() as statements:
            # In one order: two processes that note the same tokens must not wait for each other.
            for uuid, now in sorted(used):
                await statements.execute("touch_personal_access_token", uuid=uuid, now=now)

    async def add_uses(self, subject: str, window_start: Instant, uses: int) -> int:
        """Count requests against a rate limit; answers the window's total over all processes."""
        row = await self._database.fetch_one("add_uses", subject=subject, window_start=window_start, uses=uses)
        assert row is not None
        return int(row[0])

    async def purge(self, now: Instant, windows_before: Instant) -> None:
        """Drop what has expired."""
        await self._database.execute("purge_sessions", now=now)
        await self._database.execute("purge_rate_windows", before=windows_before)

    async def add_session(self, token_hash: bytes, login: Login, now: Instant, expires_at: Instant) -> None:
        """Sign a browser in."""
        await self._database.execute(
            "add_session",
            token_hash=token_hash,
            user_uuid=login.user.uuid,
            account_uuid=login.account.uuid,
            created_at=now,
            expires_at=expires_at,
        )

    async def get_session(self, token_hash: bytes, now: Instant) -> Session | None:
        """The living session of that hash."""
        row = await self._database.fetch_one("get_session", token_hash=token_hash, now=now)
        if row is None:
            return None
        user = User(uuid=row[0], email=row[2], name=row[3], created_at=row[4])
        account = Account(uuid=row[1], name=row[5], created_at=row[6])
        return Session(login=Login(uuid=row[7], user=user, account=account, created_at=row[8]))

    async def set_session_account(self, token_hash: bytes, account_uuid: str) -> None:
        """Move a browser to another of its user's accounts."""
        await self._database.execute("set_session_account", token_hash=token_hash, account_uuid=account_uuid)

    async def delete_session(self, token_hash: bytes) -> None:
        """Sign a browser out."""
        await self._database.execute("delete_session", token_hash=token_hash)


def _user(row: Row) -> User:
    return User(uuid=row[0], email=row[1], name=row[2], created_at=row[3])


def _login(row: Row) -> Login:
    user = User(uuid=row[2], email=row[3], name=row[4], created_at=row[5])
    account = Account(uuid=row[6], name=row[7], created_at=row[8])
    return Login(uuid=row[0], user=user, account=account, created_at=row[1])


def _token(row: Row) -> PersonalAccessToken:
    return PersonalAccessToken(
        uuid=row[0],
        user_uuid=row[1],
        account_uuid=row[2],
        name=row[3],
        scopes=frozenset(Scope(scope) for scope in row[4].split()),
        created_at=row[5],
        expires_at=row[6],
        last_used_at=row[7],
        revoked_at=row[8],
    )
