"""`grantkeeper serve` and `grantkeeper worker`: the processes that run for good."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import click

from grantkeeper import logs
from grantkeeper.cli.options import Options, pass_options, settings_options

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.config import Settings

DRAIN_SLACK = 5.0
"""Seconds beyond the longest that a provider may take, for requests in flight when we are stopped."""


@click.command(short_help="Serve the API and the pages.")
@settings_options
@click.option("--host", help="The address to listen on, instead of the setting.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on, instead of the setting.")
@pass_options
def serve(options: Options, host: str | None, port: int | None) -> None:
    """Serve the API and the pages, and refresh in the background unless `worker` is `off`.

    Your own definitions in `providers_dir` are taken into use within seconds of an edit, or at once with SIGHUP; one
    with problems is logged, and what was before stays in use. Settings are read at the start.

    Stops at SIGTERM or Ctrl-C, after answering what is in flight; a second one does not wait.
    """
    settings = options.settings({"host": host, "port": port})
    logs.configure(settings.log_level)

    from grantkeeper.app import Application
    from grantkeeper.cli.server import listening_address, serve_until_stopped

    address, port = listening_address(settings.host, settings.port)

    async def ready(services: Services) -> None:
        logs.event(
            "serve.started",
            url=settings.public_url,
            address=address,
            port=port,
            providers=[name for name, _ in services.clients.offers()],
            worker=settings.worker,
        )

    import uvloop

    patience = settings.provider_timeout + DRAIN_SLACK
    uvloop.run(serve_until_stopped(Application(settings), address, port, patience, ready))
    logs.event("serve.stopped")


@click.command(short_help="Refresh in the background, without serving.")
@settings_options
@click.option("--once", is_flag=True, help="Do one round of what is due now, and end.")
@pass_options
def worker(options: Options, once: bool) -> None:
    """Refresh what is due, revoke what was disconnected, drop what has expired; without serving.

    Several may run beside each other and beside `serve`: each refresh is done by one of them. Your own definitions are
    taken into use as by `serve`. Stops at SIGTERM or Ctrl-C, after storing what is in flight.

    With `--once` it says at the end how many refreshes were tried, how they ended, and what stays due because a
    provider is blocked or its limits allow no more. At a terminal it shows a progress bar, and logs no more than
    warnings unless `log_level` is set.
    """
    settings = options.settings()
    logs.configure(settings.log_level)
    import uvloop

    if once:
        from grantkeeper.cli.one_round import one_round, report

        for line in report(uvloop.run(one_round(settings))):
            click.echo(line)
    else:
        uvloop.run(_work(settings))


async def _work(settings: Settings) -> None:
    from grantkeeper.app import open_services

    # Until there is something to read again: by itself SIGHUP ends a process.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    async with open_services(settings) as services:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, services.definitions.wake)
        logs.event("worker.started", concurrency=settings.worker_concurrency)
        running = asyncio.create_task(services.worker.run())
        beside = [asyncio.create_task(services.discovery.run()), asyncio.create_task(services.definitions.run())]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            # It never ends by itself: an error that nobody foresaw.
            stopping.cancel()
            await running
        services.refresher.stop()
        for task in (running, *beside):
            task.cancel()
        await asyncio.wait({running, *beside})
        logs.event("worker.stopped")
