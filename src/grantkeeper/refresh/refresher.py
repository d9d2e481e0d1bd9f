"""What readers, the worker and the operator call: one refresh in flight for a connection, shared by all who wait.

A reader calls `fresh`, the worker `run` with a claim it holds; both end in `Attempts.run`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import Callable

from grantkeeper import logs
from grantkeeper.clients import Clients
from grantkeeper.clock import DAY, MINUTE, SECOND, Clock, Instant
from grantkeeper.errors import (
    GrantRejected,
    NeedsReauthorization,
    NotFound,
    ProviderUnavailable,
    StorageError,
    StorageUnavailable,
    Unavailable,
)
from grantkeeper.model import Blocked, Claim, Connection, MustAct, Status, TokenSet
from grantkeeper.oauth.sender import Sender
from grantkeeper.refresh.attempt import Attempts
from grantkeeper.refresh.breaker import Breaker
from grantkeeper.refresh.history import History
from grantkeeper.refresh.recovery import Recovery
from grantkeeper.schedule import fresh_enough
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.journal import Journal
from grantkeeper.storage.refreshes import RefreshStore
from grantkeeper.storage.vault import Vault

YOUNG = 10
"""Seconds after its issue for which a token is not refreshed because an API refused it: that has another reason."""
_FIRST_POLL, _LONGEST_POLL = 0.02, 0.5
_UPKEEP = 1.0
_MOST_USES = 100_000


class Refresher:
    """Refreshes connections, one request in flight for each across all processes.

    `owner` names this process in leases; `jitter` answers numbers in [0, 1).
    """

    def __init__(
        self,
        connections: ConnectionStore,
        store: RefreshStore,
        vault: Vault,
        clients: Clients,
        sender: Sender,
        journal: Journal,
        clock: Clock,
        owner: str,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connections = connections
        self._store = store
        self._clients = clients
        self._timeout = sender.timeout
        self._clock = clock
        self.owner = owner
        self.history = History(store)
        self._journal = journal
        self._breaker = Breaker(store, clock, jitter)
        self._recovery = Recovery(
            journal, vault, connections, store, clients, self.history, clock, owner, jitter, sender.timeout
        )
        self._attempts = Attempts(
            connections,
            store,
            clients,
            sender,
            self._source,
            self._recovery,
            self._breaker,
            self.history,
            clock,
            owner,
            jitter,
        )
        self._in_flight: dict[str, asyncio.Task[Blocked | None]] = {}
        self._used: dict[str, Instant] = {}

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts without its heartbeat."""
        return self._attempts.lease_seconds

    def lease_until(self, now: Instant) -> Instant:
        """When a lease that is taken now ends, unless its heartbeat renews it."""
        return self._attempts.lease_until(now)

    @property
    def unsettled(self) -> int:
        """How many answers of providers this process has journalled that the database does not have yet."""
        return self._journal.unsettled()

    async def fresh(self, account_uuid: str, uuid: str, min_ttl: int) -> tuple[Connection, TokenSet]:
        """A token set that is good for `min_ttl` more seconds, refreshed first when need be.

        Where the provider gives none, the stored one as long as it is valid at all; else
        NeedsReauthorization or Unavailable. Waits no longer than a provider may take.
        """
        return await self._read(account_uuid, uuid, min_ttl, refused=None)

    async def instead_of(self, account_uuid: str, uuid: str, refused: bytes) -> tuple[Connection, TokenSet]:
        """A token set in place of one that an API refused, given by its access token's SHA-256.

        Refreshed where that is still the stored one, once, whoever reports it; else what is stored is newer.
        """
        return await self._read(account_uuid, uuid, 1, refused=refused)

    async def _source(self, account_uuid: str, uuid: str) -> str:
        """The access token of a connection that another lives on, or the ProviderError that it means to that one."""
        try:
            _, tokens = await self.fresh(account_uuid, uuid, 60)
        except NotFound:
            raise GrantRejected("the connection whose access is exchanged was disconnected") from None
        except (NeedsReauthorization, Unavailable) as error:
            problem = f"the connection whose access is exchanged gives no token: {error.message}"
            raise ProviderUnavailable(problem, sent=False) from None
        return tokens.access_token

    async def refresh_now(self, connection: Connection) -> Connection:
        """Refresh whatever the expiry, for the operator; the connection as it is afterwards."""
        self._refuse_dead(connection)
        blocked = await self._shared(connection, self._timeout + 5)
        if isinstance(blocked, Blocked):
            raise _blocked(blocked, self._clock.now())
        return await self._connections.find(connection.uuid) or connection

    async def run(self, claim: Claim) -> None:
        """One refresh under a lease we hold."""
        await self._attempts.run(claim, self._used.get(claim.connection.uuid, 0))

    async def recover(self) -> None:
        """Store what processes of this machine journalled before they died; wanted before anything is refreshed."""
        await self._recovery.round()
        await self._stand_down()

    async def upkeep(self) -> None:
        """For ever, in every process: history and uses to the database, journals of the dead adopted."""
        while True:
            await self._clock.sleep(_UPKEEP)
            await self.write_down()
            try:
                await self.recover()
            except Exception as error:
                logs.crash("recovery.failed", error)

    async def _stand_down(self) -> None:
        """Tell those that wait for an attempt of ours which has ended that nothing more will come of it."""
        try:
            for uuid in await self._store.waits_for(self.owner):
                if uuid not in self._attempts.running:
                    await self._store.stand_down(uuid, self.owner)
        except StorageUnavailable as error:
            # Also how a process that does nothing else hears of an outage.
            self._recovery.saw_outage()
            logs.event("refresh.not_stood_down", level=logs.WARNING, reason=error.message)

    async def write_down(self) -> None:
        """History, and which connections are in use, to the database; what cannot be stored now waits."""
        await self.history.flush()
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.touch(used)
        except StorageError as error:
            self._used = used | self._used if len(used) < _MOST_USES else self._used
            logs.event("uses.not_stored", level=logs.WARNING, reason=error.message)

    def stop(self) -> None:
        """Ask no provider any more: what has not been sent is handed over. `settle` waits for what has."""
        self._attempts.stop()

    async def settle(self) -> None:
        """Return once everything that a provider gave is stored; wanted before the database closes.

        Readers of this process that wait for another's refresh wait no longer.
        """
        self.stop()
        running = self._attempts.running
        for task in {*self._in_flight.values()} - {*running.values()}:
            task.cancel()
        while going_on := {*self._in_flight.values(), *running.values()}:
            await asyncio.wait(going_on)

    async def _read(
        self, account_uuid: str, uuid: str, min_ttl: int, *, refused: bytes | None
    ) -> tuple[Connection, TokenSet]:
        give_up = self._clock.monotonic() + self._timeout + 5
        tried = False
        blocked: Blocked | None = None
        while True:
            given = self._attempts.unsaved.get(uuid)
            if given is not None and given.connection.account_uuid == account_uuid:
                return given.connection, given.tokens
            found = await self._connections.get_with_tokens(account_uuid, uuid)
            if found is None:
                raise NotFound("There is no such connection.")
            connection = found.connection
            self._refuse_dead(connection)
            now = self._clock.now()
            if now - found.used_at > DAY:
                self._used[uuid] = now
            if refused is not None:
                tokens = await self._connections.open_tokens(connection, found.sealed_tokens)
                if not hmac.compare_digest(hashlib.sha256(tokens.access_token.encode()).digest(), refused):
                    refused = None
                elif not connection.refreshable:
                    raise self._dead(connection, "The API refuses this token, and the provider gave none to refresh it")
                elif (age := now - (connection.refreshed_at or 0)) < YOUNG * SECOND:
                    raise _too_young(age)
            good = refused is None and not _from_the_future(connection, now)
            if good and fresh_enough(connection.access_token_expires_at, now, self._reachable(connection, min_ttl)):
                break
            wait = max(self._pause(connection, now), blocked.until - now if blocked else 0)
            if tried or wait > 0:
                if good and fresh_enough(connection.access_token_expires_at, now, 1):
                    break
                raise self._unavailable(connection, wait, blocked, "has expired" if refused is None else "is refused")
            remaining = give_up - self._clock.monotonic()
            outcome = await self._shared(connection, remaining)
            blocked = outcome if isinstance(outcome, Blocked) else None
            tried = outcome is not False or remaining <= 0
        return connection, await self._connections.open_tokens(connection, found.sealed_tokens)

    def _reachable(self, connection: Connection, min_ttl: int) -> int:
        """`min_ttl`, or half the token's lifetime where no token of this provider lives that long.

        Otherwise each read would refresh, and none would be satisfied; nor is more asked than the provider can do
        that early. What cannot be refreshed is good to its end.
        """
        if not connection.refreshable:
            return min(min_ttl, 1)
        if (earliest := self._clients.policy(connection.provider).earliest) is not None:
            min_ttl = min(min_ttl, earliest // SECOND)
        if connection.access_token_expires_at is None or connection.refreshed_at is None:
            return min_ttl
        lifetime = (connection.access_token_expires_at - connection.refreshed_at) // SECOND
        return min_ttl if min_ttl < lifetime else max(1, lifetime // 2)

    async def _shared(self, connection: Connection, patience: float) -> Blocked | bool:
        """One attempt for all readers of this process; it goes on when they leave. False: out of patience."""
        task = self._in_flight.get(connection.uuid)
        if task is None:
            task = asyncio.create_task(self._claim_and_run(connection))
            self._in_flight[connection.uuid] = task
            task.add_done_callback(lambda ended: self._ended(connection.uuid, ended))
        # Where the database is away, an answer serves readers before it is stored.
        event = self._attempts.answered.setdefault(connection.uuid, asyncio.Event())
        answered = asyncio.ensure_future(event.wait())
        try:
            done, _ = await asyncio.wait(
                {task, answered}, timeout=max(0.0, patience), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            answered.cancel()
        if not done:
            return False
        return (task.result() or True) if task.done() else True

    def _ended(self, connection_uuid: str, task: asyncio.Task[Blocked | None]) -> None:
        self._in_flight.pop(connection_uuid, None)
        self._attempts.answered.pop(connection_uuid, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.event(
                "refresh.broken_off",
                level=logs.WARNING,
                connection=connection_uuid,
                reason=type(error).__name__,
            )

    async def _claim_and_run(self, connection: Connection) -> Blocked | None:
        """Refresh under our own lease, or wait until whoever holds it has stored the next generation."""
        pause = _FIRST_POLL
        policy = self._clients.policy(connection.provider)
        while True:
            now = self._clock.now()
            claim = await self._store.claim_within(policy, connection, self.owner, now, self.lease_until(now))
            if isinstance(claim, Blocked):
                self._breaker.saw_blocked(connection.provider)
                return claim
            if claim is not None:
                # The second look, now that nobody else can act: an attempt may have ended just before.
                if _moved_on(connection, claim.connection):
                    await self._store.release_lease(claim.lease)
                else:
                    await self.run(claim)
                return None
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL)
            current = await self._connections.find(connection.uuid)
            if current is None or _moved_on(connection, current):
                return None

    def _pause(self, connection: Connection, now: Instant) -> int:
        """Microseconds for which a failing connection is left alone, readers or not."""
        if connection.status is not Status.FAILING or connection.next_refresh_at is None:
            return 0
        return max(0, connection.next_refresh_at - now)

    def _refuse_dead(self, connection: Connection) -> None:
        if connection.status in (Status.NEEDS_REAUTHORIZATION, Status.REVOKED):
            raise self._dead(connection, "The provider no longer honours this connection")

    def _dead(self, connection: Connection, why: str) -> NeedsReauthorization:
        url = self._clients.refresh_authorization_url(connection)
        return NeedsReauthorization(f"{why}; its user must authorize it again.", url)

    def _unavailable(self, connection: Connection, wait: int, blocked: Blocked | None, why: str) -> Unavailable:
        if blocked is not None:
            return _blocked(blocked, self._clock.now())
        if connection.must_act is MustAct.OPERATOR:
            message = f"The token {why} and the provider refuses our client; the operator must act."
        else:
            message = f"The token {why} and the provider does not give a new one now; try again."
        return Unavailable(message, min(60, -(-wait // SECOND)))


def _blocked(blocked: Blocked, now: Instant) -> Unavailable:
    if blocked.must_act is MustAct.OPERATOR:
        message = "The provider refuses our client, so it is asked by one connection only; the operator must act."
    else:
        message = "The provider does not answer, so it is asked by one connection only until it does; try again."
    return Unavailable(message, min(60, -(-(blocked.until - now) // SECOND)))


def _too_young(age: int) -> Unavailable:
    message = (
        f"That token was issued {age // SECOND} seconds ago, so its refusal has another reason than its age: look at "
        "scopes and permissions. It is not refreshed yet."
    )
    return Unavailable(message, YOUNG - age // SECOND)


def _from_the_future(connection: Connection, now: Instant) -> bool:
    """Whether the token was stored later than now: a clock was wrong, so nobody knows when it expires."""
    return connection.refreshable and (connection.refreshed_at or 0) > now + MINUTE


def _moved_on(before: Connection, now: Connection) -> bool:
    """Whether an attempt of somebody else has ended since: with a new generation, or in failure."""
    return now.generation != before.generation or now.failures != before.failures or now.status != before.status
