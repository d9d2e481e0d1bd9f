"""The shipped provider is as odd as it is told to be, in every combination, and not at all where nobody told it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from grantkeeper.testing import Quirks
from tests.support.provider_client import CALLBACK, POST, VERIFIER, ProviderClient, answer_in, good


def told(provider: ProviderClient, **quirks: object) -> None:
    """The provider has these habits from now on."""
    for name, value in quirks.items():
        assert hasattr(provider.fake.quirks, name), name
        setattr(provider.fake.quirks, name, value)


async def refresh(provider: ProviderClient, refresh_token: object, **more: str) -> httpx2.Response:
    """Ask for the next tokens."""
    form = {**POST, "grant_type": "refresh_token", "refresh_token": str(refresh_token), **more}
    return await provider.http.post(f"{provider.fake.issuer}/token", data=form)


def test_what_is_on_is_told() -> None:
    """The `repr` names the habits that differ, and no value of theirs."""
    assert repr(Quirks()) == "Quirks()"
    assert repr(Quirks(pkce="refused", token_method="GET")) == "Quirks(pkce, token_method)"


@pytest.mark.parametrize(
    ("quirks", "parameters"),
    [
        ({"authorization_names": {"client_id": "client_key"}}, {}),
        ({"authorization_names": {"response_type": ""}}, {}),
        ({"authorization_parameters": {"audience": "a"}}, {}),
        ({"authorization_parameters": {"audience": "a"}}, {"audience": "b"}),
        ({"pkce": "refused"}, {}),
        ({"scope_separator": ","}, {}),
        ({"redirect_names": {"name": CALLBACK}}, {}),
        ({"tenants": frozenset({"acme"})}, {}),
    ],
)
async def test_an_ordinary_request_is_refused(
    provider: ProviderClient, quirks: dict[str, object], parameters: dict[str, str]
) -> None:
    """By the page that a browser gets, and by `approve` alike."""
    told(provider, **quirks)
    url = provider.authorization_url(**parameters)
    with pytest.raises(ValueError, match=r"."):
        provider.fake.approve(url)
    answer = await provider.http.get(url)
    location = answer.headers.get("location", "")
    assert answer.status_code in (400, 404) or "error=" in location


async def test_consent_in_a_browser_works_at_a_tenant(provider: ProviderClient) -> None:
    """The page is shown, and the code is good at that tenant only."""
    told(provider, tenants=frozenset({"acme", "globex"}))
    at_acme = provider.authorization_url().replace("/authorize", "/acme/authorize")
    assert (await provider.http.get(at_acme)).status_code == 200
    code = answer_in(provider.fake.approve(at_acme))["code"]
    form = {
        **POST,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    refused = await provider.http.post(f"{provider.fake.issuer}/globex/token", data=form)
    assert refused.json()["error"] == "invalid_grant"
    code = answer_in(provider.fake.approve(at_acme))["code"]
    tokens = good(await provider.http.post(f"{provider.fake.issuer}/acme/token", data=form | {"code": code}))
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    issuer = provider.fake.issuer
    seen = [await provider.http.get(f"{issuer}/{name}/userinfo", headers=bearer) for name in ("acme", "globex")]
    assert [answer.status_code for answer in seen] == [200, 401]


@pytest.mark.parametrize(
    ("quirks", "status"),
    [
        ({"token_method": "GET"}, 405),
        ({"token_encoding": "json"}, 415),
        ({"token_names": {"client_id": "client_key"}}, 400),
        ({"token_names": {"redirect_uri": ""}}, 400),
        ({"token_parameters": {"version": "7"}}, 400),
        ({"token_headers": {"Version": "7"}}, 400),
        ({"token_parameters": {"version": "7"}, "errors_with_200": True, "ok_path": "ok"}, 200),
    ],
)
async def test_an_ordinary_token_request_is_refused(
    provider: ProviderClient, quirks: dict[str, object], status: int
) -> None:
    """With the status that such a provider has for it, and without tokens."""
    code = provider.code()
    told(provider, **quirks)
    answer = await provider.exchange(code)
    assert answer.status_code == status
    assert answer.json()["error"] == "invalid_request"
    assert answer.json().get("ok") in (None, False)
    assert provider.fake.grants() == []


async def test_answers_are_worded_as_told(provider: ProviderClient) -> None:
    """Nested, renamed, in headers, in milliseconds, with commas and a flag."""
    told(
        provider,
        paths={"access_token": "data.tokens.0th", "refresh_token": "@header.x-refresh", "token_type": ""},
        expiry="milliseconds",
        answer_scope_separator=",",
        scope_names={"email": "mail.read"},
        ok_path="status.ok",
        instance="na1",
    )
    answer = await provider.exchange(provider.code())
    body = answer.json()
    assert provider.fake.is_good(body["data"]["tokens"]["0th"])
    assert answer.headers["x-refresh"].startswith("fake-refresh-")
    assert body["expires_in"] == 3_600_000
    assert body["scope"] == "profile,mail.read"
    assert body["status"] == {"ok": True}
    assert body["instance_url"] == f"{provider.fake.issuer}/na1"
    assert body.keys().isdisjoint({"access_token", "refresh_token", "token_type"})


@pytest.mark.parametrize(
    ("expiry", "kind"),
    [("at_seconds", int), ("at_milliseconds", int), ("at_iso", str)],
)
async def test_ends_are_moments(provider: ProviderClient, expiry: str, kind: type) -> None:
    """Unix time or ISO 8601, which both say an hour from now."""
    told(provider, expiry=expiry)
    value = good(await provider.exchange(provider.code()))["expires_in"]
    assert isinstance(value, kind)


async def test_a_refresh_token_dies_of_idleness(provider: ProviderClient) -> None:
    """Each use gives it the whole time anew, whether it is replaced or not."""
    told(provider, idle_lifetime=100)
    for mode in ("off", "strict"):
        provider.fake.policy.mode = "off" if mode == "off" else "strict"
        token = good(await provider.exchange(provider.code()))["refresh_token"]
        for _ in range(3):
            provider.clock.advance(99)
            token = good(await refresh(provider, token)).get("refresh_token", token)
        provider.clock.advance(101)
        assert (await refresh(provider, token)).json()["error"] == "invalid_grant"


async def test_one_more_ends_the_oldest(provider: ProviderClient) -> None:
    """Of one person and one client; a refresh replaces its own."""
    told(provider, most_tokens=2)
    provider.fake.policy.mode = "strict"
    tokens = [good(await provider.exchange(provider.code()))["refresh_token"] for _ in range(2)]
    tokens = [good(await refresh(provider, token))["refresh_token"] for token in tokens]
    newest = good(await provider.exchange(provider.code()))["refresh_token"]
    answers = [(await refresh(provider, token)).status_code for token in (*tokens, newest)]
    assert answers == [400, 200, 200]


async def test_an_access_token_for_a_later_one(provider: ProviderClient) -> None:
    """The first lives shortly, its successor long; one that is over buys nothing."""
    told(provider, refresh_tokens=False, exchange_grant="longer", exchange_parameter="short", first_lifetime=60)
    first = good(await provider.exchange(provider.code()))
    assert (first["expires_in"], "refresh_token" in first) == (60, False)
    form = {**POST, "grant_type": "longer", "short": str(first["access_token"])}
    later = good(await provider.http.post(f"{provider.fake.issuer}/token", data=form))
    assert later["expires_in"] == 3600
    provider.clock.advance(61)
    over = await provider.http.post(f"{provider.fake.issuer}/token", data=form)
    assert over.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("quirks", [{"offline_parameters": {"access_type": "offline"}}, {"offline_scope": "offline"}])
async def test_a_refresh_token_is_asked_for(provider: ProviderClient, quirks: dict[str, object]) -> None:
    """Without the parameter, or the scope, there is none."""
    told(provider, **quirks)
    assert "refresh_token" not in good(await provider.exchange(provider.code()))
    asked = provider.authorization_url(
        access_type="offline", scope="profile offline" if "offline_scope" in quirks else "profile"
    )
    code = answer_in(provider.fake.approve(asked))["code"]
    assert "refresh_token" in good(await provider.exchange(code))


async def test_the_callback_brings_more(provider: ProviderClient) -> None:
    """Beside the code, and not where the person says no."""
    told(provider, callback={"realmId": "12345"})
    assert answer_in(provider.fake.approve(provider.authorization_url()))["realmId"] == "12345"
    assert "realmId" not in parse_qs(urlsplit(provider.fake.deny(provider.authorization_url())).query)


@pytest.mark.parametrize("style", ["rfc7009", "json", "bearer", "delete_bearer", "delete_json"])
async def test_revocation_in_its_own_way_only(provider: ProviderClient, style: str) -> None:
    """The other ways end nothing."""
    told(provider, revocation=style)
    url = f"{provider.fake.issuer}/revoke"
    token = str(good(await provider.exchange(provider.code()))["access_token"])
    bearer = {"authorization": f"Bearer {token}"}
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "rfc7009": ("POST", {"data": {**POST, "token": token}}),
        "json": ("POST", {"json": {**POST, "token": token}}),
        "bearer": ("POST", {"headers": bearer}),
        "delete_bearer": ("DELETE", {"headers": bearer}),
        "delete_json": ("DELETE", {"json": {**POST, "access_token": token}}),
    }
    for name, (method, request) in ways.items():
        if name != style:
            assert (await provider.http.request(method, url, **request)).status_code >= 400, name
            assert provider.fake.is_good(token)
    method, request = ways[style]
    assert (await provider.http.request(method, url, **request)).status_code == 200
    assert not provider.fake.is_good(token)
