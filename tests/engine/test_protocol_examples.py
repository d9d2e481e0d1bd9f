"""Interleavings that once broke a promise of the refresh protocol, each as short as it can be.

Found by thought, or by `test_protocol_properties.py`, which goes on looking.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grantkeeper.clock import SECOND
from grantkeeper.model import Status
from tests.engine.machine import Machine, Template
from tests.engine.simulated_process import Process


@pytest.fixture(scope="module")
def template(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """One connection, to begin every example with."""
    return Template(tmp_path_factory.mktemp("protocol"), migrated_file)


@pytest.fixture
def machine(template: Template, tmp_path: Path) -> Iterator[Machine]:
    """A machine whose provider forgives nothing."""
    machine = Machine(template, tmp_path / "machine", "strict")
    yield machine
    machine.close()


def frozen_behind_its_lease(machine: Machine, process: Process) -> None:
    """The provider has decided on that process's request, but the process stands still, and its lease is over."""
    machine.refresh(process)
    machine.commit(machine.calls[-1])
    machine.freeze(process)
    machine.pass_time(35)


def finish(machine: Machine, *, kill: bool = False) -> None:
    """Everything is heard out, then every promise must hold and the grant be there."""
    machine.come_to_rest(kill=kill)
    machine.check_at_rest()
    connection = machine.connection()
    assert connection is not None
    assert connection.status is Status.ACTIVE


def test_a_frozen_process_is_waited_for_also_after_a_crash_of_one_that_waited(machine: Machine) -> None:
    """A stands still with the answer; B waits for it, and is killed: C waits for A, not only for B."""
    a, b, c = machine.start(), machine.start(), machine.start()
    frozen_behind_its_lease(machine, a)
    machine.refresh(b)
    machine.kill(b)
    machine.pass_time(35)
    machine.refresh(c)
    machine.pass_time(1)
    machine.wake(a)
    finish(machine)


def test_a_frozen_process_is_waited_for_also_after_an_outage_met_one_that_waited(machine: Machine) -> None:
    """A stands still with the answer; B waits for it until the database fails: nor does B ask the second time."""
    a, b = machine.start(), machine.start()
    frozen_behind_its_lease(machine, a)
    machine.fault(b, "look", "fail before")
    machine.refresh(b)
    machine.pass_time(35)
    machine.refresh(b)
    machine.pass_time(1)
    machine.wake(a)
    finish(machine)


def test_what_is_stored_by_another_statement_ends_the_lease_too(machine: Machine) -> None:
    """A's own look into its journal after an outage stores the answer before A's attempt does: nobody waits for A."""
    a, b = machine.start(), machine.start()
    machine.refresh(a)
    machine.fault(a, "save", "fail before")
    machine.deliver(machine.calls[-1])
    machine.recover(a)
    machine.pass_time(35)
    assert machine.refreshed_by(b, within=5)
    finish(machine)


def test_nobody_waits_for_a_process_that_has_handed_over(machine: Machine) -> None:
    """A slept between its claim and its request, and asks nothing: B need not wait for an answer."""
    a, b = machine.start(), machine.start()
    machine.fault(a, "transaction", "hold after")
    machine.refresh(a)
    machine.freeze(a)
    machine.pass_time(35)
    machine.wake(a)
    machine.release(machine.held[-1])
    assert machine.refreshed_by(b, within=5)
    finish(machine)


def test_nobody_waits_for_a_process_that_hands_over_while_it_is_waited_for(machine: Machine) -> None:
    """The same, but B has taken the lease over already when A wakes."""
    a, b = machine.start(), machine.start()
    machine.fault(a, "transaction", "hold after")
    machine.refresh(a)
    machine.freeze(a)
    machine.pass_time(35)
    machine.refresh(b)
    machine.wake(a)
    machine.release(machine.held[-1])
    machine.pass_time(5)
    machine.answer_all()
    finish(machine)


def test_nobody_waits_for_a_process_whose_claim_it_never_heard_of(machine: Machine) -> None:
    """The database has A's claim, but A was told of an outage: when the lease is over, B asks."""
    a, b = machine.start(), machine.start()
    machine.fault(a, "transaction", "fail after")
    machine.refresh(a)
    machine.pass_time(35)
    assert machine.refreshed_by(b, within=5)
    finish(machine)


def test_a_late_refusal_says_that_nothing_more_will_come(machine: Machine) -> None:
    """A's request was refused for now, which it hears after its lease: B, who waits for it, asks then."""
    a, b = machine.start(), machine.start()
    machine.refresh(a)
    machine.freeze(a)
    machine.pass_time(35)
    machine.refresh(b)
    machine.calls[-1].response = None
    machine.refuse(machine.calls[-1], 429)
    machine.wake(a)
    machine.pass_time(5)
    assert [call.process for call in machine.calls] == [b]
    finish(machine)


def test_two_journals_wait_for_the_database_and_both_are_adopted(machine: Machine) -> None:
    """The database fails at the first of two dead processes' journals: the second is not held for ever."""
    dead = [machine.start(), machine.start()]
    for process in dead:
        assert machine.refreshed_by(process, within=1)
    heir = machine.start_without_upkeep()
    for process in dead:
        machine.kill(process)
    machine.fault(heir, "lapse", "fail before")
    machine.recover(heir)
    machine.recover(heir)
    assert not list((machine.directory / "journal").glob("machine%3a[12].*"))
    finish(machine)


def test_a_process_that_lost_its_lease_to_itself_keeps_the_new_one(machine: Machine) -> None:
    """A stood still past its lease, and its worker claims again while the request is out: that lease is renewed."""
    a = machine.start()
    machine.pass_time(60)
    machine.refresh(a)
    machine.freeze(a)
    machine.pass_time(35)
    machine.fault(a, "renew", "hold before")
    # It arrived just now.
    machine.calls[-1].sent_at = machine.clock.now() + 60 * SECOND
    machine.wake(a)
    machine.work(a)
    for held in machine.held.copy():
        machine.release(held)
    machine.pass_time(40)
    connection = machine.connection()
    assert connection is not None
    assert (connection.lease_expires_at or 0) > machine.clock.now()
    assert [call.process for call in machine.calls] == [a]
    finish(machine)


def test_a_request_that_outlived_every_patience_is_our_fault(machine: Machine) -> None:
    """A's request reaches the provider after B, out of patience, had its own answered: that ends the grant.

    Nobody could have known; but the user is not told that he ended it.
    """
    a, b = machine.start(), machine.start()
    machine.refresh(a)
    machine.freeze(a)
    machine.pass_time(35)
    machine.refresh(b)
    machine.pass_time(300)
    machine.deliver(machine.calls[-1])
    machine.commit(machine.calls[0])
    machine.wake(a)
    machine.come_to_rest(kill=False)
    machine.check_at_rest()
    connection = machine.connection()
    assert connection is not None
    assert connection.status is Status.NEEDS_REAUTHORIZATION


def test_the_lease_of_a_dead_process_ends_with_it(machine: Machine) -> None:
    """A was killed before anything was answered, so that its journal is empty: B does not wait its lease out."""
    a, b = machine.start(), machine.start()
    machine.refresh(a)
    machine.kill(a)
    assert machine.refreshed_by(b, within=5)
    finish(machine)
