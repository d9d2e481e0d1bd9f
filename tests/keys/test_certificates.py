"""Certificates as operators hand them in: what is taken, and what is refused with its own reason."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from grantkeeper.clock import DAY, SECOND
from grantkeeper.errors import InvalidValue
from grantkeeper.keys.certificates import check_name, not_after, read_certificate
from grantkeeper.testing import FakeClock
from tests.keys.certificates import new_key, pem, self_signed
from tests.keys.rings import PRIVATE_MEMBERS

NOW = FakeClock().now()
KEY = new_key()
PEM = pem(KEY)
LEAF = self_signed(KEY, NOW)


@pytest.mark.parametrize(("kind", "kty"), [("P-256", "EC"), ("2048", "RSA"), ("Ed25519", "OKP")])
def test_each_kind_of_key(kind: str, kty: str) -> None:
    """It is read, and published with the certificate and its thumbprint, without a private member."""
    key = new_key(kind)
    leaf = self_signed(key, NOW)
    read = read_certificate(leaf, pem(key), NOW)
    der = x509.load_pem_x509_certificate(leaf).public_bytes(Encoding.DER)
    fingerprint = x509.load_pem_x509_certificate(leaf).fingerprint(SHA256())
    assert base64.urlsafe_b64decode(read.certificate.thumbprint + "=") == fingerprint
    assert (read.public_jwk["kty"], read.public_jwk["use"]) == (kty, "sig")
    assert base64.b64decode(read.public_jwk["x5c"][0]) == der
    assert read.public_jwk["kid"] == read.public_jwk["x5t#S256"] == read.certificate.thumbprint
    assert PRIVATE_MEMBERS.isdisjoint(read.public_jwk)


def test_a_chain_is_kept_in_its_order() -> None:
    """The leaf, then those that vouch for it; what stands around the certificates is left out."""
    above = self_signed(new_key(), NOW, name="authority")
    read = read_certificate(b"subject=client\n" + LEAF + b"\n" + above, PEM, NOW)
    assert read.certificate.chain.encode() == LEAF + above
    assert len(read.public_jwk["x5c"]) == 2


def test_when_it_ends() -> None:
    """To the second, from what is stored."""
    read = read_certificate(self_signed(KEY, NOW, ends=40 * DAY), PEM, NOW)
    assert not_after(read.certificate.chain) == (NOW + 40 * DAY) // SECOND * SECOND


@pytest.mark.parametrize(
    ("chain", "key", "problem"),
    [
        (LEAF, pem(new_key()), "does not belong to this private key"),
        (self_signed(new_key(), NOW) + LEAF, PEM, "the leaf must come first"),
        (self_signed(KEY, NOW, begins=-2 * DAY, ends=-DAY), PEM, "ended on 2026-01-15"),
        (self_signed(KEY, NOW, begins=DAY, ends=2 * DAY), PEM, "is not valid before 2026-01-17"),
        (PEM, PEM, "is no certificate in PEM"),
        (b"", PEM, "is no certificate in PEM"),
        (LEAF[:-60], PEM, "is no certificate in PEM"),
        (LEAF, LEAF, "is no private key in PEM"),
        (LEAF, b"\xff", "is no private key in PEM"),
        (LEAF, pem(KEY, b"hush-hush"), "is encrypted; decrypt it first"),
        (LEAF, pem(new_key("1024")), "at least 2048"),
        (LEAF, pem(new_key("secp256k1")), "on the curve secp256k1"),
    ],
)
def test_what_is_refused(chain: bytes, key: bytes, problem: str) -> None:
    """Each with its own reason, in which no line of the key stands."""
    with pytest.raises(InvalidValue, match=problem) as caught:
        read_certificate(chain, key, NOW)
    lines = [line for line in key.decode("latin-1").splitlines() if line]
    assert [line for line in lines if line in str(caught.value)] == []


@pytest.mark.parametrize("name", ["", "Bank", "a b", "-bank", "a/b", "ä", "a" * 64])
def test_names(name: str) -> None:
    """A name stands in settings files and commands: it must be a plain word."""
    with pytest.raises(InvalidValue, match="lower-case"):
        check_name(name)
    assert check_name("bank-2_eu") == "bank-2_eu"
