"""What is asked of the token endpoint and its neighbours, grant by grant."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from grantkeeper.oauth.client import Client, ExchangePolicy, RefreshRequest
from grantkeeper.oauth.grants import (
    client_credentials_call,
    device_authorization_call,
    device_token_call,
    exchange_call,
    in_a_form,
    jwt_bearer_call,
    pushed_call,
    refresh_call,
    token_exchange_call,
)
from grantkeeper.oauth.message import Call
from tests.oauth.clients import SHOP, form, shop
from tests.support.sender import written_request

POLICY = ExchangePolicy(source="bank", subject_token_type="urn:ietf:params:oauth:token-type:access_token")
EVERYTHING: dict[str, Any] = {
    "scopes": ("read", "write"),
    "exchange": POLICY,
    "device_url": "https://shop.example/device",
    "pushed_url": "https://shop.example/par",
}


def at_the_token_endpoint(client: Client) -> dict[str, Call]:
    """One call of each grant type."""
    return {
        "authorization_code": exchange_call(client, "c/1", "v" * 43),
        "refresh_token": refresh_call(client, "rt 1", ("read",)),
        "client_credentials": client_credentials_call(client),
        "urn:ietf:params:oauth:grant-type:jwt-bearer": jwt_bearer_call(client, "a.b.c"),
        "urn:ietf:params:oauth:grant-type:token-exchange": token_exchange_call(client, "at-0"),
        "urn:ietf:params:oauth:grant-type:device_code": device_token_call(client, "dc-1"),
    }


GRANTS = tuple(at_the_token_endpoint(shop(**EVERYTHING)))


async def test_a_code_is_redeemed_with_its_verifier() -> None:
    """RFC 6749 §4.1.3 and RFC 7636 §4.5, with what the definition adds."""
    client = shop(token_parameters={"audience": "api"})
    request = await written_request(client, exchange_call(client, "c/1", "v" * 43))

    assert (request.method, request.url) == ("POST", SHOP.token_url)
    assert form(request) == {
        "grant_type": "authorization_code",
        "code": "c/1",
        "redirect_uri": SHOP.redirect_uri,
        "code_verifier": "v" * 43,
        "audience": "api",
    }


def test_without_pkce_there_is_no_verifier() -> None:
    """A provider that refuses PKCE gets no empty verifier."""
    assert "code_verifier" not in exchange_call(SHOP, "c", None).parameters


@pytest.mark.parametrize(
    ("habits", "scope"),
    [
        ({}, None),
        ({"refresh_sends_scope": True}, "read write"),
        ({"refresh_sends_scope": True, "scope_separator": ","}, "read,write"),
        ({"refresh_sends_scope": True, "offline_scopes": ("offline_access",)}, "read write offline_access"),
        ({"refresh_sends_scope": True, "offline_scopes": ("read",)}, "read write"),
    ],
)
async def test_a_refresh_sends_scopes_only_where_they_are_wanted(habits: dict[str, Any], scope: str | None) -> None:
    """Salesforce must not get them; Microsoft must, with the one that the next refresh token hangs on."""
    client = shop(**habits)
    sent = form(await written_request(client, refresh_call(client, "rt 1", ("read", "write"))))

    assert sent.pop("scope", None) == scope
    assert sent == {"grant_type": "refresh_token", "refresh_token": "rt 1"}


def test_a_refresh_may_have_its_own_url() -> None:
    """Some providers refresh elsewhere, and only refresh there."""
    client = shop(refresh=RefreshRequest(url="https://shop.example/r"), **EVERYTHING)
    urls = {grant: call.url for grant, call in at_the_token_endpoint(client).items()}

    assert urls.pop("refresh_token") == "https://shop.example/r"
    assert set(urls.values()) == {SHOP.token_url}


def test_a_grant_of_our_own_asks_for_scopes() -> None:
    """RFC 6749 §4.4.2."""
    call = client_credentials_call(shop(scopes=("read", "write"), scope_separator=","))

    assert call.parameters == {"grant_type": "client_credentials", "scope": "read,write"}
    assert client_credentials_call(SHOP).parameters == {"grant_type": "client_credentials"}


def test_an_assertion_is_handed_in() -> None:
    """RFC 7523 §2.1."""
    assert jwt_bearer_call(shop(scopes=("read",)), "a.b.c").parameters == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "a.b.c",
        "scope": "read",
    }


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ({}, {}),
        ({"audience": "ledger"}, {"audience": "ledger"}),
        (
            {"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"},
            {"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"},
        ),
    ],
)
def test_a_token_is_exchanged(policy: dict[str, str], more: dict[str, str]) -> None:
    """RFC 8693 §2.1; what the definition does not name is left out, not sent empty."""
    exchange = ExchangePolicy(source="bank", subject_token_type="urn:ietf:params:oauth:token-type:jwt", **policy)

    assert token_exchange_call(shop(exchange=exchange, scopes=("read",)), "at-0").parameters == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "at-0",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "scope": "read",
        **more,
    }


async def test_a_device_asks_for_its_code() -> None:
    """RFC 8628 §3.1: scope and resources, as a form also where the token endpoint takes JSON."""
    client = shop(device_url="https://shop.example/device", scopes=("read",), json_body=True, authentication="none")
    request = await written_request(client, device_authorization_call(client))

    assert (request.method, request.url) == ("POST", "https://shop.example/device")
    assert form(request) == {"client_id": "id-1", "scope": "read"}
    named = device_authorization_call(shop(resources=("https://a", "https://b"))).parameters
    assert named == {"resource": ["https://a", "https://b"]}


def test_a_device_asks_whether_its_person_has_agreed() -> None:
    """RFC 8628 §3.4."""
    assert device_token_call(shop(scopes=("read",)), "dc-1").parameters == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "dc-1",
    }


@pytest.mark.parametrize("grant", GRANTS)
async def test_every_grant_has_what_the_definition_adds(grant: str) -> None:
    """Parameters, headers, and each resource by a parameter of its own (RFC 8707 §2.2): no grant forgets them."""
    client = shop(
        **EVERYTHING,
        resources=("https://a.example/?x=1", "https://b.example"),
        token_parameters={"tenant": "one"},
        token_headers={"X-Version": "2"},
    )
    request = await written_request(client, at_the_token_endpoint(client)[grant])
    sent = parse_qs(request.body.decode("ascii"))

    assert sent["grant_type"] == [grant]
    assert sent["resource"] == ["https://a.example/?x=1", "https://b.example"]
    assert sent["tenant"] == ["one"]
    assert (request.method, request.headers["x-version"]) == ("POST", "2")


@pytest.mark.parametrize("grant", GRANTS)
async def test_every_grant_can_be_asked_in_json(grant: str) -> None:
    """Notion and its like take JSON, with the same members; resources are a list."""
    client = shop(**EVERYTHING, resources=("https://a", "https://b"), json_body=True)
    call = at_the_token_endpoint(client)[grant]
    request = await written_request(client, call)

    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == call.parameters
    assert call.parameters["resource"] == ["https://a", "https://b"]


@pytest.mark.parametrize("grant", GRANTS)
def test_without_resources_none_is_named(grant: str) -> None:
    """An empty parameter would be another request."""
    assert "resource" not in at_the_token_endpoint(shop(**EVERYTHING))[grant].parameters


@pytest.mark.parametrize("grant", GRANTS)
def test_no_call_shows_what_it_carries(grant: str) -> None:
    """Codes, tokens and assertions stay out of logs and tracebacks."""
    assert repr(at_the_token_endpoint(shop(**EVERYTHING))[grant]) == "Call(POST https://shop.example/token)"


def test_a_request_is_pushed_as_a_form() -> None:
    """RFC 9126 §2.1: what a query would carry, whatever the token endpoint takes."""
    client = shop(**EVERYTHING, json_body=True, token_parameters={"tenant": "one"})
    call = pushed_call(client, {"state": "s", "max_age": 0, "resource": ["https://a", "https://b"]})

    assert (call.url, call.method, call.encoding) == ("https://shop.example/par", "POST", "form")
    assert call.parameters == {"state": "s", "max_age": "0", "resource": ["https://a", "https://b"]}


def test_in_a_form_what_is_no_text_is_json() -> None:
    """OpenID Connect Core §5.5 and RFC 9396 §2; only resources are repeated."""
    given = {"a": "x", "b": 0, "c": {"é": None}, "d": [{"type": "t"}], "e": ["x"], "resource": ["u"]}

    assert in_a_form(given) == {
        "a": "x",
        "b": "0",
        "c": '{"é":null}',
        "d": '[{"type":"t"}]',
        "e": '["x"]',
        "resource": ["u"],
    }
