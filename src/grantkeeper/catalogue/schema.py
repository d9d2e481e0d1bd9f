"""The schema of a provider definition, whose tables are in `tables`: what stands in a file, and what profiles add."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from grantkeeper.catalogue.tables import (
    Api,
    Assertion,
    AuthorizationEndpoint,
    CallbackValue,
    Device,
    Exchange,
    Identity,
    Introspection,
    Parameter,
    Refresh,
    Revocation,
    Scopes,
    Signatures,
    Table,
    TokenEndpoint,
    TokenResponsePaths,
    Verification,
)
from grantkeeper.catalogue.values import Colour, PageUrl, ParameterName, Resource, Slug, Text
from grantkeeper.terms import ClientAuthentication, GrantType

_FAPI2: dict[str, dict[str, Any]] = {
    "authorization": {"pushed": True, "issuer_in_response": True},
    "token": {"client_authentication": "private_key_jwt", "sender_constrained": "dpop"},
    "signatures": {"algorithms": ("PS256", "ES256", "EdDSA")},
}
_PROFILES = {
    "fapi2": _FAPI2,
    "fapi2_message_signing": {
        **_FAPI2,
        "authorization": {**_FAPI2["authorization"], "signed_request": True, "signed_response": True},
    },
}
"""What a profile stands for where a definition does not say otherwise; what it refuses is in `rules`."""


class Provider(Table):
    """One service: where its endpoints are, and how it differs from the standards."""

    schema_version: Literal[1] = Field(alias="schema", description="The version of this schema: 1.")
    name: Slug = Field(max_length=40, description="The name in URLs and settings; the file's name without `.toml`.")
    label: Text = Field(max_length=40, description="The name that people know.")
    extends: Slug | None = Field(
        None,
        description="The definition of which this is a variant, such as a sandbox or a region: only what differs is "
        "written here. Tables are merged key by key.",
    )
    category: Annotated[tuple[Slug, ...], Field(strict=False, min_length=1)] = Field(
        description="What it is about, such as `accounting`; the gallery shows it under the first."
    )
    icon: Slug | None = Field(None, description="The slug of its icon in the Simple Icons collection, if it has one.")
    docs_url: PageUrl | None = Field(None, description="The provider's own pages about OAuth 2.")
    colour: Colour = Field(description="The colour of the banner that Grantkeeper draws.")
    operator_supplied: bool = Field(
        False, description="The provider publishes no endpoints: they come from the operator's settings."
    )
    profile: Literal["oauth2", "fapi2", "fapi2_message_signing"] = Field(
        "oauth2",
        description="`fapi2`: the FAPI 2.0 security profile: pushed requests, S256, `iss`, `private_key_jwt` or a "
        "certificate, sender-constrained tokens; `fapi2_message_signing`: signed requests and responses as well. Both "
        "set defaults, and refuse a definition that falls short of them.",
    )
    discovery: bool = Field(
        False,
        description="What this definition leaves open comes from the metadata of `authorization.issuer` (RFC 8414, "
        "OpenID Connect Discovery).",
    )
    grant: GrantType = Field(
        "authorization_code",
        description="How a connection is had: with a browser; by a code to type in elsewhere (`device_code`, RFC "
        "8628); or without a person (`client_credentials`, `jwt_bearer`, `token_exchange`).",
    )
    together: Annotated[tuple[Slug, ...], Field(strict=False)] = Field(
        (),
        description="Definitions whose token sets come with the answer to the same code, such as a bot's with a "
        "person's. Where the operator has set them up with the same client id, they are asked for as well when "
        "somebody connects, each by its own `authorization.scope_parameter`; each set becomes a connection of its own.",
    )
    resources: Annotated[tuple[Resource, ...], Field(strict=False)] = Field(
        (), description="The APIs that the tokens are for (`resource`, RFC 8707)."
    )
    verified: Verification = Field(description="What this was checked against.")
    parameters: dict[ParameterName, Parameter] = Field(
        default_factory=dict, description="Values that each client gives, by the placeholder they fill."
    )
    authorization: AuthorizationEndpoint = Field(
        default_factory=AuthorizationEndpoint, description="Where the browser is sent."
    )
    callback: dict[ParameterName, CallbackValue] = Field(
        default_factory=dict, description="What the callback brings besides the code, by the placeholder it fills."
    )
    scopes: Scopes = Field(default_factory=Scopes, description="What is asked for.")
    token: TokenEndpoint = Field(default_factory=TokenEndpoint, description="Where a code becomes tokens.")
    refresh: Refresh = Field(default_factory=Refresh, description="How the next token set is had.")
    revocation: Revocation = Field(default_factory=Revocation, description="How a grant is ended.")
    signatures: Signatures = Field(default_factory=Signatures, description="What the server signs.")
    device: Device = Field(default_factory=Device, description="The device authorization endpoint.")
    assertion: Assertion = Field(default_factory=Assertion, description='For `grant = "jwt_bearer"`.')
    exchange: Exchange = Field(default_factory=Exchange, description='For `grant = "token_exchange"`.')
    identity: Identity = Field(default_factory=Identity, description="Whose grant it is.")
    introspection: Introspection = Field(default_factory=Introspection, description="Where tokens can be looked at.")
    api: Api = Field(default_factory=Api, description="The provider's API, for people who read this.")

    @model_validator(mode="before")
    @classmethod
    def _profile_defaults(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        document = dict(document)
        for name, defaults in _PROFILES.get(str(document.get("profile")), {}).items():
            given = document.get(name, {})
            document[name] = defaults | given if isinstance(given, dict) else given
        return document

    @property
    def refresh_response(self) -> TokenResponsePaths:
        """How the answer to a refresh is to be read."""
        return self.refresh.response or self.token.response

    @property
    def response_scope_separator(self) -> str:
        """What stands between scopes in answers."""
        return self.token.response.scope_separator or self.scopes.separator

    @property
    def revocation_authentication(self) -> ClientAuthentication:
        """How the client proves itself at the revocation endpoint."""
        return self.revocation.client_authentication or self.token.client_authentication

    @property
    def kept(self) -> frozenset[str]:
        """The names of what is kept of token responses."""
        later = self.refresh.response.keep if self.refresh.response else {}
        return frozenset((*self.token.response.keep, *later))

    def urls(self) -> dict[str, str]:
        """Every URL of this definition that may hold placeholders, by the key that gives it."""
        found = {
            "authorization.url": self.authorization.url,
            "authorization.issuer": self.authorization.issuer,
            "authorization.pushed_url": self.authorization.pushed_url,
            "signatures.jwks_url": self.signatures.jwks_url,
            "device.url": self.device.url,
            "token.url": self.token.url,
            "refresh.url": self.refresh.url,
            "refresh.first.url": self.refresh.first.url,
            "revocation.url": self.revocation.url,
            "identity.url": self.identity.url,
            "introspection.url": self.introspection.url,
            "api.base_url": self.api.base_url,
        }
        return {key: url for key, url in found.items() if url is not None}
