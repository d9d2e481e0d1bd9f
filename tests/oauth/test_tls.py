"""TLS towards providers: 1.2 or later, and a certificate that an authority has given to the very name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import uvloop

from grantkeeper.errors import AddressRefused, ConfigError, ProviderUnavailable
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request
from grantkeeper.oauth.tls import context_for
from tests.support.certificates import Authority, self_signed
from tests.support.tls import server_context, tls_server

NAME = "idp.test"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The one that the operator trusts."""
    return Authority()


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> Path:
    """Its certificate, as `provider_ca_file` names it."""
    file = tmp_path / "ca.pem"
    file.write_text(authority.certificate)
    return file


@asynccontextmanager
async def client(ca_file: Path | None) -> AsyncIterator[ProviderHttp]:
    """The product's socket; every name is this machine."""

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    http = ProviderHttp(20, allowed=["127.0.0.1"], ca_file=ca_file, resolve=resolve)
    try:
        yield http
    finally:
        await http.close()


async def answer(ca_file: Path | None, url: str) -> int:
    """The status that a plain request gets."""
    async with client(ca_file) as http:
        return (await http.send(Request(method="GET", url=url, headers={}))).status


async def refused(ca_file: Path | None, context: ssl.SSLContext, host: str = NAME) -> str:
    """The message for a server that must never see a request."""
    async with tls_server(context) as server:
        with pytest.raises(ProviderUnavailable) as failure:
            await answer(ca_file, f"https://{host}:{server.port}/t")
    assert [visit for visit in server.visits if visit.requests] == []
    assert not failure.value.sent
    return failure.value.message


async def test_an_authority_of_the_operators(authority: Authority, ca_file: Path) -> None:
    """The name is asked for and proved, although it is an address that is connected to; the newest TLS is spoken."""
    async with tls_server(server_context(authority.server(NAME))) as server:
        assert await answer(ca_file, f"https://{NAME}:{server.port}/t") == 204
    assert server.names == [NAME]
    assert [visit.version for visit in server.visits] == ["TLSv1.3"]


def test_the_loop_that_serves(authority: Authority, ca_file: Path) -> None:
    """The same on uvloop, whose connections and resolver are its own."""

    async def ask() -> None:
        async with tls_server(server_context(authority.server(NAME, "localhost"))) as server:
            assert await answer(ca_file, f"https://{NAME}:{server.port}/t") == 204
            http = ProviderHttp(20, allowed=["127.0.0.0/8", "::1"], ca_file=ca_file)
            try:
                request = Request(method="GET", url=f"https://localhost:{server.port}/t", headers={})
                assert (await http.send(request)).status == 204
            finally:
                await http.close()
            stranger = ProviderHttp(20, ca_file=ca_file)
            with pytest.raises(AddressRefused):
                await stranger.send(request)
        assert server.names == [NAME, "localhost"]

    uvloop.run(ask())


async def test_an_address_with_a_certificate(authority: Authority, ca_file: Path) -> None:
    """An address in the URL has to stand in the certificate as an address."""
    async with tls_server(server_context(authority.server("127.0.0.1"))) as server:
        assert await answer(ca_file, f"https://127.0.0.1:{server.port}/t") == 204
    message = await refused(ca_file, server_context(authority.server(NAME)), "127.0.0.1")
    assert "SSLCertVerificationError" in message


async def test_authorities_are_added(ca_file: Path) -> None:
    """The operator's stand beside the machine's, not in their place."""
    machines = context_for(None, None).cert_store_stats()["x509_ca"]
    assert context_for(ca_file, None).cert_store_stats()["x509_ca"] == machines + 1


async def test_an_unknown_authority(authority: Authority, ca_file: Path) -> None:
    """One that neither the machine nor the operator trusts, and a certificate that vouches for itself."""
    assert "SSLCertVerificationError" in await refused(None, server_context(authority.server(NAME)))
    assert "SSLCertVerificationError" in await refused(ca_file, server_context(Authority().server(NAME)))
    assert "SSLCertVerificationError" in await refused(ca_file, server_context(self_signed(NAME)))


@pytest.mark.parametrize(
    "named", ["other.test", "x.idp.test", "test", "*.test.", "*", "127.0.0.1", "idp.test.evil.example"]
)
async def test_another_name(authority: Authority, ca_file: Path, named: str) -> None:
    """A good certificate of somebody else, even of the very address that is connected to."""
    assert "SSLCertVerificationError" in await refused(ca_file, server_context(authority.server(named)))


async def test_out_of_date(authority: Authority, ca_file: Path) -> None:
    """A certificate that was good an hour ago."""
    expired = authority.server(NAME, lifetime=timedelta(hours=-1))
    assert "SSLCertVerificationError" in await refused(ca_file, server_context(expired))


async def test_a_client_is_no_server(authority: Authority, ca_file: Path) -> None:
    """A client's certificate from the right authority, with the right name, is not a server's (RFC 5280 §4.2.1.12)."""
    assert "SSLCertVerificationError" in await refused(ca_file, server_context(authority.client(NAME, NAME)))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_tls(authority: Authority, ca_file: Path, version: ssl.TLSVersion) -> None:
    """A server that speaks nothing newer is refused, though others would talk to it (RFC 8996)."""
    context = server_context(authority.server(NAME))
    _only(context, version)
    assert "ConnectError" in await refused(ca_file, context)

    lax = ssl.create_default_context(cadata=authority.certificate)
    _only(lax, version)
    async with tls_server(context) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=lax, server_hostname=NAME)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 204 No Content\r\n"
        writer.close()


def _only(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version


async def test_tls_1_2(authority: Authority, ca_file: Path) -> None:
    """Still good."""
    context = server_context(authority.server(NAME))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with tls_server(context) as server:
        assert await answer(ca_file, f"https://{NAME}:{server.port}/t") == 204
    assert [visit.version for visit in server.visits] == ["TLSv1.2"]


async def test_no_tls_at_all(ca_file: Path) -> None:
    """A server that speaks plain HTTP on the port of an https URL does not see the request."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(100))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(ProviderUnavailable) as failure:
            await answer(ca_file, f"https://{NAME}:{server.sockets[0].getsockname()[1]}/secret-path")
    assert not failure.value.sent
    assert b"secret-path" not in heard


def test_what_every_context_demands(ca_file: Path) -> None:
    """Stated by us, not left to Python's defaults: 1.2 at least, an authority, the name."""
    context = context_for(ca_file, None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    "content", [None, "", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_authorities_that_are_none(tmp_path: Path, content: str | None) -> None:
    """A file that is missing, empty or something else is told at the start, with its name."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"provider_ca_file: .*ca\.pem cannot be used: "):
        ProviderHttp(20, ca_file=file)
