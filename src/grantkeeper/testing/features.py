"""What the fake provider can do besides codes, refresh, revocation and /userinfo: all of it off until switched on."""

from __future__ import annotations

from typing import Literal

import msgspec

Demand = Literal["off", "offered", "required"]
"""Whether something may be used, and whether it must be."""

IdTokenAlgorithm = Literal["RS256", "ES256"]

CODE = "authorization_code"
REFRESH = "refresh_token"
CLIENT_CREDENTIALS = "client_credentials"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Features(msgspec.Struct, kw_only=True):
    """Switches of one provider. Each may be changed at any time, and the metadata tells it truly."""

    openid: bool = False
    """The scope `openid` gives an ID token (OpenID Connect Core), signed with a key that is in /jwks."""
    signing_algorithm: IdTokenAlgorithm = "ES256"
    """Of ID tokens, JWT access tokens and JARM answers."""
    jwt_access_tokens: bool = False
    """Access tokens are signed JWTs (RFC 9068) instead of random words."""
    client_credentials: bool = False
    device_code: bool = False
    """RFC 8628, with /device_authorization and the page /device."""
    device_interval: int = 5
    """Seconds between two polls; a client that polls faster is told to slow down."""
    device_lifetime: int = 600
    """Seconds that a device code lives."""
    jwt_bearer: bool = False
    """RFC 7523 §2.1; the issuers trusted are those given to `FakeProvider.trust_issuer`, and every client with keys."""
    token_exchange: bool = False
    """RFC 8693, for access tokens that this provider has issued."""
    client_assertions: bool = False
    """`private_key_jwt` and `client_secret_jwt`, for clients whose `auth_methods` name them."""
    assertion_audience_is_issuer: bool = False
    """The audience of assertions must be the issuer alone, as FAPI 2.0 wants; else the endpoint may be named too."""
    public_clients: bool = False
    """The method `none`, for clients whose `auth_methods` name it."""
    pushed_requests: Demand = "off"
    """RFC 9126, at /par."""
    request_objects: Demand = "off"
    """RFC 9101: authorization requests signed with a key of the client's."""
    jarm: bool = False
    """`response_mode=jwt`: the authorization response is a JWT signed by us."""
    dpop: Demand = "off"
    """RFC 9449."""
    dpop_nonces: bool = False
    """Every proof must carry the nonce that this server gave last (RFC 9449 §8 and §9)."""
    resource_indicators: bool = False
    """RFC 8707; any absolute URI without a fragment, unless `resources` names those that are known."""
    resources: frozenset[str] = frozenset()
    authorization_details: frozenset[str] = frozenset()
    """The types of authorization details that are known (RFC 9396)."""
    registration: bool = False
    """RFC 7591 and 7592, at /register."""
    initial_access_token: str | None = None
    """What whoever registers must present; None: anybody may (RFC 7591 §3)."""
    client_documents: bool = False
    """A client id may be the URL of a client ID metadata document."""
    sample_resource: bool = False
    """/mcp, a resource server of its own with metadata (RFC 9728)."""

    def __repr__(self) -> str:
        on = [name for name in self.__struct_fields__ if getattr(self, name) != getattr(Features(), name)]
        return f"Features({', '.join(on)})"

    def grant_types(self) -> list[str]:
        """The `grant_type`s that are known now."""
        switched = {
            CLIENT_CREDENTIALS: self.client_credentials,
            DEVICE_CODE: self.device_code,
            JWT_BEARER: self.jwt_bearer,
            TOKEN_EXCHANGE: self.token_exchange,
        }
        return [CODE, REFRESH, *(name for name, on in switched.items() if on)]

    def auth_methods(self) -> list[str]:
        """How clients may authenticate now."""
        methods = ["client_secret_basic", "client_secret_post"]
        if self.client_assertions:
            methods += ["client_secret_jwt", "private_key_jwt"]
        return [*methods, "none"] if self.public_clients else methods
