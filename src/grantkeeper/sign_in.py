"""Passwords and browser sessions."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets

import argon2

from grantkeeper.access import hash_token
from grantkeeper.clock import HOUR, MINUTE, Clock
from grantkeeper.errors import InvalidValue, NotFound, TooManyRequests
from grantkeeper.model import Login, User
from grantkeeper.storage.people import PeopleStore

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024
"""Characters; hashing more would be a gift to whoever wants to keep us busy."""
ATTEMPTS = 10
"""Passwords that may be tried for one address in one window."""
WINDOW = 15 * MINUTE

_hasher = argon2.PasswordHasher()


@functools.cache
def _nobody() -> str:
    """Verified where the address is unknown, so that the answer takes as long as for a known one."""
    return _hasher.hash(secrets.token_urlsafe())


async def hash_password(password: str) -> str:
    """The argon2id hash of a new password, or InvalidValue where it is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        problem = f"The password must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters."
        raise InvalidValue({"password": [problem]})
    return await asyncio.to_thread(_hasher.hash, password)


class SignIn:
    """Checks passwords, no more than a few for each address, and keeps browsers signed in."""

    def __init__(self, people: PeopleStore, clock: Clock, session_hours: int) -> None:
        self._people = people
        self._clock = clock
        self.session_lifetime = session_hours * HOUR

    async def check_password(self, email: str, password: str) -> User | None:
        """The user, where the password is right; TooManyRequests after too many tries for that address."""
        # No address holds a NUL, and PostgreSQL no text with one.
        email = email.strip().lower().replace("\0", "")
        now = self._clock.now()
        subject = "sign-in:" + hashlib.sha256(email.encode()).hexdigest()
        window = now // WINDOW * WINDOW
        if await self._people.add_uses(subject, window, 1) > ATTEMPTS:
            minutes = (window + WINDOW - now) // MINUTE + 1
            raise TooManyRequests(
                f"Too many sign-in attempts for this address. Try again in {minutes} minutes.", minutes * 60
            )
        found = await self._people.get_user_by_email(email)
        stored = found[1] if found else await asyncio.to_thread(_nobody)
        if not await asyncio.to_thread(_matches, stored, password[: LONGEST_PASSWORD + 1]) or found is None:
            return None
        # A right password is no attempt: who mints many tokens is not locked out.
        await self._people.add_uses(subject, window, -1)
        if _hasher.check_needs_rehash(stored):
            await self._people.set_password(found[0].uuid, await asyncio.to_thread(_hasher.hash, password))
        return found[0]

    async def begin_session(self, user: User) -> str | None:
        """A session token for the user's oldest login; None where the user belongs to no account."""
        logins = await self._people.list_logins(user.uuid)
        if not logins:
            return None
        token = secrets.token_urlsafe(32)
        now = self._clock.now()
        await self._people.add_session(hash_token(token), logins[0], now, now + self.session_lifetime)
        return token

    async def login_of(self, session_token: str | None) -> Login | None:
        """Who is signed in with that session token, and in which account."""
        if not session_token:
            return None
        session = await self._people.get_session(hash_token(session_token), self._clock.now())
        return session.login if session else None

    async def switch_account(self, session_token: str, login: Login, account_uuid: str) -> None:
        """Move the browser to another of the user's accounts, or NotFound."""
        logins = await self._people.list_logins(login.user.uuid)
        if all(other.account.uuid != account_uuid for other in logins):
            raise NotFound("There is no such account for you.")
        await self._people.set_session_account(hash_token(session_token), account_uuid)

    async def end_session(self, session_token: str) -> None:
        """Sign the browser out."""
        await self._people.delete_session(hash_token(session_token))


def _matches(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.VerificationError):
        return False
