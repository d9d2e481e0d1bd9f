"""The shipped clock and the shipped loopback servers, the well-behaved one and the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest

from grantkeeper.testing import FakeClock, FakeProvider, hostile
from grantkeeper.testing.asgi import Message, Receive, Scope, Send
from grantkeeper.testing.hostile import HostileServer
from grantkeeper.testing.server import ProviderServer
from tests.support.provider_client import (
    CLIENT,
    ProviderClient,
    good,
    plain_client,
    served_provider,
)


@pytest.fixture
async def provider() -> AsyncIterator[ProviderClient]:
    """A provider in mode grace, under a prefix."""
    async with served_provider() as provider:
        yield provider


class TestFakeClock:
    """Time that stands still."""

    async def test_advance(self) -> None:
        """Both clocks move together, and sleepers wake when their time has come and not before."""
        clock = FakeClock(start=1_000_000)
        woken: list[float] = []

        async def sleeper(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2, 60)]
        await clock.wait_for_sleepers(4)
        clock.advance(0.999999)
        await asyncio.sleep(0)
        assert woken == []
        clock.advance(1.000001)
        await asyncio.gather(tasks[1], tasks[2])
        assert woken == [1, 2]
        assert (clock.now(), clock.monotonic(), clock.sleepers) == (3_000_000, 2.0, 2)
        tasks[3].cancel()
        await asyncio.gather(tasks[3], return_exceptions=True)
        assert clock.sleepers == 1
        clock.advance(1)
        await tasks[0]
        assert clock.sleepers == 0

    async def test_no_way_back(self) -> None:
        """Time cannot be moved backwards, and sleeping for nothing does not wait."""
        clock = FakeClock()
        with pytest.raises(ValueError, match="backwards"):
            clock.advance(-1)
        await clock.sleep(0)


class TestProviderServer:
    """The loopback server for ASGI applications."""

    async def test_200_at_once(self, provider: ProviderClient) -> None:
        """200 connections are open and held at the same time, and all are answered."""
        grants = [provider.fake.issue(CLIENT.client_id) for _ in range(200)]
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        provider.fake.hold()
        async with httpx2.AsyncClient(limits=limits, timeout=30) as http:
            many = ProviderClient(provider.fake, provider.clock, http)
            waiting = [asyncio.create_task(many.refresh(grant.refresh_token)) for grant in grants]
            await provider.fake.wait_for_held(200)
            provider.fake.release()
            for response in await asyncio.gather(*waiting):
                good(response)
        assert set(provider.fake.refresh_counts.values()) == {1}

    async def test_streams_and_keeps_alive(self) -> None:
        """Bodies stream both ways over a connection that is used again."""
        peers: set[object] = set()

        async def echo(scope: Scope, receive: Receive, send: Send) -> None:
            peers.add(scope["client"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            more = True
            while more:
                message: Message = await receive()
                more = message["more_body"]
                await send({"type": "http.response.body", "body": message["body"], "more_body": more})

        async with ProviderServer(echo) as server, plain_client() as http:
            for size in (0, 10, 300_000):
                body = bytes(range(250)) * (size // 250)
                assert (await http.post(server.url, content=body)).content == body
        assert len(peers) == 1

    async def test_application_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """An application that raises is a 500 and a log line, and the server goes on."""

        async def broken(scope: Scope, _receive: Receive, _send: Send) -> None:
            raise RuntimeError(scope["path"])

        async with ProviderServer(broken) as server, plain_client() as http:
            for _ in range(2):
                assert (await http.get(server.url)).status_code == 500
        assert "The served application failed." in caplog.text

    async def test_stops_while_a_request_waits(self) -> None:
        """Leaving the block cuts a request in flight and frees the port for the next server."""
        started = asyncio.Event()
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(plain_client())

            async def silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
                started.set()
                await asyncio.Event().wait()

            async with ProviderServer(silent) as server:
                waiting = asyncio.create_task(http.get(server.url))
                await started.wait()
            with pytest.raises(httpx2.TransportError):
                await waiting
            with pytest.raises(httpx2.ConnectError):
                await http.get(server.url)
            fake = FakeProvider(server.url, [CLIENT], FakeClock())
            async with ProviderServer(fake, port=server.port):
                assert (await http.get(f"{server.url}/userinfo")).status_code == 401
            fake.close()

    async def test_disconnect_is_told(self) -> None:
        """An application that waits for the client to leave is told when it does."""
        started, told = asyncio.Event(), asyncio.Event()

        async def patient(_scope: Scope, receive: Receive, _send: Send) -> None:
            assert (await receive())["type"] == "http.request"
            started.set()
            assert (await receive())["type"] == "http.disconnect"
            told.set()

        async with ProviderServer(patient) as server, plain_client() as http:
            waiting = asyncio.create_task(http.get(server.url))
            await started.wait()
            waiting.cancel()
            await told.wait()

    @pytest.mark.parametrize(
        "sent", [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhal"]
    )
    async def test_bad_clients(self, sent: bytes) -> None:
        """Bytes that are no HTTP, or stop half-way, end their connection and nothing else."""
        fake = FakeProvider("http://demo.example", [CLIENT], FakeClock())
        async with ProviderServer(fake) as server, plain_client() as http:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent)
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            assert (await http.get(f"{server.url}/userinfo")).status_code == 401
        fake.close()


class TestHostileServer:
    """Every bad answer is the bad answer it says it is."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[HostileServer]:
        """A hostile server."""
        async with HostileServer() as server:
            yield server

    @pytest.mark.parametrize(
        ("answer", "status", "body"),
        [
            (hostile.html(), 200, b"<!doctype html><h1>Down for maintenance</h1>"),
            (hostile.empty(status=204), 204, b""),
            (hostile.json_body({"expires_in": "soon"}, status=400), 400, b'{"expires_in": "soon"}'),
            (hostile.raw(b"HTTP/1.1 418 x\r\n\r\nteapot"), 418, b"teapot"),
        ],
    )
    async def test_readable_answers(
        self, server: HostileServer, answer: hostile.Answer, status: int, body: bytes
    ) -> None:
        """Scripted status and body arrive as they are."""
        server.script("/token", answer)
        async with plain_client() as http:
            response = await http.post(f"{server.url}/token?x=y", data={"a": "b"})
        assert (response.status_code, response.content) == (status, body)
        assert server.counts == {"/token": 1}

    async def test_big(self, server: HostileServer) -> None:
        """Ten megabytes arrive whole, and are correct JSON."""
        server.script("/token", hostile.big())
        async with plain_client() as http:
            response = await http.get(f"{server.url}/token")
        assert len(response.content) == 10 * 1024 * 1024
        assert response.json()["token_type"] == "Bearer"

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (hostile.reset(), httpx2.ReadError),
            (hostile.hang_up(), httpx2.RemoteProtocolError),
            (hostile.cut(), httpx2.RemoteProtocolError),
        ],
    )
    async def test_broken_connections(
        self, server: HostileServer, answer: hostile.Answer, error: type[Exception]
    ) -> None:
        """A reset, a silent close and a body cut short are told apart by the client."""
        server.script("/token", answer)
        async with plain_client() as http:
            with pytest.raises(error):
                await http.post(f"{server.url}/token", data={"a": "b"})

    @pytest.mark.parametrize("answer", [hostile.endless_chunks(), hostile.drip(0.001)])
    async def test_bodies_without_end(self, server: HostileServer, answer: hostile.Answer) -> None:
        """A body without end goes on for as long as the client reads."""
        server.script("/token", answer)
        async with plain_client() as http, http.stream("GET", f"{server.url}/token") as response:
            pieces = response.aiter_raw()
            for _ in range(20):
                assert await anext(pieces)

    async def test_never(self, server: HostileServer) -> None:
        """No answer is no answer; leaving the block ends the wait."""
        server.script("/token", hostile.never())
        async with httpx2.AsyncClient(timeout=None) as http:
            waiting = asyncio.create_task(http.get(f"{server.url}/token"))
            await server.wait_for_requests("/token")
            assert not waiting.done()
            await server.__aexit__(None, None, None)
            with pytest.raises(httpx2.TransportError):
                await waiting

    async def test_sequence(self, server: HostileServer) -> None:
        """Answers come in order and the last one stays; a path without a script is a 404."""
        server.script("/token", hostile.empty(status=503), hostile.html())
        async with plain_client() as http:
            statuses = [(await http.get(f"{server.url}/token")).status_code for _ in range(3)]
            assert statuses == [503, 200, 200]
            assert (await http.get(f"{server.url}/other")).status_code == 404
