"""The tables, in SQLAlchemy Core: what migrations are made from and tested against.

Imported by migrations and tests only; at run time nobody needs it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# Sorted by code point on both engines, whatever the database's locale.
SortedText = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite counts rows by itself only in a column that is spelled INTEGER.
Sequence = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _instant(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _sealed(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


def _account(ondelete: str | None = None) -> Column[str]:
    return Column("account_uuid", Text, ForeignKey("accounts.uuid", ondelete=ondelete), nullable=False)


def _user() -> Column[str]:
    return Column("user_uuid", Text, ForeignKey("users.uuid"), nullable=False)


instance = Table(
    "instance", metadata, Column("name", Text, primary_key=True), Column("value", LargeBinary, nullable=False)
)

accounts = Table(
    "accounts",
    metadata,
    Column("uuid", Text, primary_key=True),
    _text("name"),
    _sealed("wrapped_keyset"),
    Column("root_key_id", BigInteger, nullable=False),
    _instant("created_at"),
    Index(None, "root_key_id"),
)

users = Table(
    "users",
    metadata,
    Column("uuid", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    _text("name"),
    _text("password_hash"),
    _instant("created_at"),
    _instant("deleted_at", null=True),
)

logins = Table(
    "logins",
    metadata,
    Column("uuid", Text, primary_key=True),
    _user(),
    _account(),
    _instant("created_at"),
    UniqueConstraint("user_uuid", "account_uuid"),
    Index(None, "account_uuid"),
)

personal_access_tokens = Table(
    "personal_access_tokens",
    metadata,
    Column("uuid", Text, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    _user(),
    Column("account_uuid", Text, ForeignKey("accounts.uuid"), nullable=True),
    _text("name"),
    _text("scopes"),
    _instant("created_at"),
    _instant("expires_at", null=True),
    _instant("last_used_at", null=True),
    _instant("revoked_at", null=True),
    Index(None, "user_uuid"),
)

rate_windows = Table(
    "rate_windows",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("window_start", BigInteger, primary_key=True),
    Column("uses", BigInteger, nullable=False),
    Index(None, "window_start"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    _user(),
    _account(),
    _instant("created_at"),
    _instant("expires_at"),
    Index(None, "user_uuid"),
    Index(None, "expires_at"),
)

connections = Table(
    "connections",
    metadata,
    Column("uuid", Text, primary_key=True),
    _account(),
    _text("provider"),
    _text("client_id"),
    _text("label"),
    Column("label_key", SortedText, nullable=False),
    _text("status"),
    _instant("created_at"),
    _instant("updated_at"),
    _text("scopes"),
    Column("generation", BigInteger, nullable=False),
    _text("token_type"),
    Column("refreshable", Integer, nullable=False),
    _text("subject", null=True),
    _text("identity", null=True),
    _sealed("sealed_tokens"),
    _instant("access_token_expires_at", null=True),
    _instant("refresh_token_expires_at", null=True),
    _instant("refreshed_at", null=True),
    _instant("next_refresh_at", null=True),
    Column("failures", BigInteger, nullable=False),
    _text("failure", null=True),
    _text("must_act"),
    _text("lease_owner", null=True),
    Column("lease_fence", BigInteger, nullable=False),
    _instant("lease_expires_at", null=True),
    Column("issued_at", BigInteger, nullable=False, server_default=text("0")),
    _sealed("sealed_previous", null=True),
    _instant("previous_issued_at", null=True),
    Column("previous_spare", Integer, nullable=False, server_default=text("0")),
    Column("consent_generation", BigInteger, nullable=False, server_default=text("1")),
    _instant("unsettled_at", null=True),
    _text("unsettled_owner", null=True),
    Column("used_at", BigInteger, nullable=False, server_default=text("0")),
    Index(None, "account_uuid", "created_at", "uuid"),
    Index(None, "provider", "next_refresh_at"),
    # Few rows at any time: those that are being refreshed.
    Index(
        "ix_connections_leased",
        "provider",
        "lease_expires_at",
        sqlite_where=text("lease_owner IS NOT NULL"),
        postgresql_where=text("lease_owner IS NOT NULL"),
    ),
)

provider_states = Table(
    "provider_states",
    metadata,
    Column("provider", Text, primary_key=True),
    _instant("next_slot_at"),
    _instant("blocked_at", null=True),
    _instant("blocked_until", null=True),
    Column("probes", BigInteger, nullable=False),
    _text("reason", null=True),
    _text("must_act"),
)

refreshes = Table(
    "refreshes",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    _text("connection_uuid"),
    _text("account_uuid"),
    _text("provider"),
    _instant("at"),
    Column("duration", BigInteger, nullable=False),
    _text("outcome"),
    Column("generation", BigInteger, nullable=False),
    _text("owner"),
    _text("must_act"),
    _text("reason", null=True),
    Index(None, "connection_uuid", "seq"),
    Index(None, "at"),
)

authorizations = Table(
    "authorizations",
    metadata,
    Column("state_hash", LargeBinary, primary_key=True),
    _account(),
    _user(),
    _text("provider"),
    _text("client_id"),
    _text("redirect_uri"),
    Column("browser_hash", LargeBinary, nullable=False),
    _instant("created_at"),
    _instant("expires_at"),
    _sealed("sealed_secrets", null=True),
    _text("connection_uuid", null=True),
    _text("redirect_to", null=True),
    _instant("taken_at", null=True),
    _instant("next_poll_at", null=True),
    Index(None, "expires_at"),
)

held_grants = Table(
    "held_grants",
    metadata,
    Column("handle_hash", LargeBinary, primary_key=True),
    _account(),
    _user(),
    _text("provider"),
    _text("client_id"),
    _text("connection_uuid"),
    _text("redirect_to", null=True),
    _instant("expires_at"),
    _sealed("sealed_grant"),
    Index(None, "expires_at"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("uuid", Text, primary_key=True),
    _account(),
    _text("connection_uuid"),
    _text("provider"),
    _text("client_id"),
    _sealed("sealed_tokens"),
    _instant("created_at"),
    _instant("next_attempt_at"),
    Column("attempts", BigInteger, nullable=False),
    Index(None, "next_attempt_at"),
)

client_keys = Table(
    "client_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    _text("kind"),
    _text("name"),
    _text("algorithm", null=True),
    _instant("created_at"),
    _instant("signs_from"),
    _instant("retired_at", null=True),
    _instant("withdrawn_at", null=True),
    _text("public_jwk"),
    _text("chain", null=True),
    _text("kms_key", null=True),
    _sealed("sealed_key", null=True),
)

provider_metadata = Table(
    "provider_metadata",
    metadata,
    Column("provider", Text, primary_key=True),
    _text("issuer"),
    _text("resource", null=True),
    _text("document"),
    _text("resource_document", null=True),
    _text("resource_scope", null=True),
    _instant("fetched_at"),
)

provider_keys = Table(
    "provider_keys",
    metadata,
    Column("provider", Text, primary_key=True),
    _text("jwks_url"),
    _text("jwks"),
    _instant("fetched_at"),
)

registrations = Table(
    "registrations",
    metadata,
    Column("provider", Text, primary_key=True),
    _text("issuer"),
    _text("owner", null=True),
    _instant("claimed_until"),
    _text("client_id", null=True),
    _sealed("sealed_registration", null=True),
    _instant("created_at"),
    _instant("expires_at", null=True),
)

evidence = Table(
    "evidence",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    _instant("at"),
    _account(),
    _text("actor"),
    _text("action"),
    _text("connection_uuid", null=True),
    _text("request_id", null=True),
    _text("detail"),
    Index(None, "account_uuid", "connection_uuid", "seq"),
)
