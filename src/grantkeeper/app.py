"""The composition root: everything is put together here, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import msgspec

from grantkeeper import logs
from grantkeeper.access import Access
from grantkeeper.authorize import Authorizations, Landing
from grantkeeper.catalogue.load import Catalogue, load_catalogue
from grantkeeper.clients import Clients
from grantkeeper.clock import Clock, SystemClock
from grantkeeper.config import Settings
from grantkeeper.connections import Connections
from grantkeeper.crypto import load_root_keyset
from grantkeeper.discovery import Definitions, Discovery
from grantkeeper.errors import GrantkeeperError
from grantkeeper.keys import ClientKeyring
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.sender import Sender
from grantkeeper.refresh import Refresher
from grantkeeper.revoke import Revoker
from grantkeeper.sign_in import SignIn
from grantkeeper.storage.authorizations import AuthorizationStore
from grantkeeper.storage.client_keys import ClientKeyStore
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.database import Database, instance_id
from grantkeeper.storage.journal import Journal
from grantkeeper.storage.migrate import open_database
from grantkeeper.storage.people import PeopleStore
from grantkeeper.storage.provider_metadata import ProviderMetadataStore
from grantkeeper.storage.refreshes import RefreshStore
from grantkeeper.storage.timekeeping import Timekeeper
from grantkeeper.storage.vault import Vault
from grantkeeper.web.api import Api
from grantkeeper.web.browser import Browser
from grantkeeper.web.edge import Edge, Route
from grantkeeper.web.html import Html
from grantkeeper.web.http import Receive, Scope, Send
from grantkeeper.web.pages import Pages
from grantkeeper.web.public import Public
from grantkeeper.web.representations import Representations
from grantkeeper.web.responses import Responses
from grantkeeper.web.session import Sessions
from grantkeeper.worker import Worker

_SETTLE = 1.0
_WATCH = 60.0
_STOP_PATIENCE = 20.0


class Services(msgspec.Struct, frozen=True):
    """The services over one open database."""

    settings: Settings
    clock: Clock
    database: Database
    clients: Clients
    people: PeopleStore
    store: ConnectionStore
    refreshes: RefreshStore
    access: Access
    sign_in: SignIn
    connections: Connections
    authorizations: Authorizations
    refresher: Refresher
    revoker: Revoker
    worker: Worker
    http: ProviderHttp
    keys: ClientKeyring
    discovery: Discovery
    definitions: Definitions


@asynccontextmanager
async def open_services(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Services]:
    """Open the database, prove that the keys fit, put the services together, and recover what a crash left.

    Raises ConfigError or StorageError, each saying what to do.
    """
    clock = clock or SystemClock()
    root = load_root_keyset(
        settings.root_keyset.get_secret_value() if settings.root_keyset else None, settings.keyset_path
    )
    catalogue = load_catalogue(settings.providers_dir)
    clients = Clients(catalogue, settings.clients, settings.public_url)
    async with AsyncExitStack() as undo:
        database = await open_database(settings.database, settings.database_pool)
        undo.push_async_callback(database.close)
        timekeeper = Timekeeper(database, clock)
        await timekeeper.start()
        vault = Vault(database, root)
        await vault.check()
        http = ProviderHttp(
            settings.provider_timeout, allowed=settings.provider_networks, ca_file=settings.provider_ca_file
        )
        undo.push_async_callback(http.close)
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        journal = Journal(settings.journal_path / await instance_id(database), owner, clock)
        journal.open()
        undo.callback(journal.close)
        services = _services(settings, clock, database, vault, catalogue, clients, http, journal, owner)
        await services.discovery.load()
        await services.refresher.recover()
        upkeep = [
            asyncio.create_task(services.refresher.upkeep()),
            asyncio.create_task(_watch(timekeeper, clock)),
        ]
        try:
            yield services
        finally:
            for task in upkeep:
                task.cancel()
            await _in_time(services.discovery.settle())
            await _in_time(services.refresher.settle())
            await _in_time(services.authorizations.settle())
            await _in_time(services.refresher.write_down())


async def _watch(timekeeper: Timekeeper, clock: Clock) -> None:
    """Compare clocks, for ever."""
    while True:
        await timekeeper.watch()
        await clock.sleep(_WATCH)


async def _in_time(work: Awaitable[object]) -> None:
    """Wait for what must still be stored, but no longer than whoever stops us will."""
    try:
        await asyncio.wait_for(work, _STOP_PATIENCE)
    except TimeoutError:
        logs.event("stop.not_everything_stored", level=logs.ERROR, waited_seconds=_STOP_PATIENCE)


def _services(
    settings: Settings,
    clock: Clock,
    database: Database,
    vault: Vault,
    catalogue: Catalogue,
    clients: Clients,
    http: ProviderHttp,
    journal: Journal,
    owner: str,
) -> Services:
    people, store = PeopleStore(database, vault), ConnectionStore(database, vault)
    refreshes, attempts = RefreshStore(database, vault, store), AuthorizationStore(database, vault)
    keys = ClientKeyring(ClientKeyStore(database, vault), clock)
    sender = Sender(http, keys, clock)
    discovery = Discovery(ProviderMetadataStore(database, vault), clients, sender, clock, owner)
    refresher = Refresher(store, refreshes, vault, clients, sender, journal, clock, owner)
    revoker = Revoker(store, clients, sender, clock)
    landing = Landing(attempts, store, refreshes, clients, clock)
    authorizations = Authorizations(
        attempts, store, landing, clients, discovery, sender, refresher, clock, settings.redirect_origins
    )
    return Services(
        settings=settings,
        clock=clock,
        database=database,
        clients=clients,
        people=people,
        store=store,
        refreshes=refreshes,
        access=Access(people, clock, settings.rate_limit),
        sign_in=SignIn(people, clock, settings.session_hours),
        connections=Connections(store, clients, refresher, revoker, clock),
        authorizations=authorizations,
        refresher=refresher,
        revoker=revoker,
        worker=Worker(
            refreshes,
            people,
            clients,
            authorizations,
            refresher,
            revoker,
            clock,
            settings.worker_concurrency,
            settings.history_days,
        ),
        http=http,
        keys=keys,
        discovery=discovery,
        definitions=Definitions(settings.providers_dir, catalogue, clients, discovery, clock),
    )


class Application:
    """The served application: answers requests while it is `running`, with its background loops beside it."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        mounts: Mapping[str, Callable[..., Awaitable[None]]] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._mounts = mounts or {}
        self._edge: Edge | None = None
        self.services: Services | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        """What is served, once it has started."""
        return self._edge.routes if self._edge is not None else ()

    def reread(self) -> None:
        """Have the operator's definitions read again; a start that is under way reads them anyway."""
        if self.services is not None:
            self.services.definitions.wake()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Services]:
        """Open the services and run the loops; what `open_services` raises, this does."""
        async with open_services(self._settings, self._clock) as services:
            self.services = services
            html = Html(self._settings.secure)
            self._edge = Edge(routes(services, html), Responses(html), self._clock, self._mounts)
            loops = [
                asyncio.create_task(self._settle(services)),
                asyncio.create_task(services.discovery.run()),
                asyncio.create_task(services.definitions.run()),
            ]
            if self._settings.worker == "in-process":
                loops.append(asyncio.create_task(services.worker.run()))
            try:
                yield services
            finally:
                services.refresher.stop()
                for loop in loops:
                    loop.cancel()
                await _in_time(asyncio.gather(*loops, return_exceptions=True))
                with suppress(GrantkeeperError):
                    await services.access.settle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._edge is not None:
            await self._edge(scope, receive, send)

    async def _settle(self, services: Services) -> None:
        """Share rate counts and last uses, outside the requests that caused them."""
        while True:
            await self._clock.sleep(_SETTLE)
            try:
                await services.access.settle()
            except GrantkeeperError as error:
                logs.event("access.not_settled", level=logs.WARNING, reason=error.message)


def routes(services: Services, html: Html) -> list[Route]:
    """Every route of the product, in one table."""
    representations = Representations(services.settings.public_url, services.settings.timezone)
    api = Api(
        services.access,
        services.sign_in,
        services.people,
        services.connections,
        services.clients,
        representations,
        services.clock,
    ).routes()
    sessions = Sessions(html, services.sign_in, services.people)
    pages = Pages(
        html, sessions, services.connections, services.clients, services.clock, services.settings.timezone
    ).routes()
    browser = Browser(html, sessions, services.connections, services.authorizations, services.clock).routes()
    public = Public(
        html, services.clients, services.keys, services.database, api, services.settings.public_url
    ).routes()
    return [*api, *sessions.routes(), *pages, *browser, *public, *_metrics(services)]


def _metrics(services: Services) -> list[Route]:
    """What a scraper may ask, where the operator has set a token for it."""
    token = services.settings.metrics_token.get_secret_value()
    if not token:
        return []
    # Here, because importing it takes 50 ms, which no command should pay.
    from grantkeeper.web.metrics import Metrics

    providers = [name for name, _ in services.clients.offers()]
    metrics = Metrics(services.refreshes, lambda: services.refresher.unsettled, providers, services.clock, token)
    services.refresher.history.subscribe(metrics.count)
    return metrics.routes()
