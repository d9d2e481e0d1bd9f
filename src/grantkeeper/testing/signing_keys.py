"""The fake provider's own keys, published at /jwks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

from grantkeeper.testing.features import Features, IdTokenAlgorithm


class SigningKeys:
    """A key for each algorithm, made when first needed, and those before it. Kept in memory only."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self._keys: dict[IdTokenAlgorithm, list[Key]] = {}

    @property
    def algorithm(self) -> IdTokenAlgorithm:
        """What is signed with now."""
        return self._features.signing_algorithm

    @property
    def current(self) -> Key:
        """The key that signs now."""
        return self._keys.setdefault(self.algorithm, [_new_key(self.algorithm)])[-1]

    def rotate(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on; the old ones stay published, unless told otherwise."""
        kept = self._keys.get(self.algorithm, []) if keep_old else []
        self._keys[self.algorithm] = [*kept, _new_key(self.algorithm)]

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT", **header: Any) -> str:
        """A JWT of these claims by the current key; `header` adds to, or replaces in, its header."""
        members = {"alg": self.algorithm, "kid": self.current.kid, "typ": typ, **header}
        return jwt.encode(members, dict(claims), self.current, algorithms=[self.algorithm])

    def published(self) -> dict[str, object]:
        """The JWK Set (RFC 7517 §5): public parts, the newest last."""
        _ = self.current
        return {"keys": [dict(key.as_dict(private=False)) for keys in self._keys.values() for key in keys]}


def _new_key(algorithm: IdTokenAlgorithm) -> Key:
    parameters: Any = {"use": "sig", "alg": algorithm}
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, parameters, auto_kid=True)
    return ECKey.generate_key("P-256", parameters, auto_kid=True)
