"""The page with a code that is typed in elsewhere (RFC 8628): shown, polled politely, and gone on from."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from grantkeeper.app import Application
from tests.support.grants import code_on, open_grants, show_code
from tests.support.person import BROWSER_COOKIE, Person, somebody
from tests.support.world import World, http_client

APP = "https://app.example.com"
EVIL = "https://evil.example"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A provider that wants codes typed in, another one, and an application that users may be sent on to."""
    async with open_grants(tmp_path, "telly", "robot", redirect_origins=[APP]) as world:
        yield world


@pytest.fixture
async def person(world: World) -> AsyncIterator[Person]:
    """Somebody who is signed in."""
    async with somebody(world) as person:
        await person.sign_in()
        yield person


class TestDevice:
    """A code to type in elsewhere (RFC 8628)."""

    async def test_shown_and_gone_on_from(self, person: Person) -> None:
        """The code, where it goes, and a page that looks again by itself until somebody has agreed."""
        world = person.world
        waiting = await show_code(person)
        page, code = person.page, code_on(person.page)
        assert page.tagged("meta", content="5", **{"http-equiv": "refresh"})
        assert page.tagged("output")
        assert page.tagged("a", href=f"{world.provider.issuer}/device", target="_blank", rel="noopener noreferrer")
        filled_in = page.link("Open it with the code filled in")
        assert filled_in == f"{world.provider.issuer}/device?user_code={code}"
        assert "It ends in 10 minutes." in page.text
        world.clock.advance(5)
        assert code_on(await person.open(waiting)) == code
        world.provider.approve_device(code)
        world.clock.advance(5)
        await person.open(waiting)
        assert person.location.startswith("/connections?done=connected&connection=")
        page = await person.follow()
        assert "“My Telly Account 1” is connected." in page.text
        assert "Ada Lovelace" in page.text

    async def test_reloading_does_not_poll_faster(self, person: Person) -> None:
        """However often the page is loaded, the provider is asked once an interval, the first one left out."""
        world, waiting = person.world, await show_code(person)
        for _ in range(5):
            await person.open(waiting)
        assert world.provider.counts["token"] == 0
        for polled in (1, 2):
            world.clock.advance(5)
            for _ in range(5):
                await person.open(waiting)
            assert world.provider.counts["token"] == polled
        assert code_on(person.page)

    async def test_slow_down(self, person: Person) -> None:
        """Told to slow down, it asks half as often from then on, and the page is loaded half as often."""
        world, waiting = person.world, await show_code(person)
        world.provider.fail_next(status=400, error="slow_down")
        world.clock.advance(5)
        await person.open(waiting)
        world.clock.advance(5)
        page = await person.open(waiting)
        assert page.tagged("meta", content="10", **{"http-equiv": "refresh"})
        assert world.provider.counts["token"] == 1
        world.clock.advance(5)
        await person.open(waiting)
        assert world.provider.counts["token"] == 2

    async def test_the_provider_is_away_for_a_moment(self, person: Person) -> None:
        """A poll without an answer is no end: the code stays, and the next one may succeed."""
        world, waiting = person.world, await show_code(person)
        world.provider.approve_device(code_on(person.page))
        world.provider.fail_next(status=503)
        world.clock.advance(5)
        assert code_on(await person.open(waiting))
        world.clock.advance(10)
        await person.open(waiting)
        assert person.location.startswith("/connections?done=connected")

    async def test_denied(self, person: Person) -> None:
        """Somebody declined there: nothing is connected, and it can be begun again."""
        waiting = await show_code(person, f"/oauth/telly/authorize?redirect_to={APP}")
        person.world.provider.deny_device(code_on(person.page))
        person.world.clock.advance(5)
        page = await person.open(waiting)
        assert (person.response.status_code, "You did not allow the connection" in page.text) == (200, True)
        assert page.link("Try again") == str(httpx2.URL("/oauth/telly/authorize", params={"redirect_to": APP}))
        assert "Nothing is connected yet" in (await person.open("/connections")).text

    async def test_expired(self, person: Person) -> None:
        """Nobody typed it in: the page says so, whether the provider or our own clock knows it first."""
        world, waiting = person.world, await show_code(person)
        world.provider.fail_next(status=400, error="expired_token")
        world.clock.advance(5)
        assert "The code for Telly is no longer good." in (await person.open(waiting)).text
        waiting = await show_code(person)
        world.clock.advance(601)
        page = await person.open(waiting)
        assert "That took too long" in page.text
        assert page.link("Try again") == "/oauth/telly/authorize"
        assert world.provider.counts["token"] == 1

    async def test_another_browser(self, person: Person) -> None:
        """The page's address is worth nothing in another browser, and the right one can still finish."""
        world, waiting = person.world, await show_code(person)
        code = code_on(person.page)
        world.provider.approve_device(code)
        world.clock.advance(5)
        async with somebody(world) as thief:
            await thief.sign_in()
            page = await thief.open(waiting)
            assert "This sign-in began in another browser" in page.text
            assert code not in thief.response.text
        assert world.provider.counts["token"] == 0
        await person.open(waiting)
        assert person.location.startswith("/connections?done=connected")

    async def test_used_once(self, person: Person) -> None:
        """After the connection is made, the address says where to look for it."""
        waiting = await show_code(person)
        person.world.provider.approve_device(code_on(person.page))
        person.world.clock.advance(5)
        await person.open(waiting)
        page = await person.open(waiting)
        assert "look at your connections" in page.text
        assert len((await person.open("/connections")).tagged("input", name="label")) == 1

    async def test_its_handle_is_no_state(self, person: Person) -> None:
        """Brought to the callback, it redeems nothing, and the device authorization is over."""
        waiting = await show_code(person)
        handle = waiting.rpartition("/")[2]
        page = await person.open(f"/oauth/telly/callback?state={handle}&code=made-up")
        assert person.response.status_code == 400
        assert "We do not know this sign-in" in page.text
        assert person.world.provider.counts["token"] == 0

    async def test_an_unknown_handle(self, person: Person) -> None:
        """A page that says so, at this provider and at another."""
        waiting = await show_code(person)
        for address in (
            f"/oauth/telly/device/{'x' * 43}",
            waiting.replace("telly", "robot"),
            "/oauth/telly/device/%00",
        ):
            page = await person.open(address)
            assert person.response.status_code == 400, address
            assert "We do not know this sign-in" in page.text

    async def test_redirect_to(self, person: Person) -> None:
        """The application learns of the connection; an address elsewhere is refused before a code is asked for."""
        waiting = await show_code(person, f"/oauth/telly/authorize?redirect_to={APP}/back?x=1")
        person.world.provider.approve_device(code_on(person.page))
        person.world.clock.advance(5)
        await person.open(waiting)
        assert re.fullmatch(rf"{APP}/back\?x=1&connection=[0-9a-f-]{{36}}&status=connected", person.location)
        asked = person.world.provider.counts["device_authorization"]
        await person.open(f"/oauth/telly/authorize?redirect_to={EVIL}")
        assert person.response.status_code == 422
        assert person.world.provider.counts["device_authorization"] == asked

    async def test_reconnect_and_disconnect(self, person: Person) -> None:
        """Reconnected by a new code the connection stays the same one; disconnected its grant is revoked."""
        world = person.world
        found: list[str] = []
        for path in ("/oauth/telly/authorize", None):
            waiting = await show_code(person, path or f"/oauth/telly/authorize/{found[0]}")
            world.provider.approve_device(code_on(person.page))
            world.clock.advance(5)
            await person.open(waiting)
            found.append(httpx2.URL(person.location).params["connection"])
        assert found[0] == found[1]
        assert "is connected again." in (await person.follow()).text
        await person.open(f"/connections/{found[0]}/disconnect")
        await person.submit(f"/connections/{found[0]}/disconnect")
        assert world.provider.grants()[-1].revoked_at is not None

    async def test_reconnected_by_somebody_else(self, person: Person) -> None:
        """Another person typed it in: the connection stays whose it was, and they choose."""
        world = person.world
        waiting = await show_code(person)
        world.provider.approve_device(code_on(person.page))
        world.clock.advance(5)
        await person.open(waiting)
        mine = httpx2.URL(person.location).params["connection"]
        waiting = await show_code(person, f"/oauth/telly/authorize/{mine}")
        world.provider.approve_device(code_on(person.page), subject="grace-hopper")
        world.clock.advance(5)
        page = await person.open(waiting)
        assert (person.response.status_code, "Grace Hopper" in page.text) == (409, True)
        await person.submit("/oauth/held/keep")
        page = await person.follow()
        assert "Ada Lovelace" in page.text
        assert "Grace Hopper" in page.text

    async def test_the_provider_gives_no_code(self, person: Person) -> None:
        """A page that says so, and nothing is waited for."""
        person.world.provider.answer_with(b"<html>", endpoint="device_authorization")
        page = await person.open("/oauth/telly/authorize")
        assert person.response.status_code == 502
        assert page.link("Try again") == "/oauth/telly/authorize"


async def test_several_replicas_poll_as_one(tmp_path: Path, postgres_url: str) -> None:
    """Two processes show the same page: together they ask once an interval, and either can finish."""
    async with open_grants(tmp_path, "telly", database_url=postgres_url) as world, somebody(world) as person:
        await person.sign_in()
        waiting = await show_code(person)
        code = code_on(person.page)
        other = Application(world.services.settings, world.clock)
        async with other.running(), http_client(other, cookies=person.http.cookies) as theirs:
            for polled in (1, 2):
                world.clock.advance(5)
                for client in (theirs, person.http) * 2:
                    assert code in (await client.get(waiting)).text
                assert world.provider.counts["token"] == polled
            world.provider.approve_device(code)
            world.clock.advance(5)
            answer = await theirs.get(waiting)
        assert answer.headers["location"].startswith("/connections?done=connected")
        assert (await person.open("/connections")).tagged("input", value="My Telly Account 1")


async def test_a_browser_without_its_cookie(person: Person) -> None:
    """It gets one with the code, and can finish with it."""
    person.http.cookies.delete(BROWSER_COOKIE)
    waiting = await show_code(person)
    assert len(person.http.cookies[BROWSER_COOKIE]) >= 32
    person.world.provider.approve_device(code_on(person.page))
    person.world.clock.advance(5)
    await person.open(waiting)
    assert person.location.startswith("/connections?done=connected")
