"""Connections, their sealed token sets, revocations and evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from grantkeeper import logs
from grantkeeper.clock import Instant
from grantkeeper.errors import SealError
from grantkeeper.model import (
    LABEL_LENGTH,
    Connection,
    Evidence,
    Grant,
    MustAct,
    Record,
    Status,
    Summary,
    TokenSet,
)
from grantkeeper.storage.database import Database, Row, Statements
from grantkeeper.storage.vault import Vault

_TABLE = "connections"
_STATUSES = {status.value: status for status in Status}
MUST_ACT = {who.value: who for who in MustAct}
"""Who must act, by the word in a column: a look-up costs less than the enumeration."""
# Case folding makes at most three characters of one.
_LONGEST_LABEL_KEY = 3 * LABEL_LENGTH


class Page(Record, frozen=True):
    """What an index call selects: at most `limit` rows that match, after the cursor, in order."""

    limit: int
    sort: str = "created_at"
    descending: bool = False
    after: tuple[int | str, str] | None = None
    uuid: str | None = None
    provider: str | None = None
    status: str | None = None
    label: str | None = None


class PendingRevocation(Record, frozen=True):
    """A grant that its account has disconnected and the provider has not yet been told of."""

    uuid: str
    account_uuid: str
    connection_uuid: str
    provider: str
    client_id: str
    sealed_tokens: bytes
    created_at: Instant
    attempts: int


class Held(NamedTuple):
    """A connection as a reader of its token sees it; `used_at`: when a token was last read, give or take a day."""

    connection: Connection
    sealed_tokens: bytes
    used_at: Instant


class ConnectionStore:
    """The rows of `connections`. Tokens are sealed on the way in; lists select no sealed column."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def add(
        self, connection: Connection, tokens: TokenSet, evidence: Evidence, *, statements: Statements | None = None
    ) -> None:
        """A new connection with its first token set, and how it came about, in one transaction."""
        values = await self.token_values(connection.account_uuid, connection.uuid, tokens)
        if statements is None:
            async with self._database.transaction() as own:
                await self._add(own, connection, tokens, values, evidence)
        else:
            await self._add(statements, connection, tokens, values, evidence)

    async def _add(
        self,
        statements: Statements,
        connection: Connection,
        tokens: TokenSet,
        values: dict[str, Any],
        evidence: Evidence,
    ) -> None:
        await statements.execute(
            "add_connection",
            uuid=connection.uuid,
            account_uuid=connection.account_uuid,
            provider=connection.provider,
            client_id=connection.client_id,
            label=connection.label,
            label_key=connection.label.casefold(),
            now=connection.created_at,
            scopes=" ".join(connection.scopes),
            subject=connection.subject,
            identity=connection.identity,
            next_refresh_at=connection.next_refresh_at,
            issued_at=tokens.issued_at,
            **values,
        )
        await add_evidence(statements, evidence)

    async def get(self, account_uuid: str, uuid: str) -> Connection | None:
        """The account's connection of that UUID."""
        row = await self._database.fetch_one("get_connection", uuid=uuid, account_uuid=account_uuid)
        return connection_of(row) if row else None

    async def find(self, uuid: str) -> Connection | None:
        """The connection of that UUID in whichever account: for the operator and the engine, never for a caller."""
        row = await self._database.fetch_one("find_connection", uuid=uuid)
        return connection_of(row) if row else None

    async def get_with_tokens(self, account_uuid: str, uuid: str) -> Held | None:
        """The account's connection with its token set still sealed, in one read."""
        row = await self._database.fetch_one("get_connection_tokens", uuid=uuid, account_uuid=account_uuid)
        return Held(connection_of(row), row[22], row[23]) if row else None

    async def open_tokens(self, connection: Connection, sealed_tokens: bytes) -> TokenSet:
        """The token set of a connection, or SealError."""
        return await self._vault.open_tokens(connection.account_uuid, sealed_tokens, _TABLE, connection.uuid)

    async def parameters(self, connection: Connection) -> dict[str, str]:
        """What fills the provider's URLs for a connection, or SealError."""
        held = await self.get_with_tokens(connection.account_uuid, connection.uuid)
        return (await self.open_tokens(connection, held.sealed_tokens)).parameters if held is not None else {}

    async def list_page(self, account_uuid: str, page: Page) -> list[Connection]:
        """The account's connections that the page selects."""
        return [connection_of(row) for row in await self._select("connection", account_uuid, page)]

    async def list_summaries(self, account_uuid: str, page: Page) -> list[Summary]:
        """The same rows with only what every list shows: the columns of a row cost more than finding it."""
        return [
            Summary(
                uuid=row[0],
                label=row[1],
                provider=row[2],
                created_at=row[3],
                updated_at=row[4],
                access_token_expires_at=row[5],
                refresh_token_expires_at=row[6],
            )
            for row in await self._select("summary", account_uuid, page)
        ]

    async def _select(self, columns: str, account_uuid: str, page: Page) -> Sequence[Row]:
        if page.label is not None and len(page.label) > _LONGEST_LABEL_KEY:
            # No label is that long; SQLite refuses to compare with a pattern past 50,000 bytes.
            return []
        text, parameters = _list_statement(columns, page)
        return await self._database.fetch_all(text, account_uuid=account_uuid, limit=page.limit, **parameters)

    async def labels(self, account_uuid: str, provider: str) -> set[str]:
        """The labels in use at one provider."""
        rows = await self._database.fetch_all("list_connection_labels", account_uuid=account_uuid, provider=provider)
        return {row[0] for row in rows}

    async def set_label(
        self, account_uuid: str, uuid: str, label: str, now: Instant, evidence: Evidence
    ) -> Connection | None:
        """Rename; None where there is no such connection."""
        async with self._database.transaction() as statements:
            row = await statements.fetch_one(
                "set_label", account_uuid=account_uuid, uuid=uuid, label=label, label_key=label.casefold(), now=now
            )
            if row is not None:
                await add_evidence(statements, evidence)
        return connection_of(row) if row else None

    async def delete(
        self, account_uuid: str, uuid: str, revocation_uuid: str, now: Instant, evidence: Evidence
    ) -> bool:
        """Remove the connection and leave its token set for the revocation, in one transaction."""
        async with self._database.transaction() as statements:
            row = await statements.fetch_one("delete_connection", account_uuid=account_uuid, uuid=uuid)
            if row is None:
                return False
            connection = connection_of(row)
            await self._leave_for_revocation(statements, connection, row[22], revocation_uuid, now)
            await add_evidence(statements, evidence)
        return True

    async def _leave_for_revocation(
        self, statements: Statements, connection: Connection, sealed: bytes, revocation_uuid: str, now: Instant
    ) -> None:
        try:
            cipher = await self._vault.cipher(connection.account_uuid, statements)
            plain = cipher.open(bytes(sealed), _TABLE, connection.uuid, "sealed_tokens")
        except SealError as error:
            # What nobody can open nobody can revoke; the person may still get rid of it.
            logs.event("revocation.unreadable", connection=connection.uuid, reason=error.message)
            return
        await statements.execute(
            "add_revocation",
            uuid=revocation_uuid,
            account_uuid=connection.account_uuid,
            connection_uuid=connection.uuid,
            provider=connection.provider,
            client_id=connection.client_id,
            sealed_tokens=cipher.seal(plain, "revocations", revocation_uuid, "sealed_tokens"),
            now=now,
            next_attempt_at=now,
        )

    async def replace_grant(
        self,
        account_uuid: str,
        uuid: str,
        client_id: str,
        grant: Grant,
        next_refresh_at: Instant | None,
        now: Instant,
        evidence: Evidence,
    ) -> Connection | None:
        """Reauthorize in place: same UUID, same label, next generation; any lease on the old grant is void."""
        values = await self.token_values(account_uuid, uuid, grant.tokens)
        async with self._database.transaction() as statements:
            row = await statements.fetch_one(
                "replace_grant",
                uuid=uuid,
                account_uuid=account_uuid,
                client_id=client_id,
                scopes=" ".join(grant.scopes),
                subject=grant.subject,
                identity=grant.identity,
                next_refresh_at=next_refresh_at,
                issued_at=grant.tokens.issued_at,
                now=now,
                **values,
            )
            if row is not None:
                await add_evidence(statements, evidence)
        return connection_of(row) if row else None

    async def add_revocation(
        self,
        account_uuid: str,
        connection_uuid: str,
        provider: str,
        client_id: str,
        tokens: TokenSet,
        uuid: str,
        now: Instant,
    ) -> None:
        """Have a grant revoked that no connection keeps."""
        await self._database.execute(
            "add_revocation",
            uuid=uuid,
            account_uuid=account_uuid,
            connection_uuid=connection_uuid,
            provider=provider,
            client_id=client_id,
            sealed_tokens=await self._vault.seal(account_uuid, tokens, "revocations", uuid, "sealed_tokens"),
            now=now,
            next_attempt_at=now,
        )

    async def claim_revocations(self, now: Instant, until: Instant, most: int) -> list[PendingRevocation]:
        """Revocations that are due; each is ours until `until`."""
        rows = await self._database.fetch_all("claim_revocations", now=now, until=until, most=most)
        return [
            PendingRevocation(
                uuid=row[0],
                account_uuid=row[1],
                connection_uuid=row[2],
                provider=row[3],
                client_id=row[4],
                sealed_tokens=row[5],
                created_at=row[6],
                attempts=row[7],
            )
            for row in rows
        ]

    async def open_revocation(self, revocation: PendingRevocation) -> TokenSet:
        """The token set to revoke, or SealError."""
        return await self._vault.open_tokens(
            revocation.account_uuid, revocation.sealed_tokens, "revocations", revocation.uuid
        )

    async def postpone_revocation(self, revocation: PendingRevocation, until: Instant) -> None:
        """Try again at `until`."""
        await self._database.execute("postpone_revocation", uuid=revocation.uuid, next_attempt_at=until)

    async def finish_revocation(self, revocation: PendingRevocation, evidence: Evidence) -> None:
        """Forget the token set and keep what became of it."""
        async with self._database.transaction() as statements:
            await statements.execute("delete_revocation", uuid=revocation.uuid)
            await add_evidence(statements, evidence)

    async def evidence(self, account_uuid: str, connection_uuid: str) -> Sequence[Evidence]:
        """What happened to one connection, in order; also after it is gone."""
        rows = await self._database.fetch_all(
            "list_evidence", account_uuid=account_uuid, connection_uuid=connection_uuid
        )
        return [
            Evidence(
                at=row[0],
                account_uuid=row[1],
                actor=row[2],
                action=row[3],
                connection_uuid=row[4],
                request_id=row[5],
                detail=msgspec.json.decode(row[6], type=dict[str, str]),
            )
            for row in rows
        ]

    async def token_values(self, account_uuid: str, uuid: str, tokens: TokenSet) -> dict[str, Any]:
        """The columns that hold a token set, sealed for its connection.

        A set that is replaced moves to `sealed_previous` as it is: both are sealed for `sealed_tokens`.
        """
        return {
            "sealed_tokens": await self._vault.seal(account_uuid, tokens, _TABLE, uuid, "sealed_tokens"),
            "token_type": tokens.token_type,
            "refreshable": int(tokens.renewable),
            "access_token_expires_at": tokens.access_token_expires_at,
            "refresh_token_expires_at": tokens.refresh_token_expires_at,
        }


async def add_evidence(statements: Statements, evidence: Evidence) -> None:
    """Write one line of evidence in the transaction of what it tells."""
    await statements.execute(
        "add_evidence",
        at=evidence.at,
        account_uuid=evidence.account_uuid,
        actor=evidence.actor,
        action=evidence.action,
        connection_uuid=evidence.connection_uuid,
        request_id=evidence.request_id,
        detail=msgspec.json.encode(evidence.detail).decode(),
    )


def _list_statement(columns: str, page: Page) -> tuple[str, dict[str, Any]]:
    """The statement of an index call, put together from constants; every value is a parameter."""
    column = {"created_at": "created_at", "updated_at": "updated_at", "label": "label_key"}[page.sort]
    where, parameters = ["account_uuid = :account_uuid"], {}
    for name in ("uuid", "provider", "status"):
        if (value := getattr(page, name)) is not None:
            where.append(f"{name} = :{name}")
            parameters[name] = value
    if page.label is not None:
        where.append("label_key LIKE :label ESCAPE '!'")
        escaped = page.label.casefold().replace("!", "!!").replace("%", "!%").replace("_", "!_")
        parameters["label"] = f"%{escaped}%"
    if page.after is not None:
        where.append(f"({column}, uuid) {'<' if page.descending else '>'} (:after_value, :after_uuid)")
        parameters["after_value"], parameters["after_uuid"] = page.after
    way = " DESC" if page.descending else ""
    text = f"SELECT {{{columns}}} FROM connections WHERE {' AND '.join(where)}"  # noqa: S608 - constants only
    return f"{text} ORDER BY {column}{way}, uuid{way} LIMIT :limit", parameters


def connection_of(row: Row) -> Connection:
    """The connection in a row that begins with the columns `connection` of `queries.sql`."""
    return Connection(
        uuid=row[0],
        account_uuid=row[1],
        provider=row[2],
        client_id=row[3],
        label=row[4],
        status=_STATUSES[row[5]],
        created_at=row[6],
        updated_at=row[7],
        scopes=tuple(row[8].split()),
        generation=row[9],
        token_type=row[10],
        refreshable=bool(row[11]),
        subject=row[12],
        identity=row[13],
        access_token_expires_at=row[14],
        refresh_token_expires_at=row[15],
        refreshed_at=row[16],
        next_refresh_at=row[17],
        failures=row[18],
        failure=row[19],
        must_act=MUST_ACT[row[20]],
        lease_expires_at=row[21],
    )
