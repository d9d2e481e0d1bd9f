"""PostgreSQL stopped, restarted and failed over while refreshes are under way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial

from faults.databases import Databases
from faults.ground import Ground
from faults.machine import begin, end
from faults.report import Row
from tests.support.postgres import PostgresServer, StopMode

AWAY = 4.0
"""Seconds for which the server is stopped."""
SLOWEST = 0.3
"""Seconds that the provider takes at most: at any moment some answers are on their way."""


async def restarts(ground: Ground, row: Row, databases: Databases, server: PostgresServer, times: int) -> Row:
    """Ordered restarts, crashes, and a stop of some seconds."""
    await begin(ground, row, SLOWEST)
    modes: list[StopMode] = ["fast", "immediate"]
    for number in range(times):
        await asyncio.sleep(ground.rng.uniform(0.7, 2.0))
        await databases.blocking(partial(server.restart, modes[number % 2]))
    await asyncio.sleep(ground.rng.uniform(0.7, 2.0))
    await databases.blocking(server.stop)
    await asyncio.sleep(AWAY)
    await databases.blocking(server.start)
    row.events = f"{(times + 1) // 2} restarts, {times // 2} crashes, 1 stop of {AWAY:g} s"
    return await end(ground, row)


async def failovers(ground: Ground, row: Row, databases: Databases, pair: Pair, times: int) -> Row:
    """Again and again the primary dies without a word and its standby is promoted."""
    await begin(ground, row, SLOWEST)
    for number in range(times):
        await asyncio.sleep(ground.rng.uniform(1.5, 3.0))
        await databases.blocking(pair.lose_primary)
        await asyncio.sleep(ground.rng.uniform(0.2, 1.5))
        await databases.blocking(pair.promote)
        if number < times - 1:
            await databases.blocking(pair.follow)
    await asyncio.sleep(1.0)
    row.events = f"{times} failovers"
    return await end(ground, row)


class Pair:
    """A primary and its streaming standby, who change places. Every method blocks.

    `lag`: the standby has heard nothing of the last so many seconds when the primary dies.
    """

    def __init__(self, primary: PostgresServer, *, synchronous: bool = False, lag: float = 0.0) -> None:
        self._primary = primary
        self._synchronous = synchronous
        self._lag = lag
        self._standby = primary.standby(synchronous=synchronous)
        self._standby.start()

    def url(self, database: str) -> str:
        """The one of them that takes writes, whichever that is."""
        return self._standby.failover_url(database)

    def lose_primary(self) -> None:
        """It ends as in a crash."""
        senders = self._primary.execute("SELECT pid FROM pg_stat_replication") if self._lag else []
        for (pid,) in senders:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(self._lag)
        for (pid,) in senders:
            # What it has not sent dies with it.
            os.kill(pid, signal.SIGKILL)
        self._primary.stop("immediate")

    def promote(self) -> None:
        """The standby takes writes."""
        self._standby.promote()

    def follow(self) -> None:
        """In the place of the one that is gone a new standby follows the promoted one."""
        port = self._primary.port
        self._primary.close()
        self._primary = self._standby
        self._standby = self._primary.standby(synchronous=self._synchronous, port=port)
        self._standby.start()

    def close(self) -> None:
        """Stop and delete both."""
        self._standby.close()
        self._primary.close()
