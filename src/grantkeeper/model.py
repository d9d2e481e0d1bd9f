"""Domain types and pure decisions: no I/O, no clock of their own, no framework.

An `Instant` is an integer of microseconds since the epoch (see `clock`).
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Literal

import msgspec

from grantkeeper.clock import Instant
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


class Renewal(Record, frozen=True):
    """How the next token set is had where there is no refresh token: the same grant, asked for again.

    `access_token`: the access token itself is exchanged for a later one, as some providers want it.

    `subject`: of whom a JWT bearer assertion speaks (None: of us); `source_uuid`: the connection whose access
    token is exchanged. `first`: the access token is the one that came for the code, and does not live long.
    """

    grant: Literal["client_credentials", "jwt_bearer", "token_exchange", "access_token"]
    subject: str | None = None
    source_uuid: str | None = None
    first: bool = False


class TokenSet(Record, frozen=True):
    """What the provider gave last (RFC 6749 §5.1). Its `repr` shows neither token nor key.

    `dpop_key`: the private JWK, as JSON, to which the tokens are bound (RFC 9449 §5). `parameters`: what fills the
    placeholders of the provider's URLs for this grant, such as a shop's name.
    """

    access_token: str
    token_type: str
    refresh_token: str | None = None
    access_token_expires_at: Instant | None = None
    refresh_token_expires_at: Instant | None = None
    issued_at: Instant = 0
    dpop_key: str | None = None
    renewal: Renewal | None = None
    parameters: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"TokenSet(expires_at={self.access_token_expires_at}, renewable={self.renewable})"

    @property
    def renewable(self) -> bool:
        """Whether the next token set can be had without a person."""
        return self.refresh_token is not None or self.renewal is not None


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


def granted(connection: Connection, tokens: TokenSet) -> Grant:
    """What a connection holds, with its token set: what an answer leaves out stays as it is there."""
    return Grant(tokens=tokens, scopes=connection.scopes, subject=connection.subject, identity=connection.identity)


class Lease(Record, frozen=True):
    """The time-limited right to refresh one connection; `fence` grows with every lease given."""

    connection_uuid: str
    owner: str
    fence: int
    expires_at: Instant


class Claim(Record, frozen=True):
    """A connection whose lease we hold, with its token sets still sealed.

    `unsettled_at`: an attempt of `unsettled_owner` ended without word, so that the provider may have spent
    the refresh token. `previous_spare`: the previous token set is not known to have been spent. `issued_at`:
    when the stored one was asked for. `probes`: set where the provider is blocked and this one refresh finds out
    whether it still has to be, as so many before it did.
    """

    lease: Lease
    connection: Connection
    sealed_tokens: bytes
    sealed_previous: bytes | None = None
    previous_spare: bool = False
    unsettled_at: Instant | None = None
    unsettled_owner: str | None = None
    used_at: Instant = 0
    issued_at: Instant = 0
    probes: int | None = None

    def __repr__(self) -> str:
        return f"Claim({self.lease!r})"


class Blocked(Record, frozen=True):
    """A provider that is left alone until `until`, when one refresh tries it; `probes` have failed so far."""

    until: Instant
    must_act: MustAct
    reason: str
    probes: int = 0


class Refresh(Record, frozen=True):
    """One line of a connection's refresh history; `duration` in microseconds.

    `generation` is the one that was refreshed, `owner` the process that did it.
    """

    at: Instant
    connection_uuid: str
    account_uuid: str
    provider: str
    outcome: str
    generation: int
    owner: str
    duration: int = 0
    must_act: MustAct = MustAct.NOBODY
    reason: str | None = None


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


class DeviceCode(Record, frozen=True):
    """What a device authorization endpoint gave (RFC 8628 §3.2). Its `repr` shows no code.

    `interval`: seconds between two polls.
    """

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None = None
    interval: int = 5

    def __repr__(self) -> str:
        return f"DeviceCode(verification_uri={self.verification_uri!r})"


class AttemptSecrets(Record, frozen=True):
    """What only we may know of an attempt in flight. Its `repr` shows none of it."""

    code_verifier: str | None = None
    nonce: str | None = None
    dpop_key: str | None = None
    device: DeviceCode | None = None
    parameters: dict[str, str] = {}

    def __repr__(self) -> str:
        return "AttemptSecrets()"


class Authorization(Record, frozen=True):
    """One in-flight, single-use attempt (RFC 6749 §4.1, RFC 8628).

    `state_hash`: of the state, or of the handle that a device authorization has here. `connection_uuid` is set
    when an existing connection is authorized again; `browser_hash` binds the attempt to the browser that began it.
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
    secrets: AttemptSecrets = AttemptSecrets()
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
