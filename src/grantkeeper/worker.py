"""The background loops: refresh what is due, revoke what is pending, drop what has expired.

The cost of a round grows with what is due, not with what is stored: each asks an index, and sleeps
until the next connection falls due.
"""

from __future__ import annotations

import asyncio

from grantkeeper import logs
from grantkeeper.authorize import Authorizations
from grantkeeper.clock import DAY, MINUTE, SECOND, Clock
from grantkeeper.errors import GrantkeeperError
from grantkeeper.model import Claim
from grantkeeper.refresh import Refresher
from grantkeeper.revoke import Revoker
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.people import PeopleStore

LONGEST_NAP = 5.0
"""Seconds between two looks for due connections; another process may have added one meanwhile."""
_BUSY_NAP = 0.5
_HOUSEKEEPING = 60.0


class Worker:
    """Runs until it is cancelled; `run_once` does one round of everything."""

    def __init__(
        self,
        store: ConnectionStore,
        people: PeopleStore,
        authorizations: Authorizations,
        refresher: Refresher,
        revoker: Revoker,
        clock: Clock,
        concurrency: int,
    ) -> None:
        self._store = store
        self._people = people
        self._authorizations = authorizations
        self._refresher = refresher
        self._revoker = revoker
        self._clock = clock
        self._concurrency = concurrency

    async def run(self) -> None:
        """Every loop, for ever. A broken round is logged and tried again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._refreshes())
            group.create_task(self._housekeeping())

    async def run_once(self) -> int:
        """Refresh everything that is due now, revoke and clean up; answers how many refreshes were tried."""
        tried = 0
        while claims := await self._claim(self._concurrency):
            await asyncio.gather(*(self._refresher.run(claim) for claim in claims))
            tried += len(claims)
        await self._tidy()
        return tried

    async def _refreshes(self) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                nap = LONGEST_NAP
                try:
                    claims = await self._claim(self._concurrency - len(running))
                    running |= {asyncio.create_task(self._guarded(claim)) for claim in claims}
                    nap = await self._nap()
                except Exception as error:
                    _log("worker.round_failed", error)
                running = await self._rest(running, nap)
        finally:
            # What is in flight has perhaps been answered already: let it be stored.
            if running:
                await asyncio.wait(running)

    async def _claim(self, most: int) -> list[Claim]:
        if most <= 0:
            return []
        now = self._clock.now()
        until = now + int(self._refresher.lease_seconds * SECOND)
        return await self._store.claim_due(self._refresher.owner, now, until, most)

    async def _nap(self) -> float:
        due = await self._store.next_due_at()
        if due is None:
            return LONGEST_NAP
        wait = (due - self._clock.now()) / SECOND
        # Due already and yet not claimed: somebody else holds the lease, or all our places are taken.
        return _BUSY_NAP if wait <= 0 else min(wait, LONGEST_NAP)

    async def _rest(self, running: set[asyncio.Task[None]], nap: float) -> set[asyncio.Task[None]]:
        """Sleep, or until a refresh ends where all places are taken."""
        if len(running) < self._concurrency:
            await self._clock.sleep(nap)
        else:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        return {task for task in running if not task.done()}

    async def _guarded(self, claim: Claim) -> None:
        try:
            await self._refresher.run(claim)
        except Exception as error:
            _log("worker.refresh_failed", error, connection=claim.connection.uuid)

    async def _housekeeping(self) -> None:
        while True:
            try:
                await self._tidy()
            except Exception as error:
                _log("worker.housekeeping_failed", error)
            await self._clock.sleep(_HOUSEKEEPING)

    async def _tidy(self) -> None:
        now = self._clock.now()
        await self._revoker.work()
        await self._authorizations.tidy(now, keep_until=now - DAY)
        await self._people.purge(now, windows_before=now - 30 * MINUTE)


def _log(event: str, error: Exception, **fields: str) -> None:
    """A round that failed, of whatever: it must not end the loop, or nothing would be refreshed any more."""
    if isinstance(error, GrantkeeperError):
        logs.event(event, level=logs.ERROR, reason=error.message, **fields)
    else:
        logs.crash(event, error, **fields)
