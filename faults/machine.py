"""What a machine does to processes: it freezes them, sets their clocks, and fills its disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Literal

from faults.examine import examine
from faults.gateway import Hold
from faults.ground import LEASE, Ground
from faults.injections import SharedNumber
from faults.processes import Child
from faults.report import Row
from grantkeeper.clock import HOUR, SECOND

Point = Literal["after commit", "before commit", "before sending", "anywhere"]
POINTS: tuple[Point, ...] = ("after commit", "before commit", "before sending", "anywhere")
CATCHES = 200
"""Attempts to freeze a process between its claim and its request."""
POOL = 40
SLOWEST = 0.1
JUMP = 6 * HOUR
SPOOL_SIZE = 256 << 20
PADDING = 100_000
"""Characters that the provider adds to each answer."""


async def freeze(ground: Ground, row: Row, rounds: int) -> Row:
    """SIGSTOP for longer than a lease, half of the processes at a time, and in the end all of them together."""
    await begin(ground, row)
    frozen: Counter[str] = Counter()
    for number in range(rounds):
        sleepers = [*ground.children.values()]
        if number == 0 or number < rounds - 1:
            sleepers = sleepers[number % 2 :: 2]
        points = [POINTS[(number + place) % len(POINTS)] for place, _ in enumerate(sleepers)]
        frozen.update(await asyncio.gather(*map(partial(_freeze_one, ground), sleepers, points)))
        await asyncio.sleep(1.0)
    row.events = f"{frozen.total()} freezes of {LEASE + 1.5:g} s"
    row.figures.append("frozen " + ", ".join(f"{point} {count}" for point, count in sorted(frozen.items())))
    return await end(ground, row)


async def _freeze_one(ground: Ground, child: Child, point: Point) -> Point:
    """Freeze at that point, and wake; where it was in the end."""
    holds: list[Hold] = []
    if point == "before sending":
        point = point if await _catch_before_sending(ground, child) else "anywhere"
    elif point != "anywhere":
        hold = ground.gateway.hold(
            after_commit=point == "after commit", wanted=lambda spending: spending.serial == child.serial
        )
        holds.append(hold)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hold.arrived.wait(), 5.0)
        point = point if hold.held else "anywhere"
    child.signal(signal.SIGSTOP)
    await asyncio.sleep(0.2)
    # Half of the answers lie in the sleeper's socket when it wakes up, half come afterwards.
    early = ground.rng.random() < 0.5
    for hold in holds:
        if early:
            hold.opened.set()
    await asyncio.sleep(LEASE + 1.3)
    child.signal(signal.SIGCONT)
    for hold in holds:
        await asyncio.sleep(0.0 if early else 0.05)
        hold.opened.set()
        ground.gateway.holds.remove(hold)
    return point


async def _catch_before_sending(ground: Ground, child: Child) -> bool:
    """Leave it frozen with a lease for which it has not asked the provider yet; False where it was never so."""
    for _ in range(CATCHES):
        child.signal(signal.SIGSTOP)
        rows = await ground.ask("SELECT uuid, lease_owner, lease_expires_at FROM connections")
        for uuid, owner, until in rows:
            claimed = (until or 0) - LEASE * SECOND
            asked = [one for one in ground.ledger.by_family[uuid] if one.serial == child.serial]
            if owner and f":{child.pid}:" in owner and not any(one.arrived >= claimed for one in asked):
                return True
        child.signal(signal.SIGCONT)
        await asyncio.sleep(ground.rng.uniform(0.0, 0.02))
    return False


async def jump(ground: Ground, row: Row, seconds: float) -> Row:
    """The wall clock leaps six hours forth and back under running processes, and some start under it."""
    clock = SharedNumber(ground.directory / "clock")
    ground.injections = {"clock": str(clock.path)}
    await begin(ground, row)
    jumps = 0
    for offset in (JUMP, -JUMP, 0):
        await asyncio.sleep(seconds)
        clock.set(offset)
        jumps += 1
        await asyncio.sleep(seconds)
        for child in [*ground.children.values()][:2]:
            ground.children.pop(child.serial)
            if not await ground.parent.end(child):
                row.broken.append(f"process {child.serial} did not stop")
        await ground.start(2)
    row.events = f"{jumps} jumps, {jumps * 2} starts under a clock that had jumped"
    return await end(ground, row)


async def fill(ground: Ground, row: Row, seconds: float) -> Row:
    """No space left where the journal is written, twice; the second time some processes start under it."""
    assert ground.provider is not None
    # Long answers fill the space that a journal has reserved for itself.
    ground.provider.policy.override["padding"] = "x" * PADDING
    async with _small_disk(ground) as disk:
        row.figures.append(disk.how)
        await begin(ground, row)
        for again in (False, True):
            await asyncio.sleep(seconds / 4)
            disk.fill()
            if again:
                for child in [*ground.children.values()][:2]:
                    ground.children.pop(child.serial)
                    await ground.parent.end(child)
                # They left the space of their journals.
                disk.fill()
                await ground.start(2)
            await asyncio.sleep(seconds)
            disk.free()
        # Who could not start on a full disk is started again once there is room, as a supervisor does.
        gone = [child for child in ground.children.values() if not child.running]
        for child in gone:
            ground.children.pop(child.serial)
            await ground.parent.reap(child)
        await ground.start(len(gone))
        row.figures.append(f"{len(gone)} processes did not start on a full disk")
        refused = sum(child.log("journal.not_written") for child in ground.forked)
        row.events = f"2 times full, {refused} answers that the journal could not take"
        if not refused:
            row.broken.append("the journal never noticed")
        return await end(ground, row)


class Disk:
    """Where the journals are: a small file system, or where none can be mounted, writes that fail."""

    def __init__(self, spool: Path, flag: SharedNumber | None) -> None:
        self._spool = spool
        self._flag = flag
        self._filler = spool / "filler"
        self.how = f"a tmpfs of {SPOOL_SIZE >> 20} MiB" if flag is None else "ENOSPC put into the journal's writes"

    def fill(self) -> None:
        """Take all the space that is left."""
        if self._flag is not None:
            self._flag.set(1)
            return
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(descriptor, b"x" * size)
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Give it back."""
        if self._flag is not None:
            self._flag.set(0)
        else:
            self._filler.unlink()


@contextlib.asynccontextmanager
async def _small_disk(ground: Ground) -> AsyncIterator[Disk]:
    """A file system of its own for the journals of a ground."""
    spool = ground.directory / "spool"
    spool.mkdir(mode=0o700)
    mount = ("mount", "-t", "tmpfs", "-o", f"size={SPOOL_SIZE},mode=0700", "tmpfs", str(spool))
    mounted = await _command(*mount) == 0
    flag = None if mounted else SharedNumber(ground.directory / "full")
    if flag is not None:
        ground.injections = {"full": str(flag.path)}
    ground.extra["JOURNAL_DIR"] = str(spool)
    try:
        yield Disk(spool, flag)
    finally:
        for child in [*ground.children.values()]:
            await ground.kill(child)
        if mounted:
            await _command("umount", "--lazy", str(spool))


async def _command(*words: str) -> int:
    """The exit code of a command of the system's."""
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
    return await asyncio.wait_for(process.wait(), 10)


async def begin(ground: Ground, row: Row, slowest: float = SLOWEST) -> None:
    """Connections, and processes that refresh them at a provider that takes up to `slowest` seconds."""
    ground.gateway.delay = lambda: ground.rng.uniform(0.0, slowest)
    await ground.seed(POOL)
    await ground.start(row.processes)
    await ground.started()


async def end(ground: Ground, row: Row) -> Row:
    """Stop, and look what became of every connection."""
    row.broken += [f"process {child.serial} ended" for child in ground.children.values() if not child.running]
    stuck = await ground.settle()
    row.broken += await ground.stop()
    (await examine(ground, stuck)).fill(row)
    row.refreshes = ground.ledger.refreshes
    return row
