"""Certificates for tests: made on the spot, valid around the time that a clock shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from grantkeeper.clock import DAY, SECOND, Instant


def new_key(kind: str = "P-256") -> Any:
    """A private key: `P-256`, `secp256k1`, `Ed25519`, or RSA of so many bits."""
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.isdecimal():
        return rsa.generate_private_key(65537, int(kind))
    return ec.generate_private_key(ec.SECP256K1() if kind == "secp256k1" else ec.SECP256R1())


def self_signed(key: Any, now: Instant, *, begins: int = -DAY, ends: int = 365 * DAY, name: str = "client") -> bytes:
    """A certificate in PEM over this key, from and until so many microseconds from now."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_date(now + begins))
        .not_valid_after(_date(now + ends))
    )
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())
    return signed.public_bytes(Encoding.PEM)


def pem(key: Any, password: bytes | None = None) -> bytes:
    """A private key in PEM."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return text


def _date(instant: Instant) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=instant // SECOND)
