"""Domain types and pure decisions: no I/O, no clock of their own, no framework.

An `Instant` is an integer of microseconds since the epoch (see `clock`).
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum

import msgspec

from grantkeeper.clock import HOUR, MINUTE, SECOND, Instant
from grantkeeper.errors import InvalidValue

LABEL_LENGTH = 255
"""The longest label, in characters."""

_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Unicode categories: controls, surrogates, line and paragraph separators; formats and spaces show nothing.
_CONTROLS = frozenset(("Cc", "Cs", "Zl", "Zp"))
_INVISIBLE = frozenset(("Cf", "Zs"))


class Status(StrEnum):
    """The state of a connection, as the wire spells it."""

    ACTIVE = "active"
    FAILING = "failing"
    NEEDS_REAUTHORIZATION = "needs_reauthorization"
    REVOKED = "revoked"


class MustAct(StrEnum):
    """Who must act before a failing connection works again."""

    NOBODY = "nobody"
    USER = "user"
    OPERATOR = "operator"


class Scope(StrEnum):
    """What a personal access token allows."""

    CONNECTIONS_READ = "connections:read"
    CONNECTIONS_WRITE = "connections:write"
    TOKENS_READ = "tokens:read"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen domain type whose fields are named at every construction."""


class TokenSet(Record, frozen=True):
    """What the provider gave last (RFC 6749 §5.1). Its `repr` shows neither token."""

    access_token: str
    token_type: str
    refresh_token: str | None = None
    access_token_expires_at: Instant | None = None
    refresh_token_expires_at: Instant | None = None
    issued_at: Instant = 0

    def __repr__(self) -> str:
        return f"TokenSet(expires_at={self.access_token_expires_at}, refreshable={self.refresh_token is not None})"


class Grant(Record, frozen=True):
    """A token set together with what was consented: scopes, and whose grant it is at the provider."""

    tokens: TokenSet
    scopes: tuple[str, ...]
    subject: str | None = None
    identity: str | None = None


class Summary(Record, frozen=True, kw_only=True):
    """What every list shows of a connection."""

    uuid: str
    label: str
    provider: str
    created_at: Instant
    updated_at: Instant
    access_token_expires_at: Instant | None = None
    refresh_token_expires_at: Instant | None = None


class Connection(Summary, frozen=True, kw_only=True):
    """A standing authorization that one account holds at one provider. Carries no secret.

    `generation` counts the token sets stored so far; `next_refresh_at` is when the worker looks at it
    next (None: never); `failures` counts the attempts that failed since the last good one.
    """

    account_uuid: str
    client_id: str
    status: Status
    scopes: tuple[str, ...]
    generation: int
    token_type: str
    refreshable: bool
    subject: str | None = None
    identity: str | None = None
    refreshed_at: Instant | None = None
    next_refresh_at: Instant | None = None
    failures: int = 0
    failure: str | None = None
    must_act: MustAct = MustAct.NOBODY
    lease_expires_at: Instant | None = None


class Lease(Record, frozen=True):
    """The time-limited right to refresh one connection; `fence` grows with every lease given."""

    connection_uuid: str
    owner: str
    fence: int
    expires_at: Instant


class Claim(Record, frozen=True):
    """A connection whose lease we hold, with its token set still sealed."""

    lease: Lease
    connection: Connection
    sealed_tokens: bytes

    def __repr__(self) -> str:
        return f"Claim({self.lease!r})"


class Account(Record, frozen=True):
    """The tenant."""

    uuid: str
    name: str
    created_at: Instant


class User(Record, frozen=True):
    """A person who signs in."""

    uuid: str
    email: str
    name: str
    created_at: Instant


class Login(Record, frozen=True):
    """A user's membership of one account."""

    uuid: str
    user: User
    account: Account
    created_at: Instant


class PersonalAccessToken(Record, frozen=True):
    """What is kept of an API token: everything but the token. `account_uuid` None: any of the user's accounts."""

    uuid: str
    user_uuid: str
    account_uuid: str | None
    name: str
    scopes: frozenset[Scope]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None = None
    revoked_at: Instant | None = None


class Authorization(Record, frozen=True):
    """One in-flight, single-use browser attempt (RFC 6749 §4.1). Its `repr` shows no verifier.

    `connection_uuid` is set when an existing connection is reauthorized; `browser_hash` binds the
    attempt to the browser that began it.
    """

    state_hash: bytes
    account_uuid: str
    user_uuid: str
    provider: str
    client_id: str
    redirect_uri: str
    browser_hash: bytes
    created_at: Instant
    expires_at: Instant
    code_verifier: str | None = None
    nonce: str | None = None
    connection_uuid: str | None = None
    redirect_to: str | None = None

    def __repr__(self) -> str:
        return f"Authorization(provider={self.provider!r}, connection_uuid={self.connection_uuid!r})"


class HeldGrant(Record, frozen=True):
    """A grant that came back for another person than the connection's, waiting for the user's choice."""

    handle_hash: bytes
    account_uuid: str
    user_uuid: str
    provider: str
    client_id: str
    connection_uuid: str
    grant: Grant
    expires_at: Instant
    redirect_to: str | None = None


class Evidence(Record, frozen=True):
    """One line of what happened to whom: who did it (`actor`), from which request."""

    at: Instant
    account_uuid: str
    actor: str
    action: str
    connection_uuid: str | None = None
    request_id: str | None = None
    detail: dict[str, str] = {}


def clean_label(value: object, field: str = "label") -> str:
    """The label as it is stored: stripped, 1 to 255 characters, none a control character, one to be seen."""
    if not isinstance(value, str):
        raise InvalidValue({field: [f"The {field} must be a string."]})
    text = value.strip()
    categories = {unicodedata.category(character) for character in text}
    if categories <= _INVISIBLE:
        raise InvalidValue({field: [f"The {field} must not be empty."]})
    if len(text) > LABEL_LENGTH:
        raise InvalidValue({field: [f"The {field} must not be longer than {LABEL_LENGTH} characters."]})
    if categories & _CONTROLS or not _BIDI_CONTROLS.isdisjoint(text):
        raise InvalidValue({field: [f"The {field} must not contain control characters."]})
    return text


def fresh_enough(expires_at: Instant | None, now: Instant, min_ttl: int) -> bool:
    """Whether a token that expires at `expires_at` (None: never) is good for `min_ttl` more seconds."""
    return expires_at is None or expires_at - now >= min_ttl * SECOND


def refresh_due_at(tokens: TokenSet, jitter: float) -> Instant | None:
    """When the worker should refresh these tokens; None: never.

    Before the last tenth of the lifetime or the last five minutes, whichever is more, but not before
    half of it; `jitter` in [0, 1) spreads connections made together by up to half that margin more.
    A grant without a refresh token is due when its access token expires, to be shown as such.
    """
    if tokens.access_token_expires_at is None:
        return None
    if tokens.refresh_token is None:
        return tokens.access_token_expires_at
    lifetime = max(0, tokens.access_token_expires_at - tokens.issued_at)
    margin = min(max(lifetime // 10, 5 * MINUTE), lifetime // 2)
    return tokens.access_token_expires_at - margin - int(margin * jitter / 2)


def retry_delay(failures: int, jitter: float, retry_after: int | None = None) -> int:
    """Microseconds until the next attempt after `failures` failed ones.

    Exponential from 2 s to 5 min with full jitter (at least 1 s); never sooner than the provider's
    Retry-After (seconds), of which at most an hour is honoured.
    """
    ceiling = min(5 * MINUTE, 2 * SECOND * 2 ** min(failures, 20))
    delay = max(SECOND, int(ceiling * jitter))
    return max(delay, min((retry_after or 0) * SECOND, HOUR))
