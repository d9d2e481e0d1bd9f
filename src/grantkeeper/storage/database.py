"""What both engines offer: named queries, run one by one or in a transaction.

A statement lives in `queries.sql` under its name, with `:name` parameters; each engine gets it with
the numbered parameters of its own driver. Nothing else is translated: but for one lock clause, the text
is the same on both.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from grantkeeper import logs
from grantkeeper.clock import Clock
from grantkeeper.errors import StorageUnavailable

Dialect = Literal["sqlite", "postgresql"]
Row = Sequence[Any]

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_BLOCK = re.compile(r"^-- (query|part): (\w+)[^\n]*\n", re.MULTILINE)


_T = TypeVar("_T")
_SAVE_PAUSE = 0.5


async def until_stored(clock: Clock, save: Callable[[], Awaitable[_T]], away: Callable[[], None] | None = None) -> _T:
    """Store what a provider gave, however long the database is away: it is not given twice.

    `away` is called each time it is.
    """
    while True:
        try:
            return await save()
        except StorageUnavailable as error:
            if away is not None:
                away()
            logs.event("storage.not_stored_yet", level=logs.ERROR, reason=error.message)
            await clock.sleep(_SAVE_PAUSE)


class Query(msgspec.Struct, frozen=True):
    """One statement, ready for a driver; `parameters` in the order of their numbers."""

    text: str
    parameters: tuple[str, ...]
    writes: bool

    @classmethod
    def compile(cls, text: str, dialect: Dialect) -> Query:
        """Number the `:name` parameters as the dialect's driver wants them."""
        names: list[str] = []

        def number(match: re.Match[str]) -> str:
            if match[1] not in names:
                names.append(match[1])
            return f"{'$' if dialect == 'postgresql' else '?'}{names.index(match[1]) + 1}"

        numbered = _PARAMETER.sub(number, text)
        return cls(numbered, tuple(names), not text.lstrip().upper().startswith("SELECT"))


class Queries:
    """Every statement of `queries.sql`, compiled for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect: Dialect = dialect
        source = files(__package__).joinpath("queries.sql").read_text("utf-8")
        blocks = _BLOCK.split(source)[1:]
        self._parts = {"skip_locked": "FOR UPDATE SKIP LOCKED" if dialect == "postgresql" else ""}
        self._queries: dict[str, Query] = {}
        for kind, name, body in zip(blocks[::3], blocks[1::3], blocks[2::3], strict=True):
            text = " ".join(line for line in body.split("\n") if not line.startswith("--")).strip().rstrip(";")
            if kind == "part":
                self._parts[name] = text.format_map(self._parts)
            else:
                self._queries[name] = Query.compile(text.format_map(self._parts), dialect)

    def compose(self, query: str) -> Query:
        """The statement of that name; or the text itself, put together from constants, compiled once."""
        compiled = self._queries.get(query)
        if compiled is None:
            compiled = self._queries[query] = Query.compile(query.format_map(self._parts), self._dialect)
        return compiled


class Statements(Protocol):
    """Running statements; what a database and a transaction have in common.

    `query` is a name in `queries.sql`, or a whole statement put together from constants.
    """

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        """The first row, or None."""
        ...

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        """Every row."""
        ...

    async def execute(self, query: str, **parameters: Any) -> int:
        """The number of rows that were changed."""
        ...

    async def execute_many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """The same statement for each of `rows`, all or nothing, in one round trip."""
        ...


class Database(Statements, Protocol):
    """An open database. Raises StorageUnavailable when it is locked, full or away; else StorageError."""

    dialect: Dialect

    @property
    def interruptions(self) -> int:
        """How often the database was lost so far, as far as its connections tell; 0 for a file."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Statements]:
        """All or nothing. Never held across a request to a provider."""
        ...

    async def close(self) -> None:
        """Give every connection back."""
        ...


async def instance_id(database: Database) -> str:
    """What tells this database from every other; made up once, by whoever asks first."""
    await database.execute("put_instance_value", name="id", value=uuid.uuid4().bytes)
    row = await database.fetch_one("get_instance_value", name="id")
    assert row is not None
    return uuid.UUID(bytes=bytes(row[0])).hex
