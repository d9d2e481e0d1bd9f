"""The embedded engine: WAL, `synchronous=FULL`, one writer.

Reads run inline on the event loop's thread: a row costs microseconds, less than handing it to
another thread. Writes wait for the disk, so they run on the one writer thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from grantkeeper.errors import StorageError, StorageUnavailable
from grantkeeper.storage.database import Dialect, Queries, Query, Row, Statements

_T = TypeVar("_T")
_TRANSIENT = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PROTOCOL,
    )
)

WRITE_PATIENCE = 5.0
"""Seconds to wait for another process's write lock."""
READ_PATIENCE = 0.25
"""Seconds a read may wait; it holds up the event loop meanwhile. In WAL mode it hardly ever does."""


class translated:
    """The driver's errors as ours. A class, since a generator in its place costs microseconds a row."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        if isinstance(error, sqlite3.Error):
            # The low byte is the error itself, the rest says more precisely where it came from.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _TRANSIENT:
                raise StorageUnavailable(f"the database cannot be used now: {error}") from None
            raise StorageError(f"the database refused a statement: {error}") from error
        if isinstance(error, OverflowError | UnicodeEncodeError):
            raise StorageError(f"the database cannot hold a value: {type(error).__name__}") from None


def connect(path: Path, patience: float) -> sqlite3.Connection:
    """A connection with the settings that keep what was committed."""
    with ExitStack() as undo:
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        undo.callback(connection.close)
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StorageError(f"the database cannot keep a write-ahead log here ({mode}): use a local disk")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # What is deleted is overwritten: a disconnected grant leaves no ciphertext behind.
        connection.execute("PRAGMA secure_delete=ON")
        undo.pop_all()
    return connection


class SqliteDatabase:
    """See `database.Database`."""

    dialect: Dialect = "sqlite"
    interruptions = 0

    def __init__(self, path: Path) -> None:
        self._queries = Queries("sqlite")
        with translated(), ExitStack() as undo:
            # The writer first: it has the patience to make a new file a WAL one beside other processes.
            self._writer = connect(path, WRITE_PATIENCE)
            undo.callback(self._writer.close)
            self._reader = connect(path, READ_PATIENCE)
            undo.pop_all()
        self._thread = ThreadPoolExecutor(1, "sqlite-writer")
        self._lock = asyncio.Lock()
        self._closed = False

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        compiled = self._queries.compose(query)
        if compiled.writes:
            return await self._write(lambda: _run(self._writer, compiled, parameters).fetchone())
        with translated():
            row: Row | None = _run(self._reader, compiled, parameters).fetchone()
        return row

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        compiled = self._queries.compose(query)
        if compiled.writes:
            return await self._write(lambda: _run(self._writer, compiled, parameters).fetchall())
        with translated():
            return _run(self._reader, compiled, parameters).fetchall()

    async def execute(self, query: str, **parameters: Any) -> int:
        compiled = self._queries.compose(query)
        return await self._write(lambda: _run(self._writer, compiled, parameters).rowcount)

    async def execute_many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        compiled = self._queries.compose(query)
        await self._write(lambda: _run_many(self._writer, compiled, rows))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Statements]:
        async with self._lock:
            try:
                # Inside: a caller that goes away meanwhile must not leave a transaction open.
                await self._on_thread(lambda: self._writer.execute("BEGIN IMMEDIATE"))
                yield _Transaction(self)
            except BaseException:
                await asyncio.shield(self._on_thread(self._rollback))
                raise
            await asyncio.shield(self._on_thread(self._commit))

    async def close(self) -> None:
        async with self._lock:
            if self._closed:
                return
            await self._on_thread(self._writer.close)
            self._closed = True
        self._reader.close()
        self._thread.shutdown()

    async def _write(self, statement: Callable[[], _T]) -> _T:
        """One statement as a transaction of its own."""

        def run() -> _T:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = statement()
            except BaseException:
                self._rollback()
                raise
            self._commit()
            return result

        async with self._lock:
            # Shielded: when its caller goes away the statement still runs as a whole, before any other.
            return await asyncio.shield(self._on_thread(run))

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        if self._closed:
            raise StorageUnavailable("the database is closed")
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _commit(self) -> None:
        try:
            self._writer.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")


class _Transaction:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        row: Row | None = await self._run(query, parameters, sqlite3.Cursor.fetchone)
        return row

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        return await self._run(query, parameters, sqlite3.Cursor.fetchall)

    async def execute(self, query: str, **parameters: Any) -> int:
        return await self._run(query, parameters, lambda cursor: cursor.rowcount)

    async def execute_many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        database = self._database
        compiled = database._queries.compose(query)
        await database._on_thread(lambda: _run_many(database._writer, compiled, rows))

    async def _run(self, query: str, parameters: dict[str, Any], take: Callable[[sqlite3.Cursor], _T]) -> _T:
        database = self._database
        compiled = database._queries.compose(query)
        return await database._on_thread(lambda: take(_run(database._writer, compiled, parameters)))


def _run(connection: sqlite3.Connection, query: Query, parameters: dict[str, Any]) -> sqlite3.Cursor:
    return connection.execute(query.text, [parameters[name] for name in query.parameters])


def _run_many(connection: sqlite3.Connection, query: Query, rows: Sequence[Mapping[str, Any]]) -> None:
    connection.executemany(query.text, [[row[name] for name in query.parameters] for row in rows])
