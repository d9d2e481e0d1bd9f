"""The files of journals: segments of records, and the locks that tell whose process lives. See `journal`."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes

import msgspec

from grantkeeper import logs
from grantkeeper.clock import Instant, pause
from grantkeeper.errors import StorageUnavailable
from grantkeeper.model import Record

HEAD = struct.Struct("<II")
_NAME = re.compile(r"(?P<stem>(?P<owner>.*)\.[0-9a-f]{16})\.(lock|[0-9]{8}\.journal)")
# No capitals: some file systems do not tell them from small letters.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-.")
_LOCK_TRIES, _LOCK_PAUSE = 100, 0.001


class Entry(Record, frozen=True):
    """One answer of a provider; `requested_at`, when it was asked for, is the answer's identity.

    `generation` is the one that the refresh was made for. The `repr` shows nothing of `sealed_answer`.
    """

    connection_uuid: str
    account_uuid: str
    provider: str
    client_id: str
    generation: int
    requested_at: Instant
    owner: str
    sealed_answer: bytes

    def __repr__(self) -> str:
        return (
            f"Entry(connection_uuid={self.connection_uuid!r}, generation={self.generation}, "
            f"requested_at={self.requested_at}, owner={self.owner!r})"
        )


class Segment:
    """One file of ours; `end` is where the next record goes, `began` when its first one came."""

    def __init__(self, path: Path, size: int, now: float) -> None:
        self.path = path
        self.size = size
        self.end = 0
        self.began = now
        self.settled_at = now
        self.unsettled = 0
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write(self._file, bytes(size), 0)
            _sync(self._file)
            _sync_directory(path.parent)
        except BaseException:
            self.close()
            delete([path])
            raise

    def fits(self, length: int) -> bool:
        """Whether a record of so many bytes can still be written here."""
        return self._file is not None and length <= self.size - self.end

    def write(self, records: bytes) -> None:
        """Durable when it returns. After an error the segment ends before them, for good.

        A disk that failed to write, or to fsync, cannot be trusted with the same blocks again.
        """
        if self._file is None:
            raise OSError(errno.EBADF, "the segment is closed")
        try:
            _write(self._file, records, self.end)
            _sync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.end)
            self.close()
            raise
        self.end += len(records)

    def close(self) -> None:
        """Nothing more is written here."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                os.close(file)


class Life(msgspec.Struct, eq=False):
    """The files of one process's journal, as the directory shows them."""

    stem: str
    owner: str
    lock: Path
    segments: list[Path]

    def delete(self) -> None:
        """Only under its lock. The lock file goes last: what is left of a broken-off deletion is adopted again."""
        if delete(self.segments):
            delete([self.lock])


def lives(directory: Path) -> list[Life]:
    """Every journal in the directory, by name, its segments in their order; other files are not ours to judge.

    StorageUnavailable where the directory cannot be listed.
    """
    try:
        with os.scandir(directory) as listing:
            names = sorted(file.name for file in listing if file.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unavailable(error) from None
    lives: dict[str, Life] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        owner = owner_of(match["owner"]) if match else None
        if match is None or owner is None:
            continue
        stem = match["stem"]
        life = lives.setdefault(stem, Life(stem, owner, directory / f"{stem}.lock", []))
        if name != life.lock.name:
            life.segments.append(directory / name)
    return list(lives.values())


def _file_name(owner: str) -> str:
    """The owner as part of a file name: all but small letters, digits and `_-.` as `%` and two hex digits."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in owner.encode("utf-8", "surrogatepass"))


def owner_of(name: str) -> str | None:
    """The owner of that file name; None where we give no such names."""
    try:
        owner = unquote_to_bytes(name).decode("utf-8", "surrogatepass")
        return owner if _file_name(owner) == name else None
    except UnicodeError:
        return None


def read_segment(path: Path, needle: bytes = b"") -> tuple[list[Entry], int | None]:
    """The readable entries of a segment that contains `needle`, and where something else than zeros follows them.

    None of both where the file has gone meanwhile: its entries were in the database.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], None
    if needle not in data:
        return [], None
    entries: list[Entry] = []
    at, unreadable = 0, None
    while at + HEAD.size <= len(data):
        length, crc = HEAD.unpack_from(data, at)
        payload = data[at + HEAD.size : at + HEAD.size + length]
        if not length or len(payload) < length or zlib.crc32(payload) != crc:
            break
        try:
            entries.append(msgspec.msgpack.decode(payload, type=Entry))
        except msgspec.MsgspecError:
            # Whole, but not ours to understand: another version's.
            unreadable = at if unreadable is None else unreadable
        at += HEAD.size + length
    if unreadable is None and data[at:].strip(b"\0"):
        unreadable = at
    return entries, unreadable


def be_born(directory: Path, owner: str) -> tuple[str, int]:
    """A life of that owner: its stem, and its lock file, locked.

    Between the file's creation and its lock an adopter may take it for a dead process's; empty as it is, that
    deletes it. Then this was no birth, and the next one is tried.
    """
    while True:
        stem = f"{_file_name(owner)}.{secrets.token_hex(8)}"
        lock = lock_file(directory / f"{stem}.lock", os.O_CREAT | os.O_EXCL)
        if lock is not None:
            return stem, lock


def lock_file(path: Path, flags: int) -> int | None:
    """That file, opened and locked by us alone; None where somebody else has it, or has deleted it meanwhile."""
    lock = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        # Whoever deletes it holds it: once it is ours and still there, it stays.
        if _take(lock) and os.fstat(lock).st_nlink:
            return lock
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _take(lock: int) -> bool:
    """Owners and adopters hold it exclusively. `alive` shares it for a moment, which is worth another try."""
    for _ in range(_LOCK_TRIES):
        if _flock(lock, fcntl.LOCK_EX):
            return True
        if not _flock(lock, fcntl.LOCK_SH):
            return False
        fcntl.flock(lock, fcntl.LOCK_UN)
        pause(_LOCK_PAUSE)
    return False


def _flock(lock: int, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether somebody holds that lock exclusively, or it cannot be told."""
    try:
        lock = os.open(path, os.O_RDONLY)
        try:
            return not _flock(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def make_directory(directory: Path) -> None:
    """The directory (0700) and those above it, durable themselves."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for made in reversed(missing):
        # One by one: `parents` would give those above the umask's mode.
        made.mkdir(mode=0o700, exist_ok=True)
        # Who may create in a directory need not be allowed to read it.
        with suppress(PermissionError):
            _sync_directory(made.parent)


def delete(paths: Iterable[Path]) -> bool:
    """Whether all are gone; what cannot be deleted is logged and left."""
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        logs.event("journal.not_deleted", level=logs.WARNING, file=path.name, reason=error.strerror)
        return False
    return True


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        view, at = view[written:], at + written


def _sync(file: int) -> None:
    """What was written is on the disk, not only on its way."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        # macOS: fsync leaves it in the drive's cache.
        fcntl.fcntl(file, full)
    else:
        getattr(os, "fdatasync", os.fsync)(file)


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def unavailable(error: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"the journal cannot be used now: {error.strerror}")


def log_unreadable(name: str, error: OSError | StorageUnavailable) -> None:
    logs.event("journal.unreadable", level=logs.ERROR, file=name, reason=error.args[-1])


_PROBLEMS = {
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR),
        "it is not a directory; move what is there out of the way, or name another directory",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        "we may not write there; give it to the user that runs Grantkeeper, or name another directory",
    ),
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT), "there is no space left; free some, or name a directory on another disk"
    ),
    **dict.fromkeys(
        (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS),
        "its file system has no locks; name a directory on a local disk",
    ),
    errno.EROFS: "its file system is read-only; name a directory that can be written",
}


def problem_with(directory: Path, error: OSError) -> str:
    """What is wrong with the directory, and what the operator does about it."""
    said = _PROBLEMS.get(error.errno or 0, f"{error.strerror}; name a directory that Grantkeeper can write to")
    return f"journal_dir: {directory}: {said}"
