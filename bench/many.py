"""Databases with many connections, filled faster than the product would.

One connection is stored by the product; its row is the pattern of all others, so that nothing here
knows the table's columns but those that differ.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid as uuids
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from bench.seed import new_account, new_connection, prepare
from bench.token_endpoint import ACCESS_LENGTH, refresh_token
from grantkeeper.app import open_services
from grantkeeper.clock import DAY, HOUR, SystemClock
from grantkeeper.config import Settings, load_settings
from grantkeeper.crypto import load_root_keyset
from grantkeeper.model import Evidence, TokenSet
from grantkeeper.storage.vault import Vault

PROVIDER = "bench"
PATTERN_UUID = "00000000-0000-4000-8000-000000000000"
_TABLE = "connections"
_DEFINITION = """\
schema = 1
name = "bench"
label = "Bench"
category = ["bench"]
colour = "#000000"

[verified]
basis = "product"
date = 2026-11-22

[parameters.base_url]
label = "Base URL"
pattern = 'http://127\\.0\\.0\\.1:[0-9]+'

[authorization]
url = "{base_url}/authorize"

[token]
url = "{base_url}/token"

[refresh]
rotates = true
concurrency = 1000
"""


class Many(NamedTuple):
    """A database to refresh in; `environment` is for `grantkeeper worker`."""

    url: str
    environment: dict[str, str]

    @property
    def engine(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.partition(":")[0]

    @property
    def settings(self) -> Settings:
        """The settings of its workers."""
        return load_settings(self.environment)

    @property
    def file(self) -> str:
        """The path of the SQLite file."""
        return self.url.removeprefix("sqlite:///")

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        """The rows of the last of these statements, run beside the product; each a transaction of its own."""
        if self.engine == "postgresql":
            return asyncio.run(self._ask_postgres(statements))
        with closing(sqlite3.connect(self.file, timeout=30, isolation_level=None)) as connection:
            # Room to sort and to insert in: this is not what is measured.
            connection.execute("PRAGMA cache_size = -500000")
            rows = [connection.execute(statement).fetchall() for statement in statements]
        return rows[-1]

    async def _ask_postgres(self, statements: Sequence[str]) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url)
        try:
            rows = [await connection.fetch(statement) for statement in statements]
        finally:
            await connection.close()
        return [tuple(row) for row in rows[-1]]

    def load(self, statement: str) -> None:
        """Run a statement that adds many rows, without what makes a database safe."""
        if self.engine == "sqlite":
            self.ask("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", statement)
        else:
            # No foreign keys are looked up.
            self.ask("SET session_replication_role = replica", statement)

    def tidy(self) -> None:
        """What a database does in its own time, done now: statistics, dead rows, write-ahead log."""
        if self.engine == "postgresql":
            self.ask("VACUUM (ANALYZE) connections", "CHECKPOINT")
        else:
            self.ask("ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)")


def create(directory: Path, database_url: str, token_port: int) -> Many:
    """A migrated database with one account and one connection that never falls due, the pattern of all others."""
    providers = directory / "providers"
    providers.mkdir(parents=True, mode=0o700)
    (providers / f"{PROVIDER}.toml").write_text(_DEFINITION)
    client = f"GRANTKEEPER_CLIENTS__{PROVIDER.upper()}__"
    environment = prepare(directory, database_url) | {
        "GRANTKEEPER_PROVIDERS_DIR": str(providers),
        f"{client}CLIENT_ID": "bench",
        f"{client}CLIENT_SECRET": "bench",
        f"{client}PARAMETERS__BASE_URL": f"http://127.0.0.1:{token_port}",
    }
    many = Many(database_url, environment)
    asyncio.run(_add_pattern(many))
    many.ask(f"UPDATE {_TABLE} SET next_refresh_at = NULL")
    return many


async def _add_pattern(many: Many) -> None:
    async with open_services(many.settings) as services:
        now = services.clock.now()
        _, account = await new_account(services, now)
        connection = new_connection(PATTERN_UUID, account.uuid, PROVIDER, now)
        evidence = Evidence(at=now, account_uuid=account.uuid, actor="bench", action="connect")
        await services.store.add(connection, _tokens(b"r", now), evidence)


def _tokens(refresh: bytes, now: int) -> TokenSet:
    return TokenSet(
        access_token="a" * ACCESS_LENGTH,
        token_type="Bearer",
        refresh_token=refresh.decode(),
        issued_at=now,
        access_token_expires_at=now + 4 * HOUR,
    )


def add_refreshable(many: Many, count: int, first_family: int) -> None:
    """Connections whose refresh tokens the endpoint takes; none falls due."""
    asyncio.run(_add_refreshable(many, _pattern(many), count, first_family))


async def _add_refreshable(many: Many, pattern: dict[str, Any], count: int, first_family: int) -> None:
    rows = []
    async with open_services(many.settings) as services:
        vault = Vault(services.database, load_root_keyset(None, many.settings.keyset_path))
        now = services.clock.now()
        for family in range(first_family, first_family + count):
            uuid = str(uuids.uuid4())
            tokens = _tokens(refresh_token(family, 0), now)
            sealed = await vault.seal(pattern["account_uuid"], tokens, _TABLE, uuid, "sealed_tokens")
            rows.append(tuple((pattern | {"uuid": uuid, "sealed_tokens": sealed}).values()))
    if many.engine == "sqlite":
        marks = ", ".join("?" * len(pattern))
        with closing(sqlite3.connect(many.file)) as file, file:
            file.executemany(f"INSERT INTO {_TABLE} ({', '.join(pattern)}) VALUES ({marks})", rows)
        return
    connection = await asyncpg.connect(many.url)
    try:
        await connection.copy_records_to_table(_TABLE, columns=[*pattern], records=rows)
    finally:
        await connection.close()


def _pattern(many: Many) -> dict[str, Any]:
    """The row of the first connection, by column."""
    if many.engine == "sqlite":
        names = [row[1] for row in many.ask(f"PRAGMA table_info({_TABLE})")]
    else:
        names = [
            row[0]
            for row in many.ask(
                f"SELECT column_name::text FROM information_schema.columns WHERE table_name = '{_TABLE}'"
            )
        ]
    (row,) = many.ask(f"SELECT {', '.join(names)} FROM {_TABLE} WHERE uuid = '{PATTERN_UUID}'")
    return dict(zip(names, row, strict=True))


def add_stored(many: Many, count: int, due: Sequence[tuple[int, int]]) -> None:
    """`count` connections with one and the same sealed value, which does not open in their places.

    `due` is a list of instants and how many fall due then, spread evenly; the others do in 30 days and later.
    """
    pattern = _pattern(many)
    when = "".join(
        f" WHEN i % {count // many_due} = {number} THEN CAST({instant} AS BIGINT)"
        for number, (instant, many_due) in enumerate(due)
    )
    later = max(instant for instant, _ in due) + 30 * DAY
    values = {name: f"t.{name}" for name in pattern} | {
        # In order, as that is the quickest to store; what falls due is spread all the same.
        "uuid": f"{'printf' if many.engine == 'sqlite' else 'format'}('%s-0000-4000-8000-000000000000', 10000000 + i)",
        "next_refresh_at": f"CASE{when} ELSE {later} + i * CAST(1000 AS BIGINT) END",
    }
    many.load(
        f"INSERT INTO {_TABLE} ({', '.join(values)}) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n "
        f"WHERE i < {count - 1}) SELECT {', '.join(values.values())} FROM n, {_TABLE} t WHERE t.uuid = '{PATTERN_UUID}'"
    )


def make_due(many: Many) -> None:
    """Let every connection but the pattern fall due now, leased to nobody, its last failure forgotten."""
    now = SystemClock().now()
    many.ask(
        f"UPDATE {_TABLE} SET next_refresh_at = {now}, lease_owner = NULL, lease_expires_at = NULL "
        f"WHERE uuid <> '{PATTERN_UUID}'"
    )
    many.tidy()
