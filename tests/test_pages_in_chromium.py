"""The pages in a real browser, with scripts off: the whole flow, the policy, and narrow screens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from playwright.async_api import Page

from grantkeeper.testing import FakeClient
from grantkeeper.testing.asgi import ASGIApp
from grantkeeper.testing.server import ProviderServer
from tests.support.chromium import browser_context, launched_chromium, watch_console
from tests.support.world import CLIENT_ID, CLIENT_SECRET, EMAIL, PASSWORD, World, open_world

pytestmark = pytest.mark.browser
PHONE = 360


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[str, World, ProviderServer]]:
    """The product at an address of its own, the provider at another, and a third for an application."""
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with ProviderServer() as server, ProviderServer(_application) as application:
        origins = [application.url]
        async with open_world(tmp_path, database, public_url=server.url, redirect_origins=origins) as world:
            callback = f"{server.url}/oauth/demo/callback"
            world.provider.register(
                FakeClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uris=(callback,))
            )
            server.app = cast(ASGIApp, world.application)
            yield server.url, world, application


async def test_connect_rename_reconnect_disconnect(site: tuple[str, World, ProviderServer]) -> None:
    """Sign in on the way to the provider, connect, rename, reconnect, disconnect; the policy blocks nothing."""
    url, _, _ = site
    async with launched_chromium() as browser, browser_context(browser, base_url=url, javascript=False) as context:
        page = await context.new_page()
        watch = watch_console(page)
        await page.goto("/oauth/demo/authorize")
        await _sign_in(page)
        await page.get_by_role("button", name="Allow").click()
        await page.get_by_role("status").get_by_text("“My Demo Provider Account 1” is connected.").wait_for()

        await page.get_by_label("Label", exact=True).fill("Ada's books")
        await page.keyboard.press("Enter")
        await page.get_by_text("Renamed to “Ada's books”.").wait_for()
        await page.get_by_label("Label", exact=True).fill("Ada's own books")
        await page.get_by_role("button", name="Save the label").click()
        await page.get_by_text("Renamed to “Ada's own books”.").wait_for()

        await page.get_by_role("link", name="Reconnect").click()
        await page.get_by_role("button", name="Allow").click()
        await page.get_by_text("“Ada's own books” is connected again.").wait_for()

        await page.get_by_role("link", name="Disconnect").click()
        await page.get_by_role("button", name="Disconnect").click()
        await page.get_by_text("Nothing is connected yet").wait_for()
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_text("You are signed out.").wait_for()
        watch.assert_clean()


async def test_keeping_a_grant_leads_on_to_the_application(site: tuple[str, World, ProviderServer]) -> None:
    """A form of ours may end at another site: no redirect follows it that the policy would have to allow."""
    url, world, application = site
    connection = await world.connect()
    async with launched_chromium() as browser, browser_context(browser, base_url=url, javascript=False) as context:
        page = await context.new_page()
        begin = f"/oauth/demo/authorize/{connection.uuid}"
        await page.goto(str(httpx2.URL(begin, params={"redirect_to": f"{application.url}/back"})))
        await _sign_in(page)
        await page.get_by_label("Grace Hopper").check()
        await page.get_by_role("button", name="Allow").click()
        await page.get_by_role("button", name="Keep it as a new connection").click()
        await page.get_by_text("Back at the application").wait_for()
        assert page.url.startswith(f"{application.url}/back?connection=")


async def test_narrow_screens(site: tuple[str, World, ProviderServer]) -> None:
    """On a phone no page is wider than the screen, with the longest label too."""
    url, world, _ = site
    connection = await world.connect()
    await world.client.put(f"/api/v1/oauth/connections/{connection.uuid}", json={"label": "W" * 255})
    async with launched_chromium() as browser, browser_context(browser, base_url=url, width=PHONE) as context:
        page = await context.new_page()
        await page.goto("/sign-in")
        assert await _width(page) <= PHONE
        await _sign_in(page)
        await page.get_by_role("link", name="Disconnect").wait_for()
        for path in ("/connections", "/connect", f"/connections/{connection.uuid}/disconnect", "/nothing", "/api/docs"):
            await page.goto(path)
            assert await _width(page) <= PHONE, path


async def test_by_keyboard_alone(site: tuple[str, World, ProviderServer]) -> None:
    """Tab reaches the skip link first, and a label's Save button shows when its field has the focus."""
    url, world, _ = site
    await world.connect()
    async with launched_chromium() as browser, browser_context(browser, base_url=url) as context:
        page = await context.new_page()
        await page.goto("/sign-in")
        await _sign_in(page)
        await page.get_by_label("Label", exact=True).wait_for()
        await page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        assert await skip.evaluate("link => link === document.activeElement && link.getBoundingClientRect().top >= 0")
        save = page.get_by_role("button", name="Save the label")
        assert await save.evaluate("button => getComputedStyle(button).opacity") == "0"
        await page.get_by_label("Label", exact=True).focus()
        assert await save.evaluate("button => getComputedStyle(button).opacity") == "1"


async def _sign_in(page: Page) -> None:
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def _width(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth"))


async def _application(scope: object, receive: object, send: Any) -> None:
    """An application that has sent its user here, and gets them back."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<!doctype html><p>Back at the application</p>"})
