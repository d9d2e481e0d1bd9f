"""Serves an ASGI application on loopback, inside the running event loop, for as long as a test needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from urllib.parse import unquote

import h11

from grantkeeper.testing.asgi import ASGIApp, Message, Receive, Scope, Send
from grantkeeper.testing.loopback import LoopbackServer

_LOG = logging.getLogger(__name__)
_READ = 64 * 1024


class ProviderServer(LoopbackServer):
    """`async with ProviderServer(app) as server:` answers at `server.url` until the block ends.

    `app` may be set, or replaced, after the server has started, for an application that must know its URL.
    """

    def __init__(self, app: ASGIApp | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host=host, port=port)
        self.app: ASGIApp = app or _nothing_here

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        try:
            # A kept-alive connection may see `app` replaced between two requests.
            while await connection.answer_one(lambda: self.app):
                pass
        except h11.RemoteProtocolError:
            pass  # the client's doing


async def _nothing_here(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("ProviderServer was given no application")


class _Connection:
    """One HTTP/1.1 connection; h11 knows the protocol, this moves bytes and translates to ASGI."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Response | None = None
        self._client_is_gone = False

    async def answer_one(self, current_app: Callable[[], ASGIApp]) -> bool:
        """Answer one request; whether the connection is good for another."""
        event = await self._next_event()
        if not isinstance(event, h11.Request):
            return False  # the client has closed
        try:
            await current_app()(self._scope(event), self._receive, self._send)
        except Exception:
            _LOG.exception("The served application failed.")
            await self._fail()
        if self._http.our_state is not h11.DONE:
            await self._fail()
        states = (self._http.our_state, self._http.their_state)
        if self._client_is_gone or states != (h11.DONE, h11.DONE):
            return False
        self._http.start_next_cycle()
        return True

    def _scope(self, request: h11.Request) -> Scope:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "http",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(bytes(name), bytes(value)) for name, value in request.headers],
            "client": self._writer.get_extra_info("peername")[:2],
            "server": self._writer.get_extra_info("sockname")[:2],
        }

    async def _receive(self) -> Message:
        """The next piece of the body; after its end, wait until the client goes away."""
        if self._http.their_state is h11.SEND_BODY:
            try:
                event = await self._next_event()
            except h11.RemoteProtocolError:
                return {"type": "http.disconnect"}
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
        while data := await self._reader.read(_READ):
            self._http.receive_data(data)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = h11.Response(status_code=message["status"], headers=list(message.get("headers", ())))
            return
        events: list[h11.Event] = []
        if self._head is not None:
            events.append(self._head)
            self._head = None
        events.append(h11.Data(data=message.get("body", b"")))
        if not message.get("more_body", False):
            events.append(h11.EndOfMessage())
        await self._write(events)

    async def _fail(self) -> None:
        """500, if nothing has been said yet; whatever has been said is cut short by closing."""
        self._head = None
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(status_code=500, headers=[("content-length", "0"), ("connection", "close")])
            await self._write([head, h11.EndOfMessage()])

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while True:
            if self._http.they_are_waiting_for_100_continue:
                await self._write([h11.InformationalResponse(status_code=100, headers=[])])
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._reader.read(_READ))

    async def _write(self, events: Iterable[h11.Event]) -> None:
        for event in events:
            data = self._http.send(event)
            if data:
                self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            self._client_is_gone = True  # not the application's failure
