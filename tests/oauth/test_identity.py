"""Whose grant it is: userinfo, ID tokens, and members of the token response."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.clock import SECOND
from grantkeeper.errors import ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.client import IdentitySource
from grantkeeper.oauth.identity import (
    Identity,
    id_token_claims,
    identity_in_token_response,
    userinfo_request,
    userinfo_response,
)
from tests.oauth.clients import NOW, answer, jwt, shop

USERINFO = IdentitySource(source="userinfo", url="https://shop.example/me", subject="sub", label="name")
OPENID = shop(
    issuer="https://shop.example",
    scopes=("openid",),
    identity=IdentitySource(source="id_token", subject="sub", label="email"),
)
CLAIMS: dict[str, Any] = {
    "iss": "https://shop.example",
    "aud": "id-1",
    "exp": NOW // SECOND + 60,
    "nonce": "n-1",
    "sub": "ada",
    "email": "ada@example.com",
}


def test_userinfo_is_asked_with_the_token() -> None:
    """OpenID Connect Core §5.3; the definition's headers replace ours, whatever their case."""
    source = IdentitySource(
        source="userinfo", url="https://shop.example/me", headers={"Accept": "text/x", "X-Version": "1"}
    )
    request = userinfo_request(shop(identity=source), "at-1")

    assert request is not None
    assert (request.method, request.url, request.body) == ("GET", "https://shop.example/me", b"")
    assert request.headers == {"accept": "text/x", "x-version": "1", "authorization": "Bearer at-1"}


@pytest.mark.parametrize(
    "source", [IdentitySource(), IdentitySource(source="id_token"), IdentitySource(source="userinfo")]
)
def test_where_there_is_no_userinfo_nobody_is_asked(source: IdentitySource) -> None:
    """Other sources, or an operator who gave no URL."""
    assert userinfo_request(shop(identity=source), "at-1") is None


@pytest.mark.parametrize(
    ("body", "paths", "identity"),
    [
        ({"sub": "ada", "name": "Ada"}, {}, Identity(subject="ada", label="Ada")),
        (
            {"id": 42, "login": "ada"},
            {"subject": "id", "label": "login"},
            Identity(subject="42", label="ada"),
        ),
        (
            {"data": [{"id": 2**63, "org": {"name": "Analytical Engines"}}]},
            {"subject": "data.0.id", "label": "data.0.org.name"},
            Identity(subject=str(2**63), label="Analytical Engines"),
        ),
        ({"sub": "ada"}, {"label": None}, Identity(subject="ada")),
        ({}, {}, Identity()),
        ({"sub": None, "name": ""}, {}, Identity()),
        ({"sub": True, "name": ["Ada"]}, {}, Identity()),
        ({"sub": {"id": 1}, "name": 1.5}, {}, Identity()),
        ({"sub": "a\x00d\na", "name": "A\u202eda\x1b[1m"}, {}, Identity(subject="ada", label="Ada[1m")),
        ({"sub": "s" * 300, "name": "é" * 300}, {}, Identity(subject="s" * 255, label="é" * 255)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_identity_is_found_by_its_paths(body: object, paths: dict[str, Any], identity: Identity) -> None:
    """Texts and numbers only, without control characters, at most 255 characters."""
    source = IdentitySource(**({"source": "userinfo", "url": "https://x", "label": "name"} | paths))

    assert userinfo_response(shop(identity=source), answer(body)) == identity


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {}, ProviderUnavailable),
        (500, {}, ProviderUnavailable),
        (401, {}, ProviderProtocolError),
        (302, {"sub": "ada"}, ProviderProtocolError),
        (200, b"<html>", ProviderProtocolError),
        (200, [], ProviderProtocolError),
        (200, b"[" * 100_000, ProviderProtocolError),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_userinfo_answer_is_an_error(status: int, body: object, kind: type[ProviderError]) -> None:
    """No identity is made out of a page, a redirect or a refusal."""
    with pytest.raises(kind):
        userinfo_response(shop(identity=USERINFO), answer(body, status))


def test_the_identity_may_stand_in_the_token_response() -> None:
    """Slack names the user beside the tokens."""
    source = IdentitySource(source="token_response", subject="authed_user.id", label="team.name")
    document = {"authed_user": {"id": "U1"}, "team": {"name": "Engines"}}

    found = identity_in_token_response(shop(identity=source), document, None, NOW)

    assert found == Identity(subject="U1", label="Engines")


def test_an_id_token_tells_who_it_was() -> None:
    """Its claims are read by the definition's paths."""
    found = identity_in_token_response(OPENID, {"id_token": jwt(CLAIMS)}, "n-1", NOW)

    assert found == Identity(subject="ada", label="ada@example.com")


@pytest.mark.parametrize("document", [{}, {"id_token": None}, {"id_token": 7}, {"id_token": ["x"]}])
def test_without_an_id_token_the_identity_is_unknown(document: dict[str, Any]) -> None:
    """A provider that sends none is not an error: the connection has no known identity."""
    assert identity_in_token_response(OPENID, document, "n-1", NOW) is None


def test_an_audience_may_be_a_list_and_clocks_may_differ() -> None:
    """OpenID Connect Core §2 and §3.1.3.7: two minutes of leeway."""
    claims = {**CLAIMS, "aud": ["other", "id-1"], "exp": NOW // SECOND - 119}

    assert id_token_claims(OPENID, jwt(claims), "n-1", NOW)["sub"] == "ada"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"aud": "other"}, "aud"),
        ({"aud": ["other"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": {"id-1": 1}}, "aud"),
        ({"exp": NOW // SECOND - 121}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"nonce": "n-2"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": None}, "iss"),
    ],
)
def test_an_id_token_for_somebody_else_is_refused(change: dict[str, Any], names: str) -> None:
    """Wrong or missing audience, expiry, nonce or issuer."""
    with pytest.raises(ProviderProtocolError, match=f"not for us: {names}"):
        identity_in_token_response(OPENID, {"id_token": jwt({**CLAIMS, **change})}, "n-1", NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "..",
        "é.é.é",
        jwt([]),
        jwt(["sub"]),
        jwt(None),
        jwt(7),
        jwt(b"not json"),
        jwt(b"[" * 100_000),
        jwt(CLAIMS, header=[]),
        jwt(CLAIMS, header=b"x"),
        jwt(CLAIMS) + ".more",
        "x" * 5000,
    ],
    ids=lambda token: token[:20] or "empty",
)
def test_an_id_token_that_is_none_is_refused(token: str) -> None:
    """Whatever stands there, it is one clear error."""
    with pytest.raises(ProviderProtocolError):
        id_token_claims(OPENID, token, "n-1", NOW)


claims = st.dictionaries(
    st.sampled_from([*CLAIMS, "azp"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.text())),
)


@given(
    token=st.one_of(st.text(), st.binary().map(jwt), claims.map(jwt), claims.map(lambda some: jwt({**CLAIMS, **some}))),
    nonce=st.sampled_from([None, "n-1"]),
)
def test_any_id_token_is_read_or_refused(token: str, nonce: str | None) -> None:
    """Nothing but a ProviderError ever comes out of a bad one."""
    try:
        found = id_token_claims(OPENID, token, nonce, NOW)
    except ProviderError:
        return
    assert found["iss"] == "https://shop.example"
