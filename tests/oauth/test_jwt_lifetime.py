"""How long an access token lives where the answer does not say: what the token itself tells, if it is a JWT."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grantkeeper.clock import SECOND, Instant
from grantkeeper.oauth.client import TokenResponsePaths
from grantkeeper.oauth.lifetime import LONGEST_LIFETIME, SHORTEST_LIFETIME
from grantkeeper.oauth.token import token_response
from tests.oauth.clients import NOW, answer, before, good, jwt, shop

NOW_SECONDS = NOW // SECOND
HABIT = TokenResponsePaths(default_lifetime=7200)


def expiry(access_token: str, *, default: bool = False, **members: object) -> Instant | None:
    """When the access token of this answer is taken to expire."""
    client = shop(response=HABIT) if default else shop()
    body = good(access_token=access_token, expires_in=None) | members
    return token_response(client, answer(body), NOW).grant.tokens.access_token_expires_at


def test_a_jwt_says_itself_when_it_expires() -> None:
    """Its `exp` is seconds since the epoch, not since the request (RFC 7519 §4.1.4)."""
    assert expiry(jwt({"exp": NOW_SECONDS + 600})) == (NOW_SECONDS + 600) * SECOND
    assert expiry(jwt({"exp": NOW_SECONDS + 600.5})) == int((NOW_SECONDS + 600.5) * SECOND)
    assert expiry(jwt({"exp": NOW_SECONDS + 600, "aud": ["x"], "sub": None})) == (NOW_SECONDS + 600) * SECOND


def test_a_refresh_reads_it_too() -> None:
    """The answer to a refresh is read like the answer to a code."""
    body = good(access_token=jwt({"exp": NOW_SECONDS + 600}), expires_in=None)
    tokens = token_response(shop(), answer(body), NOW, before()).grant.tokens

    assert tokens.access_token_expires_at == (NOW_SECONDS + 600) * SECOND


def test_what_the_answer_states_comes_first_and_habit_last() -> None:
    """`expires_in`, then the token's own `exp`, then the definition's default; nonsense counts as silence."""
    token = jwt({"exp": NOW_SECONDS + 600})

    assert expiry(token, default=True, expires_in=60) == NOW + 60 * SECOND
    assert expiry(token, default=True, expires_in=0) == NOW + SHORTEST_LIFETIME * SECOND
    assert expiry(token, default=True, expires_in="soon") == (NOW_SECONDS + 600) * SECOND
    assert expiry(token, default=True) == (NOW_SECONDS + 600) * SECOND
    assert expiry("opaque", default=True) == NOW + 7200 * SECOND
    assert expiry("opaque") is None


@pytest.mark.parametrize(
    "token",
    [
        jwt({}),
        jwt({"exp": NOW_SECONDS}),
        jwt({"exp": NOW_SECONDS - 3600}),
        jwt({"exp": 0}),
        jwt({"exp": -1}),
        jwt({"exp": NOW_SECONDS + LONGEST_LIFETIME + 2}),
        jwt({"exp": (NOW_SECONDS + 600) * 1000}),
        jwt({"exp": 10**400}),
        jwt(b'{"exp": 1e400}'),
        jwt(b'{"exp": NaN}'),
        jwt({"exp": str(NOW_SECONDS + 600)}),
        jwt({"exp": True}),
        jwt({"exp": None}),
        jwt({"exp": [NOW_SECONDS + 600]}),
        jwt([NOW_SECONDS + 600]),
        jwt(b"not JSON"),
        jwt(b"\xff\xfe"),
        jwt(b"[" * 20_000),
        jwt({"exp": NOW_SECONDS + 600}) + ".e.f",
        jwt({"exp": NOW_SECONDS + 600}).replace(".", "~", 1),
        "..",
        "a..b",
        "a.b.c",
        "a.a.c",
        "ya29.a0AfB_by.C-1",
    ],
    ids=lambda token: token[:40],
)
def test_what_tells_no_time_to_come_counts_as_absent(token: str) -> None:
    """Over already, too far off, in milliseconds, no number, no JWT: the default holds, and nothing breaks."""
    assert expiry(token) is None
    assert expiry(token, default=True) == NOW + 7200 * SECOND


@given(
    exp=st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(NOW_SECONDS, NOW_SECONDS + 10**9)
)
@example(exp=NOW_SECONDS + 1)
@example(exp=NOW_SECONDS + LONGEST_LIFETIME)
@example(exp=1.7976931348623157e308)
def test_any_exp_is_a_time_to_come_or_nothing(exp: float) -> None:
    """Whatever stands there, the expiry is after the request and within the longest lifetime."""
    found = expiry(jwt({"exp": exp}))
    if found is None:
        assert not NOW_SECONDS + 1 <= exp <= NOW_SECONDS + LONGEST_LIFETIME
    else:
        assert NOW < found <= NOW + LONGEST_LIFETIME * SECOND


@given(payload=st.binary(max_size=60) | st.text(max_size=20).map(lambda text: json.dumps({"exp": text}).encode()))
def test_any_payload_is_survived(payload: bytes) -> None:
    """A token that only looks like a JWT is a token."""
    assert expiry(jwt(payload), default=True) is not None
