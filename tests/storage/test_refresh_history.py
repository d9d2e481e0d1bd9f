"""The history of refreshes, and when tokens were last read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from grantkeeper.errors import StorageError
from grantkeeper.model import MustAct, Refresh
from tests.storage.stores import NOW, Stores, seconds

LINE = Refresh(
    at=NOW,
    connection_uuid="c1",
    account_uuid="a1",
    provider="demo",
    outcome="failing",
    generation=3,
    owner="host:1:r",
    duration=1234,
    must_act=MustAct.OPERATOR,
    reason="Ünï 🦊",
)


def line(at: float = 0, **changes: Any) -> Refresh:
    """A line of history, so many seconds after NOW."""
    return msgspec.structs.replace(LINE, at=seconds(at), **changes)


async def test_history_comes_back_newest_first(stores: Stores) -> None:
    """Every field survives, lines of one instant in the order they were written; others' are not among them."""
    lines = [LINE, line(reason=None, must_act=MustAct.NOBODY, outcome="refreshed"), line(5), line(3)]
    await stores.refreshes.add_history(lines[:3])
    await stores.refreshes.add_history([line(connection_uuid="c2"), lines[3]])
    assert await stores.refreshes.history("c1", 10) == lines[::-1]
    assert await stores.refreshes.history("c1", 2) == [lines[3], lines[2]]
    assert await stores.refreshes.history("c3", 10) == []


async def test_history_is_written_as_a_whole(stores: Stores) -> None:
    """A line that no column takes keeps those beside it out too; no lines are nothing."""
    with pytest.raises(StorageError):
        await stores.refreshes.add_history([LINE, line(duration=2**64)])
    await stores.refreshes.add_history([])
    assert await stores.count("refreshes") == 0


async def test_old_history_is_forgotten(stores: Stores) -> None:
    """What was tried before, however it is spread over connections; what was tried then stays."""
    lines = [line(at, connection_uuid=f"c{at % 2}") for at in range(6)]
    await stores.refreshes.add_history(lines)
    await stores.refreshes.purge_history(seconds(4), most=2)
    left = [*await stores.refreshes.history("c0", 9), *await stores.refreshes.history("c1", 9)]
    assert left == [lines[4], lines[5]]


async def test_history_outlives_its_connection(stores: Stores) -> None:
    """It is bound to no row: a refresh that ends after a deletion is still told of."""
    await stores.refreshes.add_history([line(connection_uuid="gone")])
    assert len(await stores.refreshes.history("gone", 5)) == 1


async def test_when_tokens_were_last_read(stores: Stores) -> None:
    """Noted for many at once, never moved back, and nothing else moves; one that is gone is passed over."""
    one, two, three = [await stores.connect() for _ in range(3)]
    await stores.refreshes.touch({one.uuid: NOW + 5, two.uuid: NOW - 5, "gone": NOW})
    await stores.refreshes.touch({})
    held = [await stores.connections.get_with_tokens(row.account_uuid, row.uuid) for row in (one, two, three)]
    assert [(found.connection, found.used_at) for found in held if found] == [(one, NOW + 5), (two, NOW), (three, NOW)]
    assert (await stores.claimed(one)).used_at == NOW + 5
