"""How the fake provider differs from the standards, as real providers do: all of it off until switched on."""

from __future__ import annotations

from typing import Literal

import msgspec

Expiry = Literal["seconds", "milliseconds", "at_seconds", "at_milliseconds", "at_iso"]
"""How an answer states when a token ends: RFC 6749's way is `seconds`."""


class Quirks(msgspec.Struct, kw_only=True):
    """Habits of one provider. Each may be changed at any time, and they go together. Durations are seconds.

    A path is dotted (`data.access_token`); `@header.NAME` is a header of the answer, and an empty one is nowhere.
    """

    # What authorization requests must be
    authorization_names: dict[str, str] = {}
    """What a parameter is called here, by its standard name, which is refused; empty: there must be none such."""
    authorization_parameters: dict[str, str] = {}
    """Further parameters without which a request is refused."""
    offline_parameters: dict[str, str] = {}
    """Further parameters without which no refresh token is given."""
    offline_scope: str | None = None
    """The same for a scope."""
    pkce: Literal["required", "refused"] = "required"
    scope_separator: Literal[" ", ",", ";"] = " "
    """Between scopes in requests; no other one is understood."""

    redirect_names: dict[str, str] = {}
    """By what name a redirect URI goes here, which itself is not understood."""

    # What token requests must be
    token_names: dict[str, str] = {}
    token_parameters: dict[str, str] = {}
    token_headers: dict[str, str] = {}
    token_method: Literal["POST", "GET"] = "POST"
    token_encoding: Literal["form", "json"] = "form"
    refresh_parameters: dict[str, str] = {}
    """Further parameters of a refresh."""
    refresh_scope: Literal["optional", "required", "refused"] = "optional"
    refresh_redirect_uri: bool = False
    """A refresh must repeat the redirect URI."""
    refresh_path: str | None = None
    """Where alone refreshes are answered, such as `/renew`."""
    refresh_not_before: int | None = None
    """A refresh is refused while the grant's access token has more seconds left."""
    refresh_method: Literal["POST", "GET"] | None = None
    """By what method there, where that is not as at /token; likewise at `first_exchange_path`."""
    refresh_client_methods: frozenset[str] | None = None
    """How a client proves itself to refresh, where that is not as at /token."""

    # How token answers are worded
    paths: dict[str, str] = {}
    """Where a member stands, by its standard name. Errors too: `error`, `error_description`."""
    refresh_paths: dict[str, str] | None = None
    """The same for the answer to a refresh, where it differs."""
    expiry: Expiry = "seconds"
    answer_scope_separator: str = " "
    scope_names: dict[str, str] = {}
    """What answers call a scope that they call otherwise."""
    ok_path: str | None = None
    """Where a flag stands: true, and false in an error."""
    errors_with_200: bool = False
    error_codes: dict[str, int | str] = {}
    """What an error of RFC 6749 is called here."""
    person_path: str | None = None
    """Where the first answer tells whose it is (`id`, `name`, `organisation`); /userinfo is closed then."""

    team_scope: str | None = None
    """The parameter that asks for a second token set, of `team_subject`; it comes under `team`, for a code."""
    team_subject: str = "grace-hopper"

    # How long tokens live
    refresh_tokens: bool = True
    idle_lifetime: int | None = None
    """Unused for so long, a refresh token dies; no answer says so."""
    most_tokens: int | None = None
    """Live refresh tokens of one person and client: one more ends the oldest."""
    exchange_grant: str | None = None
    """The grant type by which an access token is exchanged for one that lives longer."""
    exchange_parameter: str = "access_token"
    first_exchange_grant: str | None = None
    """The grant type by which alone access tokens that a code gives are exchanged."""
    first_exchange_parameter: str = "access_token"
    first_exchange_path: str | None = None
    first_exchange_client_methods: frozenset[str] | None = None
    """How a client proves itself then, where that is not as for a refresh."""
    first_lifetime: int | None = None
    """Of access tokens that a code gives, where it is not the lifetime of all."""

    # Where things are
    tenants: frozenset[str] = frozenset()
    """Everything is below /TENANT of one of these, as if each had a host of its own; a grant is good only there."""
    instance: str | None = None
    """/userinfo and /revoke are below /INSTANCE only; token answers say where in `instance_url`."""
    code_parameter: str = "code"
    """What the callback calls the code."""
    callback: dict[str, str] = {}
    """What the browser brings back besides the code."""

    # Other endpoints
    identity_body: str | None = None
    """/userinfo answers to POST with just this JSON, and nothing else."""
    identity_token: Literal["header", "query"] = "header"
    identity_header: str = "authorization"
    """Which header carries the token, in lower case."""
    identity_scheme: str = "Bearer"
    """What stands before it there; empty: nothing."""
    identity_headers: dict[str, str] = {}
    identity_path: str = ""
    """Where /userinfo has its members."""
    revocation: Literal["rfc7009", "json", "bearer", "delete_bearer", "delete_json"] = "rfc7009"
    revocation_methods: frozenset[str] | None = None
    """How a client proves itself at /revoke, where that is not as at /token."""
    revocation_names: dict[str, str] = {}
    """What a parameter is called there, by its standard name."""
    assertion_issuer: str | None = None
    """Whom client assertions must name as their issuer, where that is not the client id."""

    def __repr__(self) -> str:
        changed = [name for name in self.__struct_fields__ if getattr(self, name) != getattr(Quirks(), name)]
        return f"Quirks({', '.join(changed)})"
