"""The shipped definitions: what each knows of its provider, and where others went wrong."""

from __future__ import annotations

import pytest

from grantkeeper.catalogue import Catalogue, Parameter, Provider, load_catalogue, resolve_endpoints
from grantkeeper.urls import placeholders
from tests.test_catalogue import SHIPPED


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue()


def test_all_load_in_the_order_of_their_labels(shipped: Catalogue) -> None:
    """Every shipped file is a definition, and lists come sorted by what people read."""
    assert sorted(shipped) == SHIPPED
    labels = [provider.label for provider in shipped.values()]
    assert labels == sorted(labels, key=str.casefold)


def test_catalogue_cannot_be_changed(shipped: Catalogue) -> None:
    """Neither the mapping nor a definition in it takes an assignment."""
    with pytest.raises(TypeError):
        shipped["xero"] = shipped["demo"]  # type: ignore[index]  # the very thing that must not work
    with pytest.raises(ValueError, match="frozen"):
        shipped["xero"].token.url = "https://evil.example"  # type: ignore[misc]  # likewise
    assert len(shipped) == len(SHIPPED)
    assert "xero" in repr(shipped)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_definition_says_what_its_scopes_mean(shipped: Catalogue, name: str) -> None:
    """A person is never asked to consent to a scope that the definition has no words for."""
    scopes = shipped[name].scopes
    assert set(scopes.requested()) <= set(scopes.meaning)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_definition_resolves_with_its_examples(shipped: Catalogue, name: str) -> None:
    """Client id, secret and values like the examples are enough, and whoever is asked is spoken to by https."""
    provider = shipped[name]
    examples = {key: given.default or given.example or next(iter(given.choices)) for key, given in _given(provider)}
    for key, given in _given(provider):
        assert given.accepts(examples[key])
    if provider.operator_supplied:
        return
    endpoints = resolve_endpoints(provider, client_id="id", parameters=examples, supplied={})
    known = provider.callback.keys() | provider.kept
    for url in (endpoints.authorization_url, endpoints.token_url, endpoints.refresh_url, endpoints.identity_url):
        if url is not None:
            # What begins with a value of the connection is looked at when that is known.
            assert url.startswith(("https://", "{")) or provider.verified.basis == "product"
            assert set(placeholders(url)) <= known


def _given(provider: Provider) -> list[tuple[str, Parameter]]:
    return [*provider.parameters.items()]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_definition_says_where_its_facts_come_from(shipped: Catalogue, name: str) -> None:
    """A page for what was read in the documentation, and no endpoints of those who publish none."""
    provider = shipped[name]
    verified = provider.verified
    assert (verified.basis == "product") == (name == "demo")
    if verified.basis == "documentation":
        assert verified.page
        assert provider.docs_url
    if verified.basis == "operator":
        assert provider.operator_supplied


def test_known_traps_are_in_the_definitions(shipped: Catalogue) -> None:
    """What broke other systems: see the comments in the files."""
    google, microsoft, salesforce = shipped["google"], shipped["microsoft"], shipped["salesforce"]
    assert google.authorization.parameters == {"access_type": "offline", "prompt": "consent"}
    assert microsoft.refresh.send_scope
    assert not salesforce.refresh.send_scope
    assert salesforce.token.response.default_lifetime == 7200
    assert shipped["xero"].authorization.pkce == "none"
    assert "offline_access" in shipped["xero"].scopes.requested(["accounting.contacts"])
    assert shipped["hubspot"].token.client_authentication == "client_secret_post"
    assert shipped["docusign"].scopes.requested() == ("signature", "extended")
    assert shipped["fundment"].token.response.default_lifetime == 4 * 3600
    assert shipped["fundment"].token.response.refresh_default_lifetime == 365 * 86400


@pytest.mark.parametrize(
    ("name", "days"),
    [("docusign", 30), ("google", 180), ("microsoft", 90), ("salesforce", 30), ("xero", 60)],
)
def test_refresh_tokens_that_die_unused_are_known(shipped: Catalogue, name: str, days: int) -> None:
    """What the providers' pages say; of the others no page gives an end that disuse brings."""
    assert shipped[name].refresh.idle_lifetime == days * 86_400
    assert shipped[name].refresh.keep_alive is None


def test_error_codes_of_their_own_have_a_meaning(shipped: Catalogue) -> None:
    """A dead refresh token is not retried for ever, and a deleted client condemns nobody."""
    errors = {name: shipped[name].refresh.errors for name in SHIPPED}
    dead = {
        "github": "bad_refresh_token",
        "google": "admin_policy_enforced",
        "hubspot": "BAD_REFRESH_TOKEN",
        "microsoft": "interaction_required",
        "salesforce": "inactive_user",
        "slack": "invalid_refresh_token",
    }
    assert {errors[name][code] for name, code in dead.items()} == {"grant"}
    assert errors["google"]["deleted_client"] == errors["github"]["incorrect_client_credentials"] == "client"
    assert errors["slack"]["internal_error"] == "transient"
    descriptions = shipped["salesforce"].refresh.error_descriptions
    assert descriptions == {"token request is already being processed": "transient"}


def test_github_asks_with_spaces_and_reads_commas(shipped: Catalogue) -> None:
    """Requests and answers may separate scopes differently; without a word on it they do not."""
    assert shipped["github"].scopes.separator == " "
    assert shipped["github"].response_scope_separator == ","
    assert shipped["slack"].response_scope_separator == ","
    assert shipped["google"].response_scope_separator == " "


def test_slack_nests_the_first_answer_but_not_a_refresh(shipped: Catalogue) -> None:
    """The paths of a refresh can differ; otherwise they are the token endpoint's."""
    slack, google = shipped["slack"], shipped["google"]
    assert slack.token.response.access_token == "authed_user.access_token"
    assert slack.refresh_response.access_token == "access_token"
    assert slack.refresh_response.ok == "ok"
    assert google.refresh_response is google.token.response


def test_what_comes_together_is_one_client_asked_in_two_ways(shipped: Catalogue) -> None:
    """Each set is asked for by a parameter of its own, at the same endpoints, and read at another place."""
    pairs = [(provider, shipped[name]) for provider in shipped.values() for name in provider.together]
    assert ("slack", "slack-bot") in [(one.name, other.name) for one, other in pairs]
    for one, other in pairs:
        assert other.together == ()
        assert (other.authorization.url, other.token.url) == (one.authorization.url, one.token.url)
        assert other.authorization.scope_parameter != one.authorization.scope_parameter
        assert other.token.response.access_token != one.token.response.access_token


def test_revocation_authentication_is_the_token_endpoints_unless_said(shipped: Catalogue) -> None:
    """Xero says nothing and takes Basic at both; GitHub takes the body at one and Basic at the other."""
    assert shipped["xero"].revocation_authentication == "client_secret_basic"
    assert shipped["github"].revocation_authentication == "client_secret_basic"
    assert shipped["github"].token.client_authentication == "client_secret_post"
