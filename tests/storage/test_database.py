"""Statements and transactions: all or nothing, whoever goes away in the middle."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import grantkeeper
from grantkeeper.crypto import RootKeyset
from grantkeeper.errors import StorageError, StorageUnavailable
from grantkeeper.storage.database import Dialect, Queries, Query
from tests.storage.stores import NOW, Stores, new_connection, new_evidence, new_tokens, open_stores

STATEMENTS = re.findall(
    r"^-- query: (\w+)", files("grantkeeper.storage").joinpath("queries.sql").read_text("utf-8"), re.MULTILINE
)


@pytest.fixture
async def other(stores: Stores, root: RootKeyset) -> AsyncIterator[Stores]:
    """A second instance over the same database."""
    async with open_stores(stores.url, root) as other:
        yield other


@pytest.fixture
async def reported() -> AsyncIterator[list[dict[str, Any]]]:
    """What nobody awaited: errors that asyncio could only report."""
    reports: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    yield reports
    loop.set_exception_handler(None)


def test_parameters_are_numbered_for_each_driver() -> None:
    """Each name gets one number, in the order of first use; casts and quoted colons are none."""
    text = "SELECT :b, :a, :b, x::text, '12:30' FROM t"
    assert Query.compile(text, "postgresql").text == "SELECT $1, $2, $1, x::text, '12:30' FROM t"
    assert Query.compile(text, "sqlite").text == "SELECT ?1, ?2, ?1, x::text, '12:30' FROM t"
    assert Query.compile(text, "sqlite").parameters == ("b", "a")


def test_no_statement_is_left_over() -> None:
    """Every named statement is named once, and used."""
    assert len(STATEMENTS) == len(set(STATEMENTS))
    root = Path(grantkeeper.__file__).parent
    code = "".join(file.read_text("utf-8") for file in root.rglob("*.py"))
    assert [name for name in STATEMENTS if f'"{name}"' not in code] == []


def test_a_part_may_take_in_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are put into parts that come later, into queries, and into statements composed on the way."""
    (tmp_path / "queries.sql").write_text(
        "-- part: key\nuuid\n\n-- part: columns\n{key}, :now\n\n-- query: get\nSELECT {columns} FROM t {skip_locked}\n"
    )
    monkeypatch.setattr("grantkeeper.storage.database.files", lambda package: tmp_path)
    queries = Queries("postgresql")
    assert queries.compose("get").text == "SELECT uuid, $1 FROM t FOR UPDATE SKIP LOCKED"
    assert queries.compose("SELECT {columns}").parameters == ("now",)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_part_is_put_in(dialect: Dialect) -> None:
    """No statement reaches a driver with a brace or a named parameter left in it."""
    for name in STATEMENTS:
        text = Queries(dialect).compose(name).text
        assert not re.search(r"[{}]|(?<![:\w]):[a-z_]", text), name


INSERT_INSTANCE = "INSERT INTO instance (name, value) VALUES (:name, :value)"


@pytest.mark.parametrize("inside", [False, True])
async def test_many_rows_are_written_at_once(stores: Stores, inside: bool) -> None:
    """By themselves or in a transaction: every row, in the order they were given; none are none."""
    rows = [{"name": f"n{number}", "value": b"v", "unused": number} for number in range(500)]
    if inside:
        async with stores.database.transaction() as statements:
            await statements.execute_many(INSERT_INSTANCE, rows)
            await statements.execute_many(INSERT_INSTANCE, [])
    else:
        await stores.database.execute_many(INSERT_INSTANCE, rows)
        await stores.database.execute_many(INSERT_INSTANCE, [])
    assert await stores.count("instance") == 500


async def test_many_rows_are_all_or_nothing(stores: Stores, other: Stores) -> None:
    """One that is refused at the end keeps those before it out; a transaction around it is undone as a whole."""
    rows = [{"name": f"n{number % 300}", "value": b"v"} for number in range(301)]
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            await stores.database.execute_many(INSERT_INSTANCE, rows)
        assert not isinstance(caught.value, StorageUnavailable)
    with suppress(StorageError):
        async with stores.database.transaction() as statements:
            await statements.execute_many(INSERT_INSTANCE, [{"name": "first", "value": b"v"}])
            await statements.execute_many(INSERT_INSTANCE, rows)
    assert (await stores.count("instance"), await other.count("instance")) == (0, 0)


async def test_many_rows_are_seen_at_once(stores: Stores, other: Stores) -> None:
    """A reader beside them sees none or all, never some."""
    rows = [{"name": f"n{number}", "value": b"v"} for number in range(2000)]
    writing = asyncio.create_task(stores.database.execute_many(INSERT_INSTANCE, rows))
    seen = {await other.count("instance")}
    while not writing.done():
        seen.add(await other.count("instance"))
        await asyncio.sleep(0)
    await writing
    assert seen | {await other.count("instance")} <= {0, 2000}


async def test_many_rows_cancelled_are_all_or_nothing(stores: Stores, reported: list[object]) -> None:
    """Cancelled at any moment: all of them or none, and others go on."""
    for ticks in range(0, 60, 3):
        await stores.database.execute("DELETE FROM instance")
        rows = [{"name": f"n{number}", "value": b"v"} for number in range(50)]
        task = asyncio.create_task(stores.database.execute_many(INSERT_INSTANCE, rows))
        await _ticks(ticks)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await stores.people.add_uses("ada", NOW, 1)
        assert await stores.count("instance") in (0, 50)
    assert reported == []


async def test_a_transaction_is_all_or_nothing(stores: Stores) -> None:
    """A statement that is refused undoes those before it, whether its error is caught outside or inside."""
    account = await stores.new_account()
    for _ in range(2):
        with suppress(StorageError):
            async with stores.database.transaction() as statements:
                await statements.execute("UPDATE accounts SET name = 'Changed'")
                await statements.execute("UPDATE accounts SET name = NULL")
    assert await stores.people.list_accounts() == [account]


async def test_nobody_sees_a_transaction_before_its_end(stores: Stores, other: Stores) -> None:
    """Readers go on with what was; the transaction itself reads what it wrote."""
    account = await stores.new_account("Before")
    async with stores.database.transaction() as statements:
        await statements.execute("UPDATE accounts SET name = 'After'")
        for reader in (stores, other):
            assert await reader.people.list_accounts() == [account]
        row = await statements.fetch_one("list_accounts")
        assert row is not None
        assert row[1] == "After"
    for reader in (stores, other):
        assert [known.name for known in await reader.people.list_accounts()] == ["After"]


async def test_writes_of_one_instance_queue_up(stores: Stores) -> None:
    """50 transactions at once over one instance all take place."""
    account = (await stores.new_account()).uuid
    await asyncio.gather(*(stores.connect(account, label=str(number)) for number in range(50)))
    assert await stores.connections.labels(account, "demo") == {str(number) for number in range(50)}


async def test_no_caller_starves(stores: Stores) -> None:
    """Of 20 callers that ask again and again, more than there are connections, each has its turn."""
    turns = [0] * 20

    async def ask(number: int) -> None:
        while max(turns) < 30:
            await stores.people.add_uses("ada", NOW, 1)
            turns[number] += 1

    await asyncio.gather(*(ask(number) for number in range(20)))
    assert min(turns) > 20


async def test_a_cancelled_writer_leaves_all_or_nothing(stores: Stores, reported: list[object]) -> None:
    """Cancelled at any moment: either connection and evidence are there or neither, and others go on."""
    account = (await stores.new_account()).uuid
    begun = []
    for ticks in range(0, 240, 6):
        connection = new_connection(account)
        begun.append(connection.uuid)
        evidence = new_evidence(account, "connect", connection.uuid)
        task = asyncio.create_task(stores.connections.add(connection, new_tokens(), evidence))
        await _ticks(ticks)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await stores.people.add_uses("ada", NOW, 1) == len(begun)
    for connection_uuid in begun:
        evidence_there = bool(await stores.connections.evidence(account, connection_uuid))
        assert evidence_there == (await stores.connections.find(connection_uuid) is not None)
    assert reported == []


async def test_a_cancelled_statement_is_all_or_nothing(stores: Stores, reported: list[object]) -> None:
    """Single statements that are cancelled at any moment leave the instance usable."""
    for ticks in range(0, 120, 4):
        task = asyncio.create_task(stores.people.add_uses("ada", NOW, 1))
        await _ticks(ticks)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await stores.people.add_uses("grace", NOW, 1)
    assert await stores.people.add_uses("grace", NOW, 0) == 30
    assert await stores.people.add_uses("ada", NOW, 0) <= 30
    assert reported == []


async def test_a_writer_cancelled_while_it_waits_for_another(
    stores: Stores, other: Stores, reported: list[object]
) -> None:
    """Who gives up while another instance holds the lock leaves no transaction open behind."""
    connection = await stores.connect()
    account, evidence = connection.account_uuid, new_evidence(connection.account_uuid, "relabel")
    async with other.database.transaction() as statements:
        await statements.execute("UPDATE connections SET label = 'Theirs'")
        task = asyncio.create_task(stores.connections.set_label(account, connection.uuid, "Ours", NOW, evidence))
        await _until_it_waits(other)
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    stored = await stores.connections.get(account, connection.uuid)
    assert stored is not None
    assert stored.label == "Theirs"
    await stores.connections.set_label(account, connection.uuid, "Ours", NOW, evidence)
    assert await other.connections.labels(account, "demo") == {"Ours"}
    assert reported == []


async def test_a_body_that_is_cancelled_rolls_back(stores: Stores) -> None:
    """Cancellation between two statements undoes the first."""
    account, inside = await stores.new_account(), asyncio.Event()

    async def change() -> None:
        async with stores.database.transaction() as statements:
            await statements.execute("UPDATE accounts SET name = 'Changed'")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(change())
    await inside.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert await stores.people.list_accounts() == [account]
    await stores.new_account()


async def test_a_closed_database_says_so(stores: Stores) -> None:
    """After `close` every call raises StorageError; closing again is harmless."""
    connection = await stores.connect()
    await stores.database.close()
    await stores.database.close()
    with pytest.raises(StorageError):
        await stores.connections.find(connection.uuid)
    with pytest.raises(StorageError):
        await stores.people.add_uses("ada", NOW, 1)
    with pytest.raises(StorageError):
        await stores.people.set_password(str(uuid.uuid4()), "hash")


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
async def test_a_number_past_64_bits_is_refused_for_good(stores: Stores, value: int) -> None:
    """Not worth another try, so not StorageUnavailable; reading and writing alike."""
    for attempt in (
        stores.people.add_uses("ada", value, 1),
        stores.people.get_live_token(b"token", value),
        stores.people.touch_tokens([("token", value)]),
    ):
        with pytest.raises(StorageError) as caught:
            await attempt
        assert not isinstance(caught.value, StorageUnavailable)
        assert str(value) not in str(caught.value)


async def test_a_lone_surrogate_is_refused_for_good(stores: Stores) -> None:
    """Text that is no Unicode is refused without being quoted."""
    with pytest.raises(StorageError) as caught:
        await stores.people.get_user_by_email("secret-\ud800")
    assert not isinstance(caught.value, StorageUnavailable)
    assert "secret" not in str(caught.value)


async def test_errors_quote_no_value(stores: Stores) -> None:
    """A row that exists already, a user that does not: the message tells what, not which value."""
    login = await stores.new_login()
    await stores.people.add_session(b"0123456789abcdef", login, NOW, NOW)
    with pytest.raises(StorageError) as caught:
        await stores.people.add_session(b"0123456789abcdef", login, NOW, NOW)
    for text in ("0123456789abcdef", "30313233", login.user.uuid):
        assert text not in str(caught.value)


async def _ticks(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def _until_it_waits(stores: Stores) -> None:
    """Until a statement waits for a lock; SQLite cannot be asked, but its thread has begun by then."""
    await _ticks(200)
    while stores.database.dialect == "postgresql":
        row = await stores.database.fetch_one(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if row is not None:
            return
