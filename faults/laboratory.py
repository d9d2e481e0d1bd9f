"""The cases, each on grounds of its own, and the order in which they run."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from faults import killing, machine, outages, provider_faults, readers
from faults.databases import Databases, Engine
from faults.ground import Ground, open_ground
from faults.oidc import CALLBACK, open_oidc_ground
from faults.processes import Parent
from faults.report import Row
from tests.support.oidc_provider import OidcProvider

ENGINES: tuple[Engine, Engine] = ("postgresql", "sqlite")
NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
MODES = ("strict", "grace")
Standby = Literal["asynchronous", "synchronous", "lagging"]
STANDBYS: dict[Standby, dict[str, Any]] = {
    "asynchronous": {},
    "synchronous": {"synchronous": True},
    "lagging": {"lag": 0.3},
}
"""Seconds of the lag: it lacks commits that were answered."""
ZEROS = ("lost", "unexplained", "double", "expired")
EXPLAINED = ("unexplained", "double", "expired")
"""Where the provider has no grace, a process killed with an answer on its way takes the grant along."""
LONGEST_CASE = 600.0
"""Seconds after which a case is broken off."""


class Lab:
    """Everything that the cases share. `scale` shortens them: 1 is the whole laboratory.

    In `keep`, an empty or new directory, logs and databases remain when it is over.
    """

    def __init__(self, seed: int, scale: float = 1.0, keep: Path | None = None) -> None:
        self.scale = scale
        self._keep = keep
        self._seed = seed
        self._stack = AsyncExitStack()
        self._grounds = 0

    async def __aenter__(self) -> Self:
        if self._keep is not None:
            self.directory = self._keep.resolve()
            self.directory.mkdir(mode=0o700, exist_ok=True)
        else:
            folder = tempfile.TemporaryDirectory(prefix="gk-faults-", ignore_cleanup_errors=True)
            self.directory = Path(self._stack.enter_context(folder))
        self.databases = await self._stack.enter_async_context(Databases(self.directory))
        self.parent = await self._stack.enter_async_context(Parent(self.directory))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def count(self, whole: int, least: int = 1) -> int:
        """So many of `whole` as the scale says."""
        return max(least, round(whole * self.scale))

    def seconds(self, whole: float, least: float = 1.0) -> float:
        """The same for time."""
        return max(least, whole * self.scale)

    @asynccontextmanager
    async def ground(
        self, engine: Engine, mode: str, *, url: str | None = None, **options: Any
    ) -> AsyncIterator[Ground]:
        """A fresh ground."""
        directory, rng = self._place()
        url = url or await self.databases.fresh(engine)
        async with open_ground(directory, url, mode, self.parent, rng, **options) as ground:
            yield ground

    @asynccontextmanager
    async def oidc_ground(self, engine: Engine, lifetime: int) -> AsyncIterator[Ground]:
        """A fresh ground with an oidc-provider of its own."""
        directory, rng = self._place()
        url = await self.databases.fresh(engine)
        real = OidcProvider([CALLBACK], access_token_ttl=lifetime)
        await self.databases.blocking(real.__enter__)
        try:
            async with open_oidc_ground(directory, url, self.parent, rng, real) as ground:
                yield ground
        finally:
            await self.databases.blocking(real.close)

    def _place(self) -> tuple[Path, random.Random]:
        self._grounds += 1
        directory = self.directory / f"ground-{self._grounds}"
        directory.mkdir(mode=0o700)
        return directory, random.Random(f"{self._seed} {self._grounds}")


def _row(case: str, engine: Engine, mode: str, *, provider: str = "shipped", processes: int = 4) -> Row:
    return Row(case, NAMES[engine], provider, mode, processes, "")


async def kill(lab: Lab, engine: Engine, mode: str, *, kills: int | None = None, pool: int = 60) -> Row:
    """`kill -9` at the shipped provider."""
    row = _row("kill -9", engine, mode)
    row.zeros = ZEROS if mode == "grace" else EXPLAINED
    async with lab.ground(engine, mode) as ground:
        return await killing.run(ground, row, kills or lab.count(250), pool)


async def window(lab: Lab, engine: Engine) -> Row:
    """How long a grant hangs on one process, without the crowd of the other cases."""
    row = _row("undisturbed", engine, "strict", processes=1)
    row.events = "none"
    async with lab.ground(engine, "strict") as ground:
        return await killing.undisturbed(ground, row, lab.seconds(12))


async def kill_oidc(lab: Lab, engine: Engine) -> Row:
    """`kill -9` at the real oidc-provider."""
    row = _row("kill -9", engine, "strict", provider="oidc-provider")
    row.zeros = EXPLAINED
    async with lab.oidc_ground(engine, 2) as ground:
        return await killing.run(ground, row, lab.count(50), 20)


async def restart(lab: Lab, mode: str) -> Row:
    """PostgreSQL stopped and started."""
    row = _row("database restarted", "postgresql", mode)
    server = await lab.databases.server()
    url = await lab.databases.migrated(server)
    async with lab.ground("postgresql", mode, url=url) as ground:
        return await outages.restarts(ground, row, lab.databases, server, lab.count(6, 2))


async def failover(lab: Lab, kind: Standby) -> Row:
    """PostgreSQL dies and its standby takes over."""
    row = _row(f"failover to {kind} standby", "postgresql", "strict")
    primary = await lab.databases.server()
    url = await lab.databases.migrated(primary)
    options = STANDBYS[kind]
    pair = await lab.databases.blocking(partial(outages.Pair, primary, **options))
    try:
        async with lab.ground("postgresql", "strict", url=pair.url(url)) as ground:
            return await outages.failovers(ground, row, lab.databases, pair, lab.count(4))
    finally:
        await lab.databases.blocking(pair.close)


async def read(lab: Lab, engine: Engine) -> Row:
    """Readers and workers together."""
    row = _row("200 readers", engine, "strict")
    async with lab.ground(engine, "strict", lifetime=readers.LIFETIME) as ground:
        return await readers.run(ground, row, seconds=lab.seconds(60, 5), readers=200, connections=50)


async def read_oidc(lab: Lab, engine: Engine) -> Row:
    """The same at the real oidc-provider."""
    row = _row("50 readers", engine, "strict", provider="oidc-provider")
    async with lab.oidc_ground(engine, 6) as ground:
        return await readers.run(ground, row, seconds=lab.seconds(20, 5), readers=50, connections=15)


async def misbehave(lab: Lab, engine: Engine, mode: str) -> Row:
    """Provider faults."""
    row = _row("provider faults", engine, mode)
    kinds = [*provider_faults.kinds(mode), *([provider_faults.DOWN] if mode == "strict" else [])]
    async with lab.ground(engine, mode, kinds=kinds, lifetime=provider_faults.LIFETIME) as ground:
        return await provider_faults.run(ground, row, lab.seconds(30, 8))


async def freeze(lab: Lab, engine: Engine, mode: str) -> Row:
    """SIGSTOP."""
    async with lab.ground(engine, mode) as ground:
        return await machine.freeze(ground, _row("frozen past the lease", engine, mode), lab.count(4))


async def jump(lab: Lab, engine: Engine) -> Row:
    """Clock jumps."""
    async with lab.ground(engine, "strict") as ground:
        return await machine.jump(ground, _row("clock jumps of 6 h", engine, "strict"), lab.seconds(3.0))


async def fill(lab: Lab, engine: Engine) -> Row:
    """Disk full."""
    async with lab.ground(engine, "strict") as ground:
        return await machine.fill(ground, _row("journal's disk full", engine, "strict"), lab.seconds(6.0, 3.0))


Case = Callable[[Lab], Awaitable[Row]]


def _both(case: Callable[..., Awaitable[Row]]) -> list[tuple[str, Case]]:
    """A case on each engine."""
    return [(engine, partial(case, engine=engine)) for engine in ENGINES]


def _all(case: Callable[..., Awaitable[Row]]) -> list[tuple[str, Case]]:
    """A case on each engine, at a provider of each mode."""
    return [(f"{engine} {mode}", partial(case, engine=engine, mode=mode)) for mode in MODES for engine in ENGINES]


CASES: dict[str, list[list[tuple[str, Case]]]] = {
    "window": [[case] for case in _both(window)],
    "kill": [_both(partial(kill, mode=mode)) for mode in MODES],
    "kill-oidc": [_both(kill_oidc)],
    "database": [
        [(mode, partial(restart, mode=mode)) for mode in MODES],
        [(kind, partial(failover, kind=kind)) for kind in STANDBYS],
    ],
    "readers": [[case] for case in _both(read)],
    "readers-oidc": [[("postgresql", partial(read_oidc, engine="postgresql"))]],
    "provider": [
        [(f"{engine} {mode}", partial(misbehave, engine=engine, mode=mode)) for mode in MODES] for engine in ENGINES
    ],
    "freeze": [_all(freeze)],
    "clock": [_both(jump)],
    "disk": [_both(fill)],
}
"""By the name of `--case`: groups that run after each other, of cases that run beside each other."""


async def run(lab: Lab, names: list[str]) -> list[Row]:
    """The rows of those cases, in order; one that breaks is a row that says so."""
    rows = []
    for name in names:
        for group in CASES[name]:
            rows += await asyncio.gather(*(guarded(lab, f"{name} {variant}", case) for variant, case in group))
    return rows


async def guarded(lab: Lab, name: str, case: Case) -> Row:
    """A case within its time."""
    began = time.monotonic()
    print(f"{name}: begins", file=sys.stderr)
    try:
        async with asyncio.timeout(LONGEST_CASE):
            row = await case(lab)
    except Exception as error:
        row = Row(name, "", "", "", 0, "", broken=[f"{type(error).__name__}: {error}"])
    said = "good" if row.good else f"FAILED: {'; '.join(row.broken) or row.cells()}"
    print(f"{name}: {said} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return row
