"""What became of each refresh: a log line at once, a row of history within a second, a count for metrics."""

from __future__ import annotations

from collections.abc import Callable

from grantkeeper import logs
from grantkeeper.errors import StorageError
from grantkeeper.model import MustAct, Refresh
from grantkeeper.storage.refreshes import RefreshStore

_MOST_WAITING = 10_000
_BATCH = 500


class History:
    """Lines wait here for the database, so that a refresh does not pay a round trip for its own history."""

    def __init__(self, store: RefreshStore) -> None:
        self._store = store
        self._waiting: list[Refresh] = []
        self._observers: list[Callable[[Refresh], None]] = []

    def subscribe(self, observer: Callable[[Refresh], None]) -> None:
        """Have `observer` called with every line from now on."""
        self._observers.append(observer)

    def note(self, line: Refresh, *, stored: bool = False) -> None:
        """One refresh has ended; `stored`: the database has the line already."""
        logs.event(
            "refresh",
            level=logs.INFO if line.must_act is MustAct.NOBODY else logs.WARNING,
            connection=line.connection_uuid,
            account=line.account_uuid,
            provider=line.provider,
            generation=line.generation,
            outcome=line.outcome,
            seconds=round(line.duration / 1e6, 4),
            must_act=line.must_act.value,
            **({"reason": line.reason} if line.reason else {}),
        )
        if not stored:
            self._waiting.append(line)
        for observer in self._observers:
            observer(line)

    async def flush(self) -> None:
        """Write what waits. While the database is away it goes on waiting; past ten thousand lines the oldest go."""
        while batch := self._waiting[:_BATCH]:
            try:
                await self._store.add_history(batch)
            except StorageError as error:
                if (lost := len(self._waiting) - _MOST_WAITING) > 0:
                    del self._waiting[:lost]
                logs.event("history.not_stored", level=logs.WARNING, reason=error.message, dropped=max(0, lost))
                return
            # Lines that came meanwhile stand behind the batch.
            del self._waiting[: len(batch)]
