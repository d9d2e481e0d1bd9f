"""Telling providers that a disconnected grant is over; tried for days, with an honest outcome."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from grantkeeper import logs
from grantkeeper.clients import Clients
from grantkeeper.clock import DAY, SECOND, Clock
from grantkeeper.errors import ProviderError, ProviderUnavailable, SealError
from grantkeeper.model import Evidence
from grantkeeper.oauth.revocation import revocation_call, revocation_response
from grantkeeper.oauth.sender import Sender
from grantkeeper.schedule import retry_delay
from grantkeeper.storage.connections import ConnectionStore, PendingRevocation

PATIENCE = 7 * DAY
"""How long a revocation is tried before it is given up."""
_HOLD = 120 * SECOND


class Revoker:
    """Works off pending revocations; each is tried by one process at a time."""

    def __init__(
        self,
        store: ConnectionStore,
        clients: Clients,
        sender: Sender,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._clients = clients
        self._sender = sender
        self._clock = clock
        self._jitter = jitter

    async def work(self, most: int = 20) -> int:
        """Try those that are due; answers how many were tried."""
        now = self._clock.now()
        due = await self._store.claim_revocations(now, now + _HOLD, most)
        await asyncio.gather(*(self._try(revocation) for revocation in due))
        return len(due)

    async def _try(self, revocation: PendingRevocation) -> None:
        try:
            outcome = await self._ask(revocation)
        except SealError:
            outcome = "unreadable"
        except ProviderError as error:
            now = self._clock.now()
            if now - revocation.created_at < PATIENCE:
                retry_after = error.retry_after if isinstance(error, ProviderUnavailable) else None
                retry_at = now + retry_delay(revocation.attempts, self._jitter(), retry_after)
                await self._store.postpone_revocation(revocation, retry_at)
                logs.event("revocation", connection=revocation.connection_uuid, outcome="retry", reason=error.message)
                return
            outcome = "gave_up"
        await self._store.finish_revocation(
            revocation,
            Evidence(
                at=self._clock.now(),
                account_uuid=revocation.account_uuid,
                actor="grantkeeper",
                action="revocation",
                connection_uuid=revocation.connection_uuid,
                detail={
                    "outcome": outcome,
                    "provider": revocation.provider,
                    "attempts": str(revocation.attempts),
                },
            ),
        )
        logs.event("revocation", connection=revocation.connection_uuid, outcome=outcome)

    async def _ask(self, revocation: PendingRevocation) -> str:
        client = self._clients.registered(revocation.provider, revocation.client_id)
        tokens = await self._store.open_revocation(revocation)
        client = client.filled(tokens.parameters)
        call = revocation_call(client, tokens)
        if call is None:
            return "not_supported"
        revocation_response(client, await self._sender.call(client, call), self._clock.now())
        return "revoked"
