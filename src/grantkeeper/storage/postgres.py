"""PostgreSQL 15 and later, for many replicas, on asyncpg."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from grantkeeper.errors import ConfigError, StorageError, StorageUnavailable
from grantkeeper.storage.database import Dialect, Queries, Query, Row, Statements
from grantkeeper.storage.pool import Pool

STATEMENT_TIMEOUT = 10.0
"""Seconds a statement, or the wait for a free connection, may take."""

IDLE_TIMEOUT = "5s"
"""How long PostgreSQL waits for the next statement of a transaction before it gives the transaction up."""

_TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.SerializationError,
    asyncpg.exceptions.DeadlockDetectedError,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
)


class translated:
    """The driver's errors as ours. A class, since a generator in its place costs microseconds a row."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncpg.DataError):
            # A value that no column takes: another try would end the same. The error's text quotes it.
            raise StorageError(f"the database cannot hold a value: {type(error).__name__}") from None
        if isinstance(error, _TRANSIENT):
            raise StorageUnavailable(f"the database cannot be used now: {type(error).__name__}") from None
        if isinstance(error, asyncpg.PostgresError):
            text = f"{type(error).__name__}: {_first_line(error)}"
            raise StorageError(f"the database refused a statement: {text}") from None


@contextmanager
def translated_opening() -> Iterator[None]:
    """The same while a connection is made: what only the operator can mend is a ConfigError."""
    with translated():
        try:
            yield
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise ConfigError([f"database_url: PostgreSQL refuses it: {_first_line(error)}"]) from None
        except OSError:
            raise
        except ValueError:
            # Its text may quote the password.
            problem = "is not a PostgreSQL URL; write postgresql://USER:PASSWORD@HOST/NAME, percent-encoded"
            raise ConfigError([f"database_url: {problem}"]) from None


def _first_line(error: asyncpg.PostgresError) -> str:
    """The error without its detail line, which quotes values."""
    return str(error).partition("\n")[0]


class PostgresDatabase:
    """See `database.Database`."""

    dialect: Dialect = "postgresql"

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._queries = Queries("postgresql")

    @classmethod
    async def open(cls, url: str, pool_size: int) -> PostgresDatabase:
        """Connect, or raise StorageUnavailable; ConfigError where the URL or its password is wrong."""

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(
                url,
                timeout=STATEMENT_TIMEOUT,
                command_timeout=STATEMENT_TIMEOUT,
                server_settings={
                    "application_name": "grantkeeper",
                    # A process that is frozen inside a transaction must not hold up the others for ever.
                    "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
                },
            )

        pool = Pool(connect, pool_size, STATEMENT_TIMEOUT)
        with translated_opening():
            pool.release(await pool.acquire(), broken=False)
        return cls(pool)

    @property
    def interruptions(self) -> int:
        return self._pool.interruptions

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        row: Row | None = await self._run(asyncpg.Connection.fetchrow, query, parameters)
        return row

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        rows: Sequence[Row] = await self._run(asyncpg.Connection.fetch, query, parameters)
        return rows

    async def execute(self, query: str, **parameters: Any) -> int:
        return _count(await self._run(asyncpg.Connection.execute, query, parameters))

    async def execute_many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        async with self._connection() as connection:
            await _Transaction(connection, self._queries).execute_many(query, rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Statements]:
        async with self._connection() as connection:
            transaction = connection.transaction()
            with translated():
                await transaction.__aenter__()
            # One that does not end in order ends with its connection, which is closed then.
            yield _Transaction(connection, self._queries)
            with translated():
                await transaction.__aexit__(None, None, None)

    async def close(self) -> None:
        await self._pool.close()

    async def _run(self, method: Callable[..., Awaitable[Any]], query: str, parameters: dict[str, Any]) -> Any:
        """One statement on a connection of its own, which is not used again when it breaks in the middle."""
        compiled = self._queries.compose(query)
        with translated():
            connection = await self._pool.acquire()
            broken = True
            try:
                result = await _call(method, connection, compiled, parameters)
                broken = False
            except asyncpg.PostgresError:
                broken = False
                raise
            finally:
                self._pool.release(connection, broken=broken)
        return result

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        with translated():
            connection = await self._pool.acquire()
        broken = True
        try:
            yield connection
            broken = False
        finally:
            self._pool.release(connection, broken=broken)


class _Transaction:
    def __init__(self, connection: asyncpg.Connection, queries: Queries) -> None:
        self._connection = connection
        self._queries = queries

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        row: Row | None = await self._run(asyncpg.Connection.fetchrow, query, parameters)
        return row

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        rows: Sequence[Row] = await self._run(asyncpg.Connection.fetch, query, parameters)
        return rows

    async def execute(self, query: str, **parameters: Any) -> int:
        return _count(await self._run(asyncpg.Connection.execute, query, parameters))

    async def execute_many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        compiled = self._queries.compose(query)
        with translated():
            # One implicit transaction, sent as one.
            await self._connection.executemany(
                compiled.text, [[row[name] for name in compiled.parameters] for row in rows]
            )

    async def _run(self, method: Callable[..., Awaitable[Any]], query: str, parameters: dict[str, Any]) -> Any:
        with translated():
            return await _call(method, self._connection, self._queries.compose(query), parameters)


def _call(
    method: Callable[..., Awaitable[Any]],
    connection: asyncpg.Connection,
    query: Query,
    parameters: dict[str, Any],
) -> Awaitable[Any]:
    return method(connection, query.text, *[parameters[name] for name in query.parameters])


def _count(status: str) -> int:
    """The number of rows in a command's status, such as `UPDATE 3`."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
