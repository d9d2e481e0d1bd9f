"""A token endpoint as fast as this language allows: one asyncio protocol, refresh tokens that rotate.

A refresh token is `r.FAMILY.NUMBER.` and padding. Only the newest of its family is good; asking with an older
one is answered `invalid_grant` and counted, as a provider does that has seen it used twice. A family that was never
seen begins with 0. Talks to 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

import uvloop

ACCESS_LENGTH, REFRESH_LENGTH = 800, 200
LIFETIME = 86_400
"""Seconds: what is refreshed once is not due again while we measure."""
_BODY = b'{"access_token":"a.%012d.%08d.%s","token_type":"Bearer","expires_in":%d,"refresh_token":"%s"}'
_ACCESS_PADDING = b"a" * (ACCESS_LENGTH - 24)
_HEAD = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n\r\n"
_SPENT = b'{"error":"invalid_grant"}'


def refresh_token(family: int, number: int) -> bytes:
    """A refresh token of 200 characters that need no escape in a form."""
    return (b"r.%012d.%08d." % (family, number)).ljust(REFRESH_LENGTH, b"r")


class Grants:
    """What the endpoint remembers: the next number of every family."""

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}
        self.refreshed = 0
        self.spent = 0

    def answer(self, form: bytes) -> bytes:
        """The whole HTTP answer to a form with a refresh token."""
        _, family_text, number_text, _ = form.partition(b"refresh_token=")[2].split(b".", 3)
        family, number = int(family_text), int(number_text)
        if self.newest.get(family, 0) != number:
            self.spent += 1
            return _HEAD % (b"400 Bad Request", len(_SPENT)) + _SPENT
        self.refreshed += 1
        number = self.newest[family] = number + 1
        body = _BODY % (family, number, _ACCESS_PADDING, LIFETIME, refresh_token(family, number))
        return _HEAD % (b"200 OK", len(body)) + body

    def counts(self) -> bytes:
        """What was answered so far, as JSON over HTTP."""
        body = json.dumps({"refreshed": self.refreshed, "spent": self.spent}).encode()
        return _HEAD % (b"200 OK", len(body)) + body


class Connection(asyncio.Protocol):
    """One keep-alive connection (HTTP/1.1)."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._pending = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        pending = self._pending + data
        while (end := pending.find(b"\r\n\r\n")) >= 0:
            head = pending[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            whole = end + 4 + length
            if len(pending) < whole:
                break
            form, pending = pending[end + 4 : whole], pending[whole:]
            self._transport.write(self._grants.answer(form) if head.startswith(b"post ") else self._grants.counts())
        self._pending = pending


async def main(port: int) -> None:
    """Serve until the process is ended."""
    grants = Grants()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(grants), "127.0.0.1", port, backlog=1024)
    gc.freeze()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
