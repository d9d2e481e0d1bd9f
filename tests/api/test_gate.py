"""The gate, on every route there is: a route that is added later is walked without a change here."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2

from grantkeeper.model import ALL_SCOPES, Scope
from grantkeeper.web.edge import Route
from tests.api.builders import TOKENS, UNKNOWN_UUID, add_connection, client_of, client_with, other_client
from tests.support.world import PASSWORD, World, http_client

_PARAMETER = re.compile(r"{(\w+)}")


def address(route: Route, uuid: str = UNKNOWN_UUID) -> str:
    """The path of a route, its parameters filled in."""
    values = {"uuid": uuid, "provider": "demo"}
    return _PARAMETER.sub(lambda match: values.get(match[1], "x"), route.path)


def routes(world: World, access: str) -> Iterator[Route]:
    """Every route that wants this access."""
    found = [route for route in world.application.routes if route.access == access]
    assert found, f"no route wants {access}"
    yield from found


async def call(client: httpx2.AsyncClient, route: Route, uuid: str = UNKNOWN_UUID) -> httpx2.Response:
    """A request that would change something if the gate let it pass."""
    hashed = {"refused_token_sha256": "0" * 64}
    proven = {"method": "GET", "url": "https://api.example.com/me"}
    body = {"label": "taken", "name": "taken", "password": PASSWORD, "account_uuid": uuid, **hashed, **proven}
    json = body if route.method in ("PUT", "POST", "PATCH") and route.kind == "api" else None
    return await client.request(route.method, address(route, uuid), json=json)


async def signed_in(world: World) -> httpx2.AsyncClient:
    """A browser in which the world's user is signed in."""
    session = await world.services.sign_in.begin_session(world.login.user)
    assert session is not None
    return http_client(world.application, cookies={"gk_session": session})


async def test_the_table_is_whole(world: World) -> None:
    """Every route says what it wants; nothing under /api/ but its description and its page is public."""
    public = {route.path for route in routes(world, "public")}
    assert {path for path in public if path.startswith("/api/")} == {"/api/v1/openapi.json", "/api/docs"}
    for route in routes(world, "token"):
        assert (route.kind, route.scope in ALL_SCOPES) == ("api", True), route.path
    for route in world.application.routes:
        if route.path.startswith("/api/v1/") and route.path not in public:
            assert route.access == "token", route.path


async def test_no_token(world: World) -> None:
    """Every call of the API without a token, or with something else in its place, is 401 and says no more."""
    good = world.token
    basic = {"authorization": f"Basic {good}"}
    for route in routes(world, "token"):
        for client in (
            client_of(world, None),
            client_of(world, ""),
            client_of(world, "nonsense"),
            client_of(world, good[:-1]),
            client_of(world, good + "x"),
            client_of(world, good[:-1] + ("0" if good[-1] != "0" else "1")),
            client_of(world, good.lower()),
            client_of(world, None, **basic),
            client_of(world, None, authorization=good),
            client_of(world, None, X_Api_Key=good),
        ):
            answer = await call(client, route)
            assert answer.status_code == 401, route.path
            assert answer.content == b'{"message":"Unauthenticated."}'
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "x-ratelimit-limit" not in answer.headers


async def test_the_scheme_in_any_case(world: World) -> None:
    """`bearer` is Bearer (RFC 9110 §11.1); a session cookie or a token in the query is no token."""
    lower = client_of(world, None, authorization=f"bearer {world.token}")
    assert (await lower.get("/api/v1/logins")).status_code == 200
    browser = await signed_in(world)
    assert (await browser.get("/api/v1/logins")).status_code == 401
    visitor = client_of(world, None)
    for name in ("access_token", "token", "api_token"):
        assert (await visitor.get("/api/v1/logins", params={name: world.token})).status_code == 401


async def test_missing_scope(world: World) -> None:
    """Every call of the API with every scope but its own is 403 and names the one that is missing."""
    connection = await add_connection(world, "Before")
    for route in routes(world, "token"):
        assert route.scope is not None
        lacking = await client_with(world, *(ALL_SCOPES - {route.scope}))
        answer = await call(lacking, route, connection.uuid)
        assert answer.status_code == 403, route.path
        assert answer.json() == {"message": f"This token lacks the scope {route.scope}."}
    assert (await world.stored(connection)).label == "Before"


async def test_own_scope_is_enough(world: World) -> None:
    """Every call of the API is let through with its own scope alone."""
    connection = await world.connect()
    order = sorted(routes(world, "token"), key=lambda route: route.method == "DELETE")
    for route in order:
        assert route.scope is not None
        answer = await call(await client_with(world, route.scope), route, connection.uuid)
        assert answer.status_code in (200, 201, 204, 422), route.path


async def test_another_accounts_uuid(either_world: World) -> None:
    """Every call and page with the UUID of another account's connection is 404, and changes nothing."""
    world = either_world
    login, _ = await other_client(world)
    theirs = await add_connection(world, "theirs", login=login)
    browser = await signed_in(world)
    walked = 0
    for route in world.application.routes:
        if "{uuid}" not in route.path or route.access == "public":
            continue
        if route.access == "token":
            answer = await call(world.client, route, theirs.uuid)
        else:
            page = await browser.get("/connections")
            csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
            assert csrf is not None
            form = {"csrf": csrf[1], "label": "taken"} if route.method == "POST" else None
            answer = await browser.request(route.method, address(route, theirs.uuid), data=form)
        assert answer.status_code == 404, f"{route.method} {route.path}"
        walked += 1
    assert walked >= 9
    found = await world.stored(theirs)
    assert (found.label, found.updated_at) == ("theirs", theirs.updated_at)


async def test_not_signed_in(world: World) -> None:
    """Every page of signed-in people leads to the sign-in page, with or without a made-up session."""
    connection = await add_connection(world, "Before")
    for route in routes(world, "session"):
        for cookies in ({}, {"gk_session": "x" * 43}, {"gk_session": world.token}, {"gk_session": ""}):
            client = http_client(world.application, world.token, cookies=cookies)
            answer = await client.request(route.method, address(route, connection.uuid), data={"label": "taken"})
            assert answer.status_code == 303, route.path
            assert answer.headers["location"].startswith("/sign-in"), route.path
    assert (await world.stored(connection)).label == "Before"


async def test_forms_from_elsewhere(world: World) -> None:
    """Every form that comes from no page of ours is 403 although its sender is signed in."""
    connection = await add_connection(world, "Before")
    browser = await signed_in(world)
    for route in routes(world, "session"):
        if route.method != "POST":
            continue
        for form in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "\u00e9"}):
            answer = await browser.post(address(route, connection.uuid), data={"label": "taken", **form})
            assert answer.status_code in (403, 415), route.path
            json = await browser.post(address(route, connection.uuid), json={"label": "taken", **form})
            assert json.status_code == 415, route.path
    assert (await world.stored(connection)).label == "Before"


async def test_a_browser_reads_no_token(world: World) -> None:
    """Who is signed in can do on the pages what a person does, but no page shows a provider's token."""
    connection = await world.connect()
    token = (await world.read_token(connection)).json()["access_token"]
    browser = await signed_in(world)
    for route in routes(world, "session"):
        if route.method == "GET":
            answer = await browser.get(address(route, connection.uuid))
            assert token not in answer.text, route.path


async def test_scopes_of_nobody(world: World) -> None:
    """A token with no scope at all can do nothing but be told so."""
    empty = await client_with(world)
    for route in routes(world, "token"):
        assert (await call(empty, route)).status_code == 403
    admin = await client_with(world, Scope.ADMIN)
    assert (await admin.post(TOKENS, json={})).status_code == 422
