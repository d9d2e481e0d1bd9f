"""A keyring over SQLite, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantkeeper.crypto import RootKeyset, create_root_keyset
from grantkeeper.testing import FakeClock
from tests.keys.rings import Ring, open_ring


@pytest.fixture
def root(tmp_path: Path) -> RootKeyset:
    """A root keyset."""
    create_root_keyset(tmp_path / "root-keyset.json")
    return RootKeyset.parse((tmp_path / "root-keyset.json").read_text("utf-8"), "test")


@pytest.fixture
async def ring(sqlite_url: str, root: RootKeyset) -> AsyncIterator[Ring]:
    """A keyring without keys."""
    async with open_ring(sqlite_url, root, FakeClock()) as ring:
        yield ring
