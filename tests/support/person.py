"""Somebody at a browser without JavaScript: opens pages, fills in forms, consents at the provider."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx2

from tests.support.world import EMAIL, PASSWORD, World, http_client

SESSION = "gk_session"
BROWSER_COOKIE = "gk_browser"


class Page(HTMLParser):
    """What a page shows: its text, its links' words by their address, its forms' fields by their action."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self.links: dict[str, list[str]] = {}
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._form: dict[str, str] = {}
        self._link: str | None = None
        self._words: list[str] = []
        self.feed(response.text)
        self.close()

    @property
    def text(self) -> str:
        """The words, without markup, each space one."""
        return re.sub(r"\s+", " ", "".join(self._words)).strip()

    def link(self, words: str) -> str:
        """Where the link with these words leads."""
        return next(address for address, links in self.links.items() if words in links)

    def tagged(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of every such tag that has these among them."""
        return [has for name, has in self.tags if name == tag and attributes.items() <= has.items()]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag, and what a form or a link is made of."""
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "form":
            self._form = self.forms[attributes["action"]] = {}
        elif tag == "input" and "name" in attributes:
            self._form[attributes["name"]] = attributes.get("value", "")
        elif tag == "a":
            self._link = attributes.get("href", "")
            self.links.setdefault(self._link, []).append("")
        elif tag in ("p", "li", "h1", "h2", "td", "th", "option", "div"):
            self._words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """A link's words end."""
        if tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        """Words of the page, perhaps of a link."""
        self._words.append(data)
        if self._link is not None:
            words = self.links[self._link]
            words[-1] = " ".join(f"{words[-1]} {data}".split())


class Person:
    """One browser. `response` and `page` are what it shows now; redirects are followed by `follow` only."""

    def __init__(self, world: World, http: httpx2.AsyncClient) -> None:
        self.world = world
        self.http = http
        self.response = httpx2.Response(204)

    @property
    def page(self) -> Page:
        """The page shown now."""
        return Page(self.response)

    @property
    def location(self) -> str:
        """Where the answer sends the browser."""
        assert self.response.status_code == 303, (self.response.status_code, self.page.text)
        return self.response.headers["location"]

    async def open(self, address: str) -> Page:
        """Open an address of ours."""
        parts = urlsplit(address)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.response = await self.http.get(path)
        return self.page

    async def follow(self) -> Page:
        """Go where the answer sends the browser, within our own pages."""
        assert self.location.startswith("/")
        return await self.open(self.location)

    async def submit(self, action: str, **fields: str) -> Page:
        """Send a form of the page, with some fields changed."""
        form = self.page.forms[action] | fields
        self.response = await self.http.post(action, data=form)
        return self.page

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD, onward: str = "/connections") -> Page:
        """Sign in through the form."""
        await self.open(str(httpx2.URL("/sign-in", params={"next": onward})))
        return await self.submit("/sign-in", email=email, password=password)

    async def leave(self, path: str = "/oauth/demo/authorize") -> str:
        """Begin an authorization; the address at the provider."""
        await self.open(path)
        return self.location

    async def authorize(self, path: str = "/oauth/demo/authorize", subject: str = "ada-lovelace") -> Page:
        """Begin an authorization, allow it, and come back to the callback."""
        return await self.open(self.world.provider.approve(await self.leave(path), subject=subject))

    async def connect(self, subject: str = "ada-lovelace") -> str:
        """A new connection's UUID; the list is shown."""
        await self.authorize(subject=subject)
        uuid = httpx2.URL(self.location).params["connection"]
        await self.follow()
        return uuid


@asynccontextmanager
async def somebody(world: World) -> AsyncIterator[Person]:
    """A new browser with no cookies."""
    async with http_client(world.application) as http:
        yield Person(world, http)
