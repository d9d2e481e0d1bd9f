"""The ground of one case: a database with connections, a provider behind its door, and processes under test."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from faults.gateway import Application, Gateway
from faults.ledger import Ledger, instant
from faults.processes import Child, Parent
from grantkeeper.app import Services, open_services
from grantkeeper.clock import HOUR, SECOND, SystemClock
from grantkeeper.config import Settings, load_settings
from grantkeeper.crypto import create_root_keyset
from grantkeeper.errors import StorageError, StorageUnavailable
from grantkeeper.model import ALL_SCOPES, Connection, Evidence, Status, TokenSet
from grantkeeper.testing import FakeClient, FakeProvider
from tests.support.process import clean_environment
from tests.support.world import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, add_login, add_token

_T = TypeVar("_T")

LIFETIME = 3
"""Seconds an access token lives; the product hears one less, since the answer takes time, and refreshes at half."""
TIMEOUT = 2.0
"""Seconds a provider may take; a lease is three times that."""
LEASE = 3 * TIMEOUT
GRACE = 30 * 60
"""Seconds for which a spent refresh token is honoured in mode `grace`, as at Xero."""
DEMO = "demo"
STARTED = ("worker.started", "serve.started")


class Ground:
    """What a case stands on. `mode` is the provider's; `children` are the processes that run now, by serial."""

    def __init__(self, directory: Path, url: str, mode: str, parent: Parent, rng: random.Random) -> None:
        self.directory = directory
        self.url = url
        self.mode = mode
        self.parent = parent
        self.rng = rng
        self.ledger = Ledger()
        self.gateway = Gateway(self.ledger, rng)
        self.kinds: tuple[str, ...] = ()
        self.extra: dict[str, str] = {}
        """Further settings of every process under test, as environment."""
        self.injections: dict[str, Any] = {}
        self.forked: list[Child] = []
        self.children: dict[int, Child] = {}
        self.connections: list[str] = []
        self.token = ""
        self.provider: FakeProvider | None = None
        self._services: Services | None = None
        self._account = ""

    @property
    def engine(self) -> str:
        """The database's name."""
        return "SQLite" if self.url.startswith("sqlite") else "PostgreSQL"

    @property
    def services(self) -> Services:
        """The lab's own view of the database: it refreshes nothing."""
        assert self._services is not None
        return self._services

    def environment(self, serial: int) -> dict[str, str]:
        """Everything that a process under test is told."""
        home = self.directory / ("lab" if serial == 0 else "product")
        home.mkdir(exist_ok=True)
        values = {
            "DATABASE_URL": self.url,
            "ROOT_KEYSET_FILE": str(self.directory / "root-keyset.json"),
            "DATA_DIR": str(home),
            "PROVIDERS_DIR": str(self.directory / "providers"),
            "PROVIDER_TIMEOUT": str(TIMEOUT),
            "PROVIDER_NETWORKS": "127.0.0.1",
            "WORKER_CONCURRENCY": "4",
            "DATABASE_POOL": "4",
            "RATE_LIMIT": "1000000000",
            "LOG_LEVEL": "debug",
            **self.clients(serial),
            **(self.extra if serial else {}),
        }
        told = {f"GRANTKEEPER_{name}": value for name, value in values.items()}
        return {**clean_environment(), "HOME": str(home), **told}

    def clients(self, serial: int) -> dict[str, str]:
        """Our registrations, each at an address that says which process asks."""
        values = {}
        for kind in (DEMO, *self.kinds):
            name = f"CLIENTS__{kind.upper().replace('-', '_')}"
            way = f"/w{serial}" if kind == DEMO else f"/{kind}/w{serial}"
            values[f"{name}__CLIENT_ID"] = CLIENT_ID
            values[f"{name}__CLIENT_SECRET"] = CLIENT_SECRET
            values[f"{name}__PARAMETERS__BASE_URL"] = self.gateway.url + way
        return values

    def settings(self) -> Settings:
        """The lab's own settings."""
        return load_settings(self.environment(0))

    async def start(self, count: int = 1, command: Sequence[str] = ("worker",), **values: str) -> list[Child]:
        """More processes under test; `values` are further settings, by their names in capitals."""
        started = []
        for _ in range(count):
            serial = self.parent.next_serial()
            environment = self.environment(serial)
            environment |= {f"GRANTKEEPER_{name}": value for name, value in values.items()}
            child = await self.parent.fork(command, environment, serial, self.injections)
            self.forked.append(child)
            self.children[serial] = child
            started.append(child)
        return started

    async def started(self) -> None:
        """Return once every process that runs has opened the database."""
        async with asyncio.timeout(20):
            for child in [*self.children.values()]:
                while child.running and not any(map(child.log, STARTED)):  # noqa: ASYNC110 - it tells its log only
                    await asyncio.sleep(0.02)

    async def stop(self) -> list[str]:
        """Ask every process to end; what went wrong with it."""
        running, self.children = [*self.children.values()], {}
        ended = await asyncio.gather(*(self.parent.end(child) for child in running))
        return [f"process {child.serial} did not stop" for child, good in zip(running, ended, strict=True) if not good]

    async def kill(self, child: Child) -> None:
        """SIGKILL, and bury it."""
        child.kill()
        self.children.pop(child.serial, None)
        await self.parent.reap(child)

    async def seed(self, count: int, provider: str = DEMO) -> list[str]:
        """Connections with tokens that the provider has given, due at once; their UUIDs."""
        return [await self._seed_one(provider) for _ in range(count)]

    async def _seed_one(self, provider: str) -> str:
        assert self.provider is not None
        now = self.services.clock.now()
        issued = self.provider.issue(CLIENT_ID)
        assert issued.refresh_token is not None
        connection = Connection(
            uuid=str(uuid.uuid4()),
            account_uuid=self._account,
            provider=provider,
            client_id=CLIENT_ID,
            label=f"Connection {len(self.connections)}",
            status=Status.ACTIVE,
            created_at=now,
            updated_at=now,
            scopes=issued.scopes,
            generation=1,
            token_type="Bearer",
            refreshable=True,
            next_refresh_at=now + self.rng.randrange(SECOND),
        )
        tokens = TokenSet(
            access_token=issued.access_token,
            token_type="Bearer",
            refresh_token=issued.refresh_token,
            access_token_expires_at=issued.access_token_expires_at - SECOND,
            issued_at=now,
        )
        self.ledger.adopt(issued.refresh_token, connection.uuid, issued.access_token, issued.access_token_expires_at)
        evidence = Evidence(at=now, account_uuid=self._account, actor="lab", action="connect")
        await self.services.store.add(connection, tokens, evidence)
        self.connections.append(connection.uuid)
        return connection.uuid

    async def ask(self, statement: str, **parameters: Any) -> list[Sequence[Any]]:
        """Rows of the database, once it answers."""
        return [*await patiently(lambda: self.services.database.fetch_all(statement, **parameters))]

    async def change(self, statement: str, **parameters: Any) -> int:
        """Rows that a statement changed, once the database takes it."""
        return await patiently(lambda: self.services.database.execute(statement, **parameters))

    async def generations(self) -> dict[str, tuple[str, int]]:
        """Status and generation of each connection."""
        rows = await self.ask("SELECT uuid, status, generation FROM connections")
        return {row[0]: (row[1], row[2]) for row in rows}

    async def hurry(self, connections: Sequence[str]) -> None:
        """Let what waits only for its time be due: it is as if that time had passed."""
        now = self.services.clock.now()
        for connection in connections:
            await self.change(
                "UPDATE connections SET next_refresh_at = :now WHERE uuid = :uuid AND lease_owner IS NULL "
                "AND next_refresh_at > :now",
                uuid=connection,
                now=now,
            )
        await self.change(
            "UPDATE connections SET lease_expires_at = :now, next_refresh_at = :now "
            "WHERE lease_expires_at > :later AND lease_owner IS NOT NULL",
            now=now,
            later=now + HOUR,
        )
        await self.change("UPDATE provider_states SET blocked_until = :now WHERE blocked_until > :now", now=now)

    async def settle(self, patience: float = 40.0) -> list[str]:
        """Nothing goes wrong any more: each connection is refreshed twice, so that what was stored proves good.

        Answers the connections that are neither refreshed nor known to be lost when patience is over.
        """
        stuck: list[str] = []
        for _ in range(2):
            before, deadline = await self.generations(), instant() + int(patience * SECOND)
            while True:
                now = await self.generations()
                stuck = [uuid for uuid, state in now.items() if _stands(state, before.get(uuid))]
                if not stuck or instant() > deadline:
                    break
                await self.hurry(stuck)
                await asyncio.sleep(0.3)
        return stuck

    async def lost(self) -> dict[str, str]:
        """Connections whose user would have to act, with what the product says of it."""
        rows = await self.ask("SELECT uuid, failure FROM connections WHERE status = 'needs_reauthorization'")
        return {row[0]: row[1] or "" for row in rows}

    async def told(self) -> dict[str, list[tuple[str, str]]]:
        """The product's own history of each connection: outcome and reason; nothing where it keeps none."""
        try:
            rows = await self.ask("SELECT connection_uuid, outcome, reason FROM refreshes ORDER BY seq")
        except StorageError:
            return {}
        history: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            history.setdefault(row[0], []).append((row[1], row[2] or ""))
        return history


def _stands(state: tuple[str, int], before: tuple[str, int] | None) -> bool:
    """Whether a connection that should live has not been refreshed since."""
    status, generation = state
    if status == Status.NEEDS_REAUTHORIZATION:
        return False
    return status == Status.FAILING or (before is not None and generation <= before[1])


async def patiently(ask: Callable[[], Awaitable[_T]], patience: float = 30.0) -> _T:
    """What `ask` answers once the database is there; StorageUnavailable after `patience` seconds."""
    deadline = instant() + int(patience * SECOND)
    while True:
        try:
            return await ask()
        except StorageUnavailable:
            if instant() > deadline:
                raise
            await asyncio.sleep(0.1)


@asynccontextmanager
async def open_ground(
    directory: Path,
    url: str,
    mode: str,
    parent: Parent,
    rng: random.Random,
    *,
    kinds: Sequence[str] = (),
    lifetime: int = LIFETIME,
) -> AsyncIterator[Ground]:
    """A ground with the shipped provider and no connection yet; every process under test is gone at its end."""
    ground = Ground(directory, url, mode, parent, rng)
    ground.kinds = tuple(kinds)
    create_root_keyset(directory / "root-keyset.json")
    _define(directory / "providers", kinds)
    async with ground.gateway:
        provider = FakeProvider(
            ground.gateway.url,
            [FakeClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uris=(REDIRECT_URI,))],
            SystemClock(),
            mode="grace" if mode == "grace" else "strict",
            grace_seconds=GRACE,
            access_token_lifetime=lifetime,
        )
        ground.provider = provider
        ground.gateway.behind = Application(provider)
        async with open_services(ground.settings()) as services:
            ground._services = services
            login = await add_login(services, "lab@example.com")
            ground._account = login.account.uuid
            ground.token = await add_token(services, login, tuple(ALL_SCOPES))
            try:
                yield ground
            finally:
                for child in [*ground.children.values()]:
                    await ground.kill(child)
        provider.close()


def _define(directory: Path, kinds: Sequence[str]) -> None:
    """The demo provider's definition once more for each kind: each has limits and states of its own."""
    directory.mkdir()
    demo = files("grantkeeper.catalogue").joinpath("providers/demo.toml").read_text("utf-8")
    for kind in kinds:
        definition = demo.replace('name = "demo"', f'name = "{kind}"', 1)
        (directory / f"{kind}.toml").write_text(definition, "utf-8")
