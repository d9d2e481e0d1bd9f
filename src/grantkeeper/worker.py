"""The background loops: refresh what is due, revoke what is pending, drop what has expired.

The cost of a round grows with what is due, and with the number of providers, not with what is stored: each asks an
index, and sleeps until the next connection falls due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from grantkeeper import logs
from grantkeeper.authorize import Authorizations
from grantkeeper.clients import Clients
from grantkeeper.clock import DAY, MINUTE, SECOND, Clock
from grantkeeper.errors import GrantkeeperError, StorageError
from grantkeeper.model import Claim, MustAct
from grantkeeper.refresh import Refresher
from grantkeeper.revoke import Revoker
from grantkeeper.storage.people import PeopleStore
from grantkeeper.storage.refreshes import ProviderDue, RefreshStore

LONGEST_NAP = 5.0
"""Seconds between two looks for due connections; another process may have added one meanwhile."""
_BUSY_NAP = 0.5
_HOUSEKEEPING = 60.0
_BATCH = 0.05
"""Seconds to wait for more refreshes to end, so that the next are claimed together."""


class Worker:
    """Runs until it is cancelled; `run_once` does one round of everything. `keep_history` is in days."""

    def __init__(
        self,
        store: RefreshStore,
        people: PeopleStore,
        clients: Clients,
        authorizations: Authorizations,
        refresher: Refresher,
        revoker: Revoker,
        clock: Clock,
        concurrency: int,
        keep_history: int,
    ) -> None:
        self._store = store
        self._people = people
        self._clients = clients
        self._authorizations = authorizations
        self._refresher = refresher
        self._revoker = revoker
        self._clock = clock
        self._concurrency = concurrency
        self._keep_history = keep_history

    async def run(self) -> None:
        """Every loop, for ever. A broken round is logged and tried again."""
        await self._try_paused()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._refreshes())
            group.create_task(self._housekeeping())

    async def run_once(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Refresh everything that is due now, revoke and clean up; answers how many refreshes were tried.

        What a provider's limits do not allow now stays due. `progress` is told how many of how many are done.
        """
        tried, total = 0, await self._count_due() if progress else 0
        while claims := (await self._claim(self._concurrency))[0]:
            for done in asyncio.as_completed([self._refresher.run(claim) for claim in claims]):
                await done
                tried += 1
                if progress:
                    progress(tried, max(total, tried))
        await self._refresher.write_down()
        await self._tidy()
        return tried

    async def _try_paused(self) -> None:
        """A start may mean that the operator has mended what a provider is paused for: try it at once."""
        try:
            for state in await self._store.provider_states():
                if state.must_act is MustAct.OPERATOR:
                    await self._store.probe_now(state.provider, self._clock.now())
        except StorageError as error:
            _log("worker.paused_not_tried", error)

    async def _count_due(self) -> int:
        now = self._clock.now()
        return sum([await self._store.count_due(due.provider, now) for due in await self._store.provider_dues()])

    async def _refreshes(self) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                more, nap = False, LONGEST_NAP
                try:
                    claims, more, nap = await self._claim(self._concurrency - len(running))
                    running |= {asyncio.create_task(self._guarded(claim)) for claim in claims}
                except Exception as error:
                    _log("worker.round_failed", error)
                running = await self._rest(running, nap, more)
        finally:
            # What is in flight has perhaps been answered already: let it be stored.
            if running:
                await asyncio.wait(running)

    async def _claim(self, places: int) -> tuple[list[Claim], bool, float]:
        """Claims for free places, whether more are due, and for how many seconds nothing else is.

        The places are shared among the providers that have something due, so that a slow one holds up no other.
        """
        now = self._clock.now()
        dues = await self._store.provider_dues()
        due = [found for found in dues if _opens_at(found) <= now]
        later = [(_opens_at(found) - now) / SECOND for found in dues if _opens_at(found) > now]
        nap = min([LONGEST_NAP, *later])
        claims: list[Claim] = []
        if not due:
            return claims, False, nap
        until = self._refresher.lease_until(now)
        for number, provider in enumerate(due):
            # The share of those that need less goes to those behind them.
            share = -(-(places - len(claims)) // (len(due) - number))
            if share > 0:
                claims += await self._store.claim_due(
                    provider.provider,
                    self._clients.policy(provider.provider),
                    self._refresher.owner,
                    now,
                    until,
                    share,
                )
        return claims, True, min(nap, _BUSY_NAP)

    async def _rest(self, running: set[asyncio.Task[None]], nap: float, more: bool) -> set[asyncio.Task[None]]:
        """Sleep; where more are due, only until places are free again."""
        if not running or not more:
            await self._clock.sleep(nap)
        else:
            sleep = asyncio.ensure_future(self._clock.sleep(nap))
            try:
                await asyncio.wait({sleep, *running}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
            await _gather(running, _BATCH)
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
        await self._store.purge_history(now - self._keep_history * DAY)


def _opens_at(found: ProviderDue) -> float:
    """When a provider's next connection can be refreshed; never, where none will be due."""
    if found.due_at is None:
        return float("inf")
    return max(found.due_at, found.blocked_until or 0)


async def _gather(running: set[asyncio.Task[None]], seconds: float) -> None:
    """Wait a moment until a quarter of what runs has ended: one claim of many costs as much as one of one."""
    enough = -(-len(running) // 4)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while sum(task.done() for task in running) < enough and (left := deadline - loop.time()) > 0:
        pending = {task for task in running if not task.done()}
        await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)


def _log(event: str, error: Exception, **fields: str) -> None:
    """A round that failed, of whatever: it must not end the loop, or nothing would be refreshed any more."""
    if isinstance(error, GrantkeeperError):
        logs.event(event, level=logs.ERROR, reason=error.message, **fields)
    else:
        logs.crash(event, error, **fields)
