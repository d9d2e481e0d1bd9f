"""What the fake provider remembers: an SQLite file, or memory. Codes and tokens only as SHA-256."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from grantkeeper.clock import DAY, Instant
from grantkeeper.testing.shelf import SHELF_SCHEMA, Shelf
from grantkeeper.testing.vocabulary import FakeGrant, Terms, TokenFacts

_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS grants (
    grant_id TEXT PRIMARY KEY, client_id TEXT NOT NULL, subject TEXT NOT NULL, scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL, revoked_at INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS code (
    hash BLOB PRIMARY KEY, client_id TEXT NOT NULL, subject TEXT NOT NULL, scopes TEXT NOT NULL,
    redirect_uri TEXT NOT NULL, code_challenge TEXT NOT NULL, expires_at INTEGER NOT NULL,
    spent INTEGER NOT NULL DEFAULT 0, grant_id TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS access_token (
    hash BLOB PRIMARY KEY, grant_id TEXT NOT NULL, expires_at INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS refresh_token (
    hash BLOB PRIMARY KEY, grant_id TEXT NOT NULL, generation INTEGER NOT NULL,
    expires_at INTEGER, spent_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS code_by_expiry ON code (expires_at);
CREATE INDEX IF NOT EXISTS access_token_by_expiry ON access_token (expires_at);
"""


class CodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization code, without the code."""

    client_id: str
    subject: str
    scopes: str
    redirect_uri: str
    code_challenge: str
    expires_at: Instant
    terms: Terms = Terms()
    spent: bool = False
    grant_id: str | None = None


class RefreshRow(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token, without the token. `generation` counts from 1 at the code exchange."""

    grant_id: str
    generation: int
    expires_at: Instant | None
    spent_at: Instant | None


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A device's request (RFC 8628), without its device code."""

    user_code: str
    client_id: str
    scopes: str
    expires_at: Instant
    interval: int
    """Seconds."""
    terms: Terms = Terms()
    polled_at: Instant | None = None
    subject: str | None = None
    state: Literal["pending", "allowed", "denied", "spent"] = "pending"


def digest(secret: str) -> bytes:
    """All that is kept of a code or token."""
    return hashlib.sha256(secret.encode()).digest()


class ProviderStore:
    """Every statement the fake provider runs; short, and inside the event loop."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.touch(mode=0o600)
        # A server may build the provider in one thread and serve it in another, never in two at once.
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=10)
        self.close = weakref.finalize(self, self._db.close)
        if path is not None:
            self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_SCHEMA + SHELF_SCHEMA)
        self._code_terms = Shelf(self._db, "code", Terms)
        self._grant_terms = Shelf(self._db, "grant", Terms)
        self._token_facts = Shelf(self._db, "access_token", TokenFacts)
        self.devices = Shelf(self._db, "device", DeviceRow)
        """By device code and by user code."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def setting(self, name: str) -> int | None:
        """A setting that outlives the process."""
        row = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else None

    def set_setting(self, name: str, value: int) -> None:
        """Remember a setting."""
        self._db.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (name, value))

    def add_code(self, row: CodeRow) -> str:
        """A new code, returned this once."""
        code = f"fake-code-{secrets.token_urlsafe(32)}"
        self._db.execute("DELETE FROM code WHERE expires_at < ?", (row.expires_at - DAY,))
        self._db.execute(
            "INSERT INTO code (hash, client_id, subject, scopes, redirect_uri, code_challenge, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                digest(code),
                row.client_id,
                row.subject,
                row.scopes,
                row.redirect_uri,
                row.code_challenge,
                row.expires_at,
            ),
        )
        self._code_terms.put(digest(code), row.terms, now=row.expires_at - DAY, expires_at=row.expires_at)
        return code

    def code(self, code: str) -> CodeRow | None:
        """What is known of a code."""
        row = self._db.execute(
            "SELECT client_id, subject, scopes, redirect_uri, code_challenge, expires_at, spent, grant_id"
            " FROM code WHERE hash = ?",
            (digest(code),),
        ).fetchone()
        if row is None:
            return None
        client_id, subject, scopes, redirect_uri, code_challenge, expires_at, spent, grant_id = row
        return CodeRow(
            client_id=client_id,
            subject=subject,
            scopes=scopes,
            redirect_uri=redirect_uri,
            code_challenge=code_challenge,
            expires_at=expires_at,
            terms=self._code_terms.get(digest(code)) or Terms(),
            spent=bool(spent),
            grant_id=grant_id,
        )

    def spend_code(self, code: str, grant_id: str | None) -> None:
        """The code has been used, and gave this grant or nothing."""
        self._db.execute("UPDATE code SET spent = 1, grant_id = ? WHERE hash = ?", (grant_id, digest(code)))

    def add_grant(self, *, client_id: str, subject: str, scopes: str, now: Instant, terms: Terms | None = None) -> str:
        """A new grant; returns its id."""
        grant_id = secrets.token_hex(16)
        self._db.execute(
            "INSERT INTO grants (grant_id, client_id, subject, scopes, created_at) VALUES (?, ?, ?, ?, ?)",
            (grant_id, client_id, subject, scopes, now),
        )
        if terms is not None:
            self._grant_terms.put(digest(grant_id), terms)
        return grant_id

    def terms(self, grant_id: str) -> Terms:
        """What a grant was asked for with."""
        return self._grant_terms.get(digest(grant_id)) or Terms()

    def grants(self, grant_id: str | None = None) -> list[FakeGrant]:
        """Every grant, the oldest first; or the one that is asked for."""
        rows = self._db.execute(
            "SELECT grant_id, client_id, subject, scopes, created_at, revoked_at FROM grants"
            " WHERE ?1 IS NULL OR grant_id = ?1 ORDER BY created_at, rowid",
            (grant_id,),
        )
        return [
            FakeGrant(
                grant_id=row[0],
                client_id=row[1],
                subject=row[2],
                scopes=tuple(row[3].split()),
                created_at=row[4],
                revoked_at=row[5],
            )
            for row in rows
        ]

    def revoke_grants(self, now: Instant, grant_id: str | None = None) -> None:
        """End a grant, or every grant, and with it all its tokens."""
        self._db.execute(
            "UPDATE grants SET revoked_at = ?1 WHERE revoked_at IS NULL AND (?2 IS NULL OR grant_id = ?2)",
            (now, grant_id),
        )

    def add_access_token(self, token: str, grant_id: str, facts: TokenFacts, now: Instant, expires_at: Instant) -> None:
        """Remember an access token that has been made."""
        self._db.execute("DELETE FROM access_token WHERE expires_at < ?", (now - DAY,))
        self._db.execute(
            "INSERT INTO access_token (hash, grant_id, expires_at) VALUES (?, ?, ?)",
            (digest(token), grant_id, expires_at),
        )
        if facts != TokenFacts():
            self._token_facts.put(digest(token), facts, now=now - DAY, expires_at=expires_at)

    def token_facts(self, token: str) -> TokenFacts:
        """What an access token is good for, besides its grant's scopes."""
        return self._token_facts.get(digest(token)) or TokenFacts()

    def live_access_token(self, token: str, now: Instant) -> str | None:
        """The id of the grant an access token acts for, or None when it is not (any more) good."""
        row = self._db.execute(
            "SELECT access_token.grant_id FROM access_token JOIN grants USING (grant_id)"
            " WHERE hash = ? AND revoked = 0 AND revoked_at IS NULL AND expires_at > ?",
            (digest(token), now),
        ).fetchone()
        return str(row[0]) if row else None

    def access_token_grant(self, token: str) -> str | None:
        """The id of the grant an access token was given for, good or not."""
        row = self._db.execute("SELECT grant_id FROM access_token WHERE hash = ?", (digest(token),)).fetchone()
        return str(row[0]) if row else None

    def access_token_end(self, grant_id: str) -> Instant:
        """When the last of a grant's access tokens ends."""
        row = self._db.execute("SELECT max(expires_at) FROM access_token WHERE grant_id = ?", (grant_id,)).fetchone()
        return int(row[0] or 0)

    def revoke_access_token(self, token: str) -> None:
        """End this one access token."""
        self._db.execute("UPDATE access_token SET revoked = 1 WHERE hash = ?", (digest(token),))

    def add_refresh_token(self, grant_id: str, generation: int, expires_at: Instant | None) -> str:
        """A new refresh token, returned this once."""
        token = f"fake-refresh-{secrets.token_urlsafe(32)}"
        self._db.execute(
            "INSERT INTO refresh_token (hash, grant_id, generation, expires_at) VALUES (?, ?, ?, ?)",
            (digest(token), grant_id, generation, expires_at),
        )
        return token

    def refresh_token(self, token: str) -> RefreshRow | None:
        """What is known of a refresh token."""
        row = self._db.execute(
            "SELECT grant_id, generation, expires_at, spent_at FROM refresh_token WHERE hash = ?",
            (digest(token),),
        ).fetchone()
        if row is None:
            return None
        grant_id, generation, expires_at, spent_at = row
        return RefreshRow(grant_id=grant_id, generation=generation, expires_at=expires_at, spent_at=spent_at)

    def spend_refresh_token(self, token: str, now: Instant) -> None:
        """The refresh token has been used; the first use is the one that counts."""
        self._db.execute(
            "UPDATE refresh_token SET spent_at = ? WHERE hash = ? AND spent_at IS NULL", (now, digest(token))
        )

    def extend_refresh_token(self, token: str, expires_at: Instant) -> None:
        """The refresh token lives until then."""
        self._db.execute("UPDATE refresh_token SET expires_at = ? WHERE hash = ?", (expires_at, digest(token)))

    def end_oldest_refresh_tokens(self, grant_id: str, most: int, now: Instant) -> None:
        """Of all refresh tokens that the person of a grant has for its client, leave the newest so many alive."""
        self._db.execute(
            "UPDATE refresh_token SET expires_at = ?1 WHERE rowid IN ("
            " SELECT refresh_token.rowid FROM refresh_token JOIN grants USING (grant_id)"
            " JOIN grants AS mine ON mine.client_id = grants.client_id AND mine.subject = grants.subject"
            " WHERE mine.grant_id = ?2 AND spent_at IS NULL AND grants.revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > ?1)"
            " ORDER BY refresh_token.rowid DESC LIMIT -1 OFFSET ?3)",
            (now, grant_id, most),
        )

    def expire_access_tokens(self, now: Instant, grant_id: str | None = None) -> None:
        """End the life of a grant's access tokens, or of all."""
        self._db.execute(
            "UPDATE access_token SET expires_at = min(expires_at, ?1) WHERE ?2 IS NULL OR grant_id = ?2",
            (now, grant_id),
        )

    def expire_refresh_tokens(self, now: Instant, grant_id: str | None = None) -> None:
        """End the life of a grant's refresh tokens, or of all."""
        self._db.execute(
            "UPDATE refresh_token SET expires_at = min(ifnull(expires_at, ?1), ?1) WHERE ?2 IS NULL OR grant_id = ?2",
            (now, grant_id),
        )
