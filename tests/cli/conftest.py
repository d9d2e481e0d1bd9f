"""An installation, and a running product that commands work beside."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantkeeper.clock import SystemClock
from tests.support.command_line import Installation
from tests.support.world import EMAIL, World, open_world


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation as `init` leaves it, to be copied."""
    made = Installation(tmp_path_factory.mktemp("template") / "data")
    made.run("init", "--email", EMAIL)
    return made.directory


@pytest.fixture
def installed(tmp_path: Path, template: Path) -> Installation:
    """A fresh installation."""
    shutil.copytree(template, tmp_path / "data")
    return Installation(tmp_path / "data")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A running product whose clock is the machine's."""
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, clock=SystemClock()) as world:
        yield world
