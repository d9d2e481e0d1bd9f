"""A provider at an address that is not allowed: the operator must act, and no connection pays for it."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from grantkeeper.access import browser_caller
from grantkeeper.app import Application
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import MustAct, Status
from tests.support.world import BROWSER, World, settings_for

REFUSED = "127.0.0.1 is a loopback address; allow it with provider_networks"


def closed(world: World, directory: Path) -> Application:
    """A second process on the same database, whose operator allows no private address."""
    database, provider = world.services.settings.database, world.provider.issuer
    return Application(settings_for(directory, database, provider, provider_networks=[]), world.clock)


async def test_a_refresh_is_the_operators_to_mend(world: World, tmp_path: Path) -> None:
    """Refused, a refresh is not sent, condemns nothing and leaves nothing unsettled; allowed, it works."""
    connection = await world.connect()
    before = world.provider.counts["token"]
    async with closed(world, tmp_path).running() as services:
        await services.refresher.refresh_now(connection)
    stored = await world.stored(connection)
    assert (stored.status, stored.must_act, stored.failure) == (Status.FAILING, MustAct.OPERATOR, REFUSED)
    assert world.provider.counts["token"] == before
    rows = await world.services.database.fetch_all("SELECT uuid FROM connections WHERE unsettled_at IS NOT NULL")
    assert rows == []

    again = await world.services.refresher.refresh_now(stored)
    assert (again.status, again.generation, again.must_act) == (Status.ACTIVE, 2, MustAct.NOBODY)


async def test_a_person_who_connects_is_sent_to_the_operator(world: World, tmp_path: Path) -> None:
    """The page says that nothing was connected, and who can mend it; the code is not sent."""
    async with closed(world, tmp_path).running() as services:
        url = await services.authorizations.start(browser_caller(world.login), "demo", BROWSER, None, None)
        callback = world.provider.approve(url)
        query = list(httpx2.URL(callback).params.multi_items())
        with pytest.raises(AuthorizationFailed, match="the person who runs this service") as failure:
            await services.authorizations.complete("demo", query, BROWSER, "test")
    assert failure.value.reason == "address_refused"
    assert world.provider.counts["token"] == 0
