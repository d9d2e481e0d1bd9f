"""PostgreSQL 15 and later, for many replicas, on asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg

from grantkeeper.errors import StorageError, StorageUnavailable
from grantkeeper.storage.database import Dialect, Queries, Row, Statements

STATEMENT_TIMEOUT = 10.0
"""Seconds a statement, or the wait for a free connection, may take."""

_TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.SerializationError,
    asyncpg.exceptions.DeadlockDetectedError,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _TRANSIENT as error:
        raise StorageUnavailable(f"the database cannot be used now: {type(error).__name__}") from None
    except asyncpg.PostgresError as error:
        # Only the class and the message's first line: the detail line quotes values.
        text = str(error).partition("\n")[0]
        raise StorageError(f"the database refused a statement: {type(error).__name__}: {text}") from None


async def _no_reset(connection: object) -> None:
    """No statement of ours leaves state in the session, so a connection is given back without a round trip."""


class PostgresDatabase:
    """See `database.Database`."""

    dialect: Dialect = "postgresql"

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queries = Queries("postgresql")

    @classmethod
    async def open(cls, url: str, pool_size: int) -> PostgresDatabase:
        """Connect, or raise StorageUnavailable."""
        with _translated():
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=pool_size,
                command_timeout=STATEMENT_TIMEOUT,
                timeout=STATEMENT_TIMEOUT,
                reset=_no_reset,
                server_settings={"application_name": "grantkeeper"},
            )
        return cls(pool)

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        async with self._connection() as statements:
            return await statements.fetch_one(query, **parameters)

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        async with self._connection() as statements:
            return await statements.fetch_all(query, **parameters)

    async def execute(self, query: str, **parameters: Any) -> int:
        async with self._connection() as statements:
            return await statements.execute(query, **parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Statements]:
        async with self._connection() as statements:
            transaction = statements.connection.transaction()
            with _translated():
                await transaction.start()
            try:
                yield statements
            except BaseException:
                # A connection that broke has rolled back by itself.
                with suppress(StorageError), _translated():
                    await transaction.rollback()
                raise
            with _translated():
                await transaction.commit()

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), STATEMENT_TIMEOUT)
        except (TimeoutError, *_TRANSIENT):
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Statements]:
        with _translated():
            connection = await self._pool.acquire(timeout=STATEMENT_TIMEOUT)
        try:
            yield _Statements(connection, self._queries)
        finally:
            await self._pool.release(connection)


class _Statements:
    def __init__(self, connection: Any, queries: Queries) -> None:
        self.connection = connection
        self._queries = queries

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        compiled = self._queries.compose(query)
        with _translated():
            row: Row | None = await self.connection.fetchrow(
                compiled.text, *[parameters[name] for name in compiled.parameters]
            )
        return row

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        compiled = self._queries.compose(query)
        with _translated():
            rows: Sequence[Row] = await self.connection.fetch(
                compiled.text, *[parameters[name] for name in compiled.parameters]
            )
        return rows

    async def execute(self, query: str, **parameters: Any) -> int:
        compiled = self._queries.compose(query)
        with _translated():
            status: str = await self.connection.execute(
                compiled.text, *[parameters[name] for name in compiled.parameters]
            )
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0
