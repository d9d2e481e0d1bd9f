"""The refresh protocol, explored: whatever crashes, freezes and outages come in whatever order, no grant is lost that
can be kept. See `machine` for what is real here.

`PROTOCOL_EXAMPLES=2000 PROTOCOL_SEED=7` explores longer and elsewhere. What was found is kept in
`test_protocol_examples.py`.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.engine.machine import Machine, Template
from tests.engine.simulated_process import FAULT_POINTS, FAULTS, Fault, Held, Process
from tests.engine.simulated_provider import Call, Mode

MOST_PROCESSES = 4
EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "0"))
SEED = int(os.environ.get("PROTOCOL_SEED", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or 30,
    stateful_step_count=12,
    derandomize=not EXAMPLES,
    database=None,
    phases=(Phase.generate, Phase.shrink),
)
picks = st.integers(0, 5)
answers = st.sampled_from(("commit", "deliver", "none", "lose", "refuse", "fail"))
seconds = st.sampled_from((35, 0, 1, 95, 310))
faults = st.none() | st.tuples(st.sampled_from(FAULT_POINTS), st.sampled_from(FAULTS))


class Attempt(NamedTuple):
    """One attempt, at most one fault in it, how far its request comes, and what becomes of its process."""

    pick: int
    work: str
    fault: tuple[str, Fault] | None
    answer: str
    end: str


class Resumption(NamedTuple):
    """One of what waits goes on; `answer` is what a request gets."""

    pick: int
    answer: str


class Disturbance(NamedTuple):
    """Something happens to a process."""

    pick: int
    what: str
    fault: tuple[str, Fault] | None


class Arrival(NamedTuple):
    """A process starts, or the user consents again, or ends the connection."""

    what: str


attempts = st.builds(
    Attempt,
    picks,
    st.sampled_from(("refresh", "refresh", "read", "work")),
    faults,
    answers,
    st.sampled_from(("go on", "freeze", "kill")),
)
resumptions = st.builds(Resumption, picks, answers)
disturbances = st.builds(Disturbance, picks, st.sampled_from(("kill", "freeze", "fault")), faults)
arrivals = st.builds(Arrival, st.sampled_from((*["start"] * 8, "reauthorize", "disconnect")))


class Protocol(RuleBasedStateMachine):
    """Chooses what happens next."""

    def __init__(self, template: Template, directory: Path, mode: Mode) -> None:
        super().__init__()
        self.machine = Machine(template, directory, mode)
        self.kill_rest = False

    @initialize(processes=st.integers(2, MOST_PROCESSES), kill_rest=st.booleans())
    def begin(self, processes: int, kill_rest: bool) -> None:
        """`kill_rest`: in the end, those that still live are killed rather than heard out."""
        self.kill_rest = kill_rest
        for _ in range(processes):
            self.machine.start()

    # One rule: of several, Hypothesis leaves some out of most examples, and crashes alone are not worth much.
    @rule(event=st.one_of(attempts, attempts, resumptions, disturbances, arrivals), seconds=seconds)
    def happens(self, event: Attempt | Resumption | Disturbance | Arrival, seconds: int) -> None:
        """`event`, and then for so long nothing from outside."""
        if isinstance(event, Attempt):
            self.attempt(event)
        elif isinstance(event, Resumption):
            self.resume(event)
        elif isinstance(event, Disturbance):
            self.disturb(event)
        elif event.what != "start" or len(self.machine.processes) < MOST_PROCESSES:
            getattr(self.machine, event.what)()
        self.machine.pass_time(seconds)

    def attempt(self, event: Attempt) -> None:
        """In a process that runs; in a new one where none does."""
        machine = self.machine
        process = self.awake[event.pick % len(self.awake)] if self.awake else machine.start()
        if event.fault is not None:
            machine.fault(process, *event.fault)
        getattr(machine, event.work)(process)
        for call in [call for call in machine.calls if call.process is process]:
            self.answer(call, event.answer)
        if event.end == "freeze":
            machine.freeze(process)
        elif event.end == "kill":
            machine.kill(process)

    def resume(self, event: Resumption) -> None:
        """Something that waits goes on: a frozen process, a held statement, a request."""
        waiting: list[Process | Held | Call] = [*self.asleep, *self.machine.held, *self.machine.calls]
        found = waiting[event.pick % len(waiting)] if waiting else None
        if isinstance(found, Process):
            self.machine.wake(found)
        elif isinstance(found, Held):
            self.machine.release(found)
        elif found is not None:
            self.answer(found, event.answer)

    def disturb(self, event: Disturbance) -> None:
        """Something happens to a process, whatever it is doing."""
        processes = self.machine.processes
        if not processes:
            return
        process = processes[event.pick % len(processes)]
        if event.what == "kill":
            self.machine.kill(process)
        elif event.what == "freeze":
            self.machine.freeze(process)
        elif event.fault is not None:
            self.machine.fault(process, *event.fault)

    def answer(self, call: Call, answer: str) -> None:
        """What the provider, or the network, does with a request."""
        if answer == "deliver":
            self.machine.deliver(call)
        elif answer == "lose":
            self.machine.lose(call)
        elif answer != "none" and call.response is None:
            if answer == "commit":
                self.machine.commit(call)
            else:
                self.machine.refuse(call, 429 if answer == "refuse" else 503)

    @invariant()
    def promises_hold(self) -> None:
        self.machine.check()

    @property
    def awake(self) -> list[Process]:
        return [process for process in self.machine.processes if not process.frozen]

    @property
    def asleep(self) -> list[Process]:
        return [process for process in self.machine.processes if process.frozen]

    def teardown(self) -> None:
        try:
            self.machine.come_to_rest(kill=self.kill_rest)
            self.machine.check_at_rest()
        finally:
            self.machine.close()


@pytest.fixture(scope="module")
def template(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """One connection, to begin every example with."""
    return Template(tmp_path_factory.mktemp("protocol"), migrated_file)


@pytest.mark.timeout(0 if EXAMPLES else 300)
@pytest.mark.parametrize("mode", ["strict", "grace", "successor"])
def test_no_grant_is_lost_that_can_be_kept(template: Template, tmp_path: Path, mode: Mode) -> None:
    """Whatever happens in whatever order, the promises of `Machine.check` and `Machine.check_at_rest` hold."""
    numbers = itertools.count()

    class Explored(Protocol):
        def __init__(self) -> None:
            super().__init__(template, tmp_path / f"machine-{next(numbers)}", mode)

    run_state_machine_as_test(seed(SEED)(Explored) if EXAMPLES else Explored, settings=SETTINGS)
