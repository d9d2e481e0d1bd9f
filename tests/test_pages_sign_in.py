"""Signing in and out, going on to where one was going, and working in another account."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest

from grantkeeper.model import User
from grantkeeper.sign_in import ATTEMPTS, WINDOW, hash_password
from tests.support.person import BROWSER_COOKIE, SESSION, Person, somebody
from tests.support.world import EMAIL, PASSWORD, World

ELSEWHERE = (
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/é/evil.example",
    " //evil.example",
    "javascript:alert(1)",
    "connections",
    "",
)
WRONG = "The e-mail address or the password is wrong."


@pytest.fixture
async def person(world: World) -> AsyncIterator[Person]:
    """Somebody who is not signed in."""
    async with somebody(world) as person:
        yield person


class TestPassword:
    """What it takes to get in."""

    async def test_sign_in(self, person: Person) -> None:
        """The right password begins a session that scripts and other sites cannot use."""
        await person.sign_in()
        assert person.location == "/connections"
        cookie = next(value for value in person.response.headers.get_list("set-cookie") if value.startswith(SESSION))
        assert re.fullmatch(rf"{SESSION}=[\w-]{{43}}; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax", cookie)
        page = await person.follow()
        assert f"Account of {EMAIL}" in page.text
        assert "/sign-out" in page.forms

    async def test_the_address_in_any_case(self, person: Person) -> None:
        """E-mail addresses are not told apart by case or by spaces around them."""
        await person.sign_in(email=f" {EMAIL.upper()} ")
        assert person.location == "/connections"

    async def test_wrong_password_and_unknown_address(self, person: Person) -> None:
        """Both get the same page, with the address kept and the password gone."""
        shown = []
        for email, password in ((EMAIL, "wrong password"), ("nobody@example.com", PASSWORD)):
            page = await person.sign_in(email, password)
            assert person.response.status_code == 401
            assert page.forms["/sign-in"]["email"] == email
            assert password not in person.response.text
            assert SESSION not in person.http.cookies
            shown.append(page.text)
        assert shown[0] == shown[1]
        assert WRONG in shown[0]

    async def test_the_wrong_password_keeps_the_way_on(self, person: Person) -> None:
        """After a slip, signing in still leads to where the person was going."""
        await person.sign_in(password="wrong password", onward="/connect")
        await person.submit("/sign-in", password=PASSWORD)
        assert person.location == "/connect"

    async def test_hostile_address(self, person: Person) -> None:
        """What was typed comes back as text."""
        page = await person.sign_in(email='"><script>alert(1)</script>')
        assert page.forms["/sign-in"]["email"] == '"><script>alert(1)</script>'
        assert not page.tagged("script")

    async def test_too_many_tries(self, person: Person) -> None:
        """After so many tries even the right password waits; later it works again."""
        for _ in range(ATTEMPTS):
            await person.sign_in(password="wrong password")
            assert person.response.status_code == 401
        page = await person.sign_in()
        assert person.response.status_code == 429
        assert "Too many sign-in attempts for this address. Try again in" in page.text
        assert int(person.response.headers["retry-after"]) >= 60
        assert page.forms["/sign-in"]["email"] == EMAIL
        person.world.clock.advance(WINDOW / 1_000_000)
        await person.sign_in()
        assert person.location == "/connections"

    async def test_a_user_without_an_account(self, person: Person) -> None:
        """Says whom to ask, and signs nobody in."""
        services = person.world.services
        user = User(uuid=str(uuid.uuid4()), email="new@example.com", name="New", created_at=0)
        await services.people.add_user(user, await hash_password(PASSWORD))
        page = await person.sign_in("new@example.com")
        assert person.response.status_code == 403
        assert "you do not belong to any account here" in page.text
        assert SESSION not in person.http.cookies


class TestWayOn:
    """`next`: only ever a page of ours."""

    async def test_where_the_person_was_going(self, person: Person) -> None:
        """The page that asked for the sign-in is the page shown after it, query and all."""
        await person.open("/connections?done=renamed&connection=%C3%A9%26")
        assert person.location.startswith("/sign-in?next=")
        page = await person.follow()
        assert "After that we take you on" in page.text
        await person.submit("/sign-in", email=EMAIL, password=PASSWORD)
        assert person.location == "/connections?done=renamed&connection=%C3%A9%26"

    @pytest.mark.parametrize("elsewhere", ELSEWHERE)
    async def test_never_elsewhere(self, person: Person, elsewhere: str) -> None:
        """Whatever browsers would take for another site leads to the connections."""
        await person.sign_in(onward=elsewhere)
        assert person.location == "/connections"
        await person.open(str(httpx2.URL("/sign-in", params={"next": elsewhere})))
        assert person.location == "/connections"

    @pytest.mark.parametrize("elsewhere", ELSEWHERE)
    async def test_never_elsewhere_by_a_changed_form(self, person: Person, elsewhere: str) -> None:
        """Nor where the form itself is changed."""
        await person.open("/sign-in")
        await person.submit("/sign-in", email=EMAIL, password=PASSWORD, next=elsewhere)
        assert person.location == "/connections"

    async def test_signed_in_already(self, person: Person) -> None:
        """Whoever is signed in is not asked again."""
        await person.sign_in()
        await person.open("/sign-in?next=/connect")
        assert person.location == "/connect"


class TestSession:
    """How long it holds, and how it ends."""

    async def test_rotation(self, person: Person) -> None:
        """Each sign-in has a token of its own, and ends the one before it in that browser."""
        await person.open("/sign-in")
        form = person.page.forms["/sign-in"] | {"email": EMAIL, "password": PASSWORD}
        await person.http.post("/sign-in", data=form)
        before = person.http.cookies[SESSION]
        await person.http.post("/sign-in", data=form)
        assert person.http.cookies[SESSION] != before
        assert (await person.http.get("/connections")).status_code == 200
        person.http.cookies.set(SESSION, before, domain="127.0.0.1", path="/")
        assert (await person.http.get("/connections")).status_code == 303

    async def test_a_token_that_was_planted(self, person: Person) -> None:
        """A session token that somebody else chose is not taken over by signing in."""
        person.http.cookies.set(SESSION, "planted" * 7, domain="127.0.0.1", path="/")
        await person.sign_in()
        assert person.http.cookies[SESSION] != "planted" * 7

    async def test_sign_out(self, person: Person) -> None:
        """The cookies are dropped, and the old one opens nothing."""
        await person.sign_in()
        await person.follow()
        session, browser = person.http.cookies[SESSION], person.http.cookies[BROWSER_COOKIE]
        await person.submit("/sign-out")
        assert SESSION not in person.http.cookies
        assert person.http.cookies[BROWSER_COOKIE] != browser
        assert "You are signed out." in (await person.follow()).text
        person.http.cookies.set(SESSION, session, domain="127.0.0.1", path="/")
        assert (await person.http.get("/connections")).status_code == 303

    async def test_it_expires(self, person: Person) -> None:
        """After two weeks the person signs in again."""
        await person.sign_in()
        person.world.clock.advance(14 * 86_400)
        await person.open("/connections")
        assert person.location == "/sign-in?next=%2Fconnections"

    async def test_a_user_who_lost_the_account(self, person: Person) -> None:
        """A membership that ends takes the open pages with it."""
        await person.sign_in()
        login = person.world.login
        await person.world.services.people.delete_login(login.user.uuid, login.account.uuid)
        await person.open("/connections")
        assert person.location.startswith("/sign-in")


class TestAccounts:
    """A user of several accounts."""

    async def test_switch(self, person: Person) -> None:
        """The header switches, and each account shows its own connections."""
        services, login = person.world.services, person.world.login
        await person.sign_in()
        connected = await person.connect()
        assert "/account" not in person.page.forms
        other = await services.people.add_account(str(uuid.uuid4()), "Hopper & Sons", 1)
        await services.people.add_login(str(uuid.uuid4()), login.user.uuid, other.uuid, services.clock.now() + 1)
        page = await person.open("/connections")
        assert page.tagged("option", value=login.account.uuid, selected="")
        await person.submit("/account", account_uuid=other.uuid)
        page = await person.follow()
        assert "You are now working in another account." in page.text
        assert page.tagged("option", value=other.uuid, selected="")
        assert "Nothing is connected yet" in page.text
        await person.open(f"/connections/{connected}/disconnect")
        assert person.response.status_code == 404

    async def test_an_account_of_others(self, person: Person) -> None:
        """404, and the person stays where they were."""
        await person.sign_in()
        stranger = await person.world.new_login("eve@example.com")
        csrf = (await person.follow()).forms["/sign-out"]["csrf"]
        for account in (stranger.account.uuid, "nonsense", ""):
            answer = await person.http.post("/account", data={"csrf": csrf, "account_uuid": account})
            assert answer.status_code == 404
        assert f"Account of {EMAIL}" in (await person.open("/connections")).text
