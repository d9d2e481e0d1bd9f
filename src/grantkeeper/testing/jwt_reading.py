"""Reading JWTs that others signed: clients' assertions, request objects, DPoP proofs."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key, KeySet

from grantkeeper.clock import SECOND, Instant

ASYMMETRIC = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""Signatures that only the holder of a private key can make."""

LEEWAY = 5
"""Seconds by which another's clock may be ahead of ours."""

Claims = dict[str, Any]


class BadJwt(Exception):
    """The JWT is not to be believed; the message says why."""


def read_jwt(token: str, keys: Key | KeySet, algorithms: Sequence[str] = ASYMMETRIC) -> tuple[Claims, Claims]:
    """Header and claims, the signature checked; `BadJwt` otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # "EdDSA" is deprecated (RFC 9864), and in use
            decoded = jwt.decode(token, keys, algorithms=list(algorithms))
    except (JoseError, ValueError) as error:
        raise BadJwt(f"Its signature cannot be verified: {type(error).__name__}.") from error
    return decoded.header, decoded.claims


def unverified(token: str) -> tuple[Claims, Claims]:
    """Header and claims as they stand, believed by nobody yet; `BadJwt` if there are none."""
    try:
        parts = jws.extract_compact(token.encode())
        claims = msgspec.json.decode(parts.payload, type=dict[str, Any])
    except (JoseError, ValueError) as error:
        raise BadJwt("It is not a signed JWT.") from error
    return dict(parts.headers()), claims


def check_claims(claims: Mapping[str, Any], *, audiences: Collection[str], now: Instant) -> None:
    """`aud`, `exp`, `nbf` and `iat` (RFC 7519 §4.1), or `BadJwt`."""
    named = claims.get("aud")
    if not set(named if isinstance(named, list) else [named]) & set(audiences):
        raise BadJwt("It is meant for another audience.")
    seconds = now / SECOND
    if _number(claims, "exp") is None or seconds >= (_number(claims, "exp") or 0):
        raise BadJwt("It has expired, or does not say when it will.")
    if max(_number(claims, "nbf") or 0, _number(claims, "iat") or 0) > seconds + LEEWAY:
        raise BadJwt("It is not valid yet.")


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadJwt(f"Its {name} is not a number.")
    return value


class SeenIds:
    """Which `jti`s have been used, so that none is used twice."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], Instant] = {}

    def use(self, whose: str, jti: object, now: Instant, lifetime: int = 600) -> None:
        """Remember it for `lifetime` seconds; `BadJwt` if it is missing or known."""
        if not isinstance(jti, str) or not jti:
            raise BadJwt("It has no jti.")
        self._until = {entry: until for entry, until in self._until.items() if until > now}
        if (whose, jti) in self._until:
            raise BadJwt("It has been used before.")
        self._until[whose, jti] = now + lifetime * SECOND
