"""Queries, UUIDs and headers that mean nothing, or were meant to do harm."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from grantkeeper.clock import SECOND
from tests.api.builders import INDEX, UNKNOWN_UUID, add_connection, bearer, client_of, other_client, raw_call
from tests.support.world import World

BAD_UUIDS = (
    "x",
    "0",
    "null",
    UNKNOWN_UUID[:-1],
    UNKNOWN_UUID + "0",
    UNKNOWN_UUID.replace("-", ""),
    "{" + UNKNOWN_UUID + "}",
    "urn:uuid:" + UNKNOWN_UUID,
    UNKNOWN_UUID.replace("0", "\uff10"),  # digits, but not ASCII's
    UNKNOWN_UUID + "\n",
    "\x00" * 36,
    "\ufffd" * 36,
    "' OR '1'='1",
    "..",
    "%",
    "a" * 10_000,
)
BAD_NUMBERS = ("0", "501", "-1", "+1", "x", "", " 1", "1.0", "1e2", "0x10", "\u0661", "\uff11", "9" * 5_000, "1\x00")


async def errors_of(world: World, path: str, query: dict[str, Any]) -> tuple[int, list[str]]:
    """The status, and the fields that a 422 names."""
    answer = await world.client.get(path, params=query)
    body = answer.json()
    return answer.status_code, sorted(body.get("errors", {}))


def cursor(*members: object) -> str:
    """A cursor as one could make it by hand."""
    return base64.urlsafe_b64encode(msgspec.json.encode(members)).rstrip(b"=").decode()


async def test_bad_uuids(either_world: World) -> None:
    """A UUID that is malformed, unknown or another account's is 404 in every call, with the same body."""
    login, _ = await other_client(either_world)
    theirs = await add_connection(either_world, "theirs", login=login)
    for uuid in (*BAD_UUIDS, UNKNOWN_UUID, theirs.uuid, theirs.uuid.upper()):
        for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/token")):
            answer = await raw_call(
                either_world.application,
                f"{INDEX}/{uuid}{path}",
                method=method,
                headers=[bearer(either_world.token), (b"content-type", b"application/json")],
                body=[{"type": "http.request", "body": b'{"label":"taken"}' if method == "PUT" else b""}],
            )
            assert answer.status == 404, (uuid, method)
            assert answer.body == b'{"message":"There is no such connection."}'
    assert (await either_world.stored(theirs)).label == "theirs"


async def test_per_page(either_world: World) -> None:
    """Only a whole number from 1 to 500, in ASCII's digits."""
    for value in BAD_NUMBERS:
        found = await errors_of(either_world, INDEX, {"per_page": value})
        assert found == (422, ["per_page"]), value
    for value in ("1", "500", "007"):
        assert (await errors_of(either_world, INDEX, {"per_page": value}))[0] == 200


async def test_min_ttl(world: World) -> None:
    """Only a whole number from 0 to a day."""
    connection = await world.connect()
    path = f"{INDEX}/{connection.uuid}/token"
    for value in (*BAD_NUMBERS[2:], "86401"):
        assert await errors_of(world, path, {"min_ttl": value}) == (422, ["min_ttl"]), value
    for value in ("0", "60", "86400"):
        assert (await errors_of(world, path, {"min_ttl": value}))[0] == 200


async def test_sorts_filters_and_includes(either_world: World) -> None:
    """What is unknown is 422 under the name that was used; all of it is told at once."""
    for query, fields in (
        ({"sort": "size"}, ["sort"]),
        ({"sort": ""}, ["sort"]),
        ({"sort": "--created_at"}, ["sort"]),
        ({"sort": "created_at,label"}, ["sort"]),
        ({"sort": "uuid; DROP TABLE connections"}, ["sort"]),
        ({"filter": "x"}, ["filter"]),
        ({"filter[]": "x"}, ["filter[]"]),
        ({"filter[name]": "x"}, ["filter[name]"]),
        ({"filter[label": "x"}, ["filter[label"]),
        ({"filter[label][like]": "x"}, ["filter[label][like]"]),
        ({"filter[account_uuid]": UNKNOWN_UUID}, ["filter[account_uuid]"]),
        ({"filter[\x00]": "x"}, ["filter[\x00]"]),
        ({"filter[status]": "ACTIVE"}, ["filter[status]"]),
        ({"filter[status]": ""}, ["filter[status]"]),
        ({"filter[uuid]": "x"}, ["filter[uuid]"]),
        ({"filter[uuid]": "\uff10" * 36}, ["filter[uuid]"]),
        ({"filter[label]": "a\x00b"}, ["filter[label]"]),
        ({"filter[provider]": "\x00"}, ["filter[provider]"]),
        ({"filter[label]": "x" * 256}, ["filter[label]"]),
        ({"filter[provider]": "x" * 60_000}, ["filter[provider]"]),
        ({"include": "secrets"}, ["include"]),
        ({"include": "status, scopes"}, ["include"]),
        ({"include": "status,\x00"}, ["include"]),
        ({"include": "tokens", "sort": "x", "per_page": "x", "cursor": "x"}, ["cursor", "include", "per_page", "sort"]),
    ):
        assert await errors_of(either_world, INDEX, query) == (422, fields), query
    assert (await errors_of(either_world, INDEX, {"filter[label]": "x" * 255}))[0] == 200
    assert (await errors_of(either_world, INDEX, {"unknown": "x", "page": "2"}))[0] == 200


async def test_cursors(either_world: World) -> None:
    """A cursor that is no cursor, of another order, or made by hand with what no database holds, is 422."""
    for number in range(3):
        await add_connection(either_world, f"name {number}", created_at=number * SECOND)
    first = await either_world.client.get(INDEX, params={"per_page": 1, "sort": "label"})
    ours = first.json()["meta"]["next_cursor"]
    for sort, text in (
        ("label", ""),
        ("label", "x"),
        ("label", "\u00e9"),
        ("label", "\x00"),
        ("label", "A" * 60_000),
        ("label", ours[:-3]),
        ("-label", ours),
        ("created_at", ours),
        ("created_at", base64.urlsafe_b64encode(b"[" * 30_000).decode()),
        ("created_at", cursor()),
        ("created_at", cursor("created_at", False, 1)),
        ("created_at", cursor("created_at", False, 2**63, UNKNOWN_UUID)),
        ("created_at", cursor("created_at", False, 10**100, UNKNOWN_UUID)),
        ("created_at", cursor("created_at", False, -1, UNKNOWN_UUID)),
        ("created_at", cursor("created_at", False, 1.5, UNKNOWN_UUID)),
        ("created_at", cursor("created_at", False, True, UNKNOWN_UUID)),
        ("created_at", cursor("created_at", False, None, UNKNOWN_UUID)),
        ("created_at", cursor("created_at", False, "1", UNKNOWN_UUID)),
        ("created_at", cursor("created_at", False, 1, "x")),
        ("created_at", cursor("created_at", False, 1, "\x00")),
        ("created_at", cursor("sealed_tokens", False, 1, UNKNOWN_UUID)),
        ("label", cursor("label", False, "a\x00b", UNKNOWN_UUID)),
        ("label", cursor("label", False, 1, UNKNOWN_UUID)),
        ("label", base64.urlsafe_b64encode(b'["label",false,"\\ud800","x"]').decode()),
        ("label", base64.urlsafe_b64encode(b'["label",false,"\xff","x"]').decode()),
    ):
        found = await errors_of(either_world, INDEX, {"sort": sort, "cursor": text})
        assert found == (422, ["cursor"]), (sort, text)
    for text in (cursor("created_at", False, 2**63 - 1, UNKNOWN_UUID), cursor("created_at", False, 0, UNKNOWN_UUID)):
        assert (await errors_of(either_world, INDEX, {"cursor": text}))[0] == 200


async def test_repeated_parameters(world: World) -> None:
    """Of a parameter that is repeated the last one counts, in every call."""
    connection = await world.connect()
    for path, name in ((INDEX, "per_page"), (f"{INDEX}/{connection.uuid}/token", "min_ttl")):
        for query, status in ((f"{name}=x&{name}=1", 200), (f"{name}=1&{name}=x", 422)):
            assert (await world.client.get(f"{path}?{query}")).status_code == status, (path, query)


async def test_queries_without_end(world: World) -> None:
    """A query with more parameters than anybody needs is 400."""
    connection = await world.connect()
    for path in (INDEX, f"{INDEX}/{connection.uuid}", f"{INDEX}/{connection.uuid}/token"):
        answer = await world.client.get(path + "?" + "a=1&" * 101)
        assert answer.status_code == 400
        assert answer.json() == {"message": "The query has too many parameters."}


async def test_bytes_that_are_no_text(either_world: World) -> None:
    """Bytes that are not UTF-8, in the query, percent-encoded or not, are some text that is not found."""
    await add_connection(either_world, "name")
    for query, status in (
        (b"filter[label]=%FF", 200),
        (b"filter[label]=\xff\xfe", 200),
        (b"filter[label]=%ED%A0%80", 200),
        (b"filter[provider]=%C0%80", 200),
        (b"filter[uuid]=%FF", 422),
        (b"per_page=\xff", 422),
        (b"sort=%FF", 422),
        (b"cursor=%FF%00", 422),
        (b"include=\xff", 422),
        (b"\xff=%", 200),
        (b"&&&===", 200),
    ):
        answer = await raw_call(either_world.application, INDEX, query=query, headers=[bearer(either_world.token)])
        assert answer.status == status, query
        if status == 200 and query.startswith(b"filter"):
            assert answer.body == b'{"data":[]}'


async def test_headers_that_are_no_text(world: World) -> None:
    """Bytes of all kinds in the headers that are read: never more than a refusal."""
    ours = bearer(world.token)
    for headers, status in (
        ([(b"authorization", b"Bearer \xff\xfe")], 401),
        ([(b"authorization", b"\xff")], 401),
        ([ours, (b"x-account-uuid", b"\xff\x00")], 404),
        ([ours, (b"x-account-uuid", "é".encode())], 404),
        ([ours, (b"x-plannr-account-uuid", b"' OR 1=1")], 404),
        ([ours, (b"x-account-uuid", b"")], 200),
        ([ours, (b"x-request-id", b"\xff\n{}")], 200),
        ([ours, (b"cookie", b"\xff=;;==")], 200),
    ):
        answer = await raw_call(world.application, INDEX, headers=headers)
        assert answer.status == status, headers


async def test_paths_that_are_no_text(world: World) -> None:
    """Whatever a server makes of the bytes in a path, it is not found."""
    for path in ("\udcff", "\ufffd", "\x00", "é", "%zz", "*", "", "/", "/api/v1/\udcff", f"{INDEX}/\udcff"):
        answer = await raw_call(world.application, path, headers=[bearer(world.token)])
        assert answer.status in (303, 404), path


async def test_account_headers(world: World) -> None:
    """An account that is unknown or another's is 404, whichever header names it, and counts as a request."""
    login, _ = await other_client(world)
    for header in ("X-Account-UUID", "X-PLANNR-ACCOUNT-UUID"):
        for account in (UNKNOWN_UUID, login.account.uuid, "x", "a" * 10_000):
            answer = await client_of(world, world.token, **{header: account}).get(INDEX)
            assert answer.status_code == 404
            assert answer.json() == {"message": "There is no such account for this token."}
    assert answer.headers["x-ratelimit-remaining"] == str(500 - 8)
