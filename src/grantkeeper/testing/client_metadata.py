"""Client metadata (RFC 7591 §2), as clients register it and as their metadata documents state it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from grantkeeper.testing.features import CODE
from grantkeeper.testing.vocabulary import FakeClient, OAuthError

SECRET_METHODS = frozenset({"client_secret_basic", "client_secret_post", "client_secret_jwt"})
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")


def client_from_metadata(client_id: str, secret: str, metadata: Mapping[str, Any], known: list[str]) -> FakeClient:
    """The client that the metadata describes; `invalid_client_metadata` or `invalid_redirect_uri` where it cannot be.

    `known`: the authentication methods on offer.
    """
    method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
    grant_types = _words(metadata, "grant_types") or (CODE,)
    jwks = metadata.get("jwks")
    if method not in known:
        raise OAuthError("invalid_client_metadata", "That token_endpoint_auth_method is not supported.")
    if jwks is not None and metadata.get("jwks_uri") is not None:
        raise OAuthError("invalid_client_metadata", "Either jwks or jwks_uri, not both.")
    if method == "private_key_jwt" and jwks is None and metadata.get("jwks_uri") is None:
        raise OAuthError("invalid_client_metadata", "private_key_jwt needs jwks or jwks_uri.")
    return FakeClient(
        client_id=client_id,
        client_secret=secret if method in SECRET_METHODS else "",
        redirect_uris=_redirect_uris(metadata, grant_types),
        name=str(metadata.get("client_name") or client_id),
        auth_methods=frozenset({method}),
        grant_types=frozenset(grant_types),
        jwks=_checked(jwks),
        jwks_uri=metadata.get("jwks_uri"),
        dpop_bound=metadata.get("dpop_bound_access_tokens") is True,
    )


def key_set(jwks: object) -> KeySet:
    """A client's public keys; those that joserfc does not know are left out (RFC 7517 §5)."""
    members = jwks.get("keys") if isinstance(jwks, dict) else None
    keys = KeySet([])
    for member in members if isinstance(members, list) else ():
        try:
            keys.keys += KeySet.import_key_set({"keys": [member]}).keys
        except (JoseError, ValueError, TypeError, AttributeError):
            continue
    return keys


def _checked(jwks: object) -> dict[str, Any] | None:
    if jwks is None:
        return None
    if not isinstance(jwks, dict) or not key_set(jwks).keys:
        raise OAuthError("invalid_client_metadata", "The jwks hold no key that is known here.")
    if any(member.keys() & {"d", "p", "q", "k"} for member in jwks["keys"]):
        raise OAuthError("invalid_client_metadata", "The jwks hold private keys.")
    return jwks


def _words(metadata: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = metadata.get(name, [])
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise OAuthError("invalid_client_metadata", f"{name} must be a list of strings.")
    return tuple(found)


def _redirect_uris(metadata: Mapping[str, Any], grant_types: tuple[str, ...]) -> tuple[str, ...]:
    uris = _words(metadata, "redirect_uris")
    if CODE in grant_types and not uris:
        raise OAuthError("invalid_redirect_uri", "redirect_uris is missing.")
    for uri in uris:
        parts = urlsplit(uri)
        loopback = parts.scheme == "http" and parts.netloc.rpartition(":")[0] in _LOOPBACK
        if (parts.scheme != "https" and not loopback) or parts.fragment:
            raise OAuthError("invalid_redirect_uri", "Redirect URIs are https, or http on loopback, without fragment.")
    return uris
