"""One process of Grantkeeper as far as discovery goes: clients, services and a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.synchronize import Barrier
from typing import Any

from grantkeeper.clients import Clients
from grantkeeper.clock import Clock, SystemClock
from grantkeeper.crypto import RootKeyset
from grantkeeper.discovery import Discovery
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.storage.database import Database
from grantkeeper.storage.migrate import open_database
from grantkeeper.storage.provider_metadata import ProviderMetadataStore
from grantkeeper.storage.vault import Vault
from tests.discovery.servers import Plainly, clients


class Running:
    """What runs in one process."""

    def __init__(self, database: Database, root: RootKeyset, http: ProviderHttp, known: Clients, clock: Clock) -> None:
        self.database = database
        self.clients = known
        self.store = ProviderMetadataStore(database, Vault(database, root))
        self.discovery = Discovery(self.store, known, Plainly(http), clock, f"process-{id(self)}")


@asynccontextmanager
async def running(
    url: str, root: RootKeyset, clock: Clock, public_url: str = "https://gk.example", **given: dict[str, Any]
) -> AsyncIterator[Running]:
    """A process with these settings, what is stored loaded."""
    database = await open_database(url, 4)
    http = ProviderHttp(5.0, allowed=["127.0.0.1"])
    process = Running(database, root, http, clients(public_url, **given), clock)
    try:
        await process.discovery.load()
        yield process
        await process.discovery.settle()
    finally:
        await http.close()
        await database.close()


_barrier: Barrier


def meet_at(barrier: Barrier) -> None:
    """Where this process waits for the other."""
    global _barrier
    _barrier = barrier


def register_in_process(url: str, root: str, issuer: str) -> str:
    """Register at the issuer when the other process does; the client id."""

    async def register() -> str:
        keyset = RootKeyset.parse(root, "test")
        async with running(url, keyset, SystemClock(), acme={"issuer": issuer}) as process:
            await asyncio.to_thread(_barrier.wait)
            await process.discovery.ensure("acme")
            return process.clients.offered("acme").client_id

    return asyncio.run(register())
