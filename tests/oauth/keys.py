"""Keys of providers and of ours, for the tests of signed messages: one for each algorithm."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, KeySet, OctKey, OKPKey, RSAKey

from grantkeeper.oauth.signed import registry
from grantkeeper.terms import SigningAlgorithm

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
EC_384 = ECKey.generate_key("P-384", {"kid": "ec-384"})
EC_521 = ECKey.generate_key("P-521", {"kid": "ec-521"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
SECRET = OctKey.generate_key(256, {"kid": "secret"})

BY_ALGORITHM: Mapping[str, Key] = {
    "RS256": RSA,
    "RS384": RSA,
    "RS512": RSA,
    "PS256": RSA,
    "PS384": RSA,
    "PS512": RSA,
    "ES256": EC,
    "ES384": EC_384,
    "ES512": EC_521,
    "EdDSA": ED,
    "Ed25519": ED,
}
ALGORITHMS = tuple(BY_ALGORITHM)


def public(*keys: Key) -> KeySet:
    """What a provider publishes of these."""
    return KeySet.import_key_set({"keys": [key.as_dict(private=False) for key in keys]})


PUBLISHED = public(RSA, EC, EC_384, EC_521, ED)


def signed(claims: object, algorithm: str = "RS256", key: Key | None = None, **header: object) -> str:
    """A JWT signed for real; a header parameter that is None is left out. `claims` may be bytes."""
    key = key or BY_ALGORITHM[algorithm]
    members = {"alg": algorithm, "kid": key.kid} | header
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    kept = {name: value for name, value in members.items() if value is not None}
    return jws.serialize_compact(kept, payload, key, registry=registry([algorithm]))


def by_hand(header: object, claims: object, secret: bytes | None = None) -> str:
    """A JWT that no library would make: any header, an HMAC or no signature. Bytes stand as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signing_input = b".".join(_encoded(part) for part in parts)
    signature = b"" if secret is None else hmac.new(secret, signing_input, hashlib.sha256).digest()
    return (signing_input + b"." + _encoded(signature)).decode()


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


class OurKey:
    """A key of ours in memory: what `grantkeeper.oauth.signing.Signer` asks for."""

    def __init__(self, algorithm: SigningAlgorithm = "ES256") -> None:
        self.algorithm: SigningAlgorithm = algorithm
        self.key = BY_ALGORITHM[algorithm]
        self.kid = self.key.kid or ""

    async def sign(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        """The claims as a signed JWT."""
        return signed(dict(claims), self.algorithm, typ=typ)


def opened(token: str, key: Key, algorithm: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, once the signature has been found good."""
    found = jws.deserialize_compact(token, key, registry=registry([algorithm]))
    return found.headers(), json.loads(found.payload)
