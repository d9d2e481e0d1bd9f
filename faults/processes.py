"""The lab's side of the processes under test: fork, kill, freeze, wake, read what they logged."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faults.ledger import instant
from tests.support.process import alive

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Child:
    """One process under test. `serial` is its number in the lab, in no other process's requests."""

    serial: int
    pid: int
    output: Path
    killed_at: int | None = None
    reaped: bool = False
    frozen: list[tuple[int, int]] = field(default_factory=list)

    def kill(self) -> None:
        """SIGKILL, now; may be called in any thread."""
        if self.killed_at is None and not self.reaped:
            os.kill(self.pid, signal.SIGKILL)
            self.killed_at = instant()

    def signal(self, number: signal.Signals) -> None:
        """Any other signal, while it lives."""
        if self.running:
            os.kill(self.pid, number)

    @property
    def running(self) -> bool:
        """Whether it lives, frozen or not."""
        return not self.reaped and alive(self.pid)

    def log(self, name: str) -> int:
        """How often it logged that event."""
        return sum(event.get("event") == name for event in self.events())

    def events(self) -> Iterator[dict[str, Any]]:
        """What it logged so far; lines that were cut short by its end are left out."""
        for line in self.output.read_text("utf-8", "replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue


class Parent:
    """The process that forks them. Its children die with it, and it dies with the lab."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._serial = 0
        self.children: dict[int, Child] = {}

    async def __aenter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "faults.parent"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        await self._reply(60.0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        for child in self.children.values():
            if not child.reaped:
                child.kill()
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def fork(
        self, command: Sequence[str], environment: Mapping[str, str], serial: int, injections: Mapping[str, Any]
    ) -> Child:
        """A new process under test, running `grantkeeper COMMAND`."""
        output = self._directory / f"process-{serial}.log"
        output.touch(mode=0o600)
        order = {
            "command": [*command],
            "environment": dict(environment),
            "output": str(output),
            "injections": dict(injections),
        }
        reply = await self._ask(order)
        child = self.children[serial] = Child(serial, reply["pid"], output)
        return child

    def next_serial(self) -> int:
        """A number for the next process."""
        self._serial += 1
        return self._serial

    async def end(self, child: Child, number: signal.Signals = signal.SIGTERM, *, within: float = 15.0) -> bool:
        """Ask it to end and wait; False where it had to be killed."""
        if child.reaped:
            return True
        child.signal(number)
        deadline = asyncio.get_running_loop().time() + within
        while child.running and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - not our own child
            await asyncio.sleep(0.01)
        in_order = not child.running
        if not in_order:
            child.kill()
        await self.reap(child)
        return in_order

    async def reap(self, child: Child) -> None:
        """Have it buried, so that its number is free for others."""
        if not child.reaped:
            child.reaped = True
            await self._ask({"reap": child.pid})

    async def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        async with self._turn:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            return await self._reply(20.0)

    async def _reply(self, patience: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), patience)
        if not line:
            raise RuntimeError("the parent of the processes under test has ended")
        reply: dict[str, Any] = json.loads(line)
        return reply
