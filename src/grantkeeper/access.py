"""The one gate: who calls, in which account, with which scopes, and how often.

API tokens look like `gk_` + 40 random letters and digits + a checksum of six, so that a mistyped
token is refused without a look at the database and secret scanners can recognise one.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import uuid
import zlib

import msgspec

from grantkeeper import logs
from grantkeeper.clock import DAY, MINUTE, SECOND, Clock, Instant
from grantkeeper.errors import (
    Forbidden,
    InvalidValue,
    NotFound,
    StorageError,
    StorageUnavailable,
    TooManyRequests,
    Unauthenticated,
)
from grantkeeper.model import ALL_SCOPES, Login, PersonalAccessToken, Record, Scope, clean_label
from grantkeeper.storage.people import PeopleStore

TOKEN_PREFIX = "gk_"
TOKEN_LIFETIME = 365 * DAY
"""How long a personal access token lasts unless told otherwise, in microseconds."""
TRUST = 1.0
"""Seconds for which a token that was found good is not looked up again. A token revoked in this
process stops at once; one revoked by another process within this time."""
TRUST_WITHOUT_DATABASE = 300.0
"""Seconds after the database last confirmed a token for which it is trusted while the database is away: nobody can
revoke one meanwhile. Readers can so be served what is journalled, or held in memory."""

_MOST_TRUSTED = 10_000
_ALPHABET = string.digits + string.ascii_letters
_BODY = 40
_CHECKSUM = 6


class Caller(Record, frozen=True):
    """The authenticated principal of a call; `actor` names it in the evidence."""

    user_uuid: str
    account: str | None
    scopes: frozenset[Scope]
    actor: str
    token_uuid: str | None = None

    @property
    def account_uuid(self) -> str:
        """The account the call works in, or InvalidValue where the caller must choose one."""
        if self.account is None:
            raise InvalidValue(
                {"X-Account-UUID": ["You belong to several accounts; choose one with the header X-Account-UUID."]}
            )
        return self.account

    def require(self, scope: Scope) -> None:
        """Forbidden unless the caller may do what `scope` stands for."""
        if scope not in self.scopes:
            raise Forbidden(f"This token lacks the scope {scope}.")


class RateLimit(Record, frozen=True):
    """Where a user stands in the current minute; `retry_after`, in seconds, is set where it is one request too many."""

    limit: int
    remaining: int
    retry_after: int | None = None

    def require(self) -> None:
        """TooManyRequests past the limit."""
        if self.retry_after is not None:
            raise TooManyRequests(f"Too many requests: {self.limit} a minute are allowed.", self.retry_after)


class _Trusted(msgspec.Struct):
    """A token that the database confirmed at `confirmed`, and that is trusted to `until` (both of the steady clock)."""

    token: PersonalAccessToken
    caller: Caller
    confirmed: float
    until: float


class _Window:
    """Requests of one user in one minute: `settled` are known to the database, `pending` not yet."""

    __slots__ = ("pending", "settled", "start")

    def __init__(self, start: Instant) -> None:
        self.start = start
        self.settled = 0
        self.pending = 0


def new_api_token() -> str:
    """A fresh token with its checksum."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_BODY))
    return TOKEN_PREFIX + body + _checksum(body)


def hash_token(token: str) -> bytes:
    """What is stored of a token: it is random enough to need neither salt nor stretching."""
    return hashlib.sha256(token.encode()).digest()


class Access:
    """Authenticates API tokens, counts requests and mints tokens."""

    def __init__(self, people: PeopleStore, clock: Clock, rate_limit: int) -> None:
        self._people = people
        self._clock = clock
        self._rate_limit = rate_limit
        self._trusted: dict[bytes, _Trusted] = {}
        self._revocations = 0
        self._database_away = False
        self._windows: dict[str, _Window] = {}
        self._used: dict[str, Instant] = {}

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller of an API request by its `Authorization` header (RFC 6750 §2.1), or Unauthenticated."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated
        token_hash = hash_token(token)
        now = self._clock.now()
        trusted = self._trusted.get(token_hash)
        if trusted is None or trusted.until < self._clock.monotonic():
            if not well_formed(token):
                raise Unauthenticated
            trusted = await self._confirm(token_hash, now)
        if trusted.token.expires_at is not None and trusted.token.expires_at <= now:
            raise Unauthenticated
        self._used[trusted.token.uuid] = now
        return trusted.caller

    async def in_account(self, caller: Caller, account_uuid: str) -> Caller:
        """The caller in the account that it names, or NotFound unless both the token and the user reach there."""
        account_uuid = account_uuid.lower()
        if account_uuid == caller.account:
            return caller
        if caller.account is None:
            for login in await self._people.list_logins(caller.user_uuid):
                if login.account.uuid == account_uuid:
                    return msgspec.structs.replace(caller, account=account_uuid)
        raise NotFound("There is no such account for this token.")

    def count(self, caller: Caller) -> RateLimit:
        """Count one request of the caller's user; those past the limit are not counted."""
        now = self._clock.now()
        start = now - now % MINUTE
        window = self._windows.get(caller.user_uuid)
        if window is None or window.start != start:
            window = self._windows[caller.user_uuid] = _Window(start)
        used = window.settled + window.pending
        if used >= self._rate_limit:
            wait = -(-(start + MINUTE - now) // SECOND)
            return RateLimit(limit=self._rate_limit, remaining=0, retry_after=wait)
        window.pending += 1
        return RateLimit(limit=self._rate_limit, remaining=self._rate_limit - used - 1)

    async def settle(self) -> None:
        """Share the counts with the other processes and note when tokens were last used; call it every second."""
        used, self._used = self._used, {}
        if used:
            try:
                await self._people.touch_tokens(list(used.items()))
            except StorageError:
                self._used = used | self._used
                raise
        start = self._clock.now() // MINUTE * MINUTE
        for user_uuid, window in list(self._windows.items()):
            if window.start != start:
                del self._windows[user_uuid]
            elif window.pending:
                pending, window.pending = window.pending, 0
                window.settled += pending
                try:
                    total = await self._people.add_uses(f"user:{user_uuid}", start, pending)
                except StorageError:
                    window.settled -= pending
                    window.pending += pending
                    raise
                window.settled = max(window.settled, total)

    async def create_token(
        self,
        user_uuid: str,
        account_uuid: str | None,
        name: str,
        scopes: frozenset[Scope],
        expires_at: Instant | None,
    ) -> tuple[str, PersonalAccessToken]:
        """Mint a token; the first of the pair is shown once and kept nowhere."""
        now = self._clock.now()
        token = new_api_token()
        record = PersonalAccessToken(
            uuid=str(uuid.uuid4()),
            user_uuid=user_uuid,
            account_uuid=account_uuid,
            name=clean_label(name, "name"),
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
        )
        await self._people.add_token(record, hash_token(token))
        return token, record

    async def revoke_token(self, token_uuid: str) -> bool:
        """End a token; False where there is no such living one."""
        try:
            return await self._people.revoke_token(token_uuid, self._clock.now())
        finally:
            # Only now: a look-up that was under way meanwhile may have found the token alive. Also where the database
            # went away, so that nobody knows: then no token is trusted without it.
            self._revocations += 1
            self._trusted.clear()

    async def _confirm(self, token_hash: bytes, now: Instant) -> _Trusted:
        """Look a token up; while the database is away, what it said of the token last holds for a while."""
        revocations = self._revocations
        try:
            trusted = await self._look_up(token_hash, now)
        except Unauthenticated:
            self._trusted.pop(token_hash, None)
            raise
        except StorageUnavailable:
            known = self._trusted.get(token_hash)
            steady = self._clock.monotonic()
            if known is None or steady - known.confirmed > TRUST_WITHOUT_DATABASE:
                raise
            if not self._database_away:
                self._database_away = True
                logs.event("access.trusted_without_database", level=logs.WARNING, seconds=TRUST_WITHOUT_DATABASE)
            # A look-up may take long to fail: not one for each request.
            known.until = steady + TRUST
            return known
        self._database_away = False
        if revocations == self._revocations:
            if len(self._trusted) >= _MOST_TRUSTED:
                self._trusted.clear()
            self._trusted[token_hash] = trusted
        return trusted

    async def _look_up(self, token_hash: bytes, now: Instant) -> _Trusted:
        found = await self._people.get_live_token(token_hash, now)
        if found is None:
            raise Unauthenticated
        account = found.account_uuid or await self._only_account(found.user_uuid)
        caller = Caller(
            user_uuid=found.user_uuid,
            account=account,
            scopes=found.scopes,
            actor=f"token:{found.uuid}",
            token_uuid=found.uuid,
        )
        steady = self._clock.monotonic()
        return _Trusted(token=found, caller=caller, confirmed=steady, until=steady + TRUST)

    async def _only_account(self, user_uuid: str) -> str | None:
        """The user's account; None: there are several. Who belongs to none any more is nobody here."""
        logins = await self._people.list_logins(user_uuid)
        if not logins:
            raise Unauthenticated
        return logins[0].account.uuid if len(logins) == 1 else None


def browser_caller(login: Login) -> Caller:
    """The caller that a signed-in browser is: it may do all a person can on the pages, but read no raw token."""
    return Caller(
        user_uuid=login.user.uuid,
        account=login.account.uuid,
        scopes=ALL_SCOPES - {Scope.TOKENS_READ},
        actor=f"user:{login.user.uuid}",
    )


def well_formed(token: str) -> bool:
    """Whether the prefix, the length and the checksum are right."""
    body = token[len(TOKEN_PREFIX) : -_CHECKSUM]
    return (
        token.startswith(TOKEN_PREFIX)
        and token.isascii()
        and len(body) == _BODY
        and body.isalnum()
        and token[-_CHECKSUM:] == _checksum(body)
    )


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
