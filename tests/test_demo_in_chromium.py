"""The newcomer's way: `grantkeeper demo`, a browser, the printed token. Keeps the README's pictures current.

With UPDATE_IMAGES=1 in the environment the screenshots go to docs/images/.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from playwright.async_api import Page

from tests.support.chromium import browser_context, launched_chromium, save_screenshot, watch_console
from tests.support.process import grantkeeper

pytestmark = pytest.mark.browser
IMAGES = Path(__file__).parent.parent / "docs" / "images"


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """What a real `grantkeeper demo --json` printed; it serves until the test ends."""
    arguments = ("demo", "--json", "--port", "0", "--data-dir", str(tmp_path / "data"))
    with grantkeeper(*arguments, directory=tmp_path, name="demo") as process:
        await asyncio.to_thread(process.wait_for_line, r'^\{"url"')
        printed: dict[str, Any] = msgspec.json.decode(process.stdout)
        yield printed


async def test_the_main_job_in_a_browser_and_by_the_api(demo: dict[str, Any], tmp_path: Path) -> None:
    """Sign in, connect, rename, reconnect, disconnect in Chromium, with the same seen through the API meanwhile."""
    headers = {"authorization": f"Bearer {demo['token']}"}
    async with (
        httpx2.AsyncClient(base_url=demo["url"], headers=headers) as api,
        launched_chromium() as browser,
        browser_context(browser, base_url=demo["url"]) as context,
    ):
        page = await context.new_page()
        watch = watch_console(page)
        await page.goto("/")
        await _shoot(page, tmp_path, "sign-in")
        await page.get_by_label("E-mail").fill(demo["email"])
        await page.get_by_label("Password").fill(demo["password"])
        await page.get_by_role("button", name="Sign in").click()

        await _connect(page, tmp_path)
        (connection,) = (await api.get("/api/v1/oauth/connections")).json()["data"]
        assert connection["label"] == "My Demo Provider Account 1"
        await page.get_by_label("Label", exact=True).fill("Client money, Ada")
        await page.get_by_role("button", name="Save the label").click()
        await page.get_by_text("Renamed to “Client money, Ada”.").wait_for()
        await page.goto("/connect")
        await _connect(page, tmp_path, person="Grace Hopper")
        await _shoot(page, tmp_path, "connections")

        one = f"/api/v1/oauth/connections/{connection['uuid']}"
        before = (await api.get(f"{one}/token")).json()
        await page.goto(connection["refresh_authorization_url"])
        await page.get_by_role("button", name="Allow").click()
        await page.get_by_text("“Client money, Ada” is connected again.").wait_for()
        after = (await api.get(f"{one}/token")).json()
        assert after["access_token"] != before["access_token"]

        await page.goto(f"/connections/{connection['uuid']}/disconnect")
        await _shoot(page, tmp_path, "disconnect")
        await page.get_by_role("button", name="Disconnect").click()
        await page.get_by_role("status").get_by_text("The connection was disconnected.").wait_for()
        assert (await api.get(one)).status_code == 404
        assert len((await api.get("/api/v1/oauth/connections")).json()["data"]) == 1
        watch.assert_clean()


async def _connect(page: Page, folder: Path, person: str = "Ada Lovelace") -> None:
    """Through the gallery and the demo provider's consent page."""
    if "/connect" not in page.url or "/connections" in page.url:
        await page.goto("/connect")
    if person == "Ada Lovelace":
        await _shoot(page, folder, "connect")
    await page.get_by_role("link", name="Connect Demo Provider").click()
    await page.get_by_label(person).check()
    if person == "Ada Lovelace":
        await _shoot(page, folder, "consent")
    await page.get_by_role("button", name="Allow").click()
    await page.get_by_role("status").get_by_text("is connected.").wait_for()


async def _shoot(page: Page, folder: Path, name: str) -> None:
    file = folder / f"{name}.png"
    await save_screenshot(page, file)
    if os.environ.get("UPDATE_IMAGES"):
        IMAGES.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, IMAGES / file.name)
