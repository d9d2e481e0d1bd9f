"""Proofs of possession as a server checks them (RFC 9449 §4.3), and the nonces it gives (§8)."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from grantkeeper.clock import SECOND, Clock
from grantkeeper.testing.asgi import Headers, Request
from grantkeeper.testing.features import Features
from grantkeeper.testing.jwt_reading import ASYMMETRIC, LEEWAY, BadJwt, Claims, SeenIds, read_jwt, unverified
from grantkeeper.testing.vocabulary import OAuthError
from grantkeeper.testing.wording import s256

PROOF_LIFETIME = 60
"""Seconds after its `iat` that a proof is honoured."""

NONCE_LIFETIME = 300
"""Seconds after which another nonce is given; the one before is honoured as long again."""

_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "k"))


class DpopProofs:
    """Reads the `DPoP` header of requests."""

    def __init__(self, issuer: str, clock: Clock, features: Features) -> None:
        self._issuer = issuer
        self._clock = clock
        self._features = features
        self._seen = SeenIds()
        self._nonces: tuple[str, ...] = (secrets.token_urlsafe(16),)
        self._changed_at = clock.now()

    def presented(self, request: Request, access_token: str | None = None) -> str | None:
        """The thumbprint of the key that the request proves to hold; None where it has no proof.

        `invalid_dpop_proof`, or `use_dpop_nonce` where only the nonce is wrong. With `access_token` the proof must
        be for that token.
        """
        proof = request.headers.get("dpop")
        if proof is None or self._features.dpop == "off":
            return None
        try:
            key, claims = _signed_by_itself(proof)
            self._check(claims, request, access_token)
            if self._features.dpop_nonces and claims.get("nonce") not in self._current_nonces():
                raise OAuthError("use_dpop_nonce", "The proof must carry the nonce of this server.")
            self._seen.use(key.thumbprint(), claims.get("jti"), self._clock.now())
        except BadJwt as reason:
            raise OAuthError("invalid_dpop_proof", f"The proof is not good. {reason}") from reason
        return key.thumbprint()

    def headers(self) -> Headers:
        """The nonce to use from now on, in every answer of an endpoint that reads proofs (§8.2)."""
        on = self._features.dpop_nonces and self._features.dpop != "off"
        return (("dpop-nonce", self._current_nonces()[-1]),) if on else ()

    def rotate_nonce(self, *, keep_old: bool = False) -> None:
        """Another nonce from now on."""
        kept = self._nonces[-1:] if keep_old else ()
        self._nonces = (*kept, secrets.token_urlsafe(16))
        self._changed_at = self._clock.now()

    def _current_nonces(self) -> tuple[str, ...]:
        age = self._clock.now() - self._changed_at
        if age >= NONCE_LIFETIME * SECOND:
            self.rotate_nonce(keep_old=age < 2 * NONCE_LIFETIME * SECOND)
        return self._nonces

    def _check(self, claims: Claims, request: Request, access_token: str | None) -> None:
        if claims.get("htm") != request.method:
            raise BadJwt("It is for another method.")
        if _target(claims.get("htu")) != _target(self._issuer + request.path):
            raise BadJwt("It is for another URL.")
        issued = claims.get("iat")
        age = self._clock.now() / SECOND - issued if isinstance(issued, int | float) else None
        if age is None or not -LEEWAY <= age <= PROOF_LIFETIME:
            raise BadJwt("It was not made just now.")
        if access_token is not None and claims.get("ath") != s256(access_token):
            raise BadJwt("It is for another access token.")


def _signed_by_itself(proof: str) -> tuple[Key, Claims]:
    """The key in the header, and the claims it signed."""
    header, _ = unverified(proof)
    jwk: Any = header.get("jwk")
    if header.get("typ") != "dpop+jwt":
        raise BadJwt("Its typ is not dpop+jwt.")
    if not isinstance(jwk, dict) or jwk.keys() & _PRIVATE:
        raise BadJwt("Its header has no public key.")
    try:
        key = JWKRegistry.import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise BadJwt("Its key cannot be read.") from error
    return key, read_jwt(proof, key, ASYMMETRIC)[1]


def _target(url: object) -> tuple[str, str | None, int | None, str]:
    """A URL without query and fragment, compared as RFC 3986 §6.2.2 and §6.2.3 allow."""
    if not isinstance(url, str):
        raise BadJwt("It names no URL.")
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError as error:
        raise BadJwt("It names no URL.") from error
    return parts.scheme, parts.hostname, port, parts.path or "/"
