"""Definitions beyond plain OAuth 2: profiles, client keys, other grants, discovery, and what contradicts itself."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from grantkeeper.catalogue import Provider, endpoint_problems, load_catalogue, resolve_endpoints
from grantkeeper.catalogue.document import PAGE
from grantkeeper.catalogue.rules import inconsistencies
from grantkeeper.catalogue.tables import AuthorizationEndpoint, TokenEndpoint
from grantkeeper.errors import ConfigError
from tests.test_catalogue import ROOT

TOP = 'schema = 1\nname = "acme"\nlabel = "Acme"\ncategory = ["accounting"]\ncolour = "#0f766e"\n'
VERIFIED = '[verified]\nbasis = "documentation"\ndate = 2026-11-22\n'
AUTHORIZATION = 'url = "https://acme.example/authorize"\n'
PUSHED = 'issuer = "https://acme.example"\npushed_url = "https://acme.example/par"\n'
TOKEN = 'url = "https://acme.example/token"\n'
MESSAGE_SIGNING = "fapi2_message_signing"


def definition(
    top: str = "", authorization: str = "", token: str = "", tables: str = "", url: str = AUTHORIZATION
) -> str:
    """Acme's, with lines added at the top, to its two tables, and at the end."""
    return f"{TOP}{top}\n{VERIFIED}\n[authorization]\n{url}{authorization}\n[token]\n{TOKEN}{token}\n{tables}\n"


def loaded(folder: Path, text: str) -> Provider:
    """The provider in a definition."""
    name = tomllib.loads(text)["name"]
    (folder / f"{name}.toml").write_text(text, "utf-8")
    return load_catalogue(folder)[name]


def problems(folder: Path, text: str) -> list[str]:
    """What loading complains about, without the file."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return [problem.removeprefix(f"{folder}/acme.toml: ") for problem in caught.value.problems]


def profiled(profile: str, authorization: str = "", token: str = "", tables: str = "") -> str:
    """Acme's under a profile, with no more than the profile needs, then what is added."""
    keys = "" if "[signatures]" in tables else '[signatures]\njwks_url = "https://acme.example/jwks"\n'
    return definition(f'profile = "{profile}"', PUSHED + authorization, token, keys + tables)


class TestDefaults:
    """What a definition of a few lines means."""

    def test_plain(self, tmp_path: Path) -> None:
        """Without a profile nothing is asked of a server that RFC 6749 and PKCE do not ask."""
        acme = loaded(tmp_path, definition())
        assert (acme.profile, acme.grant, acme.discovery, acme.resources) == ("oauth2", "authorization_code", False, ())
        request, token = acme.authorization, acme.token
        assert not any((request.pushed, request.signed_request, request.signed_response, request.issuer_in_response))
        assert (request.max_age, request.login_hint, request.claims, request.details) == (None, "none", {}, ())
        assert (token.sender_constrained, token.assertion_audience, token.signing_algorithm) == (
            "no",
            "issuer",
            "ES256",
        )
        assert acme.signatures.algorithms == ("RS256", "PS256", "ES256", "EdDSA")

    @pytest.mark.parametrize("profile", ["fapi2", MESSAGE_SIGNING])
    def test_profile_sets_what_it_stands_for(self, tmp_path: Path, profile: str) -> None:
        """One line more is the FAPI 2.0 security profile, or message signing on top of it."""
        acme = loaded(tmp_path, profiled(profile))
        request, token = acme.authorization, acme.token
        assert request.pushed
        assert request.issuer_in_response
        assert request.pkce == "S256"
        assert (token.client_authentication, token.sender_constrained) == ("private_key_jwt", "dpop")
        assert (token.signing_algorithm, token.dpop_algorithm, token.assertion_audience) == ("ES256", "ES256", "issuer")
        assert acme.revocation_authentication == "private_key_jwt"
        assert acme.signatures.algorithms == ("PS256", "ES256", "EdDSA")
        assert request.signed_request is request.signed_response is (profile == MESSAGE_SIGNING)

    @pytest.mark.parametrize("method", ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"])
    @pytest.mark.parametrize("bound", ["dpop", "certificate"])
    @pytest.mark.parametrize("algorithm", ["PS256", "ES256", "EdDSA"])
    def test_profile_leaves_a_choice(self, tmp_path: Path, method: str, bound: str, algorithm: str) -> None:
        """Every combination that FAPI 2.0 allows can be written."""
        lines = (
            f'client_authentication = "{method}"\nsender_constrained = "{bound}"\nsigning_algorithm = "{algorithm}"\n'
        )
        token = loaded(tmp_path, profiled("fapi2", token=lines)).token
        assert (token.client_authentication, token.sender_constrained, token.signing_algorithm) == (
            method,
            bound,
            algorithm,
        )

    def test_message_signing_takes_the_issuer_from_the_signed_response(self, tmp_path: Path) -> None:
        """The `iss` inside a signed response does what RFC 9207 does for a plain one."""
        acme = loaded(tmp_path, profiled(MESSAGE_SIGNING, "issuer_in_response = false\n"))
        assert not acme.authorization.issuer_in_response

    def test_discovery_leaves_the_endpoints_open(self, tmp_path: Path) -> None:
        """An issuer alone is enough; what the definition gives is kept, the rest is None until it is found."""
        text = definition("discovery = true", 'issuer = "https://acme.example/{realm}"\n', url="").replace(TOKEN, "")
        acme = loaded(tmp_path, f'{text}[parameters.realm]\nlabel = "Realm"\n')
        endpoints = resolve_endpoints(acme, client_id="id", parameters={"realm": "eu"}, supplied={})
        assert endpoints.issuer == "https://acme.example/eu"
        assert {endpoints.authorization_url, endpoints.token_url, endpoints.refresh_url, endpoints.pushed_url} == {None}
        assert loaded(tmp_path, text.replace("{realm}", "").replace("true", "true\nprofile = 'fapi2'")).profile

    def test_every_endpoint_can_hold_placeholders(self, tmp_path: Path) -> None:
        """The new ones are filled as the old ones are."""
        text = definition(
            'grant = "device_code"',
            'issuer = "https://{host}"\n',
            tables='[device]\nurl = "https://{host}/device"\n[signatures]\njwks_url = "https://{host}/keys"\n'
            '[parameters.host]\nlabel = "Host"\n',
            url="",
        )
        endpoints = resolve_endpoints(
            loaded(tmp_path, text), client_id="id", parameters={"host": "a.example"}, supplied={}
        )
        assert endpoints.device_url == "https://a.example/device"
        assert endpoints.jwks_url == "https://a.example/keys"
        assert endpoints.authorization_url is None

    def test_what_is_asked_for_is_json(self, tmp_path: Path) -> None:
        """Claims and details come out of TOML as JSON can say them."""
        text = definition(
            tables="[[authorization.details]]\ntype = 'payment'\namount = {value = '1.50', currency = 'EUR'}\n"
            "[[authorization.details]]\ntype = 'accounts'\nactions = ['read']\nlimit = 3\nlasting = true\n"
            "[authorization.claims.id_token]\nemail = {}\nacr = {essential = true, values = ['urn:a', 'urn:b']}\n"
        )
        request = loaded(tmp_path, text).authorization
        assert json.loads(json.dumps(request.details)) == [
            {"type": "payment", "amount": {"value": "1.50", "currency": "EUR"}},
            {"type": "accounts", "actions": ["read"], "limit": 3, "lasting": True},
        ]
        assert json.loads(json.dumps(request.claims)) == {
            "id_token": {"email": {}, "acr": {"essential": True, "values": ["urn:a", "urn:b"]}}
        }

    @pytest.mark.parametrize("resource", ["https://api.acme.example/v1?a=b", "urn:acme:api", "api://acme"])
    def test_resources_are_absolute_uris(self, tmp_path: Path, resource: str) -> None:
        """RFC 8707 §2 asks for no more, and some providers name APIs by URNs."""
        assert loaded(tmp_path, definition(f'resources = ["{resource}"]')).resources == (resource,)


class TestProfilesRefuse:
    """A definition that falls short of its profile is told where."""

    SHORT = (
        ("pushed = false\npushed_url", "", "", "authorization.pushed: must be true"),
        ('pkce = "none"\npushed_url', "", "", "authorization.pkce: must be 'S256'"),
        *(
            ("pushed_url", f'client_authentication = "{method}"\n', "", "token.client_authentication: must be one of")
            for method in ("client_secret_basic", "client_secret_post", "client_secret_jwt", "none")
        ),
        ("pushed_url", 'signing_algorithm = "RS256"\n', "", "token.signing_algorithm: must not be 'RS256'"),
        ("pushed_url", 'assertion_audience = "token_endpoint"\n', "", "token.assertion_audience: must be 'issuer'"),
        ("pushed_url", 'sender_constrained = "no"\n', "", "token.sender_constrained: must be 'dpop' or 'certificate'"),
        (
            "pushed_url",
            "",
            '[revocation]\nstyle = "rfc7009"\nurl = "https://a.example/r"\nclient_authentication = "none"\n',
            "revocation.client_authentication: must be one of",
        ),
        (
            "pushed_url",
            "",
            '[signatures]\njwks_url = "https://a.example/k"\nalgorithms = ["ES256", "RS256"]\n',
            "signatures.algorithms: must not hold 'RS256'",
        ),
    )

    @pytest.mark.parametrize("profile", ["fapi2", MESSAGE_SIGNING])
    @pytest.mark.parametrize(("instead", "token", "tables", "message"), SHORT)
    def test_falling_short(
        self, tmp_path: Path, profile: str, instead: str, token: str, tables: str, message: str
    ) -> None:
        """Each has a message of its own, that names the key and the profile."""
        text = profiled(profile, token=token, tables=tables).replace("pushed_url", instead, 1)
        found = problems(tmp_path, text)
        [told] = [problem for problem in found if problem.startswith(message)]
        assert told.endswith(f"with profile = '{profile}'")

    def test_responses_without_issuer(self, tmp_path: Path) -> None:
        """FAPI 2.0 wants `iss` in every response that is not signed."""
        assert problems(tmp_path, profiled("fapi2", "issuer_in_response = false\n")) == [
            "authorization.issuer_in_response: must be true with profile = 'fapi2'"
        ]

    @pytest.mark.parametrize("key", ["signed_request", "signed_response"])
    def test_message_signing_wants_signatures(self, tmp_path: Path, key: str) -> None:
        """What the plain profile leaves open, message signing does not."""
        assert loaded(tmp_path, profiled("fapi2", f"{key} = false\n")).profile == "fapi2"
        assert problems(tmp_path, profiled(MESSAGE_SIGNING, f"{key} = false\n")) == [
            f"authorization.{key}: must be true with profile = '{MESSAGE_SIGNING}'"
        ]

    def test_a_profile_wants_an_issuer_and_a_place_to_push_to(self, tmp_path: Path) -> None:
        """Neither can be made up."""
        found = problems(tmp_path, definition('profile = "fapi2"'))
        assert "authorization.issuer: is required with authorization.issuer_in_response" in found
        assert "authorization.pushed_url: is required (or set operator_supplied = true, or discovery = true)" in found

    def test_a_table_that_is_none_is_a_problem_not_a_crash(self, tmp_path: Path) -> None:
        """A profile's defaults go into tables only."""
        text = f'{TOP}profile = "fapi2"\nauthorization = 7\ntoken = "x"\n{VERIFIED}'
        assert set(problems(tmp_path, text)) >= {"authorization: must be a table", "token: must be a table"}

    def test_unknown_profile(self, tmp_path: Path) -> None:
        """The known ones are named."""
        assert problems(tmp_path, definition('profile = "fapi1"')) == [
            f"profile: must be 'oauth2', 'fapi2' or '{MESSAGE_SIGNING}'"
        ]


@pytest.mark.parametrize(
    ("top", "authorization", "token", "tables", "message"),
    [
        ("discovery = 'yes'", "", "", "", "discovery: must be true or false"),
        ("grant = 'implicit'", "", "", "", "grant: must be 'authorization_code', 'device_code', 'client_credentials',"),
        ("resources = 'https://a.example'", "", "", "", "resources: must be a list"),
        ("resources = ['a.example']", "", "", "", "resources.0: must be an absolute URI without a fragment"),
        ("resources = ['https://a.example#b']", "", "", "", "resources.0: must be an absolute URI without a fragment"),
        ("", "pushed = 'yes'", "", "", "authorization.pushed: must be true or false"),
        ("", "pushed_url = 'http://a.example'", "", "", "authorization.pushed_url: must start with https://"),
        ("", "signed_request = 1", "", "", "authorization.signed_request: must be true or false"),
        ("", "signed_response = 1", "", "", "authorization.signed_response: must be true or false"),
        ("", "max_age = -1", "", "", "authorization.max_age: must be at least 0"),
        ("", "max_age = '60'", "", "", "authorization.max_age: must be a whole number"),
        ("", "login_hint = 'email'", "", "", "authorization.login_hint: must be 'none', 'identity' or 'subject'"),
        ("", "issuer = 'a.example'", "", "", "authorization.issuer: must start with https://"),
        ("", "issuer = 'https://a.example?b'", "", "", "authorization.issuer: must not contain a query"),
        ("", "issuer = 'https://a.example#b'", "", "", "authorization.issuer: must not contain a fragment"),
        ("", "claims = 'email'", "", "", "authorization.claims: must be a table"),
        ("", "claims = {email = {}}", "", "", "authorization.claims: must hold the tables id_token and userinfo"),
        ("", "claims = {userinfo = 'email'}", "", "", "authorization.claims: userinfo must hold a table for each"),
        ("", "claims = {userinfo = {email = true}}", "", "", "authorization.claims: userinfo must hold a table for"),
        (
            "",
            "claims = {userinfo = {born = {value = 1970-01-01}}}",
            "",
            "",
            "authorization.claims: userinfo.born.value must be a text, a number, true or false, a list or a table; "
            "write a date in quotes",
        ),
        ("", "details = {type = 'a'}", "", "", "authorization.details: must be a list"),
        ("", "details = ['a']", "", "", "authorization.details.0: must be a table"),
        ("", "details = [{type = 'a'}, {actions = []}]", "", "", "authorization.details.1: must have a type"),
        ("", "details = [{type = 7}]", "", "", "authorization.details.0: must have a type"),
        ("", "details = [{type = ''}]", "", "", "authorization.details.0: must have a type"),
        (
            "",
            "details = [{type = 'a', days = [1, 07:30:00]}]",
            "",
            "",
            "authorization.details.0: days.1 must be a text",
        ),
        ("", "details = [{type = 'a', at = 2026-11-22T07:30:00Z}]", "", "", "authorization.details.0: at must be a"),
        ("", "details = [{type = 'a', most = inf}]", "", "", "authorization.details.0: most must be a text"),
        ("", "details = [{type = 'a', most = nan}]", "", "", "authorization.details.0: most must be a text"),
        ("", "", "client_authentication = 'mtls'", "", "token.client_authentication: must be 'client_secret_basic',"),
        ("", "", "signing_algorithm = 'HS256'", "", "token.signing_algorithm: must be 'RS256', 'PS256', 'ES256' or"),
        ("", "", "signing_algorithm = 'none'", "", "token.signing_algorithm: must be 'RS256', 'PS256', 'ES256' or"),
        ("", "", "assertion_audience = 'x'", "", "token.assertion_audience: must be 'issuer' or 'token_endpoint'"),
        ("", "", "sender_constrained = true", "", "token.sender_constrained: must be 'no', 'dpop' or 'certificate'"),
        ("", "", "dpop_algorithm = 'RS256'", "", "token.dpop_algorithm: must be 'ES256' or 'EdDSA'"),
        ("", "", "", "[token.headers]\nDPoP = 'x'", "token.headers: must not set DPoP: Grantkeeper sets it itself"),
        ("", "", "", "[signatures]\nalgorithms = []", "signatures.algorithms: must not be empty"),
        ("", "", "", "[signatures]\nalgorithms = ['none']", "signatures.algorithms.0: must be 'RS256', 'PS256',"),
        (
            "",
            "",
            "",
            "[signatures]\njwks_uri = 'https://a.example'",
            "signatures: unknown key 'jwks_uri' (did you mean",
        ),
        ("", "", "", "[signatures]\njwks_url = 'ftp://a.example'", "signatures.jwks_url: must start with https://"),
        ("", "", "", "[device]\nurl = 'http://a.example'", "device.url: must start with https://"),
        ("", "", "", "[assertion]\nsubject = 'me'", "assertion.subject: must be 'client_id' or 'asked'"),
        ("", "", "", "[assertion.claims]\nexp = 'never'", "assertion.claims: must not set exp: Grantkeeper sets it"),
        ("", "", "", "[exchange]\nsource = 'A B'", "exchange.source: must be lower-case letters and digits"),
    ],
)
def test_bad_value_is_named(
    tmp_path: Path, top: str, authorization: str, token: str, tables: str, message: str
) -> None:
    """Each new key says what it must be."""
    found = problems(tmp_path, definition(top, f"{authorization}\n", f"{token}\n", tables))
    assert any(problem.startswith(message) for problem in found), found


@pytest.mark.parametrize(
    ("top", "authorization", "token", "tables", "message"),
    [
        *(
            ("", f"{key} = true", "", "", f"authorization.issuer: is required with authorization.{key}")
            for key in ("issuer_in_response", "signed_request", "signed_response")
        ),
        ("discovery = true", "", "", "", "authorization.issuer: is required with discovery"),
        *(
            (
                "",
                "",
                f"client_authentication = '{method}'",
                "",
                "authorization.issuer: is required with token.assertion_audience = 'issuer'",
            )
            for method in ("private_key_jwt", "client_secret_jwt")
        ),
        ("grant = 'jwt_bearer'", "", "", "", "authorization.issuer: is required with token.assertion_audience = 'iss"),
        ("", "signed_response = true", "", "", "signatures.jwks_url: is required with authorization.signed_response"),
        ("", "pushed = true", "", "", "authorization.pushed_url: is required (or set"),
        ("", "pushed_url = 'https://a.example'", "", "", "authorization.pushed: must be true with authorization.push"),
        ("", "max_age = 60", "", "", "scopes.default: must hold 'openid' with authorization.max_age"),
        ("", "login_hint = 'subject'", "", "", "identity.source: is required with authorization.login_hint = 'subj"),
        (
            "",
            "login_hint = 'identity'",
            "",
            "[identity]\nsource = 'userinfo'\nurl = 'https://acme.example/me'",
            "identity.label: is required with authorization.login_hint = 'identity'",
        ),
        (
            "",
            "pkce = 'none'",
            "client_authentication = 'none'",
            "",
            "authorization.pkce: must be 'S256' with token.client_authentication = 'none' (RFC 9700 §2.1.1)",
        ),
        (
            "grant = 'client_credentials'",
            "",
            "client_authentication = 'none'",
            "",
            "token.client_authentication: must not be 'none' with grant = 'client_credentials' (RFC 6749 §4.4)",
        ),
        ("grant = 'device_code'", "", "", "", "device.url: is required (or set operator_supplied = true, or discovery"),
        ("grant = 'token_exchange'", "", "", "", "exchange.source: is required with grant = 'token_exchange'"),
        ("grant = 'token_exchange'", "", "", "[exchange]\nsource = 'acme'", "exchange.source: must be another provid"),
        (
            "grant = 'token_exchange'",
            "",
            "parameters = {audience = 'a'}",
            "[exchange]\nsource = 'xero'\naudience = 'b'",
            "token.parameters: must not set audience: exchange.audience does",
        ),
        ("", "", "", "[device]\nurl = 'https://a.example'", "device: is used with grant = 'device_code' only"),
        ("", "", "", "[assertion]\nsubject = 'asked'", "assertion: is used with grant = 'jwt_bearer' only"),
        ("", "", "", "[exchange]\naudience = 'a'", "exchange: is used with grant = 'token_exchange' only"),
        *(
            (
                f"grant = '{grant}'\nprofile = 'fapi2'",
                "",
                "",
                "",
                f"profile: must be 'oauth2' with grant = '{grant}', which sends no authorization request",
            )
            for grant in ("device_code", "client_credentials", "jwt_bearer", "token_exchange")
        ),
        *(
            (
                "grant = 'client_credentials'",
                line,
                "",
                "",
                f"authorization.{line.split()[0]}: is used with grant = 'authorization_code' only",
            )
            for line in (
                "pushed = true",
                "pushed_url = 'https://a.example'",
                "signed_request = true",
                "signed_response = true",
                "issuer_in_response = true",
                "max_age = 1",
                "login_hint = 'subject'",
                "claims = {userinfo = {email = {}}}",
                "details = [{type = 'a'}]",
            )
        ),
    ],
)
def test_contradiction_is_named(
    tmp_path: Path, top: str, authorization: str, token: str, tables: str, message: str
) -> None:
    """What cannot be together says which key is to be changed, and why."""
    found = problems(tmp_path, definition(top, f"{authorization}\n", f"{token}\n", tables))
    assert any(problem.startswith(message) for problem in found), found


RESERVED = {
    "authorization": (
        "client_id redirect_uri response_type response_mode scope state code_challenge code_challenge_method nonce "
        "claims max_age login_hint authorization_details resource request_uri dpop_jkt client_assertion "
        "client_assertion_type client_secret"
    ),
    "token": (
        "client_id client_secret client_assertion client_assertion_type grant_type code code_verifier redirect_uri "
        "refresh_token scope resource assertion device_code subject_token subject_token_type requested_token_type "
        "authorization_details"
    ),
}


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, names in RESERVED.items() for name in names.split()]
)
def test_reserved_parameters(tmp_path: Path, table: str, name: str) -> None:
    """What Grantkeeper sends itself cannot be sent a second time, whatever the case it is written in."""
    for written in (name, name.upper()):
        found = problems(tmp_path, definition(tables=f"[{table}.parameters]\n{written} = 'x'"))
        assert found == [f"{table}.parameters: must not set {written}: Grantkeeper sets it itself"]


@pytest.mark.parametrize(
    ("table", "name"), [("authorization", "prompt"), ("authorization", "acr_values"), ("token", "audience")]
)
def test_parameters_that_are_free(tmp_path: Path, table: str, name: str) -> None:
    """The rest is the author's to set: `prompt` is how some providers give a refresh token."""
    acme = loaded(tmp_path, definition(tables=f"[{table}.parameters]\n{name} = 'x'"))
    tables: dict[str, AuthorizationEndpoint | TokenEndpoint] = {
        "authorization": acme.authorization,
        "token": acme.token,
    }
    assert tables[table].parameters == {name: "x"}


class TestSupplied:
    """What comes from the operator's settings."""

    def supplied(self, **document: Any) -> Provider:
        """A provider that publishes no endpoints."""
        common = {"schema": 1, "name": "acme", "label": "Acme", "category": ["x"], "colour": "#000000"}
        provider = Provider.model_validate(
            {
                **common,
                "verified": {"basis": "operator", "date": load_catalogue()["demo"].verified.date},
                "operator_supplied": True,
                **document,
            }
        )
        assert inconsistencies(provider) == []
        return provider

    @pytest.mark.parametrize(
        ("document", "wanted"),
        [
            ({}, ["authorization_url", "token_url"]),
            ({"grant": "device_code"}, ["device_url", "token_url"]),
            ({"grant": "client_credentials"}, ["token_url"]),
            ({"grant": "jwt_bearer"}, ["token_url", "issuer"]),
            ({"profile": "fapi2"}, ["authorization_url", "token_url", "pushed_url", "issuer"]),
            ({"profile": MESSAGE_SIGNING}, ["authorization_url", "token_url", "pushed_url", "jwks_url", "issuer"]),
            ({"token": {"client_authentication": "client_secret_jwt"}}, ["authorization_url", "token_url", "issuer"]),
            ({"discovery": True}, []),
        ],
    )
    def test_what_is_wanted(self, document: dict[str, Any], wanted: list[str]) -> None:
        """Exactly what the definition cannot do without, by the setting's name; then it works."""
        provider = self.supplied(**document)
        found = endpoint_problems(provider, parameters={}, supplied={})
        assert [problem.split(": ")[0] for problem in found] == [f"clients.acme.{setting}" for setting in wanted]
        assert all("is missing: Acme publishes no endpoints, ask it for them" in problem for problem in found)
        given = {setting: f"https://acme.example/{setting}" for setting in wanted}
        endpoints = resolve_endpoints(provider, client_id="id", parameters={}, supplied=given)
        assert {setting: getattr(endpoints, setting) for setting in wanted} == given

    @pytest.mark.parametrize(
        ("setting", "url", "message"),
        [
            ("pushed_url", "http://acme.example", "must start with https://"),
            ("device_url", "https://", "has no host"),
            ("jwks_url", "https://a@acme.example", "must not contain a fragment, a user or a password"),
            ("issuer", "https://acme.example?realm=a", "must not contain a query"),
            ("issuer", "http://acme.example", "must start with https://"),
        ],
    )
    def test_bad_ones_are_named(self, setting: str, url: str, message: str) -> None:
        """As in a definition."""
        found = endpoint_problems(self.supplied(), parameters={}, supplied={setting: url})
        assert any(problem.startswith(f"clients.acme.{setting}: {message}") for problem in found), found

    @pytest.mark.parametrize("setting", ["issuer", "pushed_url", "device_url", "jwks_url"])
    def test_a_definition_is_not_overruled(self, setting: str) -> None:
        """Where the catalogue knows the provider, its definition says where it is."""
        found = endpoint_problems(load_catalogue()["xero"], parameters={}, supplied={setting: "https://evil.example"})
        assert found == [
            f"clients.xero.{setting}: is in Xero's definition; to change it, put yours in providers_dir",
        ]


class TestDocumentation:
    """The examples of docs/providers.md."""

    PAGE_TEXT = (ROOT / PAGE).read_text("utf-8")

    def test_from_plain_to_fapi(self, tmp_path: Path) -> None:
        """The documented change makes the documented provider one of FAPI 2.0, and touches nothing else."""
        before = self.PAGE_TEXT.split("```toml\n")[1].split("```")[0]
        change = self.PAGE_TEXT.split("```diff\n")[1].split("```")[0]
        plain, fapi = loaded(tmp_path, before), loaded(tmp_path, changed(before, change))
        assert (plain.profile, fapi.profile) == ("oauth2", "fapi2")
        assert (fapi.scopes, fapi.refresh, fapi.identity) == (plain.scopes, plain.refresh, plain.identity)
        assert fapi.token.client_authentication == "private_key_jwt"
        assert fapi.token.url == plain.token.url

    def test_further_examples_load(self, tmp_path: Path) -> None:
        """Discovery with details, and a grant without a browser."""
        _, _, bank, ledger, *_ = self.PAGE_TEXT.split("```toml\n")
        found = loaded(tmp_path, bank.split("```")[0])
        assert found.discovery
        assert found.authorization.details[0]["type"] == "account_information"
        assert loaded(tmp_path, ledger.split("```")[0]).grant == "client_credentials"


def changed(text: str, change: str) -> str:
    """A text after a change, whose lines without a sign say where."""
    lines, at = text.splitlines(), 0
    for line in change.splitlines():
        if line.startswith("+"):
            lines.insert(at, line[1:])
            at += 1
        elif line:
            at = lines.index(line[1:], at) + 1
    return "\n".join(lines)
