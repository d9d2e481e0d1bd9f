"""What the refresh engine remembers: the previous token set, unsettled attempts, providers' states, history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_refresh_engine"
down_revision = "0001_initial"

_LEASED = sa.text("lease_owner IS NOT NULL")


def upgrade() -> None:
    zero, one = sa.text("0"), sa.text("1")
    op.add_column("connections", sa.Column("issued_at", sa.BigInteger(), nullable=False, server_default=zero))
    op.add_column("connections", sa.Column("sealed_previous", sa.LargeBinary(), nullable=True))
    op.add_column("connections", sa.Column("previous_issued_at", sa.BigInteger(), nullable=True))
    op.add_column("connections", sa.Column("previous_spare", sa.Integer(), nullable=False, server_default=zero))
    op.add_column("connections", sa.Column("consent_generation", sa.BigInteger(), nullable=False, server_default=one))
    op.add_column("connections", sa.Column("unsettled_at", sa.BigInteger(), nullable=True))
    op.add_column("connections", sa.Column("unsettled_owner", sa.Text(), nullable=True))
    op.add_column("connections", sa.Column("used_at", sa.BigInteger(), nullable=False, server_default=zero))
    # Nobody noted when tokens were read: all connections count as in use, for as long as a read one would.
    op.execute(
        "UPDATE connections SET issued_at = COALESCE(refreshed_at, created_at), "
        "used_at = COALESCE(refreshed_at, created_at), consent_generation = generation"
    )
    op.drop_index("ix_connections_next_refresh_at", table_name="connections")
    op.create_index("ix_connections_provider_next_refresh_at", "connections", ["provider", "next_refresh_at"])
    op.create_index(
        "ix_connections_leased",
        "connections",
        ["provider", "lease_expires_at"],
        sqlite_where=_LEASED,
        postgresql_where=_LEASED,
    )
    op.create_table(
        "provider_states",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("next_slot_at", sa.BigInteger(), nullable=False),
        sa.Column("blocked_at", sa.BigInteger(), nullable=True),
        sa.Column("blocked_until", sa.BigInteger(), nullable=True),
        sa.Column("probes", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("must_act", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_provider_states")),
    )
    op.create_table(
        "refreshes",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("connection_uuid", sa.Text(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("must_act", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_refreshes")),
    )
    op.create_index(op.f("ix_refreshes_connection_uuid_seq"), "refreshes", ["connection_uuid", "seq"])
    op.create_index(op.f("ix_refreshes_at"), "refreshes", ["at"])
