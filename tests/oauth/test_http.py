"""The socket to providers: bounded in time and size, and nothing carried from one request to the next."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import grantkeeper
from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.http import DRAIN, LARGEST_BODY, OVERSLEPT, SEND_BY, ProviderHttp
from grantkeeper.oauth.message import Request
from grantkeeper.testing import hostile
from grantkeeper.testing.hostile import HostileServer
from grantkeeper.testing.server import ProviderServer
from tests.support.process import Process, clean_environment

LOOPBACK = ("127.0.0.1",)
"""Where these servers are."""


@pytest.fixture
async def http() -> AsyncIterator[ProviderHttp]:
    """Patient enough for every answer that comes at all."""
    http = ProviderHttp(20, allowed=LOOPBACK)
    yield http
    await http.close()


@pytest.fixture
async def impatient() -> AsyncIterator[ProviderHttp]:
    """A provider may take 2 seconds, of which one may pass before the request is sent."""
    http = ProviderHttp(2, allowed=LOOPBACK)
    yield http
    await http.close()


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    """A provider on its worst day."""
    async with HostileServer() as server:
        yield server


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
    impatient: ProviderHttp, server: HostileServer, answer: hostile.Answer
) -> None:
    """A reset, half a body, silence, a body that drips for ever: all end in time, and the request may have worked."""
    server.script("/t", answer)

    with pytest.raises(ProviderUnavailable) as failure:
        await impatient.send(get(f"{server.url}/t"))

    assert failure.value.sent
    assert server.counts == {"/t": 1}


@pytest.mark.parametrize("answer", [hostile.big(), hostile.endless_chunks()], ids=["10 MB", "endless"])
async def test_an_answer_without_end_is_cut_off(server: HostileServer, answer: hostile.Answer) -> None:
    """Reading stops at the limit, long before the memory or the time does."""
    http = ProviderHttp(30, allowed=LOOPBACK)
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


async def test_nobody_there_is_unavailable(impatient: ProviderHttp) -> None:
    """A closed port, a name that does not resolve, and something that is no URL: surely nothing was sent."""
    async with HostileServer() as gone:
        url = gone.url
    for address in (url, "http://nowhere.invalid/t", "http://[bad/", "http:// 127.0.0.1/", "nonsense://x/", ""):
        with pytest.raises(ProviderUnavailable) as failure:
            await impatient.send(get(address))
        assert not failure.value.sent


async def test_a_connection_that_is_never_ready_gets_no_request() -> None:
    """A server that takes the connection and never ends the TLS handshake has not seen a request."""
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                heard.extend(data)
        finally:
            writer.close()

    http = ProviderHttp(1, allowed=LOOPBACK)
    async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(ProviderUnavailable, match="timeout") as failure:
            await http.send(get(f"https://127.0.0.1:{port}/secret-path"))
    await http.close()

    assert not failure.value.sent
    assert heard[:1] != b"G"
    assert b"secret-path" not in heard


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


async def test_whoever_leaves_ends_the_exchange(http: ProviderHttp) -> None:
    """Cancelled from outside, a request leaves no connection and no task behind."""
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        assert await reader.read() == b""
        closed.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        before = asyncio.all_tasks()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/t"
        sending = asyncio.create_task(http.send(get(url)))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(closed.wait(), 20)
        left = [task for task in asyncio.all_tasks() - before if "Exchange" in repr(task.get_coro())]

    assert left == []


class TestFrozen:
    """A process that does not run for a while: paused with its machine, stopped by a signal, or starved."""

    async def test_an_answer_that_follows_shortly_is_read(self) -> None:
        """Awake after the time limit, it waits a moment for what is under way."""
        http = ProviderHttp(2, allowed=LOOPBACK)
        go = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await go.wait()
            await asyncio.sleep(0.2)  # a part of DRAIN
            await hostile.response(b"{}", status=201)(writer)

        async with HostileServer() as server:
            server.script("/t", answer)
            sending = asyncio.create_task(http.send(get(f"{server.url}/t")))
            await server.wait_for_requests("/t")
            go.set()
            time.sleep(http.timeout + 2 * OVERSLEPT)  # the loop stands still, as the whole process would
            assert (await sending).status == 201
        await http.close()

    async def test_the_moment_ends_with_the_answer(self) -> None:
        """The next request on the same connection has all its time: the last one's patience is not its own."""
        http, asked, connections = ProviderHttp(2, allowed=LOOPBACK), asyncio.Event(), []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            try:
                for pause in (0, DRAIN + 0.3):
                    await reader.readuntil(b"\r\n\r\n")
                    asked.set()
                    await asyncio.sleep(pause)
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await reader.read()
            finally:
                writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/t"
            sending = asyncio.create_task(http.send(get(url)))
            # It is asked, and nothing more happens in this process until the time limit is over.
            await asked.wait()
            time.sleep(http.timeout + 2 * OVERSLEPT)
            assert (await sending).status == 204
            assert (await http.send(get(url))).status == 204
            await http.close()

        assert len(connections) == 1

    async def test_an_answer_that_never_comes_is_not_awaited_for_ever(self) -> None:
        """The moment is short."""
        http = ProviderHttp(1, allowed=LOOPBACK)
        async with HostileServer() as server:
            server.script("/t", hostile.never())
            sending = asyncio.create_task(http.send(get(f"{server.url}/t")))
            await server.wait_for_requests("/t")
            time.sleep(http.timeout + 2 * OVERSLEPT)
            async with asyncio.timeout(20):
                with pytest.raises(ProviderUnavailable, match="timeout") as failure:
                    await sending
        await http.close()
        assert failure.value.sent

    async def test_nothing_is_sent_too_late(self) -> None:
        """Frozen while it connected, it does not send a request whose time is over: another may have sent it."""
        http = ProviderHttp(1, allowed=LOOPBACK)
        async with HostileServer() as server:
            sending = asyncio.create_task(http.send(get(f"{server.url}/t")))
            await asyncio.sleep(0)  # it has begun, and is not connected yet
            time.sleep(http.timeout * SEND_BY + 0.01)
            with pytest.raises(ProviderUnavailable, match="timeout") as failure:
                await sending
            assert server.counts == {}
        await http.close()
        assert not failure.value.sent

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    async def test_what_came_while_stopped_is_kept(self, tmp_path: Path, loop: str) -> None:
        """Stopped by a signal past its time limit, a process finds the answer in its socket, and takes it."""
        timeout, answered, go = 2.0, asyncio.Event(), asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await go.wait()
            await hostile.json_body({"access_token": "kept"}, status=202)(writer)
            answered.set()

        async with HostileServer() as server:
            server.script("/t", answer)
            command = [sys.executable, "-c", CHILD, loop, f"{server.url}/t", str(timeout)]
            with Process(command, directory=tmp_path, env={**clean_environment(), "PYTHONPATH": PACKAGES}) as child:
                await server.wait_for_requests("/t")
                os.kill(child.pid, signal.SIGSTOP)
                await asyncio.to_thread(os.waitid, os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
                go.set()
                await answered.wait()
                await asyncio.sleep(timeout + 0.5)
                os.kill(child.pid, signal.SIGCONT)
                told = await asyncio.to_thread(child.wait_for_line, r"^(\d+) (.*) after (.*)$")

        assert told.group(1, 2) == ("202", '{"access_token": "kept"}')
        assert float(told[3]) > timeout


PACKAGES = str(Path(grantkeeper.__file__).parent.parent)

CHILD = """
import asyncio, sys, time
import uvloop
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request

async def main(url, timeout):
    http = ProviderHttp(timeout, allowed=["127.0.0.1"])
    began = time.monotonic()
    response = await http.send(Request(method="POST", url=url, headers={}, body=b"grant_type=refresh_token"))
    print(response.status, response.body.decode(), "after", time.monotonic() - began, flush=True)
    await http.close()

run = uvloop.run if sys.argv[1] == "uvloop" else asyncio.run
run(main(sys.argv[2], float(sys.argv[3])))
"""
