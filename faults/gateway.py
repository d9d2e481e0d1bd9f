"""The door of every provider in the lab: one loopback server that knows which process asks, and notes what is given.

A process under test is told the address `http://127.0.0.1:PORT/w7`, or `/KIND/w7` for a provider with faults:
so a request says by its path who sent it. Behind the door stands the shipped provider, or the real oidc-provider.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import httpx2

from faults.ledger import Ledger, Spending, instant
from grantkeeper.testing.asgi import ASGIApp, Message
from grantkeeper.testing.hostile import Answer
from grantkeeper.testing.loopback import LoopbackServer

_PATH = re.compile(r"/(?:(?P<kind>[a-z][a-z0-9-]*)/)?w(?P<serial>\d+)(?P<path>/.*)")
_LONGEST_BODY = 64 * 1024
_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length", "host", "date"))


class Asked(NamedTuple):
    """A request as it came in."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Given(NamedTuple):
    """A whole answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Behind(Protocol):
    """What stands behind the door."""

    async def __call__(self, asked: Asked, path: str) -> Given:
        """Carry a request out."""
        ...


class Application:
    """An ASGI application behind the door: the shipped provider."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, asked: Asked, path: str) -> Given:
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": asked.method,
            "path": path,
            "query_string": query.encode(),
            "root_path": "",
            "headers": asked.headers,
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": asked.body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._application(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Given(sent[0]["status"], list(sent[0]["headers"]), body)


class Relay:
    """A real server behind the door, on loopback; `close` when done."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._client = httpx2.AsyncClient(trust_env=False, timeout=10.0)

    async def __call__(self, asked: Asked, path: str) -> Given:
        headers = [(name, value) for name, value in asked.headers if name.decode().lower() not in _HOP_BY_HOP]
        answer = await self._client.request(asked.method, self._base + path, headers=headers, content=asked.body)
        kept = [(name.encode(), value.encode()) for name, value in answer.headers.items() if name not in _HOP_BY_HOP]
        return Given(answer.status_code, kept, answer.content)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


@dataclass
class Fault:
    """What happens instead of a good answer at the first request, and then in a `share` of them.

    `commit`: the provider carries the request out all the same, and what it gave is lost.
    """

    answer: Callable[[], Answer]
    share: float = 0.2
    commit: bool = False
    made: int = 0


@dataclass
class Hold:
    """Requests wait here: before they are carried out, or after it and unanswered."""

    after_commit: bool
    wanted: Callable[[Spending], bool]
    held: list[Spending] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, spending: Spending, after_commit: bool) -> None:
        """Wait until it is opened, if this request is one of those."""
        if after_commit == self.after_commit and not self.opened.is_set() and self.wanted(spending):
            self.held.append(spending)
            self.arrived.set()
            await self.opened.wait()


class Gateway(LoopbackServer):
    """Serves while its `async with` block runs; `behind` may be set after it has started."""

    def __init__(self, ledger: Ledger, rng: random.Random) -> None:
        super().__init__()
        self.ledger = ledger
        self.behind: Behind | None = None
        self.delay: Callable[[], float] = lambda: 0.0
        """Seconds that a request takes before it is carried out."""
        self.faults: dict[str, Fault] = {}
        """By kind, the first part of the path."""
        self.holds: list[Hold] = []
        self.on_arrival: Callable[[Spending], None] = lambda _spending: None
        """Called when a process presents a refresh token."""
        self.on_commit: Callable[[Spending], None] = lambda _spending: None
        """Called when the provider has given tokens, before the answer is sent."""
        self.on_answer: Callable[[Spending], None] = lambda _spending: None
        """Called when the answer has been handed to the socket."""
        self.requests: Counter[str] = Counter()
        """By kind."""
        self._rng = rng

    def hold(self, *, after_commit: bool, wanted: Callable[[Spending], bool] = lambda _spending: True) -> Hold:
        """Hold such requests from now on, until the hold is opened."""
        hold = Hold(after_commit, wanted)
        self.holds.append(hold)
        return hold

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client has gone, as killed ones do

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection is good for another."""
        asked = await _read(reader)
        found = _PATH.fullmatch(asked.target)
        if found is None:
            raise ValueError("no process under test asks for this path")
        kind, serial, path = found["kind"] or "", int(found["serial"]), found["path"]
        self.requests[kind] += 1
        form = parse_qs(asked.body.decode()) if path == "/token" else {}
        spending = None
        if form.get("grant_type") == ["refresh_token"]:
            spending = self.ledger.arrived(serial, form["refresh_token"][0])
            self.on_arrival(spending)
            await asyncio.sleep(self.delay())
            await self._held(spending, after_commit=False)
        fault = self.faults.get(kind)
        if fault is not None and spending is not None and (not fault.made or self._rng.random() < fault.share):
            return await self._misbehave(fault, asked, path, spending, writer)
        given = await self._carry_out(asked, path, spending, is_token=bool(form))
        if spending is not None and spending.committed is not None:
            self.on_commit(spending)
            await self._held(spending, after_commit=True)
        await _write(writer, given)
        if spending is not None:
            spending.answered = instant()
            self.on_answer(spending)
        return True

    async def _held(self, spending: Spending, *, after_commit: bool) -> None:
        for hold in [*self.holds]:
            await hold.wait(spending, after_commit)

    async def _carry_out(self, asked: Asked, path: str, spending: Spending | None, *, is_token: bool) -> Given:
        assert self.behind is not None
        began = instant()
        given = await self.behind(asked, path)
        if is_token:
            self.ledger.carried_out(spending, began, given.status, _document(given.body))
        return given

    async def _misbehave(
        self, fault: Fault, asked: Asked, path: str, spending: Spending, writer: asyncio.StreamWriter
    ) -> bool:
        fault.made += 1
        spending.withheld = True
        if fault.commit:
            await self._carry_out(asked, path, spending, is_token=True)
        await fault.answer()(writer)
        return False


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.strip().split("\r\n")
    method, target, _ = request_line.split(" ")
    fields = [line.partition(":")[::2] for line in lines]
    headers = [(name.strip().lower().encode(), value.strip().encode("latin-1")) for name, value in fields]
    length = next((int(value) for name, value in headers if name == b"content-length"), 0)
    body = await reader.readexactly(min(length, _LONGEST_BODY))
    return Asked(method, target, headers, body)


async def _write(writer: asyncio.StreamWriter, given: Given) -> None:
    lines = [f"HTTP/1.1 {given.status} Given".encode()]
    lines += [name + b": " + value for name, value in given.headers if name.lower() != b"content-length"]
    lines.append(b"content-length: %d" % len(given.body))
    writer.write(b"\r\n".join([*lines, b"", given.body]))
    await writer.drain()


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
