"""Fixtures: worlds whose API answers are all held to the API's own description, and the log."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from grantkeeper import logs
from tests.api.description import ApiDescription
from tests.api.journal import Journal
from tests.support.world import World

_described: list[ApiDescription] = []


class _StandardError(io.StringIO):
    """Whatever standard error is at that moment: pytest puts another in its place for each test."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)


async def _hold_to_description(world: World) -> World:
    if not _described:
        document = await world.client.get("/api/v1/openapi.json")
        _described.append(ApiDescription(document.json()))
    world.client.event_hooks = {"response": [_described[0].check]}
    return world


@pytest.fixture
async def world(world: World) -> World:
    """The product on SQLite; every answer is compared with the API description."""
    return await _hold_to_description(world)


@pytest.fixture
async def either_world(either_world: World) -> World:
    """The product on either engine; every answer is compared with the API description."""
    return await _hold_to_description(either_world)


@pytest.fixture
def description(world: World) -> ApiDescription:
    """The API's description of itself."""
    return _described[0]


@pytest.fixture
def journal() -> Iterator[Journal]:
    """The log, read as the operator reads it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("debug", stream)
    yield Journal(stream)
    logs.configure("warning", _StandardError())
    root.handlers[:] = handlers
    root.setLevel(level)
