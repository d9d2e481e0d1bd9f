"""Whose grant it is: userinfo, the claims of ID tokens, and members of the token response."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.errors import ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.client import IdentitySource
from grantkeeper.oauth.identity import Identity, identity_in_token_response, userinfo_request, userinfo_response
from tests.oauth.clients import answer, shop

USERINFO = IdentitySource(source="userinfo", url="https://shop.example/me", subject="sub", label="name")
IDENTITY_OF_ID_TOKEN = IdentitySource(source="id_token", subject="sub", label="email")
CLAIMS: dict[str, Any] = {"sub": "ada", "email": "ada@example.com"}


def test_userinfo_is_asked_as_the_definition_says() -> None:
    """OpenID Connect Core §5.3; its headers replace ours, whatever their case. The sender adds the token."""
    source = IdentitySource(
        source="userinfo", url="https://shop.example/me", headers={"Accept": "text/x", "X-Version": "1"}
    )
    request = userinfo_request(shop(identity=source))

    assert request is not None
    assert (request.method, request.url, request.body) == ("GET", "https://shop.example/me", b"")
    assert request.headers == {"accept": "text/x", "x-version": "1"}


@pytest.mark.parametrize(
    "source", [IdentitySource(), IdentitySource(source="id_token"), IdentitySource(source="userinfo")]
)
def test_where_there_is_no_userinfo_nobody_is_asked(source: IdentitySource) -> None:
    """Other sources, or an operator who gave no URL."""
    assert userinfo_request(shop(identity=source)) is None


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


@pytest.mark.parametrize("document", [{"sub": "eve"}, {"sub": "ADA"}, {"sub": ["ada"]}, {"sub": None}, {}])
def test_userinfo_must_speak_of_the_id_tokens_person(document: dict[str, Any]) -> None:
    """OpenID Connect Core §5.3.2: userinfo of another, or of nobody, is another token's (token substitution)."""
    client = shop(identity=USERINFO)

    with pytest.raises(ProviderProtocolError) as failure:
        userinfo_response(client, answer({"name": "Eve", **document}), "ada")

    assert failure.value.code == "userinfo_subject"
    assert "eve" not in failure.value.message
    assert userinfo_response(client, answer({"sub": "ada", "name": "Ada"}), "ada") == Identity(
        subject="ada", label="Ada"
    )


def test_where_the_identity_is_no_sub_it_is_not_compared() -> None:
    """GitHub and its like name people by an id of their own: an ID token's `sub` is another thing."""
    client = shop(identity=IdentitySource(source="userinfo", url="https://x", subject="id"))

    assert userinfo_response(client, answer({"id": 42}), "ada") == Identity(subject="42")


def test_the_identity_may_stand_in_the_token_response() -> None:
    """Slack names the user beside the tokens."""
    source = IdentitySource(source="token_response", subject="authed_user.id", label="team.name")
    document = {"authed_user": {"id": "U1"}, "team": {"name": "Engines"}}

    found = identity_in_token_response(shop(identity=source), document, None)

    assert found == Identity(subject="U1", label="Engines")


def test_an_id_token_tells_who_it_was() -> None:
    """Its claims are read by the definition's paths."""
    found = identity_in_token_response(shop(identity=IDENTITY_OF_ID_TOKEN), {"sub": "eve"}, CLAIMS)

    assert found == Identity(subject="ada", label="ada@example.com")


@pytest.mark.parametrize(
    ("identity", "document"),
    [
        (IDENTITY_OF_ID_TOKEN, {"sub": "eve", "email": "eve@example.com"}),
        (USERINFO, {"sub": "eve"}),
        (IdentitySource(), {"sub": "eve"}),
    ],
    ids=["id_token", "userinfo", "none"],
)
def test_nobody_is_read_where_nobody_is_to_be_read(identity: IdentitySource, document: dict[str, Any]) -> None:
    """No ID token came, the provider is to be asked, or there is no such place: the answer's members are not it."""
    assert identity_in_token_response(shop(identity=identity), document, None) is None


def test_an_id_token_is_not_the_identity_where_another_place_is() -> None:
    """Its claims were checked for the definition's sake; who it is stands in userinfo."""
    assert identity_in_token_response(shop(identity=USERINFO), {}, CLAIMS) is None


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=300)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
members = st.one_of(st.sampled_from(["sub", "name", "data"]), st.text(max_size=5))


@given(
    document=st.dictionaries(members, values, max_size=5),
    subject=st.sampled_from(["sub", "data.0", "data.id.x"]),
    known=st.sampled_from([None, "ada"]),
)
def test_any_answer_is_an_identity_or_an_error(document: dict[str, Any], subject: str, known: str | None) -> None:
    """What is kept can be stored and shown, and is never another's than the ID token's."""
    client = shop(identity=IdentitySource(source="userinfo", url="https://x", subject=subject, label="name"))
    try:
        found = userinfo_response(client, answer(document), known)
    except ProviderError:
        return
    for text in (found.subject, found.label):
        assert text is None or (text.isprintable() and 0 < len(text) <= 255)
    assert known is None or subject != "sub" or found.subject == known
