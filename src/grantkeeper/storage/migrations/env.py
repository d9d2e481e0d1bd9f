"""What Alembic runs: connects by the URL it is handed and upgrades inside one transaction.

The connections are made as the product makes its own, so that a URL means the same to both.
"""

from __future__ import annotations

import asyncio
import sqlite3

import asyncpg
from alembic import context
from sqlalchemy import Connection, create_engine, event, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from grantkeeper.storage.migrate import check_revision
from grantkeeper.storage.schema import metadata

# Any number will do, as long as nobody else takes it: replicas that migrate at once wait for each other.
_ADVISORY_LOCK = 7_310_579_104
_PATIENCE = 60.0


def run(connection: Connection) -> None:
    """Upgrade on an open connection: all or nothing."""
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        check_revision(context.get_context().get_current_revision())
        context.run_migrations()


def run_on_sqlite(path: str) -> None:
    """Upgrade a file. `BEGIN IMMEDIATE` makes processes that migrate at once wait for each other."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None),
        poolclass=pool.NullPool,
    )

    # sqlite3 by itself begins a transaction for rows only, and would commit each CREATE on its own.
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.connect() as connection:
        run(connection)
        connection.commit()


async def run_on_postgres(url: str) -> None:
    """Upgrade a PostgreSQL database."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(url, timeout=_PATIENCE),
        poolclass=pool.NullPool,
    )
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()


url: str = context.config.attributes["url"]
if url.startswith("sqlite:///"):
    run_on_sqlite(url.removeprefix("sqlite:///"))
else:
    asyncio.run(run_on_postgres(url))
