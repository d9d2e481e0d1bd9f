"""Headless Chromium for what only a browser shows: redirects, cookies, policies, and how a page looks."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page, async_playwright

from tests.support.process import PartMissing

NAMES = ("chromium", "chromium-browser", "google-chrome")
# No GPU and no first-run pages; nothing that looks for the internet on its own.
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH, HEIGHT = 1280, 800


class ConsoleWatch:
    """The errors of a page so far: console errors, which include policy violations, and uncaught exceptions.

    `ignore` names pieces of text whose errors are expected; Chromium reports each page and resource answered
    with 4xx or 5xx as "Failed to load resource: the server responded with a status of 404".
    """

    def __init__(self, ignore: Sequence[str] = ()) -> None:
        self.errors: list[str] = []
        self._ignore = tuple(ignore)

    def assert_clean(self) -> None:
        """Fails the test when there was any error."""
        assert not self.errors, "the browser reported:\n" + "\n".join(self.errors)

    def heard(self, message: ConsoleMessage) -> None:
        """Keeps a console message if it is an error."""
        if message.type == "error":
            self._keep(f"{message.text} ({message.location.get('url', '')})")

    def thrown(self, error: Error) -> None:
        """Keeps an uncaught exception."""
        self._keep(str(error))

    def _keep(self, text: str) -> None:
        if not any(expected in text for expected in self._ignore):
            self.errors.append(text)


def watch_console(page: Page, *, ignore: Sequence[str] = ()) -> ConsoleWatch:
    """Collects the errors of `page` from now on; call it before the first `goto`."""
    watch = ConsoleWatch(ignore)
    page.on("console", watch.heard)
    page.on("pageerror", watch.thrown)
    return watch


def find_chromium() -> str:
    """The browser's path."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise PartMissing("Chromium is not installed: apt-get install chromium")


@asynccontextmanager
async def launched_chromium() -> AsyncIterator[Browser]:
    """A browser with a new, empty profile. It belongs to the event loop that launched it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(),
            args=list(FLAGS),
            # As root Chromium runs only without its sandbox.
            chromium_sandbox=os.geteuid() != 0,
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def browser_context(
    browser: Browser,
    *,
    base_url: str | None = None,
    javascript: bool = True,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> AsyncIterator[BrowserContext]:
    """One person's browser: its own cookies; one pixel a CSS pixel, British English, and UTC everywhere."""
    context = await browser.new_context(
        base_url=base_url,
        java_script_enabled=javascript,
        viewport={"width": width, "height": height},
        device_scale_factor=1,
        locale="en-GB",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    context.set_default_timeout(15_000)
    try:
        yield context
    finally:
        await context.close()


async def save_screenshot(page: Page, path: Path, *, full_page: bool = False) -> None:
    """Writes what the page shows as PNG, with animations finished and no blinking caret."""
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=path, full_page=full_page, animations="disabled", caret="hide", scale="css")
