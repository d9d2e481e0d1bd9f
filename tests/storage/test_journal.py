"""The journal: what `append` returned for survives, is found by everybody, and is adopted by exactly one."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import grantkeeper
from grantkeeper import logs
from grantkeeper.errors import ConfigError, StorageUnavailable
from grantkeeper.storage.journal import Entry, Journal
from grantkeeper.testing import FakeClock
from tests.support.process import Process, clean_environment, eventually

SEGMENT = 4096
SYNC = "fdatasync" if hasattr(os, "fdatasync") else "fsync"
Opener = Callable[..., Journal]

PRELUDE = """
import asyncio, json, os, pathlib, resource, signal, sys
from grantkeeper.clock import SystemClock
from grantkeeper.errors import ConfigError, StorageUnavailable
from grantkeeper.storage.journal import Entry, Journal

def entry(number, size=2000):
    return Entry(connection_uuid="c", account_uuid="a", provider="p", client_id="i", generation=1,
                 requested_at=number, owner=sys.argv[2], sealed_answer=bytes(size))

directory = pathlib.Path(sys.argv[1])
journal = Journal(directory, sys.argv[2], SystemClock(), segment_bytes=int(sys.argv[3]))
"""
APPENDER = """
async def main():
    journal.open()
    number = 0
    while True:
        number += 1
        await journal.append(entry(number))
        print("durable", number, flush=True)

asyncio.run(main())
"""
HOLDER = """
journal.open()
print("open", flush=True)
signal.pause()
"""
ADOPTER = """
journal.open()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
print(json.dumps(sorted(orphan.owner for orphan in journal.orphans())), flush=True)
signal.pause()
"""
UNPRIVILEGED = """
if os.geteuid() == 0:
    os.setuid(65534)
try:
    journal.open()
except ConfigError as error:
    print(error.message)
"""
FULL_DISK = """
async def append(number, size=2000):
    try:
        await journal.append(entry(number, size))
        return "durable"
    except StorageUnavailable:
        return "refused"

async def main():
    journal.open()
    fill()
    said = [await append(1), await append(2), await append(3, 40_000), await append(4)]
    make_room()
    said += [await append(5, 40_000), await append(6)]
    print(json.dumps([said, [found.requested_at for found in journal.find("c", 1)]]), flush=True)
    journal.close()

asyncio.run(main())
"""
TINY_DISK = """
ballast = directory / "ballast"

def fill():
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                pass
        except OSError:
            pass

make_room = ballast.unlink
"""
SMALL_FILES = """
fill = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (32768, resource.RLIM_INFINITY))
make_room = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def new_entry(at: int = 1, **changes: object) -> Entry:
    """An answer to a request of that instant, of about a hundred bytes."""
    entry = Entry(
        connection_uuid="connection",
        account_uuid="account",
        provider="demo",
        client_id="client",
        generation=1,
        requested_at=at,
        owner="worker",
        sealed_answer=b"sealed",
    )
    return msgspec.structs.replace(entry, **changes)


def large(at: int) -> Entry:
    """An answer of which one segment holds two."""
    return new_entry(at, sealed_answer=bytes(1500))


def instants(entries: list[Entry]) -> list[int]:
    """When each was asked for."""
    return [entry.requested_at for entry in entries]


def child(program: str, directory: Path, owner: str, segment_bytes: int = SEGMENT, *before: str) -> Process:
    """A process of its own that runs a program above on the journal in `directory`, not yet started."""
    package = str(Path(grantkeeper.__path__[0]).parent)
    command = [*before, sys.executable, "-c", PRELUDE + program, str(directory), owner, str(segment_bytes)]
    environment = {**clean_environment(), "PYTHONPATH": package}
    return Process(command, directory=directory.parent, env=environment, name=f"child-{owner}")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the journals are; not there yet."""
    return tmp_path / "journal"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def opened(directory: Path, clock: FakeClock) -> Iterator[Opener]:
    """Opens journals by the names of their owners, with segments of a page; all are closed at the end."""
    journals: list[Journal] = []

    def make(owner: str = "me", **options: float) -> Journal:
        journal = Journal(directory, owner, clock, **{"segment_bytes": SEGMENT, **options})  # type: ignore[arg-type]
        journal.open()
        journals.append(journal)
        return journal

    yield make
    for journal in journals:
        journal.close()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that were logged."""
    lines: list[str] = []
    monkeypatch.setattr(logs._Sink, "write", lines.append)
    monkeypatch.setattr(logs._Sink, "level", logs.DEBUG)
    return lines


async def leave(opened: Opener, owner: str, *entries: Entry) -> None:
    """What a process leaves that died with these entries unsettled."""
    journal = opened(owner)
    for entry in entries or (new_entry(owner=owner),):
        await journal.append(entry)
    journal.close()


def segments(directory: Path) -> list[Path]:
    """Every segment, by name."""
    return sorted(directory.glob("*.journal"))


# What append promises.


async def test_everybody_finds_an_entry(opened: Opener) -> None:
    """An entry comes back whole from its own process and from others, by connection and generation, oldest first."""
    mine, other = opened("host:1:a"), opened("host:2:b")
    later, sooner = new_entry(2), new_entry(1, owner="host:2:b", sealed_answer=b"\x00\xff" * 100)
    numbers = [await mine.append(later), await mine.append(new_entry(3, generation=2))]
    await other.append(sooner)
    await other.append(new_entry(4, connection_uuid="another"))
    assert len(set(numbers)) == 2
    for journal in (mine, other):
        assert journal.find("connection", 1) == [sooner, later]
        assert journal.find("connection", 3) == journal.find("unknown", 1) == []
    assert instants(mine.recent()) == [2, 3]


async def test_durable_when_append_returns(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """`append` waits for the disk, and the event loop does not: it goes on, settles and appends meanwhile."""
    journal = opened()
    settled = await journal.append(new_entry(1))
    reached, go_on, sync = threading.Event(), threading.Event(), getattr(os, SYNC)

    def slow(file: int) -> None:
        reached.set()
        assert go_on.wait(30)
        sync(file)

    monkeypatch.setattr(os, SYNC, slow)
    appends = [asyncio.create_task(journal.append(new_entry(2)))]
    await asyncio.to_thread(reached.wait, 30)
    appends.append(asyncio.create_task(journal.append(new_entry(3))))
    journal.settle(settled)
    await asyncio.sleep(0)
    assert journal.unsettled() == 0
    assert not any(append.done() for append in appends)
    go_on.set()
    await asyncio.gather(*appends)
    assert journal.unsettled() == 2


async def test_group_commit(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many, the appends of one turn of the event loop share one write and one fsync."""
    journal = opened(segment_bytes=1 << 20)
    calls: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        original = getattr(os, name)

        def call(*given: object) -> object:
            calls.append(name)
            return original(*given)

        return call

    for name in {SYNC, "fsync", "pwrite"}:
        monkeypatch.setattr(os, name, counted(name))
    switching = sys.getswitchinterval()
    # The writer thread gets every chance to take less than all of them.
    sys.setswitchinterval(1e-6)
    try:
        numbers = await asyncio.gather(*(journal.append(new_entry(at)) for at in range(2000)))
    finally:
        sys.setswitchinterval(switching)
    assert calls == ["pwrite", SYNC]
    assert len(set(numbers)) == journal.unsettled() == 2000
    assert instants(journal.recent()) == list(range(2000))


async def test_killed_while_writing(opened: Opener, directory: Path) -> None:
    """Of a process killed with SIGKILL in the midst of appending, nothing is lost that it was told is durable."""
    with child(APPENDER, directory, "victim") as victim:
        victim.wait_for_line(r"^durable 20$")
        victim.kill()
        told = int(victim.stdout.split()[-1])
    [orphan] = opened().orphans()
    assert orphan.owner == "victim"
    assert instants(orphan.entries)[:told] == list(range(1, told + 1))
    assert len(orphan.entries) <= told + 1
    orphan.done()


async def test_caller_goes_away(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append whose caller is cancelled is written all the same, and stays unsettled."""
    journal = opened()
    task = asyncio.create_task(journal.append(new_entry(1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await journal.append(new_entry(2))
    assert task.cancelled()
    assert instants(journal.find("connection", 1)) == [1, 2]
    assert journal.unsettled() == 2


async def test_settle_is_told_once(opened: Opener) -> None:
    """Settling counts once; an unknown number is nothing."""
    journal = opened()
    numbers = [await journal.append(new_entry(at)) for at in range(2)]
    for number in (numbers[0], numbers[0], 999):
        journal.settle(number)
    assert journal.unsettled() == 1


def test_repr_shows_nothing_sealed() -> None:
    """Neither `repr` nor `str` of an entry shows the answer."""
    entry = new_entry(sealed_answer=b"do-not-show")
    assert "do-not-show" not in f"{entry!r} {entry} {[entry]}"
    assert "connection" in repr(entry)


# A disk that is full or broken.


@pytest.mark.parametrize("fault", ["full", "short", "sync"])
async def test_write_that_fails(opened: Opener, directory: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """A failed, a half and an unsynced write are refused and leave no trace; the next goes into another segment."""
    journal = opened()
    await journal.append(new_entry(1))
    write, faults = os.pwrite, [OSError(errno.ENOSPC, "No space left on device")]

    def fail(*_: object) -> None:
        if faults:
            raise faults.pop()

    def failing_write(file: int, data: bytes, at: int) -> int:
        if fault == "short" and faults and len(data) > 50:
            return write(file, data[:50], at)
        fail()
        return write(file, data, at)

    sync = getattr(os, SYNC)

    def failing_sync(file: int) -> None:
        fail()
        sync(file)

    if fault == "sync":
        monkeypatch.setattr(os, SYNC, failing_sync)
    else:
        monkeypatch.setattr(os, "pwrite", failing_write)
    with pytest.raises(StorageUnavailable, match="No space left"):
        await journal.append(new_entry(2))
    assert not faults
    await journal.append(new_entry(3))
    assert len(segments(directory)) == 2
    assert instants(journal.recent()) == instants(opened("other").find("connection", 1)) == [1, 3]
    assert journal.unsettled() == 2


def test_full_disk(tmp_path: Path) -> None:
    """On a disk that is really full appends go on within the segment; a new one is refused until there is space."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(directory)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*private, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no file system of our own may be mounted here")
    check_full(child(TINY_DISK + FULL_DISK, directory, "tiny", 16384, *private))


def test_file_size_limit(directory: Path) -> None:
    """The same where the operator's limit on file sizes stands in the way."""
    check_full(child(SMALL_FILES + FULL_DISK, directory, "limited", 16384))


def check_full(process: Process) -> None:
    """The third entry needs a new segment, for which there is no room until the last two."""
    with process:
        said, found = json.loads(process.wait_for_line(r"^\[.*\]$")[0])
    assert said == ["durable", "durable", "refused", "durable", "durable", "durable"]
    assert found == [1, 2, 4, 5, 6]


async def test_old_segment_on_full_disk(opened: Opener, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that is only old, not full, is written on while there is no space for another."""
    journal = opened(retention=10)
    await journal.append(new_entry(1))
    clock.advance(10)
    open_file = os.open

    def full(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(path, flags, mode)

    monkeypatch.setattr(os, "open", full)
    await journal.append(new_entry(2))
    assert instants(journal.recent()) == [1, 2]


async def test_small_entry_beside_a_large_one(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch only what needs a new segment is refused while none can be had."""
    journal = opened()
    await journal.append(new_entry(1))
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    large_one, small_one = await asyncio.gather(
        journal.append(new_entry(2, sealed_answer=bytes(SEGMENT))), journal.append(new_entry(3)), return_exceptions=True
    )
    monkeypatch.undo()
    assert isinstance(large_one, StorageUnavailable)
    assert isinstance(small_one, int)
    assert instants(journal.recent()) == [1, 3]


@pytest.mark.parametrize("system", ["plain", "macos"])
async def test_without_fdatasync(opened: Opener, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """Where there is no fdatasync, fsync does; on macOS, where that is not enough, F_FULLFSYNC."""
    journal = opened()
    calls: list[str] = []
    monkeypatch.delattr(os, "fdatasync", raising=False)
    monkeypatch.delattr(fcntl, "F_FULLFSYNC", raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    if system == "macos":
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", lambda _, command: calls.append(f"fcntl {command}"))
    await journal.append(new_entry())
    assert calls == (["fcntl 51"] if system == "macos" else ["fsync"])


# Segments.


async def test_segments_rotate_and_go(opened: Opener, directory: Path, clock: FakeClock) -> None:
    """A full segment is followed by the next, and goes when all in it has been settled for the retention."""
    journal = opened(retention=10)
    numbers = [await journal.append(large(at)) for at in range(3)]
    full, current = segments(directory)
    journal.settle(numbers[0])
    clock.advance(9)
    journal.settle(numbers[1])
    clock.advance(9)
    await journal.append(new_entry(3))
    await journal.append(new_entry(4))
    assert instants(journal.recent()) == instants(journal.find("connection", 1)) == [0, 1, 2, 3, 4]
    clock.advance(1)
    await journal.append(new_entry(5))
    assert not full.exists()
    assert current.exists()
    assert instants(journal.recent()) == instants(journal.find("connection", 1)) == [2, 3, 4, 5]


async def test_unsettled_is_kept(opened: Opener, clock: FakeClock) -> None:
    """However old, an unsettled entry stays; settling the last of what is due lets old segments go."""
    journal = opened(retention=10)
    for at in range(3):
        await journal.append(large(at))
    last = [await journal.append(large(at)) for at in (3, 4)]
    clock.advance(10_000)
    await journal.append(new_entry(5))
    journal.settle(last[0])
    assert instants(journal.recent()) == [0, 1, 2, 3, 4, 5]


async def test_settling_sweeps(opened: Opener, directory: Path, clock: FakeClock) -> None:
    """Old segments also go where entries are settled and none is appended."""
    journal = opened(retention=10)
    numbers = [await journal.append(large(at)) for at in range(3)]
    first = segments(directory)[0]
    for number in numbers[:2]:
        journal.settle(number)
    clock.advance(10)
    assert first.exists()
    journal.settle(numbers[2])
    eventually(lambda: None if first.exists() else True, within=10, what="the old segment goes")
    assert instants(journal.recent()) == [2]


async def test_segment_grows_old(opened: Opener, directory: Path, clock: FakeClock) -> None:
    """A segment that is older than the retention gets no more entries; an empty one does not grow old."""
    journal = opened(retention=10)
    clock.advance(100)
    await journal.append(new_entry(1))
    assert len(segments(directory)) == 1
    clock.advance(10)
    await journal.append(new_entry(2))
    assert len(segments(directory)) == 2


async def test_directory_is_synced(opened: Opener, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a new segment is durable before anything in it counts, and so is that of a new directory."""
    synced, sync = [], os.fsync

    def record(file: int) -> None:
        synced.append((os.fstat(file).st_ino, len(segments(directory))))
        sync(file)

    monkeypatch.setattr(os, "fsync", record)
    journal = opened()
    for at in range(3):
        await journal.append(large(at))
    inode = directory.stat().st_ino
    assert (directory.parent.stat().st_ino, 0) in synced
    assert [there for file, there in synced if file == inode] == [1, 2]


async def test_entry_larger_than_a_segment(opened: Opener) -> None:
    """An entry that no segment would hold gets one of its size."""
    journal = opened()
    entries = [new_entry(1), new_entry(2, sealed_answer=bytes(10 * SEGMENT)), new_entry(3)]
    await asyncio.gather(*(journal.append(entry) for entry in entries))
    assert journal.recent() == entries


async def test_only_the_owner_may_read(opened: Opener, directory: Path) -> None:
    """The directory is 0700, its files are 0600, whatever the umask allows; the segment's space is taken at once."""
    before = os.umask(0)
    try:
        journal = opened()
        await journal.append(new_entry())
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
    assert [file.stat().st_blocks * 512 >= SEGMENT for file in segments(directory)] == [True]


# Damage.


async def test_torn_anywhere(opened: Opener, directory: Path) -> None:
    """Wherever a segment breaks off, the whole records before are read, and adopting it never raises."""
    await leave(opened, "dead", *(new_entry(at) for at in range(3)))
    [file] = segments(directory)
    whole = file.read_bytes().rstrip(b"\0")
    length = len(whole) // 3
    journal = opened()
    for cut in range(len(whole) + 1):
        file.write_bytes(whole[:cut])
        assert len(journal.find("connection", 1)) == cut // length
    file.write_bytes(whole[: 2 * length + 7])
    [orphan] = journal.orphans()
    assert instants(orphan.entries) == [0, 1]


@pytest.mark.parametrize("damage", ["flip", "length", "zeros", "end"])
async def test_damaged(opened: Opener, directory: Path, logged: list[str], damage: str) -> None:
    """A flipped bit, a wild length or a hole ends the reading; it is logged with the file's name and no content."""
    await leave(opened, "dead", *(new_entry(at) for at in range(3)))
    [file] = segments(directory)
    data = bytearray(file.read_bytes())
    length = len(data.rstrip(b"\0")) // 3
    match damage:
        case "flip":
            data[length + length // 2] ^= 0x10
        case "length":
            data[length : length + 4] = b"\xff" * 4
        case "zeros":
            data[length : length + 8] = bytes(8)
        case "end":
            data[length:] = b"\x07"
    file.write_bytes(data)
    [orphan] = opened().orphans()
    assert instants(orphan.entries) == [0]
    [line] = [json.loads(line) for line in logged]
    assert (line["event"], line["file"], line["at"]) == ("journal.torn", file.name, length)
    assert "sealed" not in str(logged)
    orphan.done()
    assert segments(directory) != [file]


async def test_record_of_another_version(opened: Opener, directory: Path, logged: list[str]) -> None:
    """A whole record that is no entry of ours is passed over and logged; those after it are read."""
    await leave(opened, "dead", new_entry(1), new_entry(2))
    [file] = segments(directory)
    data = file.read_bytes().rstrip(b"\0")
    strange = msgspec.msgpack.encode({"from": "the future"})
    record = struct.pack("<II", len(strange), zlib.crc32(strange)) + strange
    file.write_bytes(record + data)
    [orphan] = opened().orphans()
    assert instants(orphan.entries) == [1, 2]
    assert [json.loads(line)["event"] for line in logged] == ["journal.torn"]


async def test_foreign_files(opened: Opener, directory: Path) -> None:
    """Files and folders that are no journals are neither read nor deleted."""
    journal = opened()
    names = ["notes.txt", "a.journal", "a.lock", "A.0123456789abcdef.lock", ".0123456789abcdef.1.journal", "%zz.lock"]
    for name in names:
        (directory / name).write_bytes(b"connection")
    (directory / "dead.0123456789abcdef.00000001.journal").mkdir()
    os.mkfifo(directory / "dead.0123456789abcdef.00000002.journal")
    assert not journal.find("connection", 1)
    assert not journal.orphans()
    assert not journal.alive("a")
    assert not journal.alive("A")
    assert all((directory / name).exists() for name in names)


async def test_unreadable_journal(
    opened: Opener, directory: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that may not be read is logged and left, and its lock with it; the others are adopted."""
    await leave(opened, "dead")
    await leave(opened, "locked", new_entry(7))
    journal, read = opened(), Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name.startswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        assert [orphan.owner for orphan in journal.orphans()] == ["dead"]
        assert instants(journal.find("connection", 1)) == [1]
    assert {json.loads(line)["event"] for line in logged} == {"journal.unreadable"}
    assert [orphan.owner for orphan in journal.orphans()] == ["locked"]


async def test_out_of_descriptors(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where trying again may help, looking for an entry raises StorageUnavailable: an answer is not overlooked."""
    journal = opened()
    await journal.append(new_entry())
    for broken in ("read_bytes", "scandir"):
        with monkeypatch.context() as patched:
            error = OSError(errno.EMFILE, "Too many open files")
            target = Path if broken == "read_bytes" else os
            patched.setattr(target, broken, lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(StorageUnavailable, match="Too many open files"):
                journal.find("connection", 1)
    assert len(journal.find("connection", 1)) == 1


# The dead and the living.


async def test_adopt(opened: Opener, directory: Path) -> None:
    """The dead's entries come oldest first; `keep` leaves them for the next, `done` ends them, both only once."""
    await leave(opened, "dead", large(3), large(1), large(2))
    journal, other = opened("me"), opened("other")
    [orphan] = journal.orphans()
    assert (orphan.owner, instants(orphan.entries)) == ("dead", [1, 2, 3])
    assert other.orphans() == journal.orphans() == []
    orphan.keep()
    orphan.done()
    [orphan] = other.orphans()
    assert instants(orphan.entries) == [1, 2, 3]
    assert instants(journal.find("connection", 1)) == [1, 2, 3]
    orphan.done()
    orphan.keep()
    assert not journal.orphans()
    assert not journal.find("connection", 1)
    assert not list(directory.glob("dead*"))


async def test_given_back_at_close(opened: Opener) -> None:
    """A journal that is closed gives back what it has adopted."""
    await leave(opened, "dead")
    adopter = opened("adopter")
    assert len(adopter.orphans()) == 1
    adopter.close()
    assert len(opened().orphans()) == 1


async def test_only_segments_left(opened: Opener, directory: Path) -> None:
    """Segments whose lock file is gone are adopted too; a lock file with no segments is cleared away."""
    await leave(opened, "dead")
    [lock] = directory.glob("dead*.lock")
    lock.rename(directory / "empty.0123456789abcdef.lock")
    [orphan] = opened().orphans()
    assert orphan.owner == "dead"
    orphan.done()
    assert not [*directory.glob("dead*"), *directory.glob("empty*")]


async def test_adopted_by_one_thread(opened: Opener) -> None:
    """Of many adopters in threads exactly one gets each journal, also while others ask who is alive."""
    owners = [f"dead-{number}" for number in range(6)]
    for owner in owners:
        await leave(opened, owner)
    adopters = [opened(f"adopter-{number}") for number in range(6)]
    barrier, over = threading.Barrier(len(adopters)), threading.Event()

    def adopt(journal: Journal) -> list[str]:
        barrier.wait(30)
        return [orphan.owner for orphan in journal.orphans()]

    def ask() -> None:
        while not over.is_set():
            adopters[0].alive("dead-3")

    with ThreadPoolExecutor(len(adopters) + 2) as threads:
        asking = [threads.submit(ask) for _ in range(2)]
        try:
            adopted = [owner for owners in threads.map(adopt, adopters) for owner in owners]
        finally:
            over.set()
    assert not any(asked.exception() for asked in asking)
    assert sorted(adopted) == owners


async def test_adopted_by_one_process(opened: Opener, directory: Path) -> None:
    """The same among processes; and what an adopter had that is killed, the next one adopts."""
    owners = [f"dead-{number}" for number in range(6)]
    for owner in owners:
        await leave(opened, owner)
    adopters = [child(ADOPTER, directory, f"adopter-{number}") for number in range(3)]
    try:
        for adopter in adopters:
            adopter.start()
        for adopter in adopters:
            adopter.wait_for_line("^ready$")
        for adopter in adopters:
            os.kill(adopter.pid, signal.SIGUSR1)
        adopted = [json.loads(adopter.wait_for_line(r"^\[.*\]$")[0]) for adopter in adopters]
        assert sorted(owner for owners in adopted for owner in owners) == owners
        assert opened().orphans() == []
    finally:
        for adopter in adopters:
            adopter.stop(signal.SIGKILL)
    heirs = {orphan.owner: len(orphan.entries) for orphan in opened("heir").orphans()}
    # The adopters died as well, with nothing in their journals: their leases must end all the same.
    assert sorted(heirs) == [*(f"adopter-{number}" for number in range(3)), *owners]
    assert {owner for owner, entries in heirs.items() if entries} == set(owners)


async def test_newborn_is_left_alone(opened: Opener) -> None:
    """A journal that is just being made is never taken for a dead one's, however often others look."""
    adopter, over = opened("adopter"), threading.Event()
    taken: list[str] = []

    def look() -> None:
        while not over.is_set():
            taken.extend(orphan.owner for orphan in adopter.orphans())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(40):
            newborn = opened(f"newborn-{number}")
            assert newborn.alive(f"newborn-{number}")
            kept = await newborn.append(new_entry(number))
            assert instants(newborn.recent()) == instants(adopter.find("connection", 1)) == [number]
            newborn.settle(kept)
            newborn.close()
    finally:
        over.set()
        looking.join()
    assert taken == []


def test_alive(opened: Opener, directory: Path) -> None:
    """A process that is stopped lives, one that was killed does not, nor one that nobody knows."""
    journal = opened()
    with child(HOLDER, directory, "holder") as holder:
        holder.wait_for_line("^open$")
        assert journal.alive("holder")
        os.kill(holder.pid, signal.SIGSTOP)
        assert journal.alive("holder")
        assert journal.orphans() == []
        holder.kill()
    assert not journal.alive("holder")
    assert journal.alive("me")
    assert not journal.alive("unknown")
    assert not journal.alive("x" * 1000)


async def test_alive_while_adopted(opened: Opener) -> None:
    """The dead count as alive for others while somebody adopts them, not for the adopter."""
    await leave(opened, "dead")
    adopter, other = opened("adopter"), opened("other")
    assert not other.alive("dead")
    [orphan] = adopter.orphans()
    assert other.alive("dead")
    assert not adopter.alive("dead")
    orphan.keep()
    assert not other.alive("dead")


async def test_asking_does_not_look_alive(opened: Opener) -> None:
    """Several that ask at once whether somebody lives do not take each other for him."""
    await leave(opened, "dead")
    journal = opened()
    with ThreadPoolExecutor(4) as threads:
        assert not any(threads.map(journal.alive, ["dead"] * 400))


async def test_asking_does_not_hide_the_dead(opened: Opener, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adopter who comes while somebody asks waits for the moment that asking takes."""
    await leave(opened, "dead")
    journal, [lock] = opened(), list(directory.glob("dead*.lock"))
    asking = os.open(lock, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr("grantkeeper.storage.journal_files.pause", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
    try:
        assert len(journal.orphans()) == 1
    finally:
        os.close(asking)


async def test_second_life(opened: Opener) -> None:
    """A process that bears a dead one's name writes a journal of its own and adopts the other's."""
    await leave(opened, "same", new_entry(1))
    journal = opened("same")
    await journal.append(new_entry(2))
    [orphan] = journal.orphans()
    assert (instants(orphan.entries), instants(journal.recent())) == ([1], [2])
    orphan.done()
    assert journal.alive("same")
    assert instants(journal.find("connection", 1)) == [2]


OWNERS = [
    "host.example:1:af",
    "Host",
    "host",
    "",
    ".",
    "..",
    "a/b",
    "%41",
    "a.lock",
    "ünï",
    "\n\0 ",
    "\ud800",
    "x.0123456789abcdef",
]


async def test_owner_names(opened: Opener, directory: Path) -> None:
    """Any name makes files within the directory, comes back as it was, and is no other's on any file system."""
    for owner in OWNERS:
        await leave(opened, owner, new_entry())
    journal = opened()
    names = {file.name.lower().rsplit(".", 2)[0] for file in directory.glob("*.lock")}
    assert len(names) == len(OWNERS) + 1
    assert sorted(orphan.owner for orphan in journal.orphans()) == sorted(OWNERS)


# Opening and closing.


async def test_close_settled(opened: Opener, directory: Path) -> None:
    """A journal whose entries are all settled leaves nothing; closing twice is closing once."""
    journal = opened()
    for at in range(3):
        journal.settle(await journal.append(large(at)))
    assert len(segments(directory)) == 2
    journal.close()
    journal.close()
    assert list(directory.iterdir()) == []
    with pytest.raises(StorageUnavailable, match="not open"):
        await journal.append(new_entry())


async def test_close_unsettled(opened: Opener, directory: Path) -> None:
    """Segments with unsettled entries are left, those without go; the owner is dead from then on."""
    journal = opened("leaver")
    numbers = [await journal.append(large(at)) for at in range(3)]
    for number in numbers[:2]:
        journal.settle(number)
    journal.close()
    heir = opened("heir")
    assert not heir.alive("leaver")
    [orphan] = heir.orphans()
    assert instants(orphan.entries) == [2]


async def test_close_writes_what_waits(opened: Opener) -> None:
    """Appends under way when the journal is closed are still written and answered."""
    journal = opened("leaver")
    appends = [asyncio.create_task(journal.append(new_entry(at))) for at in range(3)]
    await asyncio.sleep(0)
    journal.close()
    await asyncio.gather(*appends)
    [orphan] = opened("heir").orphans()
    assert instants(orphan.entries) == [0, 1, 2]


async def test_before_open(directory: Path, clock: FakeClock) -> None:
    """A journal that was never opened refuses entries, finds none, and closes."""
    journal = Journal(directory, "me", clock)
    with pytest.raises(StorageUnavailable, match="not open"):
        await journal.append(new_entry())
    assert journal.find("connection", 1) == journal.recent() == []
    assert not journal.orphans()
    journal.close()
    assert not directory.exists()


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_directory_is_a_file(opened: Opener, directory: Path, clock: FakeClock, below: str) -> None:
    """A file in the directory's place, or above it, is the operator's to move: the error names it."""
    directory.write_text("not a directory")
    journal = Journal(directory / below, "me", clock)
    with pytest.raises(ConfigError) as raised:
        journal.open()
    [problem] = raised.value.problems
    assert problem.startswith(f"journal_dir: {directory / below}: it is not a directory; ")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "give it to the user"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "free some"),
        (errno.EIO, "Input/output error; name a directory"),
    ],
)
@pytest.mark.parametrize("at", [".lock", ".journal"])
def test_directory_cannot_be_written(
    directory: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, number: int, said: str, at: str
) -> None:
    """Where lock or segment cannot be made, the error says what to do, and nothing is left behind."""
    open_file = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(at):
            raise OSError(number, os.strerror(number), str(path))
        return open_file(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError) as raised:
        Journal(directory, "me", clock).open()
    [problem] = raised.value.problems
    assert problem.startswith(f"journal_dir: {directory}: ")
    assert said in problem
    assert list(directory.iterdir()) == []


def test_no_locks(directory: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is refused at the start: who is alive could not be told there."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match="local disk"):
        Journal(directory, "me", clock).open()


def test_directory_of_somebody_else(directory: Path) -> None:
    """A directory that we really may not write is the operator's to give."""
    directory.mkdir(mode=0o500)
    with child(UNPRIVILEGED, directory, "unprivileged") as process:
        assert "give it to the user" in process.wait_for_line("^journal_dir: .*$")[0]
        assert process.wait() == 0
