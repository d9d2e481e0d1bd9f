"""The pages of grants that need no person at the provider, and what gallery and list say of every grant."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from grantkeeper.app import Application
from grantkeeper.model import Status
from tests.support.grants import code_on, open_grants, show_code
from tests.support.person import Person, somebody
from tests.support.world import CLIENT_ID, World, http_client, open_world

APP = "https://app.example.com"
EVIL = "https://evil.example"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A provider that is connected in every way, and an application that users may be sent on to."""
    names = ("telly", "robot", "desk", "swap", "sso")
    async with open_grants(tmp_path, *names, redirect_origins=[APP]) as world:
        yield world


@pytest.fixture
async def person(world: World) -> AsyncIterator[Person]:
    """Somebody who is signed in."""
    async with somebody(world) as person:
        await person.sign_in()
        yield person


async def connect(person: Person, provider: str, path: str = "", **fields: str) -> str:
    """Answers the question whether to connect; the connection's UUID, its list shown."""
    await person.open(f"/oauth/{provider}/authorize{path}")
    await person.submit(f"/oauth/{provider}/direct", **fields)
    found = httpx2.URL(person.location).params["connection"]
    await person.follow()
    return found


class TestWithoutAPerson:
    """Grants that are had at once (RFC 6749 §4.4, RFC 7523, RFC 8693)."""

    async def test_client_credentials(self, person: Person) -> None:
        """Asked first, connected at a button, renewed without a refresh token, and without a sign-in that ends."""
        page = await person.open("/oauth/robot/authorize")
        assert "Connect Robot?" in page.text
        assert "nobody signs in there" in page.text
        assert person.world.provider.counts["token"] == 0
        made = await connect(person, "robot")
        assert "“My Robot Account 1” is connected." in person.page.text
        assert "Access renews" in person.page.text
        assert "stop working" not in person.page.text
        person.world.clock.advance(3601)
        read = await person.world.client.get(f"/api/v1/oauth/connections/{made}/token")
        assert read.status_code == 200

    async def test_a_forged_form(self, person: Person) -> None:
        """Without the page's own secret nothing is connected; a GET connects nothing either."""
        answer = await person.http.post("/oauth/robot/direct", data={"csrf": "x"})
        assert answer.status_code == 403
        await person.open("/oauth/robot/direct")
        assert person.response.status_code == 405
        assert person.world.provider.counts["token"] == 0

    async def test_a_subject_is_asked_for(self, person: Person) -> None:
        """JWT bearer: for whom; it names the connection's person, and is filled in when reconnecting."""
        page = await person.open("/oauth/desk/authorize")
        assert page.tagged("input", id="subject", maxlength="255")
        made = await connect(person, "desk", subject="  grace@example.com ")
        assert "grace@example.com" in person.page.text
        page = await person.open(f"/oauth/desk/authorize/{made}")
        assert page.forms["/oauth/desk/direct"]["subject"] == "grace@example.com"
        assert "Reconnect “My Desk Account 1”?" in page.text
        assert await connect(person, "desk", f"/{made}") == made
        assert "is connected again." in person.page.text

    async def test_another_subject(self, person: Person) -> None:
        """Reconnecting for somebody else does not silently swap whose the connection is."""
        made = await connect(person, "desk", subject="grace@example.com")
        await person.open(f"/oauth/desk/authorize/{made}")
        page = await person.submit("/oauth/desk/direct", subject="ada@example.com")
        assert person.response.status_code == 409
        assert "gave access to ada@example.com" in page.text
        assert "signed in" not in page.text
        await person.submit("/oauth/held/discard")
        assert "grace@example.com" in (await person.open("/connections")).text

    @pytest.mark.parametrize("subject", ["", "   ", "x" * 256, "a\x00b"])
    async def test_a_bad_subject(self, person: Person, subject: str) -> None:
        """422 on the same page, what was typed kept, and the provider not asked."""
        await person.open(f"/oauth/desk/authorize?redirect_to={APP}")
        page = await person.submit("/oauth/desk/direct", subject=subject)
        assert person.response.status_code == 422
        assert "Say for whom to connect Desk" in page.text
        assert page.tagged("p", role="alert")
        form = page.forms["/oauth/desk/direct"]
        assert (form["subject"], form["redirect_to"]) == (subject, APP)
        assert person.world.provider.counts["token"] == 0

    @pytest.mark.parametrize(
        ("status", "error", "words"),
        [
            (400, "invalid_grant", "Nothing was connected"),
            (401, "invalid_client", "not registered at Desk as it should be (invalid_client)"),
            (503, None, "Desk is not answering"),
        ],
    )
    async def test_the_provider_refuses(self, person: Person, status: int, error: str | None, words: str) -> None:
        """What it means stands on the page, with what was typed, so that it can be tried again."""
        await person.open("/oauth/desk/authorize")
        person.world.provider.fail_next(status=status, error=error)
        page = await person.submit("/oauth/desk/direct", subject="grace@example.com")
        assert person.response.status_code == 502
        assert words in page.text
        assert page.forms["/oauth/desk/direct"]["subject"] == "grace@example.com"
        await person.submit("/oauth/desk/direct")
        assert person.location.startswith("/connections?done=connected")

    async def test_hostile_text(self, person: Person) -> None:
        """What was typed comes back as text."""
        await person.open("/oauth/desk/authorize")
        person.world.provider.fail_next(status=400, error="invalid_grant")
        hostile = "\"><script>alert('x')</script>"
        page = await person.submit("/oauth/desk/direct", subject=hostile)
        assert page.forms["/oauth/desk/direct"]["subject"] == hostile
        assert not page.tagged("script")

    async def test_redirect_to(self, person: Person) -> None:
        """The application gets its user back, by a page that goes on by itself; elsewhere is refused at once."""
        await person.open(f"/oauth/robot/authorize?redirect_to={APP}/back")
        page = await person.submit("/oauth/robot/direct")
        assert page.link("Continue").startswith(f"{APP}/back?connection=")
        asked = person.world.provider.counts["token"]
        await person.open(f"/oauth/robot/authorize?redirect_to={EVIL}")
        assert (person.response.status_code, EVIL in person.response.text) == (422, False)
        await person.open("/oauth/robot/authorize")
        await person.submit("/oauth/robot/direct", redirect_to=EVIL)
        assert (person.response.status_code, EVIL in person.response.text) == (422, False)
        assert person.world.provider.counts["token"] == asked

    async def test_reconnecting_what_is_not_there(self, person: Person) -> None:
        """Another provider's connection, another account's, an unknown one and nonsense: 404 on page and form."""
        stranger = await person.world.connect(login=await person.world.new_login("eve@example.com"))
        demo = await person.connect()
        for wrong in (stranger.uuid, demo, str(uuid.uuid4()), "nonsense", "\x00"):
            await person.open(f"/oauth/robot/authorize/{wrong}".replace("\x00", "%00"))
            assert person.response.status_code == 404, wrong
            await person.open("/oauth/robot/authorize")
            await person.submit("/oauth/robot/direct", connection=wrong)
            assert person.response.status_code == 404, wrong
        assert len(person.world.provider.grants()) == 2

    async def test_the_wrong_way(self, person: Person) -> None:
        """A provider that wants a person cannot be connected without one, nor one that cannot be connected at all."""
        await person.open("/oauth/robot/authorize")
        csrf = person.page.forms["/oauth/robot/direct"]["csrf"]
        for provider in ("demo", "telly", "xero", "nothing"):
            answer = await person.http.post(f"/oauth/{provider}/direct", data={"csrf": csrf})
            assert answer.status_code == 404, provider

    async def test_disconnect(self, person: Person) -> None:
        """A provider that cannot be told has no account where a person could remove the access."""
        made = await connect(person, "robot")
        page = await person.open(f"/connections/{made}/disconnect")
        assert "ends by itself when it expires" in page.text
        assert "in your account at" not in page.text
        await person.submit(f"/connections/{made}/disconnect")
        assert "Nothing is connected yet" in (await person.follow()).text

    async def test_refused_later(self, person: Person) -> None:
        """Where the provider stops giving access, the list does not speak of a sign-in that never was."""
        made = await connect(person, "robot")
        statement = "UPDATE connections SET status = :status WHERE uuid = :uuid"
        database = person.world.services.database
        await database.execute(statement, uuid=made, status=Status.NEEDS_REAUTHORIZATION.value)
        page = await person.open("/connections")
        assert "Needs you to reconnect" in page.text
        assert "Robot no longer gives this access." in page.text
        assert "sign in" not in page.text.lower()


class TestExchange:
    """A connection that lives on another one's access (RFC 8693)."""

    async def test_no_source_yet(self, person: Person) -> None:
        """The page says what to connect first, and that leads back with it chosen, to where the person was going."""
        page = await person.open(f"/oauth/swap/authorize?redirect_to={APP}/back")
        assert "there is none in this account yet" in page.text
        assert "/oauth/swap/direct" not in page.forms
        await person.authorize(page.link("Connect Demo Provider first"))
        first = httpx2.URL(person.location).params["connection"]
        page = await person.follow()
        assert page.tagged("option", value=first, selected="")
        page = await person.submit("/oauth/swap/direct", source=first)
        assert page.link("Continue").startswith(f"{APP}/back?connection=")

    async def test_the_source_is_not_set_up(self, tmp_path: Path) -> None:
        """With nothing to exchange and no way to connect it, the page says who can help."""
        async with open_grants(tmp_path, "swap") as before:
            settings = before.services.settings
            clients = {"swap": settings.clients["swap"]}
            changed = settings.model_copy(update={"clients": clients})
            application = Application(changed, before.clock)
            async with application.running(), http_client(application) as http:
                person = Person(before, http)
                await person.sign_in()
                page = await person.open("/oauth/swap/authorize")
        assert "Demo Provider is not set up here." in page.text
        assert page.link("Cancel") == "/connections"

    async def test_the_source_is_chosen(self, person: Person) -> None:
        """Of several, with whose each is; the one that was chosen stays chosen where something goes wrong."""
        await person.connect()
        second = await person.connect("grace-hopper")
        page = await person.open("/oauth/swap/authorize")
        assert "My Demo Provider Account 2 (Grace Hopper)" in page.text
        person.world.provider.fail_next(status=400, error="invalid_request")
        page = await person.submit("/oauth/swap/direct", source=second)
        assert page.tagged("option", value=second, selected="")
        await person.submit("/oauth/swap/direct", source=second)
        assert person.location.startswith("/connections?done=connected")
        assert person.world.provider.grants()[-1].subject == "grace-hopper"

    async def test_another_accounts_source(self, person: Person) -> None:
        """Neither listed nor taken; nor is nonsense, nor another provider's connection."""
        stranger = await person.world.connect(login=await person.world.new_login("eve@example.com"))
        mine, robot = await person.connect(), await connect(person, "robot")
        grants = len(person.world.provider.grants())
        for wrong in (stranger.uuid, robot, "", "nonsense", "\x00", str(uuid.uuid4())):
            page = await person.open("/oauth/swap/authorize")
            assert [option["value"] for option in page.tagged("option")] == [mine]
            page = await person.submit("/oauth/swap/direct", source=wrong)
            assert person.response.status_code == 422, wrong
            assert "Choose" in page.text
        assert len(person.world.provider.grants()) == grants
        await person.submit("/oauth/swap/direct", source=mine.upper())
        assert person.location.startswith("/connections?done=connected")

    async def test_the_source_no_longer_works(self, person: Person) -> None:
        """Its user must sign in there again first: the page says so and keeps the choice."""
        mine = await person.connect()
        person.world.provider.revoke_grants()
        person.world.clock.advance(3601)
        await person.open("/oauth/swap/authorize")
        page = await person.submit("/oauth/swap/direct", source=mine)
        assert person.response.status_code == 409
        assert page.tagged("p", role="alert")
        assert page.tagged("option", value=mine, selected="")

    async def test_the_source_fails_later(self, person: Person) -> None:
        """The list leads to the connection that is to be mended, and once it is, both work again."""
        mine = await person.connect()
        swap = await connect(person, "swap", source=mine)
        person.world.provider.revoke_grants()
        person.world.clock.advance(3601)
        read = f"/api/v1/oauth/connections/{swap}/token"
        assert (await person.world.client.get(read)).status_code == 503
        page = await person.open("/connections")
        assert "It lives on a connection to Demo Provider: see whether that one works." in page.text
        assert "there is nothing you need to do" not in page.text
        await person.authorize(f"/oauth/demo/authorize/{mine}")
        person.world.clock.advance(60)
        assert (await person.world.client.get(read)).status_code == 200
        assert "Needs" not in (await person.open("/connections")).text

    async def test_the_source_is_gone(self, person: Person) -> None:
        """Disconnected, it gives nothing any more: reconnecting lets another be chosen."""
        mine = await person.connect()
        swap = await connect(person, "swap", source=mine)
        await person.open(f"/connections/{mine}/disconnect")
        await person.submit(f"/connections/{mine}/disconnect")
        person.world.clock.advance(3601)
        read = f"/api/v1/oauth/connections/{swap}/token"
        assert (await person.world.client.get(read)).status_code == 409
        page = await person.open("/connections")
        assert "Swap no longer gives this access. Reconnect to ask for it again." in page.text
        other = await person.connect()
        assert await connect(person, "swap", f"/{swap}", source=other) == swap
        assert (await person.world.client.get(read)).status_code == 200


class TestGallery:
    """What the gallery says of each."""

    async def test_nobody_is_told_to_sign_in_where_nobody_does(self, person: Person) -> None:
        """Each card says what will happen, and the sentence above them all is true of them all."""
        page = await person.open("/connect")
        assert "Where you have to sign in, you do so at the service itself" in page.text
        assert "Nobody signs in there: Robot knows this service. It is asked for: See a name" in page.text
        assert page.text.count("You will be asked to allow:") == 3
        assert page.link("Connect Robot") == "/oauth/robot/authorize"

    async def test_only_those_without_a_person(self, tmp_path: Path) -> None:
        """No sentence about signing in at all."""
        async with open_grants(tmp_path, "robot") as before:
            settings = before.services.settings
            changed = settings.model_copy(update={"clients": {"robot": settings.clients["robot"]}})
            application = Application(changed, before.clock)
            async with application.running(), http_client(application) as http:
                person = Person(before, http)
                await person.sign_in()
                page = await person.open("/connect")
        assert page.link("Connect Robot") == "/oauth/robot/authorize"
        assert "Your password" not in page.text

    async def test_a_provider_that_the_catalogue_does_not_have(self, person: Person, tmp_path: Path) -> None:
        """Found by its issuer alone: a card with a banner that is there, in the pages and in the API."""
        provider = person.world.provider
        clients = {"some-bank": {"client_id": CLIENT_ID, "client_secret": "x", "issuer": provider.issuer}}
        (tmp_path / "generic").mkdir()
        database = f"sqlite:///{tmp_path / 'generic' / 'grantkeeper.sqlite3'}"
        async with (
            open_world(tmp_path / "generic", database, clock=person.world.clock, clients=clients) as world,
            somebody(world) as other,
        ):
            await world.services.discovery.ensure("some-bank")
            await other.sign_in()
            page = await other.open("/connect")
            assert page.link("Connect Some bank") == "/oauth/some-bank/authorize"
            [banner] = page.tagged("img", alt="Some bank")
            assert (await other.http.get(banner["src"])).status_code == 200
            [offered] = (await world.client.get("/api/v1/oauth/providers")).json()["data"]
            logo = await other.http.get(httpx2.URL(offered["logo_url"]).path)
        assert (logo.status_code, logo.headers["content-type"]) == (200, "image/svg+xml")


class TestWhatTheListSays:
    """Whose a connection is, and what it may not do."""

    async def test_identity_from_the_id_token(self, person: Person) -> None:
        """A provider with nothing but ID tokens tells whose it is all the same."""
        await person.authorize("/oauth/sso/authorize")
        assert "Connected as ada@example.com" in (await person.follow()).text
        assert person.world.provider.counts["userinfo"] == 0

    async def test_nothing_but_a_subject(self, person: Person) -> None:
        """Where the provider names its people by a number only, that tells two connections apart."""
        person.world.provider.policy.id_token_claims["email"] = None
        await person.authorize("/oauth/sso/authorize")
        assert "Connected as ada-lovelace" in (await person.follow()).text

    async def test_narrowed_scopes(self, person: Person) -> None:
        """What was asked for and not allowed is named in plain words, and how to get it."""
        person.world.provider.policy.override["scope"] = "accounts.read"
        waiting = await show_code(person)
        person.world.provider.approve_device(code_on(person.page))
        person.world.clock.advance(5)
        await person.open(waiting)
        page = await person.follow()
        assert "Not allowed at Telly: See a name. Reconnect to allow it." in page.text

    async def test_narrowed_without_a_person(self, person: Person) -> None:
        """Nobody can allow more by reconnecting where nobody was asked."""
        person.world.provider.policy.override["scope"] = "profile"
        await connect(person, "robot")
        assert "Not allowed at Robot: accounts.read." in person.page.text
        assert "Reconnect to allow it." not in person.page.text


async def test_every_page_keeps_the_rules(person: Person) -> None:
    """One h1, labelled fields, nothing inline, and nothing that a policy must allow."""
    await person.connect()
    await show_code(person)
    pages = [person.page]
    for path in ("/oauth/robot/authorize", "/oauth/desk/authorize", "/oauth/swap/authorize", "/connect"):
        pages.append(await person.open(path))
    for page in pages:
        assert len(page.tagged("h1")) == 1
        assert page.tagged("main", id="main")
        assert not page.tagged("style")
        assert not page.tagged("script")
        labelled = {label["for"] for label in page.tagged("label")}
        fields = [*page.tagged("select"), *page.tagged("input")]
        assert {field["id"] for field in fields if field.get("type") != "hidden"} <= labelled
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
