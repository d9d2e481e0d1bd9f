"""The gallery: categories, searching without a script, and what each provider will ask for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from grantkeeper.web.gallery import FEW, heading, plain
from tests.support.person import Page, Person, somebody
from tests.support.shelf import client_settings, write_definition
from tests.support.world import open_world

ASKS = """
[parameters.subdomain]
label = "Subdomain"
ask = "connection"
[parameters.region]
label = "Region"
choices = { eu = "Europe" }
ask = "connection"
[parameters.plan]
label = "Plan"
default = "all"
"""
SCOPES = """
[scopes]
default = ["a", "b", "c", "d", "e", "https://example.com/auth/odd"]
[scopes.meaning]
a = "See the first"
b = "See the second"
c = "See the third"
d = "See the fourth"
e = "See the fifth"
"""
MANY = {
    "acme-books": ("Acme Books", "accounting", "finance"),
    "zoo-books": ("Zoo Books", "accounting"),
    "cafe": ("Café Münster", "commerce"),
    "people": ("People First", "hr"),
    "leads": ("Leads & Sons", "crm"),
    "quick-sums": ("QuickSums", "accounting"),
    "mail-one": ("Mail One", "email"),
    "mail-two": ("Mail Two", "email"),
    "bank": ("Bank", "banking"),
    "advice": ("<b>Advice</b>", "advice"),
}


@asynccontextmanager
async def gallery(folder: Path, names: int = len(MANY)) -> AsyncIterator[Person]:
    """Somebody who is signed in where so many providers are set up."""
    chosen = list(MANY)[:names]
    for name in chosen:
        label, *categories = MANY[name]
        rest = {"bank": ASKS, "leads": SCOPES}.get(name, "")
        write_definition(folder / "providers", name, label, *categories, rest=rest)
    if "bank" in chosen:
        file = folder / "providers" / "bank.toml"
        file.write_text(file.read_text().replace("com/token", "com/{subdomain}/{region}/{plan}/token"))
    database = f"sqlite:///{folder / 'grantkeeper.sqlite3'}"
    settings: dict[str, Any] = {"providers_dir": folder / "providers", "clients": client_settings(chosen)}
    async with open_world(folder, database, **settings) as world, somebody(world) as person:
        await person.sign_in()
        yield person


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    """Somebody at a gallery in which one searches."""
    async with gallery(tmp_path) as person:
        yield person


def shown(page: Page) -> list[str]:
    """What can be seen, by what it is searched by; all of a group that is hidden is."""
    return [card["data-searched"] for card in page.tagged("li", **{"class": "card offer"}) if "hidden" not in card]


async def search(person: Person, words: str) -> Page:
    """The gallery as a search leaves it."""
    return await person.open(str(httpx2.URL("/connect", params={"search": words})))


class TestCategories:
    """Groups of providers."""

    async def test_headings(self, person: Person) -> None:
        """By the first category of each, in the order of the words, with how many; providers by label in each."""
        page = await person.open("/connect")
        sections = page.tagged("section", **{"class": "category"})
        assert [section["id"].removeprefix("category-") for section in sections] == [
            "accounting",
            "advice",
            "banking",
            "commerce",
            "crm",
            "email",
            "hr",
        ]
        assert "Accounting 3" in page.text
        assert "Human resources 1" in page.text
        assert len(page.tagged("h2")) == len(sections)
        assert len(page.tagged("h3")) == len(MANY)
        assert [words.split()[0] for words in shown(page)[:3]] == ["acme", "quicksums", "zoo"]

    async def test_links_to_them(self, person: Person) -> None:
        """A list of the categories leads to each heading."""
        page = await person.open("/connect")
        for section in page.tagged("section"):
            assert f"#{section['id']}" in page.links
            assert page.tagged("h2", id=section["aria-labelledby"])

    @pytest.mark.parametrize(("slug", "words"), [("crm", "CRM"), ("open-banking", "Open banking"), ("x", "X")])
    def test_words(self, slug: str, words: str) -> None:
        """What people call a category."""
        assert heading(slug) == words

    async def test_few(self, tmp_path: Path) -> None:
        """Among a handful there is nothing to search: no field, no script, but headings."""
        async with gallery(tmp_path, FEW) as person:
            page = await person.open("/connect")
            assert not page.tagged("script")
            assert not page.tagged("form", role="search")
            assert "Accounting 3" in page.text


class TestSearching:
    """Without a script: the form asks the server."""

    async def test_the_form(self, person: Person) -> None:
        """A labelled field and a button, sent by GET; how many there are is announced."""
        page = await person.open("/connect")
        [form] = page.tagged("form", role="search")
        assert (form["action"], "method" in form) == ("/connect", False)
        [field] = page.tagged("input", type="search")
        assert field["id"] in {label["for"] for label in page.tagged("label")}
        assert page.tagged("p", id="found", role="status")
        assert "10 services" in page.text
        [script] = page.tagged("script")
        assert re.fullmatch(r"/static/gallery\.js\?v=[0-9a-f]{12}", script["src"])
        answer = await person.http.get(script["src"])
        assert answer.headers["content-type"].startswith("text/javascript")

    @pytest.mark.parametrize(
        ("words", "names"),
        [
            ("acme", ["acme-books"]),
            ("  BOOKS zoo ", ["zoo-books"]),
            ("mail-two", ["mail-two"]),
            ("accounting", ["acme-books", "quick-sums", "zoo-books"]),
            ("finance", ["acme-books"]),
            ("human", ["people"]),
            ("hr", ["people"]),
            ("cafe munster", ["cafe"]),
            ("CAFÉ", ["cafe"]),
            ("quick sums", ["quick-sums"]),
            ("& sons", ["leads"]),
            ("<b>", ["advice"]),
        ],
    )
    async def test_found(self, person: Person, words: str, names: list[str]) -> None:
        """Every word in name, label or any category, accents and capitals aside; what was typed stays."""
        page = await search(person, words)
        assert [f" {name} " in f" {found} " for name, found in zip(names, shown(page), strict=True)] == [True] * len(
            names
        )
        assert f"{len(names)} of 10 services" in page.text
        assert page.tagged("input", type="search", value=words)
        open_ = [section for section in page.tagged("section") if "hidden" not in section]
        assert 1 <= len(open_) <= len(names)
        assert "hidden" in page.tagged("p", id="none")[0]

    @pytest.mark.parametrize("words", ["nothing-like-it", "acme zoo", "x" * 1000, "{{ 7 * 7 }}", '"><script>'])
    async def test_nothing_found(self, person: Person, words: str) -> None:
        """It says so, and leads back to all."""
        page = await search(person, words)
        assert shown(page) == []
        assert "0 of 10 services" in page.text
        assert "hidden" not in page.tagged("p", id="none")[0]
        assert page.link("Show all") == "/connect"
        assert len(page.tagged("script")) == 1

    @pytest.mark.parametrize("words", ["", "   "])
    async def test_searching_for_nothing(self, person: Person, words: str) -> None:
        """Everything is listed."""
        assert len(shown(await search(person, words))) == len(MANY)

    @pytest.mark.parametrize(
        ("text", "words"), [("Café", "cafe"), ("ﬁt", "fit"), ("\uff37ide", "wide"), ("a\u0301", "a")]
    )
    def test_plain(self, text: str, words: str) -> None:
        """Letters that look alike are alike."""
        assert plain(text) == words


class TestCards:
    """What a provider will ask for."""

    async def test_values_of_the_connection(self, person: Person) -> None:
        """What the user is asked, by its label; not what the operator has said."""
        page = await person.open("/connect")
        assert "Asks you for: Subdomain, Region" in page.text
        assert page.text.count("Asks you for") == 1

    async def test_many_scopes(self, person: Person) -> None:
        """The first four in words at once, the rest behind a summary; none is left out."""
        page = await person.open("/connect")
        assert len(page.tagged("details")) == 1
        assert "See the fourth and 2 more of Leads & Sons See the fifth https://example.com/auth/odd" in page.text

    async def test_a_label_is_text(self, person: Person) -> None:
        """Markup in a label is shown as it is."""
        page = await person.open("/connect")
        assert page.link("Connect <b>Advice</b>") == "/oauth/advice/authorize"
        assert not page.tagged("b")

    async def test_banners_wait(self, person: Person) -> None:
        """A banner is fetched when somebody comes near it."""
        page = await person.open("/connect")
        assert len(page.tagged("img", loading="lazy")) == len(MANY)
