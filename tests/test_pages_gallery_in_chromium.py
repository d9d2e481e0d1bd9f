"""The gallery in a real browser: four hundred providers, a search as one types, and the question that may follow."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from playwright.async_api import BrowserContext, Page, expect

from grantkeeper.testing.asgi import ASGIApp
from grantkeeper.testing.server import ProviderServer
from tests.support.chromium import ConsoleWatch, browser_context, launched_chromium, save_screenshot, watch_console
from tests.support.grants import open_grants
from tests.support.shelf import client_settings, write_definition
from tests.support.world import EMAIL, PASSWORD, World, open_world

pytestmark = pytest.mark.browser
PHONE, DESKTOP = 360, 1280
MANY = 400
CATEGORIES = ("accounting", "banking", "commerce", "crm", "email", "files", "hr", "marketing", "project", "storage")
SCOPES = """
[scopes]
default = ["read", "mail", "files", "all", "calendar", "https://example.com/auth/a-scope-with-a-long-name.readonly"]
[scopes.meaning]
read = "See the name of whoever signs in"
mail = "Read and send mail"
files = "See files"
all = "Everything else"
calendar = "See the calendar"
"""
ASKS = '[parameters.subdomain]\nlabel = "Subdomain"\nask = "connection"\n'


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred definitions."""
    folder, colours = tmp_path_factory.mktemp("shelf") / "providers", random.Random(5)
    for number in range(MANY):
        name = f"service-{number:03}"
        more = 'icon = "github"' if number % 3 == 0 else ""
        rest = SCOPES if number % 4 == 0 else ASKS if number == 7 else ""
        colour = f"#{colours.randrange(0x1000000):06x}"
        label = f"Service {number:03}" + (" of the City of Münster" if number % 10 == 0 else "")
        category = CATEGORIES[number % len(CATEGORIES)]
        write_definition(folder, name, label, category, colour=colour, more=more, rest=rest)
    asks = folder / "service-007.toml"
    asks.write_text(asks.read_text().replace("com/token", "com/{subdomain}/token"))
    return folder


@pytest.fixture
async def site(tmp_path: Path, shelf: Path) -> AsyncIterator[World]:
    """The product with all of them set up, at an address of its own."""
    clients = client_settings(file.stem for file in shelf.iterdir())
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    settings: dict[str, Any] = {"providers_dir": shelf, "clients": clients}
    async with (
        ProviderServer() as server,
        open_world(tmp_path, database, public_url=server.url, **settings) as world,
    ):
        server.app = cast(ASGIApp, world.application)
        yield world


@asynccontextmanager
async def at_the_gallery(world: World, **options: Any) -> AsyncIterator[tuple[BrowserContext, Page, ConsoleWatch]]:
    """A browser in which somebody is signed in, and looks at the gallery."""
    url = world.services.settings.public_url
    async with launched_chromium() as browser, browser_context(browser, base_url=url, **options) as context:
        page = await context.new_page()
        watch = watch_console(page, ignore=["status of 422"])
        await page.goto("/sign-in?next=/connect")
        await page.get_by_label("E-mail address").fill(EMAIL)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Connect a service").wait_for()
        yield context, page, watch


async def test_search_as_you_type(site: World) -> None:
    """Each letter narrows it; counts, headings and links follow; what was typed comes back with the page."""
    async with at_the_gallery(site) as (_, page, watch):
        field, told = page.get_by_label("Search by name or category"), page.get_by_role("status")
        await expect(page.get_by_role("button", name="Search")).to_be_hidden()
        await expect(told).to_have_text("400 services")
        await field.press_sequentially("munster 12")
        await expect(page.locator(".offer:visible")).to_have_count(1)
        await expect(told).to_have_text("1 of 400 services")
        await expect(page.get_by_role("heading", level=2)).to_have_text(["Accounting 1"])
        await expect(page.get_by_role("navigation", name="Categories").get_by_role("link")).to_have_count(1)
        await page.reload()
        await expect(field).to_have_value("munster 12")
        await expect(page.locator(".offer:visible")).to_have_count(1)
        await field.fill("human resources")
        await expect(page.locator(".offer:visible")).to_have_count(40)
        await field.fill("no such thing")
        await expect(page.get_by_text("No service here goes by that.")).to_be_visible()
        await field.fill("")
        await expect(page.get_by_text("No service here goes by that.")).to_be_hidden()
        await expect(told).to_have_text("400 services")
        assert page.url.endswith("/connect")
        watch.assert_clean()


async def test_by_keyboard_alone(site: World) -> None:
    """Tab reaches the field, Enter the first that was found, and Enter again its connection."""
    async with at_the_gallery(site) as (_, page, watch):
        await page.get_by_label("Search by name or category").focus()
        await page.keyboard.type("service 007")
        await expect(page.locator(".offer:visible")).to_have_count(1)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="Connect Service 007")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Subdomain")).to_be_focused()
        watch.assert_clean()


async def test_for_screen_readers(site: World) -> None:
    """A search landmark, categories as headings and as links that lead there, each provider a heading and a link."""
    async with at_the_gallery(site) as (_, page, watch):
        await expect(page.get_by_role("search")).to_be_visible()
        await expect(page.get_by_role("heading", level=2)).to_have_count(len(CATEGORIES))
        await expect(page.get_by_role("heading", level=3)).to_have_count(MANY)
        await expect(page.get_by_role("region", name="Human resources 40")).to_be_attached()
        await page.get_by_role("navigation", name="Categories").get_by_role("link", name="Storage").click()
        await expect(page.get_by_role("heading", name="Storage 40")).to_be_in_viewport()
        watch.assert_clean()


async def test_without_scripts(site: World) -> None:
    """Everything is listed, and the form does the search."""
    async with at_the_gallery(site, javascript=False) as (_, page, _watch):
        assert await page.locator(".offer:visible").count() == MANY
        await page.get_by_label("Search by name or category").fill("münster 12")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator(".offer:visible")).to_have_count(1)
        await expect(page.get_by_role("status")).to_have_text("1 of 400 services")


async def test_four_hundred_are_shown_at_once(site: World) -> None:
    """There in four seconds on a busy machine, a letter answered in half a second, banners only when near."""
    async with at_the_gallery(site) as (_, page, _watch):
        await page.goto("/connect")
        took = await page.evaluate(
            """() => ({
                loaded: performance.getEntriesByType('navigation')[0].loadEventEnd,
                banners: performance.getEntriesByType('resource').filter(one => one.name.includes('/imgs/')).length,
            })"""
        )
        assert took["loaded"] < 4000
        assert took["banners"] < 100
        typed = await page.evaluate(
            """() => {
                const field = document.getElementById('find'), began = performance.now();
                field.value = 'service-3';
                field.dispatchEvent(new Event('input'));
                document.body.getBoundingClientRect();
                return performance.now() - began;
            }"""
        )
        assert typed < 500
        assert await page.locator(".offer:visible").count() == 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_how_it_looks(site: World, tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    """On a phone nothing is wider than the screen; a picture of each is kept."""
    for width, device in ((PHONE, "phone"), (DESKTOP, "desktop")):
        async with at_the_gallery(site, width=width) as (_, page, _watch):
            await page.emulate_media(color_scheme=scheme)
            for name, search in (("all", ""), ("found", "00"), ("none", "nothing")):
                await page.goto(f"/connect?search={search}")
                assert await _width(page) <= width, (device, name)
                await save_screenshot(page, tmp_path / f"{device}-{scheme}-{name}.png")
            await page.goto("/oauth/service-007/authorize?subdomain=a%2Fb")
            assert await _width(page) <= width, device
            await save_screenshot(page, tmp_path / f"{device}-{scheme}-asked.png")


async def test_asked_and_connected(tmp_path: Path) -> None:
    """The form leads to the provider and back; the policy holds nothing up."""
    async with (
        ProviderServer() as server,
        open_grants(tmp_path, "shop", public_url=server.url) as world,
    ):
        server.app = cast(ASGIApp, world.application)
        async with at_the_gallery(world) as (_, page, watch):
            await page.get_by_role("link", name="Connect Shop").click()
            await page.get_by_label("Tenant").fill("not valid")
            await page.get_by_role("button", name="Continue").click()
            await expect(page.get_by_text("Say the Tenant of your account at Shop")).to_be_visible()
            await expect(page.get_by_label("Tenant")).to_be_focused()
            await page.get_by_label("Tenant").fill("acme")
            await page.get_by_label("Region").select_option("United States")
            await page.get_by_role("button", name="Continue").click()
            await page.get_by_role("button", name="Allow").click()
            await page.get_by_text("“My Shop Account 1” is connected.").wait_for()
            watch.assert_clean()


async def _width(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth"))
