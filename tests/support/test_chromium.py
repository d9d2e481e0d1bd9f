"""The browser shows pages, reports their errors, and walks through a consent."""

import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.chromium import browser_context, launched_chromium, save_screenshot, watch_console
from tests.support.oidc_provider import AuthorizationRequest, OidcProvider, callback_parameters


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A browser."""
    async with launched_chromium() as browser:
        yield browser


PAGES = {
    "/": b"<!DOCTYPE html><title>Home</title><link rel=icon href='data:,'><h1>Hello</h1>",
    "/inline": b"<!DOCTYPE html><title>Before</title><link rel=icon href='data:,'>"
    b"<script>document.title = 'After'</script>",
    "/throws": b"<!DOCTYPE html><link rel=icon href='data:,'><script src=/throws.js></script>",
    "/throws.js": b"throw new Error('broken script')",
}


class Pages(BaseHTTPRequestHandler):
    """Four pages under a strict policy; anything else is 404."""

    def do_GET(self) -> None:
        body = PAGES.get(self.path.partition("?")[0])
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src data:")
        self.end_headers()
        self.wfile.write(body or b"<!DOCTYPE html><title>Not found</title>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """The URL of a server of `Pages`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.browser
async def test_chromium_shows_and_saves_a_page(chromium: Browser, tmp_path: Path) -> None:
    """A loopback page is shown at 1280x800, saved as a PNG of that size, and has nothing to complain of."""
    with serving() as url:
        async with browser_context(chromium, base_url=url) as context:
            page = await context.new_page()
            watch = watch_console(page)
            await page.goto("/")
            assert await page.locator("h1").inner_text() == "Hello"
            watch.assert_clean()
            await save_screenshot(page, tmp_path / "images" / "hello.png")
    png = (tmp_path / "images" / "hello.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (1280, 800)


@pytest.mark.browser
async def test_chromium_reports_policy_violations_exceptions_and_missing_pages(chromium: Browser) -> None:
    """What the console says fails the test, unless it was expected."""
    with serving() as url:
        async with browser_context(chromium, base_url=url) as context:
            page = await context.new_page()
            watch = watch_console(page)
            calm = watch_console(page, ignore=["Content Security Policy", "broken script", "404"])
            for path in ("/inline", "/throws", "/missing"):
                await page.goto(path)
            assert await page.title() != "After"
    told = "\n".join(watch.errors)
    assert "Content Security Policy" in told
    assert "broken script" in told
    assert "404" in told
    with pytest.raises(AssertionError, match="the browser reported"):
        watch.assert_clean()
    calm.assert_clean()


@pytest.mark.browser
async def test_chromium_runs_without_javascript(chromium: Browser) -> None:
    """With scripts off a page's own script does nothing."""
    async with browser_context(chromium, javascript=False) as context:
        page = await context.new_page()
        await page.goto("data:text/html,<title>Before</title><script>document.title='After'</script>")
        assert await page.title() == "Before"


@pytest.mark.browser
@pytest.mark.interop
async def test_chromium_consents_at_the_provider(chromium: Browser) -> None:
    """A browser logs in, allows, and lands on the callback with a code; a second time it need not log in."""
    with serving() as url, OidcProvider([f"{url}/"]) as provider:
        async with browser_context(chromium) as context:
            page = await context.new_page()
            watch = watch_console(page)
            for _ in range(2):
                request = AuthorizationRequest(provider, f"{url}/")
                await page.goto(request.url)
                await provider.consent_in_browser(page)
                got = callback_parameters(page.url)
                assert (got["state"], "code" in got) == (request.state, True)
            watch.assert_clean()
