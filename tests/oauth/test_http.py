"""The socket to providers: bounded in time and size, and nothing carried from one request to the next."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from grantkeeper.clock import SystemClock
from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.http import LARGEST_BODY, ProviderHttp
from grantkeeper.oauth.message import Request
from grantkeeper.testing import hostile
from grantkeeper.testing.hostile import HostileServer
from grantkeeper.testing.server import ProviderServer

Call = Callable[[str], Awaitable[Any]]


@pytest.fixture
async def http() -> AsyncIterator[ProviderHttp]:
    """A provider may take 0.3 seconds."""
    http = ProviderHttp(SystemClock(), 0.3)
    yield http
    await http.close()


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    """A provider on its worst day."""
    async with HostileServer() as server:
        yield server


def self_signed(folder: Path) -> Path:
    """A certificate for `localhost` and its key, vouched for by themselves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "impostor.pem"
    file.write_bytes(key.private_bytes(*plain) + certificate.public_bytes(Encoding.PEM))
    return file


def get(url: str) -> Request:
    """The simplest request."""
    return Request(method="GET", url=url, headers={})


async def test_an_answer_comes_as_it_is(http: ProviderHttp, server: HostileServer) -> None:
    """Status, body, and headers by their names in lower case."""
    server.script("/t", hostile.response(b'{"a": 1}', status=418, headers={"Retry-After": "7", "X-A": "b"}))

    response = await http.send(get(f"{server.url}/t"))

    assert (response.status, response.body) == (418, b'{"a": 1}')
    assert (response.headers["retry-after"], response.headers["x-a"]) == ("7", "b")


@pytest.mark.parametrize(
    "answer",
    [
        hostile.reset(),
        hostile.hang_up(),
        hostile.cut(),
        hostile.never(),
        hostile.drip(),
        hostile.raw(b"nonsense\r\n\r\n"),
    ],
    ids=["reset", "hang-up", "cut", "never", "drip", "nonsense"],
)
async def test_no_whole_answer_is_unavailable(
    http: ProviderHttp, server: HostileServer, answer: hostile.Answer
) -> None:
    """A reset, half a body, silence, or a body that drips for ever: all end within the time limit."""
    server.script("/t", answer)

    with pytest.raises(ProviderUnavailable):
        await http.send(get(f"{server.url}/t"))


@pytest.mark.parametrize("answer", [hostile.big(), hostile.endless_chunks()], ids=["10 MB", "endless"])
async def test_an_answer_without_end_is_cut_off(server: HostileServer, answer: hostile.Answer) -> None:
    """Reading stops at the limit, long before the memory or the time does."""
    http = ProviderHttp(SystemClock(), 30)
    server.script("/t", answer)

    with pytest.raises(ProviderProtocolError, match=str(LARGEST_BODY)):
        await http.send(get(f"{server.url}/t"))
    await http.close()


async def test_a_redirect_is_not_followed(http: ProviderHttp, server: HostileServer) -> None:
    """Whoever redirects a token request does not get the tokens sent elsewhere."""
    server.script("/t", hostile.response(b"", status=307, headers={"location": f"{server.url}/elsewhere"}))

    response = await http.send(get(f"{server.url}/t"))

    assert response.status == 307
    assert server.counts == {"/t": 1}


async def test_nobody_there_is_unavailable(http: ProviderHttp) -> None:
    """A closed port, a name that does not resolve, and something that is no URL."""
    async with HostileServer() as gone:
        url = gone.url
    for address in (url, "http://nowhere.invalid/t", "http://[bad/", "nonsense://x/", ""):
        with pytest.raises(ProviderUnavailable):
            await http.send(get(address))


async def test_a_certificate_that_nobody_vouches_for_is_refused(http: ProviderHttp, tmp_path: Path) -> None:
    """A server in the middle with a certificate of its own never sees a request."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read(1))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as impostor:
        port = impostor.sockets[0].getsockname()[1]
        with pytest.raises(ProviderUnavailable, match="ConnectError"):
            await http.send(get(f"https://localhost:{port}/t"))

    assert requests == []


async def test_no_cookie_goes_from_one_request_to_the_next(http: ProviderHttp) -> None:
    """A provider's session cookie for one account's request must not go along with another's."""
    seen: list[list[bytes]] = []

    async def sets_cookies(scope: Any, _receive: Any, send: Any) -> None:
        seen.append([name for name, _ in scope["headers"]])
        headers = [(b"set-cookie", b"session=of-ada; Path=/"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    async with ProviderServer(sets_cookies) as server:
        for _ in range(3):
            await http.send(get(f"{server.url}/t"))

    assert len(seen) == 3
    assert all(b"cookie" not in names for names in seen)


async def test_the_error_names_no_address(http: ProviderHttp, server: HostileServer) -> None:
    """Query strings of provider URLs stay out of messages."""
    server.script("/t", hostile.reset())

    with pytest.raises(ProviderUnavailable) as failure:
        await http.send(get(f"{server.url}/t?token=secret"))
    assert "secret" not in str(failure.value)
    assert failure.value.__suppress_context__ or failure.value.__context__ is None
