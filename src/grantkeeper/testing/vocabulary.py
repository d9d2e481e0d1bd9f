"""What the fake provider speaks of: its clients, the people who consent, grants, tokens and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from grantkeeper.clock import Instant

RotationMode = Literal["strict", "grace", "off"]
"""What happens to a refresh token that was used (RFC 9700 §4.14.2).

`strict`: it is spent, and using it again revokes the grant. `grace`: the same, but for some seconds it is
still honoured, for clients that lost the answer. `off`: it stays good, and answers carry no new one.
"""


class FakeClient(msgspec.Struct, frozen=True, kw_only=True):
    """A registration at the fake provider (RFC 6749 §2). Its `repr` does not show the secret."""

    client_id: str
    client_secret: str = ""
    redirect_uris: tuple[str, ...] = ()
    name: str = "Grantkeeper"
    auth_methods: frozenset[str] = frozenset({"client_secret_basic", "client_secret_post"})
    """How it may authenticate; narrow it to prove that a client uses the method it was told to use."""
    grant_types: frozenset[str] | None = None
    """What it may ask tokens with; None: whatever the provider knows."""
    jwks: dict[str, Any] | None = None
    """Its public keys, a JWK Set; or where they are, `jwks_uri`."""
    jwks_uri: str | None = None
    dpop_bound: bool = False
    """Its tokens must be bound to a key (`dpop_bound_access_tokens`, RFC 9449 §5.2)."""

    def __repr__(self) -> str:
        return f"FakeClient({self.client_id!r}, redirect_uris={self.redirect_uris!r})"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for besides scopes; goes with the code, and then with the grant."""

    nonce: str | None = None
    dpop_jkt: str | None = None
    """The thumbprint of the key that the code, or a public client's refresh tokens, are bound to (RFC 9449 §5, §10)."""
    resources: tuple[str, ...] = ()
    authorization_details: list[dict[str, Any]] = []
    auth_time: int | None = None
    offline: bool = True
    """Whether refresh tokens are given."""
    tenant: str | None = None
    """Where alone it is good, in a provider that has tenants."""
    team_scopes: str = ""
    """What is asked for the team (`Quirks.team_scope`)."""


class TokenFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an access token is good for, besides its grant's scopes."""

    jkt: str | None = None
    """The key it is bound to (RFC 9449 §6); None: whoever bears it may use it."""
    audience: tuple[str, ...] = ()
    """Whom it is for: resources (RFC 8707) or services (RFC 8693)."""
    actor: str | None = None
    """Who acts for the subject (RFC 8693 §4.1)."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can consent; `subject` is what /userinfo calls `sub`."""

    subject: str
    name: str
    email: str


DEMO_PEOPLE = (
    Person(subject="ada-lovelace", name="Ada Lovelace", email="ada@example.com"),
    Person(subject="grace-hopper", name="Grace Hopper", email="grace@example.com"),
    Person(subject="alan-turing", name="Alan Turing", email="alan@example.com"),
)

DEMO_SCOPES: Mapping[str, str] = {
    "profile": "See your name",
    "email": "See your e-mail address",
    "accounts.read": "Read your demo accounts",
}
"""Scopes the provider grants, each with the words the consent page has for it."""


class FakeGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What one person once allowed one client."""

    grant_id: str
    client_id: str
    subject: str
    scopes: tuple[str, ...]
    created_at: Instant
    revoked_at: Instant | None = None


class IssuedTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens made for a test without a browser. Its `repr` shows neither token."""

    grant_id: str
    access_token: str
    refresh_token: str | None
    scopes: tuple[str, ...]
    access_token_expires_at: Instant
    refresh_token_expires_at: Instant | None
    token_type: str = "Bearer"
    further: dict[str, object] = {}
    """Further members of the answer, such as `id_token`."""

    def __repr__(self) -> str:
        return f"IssuedTokens(grant_id={self.grant_id!r}, refreshable={self.refresh_token is not None})"


class SeenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that reached an endpoint; values that are secret are cut to an ellipsis."""

    endpoint: str
    method: str
    parameters: dict[str, str]
    auth_method: str | None = None
    """`client_secret_basic`, `private_key_jwt`, …; `bearer` or `dpop` where a token is shown; or None."""
    grant_id: str | None = None
    """Of the refresh token it presented, if that was ours; so is `generation`."""
    generation: int | None = None


class OAuthError(Exception):
    """A refusal in the words of RFC 6749 §5.2 (or §4.1.2.1)."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


class PageRefusal(Exception):
    """An authorization request that must not be answered by redirect: whom it would go to is not known."""
