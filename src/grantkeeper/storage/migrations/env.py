"""What Alembic runs: connects by the URL it is handed and upgrades inside one transaction."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from grantkeeper.storage.schema import metadata

# Any number will do, as long as nobody else takes it: replicas that migrate at once wait for each other.
_ADVISORY_LOCK = 7_310_579_104


def run(connection: Connection) -> None:
    """Upgrade on an open connection."""
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        context.run_migrations()


async def _run_async(url: str) -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


url: str = context.config.attributes["url"]
if url.startswith("sqlite"):
    with create_engine(url, poolclass=pool.NullPool).connect() as sync_connection:
        run(sync_connection)
        sync_connection.commit()
else:
    asyncio.run(_run_async(url))
