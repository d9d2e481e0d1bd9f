"""Fresh databases on both engines, and servers of PostgreSQL that a case may break."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

from grantkeeper.storage.migrate import migrate
from tests.support.postgres import PostgresServer

Engine = Literal["sqlite", "postgresql"]
_T = TypeVar("_T")


class Databases:
    """Makes databases with our schema. What blocks runs in one thread, which lives as long as the servers do."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, "databases")
        self._stack = ExitStack()
        self._template: Path | None = None
        self._server: PostgresServer | None = None
        self._server_template = ""
        self._made = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.blocking(self._stack.close)
        self._thread.shutdown()

    async def blocking(self, work: Callable[[], _T]) -> _T:
        """Run something that blocks in the servers' own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def fresh(self, engine: Engine) -> str:
        """The URL of a database that nobody else uses."""
        return await self.blocking(self._sqlite if engine == "sqlite" else self._postgres)

    async def server(self) -> PostgresServer:
        """A server of one case's own, to be stopped and started as it likes."""
        return await self.blocking(lambda: self._stack.enter_context(PostgresServer()))

    async def migrated(self, server: PostgresServer) -> str:
        """A database with our schema on that server."""

        def make() -> str:
            url = server.create_database()
            migrate(url)
            return url

        return await self.blocking(make)

    def _sqlite(self) -> str:
        if self._template is None:
            self._template = self._directory / "template.sqlite3"
            migrate(f"sqlite:///{self._template}")
        self._made += 1
        file = self._directory / f"database-{self._made}.sqlite3"
        shutil.copy(self._template, file)
        return f"sqlite:///{file}"

    def _postgres(self) -> str:
        if self._server is None:
            self._server = self._stack.enter_context(PostgresServer())
            self._server_template = self._server.create_database()
            migrate(self._server_template)
        return self._server.create_database(template=self._server_template)
