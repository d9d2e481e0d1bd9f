"""The first schema: people, connections, authorizations, evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_initial"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("wrapped_keyset", sa.LargeBinary(), nullable=False),
        sa.Column("root_key_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_accounts")),
    )
    op.create_index(op.f("ix_accounts_root_key_id"), "accounts", ["root_key_id"], unique=False)
    op.create_table(
        "instance",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_instance")),
    )
    op.create_table(
        "rate_windows",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "window_start", name=op.f("pk_rate_windows")),
    )
    op.create_index(op.f("ix_rate_windows_window_start"), "rate_windows", ["window_start"], unique=False)
    op.create_table(
        "users",
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "authorizations",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("user_uuid", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed_secrets", sa.LargeBinary(), nullable=True),
        sa.Column("connection_uuid", sa.Text(), nullable=True),
        sa.Column("redirect_to", sa.Text(), nullable=True),
        sa.Column("taken_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_uuid"], ["accounts.uuid"], name=op.f("fk_authorizations_account_uuid_accounts")
        ),
        sa.ForeignKeyConstraint(["user_uuid"], ["users.uuid"], name=op.f("fk_authorizations_user_uuid_users")),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_authorizations")),
    )
    op.create_index(op.f("ix_authorizations_expires_at"), "authorizations", ["expires_at"], unique=False)
    op.create_table(
        "connections",
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("label_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("token_type", sa.Text(), nullable=False),
        sa.Column("refreshable", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("sealed_tokens", sa.LargeBinary(), nullable=False),
        sa.Column("access_token_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("refresh_token_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("refreshed_at", sa.BigInteger(), nullable=True),
        sa.Column("next_refresh_at", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("must_act", sa.Text(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_uuid"], ["accounts.uuid"], name=op.f("fk_connections_account_uuid_accounts")),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_connections")),
    )
    op.create_index(
        op.f("ix_connections_account_uuid_created_at_uuid"),
        "connections",
        ["account_uuid", "created_at", "uuid"],
        unique=False,
    )
    op.create_index(op.f("ix_connections_next_refresh_at"), "connections", ["next_refresh_at"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("connection_uuid", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_uuid"], ["accounts.uuid"], name=op.f("fk_evidence_account_uuid_accounts")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_evidence")),
    )
    op.create_index(
        op.f("ix_evidence_account_uuid_connection_uuid_seq"),
        "evidence",
        ["account_uuid", "connection_uuid", "seq"],
        unique=False,
    )
    op.create_table(
        "held_grants",
        sa.Column("handle_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("user_uuid", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("connection_uuid", sa.Text(), nullable=False),
        sa.Column("redirect_to", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed_grant", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["account_uuid"], ["accounts.uuid"], name=op.f("fk_held_grants_account_uuid_accounts")),
        sa.ForeignKeyConstraint(["user_uuid"], ["users.uuid"], name=op.f("fk_held_grants_user_uuid_users")),
        sa.PrimaryKeyConstraint("handle_hash", name=op.f("pk_held_grants")),
    )
    op.create_index(op.f("ix_held_grants_expires_at"), "held_grants", ["expires_at"], unique=False)
    op.create_table(
        "logins",
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("user_uuid", sa.Text(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_uuid"], ["accounts.uuid"], name=op.f("fk_logins_account_uuid_accounts")),
        sa.ForeignKeyConstraint(["user_uuid"], ["users.uuid"], name=op.f("fk_logins_user_uuid_users")),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_logins")),
        sa.UniqueConstraint("user_uuid", "account_uuid", name=op.f("uq_logins_user_uuid_account_uuid")),
    )
    op.create_index(op.f("ix_logins_account_uuid"), "logins", ["account_uuid"], unique=False)
    op.create_table(
        "personal_access_tokens",
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_uuid", sa.Text(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_uuid"], ["accounts.uuid"], name=op.f("fk_personal_access_tokens_account_uuid_accounts")
        ),
        sa.ForeignKeyConstraint(["user_uuid"], ["users.uuid"], name=op.f("fk_personal_access_tokens_user_uuid_users")),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_personal_access_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_personal_access_tokens_token_hash")),
    )
    op.create_index(op.f("ix_personal_access_tokens_user_uuid"), "personal_access_tokens", ["user_uuid"], unique=False)
    op.create_table(
        "revocations",
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("connection_uuid", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("sealed_tokens", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_uuid"], ["accounts.uuid"], name=op.f("fk_revocations_account_uuid_accounts")),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_revocations")),
    )
    op.create_index(op.f("ix_revocations_next_attempt_at"), "revocations", ["next_attempt_at"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_uuid", sa.Text(), nullable=False),
        sa.Column("account_uuid", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_uuid"], ["accounts.uuid"], name=op.f("fk_sessions_account_uuid_accounts")),
        sa.ForeignKeyConstraint(["user_uuid"], ["users.uuid"], name=op.f("fk_sessions_user_uuid_users")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sessions_user_uuid"), "sessions", ["user_uuid"], unique=False)
