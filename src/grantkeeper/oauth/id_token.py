"""ID tokens: every check of OpenID Connect Core §3.1.3.7."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from joserfc.jwk import KeySet

from grantkeeper.clock import SECOND, Instant
from grantkeeper.oauth.signed import LEEWAY, Jwt, Kind, read

_ID_TOKEN = Kind(name="ID token", code="id_token")
_LONGEST_SUBJECT = 255


def id_token_kid(id_token: str) -> str | None:
    """The id of the key that is said to have signed it, so that the key can be fetched; ProviderProtocolError."""
    return read(id_token, _ID_TOKEN).kid


def id_token_claims(
    id_token: str,
    *,
    client_id: str,
    issuer: str | None,
    keys: KeySet | None,
    algorithms: Sequence[str],
    nonce: str | None,
    now: Instant,
    access_token: str | None = None,
    max_age: int | None = None,
    trusted_audiences: Collection[str] = (),
    at_hash_required: bool = False,
) -> dict[str, Any]:
    """The claims of an ID token that is genuine, for us, of now, and of this authorization.

    `keys`: the provider's. Without them the ID token must have come straight from the token endpoint: there TLS
    may stand for the signature (OpenID Connect Core §3.1.3.7, 6). `algorithms`: those allowed; `none` and HMAC
    only where listed. `issuer` None: not compared. `max_age` in seconds. Otherwise ProviderProtocolError; its
    `code` says which check failed: `id_token_signature`, `id_token_nonce`, ….
    """
    token = read(id_token, _ID_TOKEN)
    token.verify(keys, algorithms)
    if issuer is not None:
        token.check_issuer(issuer)
    token.check_audience(client_id, trusted_audiences)
    _check_authorized_party(token, client_id)
    token.check_expiry(now)
    token.check_past("iat", now)
    _check_nonce(token, nonce)
    _check_authentication_age(token, max_age, now)
    _check_access_token(token, access_token, at_hash_required)
    _check_subject(token)
    return token.claims


def _check_authorized_party(token: Jwt, client_id: str) -> None:
    """`azp`, which several audiences make necessary (OpenID Connect Core §3.1.3.7, 4 and 5)."""
    party = token.claims.get("azp")
    audience = token.claims["aud"]
    if party is None and not (isinstance(audience, list) and len(set(audience)) > 1):
        return
    if party != client_id:
        raise token.kind.refused("azp", "`azp` does not name our client id")


def _check_nonce(token: Jwt, nonce: str | None) -> None:
    """The nonce we sent: another's ID token, or one of another time, is not this authorization's."""
    if nonce is not None and token.claims.get("nonce") != nonce:
        raise token.kind.refused("nonce", "`nonce` is not the one that was sent; authorize again")


def _check_authentication_age(token: Jwt, max_age: int | None, now: Instant) -> None:
    """Whether the person signed in as lately as was asked for (OpenID Connect Core §3.1.2.1, `max_age`)."""
    if max_age is None:
        return
    signed_in_at = token.check_past("auth_time", now)
    if (signed_in_at + max_age) * SECOND + LEEWAY < now:
        raise token.kind.refused("auth_time", "the person signed in longer ago than `max_age` allows; sign in again")


def _check_access_token(token: Jwt, access_token: str | None, required: bool) -> None:
    """Whether it came with this access token (OpenID Connect Core §3.1.3.8)."""
    claimed = token.claims.get("at_hash")
    if access_token is None or (claimed is None and not required):
        return
    if claimed != _half_hash(access_token, token.header["alg"]):
        raise token.kind.refused("at_hash", "`at_hash` is not that of the access token that came with it")


def _half_hash(access_token: str, algorithm: str) -> str:
    """The left half of the hash that the signature's algorithm uses; SHA-512 for Ed25519 (RFC 8032 §5.1)."""
    names = {"384": "sha384", "512": "sha512", "DSA": "sha512", "519": "sha512"}
    digest = hashlib.new(names.get(algorithm[-3:], "sha256"), access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _check_subject(token: Jwt) -> None:
    """`sub`, which must be there (OpenID Connect Core §2)."""
    subject = token.claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise token.kind.refused("sub", f"`sub` is not a text of 1 to {_LONGEST_SUBJECT} characters")
