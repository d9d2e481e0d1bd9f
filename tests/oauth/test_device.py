"""What a device authorization endpoint may answer (RFC 8628 §3.2), and what of it a person may be shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.clock import SECOND
from grantkeeper.errors import ClientRejected, ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import DeviceCode
from grantkeeper.oauth.device import device_authorization_response
from tests.oauth.clients import NOW, SHOP, answer

GOOD: dict[str, Any] = {
    "device_code": "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://shop.example/device",
    "verification_uri_complete": "https://shop.example/device?user_code=WDJB-MJHT",
    "expires_in": 900,
    "interval": 7,
}

NO_PAGES = [
    None,
    "",
    7,
    True,
    ["https://shop.example"],
    {"uri": "https://shop.example"},
    "shop.example/device",
    "//shop.example/device",
    "javascript:alert(1)",
    "JavaScript:alert(1)//https://shop.example",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "file:///etc/passwd",
    "ftp://shop.example/device",
    "http://shop.example/device",
    "http://127.0.0.1.evil.example/",
    "http://localhost.evil.example/",
    "http://127.0.0.1@evil.example/",
    "https://",
    "https:///device",
    "https://?x",
    "https://shop.example@evil.example/",
    "https://shop.example:pw@evil.example/",
    "https://:shop.example@evil.example/",
    "https://@evil.example/",
    "https://evil.example\\.shop.example/",
    "https://shop.example/a b",
    " https://shop.example/",
    "https://shop.example/\n",
    "https://shop.example/\x00",
    "https://shop.example/\u202egnp.exe",
    "https://shöp.example/device",
    "https://shop.example:notaport/",
    "https://shop.example:99999/",
    "https://[::1/",
    "https://shop.example/" + "x" * 1000,
]


def given_for(**changes: object) -> tuple[DeviceCode, int]:
    """What is made of an answer, and the seconds it is good for; None leaves a member out."""
    members = {name: value for name, value in (GOOD | changes).items() if value is not None}
    code, expires_at = device_authorization_response(SHOP, answer(members), NOW)
    return code, (expires_at - NOW) // SECOND


def refusal(**changes: object) -> str | None:
    """Why an answer is refused; the message tells no value of it."""
    with pytest.raises(ProviderProtocolError) as failure:
        given_for(**changes)
    assert "evil" not in failure.value.message
    assert failure.value.message.isprintable()
    return failure.value.code


def test_a_good_answer_is_read() -> None:
    """Every member of RFC 8628 §3.2."""
    code, seconds = given_for()

    assert code == DeviceCode(
        device_code=GOOD["device_code"],
        user_code="WDJB-MJHT",
        verification_uri="https://shop.example/device",
        verification_uri_complete="https://shop.example/device?user_code=WDJB-MJHT",
        interval=7,
    )
    assert seconds == 900


def test_googles_name_for_the_page_counts() -> None:
    """It is older than the standard's, which wins where both are there."""
    assert given_for(verification_uri=None, verification_url="https://g.example/")[0].verification_uri == (
        "https://g.example/"
    )
    assert given_for(verification_url="https://g.example/")[0].verification_uri == GOOD["verification_uri"]


@pytest.mark.parametrize(
    "value", [None, "", 7, True, ["dc"], {"code": "dc"}, "d\nc", "d\x00c", "dé", "\u202edc", "d" * 4097]
)
def test_a_device_code_is_one_that_can_be_sent_back(value: object) -> None:
    """Missing, of another type, with control characters, or huge."""
    assert refusal(device_code=value) == "no_device_code"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "   ",
        7,
        True,
        ["WDJB"],
        {"code": "WDJB"},
        "WD\nJB",
        "WD\x1b[2JJB",
        "WD\x00JB",
        "WD\rJB",
        "WD\u202eBJ",
        "WD\u200bJB",
        "WD\u2028JB",
        "W" * 41,
    ],
)
def test_a_user_code_is_one_that_can_be_shown(value: object) -> None:
    """On a page and in a terminal: nothing that moves the cursor, turns the text round or cannot be seen."""
    assert refusal(user_code=value) == "no_user_code"


@pytest.mark.parametrize("value", ["WDJB-MJHT", "123 456", "ä1", "W" * 40, " WDJB-MJHT "])
def test_user_codes_differ(value: str) -> None:
    """Digits, spaces and letters of any script, as the provider likes; spaces around it are not part of it."""
    assert given_for(user_code=value)[0].user_code == value.strip()


@pytest.mark.parametrize("value", NO_PAGES, ids=lambda value: repr(value)[:40])
def test_a_person_is_sent_to_a_web_page_only(value: object) -> None:
    """https or this machine, no script, no name that hides the host, nothing a page or a terminal could stumble on."""
    assert refusal(verification_uri=value, verification_uri_complete=None) == "no_verification_uri"
    assert refusal(verification_uri=None, verification_url=value) == "no_verification_uri"


@pytest.mark.parametrize("value", NO_PAGES, ids=lambda value: repr(value)[:40])
def test_a_complete_page_that_is_none_is_left_out(value: object) -> None:
    """It is optional (RFC 8628 §3.3.1): the code can still be typed in."""
    code, _ = given_for(verification_uri_complete=value)

    assert code.verification_uri_complete is None
    assert code.verification_uri == GOOD["verification_uri"]


@pytest.mark.parametrize(
    "page",
    [
        "https://shop.example",
        "https://shop.example:8443/device?x=1#y",
        "HTTPS://Shop.example/",
        "http://127.0.0.1:8080/device",
        "http://localhost/device",
        "http://[::1]:8080/device",
    ],
)
def test_pages_that_may_be_shown(page: str) -> None:
    """https anywhere; http on this machine, for those who try it out (RFC 8252 §8.3)."""
    assert given_for(verification_uri=page)[0].verification_uri == page


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1, 1),
        (600, 600),
        (600.9, 600),
        (1800, 1800),
        (1801, 1800),
        (10**12, 1800),
        (10**400, 1800),
        (1e300, 1800),
        (None, 1800),
        (0, 1800),
        (-5, 1800),
        ("600", 1800),
        (True, 1800),
        ([600], 1800),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_code_is_waited_for_so_long(value: object, seconds: int) -> None:
    """As the provider says, half an hour at most; nonsense counts as silence."""
    assert given_for(expires_in=value)[1] == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1, 1),
        (7, 7),
        (7.5, 7),
        (60, 60),
        (61, 60),
        (10**12, 60),
        (10**400, 60),
        (None, 5),
        (0, 5),
        (0.5, 5),
        (-1, 5),
        ("7", 5),
        (True, 5),
        ({}, 5),
    ],
    ids=lambda value: str(value)[:12],
)
def test_polls_keep_a_distance(value: object, seconds: int) -> None:
    """RFC 8628 §3.2: five seconds where nothing is said, never none at all; a minute at most."""
    assert given_for(interval=value)[0].interval == seconds


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, {"error": "invalid_client"}, ClientRejected, "invalid_client"),
        (400, {"error": "unauthorized_client"}, ClientRejected, "unauthorized_client"),
        (400, {"error": "invalid_scope"}, ClientRejected, "invalid_scope"),
        (400, {"error": "slow_down"}, ProviderUnavailable, "slow_down"),
        (400, {"error": "device_flow_disabled"}, ProviderProtocolError, "device_flow_disabled"),
        (400, {"error": "<b>"}, ProviderProtocolError, None),
        (400, GOOD, ProviderProtocolError, None),
        (302, GOOD, ProviderProtocolError, None),
        (404, b"<h1>Not found</h1>", ProviderProtocolError, None),
        (200, b"<h1>Welcome</h1>", ProviderProtocolError, None),
        (200, b"", ProviderProtocolError, None),
        (200, [GOOD], ProviderProtocolError, None),
        (200, {"error": "invalid_client"}, ProviderProtocolError, "no_device_code"),
        (429, GOOD, ProviderUnavailable, None),
        (500, GOOD, ProviderUnavailable, None),
        (503, b"<h1>Down</h1>", ProviderUnavailable, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_says_who_must_act(status: int, body: object, kind: type[ProviderError], code: str | None) -> None:
    """The token endpoint's codes; no code is made out of a page, a redirect or a refusal."""
    with pytest.raises(kind) as failure:
        device_authorization_response(SHOP, answer(body, status), NOW)

    assert type(failure.value) is kind
    assert failure.value.code == code
    assert not any(character in failure.value.message for character in "<>\n")


def test_retry_after_is_passed_on() -> None:
    """Who asks us to wait is waited for."""
    with pytest.raises(ProviderUnavailable) as failure:
        device_authorization_response(SHOP, answer(b"", 429, retry_after="30"), NOW)

    assert failure.value.retry_after == 30


def test_no_code_shows() -> None:
    """Neither the device's nor the person's is in the repr."""
    shown = repr(given_for(device_code="secret-d", user_code="secret-u")[0])

    assert "secret" not in shown
    assert "WDJB" not in shown


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=50),
    st.text(max_size=20).map(lambda rest: f"https://{rest}"),
    st.lists(st.text(max_size=5), max_size=2),
)


@given(st.dictionaries(st.sampled_from([*GOOD, "verification_url"]), values).map(lambda some: GOOD | some))
def test_any_answer_is_a_code_or_an_error(document: dict[str, Any]) -> None:
    """What is kept can be shown, followed and polled for."""
    try:
        code, expires_at = device_authorization_response(SHOP, answer(document), NOW)
    except ProviderError:
        return
    assert code.user_code.isprintable()
    assert code.device_code.isascii()
    assert 1 <= code.interval <= 60
    assert NOW < expires_at <= NOW + 1800 * SECOND
    for page in (code.verification_uri, code.verification_uri_complete or "https://x"):
        assert urlsplit(page).scheme in ("https", "http")
        assert page.isascii()
        assert page.isprintable()
