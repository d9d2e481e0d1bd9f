"""Cost grows with what is due or asked for, not with what is stored: every frequent statement has an index."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from grantkeeper.crypto import RootKeyset
from grantkeeper.storage.connections import ConnectionStore, Page
from grantkeeper.storage.database import Queries
from grantkeeper.storage.migrate import migrate
from tests.storage.stores import AMPLE, LATER, NOW, open_stores, seconds
from tests.support.postgres import PostgresServer

ROWS = 20_000
ACCOUNTS = 200
EACH = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)"
HASH = {"sqlite": "CAST('h' || i AS BLOB)", "postgresql": "convert_to('h' || i, 'UTF8')"}
LATE = "CAST(:now AS BIGINT) + i * CAST(1000000 AS BIGINT)"
OWNER = {"account_uuid": "'a' || (i % :accounts)", "user_uuid": "'u' || i"}
CLIENT = {"provider": "'demo'", "client_id": "'c'"}
PROVIDER = "CASE i % 3 WHEN 0 THEN 'demo' WHEN 1 THEN 'hubspot' ELSE 'xero' END"
LEASED = "i % 2000 = 0"
FILL = {
    "users": {"uuid": "'u' || i", "email": "'e' || i", "name": "''", "password_hash": "''", "created_at": "i"},
    "logins": {"uuid": "'l' || i", **OWNER, "created_at": "i"},
    "personal_access_tokens": {
        "uuid": "'t' || i",
        "token_hash": "{hash}",
        **OWNER,
        "name": "''",
        "scopes": "''",
        "created_at": "i",
    },
    "sessions": {"token_hash": "{hash}", **OWNER, "created_at": "i", "expires_at": LATE},
    "rate_windows": {"subject": "'s' || i", "window_start": LATE, "uses": "1"},
    "connections": {
        "uuid": "'c' || i",
        "account_uuid": OWNER["account_uuid"],
        "provider": PROVIDER,
        "client_id": "'c'",
        "label": "'l'",
        "label_key": "'l'",
        "status": "'active'",
        "created_at": "i",
        "updated_at": "i",
        "scopes": "''",
        "generation": "1",
        "token_type": "'Bearer'",
        "refreshable": "1",
        "sealed_tokens": "{hash}",
        # A fifth never falls due.
        "next_refresh_at": f"CASE WHEN i % 5 = 0 THEN NULL ELSE {LATE} END",
        "failures": "0",
        "must_act": "'nobody'",
        "lease_fence": "0",
        "lease_owner": f"CASE WHEN {LEASED} THEN 'us' END",
        "lease_expires_at": f"CASE WHEN {LEASED} THEN {LATE} END",
    },
    "refreshes": {
        "connection_uuid": "'c' || i % 1000",
        "account_uuid": OWNER["account_uuid"],
        "provider": PROVIDER,
        "at": LATE,
        "duration": "1",
        "outcome": "'refreshed'",
        "generation": "1",
        "owner": "'us'",
        "must_act": "'nobody'",
    },
    "authorizations": {
        "state_hash": "{hash}",
        **OWNER,
        **CLIENT,
        "redirect_uri": "''",
        "browser_hash": "{hash}",
        "created_at": "i",
        "expires_at": LATE,
    },
    "held_grants": {
        "handle_hash": "{hash}",
        **OWNER,
        **CLIENT,
        "connection_uuid": "'c'",
        "expires_at": LATE,
        "sealed_grant": "{hash}",
    },
    "revocations": {
        "uuid": "'r' || i",
        "account_uuid": OWNER["account_uuid"],
        **CLIENT,
        "connection_uuid": "'c'",
        "sealed_tokens": "{hash}",
        "created_at": "i",
        "next_attempt_at": LATE,
        "attempts": "0",
    },
    "evidence": {
        "at": "i",
        "account_uuid": OWNER["account_uuid"],
        "actor": "''",
        "action": "''",
        "connection_uuid": "'c' || i",
        "detail": "''",
    },
}

VALUES: dict[str, Any] = {
    "account_uuid": "a7",
    "connection_uuid": "c7",
    "user_uuid": "u7",
    "uuid": "c7",
    "email": "e7",
    "provider": "demo",
    "status": "active",
    "label": "%x%",
    "label_key": "x",
    "token_hash": b"h7",
    "state_hash": b"h7",
    "handle_hash": b"h7",
    "subject": "s7",
    "window_start": seconds(7),
    "uses": 1,
    "owner": "us",
    "fence": 1,
    "generation": 1,
    "now": seconds(50),
    "until": LATER,
    "before": seconds(50),
    "most": 16,
    "limit": 15,
    "after_value": 7,
    "after_uuid": "c7",
    "issued_at": seconds(1),
    "sealed_tokens": b"h7",
    "scopes": "",
    "token_type": "Bearer",
    "refreshable": 1,
    "access_token_expires_at": None,
    "refresh_token_expires_at": None,
    "next_refresh_at": seconds(60),
    "failure": "503",
    "must_act": "nobody",
    "unsettled": 0,
}
FREQUENT = [
    *("claim_due", "count_due", "claim", "renew_lease", "release_lease", "count_leases"),
    *("save_refresh", "save_failure", "reconcile_as_next", "reconcile_as_newest", "reconcile_as_previous"),
    *("begin_asking", "stand_down", "get_unsettled_owner", "get_footing"),
    *("get_issued_at", "touch_connection", "list_refreshes", "find_connection", "get_connection"),
    *("get_connection_tokens", "set_label", "delete_connection", "list_connection_labels", "list_evidence"),
    *("claim_revocations", "delete_revocation"),
    *("get_live_token", "touch_personal_access_token", "list_personal_access_tokens", "revoke_user_tokens"),
    *("get_session", "delete_session", "delete_user_sessions", "get_user", "get_user_by_email", "list_logins"),
    *("get_account_keyset", "get_authorization", "take_authorization", "take_held_grant"),
]
# What these are to drop is a matter of instants that few rows have passed.
HOUSEKEEPING = [
    "purge_sessions",
    "purge_rate_windows",
    "purge_authorizations",
    "take_expired_held_grants",
    "purge_refreshes",
]


IN_ORDER = [
    Page(limit=100, descending=descending, after=after, provider=provider)
    for descending in (False, True)
    for after in (None, (7, "c7"))
    for provider in (None, "demo")
]
"""Index calls in the order of creation, at the start and in the middle."""
SORTED = [Page(limit=100, sort=sort, label=label) for sort in ("label", "updated_at") for label in (None, "x")]
"""Those in an order that wants sorting the account's own rows."""


class Listener:
    """Stands where a database does, to hear what a store would ask it."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def fetch_all(self, query: str, **parameters: object) -> list[Any]:
        """No rows."""
        self.statements.append(query)
        return []


def lists(pages: list[Page]) -> list[str]:
    """The statements of these index calls."""
    listener: Any = Listener()
    store = ConnectionStore(listener, listener)

    async def ask() -> None:
        for page in pages:
            await store.list_page("a7", page)
            await store.list_summaries("a7", page)

    asyncio.run(ask())
    return listener.statements  # type: ignore[no-any-return] # it is Any for the store's sake


LISTS = lists(IN_ORDER)
STATEMENTS = [*FREQUENT, *HOUSEKEEPING, *LISTS, *lists(SORTED)]


@pytest.fixture(scope="module")
def postgres_full(postgres: PostgresServer, migrated_template: str, root: RootKeyset) -> Iterator[str]:
    """A PostgreSQL database with 20,000 rows in every table."""
    url = postgres.create_database(template=migrated_template)
    asyncio.run(fill(url, root))
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="module")
def sqlite_full(tmp_path_factory: pytest.TempPathFactory, root: RootKeyset) -> Path:
    """An SQLite file with 20,000 rows in every table."""
    file = tmp_path_factory.mktemp("plans") / "full.sqlite3"
    migrate(f"sqlite:///{file}")
    asyncio.run(fill(f"sqlite:///{file}", root))
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def full_url(request: pytest.FixtureRequest) -> str:
    """Where either of them is."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_full')}"
    url: str = request.getfixturevalue("postgres_full")
    return url


async def fill(url: str, root: RootKeyset) -> None:
    """Many rows everywhere, of which few are due, and statistics of them."""
    async with open_stores(url, root) as stores:
        for number in range(ACCOUNTS):
            await stores.people.add_account(f"a{number}", "", number)
        async with stores.database.transaction() as statements:
            for table, columns in FILL.items():
                values = ", ".join(columns.values()).replace("{hash}", HASH[stores.database.dialect])
                await statements.execute(
                    f"INSERT INTO {table} ({', '.join(columns)}) {EACH} SELECT {values} FROM n",
                    rows=ROWS,
                    accounts=ACCOUNTS,
                    now=NOW,
                )
        await stores.database.execute("ANALYZE")


def sqlite_plans(file: Path, statements: list[str]) -> dict[str, list[str]]:
    """The steps that SQLite takes for each, but for those over what was selected already."""
    plans = {}
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            query = Queries("sqlite").compose(statement)
            values = [VALUES[name] for name in query.parameters]
            steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.text}", values)]
            plans[statement] = [step for step in steps if step not in ("SCAN due", "SCAN CONSTANT ROW")]
    return plans


async def postgres_plans(url: str, statements: list[str]) -> dict[str, list[str]]:
    """The steps that PostgreSQL takes for each."""
    plans = {}
    connection = await asyncpg.connect(url)
    for statement in statements:
        query = Queries("postgresql").compose(statement)
        rows = await connection.fetch(f"EXPLAIN {query.text}", *[VALUES[name] for name in query.parameters])
        plans[statement] = [row[0].strip() for row in rows]
    await connection.close()
    return plans


def test_sqlite_looks_up(sqlite_full: Path) -> None:
    """No step of a frequent statement walks through a table or an index from end to end."""
    plans = sqlite_plans(sqlite_full, STATEMENTS)
    assert {name: plan for name, plan in plans.items() if any(step.startswith("SCAN") for step in plan)} == {}
    assert any(
        "ix_connections_provider_next_refresh_at (provider=? AND next_refresh_at<?)" in s for s in plans["claim_due"]
    )
    assert any("ix_connections_leased (provider=? AND lease_expires_at>?)" in step for step in plans["count_leases"])


@pytest.mark.postgres
async def test_postgres_looks_up(postgres_full: str) -> None:
    """No step of a frequent statement is a sequential scan of a table."""
    plans = await postgres_plans(postgres_full, STATEMENTS)
    assert {name: plan for name, plan in plans.items() if any("Seq Scan" in step for step in plan)} == {}
    assert {name: plan for name, plan in plans.items() if not any("Index" in step for step in plan)} == {}
    assert any("ix_connections_provider_next_refresh_at" in step for step in plans["claim_due"])
    assert any("ix_connections_leased" in step for step in plans["count_leases"])


def test_sqlite_reads_pages_in_order(sqlite_full: Path) -> None:
    """A page in order of creation is read in order, not sorted."""
    plans = sqlite_plans(sqlite_full, LISTS)
    assert {name: plan for name, plan in plans.items() if any("TEMP B-TREE" in step for step in plan)} == {}


@pytest.mark.postgres
async def test_postgres_reads_pages_in_order(postgres_full: str) -> None:
    """The same on PostgreSQL."""
    plans = await postgres_plans(postgres_full, LISTS)
    assert {name: plan for name, plan in plans.items() if any("Sort" in step for step in plan)} == {}


FEW = ["list_provider_dues", "lapse_leases", "list_waited_for"]
"""Statements whose cost is that of the providers, and of the leases, that there are."""


def test_sqlite_visits_few_rows(sqlite_full: Path) -> None:
    """Asked for what is due everywhere, or to end an owner's leases, it takes few steps among 20,000 connections."""
    with closing(sqlite3.connect(sqlite_full, isolation_level=None)) as connection:
        for name in FEW:
            query = Queries("sqlite").compose(name)
            ticks: list[None] = []
            connection.execute("BEGIN")
            connection.set_progress_handler(partial(ticks.append, None), 1)
            rows = connection.execute(query.text, [VALUES[parameter] for parameter in query.parameters]).fetchall()
            connection.set_progress_handler(None, 0)
            connection.execute("ROLLBACK")
            assert 3 < len(ticks) < 2_000, name
            if rows:
                assert [row[0] for row in rows] == ["demo", "hubspot", "xero"]


@pytest.mark.postgres
async def test_postgres_visits_few_rows(postgres_full: str) -> None:
    """The same on PostgreSQL: to find them few blocks of connections are looked at, of the hundreds that there are."""
    async with asyncpg.create_pool(postgres_full, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        for name in FEW:
            query = Queries("postgresql").compose(name)
            text = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query.text}"
            transaction = connection.transaction()
            await transaction.start()
            answer = await connection.fetchval(text, *[VALUES[parameter] for parameter in query.parameters])
            await transaction.rollback()
            plan = json.loads(answer)[0]["Plan"]
            # What changing the rows costs, once they are found, is another matter.
            finding = plan["Plans"][0] if plan["Node Type"] == "ModifyTable" else plan
            assert 0 < finding["Shared Hit Blocks"] + finding["Shared Read Blocks"] < 60, name
        assert await connection.fetchval("SELECT relpages FROM pg_class WHERE relname = 'connections'") > 300


async def test_what_is_due_among_many(full_url: str, root: RootKeyset) -> None:
    """Of 20,000 connections of three providers those that are due are claimed, and the earliest dates are told."""
    async with open_stores(full_url, root) as stores:
        dues = {due.provider: due.due_at for due in await stores.refreshes.provider_dues()}
        assert dues == {"demo": seconds(3), "hubspot": seconds(1), "xero": seconds(2)}
        claims = await stores.refreshes.claim_due("demo", AMPLE, "us", seconds(20), LATER, 16)
    assert [claim.connection.uuid for claim in claims] == ["c3", "c6", "c9", "c12", "c18"]
