"""A process of the product as its machine sees it: its input and output can be held, can fail, and end with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from urllib.parse import parse_qs

import msgspec

from grantkeeper.errors import StorageUnavailable
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request, Response
from grantkeeper.refresh import Refresher
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.database import Database, Dialect, Row, Statements
from grantkeeper.storage.journal import Entry, Journal
from grantkeeper.storage.refreshes import RefreshStore
from grantkeeper.storage.vault import Vault
from grantkeeper.testing import FakeClock
from tests.engine.simulated_provider import Call
from tests.support.sender import keyless

if TYPE_CHECKING:
    from tests.engine.machine import Machine

Fault = Literal["hold before", "hold after", "fail before", "fail after"]
"""At a statement or an append: keep it from happening, or its result from being heard of; for a while, or for good."""

TIMEOUT = 10.0
POINTS = {
    "save_refresh": "save",
    "reconcile_as_next": "reconcile",
    "reconcile_as_newest": "reconcile",
    "reconcile_as_previous": "reconcile",
    "save_failure": "failure",
    "release_lease": "release",
    "renew_lease": "renew",
    "lapse_leases": "lapse",
    "get_issued_at": "look",
    "add_revocation": "revocation",
}
"""The statements at which a fault can be laid; besides these `transaction` and `journal`."""
FAULTS: tuple[Fault, ...] = ("hold before", "hold after", "fail before", "fail after")
FAULT_POINTS = sorted({*POINTS.values(), "transaction", "journal"})
_STORES = ("save_refresh", "reconcile_as_next", "reconcile_as_newest")
_T = TypeVar("_T")


class Dead(BaseException):
    """Input or output of a process that was killed."""


class Held(msgspec.Struct, eq=False):
    """Something that waits at a fault of the kind `hold`."""

    process: Process
    point: str
    fault: Fault
    released: asyncio.Future[None]


class ProcessClock:
    """The machine's clock as a process sees it: one that is frozen does not wake up."""

    def __init__(self, clock: FakeClock, process: Process) -> None:
        self._clock = clock
        self._process = process
        self.now = clock.now
        self.monotonic = clock.monotonic

    async def sleep(self, seconds: float) -> None:
        """Return when the time is over and the process runs."""
        await self._clock.sleep(seconds)
        await self._process.running.wait()


class Network:
    """Stands in for `ProviderHttp`: a request stays out until the machine says what becomes of it."""

    timeout = TIMEOUT

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine = machine
        self._process = process

    async def send(self, request: Request, certificate: object = None) -> Response:
        """The answer, or ProviderUnavailable."""
        self._process.breathe()
        form = parse_qs(request.body.decode())
        assert form["grant_type"] == ["refresh_token"]
        token = self._machine.provider.tokens[form["refresh_token"][0]]
        now, answer = self._machine.clock.now(), asyncio.get_running_loop().create_future()
        call = Call(self._process, token, now, answer, second=self._process.rejected)
        self._machine.sent(call)
        try:
            return await call.answer
        finally:
            self._machine.calls.remove(call)


class ProcessDatabase:
    """The database as a process sees it, with the faults that were laid for it."""

    dialect: Dialect = "sqlite"
    interruptions = 0

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine = machine
        self._process = process
        self._database = machine.database

    async def fetch_one(self, query: str, **parameters: Any) -> Row | None:
        """As the database does."""
        row = await self._run(query, lambda: self._database.fetch_one(query, **parameters), parameters)
        return row

    async def fetch_all(self, query: str, **parameters: Any) -> Sequence[Row]:
        """As the database does."""
        return await self._run(query, lambda: self._database.fetch_all(query, **parameters), parameters)

    async def execute(self, query: str, **parameters: Any) -> int:
        """As the database does."""
        return await self._run(query, lambda: self._database.execute(query, **parameters), parameters)

    async def execute_many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """As the database does."""
        await self._run(query, lambda: self._database.execute_many(query, rows), {})

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Statements]:
        """As the database does; what the refresh engine does in one is to claim, and to condemn."""
        fault = await self._process.before("transaction")
        async with self._database.transaction() as statements:
            yield statements
        await self._process.after("transaction", fault)

    async def close(self) -> None:
        """It is the machine's."""

    async def _run(self, query: str, work: Callable[[], Awaitable[_T]], parameters: dict[str, Any]) -> _T:
        point = POINTS.get(query)
        fault = await self._process.before(point)
        result = await work()
        if result and query in _STORES:
            self._machine.stored(self._process, parameters["issued_at"])
        await self._process.after(point, fault)
        return result


class ProcessJournal(Journal):
    """A journal of the product whose process may be killed, and whose disk may be full."""

    def __init__(self, machine: Machine, process: Process) -> None:
        clock = cast(Any, process.clock)
        super().__init__(machine.directory / "journal", process.owner, clock, segment_bytes=4096)
        self._machine = machine
        self._process = process

    async def append(self, entry: Entry) -> int:
        """As the journal does; the machine waits for its thread."""
        call = self._process.call
        if call is not None:
            call.identity = entry.requested_at
        fault = await self._process.before("journal")
        with self._machine.waiting_for_a_thread():
            number = await super().append(entry)
        if call is not None:
            call.safe = True
        await self._process.after("journal", "hold after" if fault == "hold after" else None)
        return number

    def die(self) -> None:
        """What the kernel does: nothing more is written, locks are gone, files stay."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        assert self._thread is not None
        assert self._lock is not None
        self._thread.join()
        for orphan in self._adopted.copy():
            orphan.keep()
        for segment in self._segments:
            segment.close()
        os.close(self._lock)


class Process:
    """A refresher with all that is its own; `call` is the request that it was answered last."""

    def __init__(self, machine: Machine, owner: str) -> None:
        self.owner = owner
        self.machine = machine
        self.tasks: set[asyncio.Task[Any]] = set()
        self.job: asyncio.Task[Any] | None = None
        self.faults: dict[str, Fault] = {}
        self.call: Call | None = None
        self.rejected = False
        self.dead = False
        self.running = asyncio.Event()
        self.running.set()
        self.clock = ProcessClock(machine.clock, self)
        self.journal = ProcessJournal(machine, self)
        self.journal.open()
        database = cast(Database, ProcessDatabase(machine, self))
        vault = Vault(database, machine.root)
        connections = ConnectionStore(database, vault)
        self.store = RefreshStore(database, vault, connections)
        self.refresher = Refresher(
            connections,
            self.store,
            vault,
            machine.clients,
            keyless(cast(ProviderHttp, Network(machine, self)), self.clock),
            self.journal,
            self.clock,
            owner,
            lambda: 0.5,
        )

    @property
    def frozen(self) -> bool:
        """Whether it is stopped, as by SIGSTOP."""
        return not self.running.is_set()

    def breathe(self) -> None:
        """Raise Dead where the process is."""
        if self.dead:
            raise Dead

    async def before(self, point: str | None) -> Fault | None:
        """The fault that was laid there; held or failed here where it comes before the deed."""
        self.breathe()
        fault = self.faults.pop(point, None) if point else None
        if fault == "fail before":
            raise StorageUnavailable("a fault that a test has laid")
        if fault == "hold before":
            await self._hold(str(point), fault)
        return fault

    async def after(self, point: str | None, fault: Fault | None) -> None:
        """The deed is done: its result is heard of now, later or never."""
        self.breathe()
        if fault == "fail after":
            raise StorageUnavailable("a fault that a test has laid, after the deed")
        if fault == "hold after":
            await self._hold(str(point), fault)

    async def _hold(self, point: str, fault: Fault) -> None:
        held = Held(self, point, fault, asyncio.get_running_loop().create_future())
        self.machine.held.append(held)
        try:
            await held.released
        finally:
            self.machine.held.remove(held)
        self.breathe()
