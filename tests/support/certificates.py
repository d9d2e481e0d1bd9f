"""Certificates for tests: an authority that signs, and self-signed ones. Keys are P-256; nothing outlives the test."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both as PEM."""

    certificate: str
    private_key: str

    @property
    def x509(self) -> x509.Certificate:
        """The certificate, parsed."""
        return x509.load_pem_x509_certificate(self.certificate.encode())

    @property
    def subject(self) -> str:
        """Its distinguished name as RFC 4514 writes it, and `tls_client_auth_subject_dn` wants it."""
        return self.x509.subject.rfc4514_string()


class Authority:
    """A certificate authority. `certificate` (PEM) is what those who trust it are given."""

    def __init__(self, name: str = "Test Authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        signed = _builder(self._name, self._name, self._key, DAY).add_extension(x509.BasicConstraints(True, 0), True)
        self.certificate = _pem(signed.sign(self._key, hashes.SHA256()))

    def server(self, *hosts: str, lifetime: datetime.timedelta = DAY) -> Pair:
        """A certificate for a server that is reached under these names and addresses."""
        return self._issue(hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, hosts, lifetime)

    def client(self, name: str, *hosts: str, lifetime: datetime.timedelta = DAY) -> Pair:
        """A client's certificate: `CN=name`, with these names as subject alternatives."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, hosts, lifetime)

    def _issue(
        self, name: str, usage: x509.ObjectIdentifier, hosts: Sequence[str], lifetime: datetime.timedelta = DAY
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self._name, key, lifetime)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        if hosts:
            names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
            builder = builder.add_extension(names, False)
        return Pair(_pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))


def self_signed(name: str, lifetime: datetime.timedelta = DAY) -> Pair:
    """A certificate that nobody vouches for: whoever takes it must know it beforehand (RFC 8705 §2.2)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_pem(_builder(_name(name), _name(name), key, lifetime).sign(key, hashes.SHA256())), _key_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - DAY).not_valid_after(now + lifetime)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
