"""Protecting providers: after failures in a row, or an error of the operator's, one connection probes for all.

The state is in the database, for all processes; each process counts the failures that it sees itself.
"""

from __future__ import annotations

from collections.abc import Callable

from grantkeeper import logs
from grantkeeper.clock import MINUTE, SECOND, Clock
from grantkeeper.errors import ProviderError, ProviderUnavailable, StorageError
from grantkeeper.model import Claim, MustAct
from grantkeeper.storage.refreshes import RefreshStore

STRIKES = 5
"""Transient failures in a row, in one process, after which a provider is left alone."""
_FIRST = {MustAct.NOBODY: 5 * SECOND, MustAct.OPERATOR: 30 * SECOND}
_LONGEST = 5 * MINUTE


class Breaker:
    """Blocks a provider, and opens it again at the first answer that shows it works."""

    def __init__(self, store: RefreshStore, clock: Clock, jitter: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._jitter = jitter
        self._strikes: dict[str, int] = {}
        self._blocked: set[str] = set()

    def saw_blocked(self, provider: str) -> None:
        """Another process has blocked it: an answer here opens it all the same."""
        self._blocked.add(provider)

    async def answered(self, claim: Claim) -> None:
        """The provider gave tokens, or refused this one grant: it works, and so does our client."""
        provider = claim.connection.provider
        self._strikes.pop(provider, None)
        if claim.probes is None and provider not in self._blocked:
            return
        self._blocked.discard(provider)
        try:
            if await self._store.unblock_provider(provider):
                logs.event("provider.resumed", level=logs.WARNING, provider=provider)
        except StorageError as error:
            self._blocked.add(provider)
            logs.event("provider.not_resumed", level=logs.WARNING, provider=provider, reason=error.message)

    async def failed(self, claim: Claim, error: ProviderError, *, operator: bool) -> None:
        """A refresh failed in a way that may be all connections' of the provider; `operator`: he must act."""
        provider = claim.connection.provider
        strikes = self._strikes[provider] = self._strikes.get(provider, 0) + 1
        if operator or claim.probes is not None or strikes >= STRIKES:
            await self._block(claim, error, MustAct.OPERATOR if operator else MustAct.NOBODY)

    async def _block(self, claim: Claim, error: ProviderError, must_act: MustAct) -> None:
        provider, now = claim.connection.provider, self._clock.now()
        delay = min(_LONGEST, _FIRST[must_act] * 2 ** min(claim.probes or 0, 10))
        delay = int(delay * (0.5 + self._jitter() / 2))
        if isinstance(error, ProviderUnavailable) and error.retry_after is not None:
            delay = max(delay, min(error.retry_after * SECOND, _LONGEST))
        self._blocked.add(provider)
        try:
            changed = await self._store.block_provider(
                provider, now + delay, error.message, must_act, now, probe=claim.probes is not None
            )
        except StorageError as trouble:
            logs.event("provider.not_blocked", level=logs.WARNING, provider=provider, reason=trouble.message)
            return
        if changed:
            paused = must_act is MustAct.OPERATOR
            logs.event(
                "provider.paused" if paused else "provider.blocked",
                level=logs.ERROR if paused else logs.WARNING,
                provider=provider,
                reason=error.message,
                seconds=round(delay / SECOND, 1),
                what_to_do=f"mend clients.{provider} (client id, secret, scopes); no connection is condemned, all "
                "resume by themselves"
                if paused
                else "nothing: one connection tries it from time to time, all resume by themselves",
            )
