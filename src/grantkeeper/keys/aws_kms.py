"""Keys that stay in AWS KMS: it is asked for each signature. The only module that knows boto3 (extra `aws`)."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from joserfc import jwk, jwt
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from grantkeeper.errors import ClientRejected, InvalidValue, ProviderError, ProviderUnavailable
from grantkeeper.keys.software import key_type
from grantkeeper.model import Record
from grantkeeper.oauth.signed import registry
from grantkeeper.terms import SigningAlgorithm

_PATIENCE = 3
"""Seconds for a connection to KMS, and for an answer; each is tried twice."""

_ALGORITHMS: Mapping[str, str] = {
    "RS256": "RSASSA_PKCS1_V1_5_SHA_256",
    "PS256": "RSASSA_PSS_SHA_256",
    "ES256": "ECDSA_SHA_256",
}
_BUSY = frozenset(
    {
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Error codes of KMS after which it may be asked again; after all others somebody must act first."""
_P256_BYTES = 32


class KmsKey(Record, frozen=True):
    """A key in KMS that may sign: its ARN and its public key as a JWK."""

    arn: str
    public_jwk: dict[str, Any]


class KmsSigner:
    """Implements `oauth.signing.Signer` with a key in KMS, named by its ARN."""

    def __init__(self, kid: str, algorithm: SigningAlgorithm, arn: str, public_jwk: dict[str, Any]) -> None:
        self.kid = kid
        self.algorithm: SigningAlgorithm = algorithm
        self._public_key = jwk.import_key(public_jwk)
        self._kms = _Kms(arn)
        self._registry = registry([algorithm])
        self._registry.algorithms = {algorithm: _RemoteAlgorithm(algorithm, self._kms.sign)}

    async def sign(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        """The claims as a signed JWT in compact form.

        ProviderUnavailable, not sent, where KMS cannot be reached; ClientRejected where it refuses.
        """
        header = {"alg": self.algorithm, "kid": self.kid, "typ": typ}
        return await asyncio.to_thread(jwt.encode, header, dict(claims), self._public_key, registry=self._registry)


async def find_key(name: str, algorithm: SigningAlgorithm) -> KmsKey:
    """The key in KMS that an ARN, an id or `alias/NAME` means; InvalidValue where it cannot sign with the algorithm."""
    if algorithm not in _ALGORITHMS:
        raise InvalidValue({"algorithm": [f"Keys in KMS sign with {', '.join(_ALGORITHMS)}, not with {algorithm}."]})
    return await asyncio.to_thread(_find, name, algorithm)


def _find(name: str, algorithm: SigningAlgorithm) -> KmsKey:
    kms = _Kms(name)
    # An alias may be pointed elsewhere: what is kept is the key's own name.
    arn = kms.call("describe_key")["KeyMetadata"]["Arn"]
    found = kms.call("get_public_key")
    if _ALGORITHMS[algorithm] not in found.get("SigningAlgorithms", ()):
        wanted = "an RSA key" if algorithm in ("RS256", "PS256") else "a key of the kind ECC_NIST_P256"
        raise InvalidValue({"kms_key": [f"{algorithm} needs {wanted} in KMS, with the usage SIGN_VERIFY."]})
    return KmsKey(arn=arn, public_jwk=_public_jwk(found["PublicKey"], algorithm))


def _public_jwk(der: bytes, algorithm: SigningAlgorithm) -> dict[str, Any]:
    key = load_der_public_key(der)
    curve_fits = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not curve_fits and not isinstance(key, rsa.RSAPublicKey):
        raise InvalidValue({"kms_key": ["ES256 needs a key of the kind ECC_NIST_P256 in KMS."]})
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    found: dict[str, Any] = jwk.import_key(pem, key_type(algorithm)).as_dict(private=False)
    return found


class _RemoteAlgorithm(JWSAlgModel):
    """A JWS algorithm whose signatures are made elsewhere, from the digest of what is signed."""

    def __init__(self, algorithm: SigningAlgorithm, sign_digest: Callable[[bytes, SigningAlgorithm], bytes]) -> None:
        self._local = JWSRegistry.algorithms[algorithm]
        self._algorithm: SigningAlgorithm = algorithm
        self._sign_digest = sign_digest
        self.name = self._local.name
        self.key_type = self._local.key_type

    def sign(self, msg: bytes, key: Key) -> bytes:
        signature = self._sign_digest(hashlib.sha256(msg).digest(), self._algorithm)
        if self._algorithm != "ES256":
            return signature
        # KMS answers in DER, a JWS has the two numbers side by side (RFC 7518 §3.4).
        return b"".join(number.to_bytes(_P256_BYTES, "big") for number in decode_dss_signature(signature))

    def verify(self, msg: bytes, sig: bytes, key: Key) -> bool:
        return self._local.verify(msg, sig, key)


class _Kms:
    """Blocking calls about one key. The client is made at the first, in the thread that makes it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._client: Any = None
        self._making = threading.Lock()

    def sign(self, digest: bytes, algorithm: SigningAlgorithm) -> bytes:
        """The signature over a SHA-256 digest, as KMS writes it."""
        answer = self.call("sign", Message=digest, MessageType="DIGEST", SigningAlgorithm=_ALGORITHMS[algorithm])
        signature: bytes = answer["Signature"]
        return signature

    def call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """What KMS answers about this key; its errors become ours."""
        _check_installed()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: Mapping[str, Any] = getattr(self._opened(), operation)(KeyId=self._name, **parameters)
        except (BotoCoreError, ClientError) as error:
            problem = _problem(error, self._name)
        else:
            return answer
        raise problem

    def _opened(self) -> Any:
        from boto3.session import Session
        from botocore.config import Config

        with self._making:
            if self._client is None:
                config = Config(
                    connect_timeout=_PATIENCE,
                    read_timeout=_PATIENCE,
                    retries={"total_max_attempts": 2, "mode": "standard"},
                )
                self._client = Session().client("kms", region_name=_region(self._name), config=config)
        return self._client


def _check_installed() -> None:
    try:
        import boto3  # noqa: F401
    except ImportError:
        raise ClientRejected("keys in AWS KMS need boto3; install grantkeeper[aws]") from None


def _region(name: str) -> str | None:
    """The region in an ARN; None leaves it to the AWS settings of this machine."""
    parts = name.split(":")
    return parts[3] or None if name.startswith("arn:") and len(parts) > 3 else None


def _problem(error: Exception, name: str) -> ProviderError:
    """What an error of KMS means. AWS's own text may quote what it was asked with, so only its kind is told."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        code, status = str(error.response.get("Error", {}).get("Code")), _status(error.response)
        if code in _BUSY or status >= 500:
            return ProviderUnavailable(f"AWS KMS cannot sign with {name} now ({code})", sent=False)
        return ClientRejected(f"AWS KMS refuses to use {name} ({code}); check the key and this machine's rights to it")
    kind = type(error).__name__
    if isinstance(error, ConnectionError | HTTPClientError):
        return ProviderUnavailable(f"AWS KMS does not answer for {name} ({kind})", sent=False)
    return ClientRejected(f"AWS KMS cannot be asked for {name} ({kind}); check this machine's AWS settings")


def _status(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
