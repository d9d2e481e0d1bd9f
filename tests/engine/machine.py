"""A machine with several processes of the product over one database, run step by step.

Everything that refreshes is the product's own: attempts, recovery, statements, journals. What is simulated is what
lies around it: the provider, the network, the clock, and the faults of disks and processes. A process runs until
everything in it waits: for the provider, for time, or at a fault that a test has laid. `Machine` then says what
happens next, and looks after every step whether the protocol's promises hold.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast

from pydantic import SecretStr

from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.clients import Clients
from grantkeeper.clock import MINUTE, SECOND
from grantkeeper.config import ClientSettings
from grantkeeper.crypto import create_root_keyset, load_root_keyset
from grantkeeper.errors import NeedsReauthorization, NotFound, ProviderUnavailable, StorageUnavailable, Unavailable
from grantkeeper.model import Connection, Grant, MustAct, Status
from grantkeeper.storage.connections import ConnectionStore
from grantkeeper.storage.database import Database
from grantkeeper.storage.sqlite import SqliteDatabase
from grantkeeper.storage.vault import Vault
from grantkeeper.testing import FakeClock
from tests.engine.simulated_process import TIMEOUT, Dead, Fault, Held, Process
from tests.engine.simulated_provider import Call, Mode, Provider, Token, json_response, new_token_set
from tests.storage.stores import new_evidence, open_stores

CLIENT_ID = "client-1"
PATIENCE = 5 * MINUTE
"""How long a process that lives is waited for."""
_STEP = 5.0
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_process: ContextVar[Process | None] = ContextVar("process", default=None)


class Loop(asyncio.SelectorEventLoop):
    """Does at once what the product hands to threads, so that a step is over when nothing is ready any more."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """A future that is done."""
        future: asyncio.Future[_T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class Template:
    """A database file with one connection, to copy, and what opens it."""

    def __init__(self, directory: Path, migrated: Path) -> None:
        keyset = directory / "keyset"
        create_root_keyset(keyset)
        self.root = load_root_keyset(None, keyset)
        self.file = directory / "database"
        shutil.copy(migrated, self.file)
        client = ClientSettings(
            client_id=CLIENT_ID, client_secret=SecretStr("secret"), parameters={"base_url": "http://127.0.0.1:9"}
        )
        self.clients = Clients(load_catalogue(), {"demo": client}, "http://127.0.0.1:8080")
        self.refresh_token = "refresh-1-1"
        connection = asyncio.run(self._connect())
        self.uuid, self.account_uuid = connection.uuid, connection.account_uuid

    async def _connect(self) -> Connection:
        now = FakeClock().now()
        async with open_stores(f"sqlite:///{self.file}", self.root) as stores:
            return await stores.connect(
                tokens=new_token_set(self.refresh_token, now),
                client_id=CLIENT_ID,
                scopes=("profile",),
                next_refresh_at=now + 50 * SECOND,
                access_token_expires_at=now + 100 * SECOND,
                refresh_token_expires_at=None,
            )


class Machine:
    """See the module. The methods that say what happens next return when everything waits again."""

    def __init__(self, template: Template, directory: Path, mode: Mode) -> None:
        self.directory = directory
        directory.mkdir()
        self.root = template.root
        self.clients = template.clients
        self.provider = Provider(mode)
        self.loop = Loop()
        self.loop.set_task_factory(self._new_task)
        self.loop.set_exception_handler(self._unheard)
        self.errors: list[str] = []
        self.clock = FakeClock()
        self.processes: list[Process] = []
        self.calls: list[Call] = []
        self.held: list[Held] = []
        self.stores = 0
        self.refreshed_at_rest = False
        self._threads = 0
        self._heard = asyncio.Event()
        self._names = (f"machine:{number}" for number in itertools.count(1))
        shutil.copy(template.file, directory / "database")
        self.database = SqliteDatabase(directory / "database")
        # No test here cuts the power, and waiting for the disk would be most of its time.
        self.database._writer.execute("PRAGMA synchronous=OFF")
        self.vault = Vault(cast(Database, self.database), self.root)
        self.connections = ConnectionStore(cast(Database, self.database), self.vault)
        self.uuid, self.account_uuid = template.uuid, template.account_uuid
        first = self.provider.consent()
        assert first.name == template.refresh_token

    # What may happen next.

    def start(self) -> Process:
        """Another process, which first recovers what others left."""
        process = self.start_without_upkeep()
        self.recover(process)
        self._spawn(process, process.refresher.upkeep())
        return process

    def start_without_upkeep(self) -> Process:
        """Another process, before it does anything."""
        process = Process(self, next(self._names))
        self.processes.append(process)
        return process

    def recover(self, process: Process) -> None:
        """What every process does each second."""

        async def upkeep() -> None:
            await process.refresher.recover()
            await process.refresher.write_down()

        self._spawn(process, upkeep())

    def refresh(self, process: Process) -> None:
        """An operator has it refreshed in that process."""
        connection = self.connection()
        if connection is not None:
            process.job = self._spawn(process, process.refresher.refresh_now(connection))

    def read(self, process: Process) -> None:
        """A reader wants a token that is good for a minute."""
        self._spawn(process, process.refresher.fresh(self.account_uuid, self.uuid, 60))

    def work(self, process: Process) -> None:
        """The worker of that process refreshes what is due."""

        async def run_due() -> None:
            now = self.clock.now()
            until = process.refresher.lease_until(now)
            policy = self.clients.policy("demo")
            for claim in await process.store.claim_due("demo", policy, process.owner, now, until, 10):
                await process.refresher.run(claim)

        self._spawn(process, run_due())

    def fault(self, process: Process, point: str, fault: Fault) -> None:
        """Lay a fault for the next statement of that kind."""
        process.faults[point] = fault

    def release(self, held: Held) -> None:
        """Let go on what was held; in a frozen process nothing does."""
        if held.process.frozen:
            return
        held.released.set_result(None)
        self.settle()

    def commit(self, call: Call) -> None:
        """The provider decides; its answer is on the way."""
        self.provider.commit(call)

    def deliver(self, call: Call) -> None:
        """The answer arrives, decided now where it was not; a frozen process finds it when it wakes."""
        if call.response is None:
            self.commit(call)
        if call.process.frozen:
            return
        assert call.response is not None
        call.process.call = call if call.child else None
        call.process.rejected = call.response.status == 400
        call.answer.set_result(call.response)
        self.settle()
        call.process.rejected = False

    def refuse(self, call: Call, status: int) -> None:
        """The provider, or something before it, answers an error and decides nothing."""
        call.response = json_response(status, error="server_error" if status < 500 else "")
        self.deliver(call)

    def lose(self, call: Call) -> None:
        """Its connection breaks."""
        if call.process.frozen:
            return
        call.lost = True
        call.answer.set_exception(ProviderUnavailable("lost", sent=True))
        self.settle()

    def kill(self, process: Process) -> None:
        """SIGKILL: nothing that it was about to do reaches disk, database or network."""
        process.dead = True
        self.processes.remove(process)
        process.journal.die()
        for call in self.calls:
            call.lost |= call.process is process
        for task in process.tasks:
            task.cancel()
        self.settle()
        assert not process.tasks

    def freeze(self, process: Process) -> None:
        """SIGSTOP."""
        process.running.clear()

    def wake(self, process: Process) -> None:
        """SIGCONT: time has passed, answers lie in their sockets."""
        process.running.set()
        for call in [call for call in self.calls if call.process is process and call.response is not None]:
            self.deliver(call)
        self.settle()
        self._time_out()

    def pass_time(self, seconds: float) -> None:
        """In small steps, so that every timer is heard in its turn."""
        step = 1 if seconds < 10 else _STEP
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.settle()
            self._time_out()

    def reauthorize(self) -> None:
        """The user consents again."""
        if self.connection() is None:
            return
        token = self.provider.consent()
        now = self.clock.now()
        grant = Grant(tokens=new_token_set(token.name, now), scopes=("profile",))
        evidence = new_evidence(self.account_uuid, "reauthorize", self.uuid)
        due = now + 50 * SECOND
        self._now(self.connections.replace_grant(self.account_uuid, self.uuid, CLIENT_ID, grant, due, now, evidence))
        self.stores += 1

    def disconnect(self) -> None:
        """The user ends the connection."""
        evidence = new_evidence(self.account_uuid, "disconnect", self.uuid)
        self._now(self.connections.delete(self.account_uuid, self.uuid, "revocation", self.clock.now(), evidence))

    def come_to_rest(self, *, kill: bool) -> None:
        """No fault any more: every process is heard out, or killed as it is; one more refreshes what there is.

        Where nobody has to wait for anything, that takes no longer than a lease; a blocked provider five minutes.
        """
        for process in self.processes.copy():
            process.faults.clear()
            if kill:
                self.kill(process)
            else:
                self.wake(process)
        self.answer_all()
        last = self.start()
        self.answer_all()
        before = self.connection()
        blocked = any(state.blocked_at is not None for state in self._now(last.store.provider_states()))
        for _ in range(80 if blocked else 12):
            now = self.connection()
            self.refreshed_at_rest = before is not None and now is not None and now.generation > before.generation
            if self.refreshed_at_rest or before is None or now is None or now.must_act is MustAct.USER:
                break
            if last.job is None or last.job.done():
                self.refresh(last)
            self.answer_all()
            self.pass_time(_STEP)
            self.answer_all()
        for process in self.processes:
            self.recover(process)
        self.answer_all()

    def refreshed_by(self, process: Process, *, within: float) -> bool:
        """Whether that process gets the next generation without waiting longer than so many seconds."""
        before = self.connection()
        self.refresh(process)
        self.answer_all()
        self.pass_time(within)
        self.answer_all()
        now = self.connection()
        return before is not None and now is not None and now.generation > before.generation

    def answer_all(self) -> None:
        """What is held goes on and every request is answered, until only frozen processes wait."""
        while True:
            waiting: list[Held | Call] = [*self.held, *self.calls]
            found = next((found for found in waiting if not found.process.frozen), None)
            if found is None:
                return
            if isinstance(found, Held):
                self.release(found)
            else:
                self.deliver(found)

    def close(self) -> None:
        """End everything."""
        for process in self.processes.copy():
            self.kill(process)
        self.loop.run_until_complete(self.database.close())
        self.loop.close()
        shutil.rmtree(self.directory)

    # What can be seen.

    def connection(self) -> Connection | None:
        """As it is stored."""
        return self._now(self.connections.find(self.uuid))

    def stored_tokens(self) -> list[Token]:
        """The refresh tokens in the database: current, then previous."""

        async def opened() -> list[Token]:
            row = await self.database.fetch_one(
                "SELECT sealed_tokens, sealed_previous FROM connections WHERE uuid = :uuid", uuid=self.uuid
            )
            found = await self.connections.find(self.uuid)
            if row is None or found is None:
                return []
            sets = [await self.connections.open_tokens(found, sealed) for sealed in row if sealed is not None]
            return [self.provider.tokens[tokens.refresh_token or ""] for tokens in sets]

        return self._now(opened())

    def revocations(self) -> list[Token]:
        """The refresh tokens of which the provider is to be told that they are over."""

        async def opened() -> list[Token]:
            rows = await self.connections.claim_revocations(self.clock.now(), 0, 1000)
            sets = [await self.connections.open_revocation(row) for row in rows]
            return [self.provider.tokens[tokens.refresh_token or ""] for tokens in sets]

        return self._now(opened())

    def outcomes(self) -> list[str]:
        """The connection's history, as far as it is written down, oldest first."""
        rows = self._now(self.database.fetch_all("list_refreshes", connection_uuid=self.uuid, limit=1000))
        return [row[5] for row in reversed(rows)]

    def settle(self) -> None:
        """Run everything until it waits."""
        self.loop.run_until_complete(self._quiet())

    def check(self) -> None:
        """The promises that hold at any time."""
        assert not self.errors, self.errors
        connection = self.connection()
        if connection is None:
            return
        assert connection.generation == 1 + self.stores
        current = self.stored_tokens()[0]
        family = self.provider.families[-1]
        assert current.family is family, "an older consent's token set has replaced a newer one"
        if connection.status is Status.NEEDS_REAUTHORIZATION:
            assert family.ended, "condemned, while the provider honours the grant"

    def check_at_rest(self) -> None:
        """The promises that hold in the end."""
        self.check()
        connection, family = self.connection(), self.provider.families[-1]
        if connection is None:
            pending = self.revocations()
            kept = [token for token in self.kept() if token not in pending]
            assert not kept, f"{kept[0].name} was given and will not be revoked"
        elif family.ended:
            assert connection.status is Status.NEEDS_REAUTHORIZATION
            told = [connection.failure or "", *self.outcomes()]
            assert any("lost" in word or "loss" in word for word in told), f"the user is blamed: {told}"
        else:
            assert connection.status is Status.ACTIVE, (connection.status, connection.failure)
            assert not self.stored_tokens()[0].calls, "the stored refresh token is a spent one"
            assert self.refreshed_at_rest, "was not refreshed in time"

    def kept(self) -> list[Token]:
        """The newest consent's refresh tokens that are unspent and were not lost on the way."""
        tokens = [] if self.provider.families[-1].ended else self.provider.families[-1].tokens
        return [token for token in tokens if not token.calls and (token.given is None or token.given.safe)]

    # What the parts of a process report.

    def sent(self, call: Call) -> None:
        """A request goes out."""
        for other in self.calls:
            if other.token.family is call.token.family and call.sent_at - other.sent_at < PATIENCE:
                self.errors.append(f"{call.process.owner} asks while {other.process.owner} does")
        if any(first.safe for first in call.token.calls) and not call.second:
            self.errors.append(f"{call.process.owner} presents {call.token.name}, whose answer was kept")
        self.calls.append(call)

    def stored(self, process: Process, identity: int) -> None:
        """A token set has become the next generation."""
        self.stores += 1
        if process.call is not None and process.call.identity == identity:
            process.call.safe = True

    @contextmanager
    def waiting_for_a_thread(self) -> Iterator[None]:
        """Nothing is quiet meanwhile."""
        self._threads += 1
        try:
            yield
        finally:
            self._threads -= 1
            self._heard.set()

    # How a step is run.

    def _spawn(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        context = copy_context()
        context.run(_process.set, process)
        task = self.loop.create_task(work, context=context)
        self.settle()
        return task

    def _new_task(self, loop: Any, work: Any, **more: Any) -> asyncio.Task[Any]:
        """A task that belongs to the process whose code makes it."""
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **more)
        context = more.get("context")
        process = context.get(_process) if context is not None else _process.get()
        if process is not None:
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    def _unheard(self, _loop: object, context: dict[str, Any]) -> None:
        """An exception that nobody took; readers' answers and a worker's troubles are nobody's here."""
        expected = (Dead, StorageUnavailable, NeedsReauthorization, NotFound, Unavailable)
        if not isinstance(context.get("exception"), expected):
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    async def _quiet(self) -> None:
        ready = cast(Any, self.loop)._ready
        while True:
            await asyncio.sleep(0)
            if ready:
                continue
            if not self._threads:
                return
            self._heard.clear()
            await self._heard.wait()

    def _now(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What no process does, and no fault disturbs."""
        return self.loop.run_until_complete(work)

    def _time_out(self) -> None:
        for call in self.calls.copy():
            if not call.process.frozen and self.clock.now() - call.sent_at >= TIMEOUT * SECOND:
                self.lose(call)
