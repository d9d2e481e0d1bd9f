"""PostgreSQL under bad conditions: restarted under load, stopped, refusing, out of something."""

from __future__ import annotations

import asyncio
import itertools
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from grantkeeper.clock import MINUTE
from grantkeeper.crypto import RootKeyset
from grantkeeper.errors import ConfigError, StorageError, StorageUnavailable
from grantkeeper.model import Claim
from grantkeeper.storage.connections import Page
from grantkeeper.storage.migrate import migrate, open_database
from tests.storage.stores import AMPLE, NOW, Stores, new_evidence, new_given, new_tokens, open_stores
from tests.support.postgres import PostgresServer
from tests.support.process import free_port

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this file's own, as its tests stop it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def operator() -> Iterator[Executor]:
    """A thread that lives as long as the servers it starts: the kernel ends them when it ends."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture(scope="module")
def url(server: PostgresServer) -> str:
    """A database with our schema."""
    url = server.create_database()
    migrate(url)
    return url


@pytest.fixture
async def stores(url: str, root: RootKeyset) -> AsyncIterator[Stores]:
    """The stores over it."""
    async with open_stores(url, root) as stores:
        yield stores


class Load:
    """Callers that keep calling, and what became of each call."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._ended = False

    async def keep(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        """Call again and again; every error but StorageUnavailable ends the test."""
        while not self._ended:
            try:
                await call()
                self.done[name] += 1
            except StorageUnavailable:
                self.refused[name] += 1
                await asyncio.sleep(0.01)

    async def each_done(self, least: int) -> None:
        """Until every caller succeeded at least so many times more than now."""
        before, deadline = self.done.copy(), time.monotonic() + 30
        names = list(self.done)
        while any(self.done[name] < before[name] + least for name in names):
            assert time.monotonic() < deadline, (before, self.done, self.refused)
            await asyncio.sleep(0.01)

    def end(self) -> None:
        """Let every caller finish its last call."""
        self._ended = True


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_restarted_under_load(server: PostgresServer, operator: Executor, stores: Stores, mode: Any) -> None:
    """Callers see StorageUnavailable and nothing else, the instance recovers by itself, nothing is lost."""
    connection = await stores.connect()
    account, subject = connection.account_uuid, f"ada {mode}"
    evidence = new_evidence(account, "relabel", connection.uuid)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "count": lambda: stores.people.add_uses(subject, NOW, 1),
        "count too": lambda: stores.people.add_uses(subject, NOW, 1),
        "relabel": lambda: stores.connections.set_label(account, connection.uuid, "x", NOW, evidence),
        "connect": lambda: stores.connect(account, label="y"),
        "list": lambda: stores.connections.list_page(account, Page(limit=5)),
        "read": lambda: stores.tokens_of(connection),
        "claim": lambda: stores.refreshes.claim_due("demo", AMPLE, "us", NOW - 1, NOW, 5),
    }
    load = Load()
    load.done.update(dict.fromkeys(calls, 0))
    async with asyncio.TaskGroup() as group:
        for name, call in calls.items():
            group.create_task(load.keep(name, call))
        await load.each_done(5)
        await asyncio.get_running_loop().run_in_executor(operator, server.restart, mode)
        await load.each_done(5)
        load.end()
    assert load.refused.total() > 0
    assert await stores.people.add_uses(subject, NOW, 0) >= load.done["count"] + load.done["count too"]
    labels = [row.label for row in await stores.connections.list_page(account, Page(limit=100_000))]
    assert labels.count("y") >= load.done["connect"]
    lines = await stores.connections.evidence(account, connection.uuid)
    assert len(lines) - 1 >= load.done["relabel"]


async def test_no_refresh_is_lost_in_a_restart(server: PostgresServer, operator: Executor, stores: Stores) -> None:
    """What is saved again until it is stored is stored once, whether or not the first time had come through."""
    connection, load = await stores.connect(), Load()
    numbers, answers = itertools.count(2), Counter[str]()

    async def refresh() -> None:
        number = next(numbers)
        now = NOW + number * MINUTE
        stored = await stores.stored(connection)
        claim = await stores.refreshes.claim_within(AMPLE, stored, "us", now, now + 1)
        assert isinstance(claim, Claim)
        while True:
            try:
                saved = await stores.save(claim, new_given(number))
                break
            except StorageUnavailable:
                load.refused["save"] += 1
                await asyncio.sleep(0.01)
        answers[saved] += 1
        assert (await stores.stored(connection)).generation == 1 + answers.total()
        assert await stores.tokens_of(connection) == new_tokens(number)

    load.done["refresh"] = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(load.keep("refresh", refresh))
        for mode in ("fast", "immediate"):
            await load.each_done(5)
            await asyncio.get_running_loop().run_in_executor(operator, server.restart, mode)
        await load.each_done(5)
        load.end()
    assert load.refused.total() > 0
    assert set(answers) <= {"refreshed", "known"}


async def test_stopped(server: PostgresServer, stores: Stores, url: str) -> None:
    """Nothing can be opened, migrated or asked; once it is back, the same instance works."""
    connection = await stores.connect()
    server.stop()
    try:
        with pytest.raises(StorageUnavailable):
            await open_database(url)
        with pytest.raises(StorageUnavailable):
            await asyncio.to_thread(migrate, url)
        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                await stores.connections.find(connection.uuid)
            with pytest.raises(StorageUnavailable):
                await stores.connect(connection.account_uuid)
    finally:
        server.start()
    assert await stores.connections.find(connection.uuid) == connection
    assert await stores.count("evidence") >= 1


async def test_idle_connections_that_died_cost_nobody_an_error(
    server: PostgresServer, operator: Executor, stores: Stores
) -> None:
    """After a restart while nobody asked, the first call works."""
    connection = await stores.connect()
    await asyncio.gather(*(stores.connections.find(connection.uuid) for _ in range(4)))
    await asyncio.get_running_loop().run_in_executor(operator, server.restart)
    assert await stores.connections.find(connection.uuid) == connection


def spoiled(url: str, **changes: str) -> str:
    """The URL with other parts."""
    parts = urlsplit(url)
    user, password = changes.get("user", parts.username), changes.get("password", parts.password)
    host, port = changes.get("host", parts.hostname), changes.get("port", parts.port)
    return f"postgresql://{user}:{password}@{host}:{port}{changes.get('path', parts.path)}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"password": "guessed-secret"}, 'password authentication failed for user "grantkeeper"'),
        ({"user": "nobody", "password": "guessed-secret"}, 'password authentication failed for user "nobody"'),
        ({"path": "/missing"}, 'database "missing" does not exist'),
        ({"password": "guessed-secret", "port": "guessed-secret"}, "is not a PostgreSQL URL"),
        ({"password": "guessed-secret@x:y", "host": "z"}, "is not a PostgreSQL URL"),
    ],
)
async def test_a_wrong_url_is_explained_without_its_password(url: str, changes: dict[str, str], says: str) -> None:
    """Opening and migrating raise ConfigError: it names database_url, and nowhere the password."""
    wrong = spoiled(url, **changes)
    for attempt in (open_database(wrong), asyncio.to_thread(migrate, wrong)):
        with pytest.raises(ConfigError, match=says) as caught:
            await attempt
        assert caught.value.problems[0].startswith("database_url: ")
        told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert "guessed-secret" not in told
        assert str(urlsplit(url).password) not in told


async def test_nobody_listens(url: str) -> None:
    """A port without a server: worth another try, and no password told."""
    with pytest.raises(StorageUnavailable) as caught:
        await open_database(spoiled(url, port=str(free_port())))
    assert str(urlsplit(url).password) not in str(caught.value)


async def test_a_url_means_the_same_to_migrations(server: PostgresServer, url: str) -> None:
    """TLS mode, Unix socket and percent-encoded passwords: what opens can also be migrated."""
    server.execute("CREATE ROLE \"o'dd\" LOGIN SUPERUSER PASSWORD 'p@ss:w/o?r#d %'")
    parts = urlsplit(url)
    urls = [
        f"{url}?sslmode=disable",
        url.replace("postgresql://", "postgres://"),
        f"postgresql://{parts.username}:{parts.password}@{parts.path}?host={server.socket_directory}&port={server.port}",
        spoiled(url, user=quote("o'dd"), password=quote("p@ss:w/o?r#d %", safe="")),
    ]
    for same in urls:
        assert await asyncio.to_thread(migrate, same)
        await (await open_database(same)).close()


RAISE = "DO $$ BEGIN RAISE EXCEPTION 'secret-value' USING ERRCODE = '{}'; END $$"


@pytest.mark.parametrize(
    "code",
    [
        *("08006", "25006", "40001", "40P01", "53100", "53200", "53300", "55P03"),
        *("57014", "57P01", "57P02", "57P03"),
    ],
)
async def test_what_passes_is_unavailable(stores: Stores, code: str) -> None:
    """Disk full, too many connections, deadlock, read-only standby, shutdown: worth another try."""
    with pytest.raises(StorageUnavailable) as caught:
        await stores.database.execute(RAISE.replace("{}", code))
    assert "secret-value" not in str(caught.value)
    async with stores.database.transaction() as statements:
        await statements.fetch_one("list_accounts")


@pytest.mark.parametrize("code", ["22023", "23505", "42501", "42P01", "XX000"])
async def test_what_stays_is_an_error(stores: Stores, code: str) -> None:
    """A refused value, a missing table, a missing right: not worth another try."""
    with pytest.raises(StorageError) as caught:
        await stores.database.execute(RAISE.replace("{}", code))
    assert not isinstance(caught.value, StorageUnavailable)
