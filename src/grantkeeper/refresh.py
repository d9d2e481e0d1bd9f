"""The only path that refreshes: reader or worker → lease → provider → store.

A reader calls `fresh`, the worker `run` with a claim it holds; both end in `run`. No transaction is
held across the network: the lease keeps others away, and saving checks its owner, its fence and the
generation it was taken for.
"""

from __future__ import annotations

import asyncio
import random
import uuid as uuids
from collections.abc import Callable
from typing import Any

from grantkeeper import logs
from grantkeeper.clients import Clients
from grantkeeper.clock import SECOND, Clock, Instant
from grantkeeper.errors import (
    ClientRejected,
    GrantRejected,
    NeedsReauthorization,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    SealError,
    StorageError,
    Unavailable,
)
from grantkeeper.model import (
    Claim,
    Connection,
    Grant,
    MustAct,
    Status,
    TokenSet,
    fresh_enough,
    refresh_due_at,
    retry_delay,
)
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.token import refresh_request, token_response
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.database import until_stored

LEASE_FACTOR = 3
"""A lease lasts this many times the longest that a provider may take; the heartbeat renews it meanwhile."""
_FIRST_POLL, _LONGEST_POLL = 0.02, 0.5


class Refresher:
    """Refreshes connections, one request in flight for each across all processes.

    `owner` names this process in leases; `jitter` answers numbers in [0, 1).
    """

    def __init__(
        self,
        store: ConnectionStore,
        clients: Clients,
        http: ProviderHttp,
        clock: Clock,
        owner: str,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._clients = clients
        self._http = http
        self._clock = clock
        self._jitter = jitter
        self.owner = owner
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._under_lease: dict[str, asyncio.Task[Any]] = {}

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts without its heartbeat."""
        return self._http.timeout * LEASE_FACTOR

    async def fresh(self, account_uuid: str, uuid: str, min_ttl: int) -> tuple[Connection, TokenSet]:
        """A token set that is good for `min_ttl` more seconds, refreshed first when need be.

        Where the provider gives none, the stored one as long as it is valid at all; else
        NeedsReauthorization or Unavailable. Waits no longer than a provider may take.
        """
        give_up = self._clock.monotonic() + self._http.timeout + 5
        tried = False
        while True:
            found = await self._store.get_with_tokens(account_uuid, uuid)
            if found is None:
                raise NotFound("There is no such connection.")
            connection, sealed = found
            self._refuse_dead(connection)
            now = self._clock.now()
            if fresh_enough(connection.access_token_expires_at, now, _reachable(connection, min_ttl)):
                break
            wait = self._pause(connection, now)
            if tried or wait > 0:
                if fresh_enough(connection.access_token_expires_at, now, 1):
                    break
                raise self._unavailable(connection, wait)
            remaining = give_up - self._clock.monotonic()
            tried = await self._shared(connection, remaining) or remaining <= 0
        return connection, await self._store.open_tokens(connection, sealed)

    async def refresh_now(self, connection: Connection) -> Connection:
        """Refresh whatever the expiry, for the operator; the connection as it is afterwards."""
        self._refuse_dead(connection)
        await self._shared(connection, self._http.timeout + 5)
        return await self._store.find(connection.uuid) or connection

    async def run(self, claim: Claim) -> None:
        """One refresh under a lease we hold: ask the provider, store what it gave, give the lease back."""
        uuid, task = claim.connection.uuid, asyncio.current_task()
        if uuid in self._under_lease:
            # The clock leapt, as it does when a machine wakes up, and let our own lease lapse: the refresh
            # token is on its way already, and must not go a second time.
            return
        assert task is not None
        self._under_lease[uuid] = task
        heartbeat = asyncio.create_task(self._heartbeat(claim))
        try:
            await self._attempt(claim)
        finally:
            del self._under_lease[uuid]
            heartbeat.cancel()

    async def settle(self) -> None:
        """Return once everything that a provider gave is stored; wanted before the database closes.

        Readers of this process that wait for another's refresh wait no longer.
        """
        for task in {*self._in_flight.values()} - {*self._under_lease.values()}:
            task.cancel()
        while running := {*self._in_flight.values(), *self._under_lease.values()}:
            await asyncio.wait(running)

    async def _shared(self, connection: Connection, patience: float) -> bool:
        """One attempt for all readers of this process; it goes on when they leave. False: out of patience."""
        task = self._in_flight.get(connection.uuid)
        if task is None:
            task = asyncio.create_task(self._claim_and_run(connection))
            self._in_flight[connection.uuid] = task
            task.add_done_callback(lambda ended: self._ended(connection.uuid, ended))
        done, _ = await asyncio.wait([task], timeout=max(0.0, patience))
        if done:
            task.result()
        return bool(done)

    def _ended(self, connection_uuid: str, task: asyncio.Task[None]) -> None:
        self._in_flight.pop(connection_uuid, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.event(
                "refresh.broken_off",
                level=logs.WARNING,
                connection=connection_uuid,
                reason=type(error).__name__,
            )

    async def _claim_and_run(self, connection: Connection) -> None:
        """Refresh under our own lease, or wait until whoever holds it has stored the next generation."""
        pause = _FIRST_POLL
        while True:
            now = self._clock.now()
            until = now + int(self.lease_seconds * SECOND)
            claim = await self._store.claim(connection.uuid, connection.generation, self.owner, now, until)
            if claim is not None:
                # The second look, now that nobody else can act: an attempt may have ended just before.
                if _moved_on(connection, claim.connection):
                    await self._store.release_lease(claim.lease)
                else:
                    await self.run(claim)
                return
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL)
            current = await self._store.find(connection.uuid)
            if current is None or _moved_on(connection, current):
                return

    async def _attempt(self, claim: Claim) -> None:
        began = self._clock.monotonic()
        try:
            grant = await self._ask(claim)
        except (ProviderError, SealError) as error:
            await self._save_failure(claim, error)
            return
        if grant is None:
            await self._retire(claim)
            return
        saved = await until_stored(
            self._clock, lambda: self._store.save_refresh(claim, grant, self._due(grant), self._clock.now())
        )
        if saved is None:
            await until_stored(self._clock, lambda: self._end_if_gone(claim, grant))
        self._log(claim, "refreshed" if saved else "superseded", began)

    async def _end_if_gone(self, claim: Claim, grant: Grant) -> None:
        """Disconnected while the provider was asked: its revocation knows the old tokens only. Add these."""
        connection = claim.connection
        if await self._store.find(connection.uuid) is None:
            await self._store.add_revocation(
                connection.account_uuid,
                connection.uuid,
                connection.provider,
                connection.client_id,
                grant.tokens,
                str(uuids.uuid4()),
                self._clock.now(),
            )

    async def _ask(self, claim: Claim) -> Grant | None:
        """What the provider gives for the stored refresh token; None where there is none to ask with."""
        connection = claim.connection
        tokens = await self._store.open_tokens(connection, claim.sealed_tokens)
        client = self._clients.of(connection)
        if tokens.refresh_token is None:
            return None
        before = Grant(
            tokens=tokens, scopes=connection.scopes, subject=connection.subject, identity=connection.identity
        )
        requested_at = self._clock.now()
        response = await self._http.send(refresh_request(client, tokens.refresh_token, connection.scopes))
        return token_response(client, response, requested_at, before).grant

    async def _save_failure(self, claim: Claim, error: ProviderError | SealError) -> None:
        """Latch what only a person can mend, and try again later whatever else it was.

        The statement saves only where lease and generation are still the claim's: that is the second
        look before a connection is condemned, and the race's loser condemns nothing.
        """
        connection, now = claim.connection, self._clock.now()
        status, must_act = Status.FAILING, MustAct.NOBODY
        due: Instant | None = self._retry_at(connection, now, error)
        if isinstance(error, GrantRejected):
            status, must_act, due = Status.NEEDS_REAUTHORIZATION, MustAct.USER, None
        elif isinstance(error, ClientRejected | SealError):
            must_act = MustAct.OPERATOR
        saved = await until_stored(
            self._clock, lambda: self._store.save_failure(claim, status, must_act, error.message, due, now)
        )
        outcome = status.value if saved else "superseded"
        self._log(claim, outcome, None, must_act=must_act.value, reason=error.message)

    async def _retire(self, claim: Claim) -> None:
        """A grant that cannot be refreshed: shown as dead once its access token has expired."""
        connection, now = claim.connection, self._clock.now()
        if fresh_enough(connection.access_token_expires_at, now, 1):
            await self._store.release_lease(claim.lease)
            return
        reason = "the access token has expired and the provider gave no refresh token"
        await until_stored(
            self._clock,
            lambda: self._store.save_failure(claim, Status.NEEDS_REAUTHORIZATION, MustAct.USER, reason, None, now),
        )
        self._log(claim, Status.NEEDS_REAUTHORIZATION.value, None, reason=reason)

    async def _heartbeat(self, claim: Claim) -> None:
        while True:
            await self._clock.sleep(self.lease_seconds / 3)
            try:
                until = self._clock.now() + int(self.lease_seconds * SECOND)
                if not await self._store.renew_lease(claim.lease, until):
                    return
            except StorageError as error:
                logs.event("refresh.lease_not_renewed", level=logs.WARNING, reason=error.message)

    def _due(self, grant: Grant) -> Instant | None:
        return refresh_due_at(grant.tokens, self._jitter())

    def _retry_at(self, connection: Connection, now: Instant, error: Exception) -> Instant:
        retry_after = error.retry_after if isinstance(error, ProviderUnavailable) else None
        return now + retry_delay(connection.failures, self._jitter(), retry_after)

    def _pause(self, connection: Connection, now: Instant) -> int:
        """Microseconds for which a failing connection is left alone, readers or not."""
        if connection.status is not Status.FAILING or connection.next_refresh_at is None:
            return 0
        return max(0, connection.next_refresh_at - now)

    def _refuse_dead(self, connection: Connection) -> None:
        if connection.status in (Status.NEEDS_REAUTHORIZATION, Status.REVOKED):
            raise NeedsReauthorization(
                "The provider no longer honours this connection; its user must authorize it again.",
                self._clients.refresh_authorization_url(connection),
            )

    def _unavailable(self, connection: Connection, wait: int) -> Unavailable:
        if connection.must_act is MustAct.OPERATOR:
            message = "The token has expired and the provider refuses our client; the operator must act."
        else:
            message = "The token has expired and the provider does not give a new one now; try again."
        return Unavailable(message, min(60, -(-wait // SECOND)))

    def _log(self, claim: Claim, outcome: str, began: float | None, **fields: Any) -> None:
        connection = claim.connection
        if began is not None:
            fields["seconds"] = round(self._clock.monotonic() - began, 4)
        logs.event(
            "refresh",
            connection=connection.uuid,
            account=connection.account_uuid,
            provider=connection.provider,
            generation=connection.generation,
            outcome=outcome,
            **fields,
        )


def _reachable(connection: Connection, min_ttl: int) -> int:
    """`min_ttl`, or half the token's lifetime where no token of this provider lives that long.

    Otherwise each read would refresh, and none would be satisfied. What cannot be refreshed is good
    to its end.
    """
    if not connection.refreshable:
        return min(min_ttl, 1)
    if connection.access_token_expires_at is None or connection.refreshed_at is None:
        return min_ttl
    lifetime = (connection.access_token_expires_at - connection.refreshed_at) // SECOND
    return min_ttl if min_ttl < lifetime else max(1, lifetime // 2)


def _moved_on(before: Connection, now: Connection) -> bool:
    """Whether an attempt of somebody else has ended since: with a new generation, or in failure."""
    return now.generation != before.generation or now.failures != before.failures or now.status != before.status
