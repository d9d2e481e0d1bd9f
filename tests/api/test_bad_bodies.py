"""Bodies that no call can read, and labels that no connection may have."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from grantkeeper.model import Connection
from grantkeeper.web.http import LARGEST_BODY
from tests.api.builders import INDEX, TOKENS, UNKNOWN_UUID, add_connection, bearer, raw_call
from tests.support.world import World

JSON = {"content-type": "application/json"}

MALFORMED = {
    "words": b"label=x",
    "cut short": b'{"label":"x"',
    "two documents": b'{"label":"x"} {"label":"y"}',
    "trailing comma": b'{"label":"x",}',
    "single quotes": b"{'label':'x'}",
    "byte order mark": b'\xef\xbb\xbf{"label":"x"}',
    "UTF-16": '{"label":"x"}'.encode("utf-16"),
    "invalid UTF-8": b'{"label":"\xff"}',
    "a surrogate in UTF-8": b'{"label":"\xed\xa0\x80"}',
    "a lone surrogate escaped": b'{"label":"\\ud800"}',
    "surrogates the wrong way round": b'{"label":"\\ude00\\ud83d"}',
    "a raw control character": b'{"label":"a\x00b"}',
    "not a number": b'{"label":NaN}',
    "a number out of range": b'{"label":1e999}',
    "deep arrays": b'{"label":' + b"[" * 30_000,
    "deep objects": b'{"label":' * 5_000 + b"1" + b"}" * 5_000,
    "white space only": b"  ",
    "too large": b'{"label":"' + b"x" * LARGEST_BODY + b'"}',
}
NO_OBJECT = {"an array": b"[]", "a filled array": b'[{"label":"x"}]', "null": b"null", "text": b'"x"', "number": b"1"}
LABELS: dict[str, tuple[Any, str]] = {
    "null": (None, "The label must be a string."),
    "number": (7, "The label must be a string."),
    "huge number": (10**30, "The label must be a string."),
    "boolean": (True, "The label must be a string."),
    "array": (["x"], "The label must be a string."),
    "object": ({"x": 1}, "The label must be a string."),
    "empty": ("", "The label must not be empty."),
    "blank": (" \t\u00a0\u2003\n", "The label must not be empty."),
    "256 characters": ("x" * 256, "The label must not be longer than 255 characters."),
    "256 emoji": ("😀" * 256, "The label must not be longer than 255 characters."),
    "NUL": ("a\x00b", "The label must not contain control characters."),
    "line end": ("a\nb", "The label must not contain control characters."),
    "escape": ("a\x1b[31mb", "The label must not contain control characters."),
    "delete": ("a\x7fb", "The label must not contain control characters."),
    "C1 control": ("a\x85b", "The label must not contain control characters."),
    "written backwards": ("gnp.\u202efdp", "The label must not contain control characters."),
}
GOOD_LABELS = {
    "emoji": ("Savings 😀👨\u200d👩\u200d👧", "Savings 😀👨\u200d👩\u200d👧"),
    "255 characters": ("x" * 255, "x" * 255),
    "255 emoji": ("😀" * 255, "😀" * 255),
    "letters that grow when folded": ("ΐ" * 255, "ΐ" * 255),
    "white space around": ("  My account\n", "My account"),
    "markup": ('<script>alert("1")</script>', '<script>alert("1")</script>'),
    "quotes for SQL": ("'; DROP TABLE connections; --", "'; DROP TABLE connections; --"),
    "placeholders": (":uuid {connection} $1 ?1 %s", ":uuid {connection} $1 ?1 %s"),
    "right to left": ("חשבון", "חשבון"),
    "the last code point": ("\U0010ffff", "\U0010ffff"),
}


def readers_of_bodies(connection: Connection) -> list[tuple[str, str]]:
    """Every call that reads a body."""
    one = f"{INDEX}/{connection.uuid}"
    return [("PUT", one), ("POST", f"{one}/token"), ("POST", TOKENS)]


async def answers(world: World, bodies: dict[str, bytes], method: str, path: str) -> dict[str, httpx2.Response]:
    """What each body is answered."""
    return {name: await world.client.request(method, path, content=body, headers=JSON) for name, body in bodies.items()}


async def test_malformed_bodies(either_world: World) -> None:
    """What is not JSON is 400 and says so, in every call that reads a body, and nothing was changed."""
    connection = await add_connection(either_world, "Before")
    for method, path in readers_of_bodies(connection):
        found = await answers(either_world, MALFORMED, method, path)
        assert {name: answer.status_code for name, answer in found.items()} == dict.fromkeys(MALFORMED, 400)
        messages = {answer.json()["message"] for answer in found.values()}
        assert messages == {"The body is not valid JSON.", f"The body is larger than {LARGEST_BODY} bytes."}
    assert (await either_world.stored(connection)).label == "Before"


async def test_bodies_that_are_no_object(world: World) -> None:
    """JSON of another kind is 422: it can be read, but means nothing here."""
    connection = await add_connection(world, "Before")
    for method, path in readers_of_bodies(connection):
        for name, answer in (await answers(world, NO_OBJECT, method, path)).items():
            assert answer.status_code == 422, name
            assert answer.json()["errors"] == {"body": ["The body must be a JSON object."]}
    assert (await world.stored(connection)).label == "Before"


async def test_other_media_types(world: World) -> None:
    """A body that does not say it is JSON is 415, also where it says nothing."""
    connection = await add_connection(world, "Before")
    for media_type in (
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "application/json+x",
        "; application/json",
    ):
        headers = {"content-type": media_type} if media_type else {}
        for method, path in readers_of_bodies(connection):
            answer = await world.client.request(method, path, content=b'{"label":"x"}', headers=headers)
            assert answer.status_code == 415, media_type
            assert answer.json() == {"message": "The body must be JSON, sent with Content-Type: application/json."}
    assert (await world.stored(connection)).label == "Before"


async def test_bad_labels(either_world: World) -> None:
    """Each bad label is 422, names the field and says what is wrong with it; the old one stays."""
    connection = await add_connection(either_world, "Before")
    for name, (label, problem) in LABELS.items():
        answer = await either_world.client.put(f"{INDEX}/{connection.uuid}", json={"label": label})
        assert answer.status_code == 422, name
        assert answer.json() == {"message": problem, "errors": {"label": [problem]}}, name
    assert (await either_world.stored(connection)).label == "Before"


async def test_good_labels(either_world: World) -> None:
    """Everything else comes back as it was given, from the call, the list and the order by label."""
    connection = await add_connection(either_world)
    for name, (given, kept) in GOOD_LABELS.items():
        answer = await either_world.client.put(f"{INDEX}/{connection.uuid}", json={"label": given})
        assert (answer.status_code, answer.json().get("label")) == (200, kept), name
        listed = await either_world.client.get(INDEX, params={"sort": "label", "filter[label]": kept})
        assert [row["label"] for row in listed.json()["data"]] == [kept], name


async def test_escapes_and_repeated_keys(world: World) -> None:
    """Escapes are read as JSON has them; of a key that is repeated the last one counts."""
    connection = await add_connection(world)
    for body, label in (
        (b'{"label":"\\ud83d\\ude00 \\u00e9"}', "😀 é"),
        (b'{"label":"first","label":"last"}', "last"),
        (b'{"label":null,"label":"last"}', "last"),
        (b'{"l\\u0061bel":"spelled"}', "spelled"),
    ):
        answer = await world.client.put(f"{INDEX}/{connection.uuid}", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["label"]) == (200, label)


async def test_bad_label_of_an_unknown_connection(world: World) -> None:
    """Whether a label is good says nothing of a connection that is not there: 404 either way."""
    for label in ("good", "", None):
        answer = await world.client.put(f"{INDEX}/{UNKNOWN_UUID}", json={"label": label})
        assert answer.status_code == 404


async def test_a_body_where_none_is_read(world: World) -> None:
    """What calls without a body are sent with one, however bad, changes nothing."""
    connection = await add_connection(world)
    for method, path, status in (
        ("GET", INDEX, 200),
        ("GET", f"{INDEX}/{connection.uuid}", 200),
        ("DELETE", f"{INDEX}/{connection.uuid}", 204),
    ):
        answer = await world.client.request(method, path, content=b"{" * 100_000)
        assert answer.status_code == status


@pytest.mark.parametrize("more", [True, False])
async def test_a_body_in_pieces(world: World, more: bool) -> None:
    """A body is put together from its pieces; one that breaks off is 400 and changes nothing."""
    connection = await add_connection(world, "Before")
    pieces = [json.dumps({"label": "In pieces"}).encode()[at : at + 3] for at in range(0, 22, 3)]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.disconnect"} if more else {"type": "http.request"})
    answer = await raw_call(
        world.application,
        f"{INDEX}/{connection.uuid}",
        method="PUT",
        headers=[bearer(world.token), (b"content-type", b"application/json")],
        body=messages,
    )
    assert answer.status == (400 if more else 200)
    assert (await world.stored(connection)).label == ("Before" if more else "In pieces")


async def test_an_endless_body(world: World) -> None:
    """Reading stops at the limit, however much more would come."""
    connection = await add_connection(world)
    pieces = [{"type": "http.request", "body": b" " * 1024, "more_body": True} for _ in range(1000)]
    answer = await raw_call(
        world.application,
        f"{INDEX}/{connection.uuid}",
        method="PUT",
        headers=[bearer(world.token), (b"content-type", b"application/json")],
        body=pieces,
    )
    assert (answer.status, answer.body) == (400, b'{"message":"The body is larger than 65536 bytes."}')
