"""Whatever a token endpoint answers: a grant whose times can be written down, or a ProviderError."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.clock import SECOND
from grantkeeper.errors import ProviderError
from grantkeeper.model import Grant
from grantkeeper.oauth.client import TokenResponsePaths
from grantkeeper.oauth.lifetime import LONGEST_LIFETIME
from grantkeeper.oauth.message import Response
from grantkeeper.oauth.token import token_response
from tests.oauth.clients import NOW, before, shop

STRICT = shop(scopes=("asked",))
ODD = shop(
    response=TokenResponsePaths(
        access_token="data.0.token",
        refresh_token="data.0.refresh_token",
        refresh_expires_in="data.0.refresh_in",
        ok="ok",
        error="error.code",
        default_lifetime=60,
        scope_separator=",",
    ),
    refresh_response=TokenResponsePaths(refresh_expires_in="refresh_expires_in", refresh_default_lifetime=9),
    error_meanings={"dead": "grant", "busy": "transient"},
)

texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["invalid_grant", "dead", "busy", "3600", "1e400", "nan", "Bearer", "dpop", "read write", "a\x00b"]
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    texts,
    st.integers(min_value=-(10**30), max_value=10**30),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
members = [
    "access_token", "refresh_token", "token_type", "expires_in", "refresh_expires_in", "scope", "error", "ok", "data",
]  # fmt: skip
objects = st.dictionaries(st.one_of(st.sampled_from(members), texts), values, max_size=8)
tokens = st.dictionaries(st.sampled_from(members[2:8]), values).map(lambda rest: {"access_token": "at", **rest})
headers = st.dictionaries(
    st.sampled_from(["content-type", "retry-after"]),
    st.one_of(
        st.text(st.characters(codec="latin-1"), max_size=20),
        st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/html", "²"]),
    ),
)
statuses = st.one_of(st.just(200), st.integers(min_value=100, max_value=599))


def as_json(value: object) -> bytes:
    """The value as Python writes JSON: NaN and Infinity as words, lone surrogates escaped."""
    return json.dumps(value).encode()


def outcome(
    client: Any, response: Response, old: Grant | None = None, dpop_key: str | None = None
) -> Grant | ProviderError:
    """What the answer means; whatever else is raised fails the test."""
    try:
        return token_response(client, response, NOW, old, dpop_key=dpop_key).grant
    except ProviderError as error:
        return error


@pytest.mark.parametrize("client", [STRICT, ODD], ids=["strict", "odd"])
@given(
    body=st.one_of(objects.map(as_json), tokens.map(as_json), values.map(as_json), st.binary(max_size=60)),
    status=statuses,
    given_headers=headers,
    old=st.sampled_from([None, before()]),
    dpop_key=st.sampled_from([None, "key"]),
)
def test_any_answer_is_a_grant_or_a_provider_error(
    client: Any, body: bytes, status: int, given_headers: dict[str, str], old: Grant | None, dpop_key: str | None
) -> None:
    """Nothing else is ever raised, and what is kept can be stored, sent and shown."""
    grant = outcome(client, Response(status=status, headers=given_headers, body=body), old, dpop_key)
    if isinstance(grant, ProviderError):
        assert grant.message.isprintable()
        assert grant.code is None or grant.code.isascii()
        return
    kept = grant.tokens
    for token in (kept.access_token, kept.refresh_token or "x", kept.token_type):
        assert token.isascii()
        assert token.isprintable()
        assert token
    if old is None:
        assert (kept.token_type == "DPoP", kept.dpop_key) == (dpop_key is not None, dpop_key)
    assert all(scope.isprintable() and " " not in scope for scope in grant.scopes)
    for expiry in (kept.access_token_expires_at, kept.refresh_token_expires_at):
        if expiry is not None:
            assert NOW < expiry <= NOW + LONGEST_LIFETIME * SECOND
            datetime.fromtimestamp(0, UTC) + timedelta(microseconds=expiry)


@given(seconds=st.one_of(st.integers(), st.floats(), st.text(max_size=400), st.from_regex(r"[0-9]{1,500}")))
def test_any_lifetime_can_be_formatted(seconds: object) -> None:
    """However long a provider promises, the expiry fits a date, and a 64-bit column."""
    body = as_json({"access_token": "at", "expires_in": seconds})
    grant = outcome(STRICT, Response(status=200, headers={}, body=body))
    if isinstance(grant, ProviderError):
        return  # NaN is not JSON
    expiry = grant.tokens.access_token_expires_at
    if expiry is not None:
        assert 0 < expiry < 2**63
        assert datetime.fromtimestamp(expiry / SECOND, UTC).year < 2040
