"""Fixtures: a server on loopback, a root keyset, a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantkeeper.crypto import RootKeyset, create_root_keyset
from grantkeeper.testing import FakeClock
from grantkeeper.testing.server import ProviderServer
from tests.discovery.servers import Server


@pytest.fixture
def root_text(tmp_path: Path) -> str:
    """A root keyset, as its file holds it."""
    create_root_keyset(tmp_path / "keys" / "root-keyset.json")
    return (tmp_path / "keys" / "root-keyset.json").read_text("utf-8")


@pytest.fixture
def root(root_text: str) -> RootKeyset:
    """A root keyset."""
    return RootKeyset.parse(root_text, "test")


@pytest.fixture
def clock() -> FakeClock:
    """A clock that a test advances."""
    return FakeClock()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that says what it is, on loopback."""
    async with ProviderServer() as loopback:
        server = Server(loopback.url)
        loopback.app = server
        yield server
