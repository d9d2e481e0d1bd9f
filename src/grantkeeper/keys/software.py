"""Keys that are kept in the database, sealed, and sign in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from joserfc import jwk, jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from grantkeeper.oauth.signed import registry
from grantkeeper.terms import SigningAlgorithm

ALGORITHMS: tuple[SigningAlgorithm, ...] = get_args(SigningAlgorithm)

_RSA_BITS = 2048
"""What FAPI 2.0 asks for at least (Security Profile §5.4.1), and quick enough to sign with in the event loop."""


_REGISTRY = registry(ALGORITHMS)


class SoftwareSigner:
    """Implements `oauth.signing.Signer` with a key in memory. Its `repr` shows no key."""

    def __init__(self, kid: str, algorithm: SigningAlgorithm, key: Key) -> None:
        self.kid = kid
        self.algorithm: SigningAlgorithm = algorithm
        self._key = key

    def __repr__(self) -> str:
        return f"SoftwareSigner(kid={self.kid!r}, algorithm={self.algorithm!r})"

    @classmethod
    def load(cls, kid: str, algorithm: SigningAlgorithm, pem: bytes) -> SoftwareSigner:
        """The signer of a private key in PEM, as `private_pem` wrote it."""
        return cls(kid, algorithm, jwk.import_key(pem, key_type(algorithm)))

    async def sign(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        """The claims as a signed JWT in compact form."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": typ}
        return jwt.encode(header, dict(claims), self._key, registry=_REGISTRY)


def generate(algorithm: SigningAlgorithm) -> RSAKey | ECKey | OKPKey:
    """A new private key for that algorithm: RSA of 2048 bits, P-256 or Ed25519."""
    if algorithm == "ES256":
        return ECKey.generate_key("P-256")
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    return RSAKey.generate_key(_RSA_BITS)


def key_type(algorithm: SigningAlgorithm) -> Any:
    """`kty` of the keys that sign with an algorithm (RFC 7517 §4.1)."""
    return JWSRegistry.algorithms[algorithm].key_type


def private_pem(key: RSAKey | ECKey | OKPKey) -> bytes:
    """The private key in PEM (PKCS #8), for sealing and nothing else."""
    return key.as_pem(private=True)


def public_jwk(public: Mapping[str, Any], kid: str, **members: Any) -> dict[str, Any]:
    """What is published of a key that signs (RFC 7517 §4), from its public members."""
    return {**public, "use": "sig", "kid": kid, **members}


def thumbprint(public: Mapping[str, Any]) -> str:
    """The public key's thumbprint (RFC 7638), which is its `kid`."""
    return jwk.import_key(dict(public)).thumbprint()
