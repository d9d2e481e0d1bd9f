"""SQLite under bad conditions: locked by another process, out of space, not a database at all."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grantkeeper.crypto import RootKeyset
from grantkeeper.errors import ConfigError, StorageError, StorageUnavailable
from grantkeeper.storage.connections import Page
from grantkeeper.storage.database import until_stored
from grantkeeper.storage.migrate import open_database
from grantkeeper.testing import FakeClock
from tests.storage.stores import AMPLE, LATER, NOW, Stores, new_evidence, new_given, new_token, new_tokens, open_stores
from tests.support.process import Process, clean_environment

HOLDER = """
import signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
connection.execute("UPDATE accounts SET name = 'Never committed'")
print("locked", flush=True)
signal.pause()
"""
LARGE = "x" * 40_000
"""A value that needs new pages."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "data" / "grantkeeper.sqlite3"


@pytest.fixture
async def stores(file: Path, root: RootKeyset) -> AsyncIterator[Stores]:
    """The stores over SQLite, with a tenth of a second of patience for another process's lock."""
    async with open_stores(f"sqlite:///{file}", root) as stores:
        await stores.database.execute("PRAGMA busy_timeout = 100")
        yield stores


@pytest.fixture
def holder(file: Path, stores: Stores, tmp_path: Path) -> Process:
    """A process that holds the database's write lock while it runs."""
    return Process(
        [sys.executable, "-c", HOLDER, str(file)], directory=tmp_path, env=clean_environment(), name="holder"
    )


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_locked_by_another_process(stores: Stores, holder: Process, ending: signal.Signals) -> None:
    """Reads go on, writes raise StorageUnavailable; when the other is done, or killed, all is well again."""
    login = await stores.new_login()
    connection = await stores.connect(login.account.uuid)
    await stores.people.add_token(new_token(login), b"token")
    evidence = new_evidence(connection.account_uuid, "relabel")
    with holder:
        holder.wait_for_line("locked")
        with pytest.raises(StorageUnavailable, match="locked"):
            await stores.connections.set_label(connection.account_uuid, connection.uuid, "x", NOW, evidence)
        with pytest.raises(StorageUnavailable, match="locked"):
            await stores.people.add_uses("ada", NOW, 1)
        assert await stores.connections.list_page(connection.account_uuid, Page(limit=5)) == [connection]
        assert await stores.people.get_live_token(b"token", NOW) is not None
        assert await stores.tokens_of(connection)
        assert [due.provider for due in await stores.refreshes.provider_dues()] == ["demo"]
        with pytest.raises(StorageUnavailable, match="locked"):
            await stores.refreshes.claim_within(AMPLE, connection, "us", NOW, LATER)
        with pytest.raises(StorageUnavailable, match="locked"):
            await stores.refreshes.claim_due("demo", AMPLE, "us", NOW, LATER, 5)
        holder.stop(ending)
    assert len(await stores.refreshes.claim_due("demo", AMPLE, "us", NOW, LATER, 5)) == 1
    assert await stores.people.add_uses("ada", NOW, 1) == 1
    assert await stores.people.list_accounts() == [login.account]
    assert await stores.count("evidence") == 1


async def test_a_database_can_be_opened_while_it_is_locked(stores: Stores, holder: Process, root: RootKeyset) -> None:
    """A second process of ours starts beside a writer, and reads."""
    connection = await stores.connect()
    with holder:
        holder.wait_for_line("locked")
        async with open_stores(stores.url, root) as other:
            assert await other.connections.find(connection.uuid) == connection


async def test_what_a_provider_gave_is_stored_when_the_lock_is_gone(stores: Stores, holder: Process) -> None:
    """`until_stored` tries again for as long as it takes."""
    connection, clock = await stores.connect(), FakeClock()
    claim = await stores.claimed(connection)
    with holder:
        holder.wait_for_line("locked")
        saving = asyncio.create_task(until_stored(clock, lambda: stores.save(claim, new_given(2))))
        for _ in range(3):
            await clock.wait_for_sleepers()
            clock.advance(1)
    assert await saving == "refreshed"
    assert await stores.tokens_of(connection) == new_tokens(2)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The operating system refuses to make any file of this process larger, as a failing disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def assert_whole(stores: Stores, connections: int) -> None:
    """So many connections, each with its evidence, in a file that SQLite finds in order."""
    assert await stores.count("connections") == connections
    assert await stores.count("evidence") == connections
    row = await stores.database.fetch_one("SELECT * FROM pragma_integrity_check")
    assert row is not None
    assert row[0] == "ok"


async def test_a_full_disk_loses_nothing(stores: Stores) -> None:
    """Past the last page writes raise StorageUnavailable, nothing is half-written, and reads go on."""
    kept = await stores.connect()
    claim = await stores.claimed(kept)
    pages = await stores.database.fetch_one("PRAGMA page_count")
    assert pages is not None
    await stores.database.execute(f"PRAGMA max_page_count = {pages[0]}")
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="full"):
            await stores.connect(kept.account_uuid, label=LARGE)
        with pytest.raises(StorageUnavailable, match="full"):
            await stores.save(claim, new_given(2, scopes=(LARGE,)))
    await assert_whole(stores, 1)
    assert await stores.tokens_of(kept) == new_tokens(1)
    await stores.database.execute("PRAGMA max_page_count = 100000")
    assert await stores.save(claim, new_given(2, scopes=(LARGE,))) == "refreshed"
    await stores.connect(kept.account_uuid, label=LARGE)
    await assert_whole(stores, 2)


async def test_a_failing_disk_loses_nothing(stores: Stores, file: Path) -> None:
    """A write that the operating system refuses raises StorageUnavailable, and is as if it never was."""
    kept = await stores.connect()
    with no_file_larger_than(file.with_name(file.name + "-wal").stat().st_size + 8192):
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="disk"):
                await stores.connect(kept.account_uuid, label=LARGE)
        await assert_whole(stores, 1)
    await stores.connect(kept.account_uuid, label=LARGE)
    await assert_whole(stores, 2)


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Refused with an error of ours; the file is left as it is."""
    file = tmp_path / "notes.txt"
    file.write_text("Dear diary, " * 1000)
    with pytest.raises(StorageError, match="not a database"):
        await open_database(f"sqlite:///{file}")
    assert file.read_text() == "Dear diary, " * 1000


async def test_a_path_that_cannot_be_a_database(tmp_path: Path) -> None:
    """Below a file there can be none: the error names the path. A directory is none either."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/data/db: the database cannot be created"):
        await open_database(f"sqlite:///{tmp_path}/file/data/db")
    with pytest.raises(StorageError, match="unable to open"):
        await open_database(f"sqlite:///{tmp_path}")
