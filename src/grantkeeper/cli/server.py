"""Granian inside our own event loop: one process, which knows when it serves and why it does not.

Measured against Granian's supervisor with one worker: the same start, the same time for a request, 22 MB
less memory; and an error at the start reaches us as the error it is, not as a worker that died.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from grantkeeper import logs
from grantkeeper.app import Application, Services
from grantkeeper.cli.exits import CommandFailed, ExitCode

HEADER_PATIENCE = 10_000
"""Milliseconds a client may take to send a request's headers."""
_STARTUP_PATIENCE = 10.0
_BACKLOG = 1024
_LOG_CONFIG = {"loggers": {"_granian": {"handlers": [], "propagate": True}}}


def listening_address(host: str, port: int) -> tuple[str, int]:
    """The address and port to listen on, port 0 replaced by a free one.

    CommandFailed where that cannot be. Asked before Granian, which shares a port with any other server
    that shares it (SO_REUSEPORT): a second one would take half of the first one's requests.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            name = probe.getsockname()
            return name[0], name[1]
    except socket.gaierror:
        problem = f"host: {host} is not an address to listen on; use 127.0.0.1, or 0.0.0.0 for every network"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandFailed(
                f"Port {port} of {host} is in use, by another program or another Grantkeeper. "
                "Stop that one, or choose another port with --port.",
                ExitCode.UNAVAILABLE,
            ) from None
        problem = f"cannot listen on port {port} of {host}: {error.strerror}"
    raise CommandFailed(problem, ExitCode.CONFIGURATION)


async def serve_until_stopped(
    application: Application,
    address: str,
    port: int,
    patience: float,
    ready: Callable[[Services], Awaitable[None]],
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is awaited once the server answers. SIGHUP has definitions read again.

    Requests in flight are answered first, for at most `patience` seconds; a second signal does not wait.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, application.reread)
    async with application.running() as services:
        server = granian(application, address, port)
        # Granian set up logging of its own; ours is the only one.
        logs.configure(services.settings.log_level)
        serving = asyncio.create_task(server.serve())
        stopping = asyncio.create_task(stop.wait())
        try:
            await _answers(serving, address, port)
            await ready(services)
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                raise CommandFailed(f"The server stopped by itself.{_reason(serving)}", ExitCode.UNEXPECTED)
        finally:
            stopping.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            stop_listening: Callable[[], None] = server.stop
            stop_listening()
            await _drained(serving, patience)


def granian(application: Callable[..., Awaitable[None]], address: str, port: int) -> Server:
    """Granian for one application in this process, as the product runs it."""
    return Server(
        application,
        address=address,
        port=port,
        # Without lifespan: we start and stop the application ourselves, to see its errors.
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_PATIENCE),
        websockets=False,
        backlog=_BACKLOG,
        log_access=False,
        # Its error lines quote exceptions, whose text may hold a value: the edge logs those, without it.
        log_level=LogLevels.critical,
        log_dictconfig=_LOG_CONFIG,
    )


async def _answers(serving: asyncio.Task[None], address: str, port: int) -> None:
    """Return when the server answers a request; CommandFailed where it ends first or does not."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - to replace them
    with suppress(TimeoutError):
        async with asyncio.timeout(_STARTUP_PATIENCE):
            while not serving.done():
                if await _answered(local, port):
                    return
                await asyncio.sleep(0.01)
    raise CommandFailed(
        f"The server did not start on port {port} of {address}.{_reason(serving)}", ExitCode.UNAVAILABLE
    )


async def _answered(host: str, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        return (await reader.readline()).startswith(b"HTTP/1.1 ")
    except OSError:
        return False
    finally:
        writer.close()


def _reason(serving: asyncio.Task[None]) -> str:
    """Why it ended, in a line: what Granian raises carries a backtrace of its own in its text."""
    if not serving.done() or serving.cancelled() or (error := serving.exception()) is None:
        return ""
    return f" Reason: {str(error).partition(chr(10))[0]}"


async def _drained(serving: asyncio.Task[None], patience: float) -> None:
    await asyncio.wait({serving}, timeout=patience)
    if not serving.done():
        logs.event("serve.requests_cut_off", level=logs.WARNING, waited_seconds=patience)
        # Granian still wants to tell a task that is gone that it may go.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        serving.cancel()
        await asyncio.wait({serving})
