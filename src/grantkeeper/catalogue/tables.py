"""The tables of a provider definition. Every field's description is its documentation (docs/providers.md).

Durations are seconds. A path is dotted (`authed_user.access_token`); digits in it index a list.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from grantkeeper.catalogue.values import (
    AssertionClaims,
    AuthorizationParameters,
    Claims,
    Detail,
    HeaderName,
    Headers,
    HostPattern,
    HttpStatus,
    IssuerTemplate,
    JsonText,
    PageUrl,
    ParameterName,
    Path,
    PathOrNothing,
    RefreshParameters,
    Renames,
    ScopeToken,
    Seconds,
    Slug,
    Text,
    TokenParameters,
    UrlTemplate,
    Words,
)
from grantkeeper.terms import (
    AssertionAudience,
    AssertionIssuer,
    AssertionSubject,
    ClientAuthentication,
    ErrorMeaning,
    Expiry,
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
from grantkeeper.urls import VALUE_PATTERNS, VALUE_WORDS


class Table(BaseModel):
    """A TOML table: unknown keys are errors, types are not bent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Verification(Table):
    """What this definition was checked against, and when."""

    basis: Literal["documentation", "libraries", "operator", "product"] = Field(
        description="`documentation`: the provider's own; `libraries`: only other software agrees on it; "
        "`operator`: you give the endpoints; `product`: ships with Grantkeeper."
    )
    page: PageUrl | None = Field(None, description="The page it was checked against.")
    date: datetime.date = Field(description="The day of that check.")


class Pattern(Table):
    """What a value must be that goes into a URL."""

    pattern: str | None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        return value

    @property
    def expression(self) -> str:
        """The regular expression that holds."""
        return self.pattern or ""

    def accepts(self, value: str) -> bool:
        """Whether this may be the value."""
        return re.fullmatch(self.expression, value) is not None


class Parameter(Pattern):
    """A value for a placeholder in this definition's URLs."""

    type: ValueType = Field(
        "text",
        description="What kind of value it is: "
        + "; ".join(f"`{kind}`: {words}" for kind, words in VALUE_WORDS.items())
        + ". Whoever pastes a whole address where a subdomain, a host or a server is wanted is understood.",
    )
    pattern: str | None = Field(
        None,
        description="The regular expression that a value matches as a whole, in place of its type's. It goes into a "
        "URL: keep it narrow.",
    )
    label: Text = Field(description="What it is called.")
    help: Text | None = Field(None, description="Where it is found.")
    ask: Literal["operator", "connection"] = Field(
        "operator",
        description="Who gives it: the operator once, in the settings, or the user for each connection, with which it "
        "is kept.",
    )
    choices: dict[Text, Text] = Field(
        default_factory=dict, description="The values there are, each with what people call it; in place of `pattern`."
    )
    default: str | None = Field(None, description="The value where none is given.")
    example: str | None = Field(None, description="A value as it might look.")

    @field_validator("default", "example")
    @classmethod
    def _fits(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind, pattern, choices = (info.data.get(name) for name in ("type", "pattern", "choices"))
        if value is None or (choices and value in choices):
            return value
        if choices:
            raise ValueError("is none of the choices")
        if kind is not None and not re.fullmatch(pattern or VALUE_PATTERNS[kind], value):
            raise ValueError("does not match the pattern" if pattern else f"must be {VALUE_WORDS[kind]}")
        return value

    @property
    def expression(self) -> str:
        """The regular expression that holds where there are no choices: its own, or that of its type."""
        return self.pattern or VALUE_PATTERNS[self.type]

    @property
    def wanted(self) -> str:
        """In words, what it must be, where no pattern of its own says more."""
        return "" if self.pattern or self.choices else VALUE_WORDS[self.type]

    def accepts(self, value: str) -> bool:
        """Whether this may be the parameter's value."""
        return value in self.choices if self.choices else super().accepts(value)


class CallbackValue(Pattern):
    """A parameter of the callback that is kept with the connection, and fills a placeholder."""

    pattern: str = Field(description="The regular expression that it matches as a whole; else it is refused.")
    parameter: Text | None = Field(None, description="What the callback calls it, if not by this table's name.")
    required: bool = Field(True, description="Whether a callback without it is refused.")


class AuthorizationEndpoint(Table):
    """Where the browser is sent (RFC 6749 §3.1)."""

    url: UrlTemplate | None = Field(
        None, description="The authorization endpoint. Required, unless `operator_supplied` or `discovery`."
    )
    parameters: AuthorizationParameters = Field(
        default_factory=dict,
        description="Further parameters of every authorization request; the values may hold placeholders.",
    )
    pkce: Literal["S256", "none"] = Field("S256", description="`none` only where the provider refuses it (RFC 7636).")
    scope_parameter: Text = Field("scope", description="The parameter that carries the scopes.")
    code_parameter: Text = Field("code", description="The parameter of the callback that carries the code.")
    redirect_uri: Text | None = Field(
        None,
        description="What is sent as `redirect_uri` where that is not the address itself, but a name that the provider "
        "has for it; may hold placeholders.",
    )
    rename: Renames = Field(
        default_factory=dict,
        description="What the provider calls a parameter that the standards call otherwise, such as "
        '`client_id = "client_key"`; empty: it is left out.',
    )
    issuer: IssuerTemplate | None = Field(
        None,
        description="The authorization server's issuer (RFC 8414 §2). An `iss` that comes back, or stands "
        "in an ID token, must equal it.",
    )
    issuer_in_response: bool = Field(
        False,
        description="The server announces `authorization_response_iss_parameter_supported` (RFC 9207): an "
        "answer without `iss` is refused.",
    )
    pushed: bool = Field(
        False, description="Requests are pushed to the server, and the browser carries only their name (RFC 9126)."
    )
    pushed_url: UrlTemplate | None = Field(None, description="The pushed authorization request endpoint.")
    signed_request: bool = Field(
        False, description="Requests are signed with a key of ours (RFC 9101), by `token.signing_algorithm`."
    )
    signed_response: bool = Field(
        False, description="Responses come signed by the server (JARM, `response_mode=jwt`); a plain one is refused."
    )
    max_age: Annotated[int, Field(ge=0)] | None = Field(
        None, description="The most seconds since the person signed in (OpenID Connect Core §3.1.2.1)."
    )
    login_hint: LoginHint = Field(
        "none", description="What the server is told, when a connection is authorized again, of who is expected."
    )
    claims: Claims = Field(
        default_factory=dict,
        description="Single claims to ask for (OpenID Connect Core §5.5), in the tables `id_token` and `userinfo`; an "
        "empty table, such as `email = {}`, asks for one without more.",
    )
    details: tuple[Detail, ...] = Field(
        (), strict=False, description="What is asked for in detail (RFC 9396), each a table with its `type`."
    )


class Scopes(Table):
    """What is asked for (RFC 6749 §3.3)."""

    default: Words = Field((), description="Asked for where the operator's settings name no scopes.")
    separator: Literal[" ", ",", ";"] = Field(" ", description="What stands between scopes in requests.")
    offline: Words = Field((), description="Needed for a refresh token; always asked for.")
    meaning: dict[ScopeToken, Text] = Field(default_factory=dict, description="What a scope allows, in plain words.")
    aliases: dict[ScopeToken, ScopeToken] = Field(
        default_factory=dict, description="What answers call a scope that they call differently."
    )

    def requested(self, chosen: Sequence[str] | None = None) -> tuple[str, ...]:
        """The scopes to ask for: the chosen ones or the default, and those that a refresh token needs."""
        wanted = self.default if chosen is None else tuple(chosen)
        return tuple(dict.fromkeys((*wanted, *self.offline)))


class TokenResponsePaths(Table):
    """Where a token response carries what, and what holds where it is silent (RFC 6749 §5.1)."""

    access_token: Path = Field("access_token", description="Path of the access token.")
    refresh_token: Path = Field("refresh_token", description="Path of the refresh token.")
    expires_in: Path = Field(
        "expires_in",
        description="Path of the access token's lifetime in seconds. Where an answer has none, the `exp` of an access "
        "token that is a JWT holds, then `default_lifetime`.",
    )
    scope: Path = Field("scope", description="Path of the granted scopes: a text or a list.")
    token_type: PathOrNothing = Field(
        "token_type",
        description="Path of the token's type; empty where what stands there is none: it is `Bearer` then.",
    )
    error: Path = Field("error", description="Path of the error code.")
    error_description: Path = Field("error_description", description="Path of the text that comes with it.")
    ok: Path | None = Field(
        None, description="Path of a flag that is false in an error, where errors come with HTTP 200."
    )
    expires: Expiry = Field(
        "seconds",
        description="What stands at `expires_in` and `refresh_lifetime`: a lifetime in seconds or milliseconds, or the "
        "end itself as Unix time (`at_seconds`, `at_milliseconds`) or in ISO 8601 (`at_iso`).",
    )
    refresh_lifetime: Path | None = Field(None, description="Path of the refresh token's lifetime, likewise.")
    keep: dict[ParameterName, Path] = Field(
        default_factory=dict,
        description="Members that are kept with the connection, each under the name of the placeholder that it fills.",
    )
    default_lifetime: Seconds | None = Field(
        None,
        description="The access token's lifetime where neither the answer nor the token itself (a JWT's `exp`, "
        "RFC 9068 §2.2) gives one; left out: it does not expire then.",
    )
    refresh_default_lifetime: Seconds | None = Field(
        None, description="The lifetime of a new refresh token where the answer gives none."
    )
    scope_separator: Literal[" ", ",", ";"] | None = Field(
        None, description="What stands between scopes in answers, where it is not `scopes.separator`."
    )


class TokenEndpoint(Table):
    """Where a code becomes tokens (RFC 6749 §3.2)."""

    url: UrlTemplate | None = Field(None, description="The token endpoint. Required, likewise.")
    client_authentication: ClientAuthentication = Field(
        "client_secret_basic",
        description="How the client proves itself: with its secret (RFC 6749 §2.3.1), a JWT signed with the secret or "
        "with a key of ours (`grantkeeper keys`), or a certificate (RFC 8705).",
    )
    signing_algorithm: SigningAlgorithm = Field("ES256", description="What signs our assertions and signed requests.")
    assertion_audience: AssertionAudience = Field(
        "issuer",
        description="Whom our assertions name as their audience: the issuer, as FAPI 2.0 wants, or the token endpoint.",
    )
    assertion_issuer: AssertionIssuer = Field(
        "client_id",
        description="Who our client assertions say speaks: the client, as RFC 7523 §3 wants, or the host of its "
        "redirect URI.",
    )
    sender_constrained: SenderConstraint = Field(
        "no",
        description="Tokens are bound to a key of the connection (`dpop`, RFC 9449) or to our certificate (RFC 8705 "
        "§3): a stolen one is worth nothing.",
    )
    dpop_algorithm: ProofAlgorithm = Field("ES256", description="What signs DPoP proofs.")
    encoding: Literal["form", "json"] = Field("form", description="How the request's body is written.")
    method: Literal["POST", "GET"] = Field(
        "POST", description="`GET` only where the provider wants the parameters in the URL."
    )
    rename: Renames = Field(
        default_factory=dict,
        description="What the provider calls a parameter of token requests that the standards call otherwise; empty: "
        "it is left out.",
    )
    parameters: TokenParameters = Field(
        default_factory=dict, description="Further parameters of every token request, likewise."
    )
    headers: Headers = Field(default_factory=dict, description="Further headers of every token request.")
    response: TokenResponsePaths = Field(
        default_factory=TokenResponsePaths, description="How the answer is to be read."
    )


class FirstExchange(Table):
    """How the first access token becomes one that lives longer, in what differs from later refreshes."""

    url: UrlTemplate | None = Field(None, description="Where it is exchanged.")
    grant_type: Text | None = Field(None, description="The grant type of that exchange.")
    token_parameter: Text | None = Field(None, description="The parameter that carries the first token.")
    client_authentication: ClientAuthentication | None = Field(None, description="How the client proves itself there.")


class Refresh(Table):
    """How the next token set is had (RFC 6749 §6)."""

    supported: bool = Field(True, description="Whether refresh tokens exist here at all.")
    send_scope: bool = Field(False, description="Whether a refresh repeats the granted scopes.")
    send_redirect_uri: bool = Field(False, description="Whether a refresh repeats the redirect URI.")
    rotates: Literal[True, False, "sometimes"] = Field(
        "sometimes",
        description="Whether a refresh spends the refresh token and brings another (RFC 9700 §4.14.2).",
    )
    url: UrlTemplate | None = Field(None, description="Where to refresh, if not at the token endpoint.")
    method: Literal["POST", "GET"] | None = Field(None, description="The method there; left out: as `token.method`.")
    client_authentication: ClientAuthentication | None = Field(
        None, description="How the client proves itself there; left out: as at the token endpoint."
    )
    when: Literal["ahead", "on_demand"] = Field(
        "ahead",
        description="`ahead`: before the access token expires, while the connection is in use; `on_demand`: when "
        "somebody wants a token and it has expired, for providers that count or charge refreshes.",
    )
    idle_lifetime: Seconds | None = Field(
        None,
        description="Unused for this long, the refresh token dies: an idle connection is refreshed when two thirds of "
        "it are over.",
    )
    keep_alive: Seconds | None = Field(
        None,
        description="An idle connection is refreshed after this long, in place of what follows from the refresh "
        "token's life.",
    )
    not_before: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="How many seconds before the access token's end the provider begins to let it be refreshed; left "
        "out: at any time.",
    )
    concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        20, description="Refreshes under way at one time, over all processes."
    )
    per_minute: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Refreshes begun in a minute, over all processes; left out: no limit."
    )
    style: TokenKind = Field(
        "refresh_token",
        description="`access_token`: there are no refresh tokens; the access token itself is exchanged for a later one "
        "before it expires.",
    )
    grant_type: Text = Field("refresh_token", description="The grant type of a refresh.")
    token_parameter: Text = Field("refresh_token", description="The parameter that carries the token.")
    at_once: bool = Field(
        False,
        description='With `style = "access_token"`: the first access token is short-lived, and exchanged directly '
        "after connecting.",
    )
    first: FirstExchange = Field(
        default_factory=FirstExchange,
        description="With `at_once`: how that first exchange is asked for, where not as later ones.",
    )
    parameters: RefreshParameters = Field(default_factory=dict, description="Further parameters of a refresh.")
    most_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="How many refresh tokens of one person and client live at one time; one more ends the first."
    )
    grace: Seconds | None = Field(None, description="How long a refresh token that was spent still works.")
    errors: dict[Text, ErrorMeaning] = Field(
        default_factory=dict,
        description="Error codes of the token endpoint that RFC 6749 does not know, or means differently: "
        "`grant` (the user must authorize again), `client` (the operator must act: refreshing pauses for all "
        "connections of the provider), `transient` (retried).",
    )
    error_descriptions: dict[Text, ErrorMeaning] = Field(
        default_factory=dict,
        description="The same for texts at `token.response.error_description` (capitals or not), where the code alone "
        "says too little; they count before the codes.",
    )
    response: TokenResponsePaths | None = Field(
        None, description="How the answer to a refresh is to be read, where it differs from `token.response`."
    )


class Revocation(Table):
    """How a grant is ended at the provider."""

    style: RevocationStyle = Field(
        "none",
        description="`rfc7009`: POST `token` and `token_type_hint` as a form; `json`: the same as JSON; `bearer`: POST "
        "with the token as `Authorization: Bearer`; `delete_bearer`: DELETE with it; `delete_json`: DELETE with the "
        'JSON body `{"access_token": …}`; `none`: there is no way.',
    )
    url: UrlTemplate | None = Field(
        None, description="The revocation endpoint; may hold `{client_id}` besides the parameters."
    )
    token: TokenKind = Field(
        "refresh_token",
        description="Which token to hand in; the access token where there is no refresh token.",
    )
    client_authentication: ClientAuthentication | None = Field(
        None, description="How the client proves itself there; left out: as at the token endpoint."
    )
    rename: Renames = Field(
        default_factory=dict,
        description="What the provider calls a parameter of revocations that the standards call otherwise; empty: it "
        "is left out.",
    )


class Identity(Table):
    """Whose grant it is: compared when a connection is authorized again, and shown beside its label."""

    source: IdentityOrigin = Field(
        "none",
        description="`userinfo`: GET `url` with the access token; `id_token`: its claims (ask for the scope "
        "`openid`); `token_response`: members of the first token response.",
    )
    url: UrlTemplate | None = Field(None, description="Where to ask, for `userinfo`; answers with a JSON object.")
    subject: Path = Field("sub", description="Path of what never changes about the account.")
    label: Path | None = Field(None, description="Path of what a person recognises it by.")
    tenant: Path | None = Field(None, description="Path of the organisation, shown with the label.")
    headers: Headers = Field(
        default_factory=dict,
        description="Further headers of the `userinfo` request; `{client_id}` stands for the client id.",
    )
    method: Literal["GET", "POST"] = Field("GET", description="The method of the `userinfo` request.")
    body: JsonText | None = Field(None, description="The JSON body of a POST, such as a GraphQL query.")
    token: TokenPlace = Field(
        "header", description="Where the access token goes: into the header, or as `access_token` into the query."
    )


class Signatures(Table):
    """What the server signs: ID tokens (OpenID Connect Core §3.1.3.7) and signed responses (JARM)."""

    jwks_url: UrlTemplate | None = Field(
        None,
        description="Where its public keys are. Without them the TLS of the token endpoint stands for an ID token's "
        "signature.",
    )
    algorithms: Annotated[tuple[SigningAlgorithm, ...], Field(strict=False, min_length=1)] = Field(
        ("RS256", "PS256", "ES256", "EdDSA"), description="The algorithms that are accepted."
    )


class Device(Table):
    """Where a connection without a browser of its own begins (RFC 8628)."""

    url: UrlTemplate | None = Field(None, description="The device authorization endpoint.")


class Assertion(Table):
    """The signed statement that stands in for a person's consent (`grant = "jwt_bearer"`, RFC 7523 §2.1)."""

    subject: AssertionSubject = Field(
        "client_id", description="Whose access is asked for: the client's own, or that of whom the user names."
    )
    audience: Text | None = Field(None, description="Its audience; left out: as `token.assertion_audience` says.")
    claims: AssertionClaims = Field(default_factory=dict, description="Further claims.")


class Exchange(Table):
    """The token that is exchanged for another (`grant = "token_exchange"`, RFC 8693)."""

    source: Slug | None = Field(None, description="The provider whose connections' access tokens are exchanged.")
    audience: Text | None = Field(None, description="The service that the new token is for (§2.1).")
    subject_token_type: Text = Field(
        "urn:ietf:params:oauth:token-type:access_token", description="What the token that is handed in is (§3)."
    )
    requested_token_type: Text | None = Field(None, description="What is wanted in return (§3).")


class Introspection(Table):
    """Where tokens can be looked at (RFC 7662)."""

    url: UrlTemplate | None = Field(None, description="The introspection endpoint.")


class RateLimit(Table):
    """The headers in which the API says how much may yet be asked."""

    limit: HeaderName | None = Field(None, description="How many requests a window allows.")
    remaining: HeaderName | None = Field(None, description="How many are left of them.")
    reset: HeaderName | None = Field(None, description="When the next window begins.")


class Api(Table):
    """The provider's API: for those who call it with the tokens that are read here."""

    base_url: UrlTemplate | None = Field(None, description="Where its paths begin.")
    hosts: Annotated[tuple[HostPattern, ...], Field(strict=False)] = Field(
        (), description="The hosts that the token may be sent to; `*.` stands for any name before the rest."
    )
    header: HeaderName = Field(
        "Authorization", description="The header that carries the token, also in the `userinfo` request."
    )
    scheme: str = Field("Bearer", description="What stands before the token in that header; empty: nothing.")
    expired: Annotated[tuple[HttpStatus, ...], Field(strict=False, min_length=1)] = Field(
        (401,), description="The statuses by which the API says that the token is not good any more."
    )
    docs_url: PageUrl | None = Field(None, description="The documentation of the API.")
    rate_limit: RateLimit = Field(default_factory=RateLimit, description="Headers about limits.")


def nested_table(annotation: Any) -> tuple[type[Table], bool] | None:
    """The table that a field holds, and whether by names of the author's (`[parameters.NAME]`)."""
    if isinstance(annotation, type):
        return (annotation, False) if issubclass(annotation, Table) else None
    arguments = getattr(annotation, "__args__", ())
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, Table):
            return argument, getattr(annotation, "__origin__", None) is dict
    return None
