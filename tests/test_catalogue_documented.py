"""Every shipped definition, built into its requests by the product, and compared with what others know of it.

`catalogue/reference.json` holds what an independent collection says of the providers' endpoints and scopes: facts
gathered from permissively licensed libraries (django-allauth, social-auth-core, Socialite Providers, Auth.js, Arctic,
AspNet.Security.OAuth, goth and others) and, for the United Kingdom's finance, from the providers' pages.
`catalogue/differs.toml` says where a definition disagrees with it, and why.
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest

from grantkeeper.catalogue import Provider
from grantkeeper.model import AttemptSecrets, TokenSet
from grantkeeper.oauth.authorization import authorization_parameters, code_challenge, front_channel_url
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.grants import client_credentials_call, exchange_call, refresh_call
from grantkeeper.oauth.revocation import revocation_call
from grantkeeper.urls import PLACEHOLDER, fill
from tests.support.documented import CATALOGUE, CLIENT_ID, CLIENT_SECRET, KEPT, by_its_name, connected, examples, sent

FOLDER = Path(__file__).parent / "catalogue"
REFERENCE: dict[str, dict[str, str]] = json.loads((FOLDER / "reference.json").read_text())
DIFFERS: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "differs.toml").read_text())
NAMES = sorted(CATALOGUE.names)
BY_BROWSER = [name for name in NAMES if CATALOGUE[name].grant == "authorization_code"]
FIRST_EXCHANGED = [name for name in NAMES if CATALOGUE[name].refresh.at_once]
REVOKED = [name for name in NAMES if CATALOGUE[name].revocation.url is not None]
REFRESHED = [name for name in BY_BROWSER if CATALOGUE[name].refresh.supported]
VERIFIER = "v" * 43
STANDARD = ("response_type", "client_id", "client_secret", "redirect_uri", "state", "grant_type", "code")


def url_of(client: Client) -> str:
    """Where the browser is sent."""
    secrets = AttemptSecrets(code_verifier=VERIFIER if client.pkce else None, nonce="n" if client.openid else None)
    return front_channel_url(client, authorization_parameters(client, "our-state", secrets))


def check_url(url: str, provider: Provider, template: str | None) -> None:
    """It leads where the definition says; nothing is left to be filled in, and nobody listens on the way."""
    assert _fits(template or url, url)
    assert url.startswith("https://") or provider.verified.basis == "product"
    assert not PLACEHOLDER.search(unquote_plus(url))


def filled(parameters: dict[str, str], provider: Provider) -> dict[str, str]:
    """Further parameters of a definition, with the example values in their places."""
    values = examples(provider) | {name: KEPT[name] for name in provider.callback}
    return {name: fill(value, values) for name, value in parameters.items()}


def once_each(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The parameters by name; none may come twice (RFC 6749 §3.1, §3.2), but for `resource` (RFC 8707 §2)."""
    found = dict(pairs)
    assert len(found) == len([name for name, _ in pairs if name != "resource"]) + ("resource" in found)
    return found


def check_old_names(found: dict[str, str], rename: dict[str, str], extra: dict[str, str]) -> None:
    """What the provider calls otherwise, or wants left out, goes by no name of the standards."""
    assert not {name for name in rename if name in STANDARD} & (found.keys() - extra.keys() - set(rename.values()))


@pytest.mark.parametrize("name", BY_BROWSER)
def test_authorization_url_is_as_the_definition_says(name: str) -> None:
    """Its parameters by the provider's names, once each; scopes joined; PKCE or none; never the secret."""
    client, provider = connected(name), CATALOGUE[name]
    url, request = url_of(client), provider.authorization
    found = once_each(parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True))
    own = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": client.redirect_uri, "state": "our-state"}
    if scopes := provider.scopes.requested():
        own[request.scope_parameter] = provider.scopes.separator.join(scopes)

    check_url(url, provider, request.url)
    extra = filled(request.parameters, provider)
    assert by_its_name(extra | own, request.rename).items() <= found.items()
    check_old_names(found, request.rename, extra)
    challenge = (found.get("code_challenge"), found.get("code_challenge_method"))
    assert challenge == ((code_challenge(VERIFIER), "S256") if request.pkce == "S256" else (None, None))
    assert bool(scopes) == (request.scope_parameter in found or request.rename.get("scope") in found)
    assert CLIENT_SECRET not in url


def check_who_asks(headers: dict[str, str], found: dict[str, str], method: str, rename: dict[str, str]) -> None:
    """Id and secret stand where `client_authentication` says, and nowhere else (RFC 6749 §2.3.1)."""
    names = by_its_name({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}, rename)
    given = {key: found[key] for key in names if key in found}
    if method == "client_secret_basic":
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        assert (headers["authorization"], given) == (f"Basic {pair}", {})
        return
    assert "authorization" not in headers
    expected = {key: value for key, value in names.items() if value == CLIENT_ID or method == "client_secret_post"}
    assert given == expected
    assert ("client_assertion" in found) == (method == "private_key_jwt")


@pytest.mark.parametrize("name", NAMES)
async def test_token_request_is_as_the_definition_says(name: str) -> None:
    """What redeems a code, or asks without a person: who asks, how it is written, and what goes along."""
    client, provider = connected(name), CATALOGUE[name]
    token, call = provider.token, client_credentials_call(client)
    own: dict[str, str] = {"grant_type": provider.grant}
    if provider.grant == "authorization_code":
        call = exchange_call(client, "our-code", VERIFIER if client.pkce else None)
        own |= {"code": "our-code", "redirect_uri": client.redirect_uri}
        own |= {"code_verifier": VERIFIER} if provider.authorization.pkce == "S256" else {}
    request, pairs = await sent(client, call)
    found = once_each(pairs)

    extra = filled(token.parameters, provider)
    check_url(request.url, provider, token.url)
    assert request.method == token.method
    json_body = request.headers.get("content-type") == "application/json"
    assert json_body == (token.encoding == "json" and token.method == "POST")
    check_who_asks(request.headers, found, token.client_authentication, token.rename)
    check_old_names(found, token.rename, extra)
    assert by_its_name(own | extra, token.rename).items() <= found.items()
    assert {key.lower(): value for key, value in token.headers.items()}.items() <= request.headers.items()


@pytest.mark.parametrize("name", REFRESHED)
async def test_refresh_is_as_the_definition_says(name: str) -> None:
    """The refresh token by its name, at the right place, with scopes and redirect URI only where they are wanted."""
    client, provider = connected(name), CATALOGUE[name]
    refresh, scopes = provider.refresh, provider.scopes.requested()
    request, pairs = await sent(client, refresh_call(client, "our-token", scopes))
    found = once_each(pairs)
    own = {"grant_type": refresh.grant_type, refresh.token_parameter: "our-token"}
    own |= filled(provider.token.parameters, provider)
    own |= {"redirect_uri": client.redirect_uri} if refresh.send_redirect_uri else {}
    own |= {"scope": provider.scopes.separator.join(scopes)} if refresh.send_scope and scopes else {}

    check_url(request.url, provider, refresh.url or provider.token.url)
    assert request.method == (refresh.method or provider.token.method)
    method = refresh.client_authentication or provider.token.client_authentication
    check_who_asks(request.headers, found, method, provider.token.rename)
    assert by_its_name(own | refresh.parameters, provider.token.rename).items() <= found.items()
    assert ("redirect_uri" in found) == refresh.send_redirect_uri
    assert ("scope" in found) == ((refresh.send_scope and bool(scopes)) or "scope" in refresh.parameters)


@pytest.mark.parametrize("name", FIRST_EXCHANGED)
async def test_first_exchange_is_as_the_definition_says(name: str) -> None:
    """The access token that a code gave, by its name, at its place; in all else as a refresh."""
    client, provider = connected(name), CATALOGUE[name]
    refresh, first, token = provider.refresh, provider.refresh.first, provider.token
    request, pairs = await sent(client, refresh_call(client, "our-token", (), first=True))
    found = once_each(pairs)
    own = {"grant_type": first.grant_type or refresh.grant_type}
    own[first.token_parameter or refresh.token_parameter] = "our-token"

    check_url(request.url, provider, first.url or refresh.url or token.url)
    method = first.client_authentication or refresh.client_authentication or token.client_authentication
    check_who_asks(request.headers, found, method, token.rename)
    assert by_its_name(own | refresh.parameters, token.rename).items() <= found.items()


@pytest.mark.parametrize("name", REVOKED)
async def test_revocation_is_as_the_definition_says(name: str) -> None:
    """The token that ends the grant, where the style has it, and who hands it in."""
    client, provider = connected(name), CATALOGUE[name]
    revocation = provider.revocation
    tokens = TokenSet(access_token="our-access-token", token_type="Bearer", refresh_token="our-refresh-token")
    call = revocation_call(client, tokens)
    assert call is not None
    request, pairs = await sent(client, call)
    found = once_each(pairs)

    check_url(request.url, provider, revocation.url)
    assert request.method == ("DELETE" if revocation.style.startswith("delete") else "POST")
    if revocation.style in ("bearer", "delete_bearer"):
        token = "our-access-token" if revocation.token == "access_token" else "our-refresh-token"
        assert (request.headers["authorization"], found) == (f"Bearer {token}", {})
        return
    check_who_asks(request.headers, found, provider.revocation_authentication, revocation.rename)
    assert ("application/json" in request.headers["content-type"]) == (revocation.style in ("json", "delete_json"))
    name_of_token = "access_token" if revocation.style == "delete_json" else "token"
    expected = {name_of_token: f"our-{revocation.token.replace('_', '-')}"}
    assert by_its_name(expected, revocation.rename).items() <= found.items()
    assert not revocation.rename.keys() & found.keys()


@pytest.mark.parametrize("name", NAMES)
def test_what_definitions_ask_for_has_an_example(name: str) -> None:
    """An operator or a user sees what a value looks like, and it is one that would be taken."""
    provider = CATALOGUE[name]
    for key, value in examples(provider).items():
        assert provider.parameters[key].accepts(value)
    for key, brought in provider.callback.items():
        assert brought.accepts(KEPT[key])


def facts_of(name: str) -> dict[str, tuple[str, str]]:
    """What a definition says where the reference says something: as it stands there, and as it is sent."""
    provider = CATALOGUE[name]
    separator = provider.scopes.separator
    said = {
        "authorization_url": (provider.authorization.url, url_of(connected(name)) if name in BY_BROWSER else ""),
        "token_url": (provider.token.url, connected(name).token_url),
        "scope_separator": (separator, separator),
    }
    return {key: (stated, used) for key, (stated, used) in said.items() if stated and key in REFERENCE[name]}


def agrees(key: str, known: str, stated: str, used: str) -> bool:
    """Whether reference and definition say the same: of URLs host and path, where a placeholder stands for anything."""
    if key == "scope_separator":
        # `+` in a URL is a space.
        return known.replace("+", " ") == used
    return _fits(known, used) or _fits(stated, known)


def _fits(template: str, url: str) -> bool:
    pieces = [re.escape(piece) for piece in PLACEHOLDER.split(_host_and_path(template))[::2]]
    return re.fullmatch(".*".join(pieces), _host_and_path(url)) is not None


def _host_and_path(url: str) -> str:
    return url.partition("?")[0].partition("#")[0].rstrip("/")


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_definition_says_what_others_know_or_why_not(name: str) -> None:
    """Each disagreement is written down, and none that is not one."""
    known, ours = REFERENCE[name], facts_of(name)
    others = {key for key, (stated, used) in ours.items() if not agrees(key, known[key], stated, used)}

    assert {key: known[key] for key in others} == DIFFERS.get(name, {}).get("reference", {})


@pytest.mark.parametrize("name", sorted(DIFFERS))
def test_disagreement_has_its_reason(name: str) -> None:
    """A page that was read, or the admission that none was."""
    entry = DIFFERS[name]
    assert name in REFERENCE
    assert entry.keys() <= {"reference", "why", "page", "looked_up"}
    assert entry["why"].endswith(".")
    assert ("page" in entry) != (entry.get("looked_up") is False)
    assert entry.get("page", "https://").startswith("https://")
