"""TLS towards providers: 1.2 or later, always verified, and a certificate of ours where one is asked for."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from grantkeeper.errors import ClientRejected, ConfigError
from grantkeeper.oauth.signing import ClientCertificate


def context_for(ca_file: Path | None, certificate: ClientCertificate | None) -> ssl.SSLContext:
    """Trusts the machine's certificate authorities and those in `ca_file`; takes a tenth of a second.

    With a certificate it is shown to whoever asks for one (RFC 8705 §2); ClientRejected where it cannot be used.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    if certificate is not None:
        _show(context, certificate)
    return context


def check_authorities(ca_file: Path) -> None:
    """ConfigError where the file has no certificate authorities to trust."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except OSError as error:
        reason = "it holds no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([f"provider_ca_file: {ca_file} cannot be used: {reason}"]) from None


def _show(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    with _key_file() as (file, path):
        file.write(f"{certificate.private_key}\n{certificate.chain}\n".encode())
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(path, password="")
            return
        except (ssl.SSLError, ValueError):
            pass  # what it says may quote the file
    raise ClientRejected(
        f"the certificate {certificate.thumbprint} cannot be used for mutual TLS: "
        "chain and key must be PEM, belong together and have no password; import it again"
    )


@contextmanager
def _key_file() -> Iterator[tuple[IO[bytes], str]]:
    """An empty file and its path, as OpenSSL takes keys from files only: in memory, or else gone at the end."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        with open(descriptor, "wb", buffering=0) as file:
            yield file, f"/proc/self/fd/{descriptor}"
    else:
        with tempfile.NamedTemporaryFile(buffering=0) as named:  # mode 0600
            yield named, named.name
