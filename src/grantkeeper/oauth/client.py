"""Our registration at one provider, with every endpoint and habit of that provider resolved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from grantkeeper.model import Record
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.terms import (
    AssertionAudience,
    AssertionIssuer,
    AssertionSubject,
    ClientAuthentication,
    ErrorMeaning,
    Expiry,
    GrantType,
    IdentityOrigin,
    LoginHint,
    ProofAlgorithm,
    RevocationStyle,
    SenderConstraint,
    SigningAlgorithm,
    TokenKind,
    TokenPlace,
    ValueType,
)
from grantkeeper.urls import fill, fits, meant, placeholders

BY_CERTIFICATE = ("tls_client_auth", "self_signed_tls_client_auth")
"""The methods by which TLS proves who we are (RFC 8705 §2)."""


class Asked(Record, frozen=True):
    """A value that the user gives for each connection; `choices`: the values there are, with what people call them."""

    name: str
    label: str
    pattern: str
    type: ValueType = "text"
    help: str | None = None
    choices: dict[str, str] = {}
    default: str | None = None
    example: str | None = None

    def accepts(self, value: str) -> bool:
        """Whether this may be the value."""
        return value in self.choices if self.choices else re.fullmatch(self.pattern, value) is not None


class CalledBack(Record, frozen=True):
    """A value that the callback brings, and that is kept with the connection."""

    name: str
    parameter: str
    pattern: str
    required: bool = True


class TokenResponsePaths(Record, frozen=True):
    """Where a token response carries what; dotted paths into the JSON, RFC 6749 §5.1 by default.

    The default lifetimes (seconds) hold where the answer gives none, and the access token does not either.
    """

    access_token: str = "access_token"
    refresh_token: str = "refresh_token"
    token_type: str = "token_type"
    expires_in: str = "expires_in"
    expires: Expiry = "seconds"
    keep: dict[str, str] = {}
    refresh_expires_in: str | None = None
    scope: str = "scope"
    error: str = "error"
    error_description: str = "error_description"
    ok: str | None = None
    default_lifetime: int | None = None
    refresh_default_lifetime: int | None = None
    scope_separator: str = " "


class RefreshRequest(Record, frozen=True):
    """How the next token set is asked for (RFC 6749 §6), in what may differ from other token requests.

    `url` None: at the token endpoint; `authentication` None: as there.
    """

    url: str | None = None
    method: Literal["POST", "GET"] = "POST"
    authentication: ClientAuthentication | None = None
    grant_type: str = "refresh_token"
    token_parameter: str = "refresh_token"


class IdentitySource(Record, frozen=True):
    """Where the connected person or organisation can be read, and by which dotted paths."""

    source: IdentityOrigin = "none"
    url: str | None = None
    subject: str = "sub"
    label: str | None = None
    tenant: str | None = None
    headers: dict[str, str] = {}
    method: Literal["GET", "POST"] = "GET"
    body: str | None = None
    token: TokenPlace = "header"


class AssertionPolicy(Record, frozen=True):
    """What we state in place of a person's consent (RFC 7523 §2.1)."""

    subject: AssertionSubject = "client_id"
    audience: str | None = None
    claims: dict[str, str] = {}


class ExchangePolicy(Record, frozen=True):
    """Whose connections' tokens are exchanged, and for what (RFC 8693 §2.1)."""

    source: str
    subject_token_type: str
    audience: str | None = None
    requested_token_type: str | None = None


_URLS = (
    "authorization_url",
    "token_url",
    "revocation_url",
    "pushed_url",
    "device_url",
    "jwks_url",
    "issuer",
)
_WITH_URL = ("refresh", "first_exchange", "identity")
"""The members that have a URL of their own."""


class Client(Record, frozen=True):
    """A provider as this service talks to it. Durations are seconds. Its `repr` shows no secret.

    `first_exchange`: how the first access token is exchanged at once for one that lives longer, where it must be.
    `together`: the providers whose token sets come with this one's. `templates`: the URLs as they were before they
    were filled, where they have been.
    """

    name: str
    label: str
    client_id: str
    redirect_uri: str
    authorization_url: str
    token_url: str
    grant: GrantType = "authorization_code"
    client_secret: str | None = None
    together: tuple[str, ...] = ()
    asked: tuple[Asked, ...] = ()
    called_back: tuple[CalledBack, ...] = ()
    authorization_parameters: dict[str, str] = {}
    authorization_renames: dict[str, str] = {}
    pkce: bool = True
    scope_parameter: str = "scope"
    code_parameter: str = "code"
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    offline_scopes: tuple[str, ...] = ()
    scope_aliases: dict[str, str] = {}
    issuer: str | None = None
    issuer_in_response: bool = False
    pushed_url: str | None = None
    signed_request: bool = False
    signed_response: bool = False
    max_age: int | None = None
    login_hint: LoginHint = "none"
    claims: dict[str, Any] = {}
    details: tuple[dict[str, Any], ...] = ()
    resources: tuple[str, ...] = ()
    device_url: str | None = None
    jwks_url: str | None = None
    signature_algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    authentication: ClientAuthentication = "client_secret_basic"
    signing_algorithm: SigningAlgorithm = "ES256"
    assertion_audience: AssertionAudience = "issuer"
    assertion_issuer: AssertionIssuer = "client_id"
    certificate: str = "default"
    sender_constrained: SenderConstraint = "no"
    dpop_algorithm: ProofAlgorithm = "ES256"
    assertion: AssertionPolicy = AssertionPolicy()
    exchange: ExchangePolicy | None = None
    json_body: bool = False
    token_method: Literal["POST", "GET"] = "POST"
    token_renames: dict[str, str] = {}
    token_parameters: dict[str, str] = {}
    token_headers: dict[str, str] = {}
    response: TokenResponsePaths = TokenResponsePaths()
    refresh_response: TokenResponsePaths = TokenResponsePaths()
    refresh_supported: bool = True
    refresh_sends_scope: bool = False
    refresh_sends_redirect_uri: bool = False
    refresh_style: TokenKind = "refresh_token"
    refresh: RefreshRequest = RefreshRequest()
    first_exchange: RefreshRequest | None = None
    refresh_parameters: dict[str, str] = {}
    refresh_policy: RefreshPolicy = RefreshPolicy()
    error_meanings: dict[str, ErrorMeaning] = {}
    error_description_meanings: dict[str, ErrorMeaning] = {}
    revocation_url: str | None = None
    revocation_style: RevocationStyle = "none"
    revocation_authentication: ClientAuthentication = "client_secret_basic"
    revocation_token: TokenKind = "refresh_token"
    revocation_renames: dict[str, str] = {}
    identity: IdentitySource = IdentitySource()
    templates: tuple[str, ...] = ()
    token_header: str = "authorization"
    token_scheme: str = "Bearer"

    def __repr__(self) -> str:
        return f"Client(name={self.name!r}, client_id={self.client_id!r})"

    @property
    def asks_person(self) -> bool:
        """Whether a person consents at the provider; else it knows us, and gives access to us ourselves."""
        return self.grant in ("authorization_code", "device_code")

    @property
    def openid(self) -> bool:
        """Whether an ID token is asked for (OpenID Connect Core §3.1.2.1)."""
        return "openid" in self.scopes

    def asking_for(self, others: Iterable[Client]) -> Client:
        """The client that asks for the others' scopes as well, each by its own parameter."""
        asked = {
            other.scope_parameter: other.scope_separator.join(other.scopes)
            for other in others
            if other.scopes and other.scope_parameter != self.scope_parameter
        }
        return msgspec.structs.replace(self, authorization_parameters={**self.authorization_parameters, **asked})

    def filled(self, values: Mapping[str, str]) -> Client:
        """The client of one connection: its placeholders filled with what is kept with that, where it fits."""
        if not values:
            return self
        found: dict[str, Any] = {"templates": self.templates or tuple(self._urls())} | {
            name: _filled(url, values) for name in _URLS if (url := getattr(self, name)) and "{" in url
        }
        for name in ("authorization_parameters", "token_parameters"):
            if any("{" in value for value in getattr(self, name).values()):
                found[name] = {key: fill(value, values) for key, value in getattr(self, name).items()}
        for name in _WITH_URL:
            part: IdentitySource | RefreshRequest | None = getattr(self, name)
            if part is not None and part.url is not None and "{" in part.url:
                found[name] = msgspec.structs.replace(part, url=_filled(part.url, values))
        return msgspec.structs.replace(self, **found)

    def meant(self, asked: Asked, value: str) -> str:
        """What a person means who may have pasted a whole address (`urls.meant`)."""
        return meant(asked.type, asked.name, value, self.templates or self._urls())

    def fits(self, name: str, value: str) -> bool:
        """Whether a value from outside may fill the placeholder of that name, wherever a URL has it."""
        return all(fits(url, name, value) for url in self.templates or self._urls())

    @property
    def open_placeholders(self) -> frozenset[str]:
        """The names for which a URL still wants a value."""
        return frozenset(name for url in self._urls() for name in placeholders(url))

    def _urls(self) -> list[str]:
        urls = [getattr(self, name) for name in _URLS]
        parts = [getattr(self, name) for name in _WITH_URL]
        return [url for url in (*urls, *(part.url for part in parts if part is not None)) if url]

    def not_granted(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """What is asked for and not among these (RFC 6749 §3.3); scopes for refresh tokens some never list."""
        granted = set(scopes)
        return tuple(
            scope
            for scope in self.scopes
            if not {scope, self.scope_aliases.get(scope, scope)} & granted and scope not in self.offline_scopes
        )

    @property
    def id_token_required(self) -> bool:
        """Whether an answer without an ID token is refused: it was asked for, and the server's keys are known."""
        return self.openid and self.jwks_url is not None

    @property
    def pushes(self) -> bool:
        """Whether authorization requests are pushed (RFC 9126)."""
        return self.pushed_url is not None

    @property
    def shows_certificate(self) -> bool:
        """Whether requests to the provider show a certificate of ours (RFC 8705)."""
        return self.authentication in BY_CERTIFICATE or self.sender_constrained == "certificate"

    @property
    def audience(self) -> str:
        """Whom our assertions are for (RFC 7523 §3; FAPI 2.0 §5.3.3.1 wants the issuer)."""
        return self.issuer if self.assertion_audience == "issuer" and self.issuer else self.token_url

    @property
    def assertion_speaker(self) -> str:
        """Who our assertions say speaks: us by our client id (RFC 7523 §3), or by the host of our redirect URI."""
        if self.assertion_issuer == "redirect_host":
            return urlsplit(self.redirect_uri).hostname or self.client_id
        return self.client_id


def _filled(url: str, values: Mapping[str, str]) -> str:
    """The URL with its placeholders filled; a value that would lead elsewhere is left out, and the URL is none then."""
    return fill(url, {name: value for name, value in values.items() if fits(url, name, value)})
