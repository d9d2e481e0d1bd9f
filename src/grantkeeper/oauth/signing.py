"""What signs for us, and the certificates we show: interfaces, so that keys may be in a database, a KMS or an HSM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from grantkeeper.model import Record
from grantkeeper.terms import SigningAlgorithm


class Signer(Protocol):
    """One private key of ours, wherever it is kept. `kid` is its id in `/.well-known/jwks.json` (RFC 7517 §4.5)."""

    kid: str
    algorithm: SigningAlgorithm

    async def sign(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        """The claims as a signed JWT in compact form (RFC 7515 §3.1); its header has `alg`, `kid` and `typ`.

        ProviderUnavailable, not sent, where the key cannot be reached now.
        """
        ...


class ClientCertificate(Record, frozen=True):
    """A certificate chain and its private key, both PEM, for mutual TLS (RFC 8705 §2). Its `repr` shows no key.

    `thumbprint`: the leaf's SHA-256 in base64url, as in `x5t#S256` (RFC 8705 §3.1).
    """

    chain: str
    private_key: str
    thumbprint: str

    def __repr__(self) -> str:
        return f"ClientCertificate(thumbprint={self.thumbprint!r})"


class ClientKeys(Protocol):
    """The keys and certificates with which we prove ourselves to providers."""

    async def signer(self, algorithm: SigningAlgorithm) -> Signer:
        """The key to sign with now; ClientRejected, saying what to do, where there is none for that algorithm."""
        ...

    async def certificate(self, name: str) -> ClientCertificate:
        """The certificate imported under that name; ClientRejected, saying what to do, where there is none."""
        ...
