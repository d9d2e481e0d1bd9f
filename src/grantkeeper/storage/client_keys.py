"""The client keys: what signs for us and the certificates we show, and when each is used and published."""

from __future__ import annotations

from typing import Any, Literal

from grantkeeper.clock import DAY, Instant
from grantkeeper.model import Record
from grantkeeper.storage.database import Database, Row, Statements
from grantkeeper.storage.vault import Vault

Kind = Literal["signing", "certificate"]
Retired = Literal["retired", "unknown", "last"]

PUBLISHED_ON = DAY
"""For so long a retired key stays published, so that what it signed just before can still be checked."""


class ClientKey(Record, frozen=True, kw_only=True):
    """A key of ours as it is stored. Its `repr` shows neither key nor certificate.

    `kid` is the public key's thumbprint (RFC 7638), a certificate's is `x5t#S256` (RFC 7517 §4.9). `name`: what a
    certificate was imported as; '' for a key that signs, whose `algorithm` tells it apart. It is used from
    `signs_from` until `retired_at` and published until `withdrawn_at` (None: no end yet). `public_jwk`: what is
    published (RFC 7517). The private key is sealed (PEM), or stays in a KMS under `kms_key`; once retired it is gone.
    """

    kid: str
    kind: Kind
    name: str = ""
    algorithm: str | None = None
    created_at: Instant
    signs_from: Instant
    retired_at: Instant | None = None
    withdrawn_at: Instant | None = None
    public_jwk: str
    chain: str | None = None
    kms_key: str | None = None
    sealed_key: bytes | None = None

    def __repr__(self) -> str:
        return f"ClientKey(kid={self.kid!r}, kind={self.kind!r})"

    def in_use(self, now: Instant) -> bool:
        """Whether it may sign, or be shown, at that time."""
        return self.signs_from <= now and not self.retired(now)

    def retired(self, now: Instant) -> bool:
        """Whether its use has ended; one that will be used later has not."""
        return self.retired_at is not None and self.retired_at <= max(now, self.signs_from)

    def published(self, now: Instant) -> bool:
        """Whether providers are still to know it."""
        return self.withdrawn_at is None or now < self.withdrawn_at

    def replaces(self, other: ClientKey) -> bool:
        """Whether both serve the same purpose: the same algorithm, or a certificate of the same name."""
        return (self.kind, self.name, self.algorithm) == (other.kind, other.name, other.algorithm)


class ClientKeyStore:
    """The rows of `client_keys`. Whoever changes them waits for others who do, in whatever process."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def list_keys(self) -> list[ClientKey]:
        """Every key, of each purpose the one that began last first."""
        return await list_client_keys(self._database)

    async def add(self, key: ClientKey, private_key: bytes | None, overlap: int) -> ClientKey | None:
        """Keep a new key, as it was kept; None where one of that `kid` is known already.

        Where another of its purpose is in use, it is published at once and used `overlap` microseconds after
        `created_at`; the others retire when it begins.
        """
        sealed = await self._seal(key.kid, private_key)
        now = key.created_at
        async with self._database.transaction() as statements:
            rows = await _locked(statements, now)
            waits = any(other.replaces(key) and other.in_use(now) for other in rows)
            fields = {name: getattr(key, name) for name in key.__struct_fields__}
            begins: dict[str, Any] = {"signs_from": now + overlap if waits else now, "sealed_key": sealed}
            if await statements.execute("add_client_key", **(fields | begins)) == 0:
                return None
            await _supersede(statements, key, begins["signs_from"])
        return ClientKey(**(fields | begins))

    async def retire(self, kid: str, now: Instant, *, withdraw: bool = False, force: bool = False) -> Retired:
        """End a key's use at once; a successor that waits begins at once. Its private key is deleted.

        `last`: nothing would be left for its purpose, and it was not forced. `withdraw`: unpublish it, too.
        """
        async with self._database.transaction() as statements:
            rows = await _locked(statements, now)
            key = next((row for row in rows if row.kid == kid), None)
            if key is None:
                return "unknown"
            left = [row for row in rows if row.kid != kid and row.replaces(key) and not row.retired(now)]
            if not left and not key.retired(now) and not force:
                return "last"
            withdrawn_at = now if withdraw else now + PUBLISHED_ON
            await statements.execute("retire_client_key", kid=kid, now=now, withdrawn_at=withdrawn_at)
            if not key.retired(now):
                await _close_gap(statements, key, left, now)
        return "retired"

    async def open_private_key(self, key: ClientKey) -> bytes | None:
        """The private key (PEM) that is sealed with it, None where there is none; SealError where it does not open."""
        if key.sealed_key is None:
            return None
        return (await self._vault.installation()).open(key.sealed_key, "client_keys", key.kid, "sealed_key")

    async def _seal(self, kid: str, private_key: bytes | None) -> bytes | None:
        if private_key is None:
            return None
        return (await self._vault.installation()).seal(private_key, "client_keys", kid, "sealed_key")


async def list_client_keys(statements: Statements) -> list[ClientKey]:
    """Every key, of each purpose the one that began last first; no key is opened for it."""
    return [_client_key(row) for row in await statements.fetch_all("list_client_keys")]


async def _locked(statements: Statements, now: Instant) -> list[ClientKey]:
    """Every key that still has a use, once nobody else is changing them; what has none is deleted."""
    await statements.execute("lock_client_keys", value=b"")
    await statements.execute("forget_private_keys", now=now)
    await statements.execute("forget_client_keys", now=now)
    return await list_client_keys(statements)


async def _supersede(statements: Statements, key: ClientKey, begins: Instant) -> None:
    await statements.execute(
        "supersede_client_keys",
        kid=key.kid,
        kind=key.kind,
        name=key.name,
        algorithm=key.algorithm or "",
        begins=begins,
        published_on=PUBLISHED_ON,
    )


async def _close_gap(statements: Statements, gone: ClientKey, left: list[ClientKey], now: Instant) -> None:
    """What was to come after a key comes at once, or what was to end when it began goes on in its place."""
    if gone.signs_from <= now:
        if left and not any(row.in_use(now) for row in left):
            successor = min(left, key=lambda row: row.signs_from)
            await statements.execute("begin_client_key", kid=successor.kid, now=now)
        return
    for row in left:
        if row.retired_at == gone.signs_from:
            ends = {"retired_at": gone.retired_at, "withdrawn_at": gone.withdrawn_at}
            await statements.execute("extend_client_key", kid=row.kid, **ends)


def _client_key(row: Row) -> ClientKey:
    return ClientKey(
        kid=row[0],
        kind=row[1],
        name=row[2],
        algorithm=row[3],
        created_at=row[4],
        signs_from=row[5],
        retired_at=row[6],
        withdrawn_at=row[7],
        public_jwk=row[8],
        chain=row[9],
        kms_key=row[10],
        sealed_key=None if row[11] is None else bytes(row[11]),
    )
