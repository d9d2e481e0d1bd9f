"""The authorization request, what comes back from it, and whose answer it is."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.errors import AuthorizationFailed, ClientRejected, ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import AttemptSecrets
from grantkeeper.oauth import dpop
from grantkeeper.oauth.authorization import (
    authorization_parameters,
    check_issuer,
    code_challenge,
    explained,
    front_channel_url,
    new_code_verifier,
    read_callback,
    refused,
    unsigned_response,
)
from grantkeeper.oauth.client import Client
from tests.oauth.clients import SHOP, shop


def url_of(client: Client, state: str = "s", login_hint: str | None = None, **secrets: Any) -> str:
    """Where the browser is sent."""
    return front_channel_url(
        client, authorization_parameters(client, state, AttemptSecrets(**secrets), login_hint=login_hint)
    )


def parameters(url: str) -> dict[str, str]:
    """The query of a URL, each parameter once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def test_the_challenge_is_the_one_of_rfc_7636() -> None:
    """Appendix B of the RFC computes the same challenge."""
    challenge = code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")

    assert challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_verifier_is_long_and_of_allowed_characters() -> None:
    """RFC 7636 §4.1 wants 43 to 128 unreserved characters; no two are equal."""
    verifiers = {new_code_verifier() for _ in range(50)}

    assert len(verifiers) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9\-._~]{43,128}", verifier) for verifier in verifiers)


def test_the_request_says_who_asks_and_for_what() -> None:
    """Every parameter of RFC 6749 §4.1.1 and the S256 challenge are there, and nothing else."""
    url = url_of(shop(scopes=("read", "write:all")), "st ate", code_verifier="v" * 43)

    assert url.startswith("https://shop.example/authorize?")
    assert parameters(url) == {
        "response_type": "code",
        "client_id": "id-1",
        "redirect_uri": "https://gk.example/oauth/shop/callback",
        "state": "st ate",
        "scope": "read write:all",
        "code_challenge": code_challenge("v" * 43),
        "code_challenge_method": "S256",
    }


def test_without_pkce_and_scopes_their_parameters_are_absent() -> None:
    """A provider that refuses PKCE is not sent an empty challenge, nor an empty scope."""
    found = parameters(url_of(SHOP))

    assert found.keys() == {"response_type", "client_id", "redirect_uri", "state"}


def test_a_nonce_goes_along_where_there_is_one() -> None:
    """OpenID Connect's nonce is a parameter of the request."""
    assert parameters(url_of(SHOP, nonce="n-1"))["nonce"] == "n-1"


def test_the_endpoints_own_query_and_the_definitions_parameters_are_kept() -> None:
    """Both are merged with ours; a fragment never travels."""
    client = shop(
        authorization_url="https://shop.example/a?tenant=one&empty=#top",
        authorization_parameters={"access_type": "offline", "prompt": "consent"},
    )
    url = url_of(client)

    found = parameters(url)
    assert (found["tenant"], found["empty"], found["access_type"], found["prompt"]) == (
        "one",
        "",
        "offline",
        "consent",
    )
    assert "#" not in url


def test_nothing_that_is_configured_overrides_the_protocol() -> None:
    """A definition that sets `state` or `redirect_uri` does not get its way."""
    client = shop(
        authorization_url="https://shop.example/a?state=theirs&client_id=theirs",
        authorization_parameters={"redirect_uri": "https://evil.example", "code_challenge_method": "plain"},
    )
    found = parameters(url_of(client, "ours", code_verifier="v" * 43))

    assert found["state"] == "ours"
    assert found["client_id"] == "id-1"
    assert found["redirect_uri"] == SHOP.redirect_uri
    assert found["code_challenge_method"] == "S256"


def test_scopes_are_sent_as_the_provider_wants_them() -> None:
    """Slack takes them in `user_scope`, with commas."""
    client = shop(scopes=("users:read", "chat:write"), scope_separator=",", scope_parameter="user_scope")
    found = parameters(url_of(client))

    assert found["user_scope"] == "users:read,chat:write"
    assert "scope" not in found


def test_the_key_that_the_code_is_bound_to_is_named() -> None:
    """RFC 9449 §10: the thumbprint, and no part of the private key."""
    key = dpop.new_key()
    url = url_of(SHOP, dpop_key=key)

    assert parameters(url)["dpop_jkt"] == dpop.thumbprint(key)
    assert json.loads(key)["d"] not in url


@pytest.mark.parametrize(
    ("habits", "name", "value"),
    [
        ({"signed_response": True}, "response_mode", "jwt"),
        ({"max_age": 3600}, "max_age", "3600"),
        ({"max_age": 0}, "max_age", "0"),
    ],
)
def test_what_the_definition_asks_for_goes_along(habits: dict[str, Any], name: str, value: str) -> None:
    """JARM §2.3 and OpenID Connect Core §3.1.2.1; no sign-in is fresh enough where `max_age` is 0."""
    assert parameters(url_of(shop(**habits)))[name] == value
    assert name not in parameters(url_of(SHOP))


def test_claims_and_details_are_json() -> None:
    """OpenID Connect Core §5.5 and RFC 9396 §2, in the query as in a pushed form; as values in a signed request."""
    claims = {"id_token": {"email": {"essential": True}}, "userinfo": {"name": None}}
    details = ({"type": "payment", "amount": 12}, {"type": "account", "actions": ["read"]})
    client = shop(claims=claims, details=details)
    found = parameters(url_of(client))

    assert json.loads(found["claims"]) == claims
    assert json.loads(found["authorization_details"]) == list(details)
    values = authorization_parameters(client, "s", AttemptSecrets())
    assert (values["claims"], values["authorization_details"]) == (claims, list(details))


def test_each_resource_is_named() -> None:
    """RFC 8707 §2: the parameter is repeated."""
    url = url_of(shop(resources=("https://a.example/?x=1", "https://b.example")))

    assert parse_qs(urlsplit(url).query)["resource"] == ["https://a.example/?x=1", "https://b.example"]


def test_who_is_expected_is_told() -> None:
    """OpenID Connect Core §3.1.2.1; nobody is where nobody is known."""
    assert parameters(url_of(SHOP, login_hint="ada@example.com"))["login_hint"] == "ada@example.com"
    assert "login_hint" not in parameters(url_of(shop(login_hint="identity")))


@given(state=st.text(max_size=60), scope=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_whatever_is_in_a_value_stays_in_it(state: str, scope: str) -> None:
    """No value breaks out of its parameter."""
    found = parameters(url_of(shop(scopes=(scope,)), state))

    assert (found["state"], found["scope"]) == (state, scope)
    assert len(found) == 5


def test_a_callback_with_a_code_is_read() -> None:
    """Parameters that nobody knows are ignored (RFC 6749 §4.1.2)."""
    found = read_callback([("code", "c"), ("state", "s"), ("iss", "https://i"), ("session_state", "x")])

    assert (found.code, found.state, found.issuer, found.error) == ("c", "s", "https://i", None)


@pytest.mark.parametrize(
    "query",
    [
        [],
        [("code", "c")],
        [("state", ""), ("code", "c")],
        [("state", "s")],
        [("state", "s"), ("code", "")],
        [("state", "s"), ("state", "s"), ("code", "c")],
        [("state", "s"), ("state", "t"), ("code", "c")],
        [("state", "s"), ("code", "c"), ("code", "c")],
        [("state", "s"), ("error", "a"), ("error", "b")],
        [("state", "s"), ("code", "c"), ("iss", "a"), ("iss", "b")],
        [("error", "access_denied")],
    ],
    ids=lambda query: "&".join(f"{name}={value}" for name, value in query) or "nothing",
)
def test_a_callback_that_is_not_one_is_refused(query: list[tuple[str, str]]) -> None:
    """No code, no state, or any of them twice: a page says so, and nothing is guessed."""
    with pytest.raises(AuthorizationFailed) as failure:
        read_callback(query)

    assert failure.value.reason == "malformed_callback"
    assert failure.value.status == 400


@pytest.mark.parametrize("error", ["<script>alert(1)</script>", "", "a b", "x" * 41, "é", "a\nb", "<img src=x>"])
def test_an_error_that_is_no_code_is_never_shown(error: str) -> None:
    """Whatever comes in `error` reaches no page unless it is a plain word."""
    found = read_callback([("state", "s"), ("error", error)])

    assert found.error == "unreadable_error"


def test_an_error_wins_over_a_code() -> None:
    """An answer that says both is a refusal."""
    found = read_callback([("state", "s"), ("code", "c"), ("error", "access_denied")])

    assert found.error == "access_denied"


def test_what_came_back_is_not_in_the_repr() -> None:
    """State and code stay out of tracebacks and logs."""
    found = read_callback([("state", "secret-state"), ("code", "secret-code"), ("iss", "https://i")])

    assert "secret" not in repr(found)


@given(st.lists(st.tuples(st.sampled_from(["state", "code", "error", "iss", "x"]), st.text(max_size=80)), max_size=6))
def test_any_query_is_read_or_refused(query: list[tuple[str, str]]) -> None:
    """No callback, however strange, ends in another error."""
    with suppress(AuthorizationFailed):
        found = read_callback(query)
        assert found.state
        assert found.code or found.error
        assert found.error is None or re.fullmatch(r"[A-Za-z0-9_.\-]+", found.error)


@pytest.mark.parametrize(
    ("client", "issuer", "accepted"),
    [
        (shop(issuer="https://i", issuer_in_response=True), "https://i", True),
        (shop(issuer="https://i", issuer_in_response=True), None, False),
        (shop(issuer="https://i", issuer_in_response=True), "", False),
        (shop(issuer="https://i", issuer_in_response=True), "https://i/", False),
        (shop(issuer="https://i", issuer_in_response=True), "https://evil", False),
        (shop(issuer="https://i"), None, True),
        (shop(issuer="https://i"), "https://evil", False),
        (shop(), "https://whoever", True),
        (shop(), None, True),
    ],
)
def test_an_answer_of_another_server_is_refused(client: Any, issuer: str | None, accepted: bool) -> None:
    """RFC 9207 §2.4: compared character by character, and missed where the server announces it."""
    if accepted:
        check_issuer(client, issuer)
    else:
        with pytest.raises(AuthorizationFailed) as failure:
            check_issuer(client, issuer)
        assert failure.value.reason == "wrong_issuer"


def test_an_unsigned_answer_has_its_own_error() -> None:
    """JARM §2.4: of a provider that signs, an answer that is not signed may be anybody's."""
    failure = unsigned_response(SHOP)

    assert (failure.reason, failure.status) == ("unsigned_response", 400)
    assert "Nothing was connected" in failure.message


def test_a_refusal_by_the_person_is_not_an_error_of_ours() -> None:
    """Who declines did nothing wrong, and is told that nothing was changed."""
    failure = refused(SHOP, "access_denied")

    assert (failure.reason, failure.status) == ("denied", 200)
    assert "Nothing was connected" in failure.message


def test_other_refusals_name_their_code() -> None:
    """The person can tell the operator what the provider said."""
    failure = refused(SHOP, "server_error")

    assert (failure.reason, failure.status) == ("provider_error", 400)
    assert "server_error" in failure.message


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (ProviderUnavailable("x"), "provider_down", "try again"),
        (ClientRejected("x", code="invalid_client"), "client_rejected", "(invalid_client)"),
        (ClientRejected("x"), "client_rejected", "registered at Shop"),
        (ProviderProtocolError("x"), "malformed_answer", "try again"),
    ],
)
def test_a_failed_exchange_says_who_must_act(error: Any, reason: str, says: str) -> None:
    """Each kind of provider error has its page, a way back, and no word of what went over the wire."""
    failure = explained("Shop", error, "/again")

    assert (failure.reason, failure.status, failure.retry_url) == (reason, 502, "/again")
    assert says in failure.message
    assert "None" not in failure.message
