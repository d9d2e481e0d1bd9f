"""Certificates for mutual TLS as an operator hands them in: read, checked, and made ready to be stored."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from joserfc import jwk
from joserfc.util import urlsafe_b64encode

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import InvalidValue
from grantkeeper.keys.software import public_jwk
from grantkeeper.model import Record
from grantkeeper.oauth.signing import ClientCertificate

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LEAST_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class Import(Record, frozen=True):
    """A certificate that may be stored: its key belongs to it. Its `repr` shows no key."""

    certificate: ClientCertificate
    public_jwk: dict[str, Any]

    def __repr__(self) -> str:
        return f"Import(thumbprint={self.certificate.thumbprint!r})"


def check_name(name: str) -> str:
    """The name under which a certificate is imported, or InvalidValue: it stands in settings files."""
    if not _NAME.fullmatch(name):
        raise _refused("name", "must be lower-case letters, digits, - and _, at most 63, beginning with no - or _")
    return name


def read_certificate(chain: bytes, private_key: bytes, now: Instant) -> Import:
    """The certificate chain, leaf first, and its private key, both PEM; InvalidValue says what is wrong with them."""
    certificates = _chain(chain)
    leaf = certificates[0]
    key = _private_key(private_key)
    if _der(key.public_key()) != _der(_public_key(leaf)):
        raise _refused("certificate", "does not belong to this private key: the leaf must come first in its file")
    _check_dates(leaf, now)
    thumbprint = thumbprint_of(leaf)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    certificate = ClientCertificate(chain=text.decode(), private_key=pem.decode(), thumbprint=thumbprint)
    return Import(certificate=certificate, public_jwk=_published(certificates, thumbprint))


def self_signed(private_key: bytes, name: str, now: Instant, days: int) -> str:
    """A certificate (PEM) by which a provider that takes no JWKS knows a key that signs; nobody else vouches for it.

    `name`: its common name, at most 64 characters; `days`: how long it is good.
    """
    key = _private_key(private_key)
    begins = datetime.fromtimestamp(now // SECOND, UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


def not_after(chain: str) -> Instant:
    """When a stored chain's leaf ends."""
    return _instant(_ends(x509.load_pem_x509_certificate(chain.encode())))


def thumbprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate in base64url: `x5t#S256` (RFC 7517 §4.9, RFC 8705 §3.1)."""
    return urlsafe_b64encode(certificate.fingerprint(SHA256())).decode()


def _chain(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise _refused("certificate", "is no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None


def _private_key(pem: bytes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        return _supported(load_pem_private_key(pem, None))
    except TypeError:
        hint = "decrypt it first: openssl pkey -in FILE -out NEW; it is sealed when it is imported"
        raise _refused("key", f"is encrypted; {hint}") from None
    except ValueError:
        raise _refused("key", "is no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None


def _supported(key: PrivateKeyTypes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise _refused("key", "must be an RSA, elliptic-curve or Ed25519 key")
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, _CURVES):
        raise _refused("key", f"is on the curve {key.curve.name}; P-256, P-384 and P-521 are known")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _LEAST_RSA_BITS:
        raise _refused("key", f"is an RSA key of {key.key_size} bits; at least {_LEAST_RSA_BITS} are needed")
    return key


def _public_key(certificate: x509.Certificate) -> PublicKeyTypes:
    try:
        return certificate.public_key()
    except Exception:  # Whatever cryptography makes of an algorithm that it does not know.
        raise _refused("certificate", "holds a key of an unknown kind") from None


def _check_dates(leaf: x509.Certificate, now: Instant) -> None:
    if _instant(_ends(leaf)) <= now:
        raise _refused("certificate", f"ended on {_ends(leaf):%Y-%m-%d}; get a new one")
    if _instant(leaf.not_valid_before_utc) > now:
        raise _refused("certificate", f"is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M}Z")


def _published(certificates: list[x509.Certificate], thumbprint: str) -> dict[str, Any]:
    """Its public key with the chain, by which a provider knows a self-signed certificate (RFC 8705 §2.2)."""
    key = _public_key(certificates[0])
    kind: Any = "RSA" if isinstance(key, rsa.RSAPublicKey) else "EC"
    if isinstance(key, ed25519.Ed25519PublicKey):
        kind = "OKP"
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # Plain base64, as RFC 7517 §4.7 has it for x5c alone.
    x5c = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode() for certificate in certificates]
    return public_jwk(jwk.import_key(pem, kind).as_dict(private=False), thumbprint, x5c=x5c, **{"x5t#S256": thumbprint})


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _ends(certificate: x509.Certificate) -> datetime:
    return certificate.not_valid_after_utc


def _instant(at: datetime) -> Instant:
    return int(at.astimezone(UTC).timestamp()) * SECOND


def _refused(field: str, problem: str) -> InvalidValue:
    return InvalidValue({field: [f"The {field} {problem}."]})
