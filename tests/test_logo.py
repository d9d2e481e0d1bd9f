"""Banners and icons: what is drawn, what of the icon collection may be in it, and how they are served."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.catalogue import Catalogue, Provider, banner_svg, icon_svg, load_catalogue
from grantkeeper.catalogue.icons import icon_path
from grantkeeper.catalogue.logo import contrast, readable_ink
from tests.support.world import World, http_client

SVG = "{http://www.w3.org/2000/svg}"
DEFINITION = {
    "schema": 1,
    "name": "acme",
    "label": "Acme",
    "category": ["other"],
    "colour": "#336699",
    "operator_supplied": True,
    "verified": {"basis": "operator", "date": date(2026, 11, 22)},
}


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    """The shipped definitions."""
    return load_catalogue()


def make(**changes: object) -> Provider:
    """A definition with these keys."""
    return Provider.model_validate(DEFINITION | changes)


def texts(svg: str) -> list[ElementTree.Element]:
    """What is written in a drawing."""
    return ElementTree.fromstring(svg).findall(f"{SVG}text")


class TestIcons:
    """The icons that definitions name."""

    def test_the_icon_takes_the_initials_place(self) -> None:
        """Its path is drawn in both, in the definition's colour or what is readable on it, and no initial."""
        drawn = make(icon="github", colour="#336699")
        path = icon_path("github")
        for svg, fill in ((banner_svg(drawn), "#336699"), (icon_svg(drawn), "#ffffff")):
            [icon] = ElementTree.fromstring(svg).findall(f"{SVG}path")
            assert (icon.get("d"), icon.get("fill")) == (path, fill)
        assert [text.text for text in texts(banner_svg(drawn))] == ["Acme"]
        assert texts(icon_svg(drawn)) == []

    def test_an_icon_that_nobody_knows(self) -> None:
        """The initial is drawn, as for a definition without an icon."""
        for draw in (banner_svg, icon_svg):
            assert draw(make(icon="no-such-icon")) == draw(make())

    def test_an_icon_with_a_licence_of_its_own(self) -> None:
        """What the collection has, but does not give away itself, is not used."""
        from simple_icons_pack import get_icon

        found = get_icon("keycloak")
        assert found is not None
        assert found.license
        assert icon_path("keycloak") is None

    def test_nothing_but_a_path_gets_in(self) -> None:
        """Every icon of the collection that can be drawn is one path's data, and stays within a banner."""
        import simple_icons_pack

        drawn = 0
        for name in dir(simple_icons_pack):
            if name.startswith("SI_") and (path := icon_path(getattr(simple_icons_pack, name).slug)):
                assert re.fullmatch(r"[A-Za-z0-9 ,.+-]+", path)
                drawn += 1
        assert drawn > 3000

    def test_shipped_icons_are_in_the_collection(self, shipped: Catalogue) -> None:
        """A slug that is misspelt, gone, or under a licence of its own is corrected or taken out."""
        wrong = [f"{one.name}: {one.icon}" for one in shipped.values() if one.icon and icon_path(one.icon) is None]
        assert wrong == []

    def test_the_collection_is_read_by_who_draws_alone(self) -> None:
        """Loading the catalogue does not load the icons."""
        program = (
            "import sys; from grantkeeper.catalogue import load_catalogue, banner_svg\n"
            "catalogue = load_catalogue(); catalogue['demo']; assert 'simple_icons_pack' not in sys.modules\n"
            "banner_svg(catalogue['demo'].model_copy(update={'icon': 'github'}))\n"
            "assert 'simple_icons_pack' in sys.modules"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


class TestLabels:
    """What is written in a banner."""

    @pytest.mark.parametrize(
        ("label", "lines", "size"),
        [
            ("Acme", ["Acme"], 30),
            ("Sage Accounting", ["Sage", "Accounting"], 30),
            ("Open Banking (Royal Bank of Scotland)", ["Open Banking (Royal", "Bank of Scotland)"], 16),
            ("X" * 40, ["X" * 40], 6),
            ("W", ["W"], 30),
        ],
    )
    def test_long_labels_break_between_words(self, label: str, lines: list[str], size: int) -> None:
        """In two lines where that makes it larger; a single word only shrinks."""
        written = texts(banner_svg(make(label=label)))[1:]
        assert [line.text for line in written] == lines
        assert {line.get("font-size") for line in written} == {str(size)}

    @given(st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=40).filter(str.strip))
    def test_every_word_is_there(self, label: str) -> None:
        """No letter is lost where a label is broken, and all of it stays within the banner's height."""
        written = texts(banner_svg(make(label=label)))[1:]
        assert " ".join(" ".join(line.text or "" for line in written).split()) == " ".join(label.split())
        for line in written:
            half = int(line.get("font-size", "")) * 0.6
            assert half <= float(line.get("y", "")) <= 96 - half

    @given(st.integers(0, 0xFFFFFF))
    def test_everything_stands_out(self, colour: int) -> None:
        """Label, tile and icon: at least 4.2 to 1 on any colour (WCAG 2.2 §1.4.3 and §1.4.11 ask 3 to 1)."""
        text = f"#{colour:06x}"
        root = ElementTree.fromstring(banner_svg(make(colour=text, icon="github")))
        ground, tile = root.findall(f"{SVG}rect")
        [icon], [label] = root.findall(f"{SVG}path"), root.findall(f"{SVG}text")
        for ink, under in ((tile, ground), (icon, tile), (label, ground)):
            assert contrast(ink.get("fill", ""), under.get("fill", "")) > 4.2
        assert ground.get("stroke") == readable_ink(text)


class TestServing:
    """`logo_url`."""

    async def test_kept_by_browsers(self, world: World) -> None:
        """An image with a tag, kept for a day, that may run nothing; the same for everybody."""
        async with http_client(world.application) as http:
            answer = await http.get("/imgs/github.svg")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "image/svg+xml"
            assert answer.headers["cache-control"] == "public, max-age=86400"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers
            assert answer.text == banner_svg(world.services.clients.catalogue["github"])
            assert (await http.get("/imgs/github.svg")).headers["etag"] == answer.headers["etag"]
            assert (await http.get("/imgs/google.svg")).headers["etag"] != answer.headers["etag"]

    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
    async def test_not_modified(self, world: World, form: str) -> None:
        """Whoever has it already gets 304 without a body (RFC 9110 §13.1.2), also through what weakens tags."""
        async with http_client(world.application) as http:
            tag = (await http.get("/imgs/github.svg")).headers["etag"]
            answer = await http.get("/imgs/github.svg", headers={"if-none-match": form.format(tag)})
            assert (answer.status_code, answer.content) == (304, b"")
            assert (answer.headers["etag"], answer.headers["cache-control"]) == (tag, "public, max-age=86400")

    @pytest.mark.parametrize("form", ['"other"', "", "{}x"])
    async def test_modified(self, world: World, form: str) -> None:
        """Another tag gets the banner."""
        async with http_client(world.application) as http:
            tag = (await http.get("/imgs/github.svg")).headers["etag"]
            answer = await http.get("/imgs/github.svg", headers={"if-none-match": form.format(tag)})
            assert answer.status_code == 200

    @pytest.mark.parametrize("file", ["github", "github.png", "nobody.svg", ".svg", "..svg"])
    async def test_other_names(self, world: World, file: str) -> None:
        """404 for what is no banner."""
        async with http_client(world.application) as http:
            assert (await http.get(f"/imgs/{file}")).status_code == 404
