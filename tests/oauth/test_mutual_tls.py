"""Mutual TLS (RFC 8705 §2): our certificate is shown where it is asked for, and to nobody under another's name."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from grantkeeper.errors import ClientRejected, ProviderUnavailable
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request
from grantkeeper.oauth.signing import ClientCertificate
from grantkeeper.oauth.tls import context_for
from tests.support.certificates import Authority, Pair
from tests.support.tls import TlsServer, server_context, shown_as, tls_server


@pytest.fixture(scope="module")
def authority() -> Authority:
    """It signs for server and clients."""
    return Authority()


@pytest.fixture
async def http(authority: Authority, tmp_path: Path) -> AsyncIterator[ProviderHttp]:
    """The product's socket, which trusts that authority."""
    file = tmp_path / "ca.pem"
    file.write_text(authority.certificate)
    http = ProviderHttp(20, allowed=["127.0.0.1"], ca_file=file)
    yield http
    await http.close()


@pytest.fixture
def demanding(authority: Authority) -> ssl.SSLContext:
    """A server that talks to nobody without a certificate of that authority."""
    return server_context(authority.server("127.0.0.1"), authority.certificate)


@pytest.fixture
async def server(demanding: ssl.SSLContext) -> AsyncIterator[TlsServer]:
    """It takes whatever client there is, and notes its certificate."""
    demanding.verify_mode = ssl.CERT_OPTIONAL
    async with tls_server(demanding) as server:
        yield server


def request(server: TlsServer, scheme: str = "https") -> Request:
    """The simplest request to that server."""
    return Request(method="GET", url=f"{scheme}://127.0.0.1:{server.port}/t", headers={})


def certificate(authority: Authority, name: str = "grantkeeper") -> ClientCertificate:
    """A certificate of ours."""
    return shown_as(authority.client(name))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_demands_one(
    http: ProviderHttp, authority: Authority, demanding: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """It sees ours, by its thumbprint."""
    demanding.maximum_version = version
    ours = certificate(authority)
    async with tls_server(demanding) as server:
        assert (await http.send(request(server), ours)).status == 204
        assert [visit.thumbprint for visit in server.visits] == [ours.thumbprint]


async def test_without_a_certificate(http: ProviderHttp, authority: Authority, demanding: ssl.SSLContext) -> None:
    """Such a server does not answer who shows none, nor who shows one of another authority."""
    async with tls_server(demanding) as server:
        for shown in (None, shown_as(Authority("Other").client("grantkeeper"))):
            with pytest.raises(ProviderUnavailable):
                await http.send(request(server), shown)
    assert [visit for visit in server.visits if visit.requests] == []


async def test_connections_are_kept_apart(http: ProviderHttp, authority: Authority, server: TlsServer) -> None:
    """An idle connection is used again by whom it was opened for: the same certificate, or none."""
    ours, other = certificate(authority), certificate(authority, "other")
    for shown in (ours, None, other, ours, None, other, other):
        assert (await http.send(request(server), shown)).status == 204
    found = {visit.thumbprint: visit.requests for visit in server.visits}
    assert found == {ours.thumbprint: 2, None: 2, other.thumbprint: 3}
    assert len(server.visits) == 3


async def test_at_one_time(http: ProviderHttp, authority: Authority, server: TlsServer) -> None:
    """Requests that open their connections together have each its own certificate."""
    ours = [certificate(authority, f"client-{number}") for number in range(4)]
    await asyncio.gather(*(http.send(request(server), shown) for shown in ours))
    assert {visit.thumbprint for visit in server.visits} == {shown.thumbprint for shown in ours}


async def test_the_server_is_verified_all_the_same(http: ProviderHttp, authority: Authority) -> None:
    """A certificate of ours opens no door to a server that cannot prove its name."""
    impostor = server_context(Authority("Other").server("127.0.0.1"), authority.certificate)
    async with tls_server(impostor) as server:
        with pytest.raises(ProviderUnavailable, match="SSLCertVerificationError") as failure:
            await http.send(request(server), certificate(authority))
    assert server.visits == []
    assert not failure.value.sent


def broken(authority: Authority) -> dict[str, ClientCertificate]:
    """Certificates that cannot be used."""
    ours, other = authority.client("grantkeeper"), authority.client("other")
    key = serialization.load_pem_private_key(ours.private_key.encode(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    ).decode()
    return {
        "another's key": shown_as(Pair(ours.certificate, other.private_key)),
        "a key with a password": shown_as(Pair(ours.certificate, locked)),
        "no key": shown_as(Pair(ours.certificate, "")),
        "no certificate": ClientCertificate(chain="", private_key=ours.private_key, thumbprint="none"),
    }


@pytest.mark.parametrize("what", ["another's key", "a key with a password", "no key", "no certificate"])
async def test_a_certificate_that_cannot_be_used(
    http: ProviderHttp, authority: Authority, server: TlsServer, what: str
) -> None:
    """The operator is told which, without its key; nothing is sent, and nobody is asked for a password."""
    shown = broken(authority)[what]
    with pytest.raises(ClientRejected, match="import it again") as refusal:
        await http.send(request(server), shown)
    assert shown.thumbprint in refusal.value.message
    assert "PRIVATE" not in refusal.value.message
    assert refusal.value.__context__ is None
    assert not refusal.value.sent
    assert server.visits == []


async def test_plain_http_shows_nothing(http: ProviderHttp, authority: Authority, server: TlsServer) -> None:
    """Where a certificate is wanted a request does not go without it."""
    with pytest.raises(ClientRejected, match="https only"):
        await http.send(request(server, "http"), certificate(authority))
    assert server.visits == []


@pytest.mark.parametrize("memory", [True, False])
def test_the_key_leaves_no_file(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: bool
) -> None:
    """OpenSSL reads keys from files: one in memory, or one for us alone that is gone at once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    modes = []
    load = ssl.SSLContext.load_cert_chain

    def noted(context: ssl.SSLContext, file: str, password: str) -> None:
        modes.append(os.stat(file).st_mode & 0o077 if file.startswith(str(tmp_path)) else 0)
        assert [*tmp_path.iterdir()] == ([] if memory else [Path(file)])
        load(context, file, password=password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noted)
    before = os.listdir("/proc/self/fd")
    context_for(None, certificate(authority))
    assert modes == [0]
    assert [*tmp_path.iterdir()] == []
    assert os.listdir("/proc/self/fd") == before
