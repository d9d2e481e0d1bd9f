"""The pages of signed-in people: connections, their labels, disconnecting, the gallery; and what holds for all."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from grantkeeper.app import routes
from grantkeeper.clock import DAY, MINUTE
from grantkeeper.model import Connection, Evidence, Status, TokenSet
from grantkeeper.web.edge import Route
from grantkeeper.web.html import Html
from grantkeeper.web.http import Request
from tests.support.person import BROWSER_COOKIE, SESSION, Page, Person, somebody
from tests.support.world import CLIENT_ID, World, open_world

HOSTILE_LABEL = "\"><script>alert('x')</script>&amp;"


@pytest.fixture
async def person(world: World) -> AsyncIterator[Person]:
    """Somebody who is signed in."""
    async with somebody(world) as person:
        await person.sign_in()
        yield person


def page_routes(world: World) -> list[Route]:
    """Every page, from the product's own table."""
    return [route for route in routes(world.services, Html(secure=False)) if route.kind == "page"]


def addressed(path: str, connection_uuid: str) -> str:
    """A route's path with its parameters filled in."""
    return path.replace("{uuid}", connection_uuid).replace("{provider}", "demo").replace("{handle}", "h" * 43)


def row(page: Page, connection_uuid: str) -> dict[str, str]:
    """The form that holds a connection's label."""
    return page.forms[f"/connections/{connection_uuid}/label"]


class TestTheMainJob:
    """Connect, see, rename, reconnect, disconnect."""

    async def test_connect_list_rename_reconnect_disconnect(self, person: Person) -> None:
        """One connection's whole life, by links and forms alone."""
        page = await person.open("/")
        page = await person.follow()
        assert "Nothing is connected yet" in page.text
        assert page.link("Choose a service") == "/connect"

        page = await person.open("/connect")
        assert page.link("Connect Demo Provider") == "/oauth/demo/authorize"
        uuid = await person.connect()
        page = person.page
        assert "“My Demo Provider Account 1” is connected." in page.text
        assert "Ada Lovelace" in page.text
        assert "Working" in page.text

        page = await person.submit(f"/connections/{uuid}/label", label="  Ada's books ")
        page = await person.follow()
        assert "Renamed to “Ada's books”." in page.text
        assert row(page, uuid)["label"] == "Ada's books"

        assert page.link("Reconnect Ada's books") == f"/oauth/demo/authorize/{uuid}"
        await person.authorize(f"/oauth/demo/authorize/{uuid}")
        page = await person.follow()
        assert "“Ada's books” is connected again." in page.text
        assert list(page.forms) == ["/sign-out", f"/connections/{uuid}/label"]

        page = await person.open(f"/connections/{uuid}/disconnect")
        assert "Disconnect “Ada's books”?" in page.text
        assert page.link("Keep it") == "/connections"
        await person.submit(f"/connections/{uuid}/disconnect")
        page = await person.follow()
        assert "The connection was disconnected." in page.text
        assert "Nothing is connected yet" in page.text
        assert person.world.provider.grants()[-1].revoked_at is not None

    async def test_asking_to_disconnect_disconnects_nothing(self, person: Person) -> None:
        """The confirmation page alone changes nothing."""
        uuid = await person.connect()
        await person.open(f"/connections/{uuid}/disconnect")
        assert row(await person.open("/connections"), uuid)

    async def test_a_provider_that_cannot_be_told(self, person: Person) -> None:
        """Where the provider cannot revoke, the page says what the person can do about it."""
        uuid = await person.connect()
        assert "We also ask Demo Provider to withdraw" in (await person.open(f"/connections/{uuid}/disconnect")).text
        await _update(person.world, uuid, provider="github")
        page = await person.open(f"/connections/{uuid}/disconnect")
        assert "remove it in your account at GitHub" in page.text


class TestLabels:
    """Edited in place."""

    @pytest.mark.parametrize(
        ("label", "problem"),
        [
            ("", "must not be empty"),
            ("   ", "must not be empty"),
            ("x" * 256, "must not be longer than 255 characters"),
            ("a\tb\x1bc", "must not contain control characters"),
        ],
    )
    async def test_a_bad_label_is_shown_again(self, person: Person, label: str, problem: str) -> None:
        """422, the message at its row, what was typed kept, and nothing changed."""
        other = await person.connect()
        uuid = await person.connect()
        page = await person.submit(f"/connections/{uuid}/label", label=label)
        assert person.response.status_code == 422
        field = page.tagged("input", id=f"label-{uuid}")[0]
        assert (field["value"], field["aria-invalid"]) == (label, "true")
        assert problem in person.response.text.partition(f'id="problem-{uuid}"')[2]
        assert row(page, other)["label"] == "My Demo Provider Account 1"
        assert row(await person.open("/connections"), uuid)["label"] == "My Demo Provider Account 2"

    @pytest.mark.parametrize("label", [HOSTILE_LABEL, "Ænima 🎉 «été»", "{{ 7 * 7 }} {label}", "x" * 255])
    async def test_any_other_label_is_text(self, person: Person, label: str) -> None:
        """HTML, braces and emoji come back as what was typed, on every page that shows them."""
        uuid = await person.connect()
        await person.submit(f"/connections/{uuid}/label", label=label)
        page = await person.follow()
        assert f"Renamed to “{label.strip()}”." in page.text.replace("\xa0", " ")
        assert row(page, uuid)["label"] == label.strip()
        assert not page.tagged("script")
        page = await person.open(f"/connections/{uuid}/disconnect")
        assert label.strip() in page.text
        assert not page.tagged("script")

    async def test_a_form_without_a_label(self, person: Person) -> None:
        """A form that lacks the field is a bad label, not a crash."""
        uuid = await person.connect()
        csrf = row(person.page, uuid)["csrf"]
        person.response = await person.http.post(f"/connections/{uuid}/label", data={"csrf": csrf})
        assert person.response.status_code == 422

    async def test_hostile_identity(self, person: Person) -> None:
        """What the provider calls the person is text too."""
        uuid = await person.connect()
        await _update(person.world, uuid, identity=HOSTILE_LABEL)
        page = await person.open("/connections")
        assert HOSTILE_LABEL in page.text
        assert not page.tagged("script")


class TestStatusInWords:
    """What the list says of connections that work, that do not, and of those that will stop."""

    async def test_access_renews(self, person: Person) -> None:
        """The next refresh in relative time, with the exact one for machines and on hovering."""
        uuid = await person.connect()
        await _update(person.world, uuid, next_refresh_at=person.world.clock.now() + 50 * MINUTE)
        page = await person.open("/connections")
        assert "Access renews in 50 minutes" in page.text
        assert page.tagged("time", datetime="2026-01-16T14:00:23Z", title="16 January 2026, 14:00 UTC")

    async def test_the_time_zone_of_the_settings(self, tmp_path: Path) -> None:
        """Calendar times are told in the configured zone."""
        async with _world(tmp_path, timezone="Europe/Paris") as world, somebody(world) as person:
            await person.sign_in()
            uuid = await person.connect()
            await _update(world, uuid, next_refresh_at=world.clock.now() + 50 * MINUTE)
            page = await person.open("/connections")
            assert page.tagged("time")[0]["title"] == "16 January 2026, 15:00 CET"

    async def test_no_refresh_token(self, person: Person) -> None:
        """A grant without a refresh token says when it ends; once it has ended, that it must be renewed by hand."""
        person.world.provider.policy.omit = {"refresh_token"}
        await person.connect()
        assert "Access expires in 60 minutes" in person.page.text
        assert "It will stop working when it expires at 16 January 2026, 14:10 UTC; reconnect then." in person.page.text
        person.world.clock.advance(3601)
        page = await person.open("/connections")
        assert "Needs you to sign in again" in page.text
        assert "Working" not in page.text
        await person.world.services.worker.run_once()
        page = await person.open("/connections")
        assert "Its access has expired, and Demo Provider gave no way to renew it. Reconnect to go on." in page.text

    async def test_no_expiry(self, person: Person) -> None:
        """A token that lives for ever is said to, and raises no alarm."""
        uuid = await person.connect()
        await _update(person.world, uuid, access_token_expires_at=None, next_refresh_at=None)
        page = await person.open("/connections")
        assert "Access does not expire" in page.text
        assert "stop working" not in page.text

    async def test_refresh_is_overdue(self, person: Person) -> None:
        """With no worker running, an expired token that can be refreshed is nothing to worry about."""
        await person.connect()
        person.world.clock.advance(7200)
        assert "Working Access renews when it is next used" in (await person.open("/connections")).text

    async def test_the_sign_in_ends_soon(self, person: Person) -> None:
        """Two weeks before the refresh token dies the list says so, not earlier."""
        uuid, now = await person.connect(), person.world.clock.now()
        await _update(person.world, uuid, refresh_token_expires_at=now + 15 * DAY)
        assert "Sign-in ends" not in (await person.open("/connections")).text
        await _update(person.world, uuid, refresh_token_expires_at=now + 9 * DAY)
        assert "Sign-in ends in 9 days" in (await person.open("/connections")).text

    async def test_trying_again(self, person: Person) -> None:
        """While the provider fails, nobody is asked to do anything, and the next try is told."""
        await person.connect()
        person.world.clock.advance(3540)
        person.world.provider.fail_next(status=503)
        await person.world.services.worker.run_once()
        page = await person.open("/connections")
        assert "Trying again" in page.text
        assert "there is nothing you need to do" in page.text
        assert "Access expires in 1 minute" in page.text
        assert "Next try in" in page.text
        person.world.clock.advance(120)
        assert "Access expired 1 minute ago" in (await person.open("/connections")).text

    async def test_the_operator_must_act(self, person: Person) -> None:
        """A client that the provider rejects is not the person's fault, and says whom to tell."""
        await person.connect()
        person.world.provider.rotate_client_secret(CLIENT_ID, "another")
        person.world.clock.advance(3540)
        await person.world.services.worker.run_once()
        page = await person.open("/connections")
        assert "Needs the operator" in page.text
        assert "please tell the person who runs this service" in page.text

    async def test_the_person_must_act(self, person: Person) -> None:
        """A withdrawn grant asks for a new sign-in, and reconnecting mends it."""
        uuid = await person.connect()
        person.world.provider.revoke_grants()
        person.world.clock.advance(3540)
        await person.world.services.worker.run_once()
        page = await person.open("/connections")
        assert "Needs you to sign in again" in page.text
        assert "Demo Provider no longer honours the earlier sign-in. Reconnect to go on." in page.text
        assert page.tagged("a", href=f"/oauth/demo/authorize/{uuid}", **{"class": "button primary"})
        await person.authorize(f"/oauth/demo/authorize/{uuid}")
        assert "Working" in (await person.follow()).text

    async def test_an_ended_connection(self, person: Person) -> None:
        """A revoked connection is called ended."""
        uuid = await person.connect()
        await _update(person.world, uuid, status=Status.REVOKED.value)
        assert "Ended" in (await person.open("/connections")).text

    async def test_a_provider_that_is_no_longer_set_up(self, person: Person) -> None:
        """Its connections are shown, without a link that would lead nowhere; unknown ones without a logo."""
        uuid = await person.connect()
        await _update(person.world, uuid, provider="xero")
        page = await person.open("/connections")
        assert "Xero is no longer set up here" in page.text
        assert not [link for link in page.links if link.startswith("/oauth/")]
        assert page.tagged("img", src="/imgs/xero.svg")
        await _update(person.world, uuid, provider="gone-for-good")
        page = await person.open("/connections")
        assert "gone-for-good" in page.text
        assert not page.tagged("img", src="/imgs/gone-for-good.svg")


class TestNotices:
    """What the list says on arrival."""

    async def test_only_known_words(self, person: Person) -> None:
        """An unknown word, another's UUID, and text in the address are not shown."""
        await person.connect()
        for query in ({"done": "You+won"}, {"done": "<b>x"}, {"connection": "nonsense", "done": "hello"}):
            page = await person.open(str(httpx2.URL("/connections", params=query)))
            assert person.response.status_code == 200
            assert not page.tagged("p", role="status")
        page = await person.open("/connections?done=connected&connection=nonsense")
        assert "The new connection is ready." in page.text
        assert "nonsense" not in person.response.text

    async def test_notices_are_announced(self, person: Person) -> None:
        """Screen readers are told, politely."""
        await person.connect()
        assert person.page.tagged("div", **{"aria-live": "polite"})
        assert person.page.tagged("p", role="status")


class TestManyConnections:
    """More than one page of them."""

    async def test_pages(self, person: Person) -> None:
        """501 connections are two pages, and renaming on the second comes back to the second."""
        await _add_many(person.world, 501)
        page = await person.open("/connections")
        assert len(page.tagged("li", **{"class": "connection good"})) == 500
        page = await person.open(page.link("Next page"))
        assert len(page.tagged("li", **{"class": "connection good"})) == 1
        assert page.link("First page") == "/connections"
        action = next(form for form in page.forms if form.endswith("/label"))
        page = await person.submit(action, label="")
        assert person.response.status_code == 422
        assert "must not be empty" in page.text
        assert page.tagged("input", **{"aria-invalid": "true"})
        await person.submit(action, label="The last one")
        page = await person.follow()
        assert "Renamed to “The last one”." in page.text
        assert page.forms[action]["label"] == "The last one"

    async def test_a_cursor_that_is_not_ours(self, person: Person) -> None:
        """A page that says so."""
        await person.open("/connections?cursor=%00nonsense")
        assert person.response.status_code == 422
        assert "The cursor is not one of ours" in person.page.text


class TestGallery:
    """What can be connected."""

    async def test_scopes_in_plain_words(self, person: Person) -> None:
        """Known scopes are explained; those that only the provider knows are named."""
        page = await person.open("/connect")
        assert "You will be asked to allow:" in page.text
        for words in person.world.services.clients.catalogue["demo"].scopes.meaning.values():
            assert words in page.text

    async def test_scopes_that_nobody_explained(self, tmp_path: Path) -> None:
        """An operator's own scope is shown as it is."""
        clients = {
            "google": {"client_id": "x", "client_secret": "y", "scopes": ["email", "https://example.com/auth/odd"]}
        }
        async with _world(tmp_path, clients=clients) as world, somebody(world) as person:
            await person.sign_in()
            page = await person.open("/connect")
            assert "See the account's e-mail address" in page.text
            assert "https://example.com/auth/odd" in page.text

    async def test_nothing_to_connect(self, tmp_path: Path) -> None:
        """With no provider set up, the page says what the operator does about it."""
        async with _world(tmp_path, clients={}) as world, somebody(world) as person:
            await person.sign_in()
            page = await person.open("/connect")
            assert "No service is set up here yet" in page.text
            assert "grantkeeper doctor" in page.text


class TestEveryPage:
    """What holds for all of them, walked over the product's route table."""

    async def test_without_a_session(self, world: World) -> None:
        """Every page that wants a session leads to the sign-in; what was posted does nothing."""
        wanted = [route for route in page_routes(world) if route.access == "session"]
        assert len(wanted) >= 11
        async with somebody(world) as person:
            for route in wanted:
                path = addressed(route.path, str(uuid.uuid4()))
                answer = await person.http.request(route.method, f"{path}?a=b%26c" if route.method == "GET" else path)
                assert answer.status_code == 303, path
                address = httpx2.URL(answer.headers["location"])
                assert address.path == "/sign-in"
                assert address.params.get("next") == (f"{path}?a=b%26c" if route.method == "GET" else None)

    async def test_without_csrf(self, person: Person) -> None:
        """Every form that did not come from our page in this browser is refused."""
        connection_uuid = await person.connect()
        posts = [route for route in page_routes(person.world) if route.method == "POST"]
        assert len(posts) >= 7
        async with somebody(person.world) as stranger:
            foreign = (await stranger.open("/sign-in")).forms["/sign-in"]["csrf"]
        for route in posts:
            path = addressed(route.path, connection_uuid)
            for form in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": foreign}):
                answer = await person.http.post(path, data={"label": "Forged", **form})
                assert answer.status_code == 403, path
                assert "This form is out of date" in answer.text
        page = await person.open("/connections")
        assert row(page, connection_uuid)["label"] == "My Demo Provider Account 1"

    async def test_without_the_browser_cookie(self, person: Person) -> None:
        """A form without the cookie it belongs to is refused."""
        await person.open("/connections")
        csrf = person.page.forms["/sign-out"]["csrf"]
        session = person.http.cookies[SESSION]
        answer = await person.http.post("/sign-out", data={"csrf": csrf}, headers={"cookie": f"{SESSION}={session}"})
        assert answer.status_code == 403

    async def test_other_kinds_of_body(self, person: Person) -> None:
        """Forms are urlencoded, and nothing else is read."""
        answer = await person.http.post("/sign-in", json={"email": "x"})
        assert answer.status_code == 415

    async def test_another_accounts_connection(self, person: Person) -> None:
        """Another account's UUID, an unknown one and a malformed one are the same 404."""
        connection = await person.world.connect(login=await person.world.new_login("eve@example.com"))
        csrf = (await person.open("/connections")).forms["/sign-out"]["csrf"]
        walked = [route for route in page_routes(person.world) if "{uuid}" in route.path]
        assert len(walked) == 4
        for route in walked:
            for value in (connection.uuid, str(uuid.uuid4()), "nonsense", "%00", connection.uuid.upper()):
                path = addressed(route.path, value)
                form = {"csrf": csrf, "label": "Mine"} if route.method == "POST" else None
                answer = await person.http.request(route.method, path, data=form)
                assert answer.status_code == 404, path
                assert "There is no such connection." in answer.text
        assert await person.world.stored(connection) == connection

    async def test_security_headers(self, person: Person) -> None:
        """No page may run foreign code, be framed, be kept, or tell where its reader came from."""
        for path in ("/sign-in", "/connections", "/connect", "/nothing-here", "/api/docs", "/oauth/demo/callback"):
            answer = await person.http.get(path)
            headers = answer.headers
            policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
            assert policy == {
                "default-src": "'none'",
                "style-src": "'self'",
                "img-src": "'self'",
                "script-src": "'self'",
                "form-action": "'self'",
                "frame-ancestors": "'none'",
                "base-uri": "'none'",
            }
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-frame-options"] == "DENY"
            assert "strict-transport-security" not in headers

    async def test_cookies_over_https(self, tmp_path: Path) -> None:
        """Where browsers come by https, cookies are bound to this host and to https."""
        async with _world(tmp_path, public_url="https://connections.example.com") as world, somebody(world) as person:
            await person.open("/sign-in")
            cookie = person.response.headers["set-cookie"]
            assert cookie.startswith(f"__Host-{BROWSER_COOKIE}=")
            assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")
            assert "strict-transport-security" in person.response.headers

    async def test_no_inline_styles_or_scripts(self, person: Person) -> None:
        """Nothing that the policy would block, and no handler in an attribute."""
        connection_uuid = await person.connect()
        paths = (
            "/sign-in",
            "/connections",
            "/connect",
            f"/connections/{connection_uuid}/disconnect",
            "/nothing",
            "/api/docs",
        )
        for path in paths:
            page = await person.open(path)
            assert not page.tagged("style")
            assert not page.tagged("script")
            for tag, attributes in page.tags:
                assert not [name for name in attributes if name == "style" or name.startswith("on")], (path, tag)

    async def test_headings_landmarks_and_labels(self, person: Person) -> None:
        """One h1, one main, a way to skip to it, a language, and a label for every field."""
        connection_uuid = await person.connect()
        for path in (
            "/sign-in?next=//",
            "/connections",
            "/connect",
            f"/connections/{connection_uuid}/disconnect",
            "/nothing",
        ):
            page = await person.open(path)
            page = await person.follow() if person.response.status_code == 303 else page
            assert page.tagged("html", lang="en")
            assert len(page.tagged("h1")) == 1
            assert page.tagged("main", id="main")
            assert page.link("Skip to the content") == "#main"
            labelled = {label["for"] for label in page.tagged("label")}
            fields = [field for field in page.tagged("input") if field.get("type") != "hidden"]
            assert {field["id"] for field in fields} <= labelled

    async def test_what_a_page_links_to_is_there(self, person: Person) -> None:
        """Styles, icons and logos are served, by addresses that change with their content."""
        await person.connect()
        page = person.page
        for attributes in (*page.tagged("link"), *page.tagged("img")):
            path = attributes.get("href") or attributes["src"]
            answer = await person.http.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["content-type"].startswith(("text/css", "image/svg+xml"))
            assert "?v=" in path or path.startswith("/imgs/")

    async def test_the_account_is_known_to_the_log(self, person: Person) -> None:
        """A page tells the edge whose account it worked in, for the log line."""
        cookie = f"{SESSION}={person.http.cookies[SESSION]}".encode()
        scope = {"method": "GET", "path": "/connections", "query_string": b"", "headers": [(b"cookie", cookie)]}
        request = Request(scope, _no_body, "an-id")
        shown = next(route for route in page_routes(person.world) if route.path == "/connections")
        assert (await shown.endpoint(request)).status == 200
        assert request.account_uuid == person.world.account_uuid

    async def test_not_found_and_not_allowed(self, person: Person) -> None:
        """An unknown address and a wrong method have pages too."""
        page = await person.open("/nothing-here")
        assert (person.response.status_code, page.link("Your connections")) == (404, "/connections")
        answer = await person.http.delete("/connections")
        assert (answer.status_code, "GET" in answer.headers["allow"]) == (405, True)


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def _update(world: World, connection_uuid: str, **columns: Any) -> None:
    """Put a connection into a state that would take long to come about."""
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    statement = f"UPDATE connections SET {changes} WHERE uuid = :uuid"
    await world.services.database.execute(statement, uuid=connection_uuid, **columns)


async def _add_many(world: World, number: int) -> None:
    """That many connections in one transaction."""
    services, now = world.services, world.clock.now()
    tokens = TokenSet(access_token="a", token_type="Bearer", refresh_token="r", issued_at=now)
    async with services.database.transaction() as statements:
        for index in range(number):
            connection = Connection(
                uuid=str(uuid.uuid4()),
                account_uuid=world.account_uuid,
                provider="demo",
                client_id=CLIENT_ID,
                label=f"Account {index}",
                status=Status.ACTIVE,
                created_at=now + index,
                updated_at=now + index,
                scopes=(),
                generation=1,
                token_type="Bearer",
                refreshable=True,
            )
            evidence = Evidence(at=now, account_uuid=world.account_uuid, actor="test", action="connect")
            await services.store.add(connection, tokens, evidence, statements=statements)


def _world(directory: Path, **settings: Any) -> Any:
    return open_world(directory, f"sqlite:///{directory / 'grantkeeper.sqlite3'}", **settings)
