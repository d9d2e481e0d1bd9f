"""HTTP messages: how we prove who we are, how bodies are written, and what answers are made of."""

from __future__ import annotations

import base64
import json
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.clock import SECOND
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.oauth.message import Response, at_path, token_request
from tests.oauth.clients import NOW, SHOP, answer, shop


def basic(client: Any) -> tuple[str, str]:
    """Id and secret in the Authorization header, as a server decodes them (RFC 6749 §2.3.1)."""
    header = token_request(client, "https://t", {}).headers["authorization"]
    pair = base64.b64decode(header.removeprefix("Basic ")).decode("ascii")
    assert pair.count(":") == 1
    client_id, secret = pair.split(":")
    return unquote_plus(client_id), unquote_plus(secret)


def form(request: Any) -> dict[str, str]:
    """The fields of a form."""
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    return dict(parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True))


@pytest.mark.parametrize("secret", ["plain", "a:b", "a b+c%20", "é€😀", "/?&=#", '"\\', "%", "  ", "~-._"])
def test_odd_secrets_survive_basic_authentication(secret: str) -> None:
    """Both halves are form-encoded first, so that a colon or an umlaut does not break them."""
    client = shop(client_id=f"id {secret}", client_secret=secret)

    assert basic(client) == (f"id {secret}", secret)


@given(client_id=st.text(min_size=1), secret=st.text(min_size=1))
def test_any_secret_survives_basic_authentication(client_id: str, secret: str) -> None:
    """No id or secret that settings can hold is bent on its way."""
    assert basic(shop(client_id=client_id, client_secret=secret)) == (client_id, secret)


def test_with_basic_the_body_holds_no_client() -> None:
    """RFC 6749 §2.3: one way of authentication a request."""
    request = token_request(SHOP, "https://t", {"grant_type": "x"})

    assert form(request) == {"grant_type": "x"}


def test_post_authentication_puts_both_into_the_body() -> None:
    """`client_secret_post` sends no Authorization header."""
    request = token_request(shop(authentication="client_secret_post"), "https://t", {"grant_type": "x y"})

    assert form(request) == {"grant_type": "x y", "client_id": "id-1", "client_secret": "secret-1"}
    assert "authorization" not in request.headers


def test_a_public_client_names_itself_only() -> None:
    """`none` sends the id, and never a secret that happens to be configured."""
    request = token_request(shop(authentication="none"), "https://t", {})

    assert form(request) == {"client_id": "id-1"}
    assert "authorization" not in request.headers


def test_a_body_can_be_json() -> None:
    """Notion and its like take JSON, with the same members."""
    request = token_request(shop(json_body=True, client_secret="s"), "https://t", {"code": 'a"b\\é'})

    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {"code": 'a"b\\é'}
    assert "authorization" in request.headers


def test_a_definitions_header_replaces_ours_whatever_its_case() -> None:
    """`Accept` and `accept` are one header, sent once."""
    request = token_request(shop(token_headers={"Accept": "text/x", "X-Version": "2"}), "https://t", {})

    assert request.headers["accept"] == "text/x"
    assert request.headers["x-version"] == "2"
    assert "Accept" not in request.headers


def test_neither_message_shows_a_secret() -> None:
    """The repr of a request or an answer holds no header, no body and no query."""
    request = token_request(SHOP, "https://t/token?key=secret-0", {"refresh_token": "secret-2"})
    response = answer({"access_token": "secret-3"}, set_cookie="secret-4")

    assert "secret" not in f"{request!r} {response!r} {SHOP!r}"


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
