"""The laboratory in small: its parent process and its servers once for all of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from faults.laboratory import Lab

SCALE = 0.02
"""Of the counts and times of `make faults`."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab() -> AsyncIterator[Lab]:
    """A laboratory whose cases are short."""
    async with Lab(seed=1, scale=SCALE) as lab:
        yield lab
