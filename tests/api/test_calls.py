"""Every call of the contract's table: statuses, bodies, headers, methods and paths."""

from __future__ import annotations

import uuid

import httpx2
import pytest

from grantkeeper.model import ALL_SCOPES, Scope
from tests.api.builders import INDEX, TOKENS, UNKNOWN_UUID, add_connection, client_of, client_with
from tests.support.world import EMAIL, PASSWORD, PUBLIC_URL, World

NOT_FOUND = {"message": "There is no such connection."}


def is_rate_limited(answer: httpx2.Response) -> bool:
    """Whether it tells where the user stands."""
    return {"x-ratelimit-limit", "x-ratelimit-remaining"} <= set(answer.headers)


async def test_list_is_empty_at_first(either_world: World) -> None:
    """An account without connections has an empty list, and nothing else."""
    answer = await either_world.client.get(INDEX)
    assert (answer.status_code, answer.content) == (200, b'{"data":[]}')


async def test_get_is_the_row_of_the_list(either_world: World) -> None:
    """One connection reads as it does in the list, bare."""
    connection = await add_connection(either_world)
    [row] = (await either_world.client.get(INDEX)).json()["data"]
    answer = await either_world.client.get(f"{INDEX}/{connection.uuid}")
    assert (answer.status_code, answer.json()) == (200, row)


async def test_put_renames(either_world: World) -> None:
    """A new label is answered, stored, and moves `updated_at` only."""
    connection = await add_connection(either_world, "Before")
    before = (await either_world.client.get(f"{INDEX}/{connection.uuid}")).json()
    either_world.clock.advance(61)
    answer = await either_world.client.put(f"{INDEX}/{connection.uuid}", json={"label": "After"})
    assert answer.status_code == 200
    assert answer.json() == before | {"label": "After", "updated_at": "2026-01-16T13:11:24+00:00"}
    assert (await either_world.client.get(f"{INDEX}/{connection.uuid}")).json() == answer.json()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"name":"x","uuid":null}', b'{"label":"Before"}'])
async def test_put_without_a_new_label_changes_nothing(world: World, body: bytes) -> None:
    """No body, no label, unknown keys or the label it has: 200 and the connection as it was."""
    connection = await add_connection(world, "Before")
    before = (await world.client.get(f"{INDEX}/{connection.uuid}")).json()
    world.clock.advance(61)
    headers = {"content-type": "application/json"} if body else {}
    answer = await world.client.put(f"{INDEX}/{connection.uuid}", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, before)


async def test_put_answers_to_every_json_media_type(world: World) -> None:
    """A charset, capitals and structured suffixes are JSON too."""
    connection = await add_connection(world)
    for media_type in ("Application/JSON; charset=utf-8", "application/vnd.api+json"):
        answer = await world.client.put(
            f"{INDEX}/{connection.uuid}",
            content=b'{"label":"' + media_type[:4].encode() + b'"}',
            headers={"content-type": media_type},
        )
        assert (answer.status_code, answer.json()["label"]) == (200, media_type[:4])


async def test_delete_disconnects_and_revokes(either_world: World) -> None:
    """204 without a body or a length; the connection is gone and the provider knows; a second time it is 404."""
    connection = await either_world.connect()
    answer = await either_world.client.delete(f"{INDEX}/{connection.uuid}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers
    assert is_rate_limited(answer)
    [grant] = either_world.provider.grants()
    assert grant.revoked_at is not None
    assert (await either_world.client.get(INDEX)).json() == {"data": []}
    for again in (
        await either_world.client.delete(f"{INDEX}/{connection.uuid}"),
        await either_world.client.get(f"{INDEX}/{connection.uuid}"),
        await either_world.client.get(f"{INDEX}/{connection.uuid}/token"),
        await either_world.client.put(f"{INDEX}/{connection.uuid}", json={"label": "x"}),
    ):
        assert (again.status_code, again.json()) == (404, NOT_FOUND)


async def test_delete_does_not_wait_for_a_provider_that_is_down(world: World) -> None:
    """The provider's trouble is not the caller's: 204, and the grant is left for a later try."""
    connection = await world.connect()
    world.provider.fail_next(status=503, endpoint="revoke")
    answer = await world.client.delete(f"{INDEX}/{connection.uuid}")
    assert answer.status_code == 204
    [grant] = world.provider.grants()
    assert grant.revoked_at is None
    world.clock.advance(600)
    await world.services.revoker.work()
    [grant] = world.provider.grants()
    assert grant.revoked_at is not None


async def test_token(either_world: World) -> None:
    """The token, its type, its expiry and its scopes, in that order, kept by no cache."""
    connection = await either_world.connect()
    answer = await either_world.read_token(connection)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert list(body) == ["access_token", "token_type", "expires_at", "scopes"]
    assert body["token_type"] == "Bearer"
    assert body["expires_at"] == "2026-01-16T14:10:23.951021Z"
    assert body["scopes"] == ["profile", "email", "accounts.read"]


async def test_providers(world: World) -> None:
    """Only what is set up here is offered, each as connections show it."""
    connection = await world.connect()
    answer = await world.client.get("/api/v1/oauth/providers")
    shown = (await world.client.get(f"{INDEX}/{connection.uuid}")).json()["provider"]
    assert (answer.status_code, answer.json()) == (200, {"data": [shown]})
    assert list(shown) == ["name", "label", "logo_url", "authorization_url"]
    assert (shown["name"], shown["label"]) == ("demo", "Demo Provider")


async def test_logins(either_world: World) -> None:
    """Each login of the caller with its user and account, oldest first; nobody else's."""
    world = either_world
    await world.new_login("eve@example.com")
    world.clock.advance(60)
    other = await world.new_login("owner@example.com")
    await world.services.people.add_login(
        str(uuid.uuid4()), world.login.user.uuid, other.account.uuid, world.clock.now()
    )
    answer = await world.client.get("/api/v1/logins")
    first, second = answer.json()["data"]
    assert list(first) == ["uuid", "created_at", "user", "account"]
    assert first == {
        "uuid": world.login.uuid,
        "created_at": "2026-01-16T13:10:23+00:00",
        "user": {"uuid": world.login.user.uuid, "name": "ada", "email": EMAIL},
        "account": {"uuid": world.account_uuid, "name": f"Account of {EMAIL}"},
    }
    assert second["account"]["uuid"] == other.account.uuid
    assert second["created_at"] == "2026-01-16T13:11:23+00:00"


async def test_every_answer_has_its_headers(world: World) -> None:
    """Good or bad: JSON, a request id, kept by no cache, and where the user stands."""
    connection = await add_connection(world)
    reader = await client_with(world, Scope.CONNECTIONS_READ)
    path, as_json = f"{INDEX}/{connection.uuid}", {"content-type": "application/json"}
    for status, answer in (
        (200, await world.client.get(INDEX)),
        (200, await world.client.put(path, json={})),
        (400, await world.client.put(path, content=b"{", headers=as_json)),
        (403, await reader.delete(path)),
        (404, await world.client.get(f"{INDEX}/{UNKNOWN_UUID}")),
        (404, await client_of(world, world.token, X_Account_UUID=UNKNOWN_UUID).get(INDEX)),
        (415, await world.client.put(path, content=b"{}")),
        (422, await world.client.get(INDEX, params={"per_page": 0})),
    ):
        assert answer.status_code == status
        assert is_rate_limited(answer)
        assert answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"


async def test_unauthenticated_body(world: World) -> None:
    """The vendor's very words, and the challenge of RFC 6750."""
    answer = await client_of(world, None).get(INDEX)
    assert (answer.status_code, answer.content) == (401, b'{"message":"Unauthenticated."}')
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_error_bodies(world: World) -> None:
    """An error has a message; a 422 names the fields as well; nothing else is in it."""
    connection = await add_connection(world)
    wrong = await world.client.get(INDEX, params={"per_page": "x", "sort": "size", "include": "secrets"})
    assert list(wrong.json()) == ["message", "errors"]
    assert set(wrong.json()["errors"]) == {"per_page", "sort", "include"}
    assert wrong.json()["message"] == wrong.json()["errors"]["per_page"][0]
    unknown = await world.client.get(f"{INDEX}/{UNKNOWN_UUID}")
    assert unknown.json() == NOT_FOUND
    forbidden = await (await client_with(world, Scope.ADMIN)).get(f"{INDEX}/{connection.uuid}")
    assert forbidden.json() == {"message": "This token lacks the scope connections:read."}


async def test_other_methods(world: World) -> None:
    """A method that a path does not have is 405 and told which it has, without asking who calls."""
    visitor = client_of(world, None)
    for method, path, allowed in (
        ("POST", INDEX, "GET, HEAD"),
        ("OPTIONS", INDEX, "GET, HEAD"),
        ("BREW", INDEX, "GET, HEAD"),
        ("PATCH", f"{INDEX}/{UNKNOWN_UUID}", "DELETE, GET, HEAD, PUT"),
        ("PUT", f"{INDEX}/{UNKNOWN_UUID}/token", "GET, HEAD, POST"),
        ("DELETE", "/api/v1/oauth/providers", "GET, HEAD"),
        ("PUT", "/api/v1/logins", "GET, HEAD"),
        ("GET", TOKENS, "POST"),
        ("HEAD", TOKENS, "POST"),
    ):
        answer = await visitor.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), f"{method} {path}"
        if method != "HEAD":
            assert answer.json() == {"message": f"Method not allowed. Allowed here: {allowed}."}


async def test_unknown_paths(world: World) -> None:
    """What is not served is 404; a slash at the end makes another path."""
    for path in (
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v2/oauth/connections",
        f"{INDEX}/",
        "//api/v1/oauth/connections",
        "/api/v1//oauth/connections",
        "/API/v1/oauth/connections",
        f"{INDEX}/{UNKNOWN_UUID}/",
        f"{INDEX}/{UNKNOWN_UUID}/token/",
        f"{INDEX}/{UNKNOWN_UUID}/tokens",
        f"{INDEX}//token",
    ):
        answer = await world.client.get(f"{PUBLIC_URL}{path}")
        assert answer.status_code == 404, path
        if path.startswith("/api/"):
            assert answer.json() == {"message": "Not found."}


async def test_head(world: World) -> None:
    """HEAD answers as GET does, without the body."""
    connection = await add_connection(world)
    for path in (INDEX, f"{INDEX}/{connection.uuid}", f"{INDEX}/{UNKNOWN_UUID}", "/api/v1/logins"):
        got, headed = await world.client.get(path), await world.client.head(path)
        assert (headed.status_code, headed.content) == (got.status_code, b"")
        for name in ("content-length", "content-type", "cache-control"):
            assert headed.headers[name] == got.headers[name]


async def test_uuid_in_capitals(either_world: World) -> None:
    """A UUID is the same in capitals; the answer has it in small letters."""
    connection = await add_connection(either_world)
    path = f"{INDEX}/{connection.uuid.upper()}"
    got = await either_world.client.get(path)
    put = await either_world.client.put(path, json={"label": "x"})
    assert (got.status_code, got.json()["uuid"]) == (200, connection.uuid)
    assert (put.status_code, put.json()["uuid"]) == (200, connection.uuid)
    assert (await either_world.client.delete(path)).status_code == 204


async def test_connection_of_a_provider_that_is_gone(world: World) -> None:
    """A provider that is no longer known leaves its connections listed under its name."""
    await add_connection(world, provider="gone")
    [found] = (await world.client.get(INDEX)).json()["data"]
    assert found["provider"] == {
        "name": "gone",
        "label": "gone",
        "logo_url": f"{PUBLIC_URL}/imgs/gone.svg",
        "authorization_url": f"{PUBLIC_URL}/oauth/gone/authorize",
    }


async def test_created_token(world: World) -> None:
    """201 with the token and what it is good for; it works at once."""
    body = {"name": "CI", "password": PASSWORD, "account_uuid": world.account_uuid}
    answer = await world.client.post(TOKENS, json=body)
    assert answer.status_code == 201
    created = answer.json()
    assert list(created) == ["uuid", "name", "token", "account_uuid", "scopes", "created_at", "expires_at"]
    assert created["scopes"] == sorted(ALL_SCOPES)
    assert created["account_uuid"] == world.account_uuid
    assert created["created_at"] == "2026-01-16T13:10:23+00:00"
    assert created["expires_at"] == "2027-01-16T13:10:23.951021Z"
    assert (await client_of(world, created["token"]).get(INDEX)).status_code == 200
