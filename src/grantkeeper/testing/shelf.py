"""A small typed store beside the provider's tables, for what only some features need."""

from __future__ import annotations

import sqlite3
from typing import Generic, TypeVar

import msgspec

from grantkeeper.clock import Instant

SHELF_SCHEMA = """
CREATE TABLE IF NOT EXISTS shelf (
    name TEXT NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL, expires_at INTEGER, PRIMARY KEY (name, key)
) STRICT;
"""

T = TypeVar("T", bound=msgspec.Struct)


class Shelf(Generic[T]):
    """Values of one type by key. Keys are given hashed, as they may be secret."""

    def __init__(self, db: sqlite3.Connection, name: str, kind: type[T]) -> None:
        self._db = db
        self._name = name
        self._kind = kind

    def put(self, key: bytes, value: T, *, now: Instant = 0, expires_at: Instant | None = None) -> None:
        """Keep a value, or replace it; what has expired by `now` goes."""
        self._db.execute("DELETE FROM shelf WHERE name = ? AND expires_at < ?", (self._name, now))
        self._db.execute(
            "INSERT OR REPLACE INTO shelf (name, key, body, expires_at) VALUES (?, ?, ?, ?)",
            (self._name, key, msgspec.json.encode(value), expires_at),
        )

    def get(self, key: bytes) -> T | None:
        """The value, or None. Whether it has expired is for the caller to see."""
        row = self._db.execute("SELECT body FROM shelf WHERE name = ? AND key = ?", (self._name, key)).fetchone()
        return msgspec.json.decode(row[0], type=self._kind) if row else None
