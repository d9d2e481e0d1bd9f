"""A device authorization is an attempt that is polled: when it may be polled next."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_device_authorizations"
down_revision = "0004_provider_metadata"


def upgrade() -> None:
    op.add_column("authorizations", sa.Column("next_poll_at", sa.BigInteger(), nullable=True))
