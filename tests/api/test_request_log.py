"""One line a request, in the log and about it: what an operator needs, and nothing that is secret."""

from __future__ import annotations

import pytest

from grantkeeper.app import routes
from grantkeeper.errors import ConfigError, GrantkeeperError, SealError, StorageError, StorageUnavailable
from grantkeeper.testing import FakeClock
from grantkeeper.web.edge import Edge, Kind, Route
from grantkeeper.web.html import Html
from grantkeeper.web.http import Reply, Request
from grantkeeper.web.responses import Responses
from tests.api.builders import INDEX, TOKENS, UNKNOWN_UUID, bearer, client_of, raw_call
from tests.api.journal import Journal
from tests.support.world import PASSWORD, World

SECRET = "a-secret-that-an-error-quotes"


async def test_one_line_a_request(world: World, journal: Journal) -> None:
    """Method, the route's template, status, duration in milliseconds, request id and account."""
    connection = await world.connect()
    await world.client.get(f"{INDEX}/{connection.uuid}/token", params={"min_ttl": 5})
    [line] = journal.events("request")
    assert line.pop("time").endswith("+00:00")
    assert isinstance(line.pop("ms"), float)
    assert line.pop("request_id")
    assert line == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "route": f"{INDEX}/{{uuid}}/token",
        "status": 200,
        "account": world.account_uuid,
    }


async def test_every_outcome_has_its_line(world: World, journal: Journal) -> None:
    """Refused, unknown, public or a page: one line each, with what is known of it."""
    visitor = client_of(world, None)
    await visitor.get(INDEX)
    await visitor.get("/api/v1/nothing/secret-path")
    await visitor.patch(INDEX)
    await visitor.get("/health")
    await visitor.get("/connections")
    await visitor.head("/api/v1/openapi.json")
    lines = [(line["method"], line["route"], line["status"], line["account"]) for line in journal.events("request")]
    assert lines == [
        ("GET", INDEX, 401, None),
        ("GET", None, 404, None),
        ("PATCH", None, 405, None),
        ("GET", "/health", 200, None),
        ("GET", "/connections", 303, None),
        ("HEAD", "/api/v1/openapi.json", 200, None),
    ]
    assert "secret-path" not in journal.text


async def test_a_line_although_the_caller_is_gone(world: World, journal: Journal) -> None:
    """A request whose answer nobody takes is a request all the same."""

    async def gone(message: object) -> None:
        raise ConnectionResetError

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": INDEX, "query_string": b"", "headers": [bearer(world.token)]}
    with pytest.raises(ConnectionResetError):
        await world.application(scope, receive, gone)
    [line] = journal.events("request")
    assert (line["route"], line["status"]) == (INDEX, 200)


async def test_nothing_secret(world: World, journal: Journal) -> None:
    """No query, no header, no body, neither of a good call nor of a bad one, at level debug."""
    connection = await world.connect()
    path = f"{INDEX}/{connection.uuid}"
    read = (await world.read_token(connection)).json()["access_token"]
    await world.client.get(INDEX, params={"filter[label]": "a-private-filter", "cursor": "a-private-cursor"})
    await world.client.put(path, json={"label": "a-private-label"})
    await world.client.put(path, content=b'{"label":"a-broken-body', headers={"content-type": "application/json"})
    body = {"name": "n", "account_uuid": world.account_uuid}
    created = await world.client.post(TOKENS, json=body | {"password": PASSWORD})
    await world.client.post(TOKENS, json=body | {"password": "a-wrong-password"})
    await client_of(world, world.token[:-1]).get(INDEX)
    await client_of(world, None, cookie="gk_session=a-session-token").get("/connections?next=a-private-query")
    world.clock.advance(3600)
    await world.read_token(connection)
    assert len(journal.events("request")) == 9
    for secret in (
        world.token[3:-6],
        created.json()["token"],
        read,
        PASSWORD,
        "a-private",
        "a-broken-body",
        "a-wrong-password",
        "a-session-token",
        "Bearer gk_",
        "min_ttl",
    ):
        assert secret not in journal.text, secret


async def test_request_ids(world: World, journal: Journal) -> None:
    """A caller's own id is answered and logged where it is a plain word; anything else is replaced."""
    for given in ("mine-1", "A.b_c-9", "x" * 64):
        answer = await world.client.get(INDEX, headers={"x-request-id": given})
        assert answer.headers["x-request-id"] == given
        assert journal.events("request")[-1]["request_id"] == given
    for bad in ("", " ", "two words", "x" * 65, '{"a":1}', "a\tb", "é", "<b>", "a/b", "a;b"):
        raw = await raw_call(world.application, INDEX, headers=[bearer(world.token), (b"x-request-id", bad.encode())])
        made = raw.header(b"x-request-id")
        assert made not in (bad, None, "")
        assert journal.events("request")[-1]["request_id"] == made
    ids = [line["request_id"] for line in journal.events("request")]
    assert len(set(ids)) == len(ids)


def edge_that_raises(world: World, error: Exception, kind: Kind = "api") -> Edge:
    """The product's own edge, with one route more, that fails."""

    async def endpoint(request: Request) -> Reply:
        raise error

    html = Html(secure=False)
    path = "/api/v1/fails" if kind == "api" else "/fails"
    route = Route(method="GET", path=path, endpoint=endpoint, kind=kind, access="public")
    return Edge([*routes(world.services, html), route], Responses(html), FakeClock())


async def test_a_crash(world: World, journal: Journal) -> None:
    """500 with the request id and no word of what happened; the log has its place, not its values."""
    edge = edge_that_raises(world, ValueError(f"cannot parse {SECRET}"))
    answer = await raw_call(edge, "/api/v1/fails", query=SECRET.encode(), headers=[(b"x-request-id", b"crash-1")])
    assert answer.status == 500
    assert answer.body == b'{"message":"Something went wrong here. Tell the operator the request id crash-1."}'
    assert answer.header(b"x-request-id") == "crash-1"
    [line] = journal.events("request.crashed")
    assert (line["level"], line["request_id"]) == ("error", "crash-1")
    assert line["exception"][0] == "ValueError"
    assert any("endpoint" in place for place in line["exception"])
    [request] = journal.events("request")
    assert (request["status"], request["request_id"], request["route"]) == (500, "crash-1", "/api/v1/fails")
    assert SECRET not in journal.text


async def test_a_crash_of_a_page(world: World, journal: Journal) -> None:
    """A page that fails is a page with the request id, and says as little."""
    answer = await raw_call(edge_that_raises(world, KeyError(SECRET), "page"), "/fails", headers=[])
    assert answer.status == 500
    assert (answer.header(b"content-type") or "").startswith("text/html")
    assert (answer.header(b"x-request-id") or "?").encode() in answer.body
    assert b"KeyError" not in answer.body
    assert SECRET.encode() not in answer.body
    assert SECRET not in journal.text


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (StorageUnavailable("the database cannot be used now: locked"), "2"),
        (StorageError("the database refused a statement: odd"), "60"),
        (SealError("the sealed value does not open"), "60"),
        (ConfigError(["clients.x: is odd"]), "60"),
        (GrantkeeperError("something odd"), "60"),
    ],
)
async def test_what_only_an_operator_can_mend(
    world: World, journal: Journal, error: GrantkeeperError, seconds: str
) -> None:
    """503 with `Retry-After` and no detail; the detail is in the log, under the request id that was answered."""
    answer = await raw_call(edge_that_raises(world, error), "/api/v1/fails")
    assert (answer.status, answer.header(b"retry-after")) == (503, seconds)
    assert error.message.encode() not in answer.body
    [line] = journal.events("request.failed")
    assert line["level"] == "error"
    assert (line["error"], line["reason"]) == (type(error).__name__, error.message)
    assert line["request_id"] == answer.header(b"x-request-id")


async def test_a_callers_mistake_is_no_failure(world: World, journal: Journal) -> None:
    """What callers do wrong fills no operator's log with errors."""
    await world.client.get(f"{INDEX}/{UNKNOWN_UUID}")
    await world.client.get(INDEX, params={"per_page": 0})
    await client_of(world, None).get(INDEX)
    assert journal.events("request.failed") == []
    assert {line["level"] for line in journal.events("request")} == {"info"}


async def test_it_takes_the_time(world: World, journal: Journal) -> None:
    """The duration is measured by the product's clock."""
    clock = FakeClock()

    async def endpoint(request: Request) -> Reply:
        clock.advance(1.2345)
        return Reply()

    route = Route(method="GET", path="/slow", endpoint=endpoint, kind="api", access="public")
    await raw_call(Edge([route], Responses(Html(secure=False)), clock), "/slow")
    [line] = journal.events("request")
    assert line["ms"] == 1234.5
