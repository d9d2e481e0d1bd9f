"""The browser's way through an authorization, and the page for each way in which it ends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from grantkeeper.web.html import Html
from tests.support.person import BROWSER_COOKIE, Person, somebody
from tests.support.world import CLIENT_ID, EMAIL, PASSWORD, World, open_world

APP = "https://app.example.com"
BEGIN = "/oauth/demo/authorize"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A product that lets `redirect_to` lead to an application of the operator's."""
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, redirect_origins=[APP]) as world:
        yield world


@pytest.fixture
async def person(world: World) -> AsyncIterator[Person]:
    """Somebody who is signed in."""
    async with somebody(world) as person:
        await person.sign_in()
        yield person


def begin(**query: str) -> str:
    """The address that begins an authorization."""
    return str(httpx2.URL(BEGIN, params=query))


def secrets_in(callback: str) -> list[str]:
    """The values that a callback's address carries and no page may show."""
    return [value for name, value in httpx2.URL(callback).params.multi_items() if name != "iss"]


class TestBeginning:
    """Off to the provider."""

    async def test_not_signed_in(self, world: World) -> None:
        """Sign in, then on to the provider by a page that goes on by itself, not by a redirect of the form."""
        async with somebody(world) as person:
            await person.open(begin(redirect_to=f"{APP}/back?a=1&b=2"))
            assert person.location.startswith("/sign-in?next=%2Foauth%2Fdemo%2Fauthorize%3Fredirect_to%3D")
            await person.follow()
            page = await person.submit("/sign-in", email=EMAIL, password=PASSWORD)
            assert person.response.status_code == 200
            onward = page.link("Continue")
            assert page.tagged("meta", content=f"0; url={onward}")
            callback = world.provider.approve(await person.leave(onward))
            await person.open(callback)
            assert person.location.startswith(f"{APP}/back?a=1&b=2&connection=")

    async def test_the_browser_gets_its_cookie(self, person: Person) -> None:
        """A browser that lost its own cookie gets one before it leaves, and can come back with it."""
        person.http.cookies.delete(BROWSER_COOKIE)
        callback = person.world.provider.approve(await person.leave())
        assert len(person.http.cookies[BROWSER_COOKIE]) >= 32
        await person.open(callback)
        assert person.location.startswith("/connections?done=connected")

    async def test_an_unknown_provider(self, person: Person) -> None:
        """Says so, whether it is unknown altogether or only not set up."""
        for name in ("nothing", "xero"):
            page = await person.open(f"/oauth/{name}/authorize")
            assert person.response.status_code == 404
            assert "This provider cannot be connected here." in page.text

    async def test_a_connection_of_another_provider(self, person: Person) -> None:
        """A connection is reauthorized at its own provider only."""
        connected = await person.connect()
        await person.open(f"/oauth/xero/authorize/{connected}")
        assert person.response.status_code == 404


class TestReturning:
    """Where the person lands."""

    async def test_redirect_to(self, person: Person) -> None:
        """The application learns which connection it is and what was done; its own query and fragment stay."""
        await person.authorize(begin(redirect_to=f"{APP}/done?ref=7#top"))
        found = re.fullmatch(rf"{APP}/done\?ref=7&connection=([0-9a-f-]{{36}})&status=connected#top", person.location)
        assert found
        again = str(httpx2.URL(f"{BEGIN}/{found[1]}", params={"redirect_to": APP}))
        await person.authorize(again)
        assert person.location == f"{APP}?connection={found[1]}&status=reauthorized"

    async def test_redirect_to_a_page_of_ours(self, person: Person) -> None:
        """A path leads to our own page."""
        await person.authorize(begin(redirect_to="/connect"))
        assert person.location.startswith("/connect?connection=")

    @pytest.mark.parametrize(
        "elsewhere",
        [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/é/evil.example",
            "https://app.example.com.evil.example",
            "javascript:1",
        ],
    )
    async def test_redirect_to_elsewhere(self, person: Person, elsewhere: str) -> None:
        """Refused before anybody is sent anywhere, and not echoed."""
        page = await person.open(begin(redirect_to=elsewhere))
        assert person.response.status_code == 422
        assert "not allowed here" in page.text
        assert elsewhere not in person.response.text

    def test_a_location_is_encoded(self) -> None:
        """What a header cannot hold is encoded, not dropped: dropping it could make another site of a path."""
        reply = Html(secure=False).redirect("/é/evil.example?a=%20\r\nx: y")
        assert dict(reply.headers)[b"location"] == b"/%C3%A9/evil.example?a=%20%0D%0Ax:%20y"

    async def test_signed_out_meanwhile(self, person: Person) -> None:
        """The callback needs no session: what the provider gave is not lost with it."""
        callback = person.world.provider.approve(await person.leave())
        person.world.clock.advance(1)
        person.http.cookies.delete("gk_session")
        await person.open(callback)
        assert person.location.startswith("/connections?done=connected")
        await person.sign_in()
        assert "My Demo Provider Account 1" in (await person.follow()).text


class TestProblems:
    """A page for each way to fail: what happened, what to do, a way to try again, and no secret."""

    async def check(self, person: Person, status: int, title: str, retry: str, callback: str) -> None:
        """The page has all of that, and nothing was connected."""
        page = person.page
        assert (person.response.status_code, page.tagged("h1") != []) == (status, True)
        assert title in page.text
        assert page.link("Try again") == retry
        assert page.link("Your connections") == "/connections"
        for secret in secrets_in(callback):
            assert secret not in person.response.text
        assert "Nothing is connected yet" in (await person.open("/connections")).text

    async def test_denied(self, person: Person) -> None:
        """The person clicked Deny."""
        callback = person.world.provider.deny(await person.leave())
        page = await person.open(callback)
        assert "Demo Provider told us that access was declined. Nothing was connected or changed." in page.text
        await self.check(person, 200, "You did not allow the connection", BEGIN, callback)

    async def test_expired(self, person: Person) -> None:
        """Ten minutes are over."""
        callback = person.world.provider.approve(await person.leave())
        person.world.clock.advance(601)
        await person.open(callback)
        await self.check(person, 400, "That took too long", BEGIN, callback)
        assert person.world.provider.counts["token"] == 0

    async def test_replayed(self, person: Person) -> None:
        """The same callback works once; the connection that it made stays."""
        callback = person.world.provider.approve(await person.leave())
        await person.open(callback)
        page = await person.open(callback)
        assert person.response.status_code == 400
        assert "This sign-in has been used already" in page.text
        assert page.link("Try again") == BEGIN
        assert person.world.provider.counts["token"] == 1
        assert "My Demo Provider Account 1" in (await person.open("/connections")).text

    async def test_other_browser(self, person: Person) -> None:
        """A callback that was begun elsewhere is refused, and does not use the attempt up."""
        callback = person.world.provider.approve(await person.leave())
        async with somebody(person.world) as victim:
            await victim.sign_in()
            for _ in range(2):
                await victim.open(callback)
                await self.check(victim, 400, "This sign-in began in another browser", BEGIN, callback)
        await person.open(callback)
        assert person.location.startswith("/connections?done=connected")

    async def test_unknown_state(self, person: Person) -> None:
        """An invented callback."""
        callback = "/oauth/demo/callback?code=invented-code&state=invented-state"
        await person.open(callback)
        await self.check(person, 400, "We do not know this sign-in", "/connect", callback)

    @pytest.mark.parametrize(
        "query",
        ["", "code=only-a-code", "state=only-a-state", "state=one-state&state=two-state&code=the-code"],
    )
    async def test_incomplete(self, person: Person, query: str) -> None:
        """A callback that lacks something, or has it twice."""
        page = await person.open(f"/oauth/demo/callback?{query}")
        assert person.response.status_code == 400
        assert "The provider's answer is incomplete" in page.text
        for value in re.findall(r"=([\w-]+)", query):
            assert value not in person.response.text

    async def test_an_error_with_html_in_it(self, person: Person) -> None:
        """What the provider, or somebody in its place, puts into the query is not shown."""
        query = dict(httpx2.URL(person.world.provider.deny(await person.leave())).params)
        query |= {"error": "<script>alert(1)</script>", "error_description": "<b>click here</b>"}
        page = await person.open(str(httpx2.URL("/oauth/demo/callback", params=query)))
        assert "Demo Provider could not finish" in page.text
        assert "alert" not in person.response.text
        assert "click here" not in person.response.text

    async def test_wrong_issuer(self, person: Person) -> None:
        """An answer of another authorization server is refused before its code goes anywhere."""
        callback = person.world.provider.approve(await person.leave())
        query = dict(httpx2.URL(callback).params) | {"iss": "https://evil.example"}
        changed = str(httpx2.URL("/oauth/demo/callback", params=query))
        await person.open(changed)
        await self.check(person, 400, "The answer did not come from where you were sent", BEGIN, changed)
        assert person.world.provider.counts["token"] == 0

    @pytest.mark.parametrize(
        ("prepare", "title"),
        [
            (lambda provider: provider.fail_next(status=503), "Demo Provider is not answering"),
            (lambda provider: provider.fail_next(status=429), "Demo Provider is not answering"),
            (
                lambda provider: provider.answer_with(b"<html>", headers=(("content-type", "text/html"),)),
                "Demo Provider gave an answer we cannot use",
            ),
            (lambda provider: provider.answer_with(b"[]"), "Demo Provider gave an answer we cannot use"),
            (
                lambda provider: provider.rotate_client_secret(CLIENT_ID, "another"),
                "Demo Provider does not accept this service",
            ),
        ],
        ids=["down", "busy", "html", "array", "client-rejected"],
    )
    async def test_the_token_endpoint_fails(self, person: Person, prepare: Callable[..., None], title: str) -> None:
        """Whatever the token endpoint does instead of giving tokens, the person learns what to do."""
        callback = person.world.provider.approve(await person.leave())
        prepare(person.world.provider)
        await person.open(callback)
        await self.check(person, 502, title, BEGIN, callback)

    async def test_retrying_a_reconnection(self, person: Person) -> None:
        """Trying again leads to the same connection, which works as before."""
        connected = await person.connect()
        callback = person.world.provider.deny(await person.leave(f"{BEGIN}/{connected}"))
        page = await person.open(callback)
        assert page.link("Try again") == f"{BEGIN}/{connected}"
        assert "Working" in (await person.open("/connections")).text

    async def test_disconnected_meanwhile(self, person: Person) -> None:
        """The connection went away while its person was at the provider: what was granted is given back."""
        connected = await person.connect()
        callback = person.world.provider.approve(await person.leave(f"{BEGIN}/{connected}"))
        await person.open(f"/connections/{connected}/disconnect")
        await person.submit(f"/connections/{connected}/disconnect")
        page = await person.open(callback)
        assert "This connection is gone" in page.text
        assert page.link("Try again") == BEGIN

    async def test_the_number_to_mention(self, person: Person) -> None:
        """The page names the request id that the log has."""
        await person.open("/oauth/demo/callback")
        assert person.response.headers["x-request-id"] in person.page.text


class TestOtherIdentity:
    """Reconnecting as somebody else."""

    async def reconnect_as_grace(self, person: Person, **query: str) -> str:
        """Ada's connection, and Grace's grant for it; the page with the choice is shown."""
        connected = await person.connect()
        await person.authorize(str(httpx2.URL(f"{BEGIN}/{connected}", params=query)), subject="grace-hopper")
        assert person.response.status_code == 409
        return connected

    async def test_the_page(self, person: Person) -> None:
        """Says who is who, offers both choices and another try, and shows no secret of the callback."""
        connected = await self.reconnect_as_grace(person)
        page = person.page
        assert "You signed in as somebody else" in page.text
        assert "“My Demo Provider Account 1” belongs to Ada Lovelace" in page.text
        assert "you signed in as Grace Hopper" in page.text
        assert {"/oauth/held/keep", "/oauth/held/discard"} <= set(page.forms)
        assert page.link("Sign in again instead") == f"{BEGIN}/{connected}"
        for secret in secrets_in(str(person.response.request.url)):
            assert secret not in person.response.text

    async def test_keep(self, person: Person) -> None:
        """It becomes a connection of its own, and the old one stays what it was."""
        connected = await self.reconnect_as_grace(person)
        page = await person.submit("/oauth/held/keep")
        page = await person.follow()
        assert "“My Demo Provider Account 2” is connected." in page.text
        assert page.forms[f"/connections/{connected}/label"]["label"] == "My Demo Provider Account 1"
        assert page.text.index("Ada Lovelace") > 0
        assert page.text.index("Grace Hopper") > 0

    async def test_keep_and_go_on(self, person: Person) -> None:
        """Where an application is waiting, the page goes on to it by itself."""
        await self.reconnect_as_grace(person, redirect_to=f"{APP}/back")
        page = await person.submit("/oauth/held/keep")
        assert person.response.status_code == 200
        onward = page.link("Continue")
        assert re.fullmatch(rf"{APP}/back\?connection=[0-9a-f-]{{36}}&status=connected", onward)

    async def test_discard(self, person: Person) -> None:
        """It is withdrawn at the provider, and the old connection works."""
        await self.reconnect_as_grace(person)
        await person.submit("/oauth/held/discard")
        page = await person.follow()
        assert "Nothing was added" in page.text
        assert "Grace Hopper" not in page.text
        await person.world.services.worker.run_once()
        revoked = {grant.subject: grant.revoked_at is not None for grant in person.world.provider.grants()}
        assert revoked == {"ada-lovelace": False, "grace-hopper": True}

    async def test_choosing_twice(self, person: Person) -> None:
        """The second choice, or one that came too late, finds nothing left to choose."""
        await self.reconnect_as_grace(person)
        forms = person.page.forms
        await person.submit("/oauth/held/keep")
        for name in ("keep", "discard"):
            person.response = await person.http.post(f"/oauth/held/{name}", data=forms[f"/oauth/held/{name}"])
            if name == "keep":
                assert "That choice is no longer open" in person.page.text
        assert (await person.open("/connections")).text.count("Working") == 2

    async def test_too_late(self, person: Person) -> None:
        """After ten minutes nothing is kept."""
        await self.reconnect_as_grace(person)
        person.world.clock.advance(601)
        page = await person.submit("/oauth/held/keep")
        assert person.response.status_code == 400
        assert "That choice is no longer open" in page.text
        assert "Grace Hopper" not in (await person.open("/connections")).text

    async def test_not_for_others(self, person: Person) -> None:
        """Another user cannot choose, with the handle or without."""
        await self.reconnect_as_grace(person)
        handle = person.page.forms["/oauth/held/keep"]["handle"]
        await person.world.new_login("eve@example.com")
        async with somebody(person.world) as eve:
            await eve.sign_in("eve@example.com")
            csrf = (await eve.follow()).forms["/sign-out"]["csrf"]
            for value in (handle, "", "nonsense"):
                for name in ("discard", "keep"):
                    await eve.http.post(f"/oauth/held/{name}", data={"csrf": csrf, "handle": value})
            assert "Nothing is connected yet" in (await eve.open("/connections")).text
        await person.submit("/oauth/held/keep")
        assert "“My Demo Provider Account 2” is connected." in (await person.follow()).text


async def test_head_begins_and_ends_nothing(world: World) -> None:
    """A link checker that asks for the headers neither starts an authorization nor uses one up."""
    for path in ("/oauth/demo/authorize", f"/oauth/demo/authorize/{uuid4()}", "/oauth/demo/callback"):
        answer = await world.client.head(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
