"""What a crash, a frozen process or an outage left open: answers that are durable here and not in the database.

All processes of a machine share one directory of journals, and each can tell which of the others still lives.
"""

from __future__ import annotations

import asyncio
import uuid as uuids
from collections.abc import Callable

import msgspec

from grantkeeper import logs
from grantkeeper.clients import Clients
from grantkeeper.clock import Clock, Instant
from grantkeeper.errors import (
    ClientRejected,
    ProviderError,
    ProviderProtocolError,
    SealError,
    StorageError,
    StorageUnavailable,
)
from grantkeeper.model import Claim, Connection, Grant, Refresh, granted
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Response
from grantkeeper.oauth.token import token_response
from grantkeeper.refresh.history import History
from grantkeeper.schedule import refresh_due_at
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.journal import Entry, Journal, Orphan
from grantkeeper.storage.refreshes import Given, RefreshStore
from grantkeeper.storage.vault import Vault

FROZEN_PATIENCE = 300.0
"""Seconds to wait for a process of this machine that lives, but let its lease lapse: it may have the answer."""
CAUTION = 60.0
"""Seconds after an outage of the database in which journals are searched before a provider is asked.

The database that came back may be a copy that lacks the last moments: leases, and token sets.
"""
_SLACK = 2.0
_POLL = 0.25


class Answer(msgspec.Struct, frozen=True):
    """A provider's answer as the journal keeps it, sealed."""

    response: Response

    def __repr__(self) -> str:
        return f"Answer({self.response!r})"


class Recovery:
    """Brings journalled answers into the database: at the start, when a process died, after an outage."""

    def __init__(
        self,
        journal: Journal,
        vault: Vault,
        connections: ConnectionStore,
        store: RefreshStore,
        clients: Clients,
        history: History,
        clock: Clock,
        owner: str,
        jitter: Callable[[], float],
        longest_request: float,
    ) -> None:
        self._journal = journal
        self._vault = vault
        self._connections = connections
        self._store = store
        self._clients = clients
        self._history = history
        self._clock = clock
        self._owner = owner
        self._jitter = jitter
        self._outage = False
        self._stopping = False
        self._cautious_until = 0.0
        self._longest_request = longest_request
        self._interruptions: int | None = None
        self._timeline: str | None = None
        self._hold_until = 0.0

    async def keep(self, claim: Claim, response: Response, asked_at: Instant) -> int | None:
        """Make an answer durable, before anything else is done with it; None where this machine's disk refuses."""
        connection = claim.connection
        answer = Answer(response)
        try:
            number = await self._journal.append(
                Entry(
                    connection_uuid=connection.uuid,
                    account_uuid=connection.account_uuid,
                    provider=connection.provider,
                    client_id=connection.client_id,
                    generation=connection.generation,
                    requested_at=asked_at,
                    owner=self._owner,
                    sealed_answer=await self._vault.seal(
                        connection.account_uuid, answer, "journal", connection.uuid, "answer"
                    ),
                )
            )
        except (StorageError, SealError) as error:
            # It is still in memory, and the database is asked next.
            logs.event("journal.not_written", level=logs.ERROR, connection=connection.uuid, reason=error.message)
            return None
        logs.event(
            "refresh.journalled",
            level=logs.DEBUG,
            connection=connection.uuid,
            generation=connection.generation,
            at=self._clock.now(),
        )
        return number

    def settle(self, number: int | None) -> None:
        """The database has that answer."""
        if number is not None:
            self._journal.settle(number)

    def saw_outage(self) -> None:
        """The database was away; when it is back, what it has is compared with what it was given."""
        self._outage = True
        self._cautious_until = self._clock.monotonic() + CAUTION

    def stop(self) -> None:
        """Wait for no other process any more."""
        self._stopping = True

    async def settled(self, claim: Claim) -> bool:
        """Whether an earlier attempt's answer has come to light, and is stored now; wanted before asking again.

        Waits for a process of this machine that holds no lease any more, but lives: its request may yet be
        answered, and a second one would spend the refresh token twice.
        """
        await self._notice()
        unsettled = claim.unsettled_at is not None
        if not unsettled and self._clock.monotonic() >= self._cautious_until:
            return False
        give_up = self._clock.monotonic() + FROZEN_PATIENCE
        while True:
            # Before the search: whoever says that nothing more will come has written down what came.
            other = await self._store.waited_for(claim.connection.uuid)
            await self.adopt()
            if await self._found(claim):
                return True
            now = self._clock.monotonic()
            if self._stopping or (now >= self._hold_until and (other in (None, self._owner) or now >= give_up)):
                return False
            if now >= self._hold_until and not await asyncio.to_thread(self._journal.alive, other or ""):
                # It may have died after the search.
                await self.adopt()
                return await self._found(claim)
            await self._clock.sleep(_POLL)

    async def _notice(self) -> None:
        """Whether the database was lost since the last look, and whether a standby has taken over.

        A standby may lack leases under which requests are on their way: nobody asks until they have been answered,
        and what they brought is stored by those who asked.
        """
        interruptions = self._store.interruptions
        if interruptions == self._interruptions:
            return
        timeline = await self._store.timeline()
        if self._interruptions is not None:
            self.saw_outage()
            if timeline != self._timeline:
                self._hold_until = self._clock.monotonic() + self._longest_request + _SLACK
                logs.event("storage.standby_took_over", level=logs.WARNING, held_seconds=self._longest_request)
        self._interruptions, self._timeline = interruptions, timeline

    async def adopt(self) -> None:
        """Store what dead processes of this machine journalled, and end their leases."""
        orphans = await asyncio.to_thread(self._journal.orphans)
        try:
            for orphan in orphans:
                await self._adopt(orphan)
        finally:
            # Where one could not be stored, nobody else could adopt those behind it as long as we live.
            for orphan in orphans:
                await asyncio.to_thread(orphan.keep)

    async def round(self) -> None:
        """What every process does again and again: adopt, and after an outage look back."""
        try:
            await self.adopt()
            await self._notice()
            if self._outage:
                self._outage = False
                self._cautious_until = self._clock.monotonic() + CAUTION
                await self._look_back()
        except StorageUnavailable:
            self.saw_outage()

    async def _adopt(self, orphan: Orphan) -> None:
        stored = False
        try:
            replayed = [await self._replay(entry) for entry in orphan.entries]
            lapsed = await self._store.lapse_leases(orphan.owner, self._clock.now())
            stored = all(replayed)
            logs.event("journal.adopted", owner=orphan.owner, entries=len(orphan.entries), leases=lapsed)
        finally:
            await asyncio.to_thread(orphan.done if stored else orphan.keep)

    async def _found(self, claim: Claim) -> bool:
        connection = claim.connection
        for entry in await asyncio.to_thread(self._journal.find, connection.uuid, connection.generation):
            if entry.requested_at > claim.issued_at:
                await self._replay(entry)
        return await self._store.issued_at(connection.uuid) != claim.issued_at

    async def _look_back(self) -> None:
        """Whether the database still has what this process gave it lately; a copy that took over may not."""
        newest = {entry.connection_uuid: entry for entry in await asyncio.to_thread(self._journal.recent)}
        for entry in newest.values():
            stored = await self._store.issued_at(entry.connection_uuid)
            if stored is not None and stored < entry.requested_at:
                await self._replay(entry)

    async def _replay(self, entry: Entry) -> bool:
        """Store what a provider answered, unless the database has it; False where that must wait for the operator.

        Raises StorageUnavailable.
        """
        connection = await self._connections.find(entry.connection_uuid)
        if connection is not None:
            stored = await self._store.issued_at(connection.uuid) or 0
            if stored == entry.requested_at or (
                stored > entry.requested_at and connection.generation > entry.generation + 1
            ):
                return True
        try:
            client = self._clients.registered(entry.provider, entry.client_id)
            grant = await self._read(entry, client, connection)
        except ClientRejected as error:
            logs.event("journal.waits", level=logs.ERROR, connection=entry.connection_uuid, reason=error.message)
            return False
        except (ProviderError, SealError) as error:
            logs.event("journal.unusable", level=logs.ERROR, connection=entry.connection_uuid, reason=error.message)
            return True
        if connection is None:
            # Disconnected, perhaps while the provider was asked: what it gave then nobody has revoked.
            await self._connections.add_revocation(
                entry.account_uuid,
                entry.connection_uuid,
                entry.provider,
                entry.client_id,
                grant.tokens,
                str(uuids.uuid4()),
                self._clock.now(),
            )
        else:
            await self._save(entry, client, connection, grant)
        return True

    async def _save(self, entry: Entry, client: Client, connection: Connection, grant: Grant) -> None:
        now = self._clock.now()
        due = refresh_due_at(grant.tokens, client.refresh_policy, entry.requested_at, self._jitter())
        given = Given(grant=grant, asked_at=entry.requested_at)
        saved = await self._store.reconcile(connection.account_uuid, connection.uuid, entry.generation, given, due, now)
        if saved in ("refreshed", "reconciled"):
            self._history.note(
                Refresh(
                    at=now,
                    connection_uuid=connection.uuid,
                    account_uuid=connection.account_uuid,
                    provider=connection.provider,
                    outcome="recovered" if saved == "refreshed" else saved,
                    generation=entry.generation,
                    owner=self._owner,
                    reason=f"from the journal of {entry.owner}",
                )
            )

    async def _read(self, entry: Entry, client: Client, connection: Connection | None) -> Grant:
        """The grant in a journalled answer; ProviderError or SealError where there is none to be had."""
        cipher = await self._vault.cipher(entry.account_uuid)
        plain = cipher.open(entry.sealed_answer, "journal", entry.connection_uuid, "answer")
        try:
            answer = msgspec.json.decode(plain, type=Answer)
        except msgspec.DecodeError:
            raise ProviderProtocolError("the journal has an answer in a form that this release does not know") from None
        before = await self._before(connection) if connection is not None else None
        return token_response(client, answer.response, entry.requested_at, before).grant

    async def _before(self, connection: Connection) -> Grant | None:
        """What an answer leaves as it was; None where that does not open, and the answer must do by itself."""
        held = await self._connections.get_with_tokens(connection.account_uuid, connection.uuid)
        if held is None:
            return None
        try:
            tokens = await self._connections.open_tokens(connection, held.sealed_tokens)
        except SealError:
            return None
        return granted(connection, tokens)
