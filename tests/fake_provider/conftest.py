"""The shipped provider, served on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.provider_client import ProviderClient, served_provider


@pytest.fixture
async def provider() -> AsyncIterator[ProviderClient]:
    """A provider in mode grace, under a prefix."""
    async with served_provider() as provider:
        yield provider
