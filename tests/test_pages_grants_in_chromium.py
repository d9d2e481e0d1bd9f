"""The pages of the grants without a browser at the provider, in a real browser with scripts off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import pytest
from playwright.async_api import Page, expect

from grantkeeper.access import browser_caller
from grantkeeper.clock import SystemClock
from grantkeeper.testing.asgi import ASGIApp
from grantkeeper.testing.server import ProviderServer
from tests.support.chromium import browser_context, launched_chromium, save_screenshot, watch_console
from tests.support.grants import open_grants
from tests.support.world import EMAIL, PASSWORD, World

pytestmark = pytest.mark.browser
PHONE = 360

# A code as long as any that is shown, and an address longer than a phone is wide.
_LONG = msgspec.json.encode(
    {
        "device_code": "d",
        "user_code": "WDJB-MJHT-WDJB-MJHT-WDJB-MJHT-WDJB-MJHT",
        "verification_uri": "https://identity.a-rather-long-name-of-a-provider.example.com/realms/everybody/device",
        "verification_uri_complete": "https://identity.example.com/device?user_code=" + "W" * 400,
        "expires_in": 1800,
        "interval": 60,
    }
)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[World]:
    """The product at an address of its own; its clock is the machine's, and codes are polled every second."""
    names = ("telly", "robot", "desk", "swap")
    async with (
        ProviderServer() as server,
        open_grants(tmp_path, *names, public_url=server.url, clock=SystemClock()) as world,
    ):
        world.provider.features.device_interval = 1
        server.app = cast(ASGIApp, world.application)
        yield world


async def test_a_code_is_typed_in_elsewhere(site: World) -> None:
    """The page opens the provider's beside itself, and goes on by itself once somebody has agreed there."""
    async with (
        launched_chromium() as browser,
        browser_context(browser, base_url=site.services.settings.public_url, javascript=False) as context,
    ):
        page = await context.new_page()
        watch = watch_console(page)
        await page.goto("/oauth/telly/authorize")
        await _sign_in(page)
        await page.get_by_text("Leave this page open").wait_for()
        code = await page.get_by_role("status", name="Code").inner_text()
        async with context.expect_page() as opened:
            await page.get_by_role("link", name="Open it with the code filled in").click()
        elsewhere = await opened.value
        await expect(elsewhere.get_by_text(code).or_(elsewhere.locator(f"[value='{code}']")).first).to_be_attached()
        await elsewhere.get_by_role("button", name="Allow").click()
        await page.get_by_text("“My Telly Account 1” is connected.").wait_for()
        await page.get_by_text("Ada Lovelace").wait_for()
        watch.assert_clean()


async def test_without_a_person(site: World) -> None:
    """Asked first, an error on the page keeps what was typed, and then it is connected; the policy blocks nothing."""
    async with (
        launched_chromium() as browser,
        browser_context(browser, base_url=site.services.settings.public_url, javascript=False) as context,
    ):
        page = await context.new_page()
        watch = watch_console(page, ignore=["status of 502"])
        await page.goto("/connect")
        await _sign_in(page)
        await page.get_by_role("link", name="Connect Desk").click()
        await page.get_by_label("For whom").fill("grace@example.com")
        site.provider.fail_next(status=503)
        await page.get_by_role("button", name="Connect").click()
        await page.get_by_role("alert").get_by_text("Desk is not answering").wait_for()
        assert await page.get_by_label("For whom").input_value() == "grace@example.com"
        await page.get_by_role("button", name="Connect").click()
        await page.get_by_text("“My Desk Account 1” is connected.").wait_for()
        await page.get_by_text("grace@example.com").wait_for()
        watch.assert_clean()


async def test_connected_one_after_the_other(site: World) -> None:
    """What lives on another connection's access leads there first, and comes back with it chosen."""
    async with (
        launched_chromium() as browser,
        browser_context(browser, base_url=site.services.settings.public_url, javascript=False) as context,
    ):
        page = await context.new_page()
        watch = watch_console(page)
        await page.goto("/oauth/swap/authorize")
        await _sign_in(page)
        await page.get_by_role("link", name="Connect Demo Provider first").click()
        await page.get_by_role("button", name="Allow").click()
        chosen = page.get_by_label("The connection whose access is used")
        await chosen.wait_for()
        assert "My Demo Provider Account 1 (Ada Lovelace)" in await chosen.inner_text()
        await page.get_by_role("button", name="Connect").click()
        await page.get_by_text("“My Swap Account 1” is connected.").wait_for()
        watch.assert_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_how_they_look(site: World, tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    """On a phone nothing is wider than the screen, with the longest codes and labels; a picture of each is kept."""
    await _fill(site)
    uuid = await _robot(site)
    paths = {
        "gallery": "/connect",
        "device": "/oauth/telly/authorize",
        "client-credentials": "/oauth/robot/authorize",
        "reconnect": f"/oauth/robot/authorize/{uuid}",
        "subject": "/oauth/desk/authorize",
        "exchange": "/oauth/swap/authorize",
        "connections": "/connections",
        "disconnect": f"/connections/{uuid}/disconnect",
    }
    async with launched_chromium() as browser:
        for width, device in ((PHONE, "phone"), (1280, "desktop")):
            url = site.services.settings.public_url
            async with browser_context(browser, base_url=url, width=width) as context:
                page = await context.new_page()
                await page.emulate_media(color_scheme=scheme)
                await page.goto("/connect")
                await _sign_in(page)
                await page.get_by_role("heading", name="Connect a service").wait_for()
                for name, path in paths.items():
                    await page.goto(path)
                    assert await _width(page) <= width, (device, name)
                    await save_screenshot(page, tmp_path / f"{device}-{scheme}-{name}.png", full_page=True)
                site.provider.answer_with(_LONG, endpoint="device_authorization")
                await page.goto("/oauth/telly/authorize")
                assert await _width(page) <= width, device
                await save_screenshot(page, tmp_path / f"{device}-{scheme}-long-code.png", full_page=True)


async def _fill(world: World) -> None:
    """Connections to choose from, one with the longest label."""
    connection = await world.connect()
    await world.connect(subject="grace-hopper")
    await world.client.put(f"/api/v1/oauth/connections/{connection.uuid}", json={"label": "W" * 255})


async def _robot(world: World) -> str:
    """A connection without a person that was allowed less than was asked for."""
    world.provider.policy.override["scope"] = "profile"
    caller = browser_caller(world.login)
    completed = await world.services.authorizations.connect_directly(caller, "robot", "test")
    return completed.connection.uuid


async def _sign_in(page: Page) -> None:
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def _width(page: Page) -> Any:
    return await page.evaluate("document.documentElement.scrollWidth")
