"""One refresh under a lease that we hold: settle what came before, ask, journal, store.

No transaction is held across the network: the lease keeps others away, and saving checks its owner, its fence and
the generation it was taken for. What loses that check is reconciled, never dropped.
"""

from __future__ import annotations

import asyncio
import uuid as uuids
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from grantkeeper import logs
from grantkeeper.clients import Clients
from grantkeeper.clock import DAY, SECOND, Clock, Instant
from grantkeeper.errors import (
    ClientRejected,
    GrantRejected,
    ProviderError,
    ProviderUnavailable,
    SealError,
    StorageError,
)
from grantkeeper.model import Claim, Connection, Lease, MustAct, Record, Refresh, Status, TokenSet, granted
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.grants import refresh_call
from grantkeeper.oauth.message import Call
from grantkeeper.oauth.renewals import renewal_call
from grantkeeper.oauth.sender import Sender
from grantkeeper.oauth.token import may_have_spent, pauses, token_response
from grantkeeper.refresh.breaker import Breaker
from grantkeeper.refresh.history import History
from grantkeeper.refresh.recovery import Recovery
from grantkeeper.schedule import fresh_enough, refresh_due_at, retry_delay
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.database import until_stored
from grantkeeper.storage.refreshes import Given, RefreshStore

_T = TypeVar("_T")

LEASE_FACTOR = 3
"""A lease lasts this many times the longest that a provider may take; the heartbeat renews it meanwhile."""
_GRACE = DAY
"""How long after its end a refresh token is still tried: it is the provider who knows when that is."""


class Fresh(Record, frozen=True):
    """What a provider has just given, for readers, before the database has it."""

    connection: Connection
    tokens: TokenSet


class _Answered(Record, frozen=True):
    """A good answer, and its number in the journal."""

    given: Given
    number: int | None


class _Failed(Record, frozen=True):
    """No good answer; `unsettled`: the refresh token may have been spent all the same."""

    error: ProviderError | SealError
    client: Client | None = None
    unsettled: bool = False


class Attempts:
    """Runs refreshes. `owner` names this process in leases; `jitter` answers numbers in [0, 1).

    `sources` answers the access token of a connection, by account and UUID, for those whose grant is its exchange.
    """

    def __init__(
        self,
        connections: ConnectionStore,
        store: RefreshStore,
        clients: Clients,
        sender: Sender,
        sources: Callable[[str, str], Awaitable[str]],
        recovery: Recovery,
        breaker: Breaker,
        history: History,
        clock: Clock,
        owner: str,
        jitter: Callable[[], float],
    ) -> None:
        self._connections = connections
        self._store = store
        self._clients = clients
        self._sender = sender
        self._sources = sources
        self._recovery = recovery
        self._breaker = breaker
        self._history = history
        self._clock = clock
        self._owner = owner
        self._jitter = jitter
        self._leases: dict[str, Lease] = {}
        self.running: dict[str, asyncio.Task[None]] = {}
        """The refreshes of this process, by connection."""
        self.unsaved: dict[str, Fresh] = {}
        """What waits for the database, which is away."""
        self.answered: dict[str, asyncio.Event] = {}
        """By connection, for whoever waits: set when something comes into `unsaved`."""
        self._stopping = False

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts without its heartbeat."""
        return self._sender.timeout * LEASE_FACTOR

    def lease_until(self, now: Instant) -> Instant:
        """When a lease that is taken or renewed now ends."""
        return now + int(self.lease_seconds * SECOND)

    def stop(self) -> None:
        """Ask no provider any more: what has not been sent yet is handed over, what has is waited for."""
        self._stopping = True
        self._recovery.stop()

    async def run(self, claim: Claim, used_at: Instant = 0) -> None:
        """One refresh; ends with the lease given back. `used_at`: when a reader last wanted the token."""
        uuid, task = claim.connection.uuid, asyncio.current_task()
        if uuid in self.running:
            # Our own lease lapsed while we slept, as a machine may: the refresh token is on its way already, and
            # must not go a second time. The attempt goes on under this lease.
            self._leases[uuid] = claim.lease
            return
        assert task is not None
        self.running[uuid] = task
        self._leases[uuid] = claim.lease
        heartbeat = asyncio.create_task(self._heartbeat(uuid))
        try:
            await self._walk(claim, max(used_at, claim.used_at))
        finally:
            heartbeat.cancel()
            del self.running[uuid], self._leases[uuid]

    async def _walk(self, claim: Claim, used_at: Instant) -> None:
        began, uuid = self._clock.monotonic(), claim.connection.uuid
        if await self._recovery.settled(claim):
            await self._store.release_lease(self._leases[uuid])
            return
        if self._stopping:
            await self._store.release_lease(self._leases[uuid])
            self._note(claim, "handed_over", began, reason="this process is stopping")
            return
        if claim.unsettled_owner is not None and not await self._store.begin_asking(self._leases[uuid]):
            self._note(claim, "handed_over", began, reason="the lease was lost before the provider was asked")
            return
        if self._clock.now() >= self._leases[uuid].expires_at:
            # We slept before the request went out: by now it is somebody else's.
            await self._store.release_lease(self._leases[uuid])
            self._note(claim, "handed_over", began, reason="the lease had lapsed before the provider was asked")
            return
        outcome = await self._obtain(claim)
        if outcome is None:
            await self._retire(claim, began)
        elif isinstance(outcome, _Answered):
            await self._save(claim, outcome, used_at, began)
        else:
            await self._save_failure(claim, outcome, began)

    async def _obtain(self, claim: Claim) -> _Answered | _Failed | None:
        """What the provider gives for the stored refresh token; None where there is none to ask with.

        Where an earlier attempt's outcome is unknown, or two refreshes of one generation were reconciled, the
        previous refresh token may be the good one: it is tried before anybody is told to authorize again.
        """
        try:
            client = self._clients.of(claim.connection)
            tokens = await self._connections.open_tokens(claim.connection, claim.sealed_tokens)
            client = client.filled(tokens.parameters)
            if tokens.refresh_token is None:
                return await self._renew(claim, client, tokens) if tokens.renewal is not None else None
            outcome = await self._ask(claim, client, tokens)
            if isinstance(outcome, _Failed) and isinstance(outcome.error, GrantRejected):
                previous = await self._previous(claim)
                if previous is not None and previous.refresh_token not in (None, tokens.refresh_token):
                    second = await self._ask(claim, client, previous)
                    if not (isinstance(second, _Failed) and isinstance(second.error, GrantRejected)):
                        return second
            return outcome
        except (ProviderError, SealError) as error:
            # Before anything was sent.
            return _Failed(error=error)

    async def _previous(self, claim: Claim) -> TokenSet | None:
        if claim.unsettled_at is None and not claim.previous_spare:
            return None
        try:
            return await self._store.open_previous(claim)
        except SealError:
            return None

    async def _renew(self, claim: Claim, client: Client, tokens: TokenSet) -> _Answered | _Failed:
        """The same grant once more, where it needs no person: nothing is spent by that."""
        renewal, token = tokens.renewal, tokens.access_token
        assert renewal is not None
        if renewal.source_uuid is not None:
            token = await self._sources(claim.connection.account_uuid, renewal.source_uuid)
        call = await renewal_call(client, renewal, self._sender.keys, self._clock.now(), token)
        outcome = await self._send(claim, client, tokens, call)
        return msgspec.structs.replace(outcome, unsettled=False) if isinstance(outcome, _Failed) else outcome

    async def _ask(self, claim: Claim, client: Client, tokens: TokenSet) -> _Answered | _Failed:
        call = refresh_call(client, tokens.refresh_token or "", claim.connection.scopes)
        return await self._send(claim, client, tokens, call)

    async def _send(self, claim: Claim, client: Client, tokens: TokenSet, call: Call) -> _Answered | _Failed:
        sent_at = self._clock.now()
        # The identity of what comes back; it grows even where the clock does not.
        asked_at = max(sent_at, claim.issued_at + 1)
        status = number = None
        try:
            response = await self._sender.call(client, call, tokens.dpop_key)
            status = response.status
            if status < 300:
                number = await self._recovery.keep(claim, response, asked_at)
            grant = token_response(client, response, sent_at, granted(claim.connection, tokens)).grant
        except ProviderError as error:
            self._recovery.settle(number)
            return _Failed(error=error, client=client, unsettled=may_have_spent(error, status))
        return _Answered(given=Given(grant=grant, asked_at=asked_at), number=number)

    async def _save(self, claim: Claim, answered: _Answered, used_at: Instant, began: float) -> None:
        connection, given = claim.connection, answered.given
        tokens = given.grant.tokens
        policy = self._clients.of(connection).refresh_policy
        due = refresh_due_at(tokens, policy, used_at, self._jitter())
        try:
            saved = await self._until_stored(
                lambda: self._store.save_refresh(self._leased(claim), given, due, self._clock.now()),
                lambda: self._offer(connection, given, due),
            )
            if saved == "gone":
                # Disconnected while the provider was asked: the revocation knows the old tokens only. Add these.
                await self._until_stored(
                    lambda: self._connections.add_revocation(
                        connection.account_uuid,
                        connection.uuid,
                        connection.provider,
                        connection.client_id,
                        tokens,
                        str(uuids.uuid4()),
                        self._clock.now(),
                    )
                )
        finally:
            self.unsaved.pop(connection.uuid, None)
        self._recovery.settle(answered.number)
        await self._breaker.answered(claim)
        self._note(claim, "refreshed" if saved == "known" else saved, began)

    def _offer(self, connection: Connection, given: Given, due: Instant | None) -> None:
        """The database is away: let readers of this process have what is durable in the journal."""
        tokens = given.grant.tokens
        self.unsaved[connection.uuid] = Fresh(
            connection=msgspec.structs.replace(
                connection,
                status=Status.ACTIVE,
                scopes=given.grant.scopes,
                generation=connection.generation + 1,
                token_type=tokens.token_type,
                refreshable=tokens.renewable,
                access_token_expires_at=tokens.access_token_expires_at,
                refresh_token_expires_at=tokens.refresh_token_expires_at,
                refreshed_at=self._clock.now(),
                next_refresh_at=due,
                failures=0,
                failure=None,
                must_act=MustAct.NOBODY,
            ),
            tokens=tokens,
        )
        if (event := self.answered.get(connection.uuid)) is not None:
            event.set()

    async def _until_stored(self, save: Callable[[], Awaitable[_T]], away: Callable[[], None] = lambda: None) -> _T:
        def saw_outage() -> None:
            self._recovery.saw_outage()
            away()

        return await until_stored(self._clock, save, saw_outage)

    async def _save_failure(self, claim: Claim, failed: _Failed, began: float) -> None:
        """Latch what only a person can mend, and try again later whatever else it was.

        The statement saves only where lease and generation are still the claim's: that is the second look
        before a connection is condemned, and the race's loser condemns nothing.
        """
        error, connection, now = failed.error, claim.connection, self._clock.now()
        outcome, status, must_act = "failing", Status.FAILING, MustAct.NOBODY
        due: Instant | None = self._retry_at(connection, now, error)
        reason = error.message
        if isinstance(error, GrantRejected):
            outcome, status, must_act, due = "rejected", Status.NEEDS_REAUTHORIZATION, MustAct.USER, None
            if claim.unsettled_at is not None:
                outcome, reason = "lost", f"{_lost(claim)} {reason}"
        elif isinstance(error, ClientRejected | SealError):
            must_act = MustAct.OPERATOR
        elif _over(connection, now):
            outcome, status, must_act, due = "rejected", Status.NEEDS_REAUTHORIZATION, MustAct.USER, None
            reason = f"the refresh token has been over for a day, and until its end: {reason}"
        await self._tell_breaker(claim, failed)
        line = self._line(claim, outcome, began, must_act=must_act, reason=reason)
        # What condemns a connection is told in the transaction that does it.
        told = line if status is Status.NEEDS_REAUTHORIZATION else None
        saved = await self._until_stored(
            lambda: self._store.save_failure(
                self._leased(claim), status, must_act, reason, due, now, unsettled=failed.unsettled, line=told
            )
        )
        if saved is not None:
            self._history.note(line, stored=told is not None)
            return
        # Somebody has stored a newer generation: nothing has failed. The lease may still be ours.
        await self._store.release_lease(self._leases[connection.uuid])
        if isinstance(error, GrantRejected):
            # Our request came after that one's: the provider may have ended the whole grant for it.
            await self._until_stored(lambda: self._store.mark_unsettled(claim, now))
        self._note(claim, "superseded", began, reason=reason)

    async def _tell_breaker(self, claim: Claim, failed: _Failed) -> None:
        if failed.client is None or isinstance(failed.error, SealError):
            return
        if isinstance(failed.error, GrantRejected):
            await self._breaker.answered(claim)
        elif pauses(failed.error, failed.client):
            await self._breaker.failed(claim, failed.error, operator=True)
        elif not isinstance(failed.error, ClientRejected) and failed.error.code != "invalid_grant":
            # An `invalid_grant` that a definition calls transient is about this one grant.
            await self._breaker.failed(claim, failed.error, operator=False)

    async def _retire(self, claim: Claim, began: float) -> None:
        """A grant that cannot be refreshed: shown as dead once its access token has expired."""
        connection, now = claim.connection, self._clock.now()
        if fresh_enough(connection.access_token_expires_at, now, 1):
            await self._store.release_lease(self._leases[connection.uuid])
            return
        reason = "the access token has expired and the provider gave no refresh token"
        line = self._line(claim, "retired", began, must_act=MustAct.USER, reason=reason)
        await self._until_stored(
            lambda: self._store.save_failure(
                self._leased(claim), Status.NEEDS_REAUTHORIZATION, MustAct.USER, reason, None, now, line=line
            )
        )
        self._history.note(line, stored=True)

    def _leased(self, claim: Claim) -> Claim:
        """The claim with the lease as it is now: ours may have lapsed and been given to us again."""
        return msgspec.structs.replace(claim, lease=self._leases[claim.connection.uuid])

    async def _heartbeat(self, uuid: str) -> None:
        while True:
            await self._clock.sleep(self.lease_seconds / 3)
            lease = self._leases[uuid]
            try:
                until = self.lease_until(self._clock.now())
                # Where it is lost, it may yet be given to us again.
                if await self._store.renew_lease(lease, until) and self._leases[uuid] is lease:
                    self._leases[uuid] = msgspec.structs.replace(lease, expires_at=until)
            except StorageError as error:
                self._recovery.saw_outage()
                logs.event("refresh.lease_not_renewed", level=logs.WARNING, reason=error.message)

    def _retry_at(self, connection: Connection, now: Instant, error: Exception) -> Instant:
        retry_after = error.retry_after if isinstance(error, ProviderUnavailable) else None
        return now + retry_delay(connection.failures, self._jitter(), retry_after)

    def _note(self, claim: Claim, outcome: str, began: float, *, reason: str | None = None) -> None:
        self._history.note(self._line(claim, outcome, began, reason=reason))

    def _line(
        self,
        claim: Claim,
        outcome: str,
        began: float,
        *,
        must_act: MustAct = MustAct.NOBODY,
        reason: str | None = None,
    ) -> Refresh:
        connection = claim.connection
        return Refresh(
            at=self._clock.now(),
            connection_uuid=connection.uuid,
            account_uuid=connection.account_uuid,
            provider=connection.provider,
            outcome=outcome,
            generation=connection.generation,
            owner=self._owner,
            duration=int((self._clock.monotonic() - began) * SECOND),
            must_act=must_act,
            reason=reason,
        )


def _over(connection: Connection, now: Instant) -> bool:
    """Whether the refresh token has surely died: its stated end is more than a day ago, and no try has succeeded."""
    ends_at = connection.refresh_token_expires_at
    return ends_at is not None and now > ends_at + _GRACE


def _lost(claim: Claim) -> str:
    """Why a grant is lost that the user did not end: an answer that we did not keep."""
    who = f" of the process {claim.unsettled_owner}" if claim.unsettled_owner else ""
    return (
        f"Most likely Grantkeeper's loss, not the user's doing: an earlier refresh{who} ended without its answer being "
        "stored, and the provider honours neither the stored refresh token nor the previous one."
    )
