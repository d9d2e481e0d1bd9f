"""Pushed authorization requests (RFC 9126): what the endpoint may answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.errors import ClientRejected, ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.authorization import pushed_response
from tests.oauth.clients import NOW, SHOP, answer

URN = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("uri", [URN, "https://shop.example/r/1?a=b", "urn:example:bwc4JK-ESC0w8acc191e-Y1LTC2"])
def test_a_good_answer_names_the_request(status: int, uri: str) -> None:
    """RFC 9126 §2.2; 201 by the standard, 200 at some. How long it is good is not ours to mind: it is used at once."""
    assert pushed_response(SHOP, answer({"request_uri": uri, "expires_in": 60}, status), NOW) == uri
    assert pushed_response(SHOP, answer({"request_uri": uri}, status), NOW) == uri


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        7,
        True,
        [URN],
        {"uri": URN},
        "no-uri",
        ":x",
        "urn:",
        "1urn:x",
        "urn:a b",
        "urn:a\nb",
        "urn:a\x00",
        "urn:é",
        f" {URN}",
        f"{URN}\n",
        "urn:" + "x" * 1001,
    ],
    ids=lambda uri: str(uri)[:20],
)
def test_what_is_no_request_uri_is_refused(uri: object) -> None:
    """Nobody is sent to the provider with it."""
    with pytest.raises(ProviderProtocolError) as failure:
        pushed_response(SHOP, answer({"request_uri": uri, "expires_in": 60}, 201), NOW)

    assert failure.value.code == "no_request_uri"
    assert failure.value.message == "Shop gave no request_uri for the pushed request"


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"error": "invalid_request"}, ClientRejected, "invalid_request"),
        (401, {"error": "invalid_client"}, ClientRejected, "invalid_client"),
        (400, {"error": "invalid_request_object"}, ClientRejected, "invalid_request_object"),
        (400, {"error": "invalid_authorization_details"}, ClientRejected, "invalid_authorization_details"),
        (400, {"error": "invalid_dpop_proof"}, ClientRejected, "invalid_dpop_proof"),
        (400, {"error": "use_dpop_nonce"}, ProviderUnavailable, "use_dpop_nonce"),
        (400, {"error": "never_heard_of"}, ProviderProtocolError, "never_heard_of"),
        (400, {"error": "<b>", "request_uri": URN}, ProviderProtocolError, None),
        (400, {"request_uri": URN}, ProviderProtocolError, None),
        (302, {"request_uri": URN}, ProviderProtocolError, None),
        (404, b"<h1>Not found</h1>", ProviderProtocolError, None),
        (405, {}, ProviderProtocolError, None),
        (413, {}, ProviderProtocolError, None),
        (201, b"", ProviderProtocolError, None),
        (201, [URN], ProviderProtocolError, None),
        (429, {"error": "invalid_request"}, ProviderUnavailable, None),
        (500, {"request_uri": URN}, ProviderUnavailable, None),
        (503, b"<h1>Down</h1>", ProviderUnavailable, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_says_who_must_act(status: int, body: object, kind: type[ProviderError], code: str | None) -> None:
    """RFC 9126 §2.3: the token endpoint's codes; an overloaded or broken server is nobody's fault."""
    with pytest.raises(kind) as failure:
        pushed_response(SHOP, answer(body, status), NOW)

    assert type(failure.value) is kind
    assert failure.value.code == code
    assert not any(character in failure.value.message for character in "<>\n")


def test_retry_after_is_passed_on() -> None:
    """Who asks us to wait is waited for."""
    with pytest.raises(ProviderUnavailable) as failure:
        pushed_response(SHOP, answer(b"", 429, retry_after="30"), NOW)

    assert failure.value.retry_after == 30


@given(
    body=st.one_of(
        st.binary(max_size=60),
        st.fixed_dictionaries(
            {}, optional={"request_uri": st.one_of(st.text(), st.integers(), st.just(URN)), "error": st.text()}
        ),
    ),
    status=st.integers(100, 599),
)
def test_any_answer_is_a_uri_or_an_error(body: object, status: int) -> None:
    """Whatever comes back, the browser's address stays printable and short."""
    try:
        uri = pushed_response(SHOP, answer(body, status), NOW)
    except ProviderError:
        return
    assert uri.isascii()
    assert uri.isprintable()
    assert " " not in uri
    assert len(uri) < 1100
