"""Our registrations: what a definition and the operator's settings make together, and whose grant may use which."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.clients import Clients
from grantkeeper.config import ClientSettings
from grantkeeper.errors import ClientRejected, NotFound
from grantkeeper.model import AttemptSecrets
from grantkeeper.oauth.authorization import authorization_parameters, front_channel_url
from grantkeeper.oauth.grants import refresh_call
from grantkeeper.schedule import RefreshPolicy

FUNDMENT = {"authorization_url": "https://f.example/authorize", "token_url": "https://f.example/token"}


def clients(**given: dict[str, Any]) -> Clients:
    """Registrations by provider, each with an id and a secret unless told otherwise."""
    registered = {
        name: ClientSettings(**({"client_id": "id-1", "client_secret": "secret-1"} | settings))
        for name, settings in given.items()
    }
    return Clients(load_catalogue(None), registered, "https://gk.example")


def test_what_is_settled_is_offered() -> None:
    """By label; every other provider is unknown to callers."""
    offered = clients(xero={}, google={})

    assert [name for name, _ in offered.offers()] == ["google", "xero"]
    assert offered.offered("xero").redirect_uri == "https://gk.example/oauth/xero/callback"
    for name in ("github", "nonsense"):
        with pytest.raises(NotFound):
            offered.offered(name)


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("xero", {"client_id": None}, "clients.xero.client_id: is missing"),
        ("xero", {"client_secret": None}, "clients.xero.client_secret: is missing"),
        ("xero", {"client_secret": ""}, "clients.xero.client_secret: is missing"),
        ("fundment", {}, "clients.fundment.authorization_url"),
        ("xero", {"token_url": "https://x.example"}, "clients.xero.token_url"),
        ("nonsense", {}, "clients.nonsense: the catalogue has no such provider"),
    ],
)
def test_what_is_not_settled_says_why(name: str, settings: dict[str, Any], problem: str) -> None:
    """The operator reads which setting to mend; nobody is sent to a provider that cannot work."""
    unsettled = clients(**{name: settings})

    assert unsettled.offers() == []
    assert any(found.startswith(problem) for found in unsettled.problems(name))


def test_a_grant_belongs_to_the_client_it_was_given_to() -> None:
    """Another id, or no registration any more: nothing is sent in its name."""
    registered = clients(xero={})

    assert registered.registered("xero", "id-1").client_id == "id-1"
    for name, client_id in (("xero", "id-2"), ("google", "id-1")):
        with pytest.raises(ClientRejected, match=f"clients.{name}"):
            registered.registered(name, client_id)


def test_the_operators_endpoints_bring_their_functions() -> None:
    """Fundment revokes and tells identities only where the operator says where."""
    bare = clients(fundment=FUNDMENT).offered("fundment")
    full = clients(
        fundment=FUNDMENT | {"revocation_url": "https://f.example/revoke", "userinfo_url": "https://f.example/me"}
    ).offered("fundment")

    assert (bare.revocation_url, bare.identity.url) == (None, None)
    assert (full.revocation_url, full.revocation_style) == ("https://f.example/revoke", "rfc7009")
    assert (full.identity.source, full.identity.url) == ("userinfo", "https://f.example/me")


def test_microsoft_keeps_its_refresh_token_alive() -> None:
    """Its answers leave `offline_access` out of the scopes; a refresh without it would bring no refresh token."""
    client = clients(microsoft={}).offered("microsoft")
    sent = refresh_call(client, "rt", ("openid", "User.Read")).parameters

    assert sent["scope"] == "openid User.Read offline_access"


def test_salesforce_gets_no_scope_at_a_refresh() -> None:
    """It refuses what it has granted before."""
    client = clients(salesforce={}).offered("salesforce")

    assert "scope" not in refresh_call(client, "rt", ("api",)).parameters


def test_google_is_asked_for_a_refresh_token() -> None:
    """Offline access and a new consent, or it gives none."""
    client = clients(google={}).offered("google")
    secrets = AttemptSecrets(code_verifier="v" * 43, nonce="n")
    url = front_channel_url(client, authorization_parameters(client, "s", secrets))
    sent = parse_qs(urlsplit(url).query)

    assert (sent["access_type"], sent["prompt"], sent["nonce"]) == (["offline"], ["consent"], ["n"])


def test_what_a_definition_does_not_say_of_refreshing_is_the_policys_default() -> None:
    """Slack says nothing of it: ahead, twenty at a time, no limit a minute, no known end."""
    assert clients(slack={}).offered("slack").refresh_policy == RefreshPolicy()


def test_a_definition_decides_when_to_refresh(tmp_path: Path) -> None:
    """Every key of its `[refresh]` about time and rate reaches the client, and so do the texts of its errors."""
    (tmp_path / "acme.toml").write_text(
        """
        schema = 1
        name = "acme"
        label = "Acme"
        category = ["accounting"]
        colour = "#0f766e"
        verified = { basis = "documentation", date = 2026-11-22 }
        authorization.url = "https://acme.example/authorize"
        token.url = "https://acme.example/token"

        [refresh]
        when = "on_demand"
        keep_alive = 86400
        idle_lifetime = 172800
        concurrency = 3
        per_minute = 60
        errors = { gone = "grant" }
        error_descriptions = { "come back later" = "transient" }
        """,
        "utf-8",
    )
    settings = {"acme": ClientSettings(client_id="id-1", client_secret="secret-1")}
    acme = Clients(load_catalogue(tmp_path), settings, "https://gk.example").offered("acme")

    assert acme.refresh_policy == RefreshPolicy(
        ahead=False, keep_alive=86_400, idle_lifetime=172_800, concurrency=3, per_minute=60
    )
    assert acme.error_meanings == {"gone": "grant"}
    assert acme.error_description_meanings == {"come back later": "transient"}


def test_the_demo_provider_may_be_asked_by_many_at_once() -> None:
    """It runs beside us and serves nobody else."""
    demo = clients(demo={"parameters": {"base_url": "http://127.0.0.1:8080/demo-provider"}}).offered("demo")

    assert demo.refresh_policy == RefreshPolicy(concurrency=200)


def test_no_secret_is_in_a_repr() -> None:
    """Registrations may be logged."""
    registered = clients(xero={})

    assert "secret-1" not in f"{registered.offered('xero')!r} {registered!r} {vars(registered)!r}"
