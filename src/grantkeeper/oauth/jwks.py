"""A server's public keys, as its JWK Set gives them (RFC 7517 §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from grantkeeper.errors import ProviderProtocolError

MOST_KEYS = 100
_PUBLIC = ("RSA", "EC", "OKP")


def key_set(document: Mapping[str, Any]) -> KeySet:
    """The keys that may verify signatures, or ProviderProtocolError where there is none.

    A key that cannot be read is passed over (RFC 7517 §5), and so is a symmetric one: published, it is no secret, and
    whoever knows it could sign. So is one for encryption.
    """
    members = document.get("keys")
    if not isinstance(members, list) or len(members) > MOST_KEYS:
        raise ProviderProtocolError(f"the provider's keys are not a list of up to {MOST_KEYS}", code="jwks")
    keys = [key for member in members if isinstance(member, dict) and (key := _key(member)) is not None]
    if not keys:
        raise ProviderProtocolError("the provider publishes no key that can verify a signature", code="jwks")
    return KeySet(keys)


def _key(member: dict[str, Any]) -> Key | None:
    if member.get("kty") not in _PUBLIC or member.get("use", "sig") != "sig" or "d" in member:
        return None
    try:
        return JWKRegistry.import_key(member)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
