"""What the API puts on the wire, key by key, in the contract's order."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, Meta, UnsetType

from grantkeeper.clock import SECOND, Instant
from grantkeeper.model import Connection, Login, MustAct, Scope, Status, Summary
from grantkeeper.web.provider_definition import DefinitionBody

_UTC_EXAMPLE = "2026-01-16T17:10:23.951021Z"
_ZONE_EXAMPLE = "2026-01-16T13:10:23+00:00"
Uuid = Annotated[str, Meta(examples=["0b96d72c-d9de-40fb-9beb-de30a48c0160"], extra_json_schema={"format": "uuid"})]
ZonedTime = Annotated[
    str,
    Meta(
        description="ISO 8601, whole seconds, with the offset of the configured time zone.",
        examples=[_ZONE_EXAMPLE],
        extra_json_schema={"format": "date-time"},
    ),
]
UtcTime = Annotated[
    str,
    Meta(description="UTC with six decimals.", examples=[_UTC_EXAMPLE], extra_json_schema={"format": "date-time"}),
]
Url = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
StatusWord = Annotated[str, Meta(extra_json_schema={"enum": list(Status)})]
ScopeWord = Annotated[str, Meta(extra_json_schema={"enum": list(Scope)})]
MustActWord = Annotated[
    str, Meta(description="Who must act before it works again.", extra_json_schema={"enum": list(MustAct)})
]


class Provider(msgspec.Struct, frozen=True):
    """A service that can be connected here."""

    name: Annotated[str, Meta(description="The provider's slug.", examples=["fundment"])]
    label: Annotated[str, Meta(description="What people call it.", examples=["Fundment"])]
    logo_url: Url
    authorization_url: Annotated[
        str,
        Meta(description="Opening it in a browser starts a new connection.", extra_json_schema={"format": "uri"}),
    ]


class OfferedProvider(Provider, frozen=True):
    """A service that can be connected here. The last key appears only where `include` asks for it."""

    definition: DefinitionBody | UnsetType = UNSET


class Identity(msgspec.Struct, frozen=True):
    """Whose grant it is at the provider."""

    subject: str | None
    label: str | None


class Health(msgspec.Struct, frozen=True):
    """How the connection fares. Times are UTC."""

    generation: Annotated[int, Meta(description="Token sets stored so far.")]
    refreshable: Annotated[bool, Meta(description="Whether the provider gave a refresh token.")]
    refreshed_at: UtcTime | None
    next_refresh_at: UtcTime | None
    failures: Annotated[int, Meta(description="Attempts that failed since the last good one.")]
    failure: str | None
    must_act: MustActWord


class ConnectionBody(msgspec.Struct, frozen=True):
    """A connection. The last four keys appear only where `include` asks for them."""

    uuid: Uuid
    label: Annotated[str, Meta(description="What the user calls it.", examples=["My Fundment Account 1"])]
    provider: Provider
    created_at: ZonedTime
    updated_at: ZonedTime
    access_token_expires_at: UtcTime | None
    refresh_token_expires_at: UtcTime | None
    refresh_authorization_url: Annotated[
        str,
        Meta(
            description="Opening it in a browser reauthorizes this connection in place.",
            extra_json_schema={"format": "uri"},
        ),
    ]
    status: StatusWord | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    identity: Identity | UnsetType = UNSET
    health: Health | UnsetType = UNSET


class Links(msgspec.Struct, frozen=True):
    """Where the next page is; null on the last one."""

    next: str | None


class PageMeta(msgspec.Struct, frozen=True):
    """How the index was cut."""

    per_page: int
    next_cursor: str | None


class ConnectionList(msgspec.Struct, frozen=True):
    """Connections; `links` and `meta` where there are more, or where `per_page` was given."""

    data: list[ConnectionBody]
    links: Links | UnsetType = UNSET
    meta: PageMeta | UnsetType = UNSET


class ConnectionUpdate(msgspec.Struct, frozen=True):
    """What can be changed of a connection."""

    label: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType = UNSET


class TokenBody(msgspec.Struct, frozen=True):
    """A usable access token."""

    access_token: str
    token_type: Annotated[str, Meta(examples=["Bearer"])]
    expires_at: UtcTime | None
    scopes: list[str]


class RefusedToken(msgspec.Struct, frozen=True):
    """Which token an API answered 401 to. Its hash tells us; the token itself need not be sent."""

    refused_token_sha256: Annotated[
        str,
        Meta(
            description="The SHA-256 of the access token that was refused, in 64 hexadecimal digits.",
            examples=["2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"],
            pattern="^[0-9a-fA-F]{64}$",
        ),
    ]


Nonce = Annotated[str, Meta(description="What the API sent last as `DPoP-Nonce`.")]
TokenHash = Annotated[
    str,
    Meta(
        description="The SHA-256 of the access token that goes with it, in 64 hexadecimal digits; by default the token "
        "that is stored now.",
        pattern="^[0-9a-fA-F]{64}$",
    ),
]


class ProofRequest(msgspec.Struct, frozen=True):
    """The request that a proof is for."""

    method: Annotated[str, Meta(description="The request's method.", examples=["GET"])]
    url: Annotated[
        str,
        Meta(description="The request's URL; query and fragment do not matter.", extra_json_schema={"format": "uri"}),
    ]
    nonce: Nonce | UnsetType | None = UNSET
    access_token_sha256: TokenHash | UnsetType | None = UNSET


class ProofBody(msgspec.Struct, frozen=True):
    """The value of the `DPoP` header."""

    proof: str


class ProviderList(msgspec.Struct, frozen=True):
    """The providers that can be connected here; `links` and `meta` as in a list of connections."""

    data: list[OfferedProvider]
    links: Links | UnsetType = UNSET
    meta: PageMeta | UnsetType = UNSET


class UserBody(msgspec.Struct, frozen=True):
    """A person who signs in."""

    uuid: Uuid
    name: str
    email: str


class AccountBody(msgspec.Struct, frozen=True):
    """A tenant."""

    uuid: Uuid
    name: str


class LoginBody(msgspec.Struct, frozen=True):
    """A user's membership of an account."""

    uuid: Uuid
    created_at: ZonedTime
    user: UserBody
    account: AccountBody


class LoginList(msgspec.Struct, frozen=True):
    """The caller's logins; `links` and `meta` as in a list of connections."""

    data: list[LoginBody]
    links: Links | UnsetType = UNSET
    meta: PageMeta | UnsetType = UNSET


NewTokenScopes = Annotated[list[ScopeWord], Meta(description="By default those of the token that asks.", min_length=1)]
NewTokenExpiry = Annotated[
    str,
    Meta(
        description="ISO 8601 with an offset; by default a year from now.",
        extra_json_schema={"format": "date-time"},
    ),
]


class NewToken(msgspec.Struct, frozen=True):
    """What a personal access token is made from."""

    name: str
    password: str
    account_uuid: Uuid
    scopes: NewTokenScopes | None = None
    expires_at: NewTokenExpiry | None = None


class CreatedToken(msgspec.Struct, frozen=True):
    """A personal access token; `token` is shown this once."""

    uuid: Uuid
    name: str
    token: str
    account_uuid: Uuid
    scopes: list[ScopeWord]
    created_at: ZonedTime
    expires_at: UtcTime | None


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong; `errors` names the fields of a 422."""

    message: str
    errors: dict[str, list[str]] | UnsetType = UNSET


class ReauthorizationBody(msgspec.Struct, frozen=True):
    """The grant is over: send the user to `refresh_authorization_url`."""

    message: str
    refresh_authorization_url: Url


@functools.lru_cache(maxsize=65_536)
def utc_time(instant: Instant | None) -> str | None:
    """`2026-01-16T17:10:23.951021Z`: UTC, six decimals."""
    if instant is None:
        return None
    whole, micro = divmod(instant, SECOND)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{micro:06d}Z"


@functools.lru_cache(maxsize=65_536)
def zoned_time(instant: Instant, zone: ZoneInfo) -> str:
    """`2026-01-16T13:10:23+00:00`: whole seconds with the zone's offset."""
    return datetime.fromtimestamp(instant // SECOND, zone).isoformat()


class Representations:
    """Builds bodies; knows the public URL and the time zone."""

    def __init__(self, public_url: str, timezone: str) -> None:
        self.public_url = public_url
        self._zone = ZoneInfo(timezone)
        self._providers: dict[str, Provider] = {}

    def provider(self, name: str, label: str) -> Provider:
        """A provider as every answer shows it."""
        found = self._providers.get(name)
        if found is None or found.label != label:
            found = self._providers[name] = Provider(
                name, label, f"{self.public_url}/imgs/{name}.svg", f"{self.public_url}/oauth/{name}/authorize"
            )
        return found

    def offered(self, name: str, label: str, definition: DefinitionBody | UnsetType = UNSET) -> OfferedProvider:
        """A provider that can be connected here, with what the catalogue knows of it where that is asked for."""
        shown = self.provider(name, label)
        return OfferedProvider(shown.name, shown.label, shown.logo_url, shown.authorization_url, definition)

    def connection(self, connection: Summary, label: str, include: frozenset[str]) -> ConnectionBody:
        """A connection, with what `include` asks for, which a summary does not have; `label` is its provider's."""
        provider = self.provider(connection.provider, label)
        extra = {name: getattr(self, f"_{name}")(connection) for name in include} if include else {}
        return ConnectionBody(
            connection.uuid,
            connection.label,
            provider,
            zoned_time(connection.created_at, self._zone),
            zoned_time(connection.updated_at, self._zone),
            utc_time(connection.access_token_expires_at),
            utc_time(connection.refresh_token_expires_at),
            f"{provider.authorization_url}/{connection.uuid}",
            **extra,
        )

    def login(self, login: Login) -> LoginBody:
        """A membership with its user and its account."""
        return LoginBody(
            login.uuid,
            zoned_time(login.created_at, self._zone),
            UserBody(login.user.uuid, login.user.name, login.user.email),
            AccountBody(login.account.uuid, login.account.name),
        )

    def zoned(self, instant: Instant) -> str:
        """A time in the configured zone."""
        return zoned_time(instant, self._zone)

    def _status(self, connection: Connection) -> str:
        return connection.status.value

    def _scopes(self, connection: Connection) -> list[str]:
        return list(connection.scopes)

    def _identity(self, connection: Connection) -> Identity:
        return Identity(connection.subject, connection.identity)

    def _health(self, connection: Connection) -> Health:
        return Health(
            connection.generation,
            connection.refreshable,
            utc_time(connection.refreshed_at),
            utc_time(connection.next_refresh_at),
            connection.failures,
            connection.failure,
            connection.must_act.value,
        )
