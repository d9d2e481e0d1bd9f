"""The laboratory can fail: what it must not let pass, it does not."""

from __future__ import annotations

import pytest

from faults.ledger import Ledger, Spending
from faults.report import Row, percentile, table


def spend(ledger: Ledger, token: str, *, carried_out: bool = True, serial: int = 1) -> Spending:
    """One request with that refresh token, for which the provider gives the next one."""
    spending = ledger.arrived(serial, token)
    given = {"access_token": f"access {len(ledger.spendings)}", "refresh_token": f"{token}+", "expires_in": 5}
    ledger.carried_out(spending, spending.arrived, 200 if carried_out else 400, given if carried_out else {})
    return spending


@pytest.fixture
def ledger() -> Ledger:
    """A book with one connection whose first refresh token is `first`."""
    ledger = Ledger()
    ledger.adopt("first", "connection", "access", 0)
    return ledger


def test_a_refresh_token_that_comes_again_is_noticed(ledger: Ledger) -> None:
    """Spent once and presented again, by whichever process: that is a double spend."""
    earlier = spend(ledger, "first")
    later = spend(ledger, "first", carried_out=False, serial=2)
    assert ledger.presented_again() == [(earlier, later)]


def test_another_try_of_what_was_not_carried_out_is_none(ledger: Ledger) -> None:
    """A refresh token that the provider did not spend may come as often as it likes; so may its successors."""
    spend(ledger, "first", carried_out=False)
    spend(ledger, "first")
    spend(ledger, "first+")
    assert ledger.presented_again() == []


def test_every_token_of_a_connection_is_known_as_its_own(ledger: Ledger) -> None:
    """The family is followed from refresh to refresh."""
    spendings = [spend(ledger, token) for token in ("first", "first+", "first++")]
    assert ledger.by_family == {"connection": spendings}
    assert ledger.refreshes == 3


@pytest.mark.parametrize("column", ["lost", "unexplained", "double", "expired"])
def test_a_zero_that_is_none_fails_the_row(column: str) -> None:
    """Each of the columns that must be zero is looked at, and the table says so."""
    row = Row("case", "engine", "provider", "strict", 4, "1 kill")
    assert row.good
    setattr(row, column, 1)
    assert not row.good
    assert table([row]).count("**FAILED**") == 1


def test_a_row_that_broke_is_not_good() -> None:
    """Zeros that were never counted prove nothing."""
    row = Row("case", "engine", "provider", "strict", 4, "1 kill", broken=["a process ended"])
    assert not row.good
    assert "**a process ended**" in table([row])


def test_percentiles_are_values_that_were_measured() -> None:
    """The p99 of a hundred is the largest but none beyond it."""
    assert percentile(range(1, 101), 0.99) == 100
    assert percentile([7], 0.99) == 7
