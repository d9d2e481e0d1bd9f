"""The server's null handler: what Granian answers a second with nothing behind it. The ratio's denominator."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from grantkeeper.cli.server import granian

BODY = b'{"status":"ok"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """200 and a constant."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def main(port: int) -> None:
    """Serve until the process is ended."""
    await granian(application, "127.0.0.1", port).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
