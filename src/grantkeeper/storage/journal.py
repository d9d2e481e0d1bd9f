"""What providers answered, durable on this machine before anything else is done with it.

All processes of one machine share a directory. A life is one process's time with its journal: it has a lock
file, locked from birth to death (by the kernel, so also after SIGKILL), and numbered segments:

    OWNER.LIFE.lock    OWNER.LIFE.00000001.journal    OWNER.LIFE.00000002.journal

A segment is filled with zeros when it is created: that reserves its space, so that a full disk does not stop
appends within it, and spares each fdatasync the metadata. Records follow each other from its start: length and
CRC-32 of the payload (4 bytes each, little-endian), then an `Entry` as MessagePack. Reading stops at the first
that is torn, zero or has a wrong CRC. Sealed answers come in sealed and stay so.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import threading
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

import msgspec

from grantkeeper import logs
from grantkeeper.clock import Clock
from grantkeeper.errors import ConfigError, StorageError, StorageUnavailable
from grantkeeper.storage.journal_files import (
    HEAD,
    Entry,
    Life,
    Segment,
    be_born,
    delete,
    is_held,
    lives,
    lock_file,
    log_unreadable,
    make_directory,
    problem_with,
    read_segment,
    unavailable,
)

__all__ = ["Entry", "Journal", "Orphan"]

_OLDEST_FIRST = attrgetter("requested_at")


class Orphan:
    """The journal of a dead process, ours alone until `done` or `keep`; `entries` oldest first."""

    def __init__(self, life: Life, lock: int, entries: list[Entry], released: Callable[[Orphan], None]) -> None:
        self.owner = life.owner
        self.entries = entries
        self._life = life
        self._lock = lock
        self._released = released
        self._once = itertools.count()

    def done(self) -> None:
        """Every entry is in the database: delete the files and give the lock back."""
        self._release(self._life.delete)

    def keep(self) -> None:
        """Not all could be stored: give the lock back and leave the files for whoever asks next."""
        self._release(lambda: None)

    def _release(self, first: Callable[[], None]) -> None:
        if next(self._once):
            return
        try:
            first()
        finally:
            os.close(self._lock)
            self._released(self)


class Journal:
    """The journal of this process, and a look into those of the others on this machine.

    `owner` names the process, `retention` is how many seconds a settled entry is kept yet, `segment_bytes` how
    large a segment is (one larger entry gets a segment of its size). `append` is for event loops; everything
    else may be called from any thread at any time.
    """

    def __init__(
        self, directory: Path, owner: str, clock: Clock, *, retention: float = 600.0, segment_bytes: int = 1 << 20
    ) -> None:
        self._directory = directory
        self._owner = owner
        self._clock = clock
        self._retention = retention
        self._segment_bytes = segment_bytes
        self._numbers = itertools.count(1)
        self._sequence = itertools.count(1)
        self._stem = ""
        self._lock: int | None = None
        self._thread: threading.Thread | None = None
        # Guards what follows; never held across I/O, because the event loop takes it too.
        self._changed = threading.Condition()
        self._queue: list[_Pending] = []
        self._segments: list[Segment] = []
        self._unsettled: dict[int, Segment] = {}
        self._adopted: set[Orphan] = set()
        self._overdue = False
        self._closed = False

    def open(self) -> None:
        """Create the directory (0700) and this process's first segment (0600), locked.

        ConfigError that says what to do where it cannot be written.
        """
        try:
            make_directory(self._directory)
            self._stem, self._lock = be_born(self._directory, self._owner)
            self._segments.append(self._new_segment(0))
        except OSError as error:
            if self._lock is not None:
                delete([self._directory / f"{self._stem}.lock"])
                os.close(self._lock)
                self._lock = None
            raise ConfigError([problem_with(self._directory, error)]) from None
        # A daemon: what it has not yet said to be durable may be lost, so the interpreter need not wait for it.
        self._thread = threading.Thread(target=self._write_on, name="journal-writer", daemon=True)
        self._thread.start()

    async def append(self, entry: Entry) -> int:
        """Durable when this returns the entry's number; StorageUnavailable where the disk is full or broken.

        When the caller goes away meanwhile, the entry may be durable all the same; it then stays unsettled.
        """
        payload = msgspec.msgpack.encode(entry)
        record = HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        loop = asyncio.get_running_loop()
        pending = _Pending(next(self._numbers), record, loop, loop.create_future())
        with self._changed:
            if self._thread is None or self._closed:
                raise StorageUnavailable("the journal is not open")
            self._queue.append(pending)
        # Not before this turn of the loop is over: all that it appends shares one write and one fsync.
        loop.call_soon(self._wake)
        return await pending.answer

    def settle(self, number: int) -> None:
        """The database has it. Kept for `retention` seconds yet, in case the database fails over to a copy without."""
        with self._changed:
            segment = self._unsettled.pop(number, None)
            if segment is None:
                return
            now = self._clock.monotonic()
            segment.unsettled -= 1
            segment.settled_at = now
            if any(self._is_over(old, now) for old in self._segments[:1]):
                self._overdue = True
                self._changed.notify()

    def unsettled(self) -> int:
        """How many durable entries of this process the database does not have."""
        return len(self._unsettled)

    def recent(self) -> list[Entry]:
        """Everything still held of this process, settled or not, oldest first; StorageUnavailable as `find`."""
        with self._changed:
            segments = [segment.path for segment in self._segments]
        return self._read_all(segments)

    def find(self, connection_uuid: str, generation: int) -> list[Entry]:
        """Entries of any process on this machine for that generation, oldest first.

        Others' files are read without their locks; one that may not be read is logged. StorageUnavailable where
        trying again may help.
        """
        segments = [path for life in lives(self._directory) for path in life.segments]
        found = self._read_all(segments, connection_uuid.encode())
        return [entry for entry in found if entry.connection_uuid == connection_uuid and entry.generation == generation]

    def alive(self, owner: str) -> bool:
        """Whether a process of that owner name lives on this machine: its lock is held.

        Also where another process is adopting its journal just now, or where it cannot be told: in both cases
        an answer may yet come. False for unknown owners, and for those whose journal we have adopted ourselves.
        """
        ours = {orphan._life.stem for orphan in self._adopted.copy()}
        found = [life for life in lives(self._directory) if life.owner == owner and life.stem not in ours]
        return any(is_held(life.lock) for life in found)

    def orphans(self) -> list[Orphan]:
        """The journals of dead processes, also empty ones, each locked by us now.

        Nobody else gets them until `done`, `keep` or our own end. One that cannot be read is logged and left.
        """
        found = []
        for life in lives(self._directory):
            lock = orphan = None
            try:
                # Made anew where only segments were left.
                lock = lock_file(life.lock, os.O_CREAT)
                orphan = self._adopt(life, lock) if lock is not None else None
            except (OSError, StorageUnavailable) as error:
                log_unreadable(life.stem, error)
            finally:
                if orphan is not None:
                    found.append(orphan)
                elif lock is not None:
                    os.close(lock)
        return found

    def close(self) -> None:
        """Write what is waiting, and release; own segments with nothing unsettled go, the others wait for adoption.

        Orphans that are still held are given back. Closing twice does nothing.
        """
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        for orphan in self._adopted.copy():
            orphan.keep()
        if self._lock is None:
            return
        for segment in self._segments:
            segment.close()
        # The lock file last: whoever is left without it cannot be told from the dead.
        gone = delete(segment.path for segment in self._segments if not segment.unsettled)
        if gone and not self._unsettled:
            delete([self._directory / f"{self._stem}.lock"])
        os.close(self._lock)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _write_on(self) -> None:
        """The writer thread: whatever waits is one batch."""
        while True:
            with self._changed:
                while not (self._queue or self._overdue or self._closed):
                    self._changed.wait()
                batch, self._queue = self._queue, []
                self._overdue = False
                if self._closed and not batch:
                    return
            try:
                self._sweep()
                self._store(batch)
            except Exception as error:
                _answer(batch, StorageError("the journal failed"))
                with suppress(Exception):
                    logs.crash("journal.failed", error)

    def _store(self, batch: list[_Pending]) -> None:
        """Write the batch, in as many pieces as segments make of it, and answer each."""
        while batch:
            try:
                segment = self._segment_for(batch[0])
            except OSError as error:
                # What is small enough for the rest of the current segment need not wait for space.
                current = self._segments[-1]
                fitting = [pending for pending in batch if current.fits(len(pending.record))]
                _answer([pending for pending in batch if pending not in fitting], unavailable(error))
                batch = fitting
                continue
            count, room = 0, segment.size - segment.end
            while count < len(batch) and len(batch[count].record) <= room:
                room -= len(batch[count].record)
                count += 1
            piece, batch = batch[:count], batch[count:]
            try:
                segment.write(b"".join(pending.record for pending in piece))
            except OSError as error:
                _answer(piece, unavailable(error))
                continue
            with self._changed:
                segment.unsettled += len(piece)
                self._unsettled.update((pending.number, segment) for pending in piece)
            _answer(piece, None)

    def _segment_for(self, pending: _Pending) -> Segment:
        """The current segment where the record fits into it and it is not old; else a new one."""
        current, now = self._segments[-1], self._clock.monotonic()
        fits = current.fits(len(pending.record))
        if fits and current.end == 0:
            current.began = now
        if fits and now - current.began < self._retention:
            return current
        try:
            segment = self._new_segment(len(pending.record))
        except OSError:
            if not fits:
                raise
            # Old, but there is room: go on with it, and try again when as much time has passed.
            current.began = now
            return current
        current.close()
        with self._changed:
            self._segments.append(segment)
        return segment

    def _new_segment(self, least: int) -> Segment:
        path = self._directory / f"{self._stem}.{next(self._sequence):08}.journal"
        return Segment(path, max(self._segment_bytes, least), self._clock.monotonic())

    def _is_over(self, segment: Segment, now: float) -> bool:
        """Whether the segment may go: not the current one, all settled, the last of it long enough ago."""
        return (
            segment is not self._segments[-1] and not segment.unsettled and now - segment.settled_at >= self._retention
        )

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        with self._changed:
            over = [segment for segment in self._segments if self._is_over(segment, now)]
        gone = [segment for segment in over if delete([segment.path])]
        with self._changed:
            self._segments = [segment for segment in self._segments if segment not in gone]

    def _read_all(self, segments: Iterable[Path], needle: bytes = b"") -> list[Entry]:
        entries: list[Entry] = []
        for path in segments:
            try:
                entries += read_segment(path, needle)[0]
            except OSError as error:
                # Out of descriptors or memory: better to ask again than to miss it.
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    raise unavailable(error) from None
                log_unreadable(path.name, error)
        return sorted(entries, key=_OLDEST_FIRST)

    def _adopt(self, seen: Life, lock: int) -> Orphan | None:
        """The journal whose lock we have just taken; None, and nothing left of it, where nobody lived yet."""
        # Listed again: only now does nobody else touch its files.
        segments = [path for life in lives(self._directory) if life.stem == seen.stem for path in life.segments]
        life = Life(seen.stem, seen.owner, seen.lock, segments)
        entries: list[Entry] = []
        for path in segments:
            readable, torn_at = read_segment(path)
            entries += readable
            if torn_at is not None:
                logs.event("journal.torn", level=logs.WARNING, file=path.name, at=torn_at, entries=len(readable))
        if not segments:
            life.delete()
            return None
        orphan = Orphan(life, lock, sorted(entries, key=_OLDEST_FIRST), self._adopted.discard)
        self._adopted.add(orphan)
        return orphan


class _Pending(msgspec.Struct, eq=False):
    """An entry on its way to the disk, and who waits for it."""

    number: int
    record: bytes
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[int]

    def __repr__(self) -> str:
        return f"_Pending({self.number})"


def _answer(batch: list[_Pending], error: StorageError | None) -> None:
    """Wake those that wait, once a loop."""
    for loop in {pending.loop for pending in batch}:
        mine = [pending for pending in batch if pending.loop is loop]
        # A loop that has closed waits for nothing.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, mine, error)


def _resolve(batch: list[_Pending], error: StorageError | None) -> None:
    for pending in batch:
        # Its caller may have gone.
        if pending.answer.done():
            continue
        if error is None:
            pending.answer.set_result(pending.number)
        else:
            # One each: an exception that several tasks raise collects all their tracebacks.
            pending.answer.set_exception(type(error)(error.message))
