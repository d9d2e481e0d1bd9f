"""What definition, settings and the server's own words make together, and which of them wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.clients import Clients, Found, Wanted
from grantkeeper.config import ClientSettings
from grantkeeper.errors import ClientRejected, NotFound, ProviderUnavailable, Unavailable
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.registration import Registration
from tests.discovery.servers import ISSUER, PUBLIC_URL, clients, found, resource

MCP = "https://mcp.example/mcp"
TWO_LINES = {"issuer": ISSUER, "client_id": "id-1"}
REGISTERED = Registration(client_id="given-1", authentication="client_secret_post", client_secret="given-secret")

DEFINITION = """
schema = 1
name = "bank"
label = "Bank"
category = ["banking"]
colour = "#102030"
discovery = true
[verified]
basis = "operator"
date = 2026-11-22
"""


def completed(name: str = "acme", also: Found | None = None, /, **settings: Any) -> Client:
    """The client of these settings once the server has been asked."""
    known = clients(PUBLIC_URL, **{name: settings})
    known.learn(name, also or found())
    assert known.problems(name) == []
    return known.offered(name)


def bank(tmp_path: Path, more: str, given: dict[str, Any] | None = None) -> Clients:
    """A provider with a definition of its own, with these lines more."""
    (tmp_path / "bank.toml").write_text(DEFINITION + more)
    settings = ClientSettings(**({"client_id": "id-1", "client_secret": "s"} if given is None else given))
    return Clients(load_catalogue(tmp_path), {"bank": settings}, "https://gk.example")


def test_two_lines_are_enough() -> None:
    """An issuer and a client id: endpoints, issuer and habits come from the metadata; without a secret, PKCE alone."""
    client = completed(**TWO_LINES)
    assert (client.authorization_url, client.token_url) == (f"{ISSUER}/authorize", f"{ISSUER}/token")
    assert (client.issuer, client.jwks_url, client.client_id) == (ISSUER, f"{ISSUER}/jwks", "id-1")
    assert (client.revocation_style, client.revocation_url) == ("rfc7009", f"{ISSUER}/revoke")
    assert (client.authentication, client.client_secret, client.pkce) == ("none", None, True)
    assert (client.name, client.label) == ("acme", "Acme")
    assert client.redirect_uri == "https://gk.example/oauth/acme/callback"


@pytest.mark.parametrize(
    ("announced", "method"),
    [
        (None, "client_secret_basic"),
        (["client_secret_post"], "client_secret_post"),
        (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["client_secret_jwt"], "client_secret_jwt"),
        (["private_key_jwt"], "client_secret_basic"),
    ],
)
def test_a_secret_is_used_as_the_server_says(announced: list[str] | None, method: str) -> None:
    """The first way with a secret that is announced; what RFC 8414 §2 says where nothing is."""
    client = completed("acme", found(token_endpoint_auth_methods_supported=announced), **TWO_LINES, client_secret="s")
    assert (client.authentication, client.client_secret) == (method, "s")


def test_the_settings_say_how_we_prove_ourselves() -> None:
    """`client_authentication` wins, and the algorithm is one that the server takes."""
    also = found(token_endpoint_auth_signing_alg_values_supported=["RS256", "PS256"])
    client = completed("acme", also, **TWO_LINES, client_authentication="private_key_jwt")
    assert (client.authentication, client.signing_algorithm) == ("private_key_jwt", "PS256")


def test_before_the_server_was_asked() -> None:
    """Not offered, with the reason; a caller is told to come again, and a refresh waits instead of being condemned."""
    known = clients(acme=TWO_LINES)
    assert known.pending("acme")
    assert known.offers() == []
    (problem,) = known.problems("acme")
    assert problem.startswith("clients.acme: how it is connected has not been found out")
    with pytest.raises(Unavailable):
        known.offered("acme")
    with pytest.raises(ProviderUnavailable) as caught:
        known.registered("acme", "id-1")
    assert caught.value.sent is False
    known.learn("acme", Found(trouble="nobody answers"))
    assert known.problems("acme") == ["clients.acme: nobody answers"]


def test_where_to_look() -> None:
    """Issuer or resource of the settings; nothing for a provider whose definition says all."""
    known = clients(acme=TWO_LINES, mcp={"resource": MCP}, xero={"client_id": "a", "client_secret": "b"})
    assert known.wanted("acme") == Wanted(issuer=ISSUER, resource=None, client=False)
    assert known.wanted("mcp") == Wanted(issuer=None, resource=MCP, client=True)
    assert known.wanted("xero") is None
    assert known.wanted("nonsense") is None


def test_a_grant_stays_its_client_s() -> None:
    """Another client id than the grant was given to is refused, discovered or not."""
    known = clients(acme=TWO_LINES)
    known.learn("acme", found())
    assert known.registered("acme", "id-1").client_id == "id-1"
    with pytest.raises(ClientRejected):
        known.registered("acme", "id-0")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"code_challenge_methods_supported": ["plain"]}, "S256"),
        ({"code_challenge_methods_supported": []}, "S256"),
        ({"token_endpoint": None}, "token.url"),
        ({"authorization_endpoint": None}, "authorization.url"),
        ({"require_pushed_authorization_requests": True}, "authorization.pushed_url"),
    ],
)
def test_a_server_that_cannot_be_used_is_not_offered(changes: dict[str, Any], problem: str) -> None:
    """Only `plain` (RFC 9700 §2.1.1), or an endpoint that is missing: the operator reads which."""
    known = clients(acme=TWO_LINES)
    known.learn("acme", found(**changes))
    assert known.offers() == []
    assert any(problem in text for text in known.problems("acme"))
    with pytest.raises(NotFound):
        known.offered("acme")


def test_what_was_granted_is_refreshed_though_nothing_new_is_offered() -> None:
    """A server that drops S256 gets no new person, and the tokens there are go on."""
    known = clients(acme=TWO_LINES)
    known.learn("acme", found(code_challenge_methods_supported=["plain"]))
    assert known.registered("acme", "id-1").token_url == f"{ISSUER}/token"
    assert known.current("acme") == known.registered("acme", "id-1")
    assert known.current("nonsense") is None


def test_silence_about_pkce_is_no_refusal() -> None:
    """Many servers know S256 and do not say so."""
    assert completed("acme", found(code_challenge_methods_supported=None), **TWO_LINES).pkce


def test_what_the_server_demands_is_done() -> None:
    """Pushed requests where they are required, `iss` where it is announced, signed requests where they must be."""
    client = completed(
        "acme",
        found(
            pushed_authorization_request_endpoint=f"{ISSUER}/par",
            require_pushed_authorization_requests=True,
            authorization_response_iss_parameter_supported=True,
            require_signed_request_object=True,
        ),
        **TWO_LINES,
    )
    assert (client.pushed_url, client.issuer_in_response, client.signed_request) == (f"{ISSUER}/par", True, True)
    lenient = completed("acme", found(pushed_authorization_request_endpoint=f"{ISSUER}/par"), **TWO_LINES)
    assert (lenient.pushed_url, lenient.issuer_in_response) == (None, False)


def test_certificates_go_to_their_own_endpoints() -> None:
    """Aliases are for clients that show a certificate (RFC 8705 §5), and for no other."""
    aliases = {
        "token_endpoint": "https://mtls.as.example/token",
        "revocation_endpoint": "https://mtls.as.example/revoke",
    }
    also = found(mtls_endpoint_aliases=aliases)
    client = completed("acme", also, **TWO_LINES, client_authentication="self_signed_tls_client_auth")
    assert (client.token_url, client.revocation_url) == (aliases["token_endpoint"], aliases["revocation_endpoint"])
    assert client.refresh.url == aliases["token_endpoint"]
    assert client.authorization_url == f"{ISSUER}/authorize"
    assert completed("acme", also, **TWO_LINES).token_url == f"{ISSUER}/token"


def test_people_stay_connected_and_are_known() -> None:
    """Where the server knows them: `openid` for who it is, `offline_access` (with consent, OIDC Core §11) to stay."""
    client = completed("acme", found(scopes_supported=["openid", "email", "offline_access", "admin"]), **TWO_LINES)
    assert client.scopes == ("openid", "offline_access")
    assert client.authorization_parameters == {"prompt": "consent"}
    assert (client.identity.source, client.identity.label) == ("id_token", "email")
    assert completed(**TWO_LINES).scopes == ()


def test_scopes_of_the_settings_are_all_that_is_asked_for() -> None:
    """Nothing is added to what the operator chose."""
    also = found(scopes_supported=["openid", "offline_access"])
    client = completed("acme", also, **TWO_LINES, scopes=["files"])
    assert (client.scopes, client.authorization_parameters) == (("files",), {})


def test_a_definition_s_own_words_win(tmp_path: Path) -> None:
    """Discovery fills what a definition leaves open, and changes nothing that it says."""
    known = bank(
        tmp_path,
        f"""
        [authorization]
        issuer = "{ISSUER}"
        url = "https://login.bank.example/start"
        pushed = false
        [token]
        client_authentication = "client_secret_post"
        [revocation]
        style = "none"
        """,
    )
    known.learn(
        "bank",
        found(
            require_pushed_authorization_requests=True,
            pushed_authorization_request_endpoint=f"{ISSUER}/par",
            token_endpoint_auth_methods_supported=["private_key_jwt"],
            scopes_supported=["openid"],
        ),
    )
    client = known.offered("bank")
    assert client.authorization_url == "https://login.bank.example/start"
    assert client.token_url == f"{ISSUER}/token"
    assert (client.pushed_url, client.authentication) == (None, "client_secret_post")
    assert (client.revocation_style, client.revocation_url) == ("none", None)
    assert client.scopes == ()


def test_an_issuer_with_a_placeholder(tmp_path: Path) -> None:
    """The pinned issuer is the one with the operator's parameters filled in."""
    known = bank(
        tmp_path,
        """
        [authorization]
        issuer = "https://{tenant}.bank.example"
        [parameters.tenant]
        label = "Tenant"
        """,
        {"client_id": "id-1", "client_secret": "s", "parameters": {"tenant": "blue"}},
    )
    assert known.wanted("bank") == Wanted(issuer="https://blue.bank.example", resource=None, client=False)


def test_an_operator_may_name_the_issuer_in_place_of_all_endpoints() -> None:
    """A shipped definition that publishes no endpoints is completed by its issuer."""
    given = {"issuer": ISSUER, "client_id": "id-1", "client_secret": "s"}
    client = completed("fundment", None, **given)
    assert (client.token_url, client.issuer) == (f"{ISSUER}/token", ISSUER)


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("xero", {"issuer": ISSUER}, "clients.xero.issuer: is in Xero's definition"),
        ("xero", {"resource": MCP}, "clients.xero.resource: is for providers that the catalogue does not have"),
        ("xero", {"client_authentication": "none"}, "clients.xero.client_authentication: is for providers"),
        ("acme", {"issuer": ISSUER, "client_authentication": "magic"}, "clients.acme.client_authentication: must be"),
        ("Not A Name", {"issuer": ISSUER}, "clients.Not A Name: the name must be"),
        ("acme", {"client_id": "id-1"}, "clients.acme: the catalogue has no such provider"),
        ("acme", {"issuer": f"{ISSUER}/?a=b"}, "clients.acme.issuer: must not contain a query"),
        ("acme", {"issuer": ISSUER, "parameters": {"a": "b"}}, "clients.acme.parameters.a"),
    ],
)
def test_settings_that_cannot_be(name: str, settings: dict[str, Any], problem: str) -> None:
    """Each has its own problem, and nobody is asked anything."""
    known = clients(PUBLIC_URL, **{name: {"client_id": "id-1", "client_secret": "s"} | settings})
    assert any(text.startswith(problem) for text in known.problems(name)), known.problems(name)
    assert known.wanted(name) is None
    assert known.offers() == []


def test_a_resource_alone() -> None:
    """The server that the resource names, its scopes, and the resource itself in every request (RFC 8707)."""
    also = found(client_id_metadata_document_supported=True, scopes_supported=["offline_access"])
    also = msgspec.structs.replace(also, resource=resource(MCP, scopes_supported=["files:read", 'bad"scope']))
    client = completed("files", also, resource=MCP)
    assert client.resources == (MCP,)
    assert client.scopes == ("files:read", "offline_access")
    assert client.client_id == "https://gk.example/oauth/files/client.json"
    assert (client.authentication, client.client_secret) == ("none", None)


def test_the_challenge_says_which_scopes() -> None:
    """What the resource asks for now, not all that it has."""
    also = msgspec.structs.replace(found(), resource=resource(MCP, scopes_supported=["a", "b"]), scope="a")
    assert completed("files", also, resource=MCP, client_id="id-1").scopes == ("a",)


def test_a_resource_that_wants_bound_tokens() -> None:
    """`dpop_bound_access_tokens_required` makes them bound (RFC 9728 §2)."""
    also = msgspec.structs.replace(
        found(dpop_signing_alg_values_supported=["EdDSA"]),
        resource=resource(MCP, dpop_bound_access_tokens_required=True),
    )
    client = completed("files", also, resource=MCP, client_id="id-1")
    assert (client.sender_constrained, client.dpop_algorithm) == ("dpop", "EdDSA")


def test_a_resource_of_another_issuer_is_a_problem() -> None:
    """The pinned issuer must be one that the resource names, or tokens for it could come from anywhere."""
    known = clients(files={"resource": MCP, "issuer": ISSUER, "client_id": "id-1"})
    other = resource(MCP, authorization_servers=["https://other.example"])
    known.learn("files", msgspec.structs.replace(found(), resource=other))
    (problem,) = known.problems("files")
    assert "does not name https://as.example among its authorization servers" in problem


def test_the_document_is_our_name() -> None:
    """Where the server reads client ID metadata documents and nobody registered us: what it then reads."""
    known = clients(acme={"issuer": ISSUER})
    known.learn("acme", found(client_id_metadata_document_supported=True, scopes_supported=["openid"]))
    client, document = known.offered("acme"), known.identification("acme")
    assert document is not None
    assert document["client_id"] == client.client_id == "https://gk.example/oauth/acme/client.json"
    assert document["redirect_uris"] == [client.redirect_uri]
    assert (document["token_endpoint_auth_method"], document["scope"]) == ("none", "openid")
    assert document["grant_types"] == ["authorization_code", "refresh_token"]


def test_no_document_for_who_is_known_otherwise() -> None:
    """A client id of the operator's, and a provider that is not there, have no document."""
    known = clients(acme=TWO_LINES)
    known.learn("acme", found(client_id_metadata_document_supported=True))
    assert known.offered("acme").client_id == "id-1"
    assert known.identification("acme") is known.identification("nonsense") is None


@pytest.mark.parametrize(
    ("public_url", "settings"),
    [
        ("http://127.0.0.1:8080", {}),
        ("https://gk.example", {"client_authentication": "client_secret_basic"}),
    ],
)
def test_where_a_document_does_not_serve(public_url: str, settings: dict[str, str]) -> None:
    """Not by plain http, which no server fetches, and not with a secret, which a public document cannot have."""
    known = clients(public_url, acme={"issuer": ISSUER} | settings)
    also = found(client_id_metadata_document_supported=True, registration_endpoint=f"{ISSUER}/register")
    known.learn("acme", also)
    assert known.registers("acme")
    assert known.identification("acme") is None


def test_who_is_not_registered_registers() -> None:
    """Pending until the server has given a client; then it is used as it was given."""
    known = clients(acme={"issuer": ISSUER})
    known.learn("acme", found(registration_endpoint=f"{ISSUER}/register"))
    assert known.pending("acme")
    assert known.registers("acme")
    assert known.problems("acme") == [f"clients.acme: is not registered at {ISSUER} yet"]
    assert known.application("acme")["token_endpoint_auth_method"] == "client_secret_basic"
    known.learn("acme", Found(registration=REGISTERED))
    client = known.offered("acme")
    assert (client.client_id, client.client_secret) == ("given-1", "given-secret")
    assert client.authentication == client.revocation_authentication == "client_secret_post"
    assert not known.registers("acme")
    known.forget("acme")
    assert known.pending("acme")


def test_a_client_id_of_the_operator_s_wins_over_a_registration() -> None:
    """Registered by hand later: the settings' client is used."""
    known = clients(acme=TWO_LINES)
    known.learn("acme", found())
    known.learn("acme", Found(registration=REGISTERED))
    assert (known.offered("acme").client_id, known.offered("acme").client_secret) == ("id-1", None)


def test_a_server_that_registers_nobody() -> None:
    """Neither documents nor registration: the operator must."""
    known = clients(acme={"issuer": ISSUER})
    known.learn("acme", found())
    assert known.problems("acme") == [f"clients.acme.client_id: is missing, and {ISSUER} registers nobody by itself"]
    assert not known.pending("acme")


def test_a_server_that_cannot_be_used_is_not_registered_at() -> None:
    """Nobody registers where nobody could connect."""
    known = clients(acme={"issuer": ISSUER})
    known.learn("acme", found(registration_endpoint=f"{ISSUER}/r", code_challenge_methods_supported=["plain"]))
    assert not known.registers("acme")


def test_a_failed_look_forgets_nothing() -> None:
    """What is known stays known when something was not found again."""
    known = clients(files={"resource": MCP, "client_id": "id-1"})
    known.learn("files", msgspec.structs.replace(found(), resource=resource(MCP), scope="a"))
    known.learn("files", Found(trouble="nobody answers"))
    assert known.problems("files") == []
    assert known.offered("files").scopes == ("a",)
