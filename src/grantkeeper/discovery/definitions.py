"""The operator's definitions, taken into use as they are edited: nobody has to restart for one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from grantkeeper import logs
from grantkeeper.catalogue.catalogue import Catalogue
from grantkeeper.catalogue.load import Reading, read_again
from grantkeeper.clients import Clients
from grantkeeper.clock import Clock
from grantkeeper.discovery.discovery import Discovery
from grantkeeper.errors import ConfigError, GrantkeeperError

LOOK = 2.0
"""Seconds between two looks at the directory. An edit is read once two looks in a row have shown the same."""

Stamps = frozenset[tuple[str, int, int, int]]


class Definitions:
    """Watches `folder`, which `catalogue` was read from; None: there is nothing to watch.

    A file with problems is refused whole: they are logged, and what was before stays in use.
    """

    def __init__(
        self, folder: Path | None, catalogue: Catalogue, clients: Clients, discovery: Discovery, clock: Clock
    ) -> None:
        self._folder = folder
        self._catalogue = catalogue
        self._clients = clients
        self._discovery = discovery
        self._clock = clock
        self._asked = asyncio.Event()
        self._seen: Stamps | None = None
        self._taken: Stamps | None = None
        self._finding: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Have everything read again now, edited or not (SIGHUP)."""
        if self._folder is None:
            logs.event("definitions.not_read", level=logs.WARNING, reason="providers_dir is not set")
        self._asked.set()

    async def run(self) -> None:
        """Look for edits, for ever. A look that failed is logged and done again."""
        if self._folder is None:
            return
        try:
            while True:
                await self._rest()
                try:
                    await self.look(self._folder)
                except Exception as error:
                    logs.crash("definitions.look_failed", error)
        finally:
            if self._finding is not None:
                self._finding.cancel()

    async def look(self, folder: Path) -> None:
        """Read the files again where they have changed and come to rest, or somebody has asked."""
        asked = self._asked.is_set()
        self._asked.clear()
        before, self._seen = self._seen, await asyncio.to_thread(_stamps, folder)
        if asked or (self._seen == before and self._seen not in (None, self._taken)):
            self._taken = self._seen
            await self._read(folder, asked=asked)

    async def _read(self, folder: Path, *, asked: bool) -> None:
        try:
            found = await asyncio.to_thread(read_again, folder, self._catalogue)
            changed = self._changed(found)
            if changed:
                self._clients.use(found.catalogue)
                self._catalogue = found.catalogue
        except GrantkeeperError as error:
            problems = error.problems if isinstance(error, ConfigError) else [error.message]
            logs.event("definitions.not_read", level=logs.ERROR, problems=problems)
            return
        for name, problems in found.problems.items():
            logs.event("definitions.refused", level=logs.ERROR, provider=name, problems=problems)
        if changed or asked:
            logs.event("definitions.read", changed=changed)
        if changed:
            await self._find()

    def _changed(self, found: Reading) -> list[str]:
        """The definitions that are not what they were; those that nobody has read yet do not matter."""
        before, now = self._catalogue, found.catalogue
        return sorted(name for name in before.read | now.read if before.get(name) != now.get(name))

    async def _find(self) -> None:
        """Find out what the new definitions leave open, before somebody needs it, and keep it fresh."""
        await self._discovery.round()
        if self._finding is None or self._finding.done():
            # The loop of the start has ended where there was nothing to find then; two do no harm.
            self._finding = asyncio.create_task(self._discovery.run())

    async def _rest(self) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(LOOK))
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({sleep, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            asked.cancel()


def _stamps(folder: Path) -> Stamps | None:
    """What tells that a file was edited, replaced, added or removed; None where the directory cannot be read."""
    try:
        with os.scandir(folder) as entries:
            files = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".toml")]
    except OSError:
        return None
    return frozenset((name, found.st_mtime_ns, found.st_size, found.st_ino) for name, found in files)
