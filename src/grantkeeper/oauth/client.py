"""Our registration at one provider, with every endpoint and habit of that provider resolved."""

from __future__ import annotations

from typing import Literal

from grantkeeper.model import Record
from grantkeeper.schedule import RefreshPolicy

ClientAuthentication = Literal["client_secret_basic", "client_secret_post", "none"]
ErrorMeaning = Literal["grant", "client", "transient"]


class TokenResponsePaths(Record, frozen=True):
    """Where a token response carries what; dotted paths into the JSON, RFC 6749 §5.1 by default.

    The default lifetimes (seconds) hold where the answer gives none, and the access token does not either.
    """

    access_token: str = "access_token"
    refresh_token: str = "refresh_token"
    token_type: str = "token_type"
    expires_in: str = "expires_in"
    refresh_expires_in: str | None = None
    scope: str = "scope"
    error: str = "error"
    ok: str | None = None
    default_lifetime: int | None = None
    refresh_default_lifetime: int | None = None
    scope_separator: str = " "


class IdentitySource(Record, frozen=True):
    """Where the connected person or organisation can be read, and by which dotted paths."""

    source: Literal["userinfo", "id_token", "token_response", "none"] = "none"
    url: str | None = None
    subject: str = "sub"
    label: str | None = None
    headers: dict[str, str] = {}


class Client(Record, frozen=True):
    """A provider as this service talks to it. Durations are seconds. Its `repr` shows no secret."""

    name: str
    label: str
    client_id: str
    redirect_uri: str
    authorization_url: str
    token_url: str
    client_secret: str | None = None
    authorization_parameters: dict[str, str] = {}
    pkce: bool = True
    scope_parameter: str = "scope"
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    offline_scopes: tuple[str, ...] = ()
    issuer: str | None = None
    issuer_in_response: bool = False
    authentication: ClientAuthentication = "client_secret_basic"
    json_body: bool = False
    token_parameters: dict[str, str] = {}
    token_headers: dict[str, str] = {}
    response: TokenResponsePaths = TokenResponsePaths()
    refresh_response: TokenResponsePaths = TokenResponsePaths()
    refresh_url: str | None = None
    refresh_supported: bool = True
    refresh_sends_scope: bool = False
    refresh_policy: RefreshPolicy = RefreshPolicy()
    error_meanings: dict[str, ErrorMeaning] = {}
    error_description_meanings: dict[str, ErrorMeaning] = {}
    revocation_url: str | None = None
    revocation_style: Literal["rfc7009", "bearer", "delete_json", "none"] = "none"
    revocation_authentication: ClientAuthentication = "client_secret_basic"
    revocation_token: Literal["refresh_token", "access_token"] = "refresh_token"
    identity: IdentitySource = IdentitySource()

    def __repr__(self) -> str:
        return f"Client(name={self.name!r}, client_id={self.client_id!r})"

    @property
    def openid(self) -> bool:
        """Whether an ID token is asked for (OpenID Connect Core §3.1.2.1)."""
        return "openid" in self.scopes
