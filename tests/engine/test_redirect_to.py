"""Where a browser may be sent after connecting: our own pages, and origins on the list. Nowhere else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.authorize import allowed_target
from grantkeeper.errors import InvalidValue
from tests.engine.scenes import begin, complete
from tests.support.world import PUBLIC_URL, World, open_world

LISTED = ["https://app.example.com", "http://localhost:3000"]

EVIL = [
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "/é/evil.example",
    "/\uff0fevil.example",
    "/\u2028/evil.example",
    "https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://app.example.com.evil.example",
    "https://app.example.com@evil.example",
    "https://app.example.com:pw@evil.example/",
    "https://user@app.example.com/",
    "https://:pw@app.example.com/",
    "https://@app.example.com/",
    "https://app.example.com\\@evil.example",
    "https://app.example.com\\.evil.example",
    "https://evil.example\\@app.example.com",
    "https://evil.example#@app.example.com",
    "https://evil.example?@app.example.com",
    "https://app.example.com\u3002evil.example",
    "https://app.example.com\uff0fevil.example",
    "https://\u0430pp.example.com",
    "https://evilapp.example.com",
    "https://app.example.comevil.example",
    "https://[::1",
    "http://localhost:3000.evil.example",
    "http://localhost:30000",
    "http://localhost",
    "javascript:alert(1)",
    "JaVaScRiPt://app.example.com/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "app.example.com",
    "evil.example/",
    "?next=https://evil.example",
    "#x",
    "..//evil.example",
    "./",
]

FINE = [
    "/connections",
    "/connections?a=b#c",
    "/",
    "/a/..//b",
    "/?next=https://evil.example",
    "https://app.example.com",
    "https://app.example.com/",
    "https://app.example.com/done?x=1&y=%2F%2Fevil.example#z",
    "https://app.example.com?x=1",
    "HTTPS://APP.EXAMPLE.COM/Done",
    "http://localhost:3000/done",
]


async def test_a_listed_target_is_kept(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """It is where the person was going, to the letter."""
    url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    async with open_world(tmp_path, url, redirect_origins=LISTED) as world:
        for target in FINE:
            with subtests.test(target):
                attempt = await begin(world, redirect_to=target)
                assert (await complete(world, world.provider.approve(attempt))).redirect_to == target


async def test_any_other_target_is_refused_before_the_browser_leaves(world: World) -> None:
    """The answer names the setting, and does not repeat the address."""
    with pytest.raises(InvalidValue) as refusal:
        await begin(world, redirect_to="https://evil.example")

    assert "redirect_origins" in refusal.value.errors["redirect_to"][0]
    assert "evil" not in refusal.value.message


@pytest.mark.parametrize("target", EVIL)
def test_an_evil_spelling_is_refused(target: str) -> None:
    """Each of these leads elsewhere in some browser, or is no address at all."""
    with pytest.raises(InvalidValue):
        allowed_target(target, LISTED)


async def test_without_a_target_the_person_goes_nowhere_else(world: World) -> None:
    """None and nothing are the same."""
    for target in (None, ""):
        completed = await complete(world, world.provider.approve(await begin(world, redirect_to=target)))
        assert completed.redirect_to is None


HOSTS = ["evil.example", "app.example.com", "localhost:3000", "http", "https", "a", "é", "."]
MARKS = ["/", "\\", "//", ":", "@", "?", "#", "%2f", "%5c", "%09", "[", "]", ";", "\u3002", " ", "\t", "\n"]
pieces = st.sampled_from(HOSTS + MARKS)
spellings = st.one_of(st.lists(pieces, min_size=1, max_size=7).map("".join), st.text(min_size=1, max_size=20))


@given(target=spellings)
def test_no_spelling_leads_elsewhere(target: str) -> None:
    """What is let through leads, read as browsers read it, to us or to a listed origin."""
    try:
        allowed = allowed_target(target, LISTED)
    except InvalidValue:
        return
    assert allowed == target
    # Browsers drop tabs and newlines, and take a backslash for a slash.
    as_read = "".join(c for c in target if c not in "\t\n\r").replace("\\", "/")
    parts = urlsplit(urljoin(f"{PUBLIC_URL}/oauth/demo/callback", as_read))
    assert f"{parts.scheme}://{parts.netloc}".lower() in [PUBLIC_URL, *LISTED]
    assert httpx2.URL(PUBLIC_URL).join(target).host in ("127.0.0.1", "app.example.com", "localhost")
