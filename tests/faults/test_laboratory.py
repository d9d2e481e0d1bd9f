"""A slice of `make faults`: real processes killed, frozen and cut off, and no grant lost that could be kept.

Each of these asserts zeros only. What they take depends on the machine, and they say nothing of it.
"""

from __future__ import annotations

import asyncio

import pytest

from faults import laboratory
from faults.laboratory import Lab
from faults.report import Row

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.postgres]


def assert_good(*rows: Row) -> None:
    """Nothing lost, nothing unexplained, nothing spent twice, and the cases themselves went well."""
    for row in rows:
        assert row.refreshes > 0, "nothing was refreshed: the case proves nothing"
        assert row.good, "\n".join(row.cells())


@pytest.mark.parametrize("mode", ["grace", "strict"])
async def test_killed_processes_lose_only_what_they_can_explain(lab: Lab, mode: str) -> None:
    """`kill -9` at random points of the refresh, on both databases: lost 0 where the provider has grace."""
    cases = (laboratory.kill(lab, engine, mode, kills=10, pool=20) for engine in laboratory.ENGINES)
    assert_good(*await asyncio.gather(*cases))


async def test_a_database_that_goes_away_loses_nothing(lab: Lab) -> None:
    """PostgreSQL restarted, killed, stopped for seconds, and failed over to a standby, at a strict provider."""
    cases = (laboratory.restart(lab, "strict"), laboratory.failover(lab, "asynchronous"))
    assert_good(*await asyncio.gather(*cases))


async def test_a_machine_on_its_worst_day_loses_nothing(lab: Lab) -> None:
    """Processes frozen past their lease, clocks six hours off, a full disk, at a strict provider."""
    cases = (
        laboratory.freeze(lab, "sqlite", "strict"),
        laboratory.jump(lab, "postgresql"),
        laboratory.fill(lab, "sqlite"),
    )
    assert_good(*await asyncio.gather(*cases))
