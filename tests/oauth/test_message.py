"""HTTP messages: how bodies are written, and what answers are made of."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.clock import SECOND
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.oauth.message import Call, Response, at_path, written
from tests.oauth.clients import NOW, SHOP, answer, form, shop
from tests.support.sender import written_request


def test_a_body_can_be_json() -> None:
    """Notion and its like take JSON, with the same members; several values are a list."""
    parameters = {"code": 'a"b\\é', "resource": ["https://a", "https://b"]}
    request = written("POST", "https://t", {"content-type": "text/x"}, parameters, "json")

    assert request.headers == {"content-type": "application/json"}
    assert json.loads(request.body) == parameters


def test_a_body_is_a_form_elsewhere() -> None:
    """Whatever is in a value stays in it, and several values are several fields (RFC 8707 §2)."""
    odd = written("POST", "https://t", {"x-version": "2"}, {"code": "a b&c=é", "empty": ""})
    several = written("POST", "https://t", {}, {"resource": ["https://a/?b=c", "https://d"]})

    assert form(odd) == {"code": "a b&c=é", "empty": ""}
    assert odd.headers["x-version"] == "2"
    assert several.body == b"resource=https%3A%2F%2Fa%2F%3Fb%3Dc&resource=https%3A%2F%2Fd"


async def test_neither_message_shows_a_secret() -> None:
    """The repr of a call, a request or an answer holds no header, no body and no query."""
    call = Call(
        url="https://t/token?key=secret-0",
        parameters={"refresh_token": "secret-2"},
        headers={"authorization": "Bearer secret-5"},
    )
    request = await written_request(SHOP, call)
    by_post = await written_request(shop(authentication="client_secret_post"), call)
    response = answer({"access_token": "secret-3"}, set_cookie="secret-4")

    assert "secret" not in f"{call!r} {request!r} {by_post!r} {response!r} {SHOP!r}"
    assert repr(request) == "Request(POST https://t/token)"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<!doctype html><h1>Down</h1>",
        b"[]",
        b'["access_token"]',
        b"null",
        b"true",
        b"12",
        b'"text"',
        b'{"a": 1',
        b'{"a": 1} {"b": 2}',
        b"{'a': 1}",
        b'{"expires_in": NaN}',
        b'{"expires_in": 1e999}',
        b'{"a": "\\ud800"}',
        b'\xff\xfe{"a": 1}',
        b'{"a": "\xff"}',
        b"access_token=x&token_type=Bearer",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: body[:24].decode("latin-1") or "empty",
)
def test_what_is_no_json_object_is_a_protocol_error(body: bytes) -> None:
    """HTML, nothing, an array, half an object, or nesting without end: each is one clear error."""
    with pytest.raises(ProviderProtocolError):
        answer(body).json_object()


def test_an_answer_in_a_form_is_read() -> None:
    """GitHub answers with a form unless it is asked for JSON; the media type's case does not matter."""
    response = Response(
        status=200,
        headers={"content-type": "Application/X-WWW-Form-URLEncoded; charset=utf-8"},
        body=b"access_token=at&scope=a%2Cb",
    )

    assert response.json_object() == {"access_token": "at", "scope": "a,b"}


def test_a_form_with_too_many_fields_is_a_protocol_error() -> None:
    """A million fields are not taken apart one by one."""
    with pytest.raises(ProviderProtocolError):
        answer(b"a=1&" * 500, content_type="application/x-www-form-urlencoded").json_object()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("99999999999999999999", 86_400),
        ("90000", 86_400),
        (formatdate(NOW // SECOND + 90, usegmt=True), 90),
        (formatdate(NOW // SECOND - 90, usegmt=True), 0),
        (formatdate(NOW // SECOND + 90).replace(" -0000", ""), 90),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("١٢", None),
        ("Wed, 99 Nov 2026 99:99:99 GMT", None),
        ("Wed, 21 Oct 99999999 07:28:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("<script>", None),
    ],
)
def test_retry_after_is_a_number_a_date_or_nothing(value: str, seconds: int | None) -> None:
    """RFC 9110 §10.2.3; at most a day, and garbage counts as absent."""
    found = answer({}, retry_after=value).retry_after(NOW)

    assert found == seconds or (seconds is not None and found is not None and abs(found - seconds) <= 1)


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_any_retry_after_is_survived(value: str) -> None:
    """Whatever the header holds, it is a bounded number of seconds or nothing."""
    seconds = answer({}, retry_after=value).retry_after(NOW)

    assert seconds is None or 0 <= seconds <= 86_400


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", {"b": [{"c": 1}]}),
        ("a.b.0.c", 1),
        ("a.b.1.c", None),
        ("a.b.-1", None),
        ("a.b.x", None),
        ("a.b.0.c.d", None),
        ("x", None),
        ("n", None),
        ("n.x", None),
        ("0", "zero"),
    ],
)
def test_a_path_leads_into_objects_and_lists(path: str, found: object) -> None:
    """A path that leads nowhere finds None, never an error."""
    assert at_path({"a": {"b": [{"c": 1}]}, "n": None, "0": "zero"}, path) == found
