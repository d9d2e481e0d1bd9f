"""The provider catalogue: shipped definitions, messages for mistakes, endpoints, banners, documentation."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.catalogue import (
    Catalogue,
    Endpoints,
    Provider,
    banner_svg,
    endpoint_problems,
    icon_svg,
    load_catalogue,
    resolve_endpoints,
)
from grantkeeper.catalogue.document import PAGE, coverage_table, shipped_lists, updated
from grantkeeper.catalogue.logo import contrast, readable_ink
from grantkeeper.errors import ConfigError
from tests.support.acme import ACME

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(load_catalogue().names)


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue()


@pytest.fixture
def definition(tmp_path: Path) -> Callable[..., Path]:
    """Writes acme.toml, with pieces of text replaced and lines added at its end; returns its directory."""

    def write(*replacements: tuple[str, str], add: str = "", name: str = "acme") -> Path:
        text = ACME
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / f"{name}.toml").write_text(text + add, "utf-8")
        return tmp_path

    return write


def problems(folder: Path) -> list[str]:
    """What loading complains about, without the folder's path."""
    with pytest.raises(ConfigError) as caught:
        load_catalogue(folder)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def make(**changes: Any) -> Provider:
    """A provider that differs from Acme in these keys."""
    document = {
        "schema": 1,
        "name": "acme",
        "label": "Acme",
        "category": ["accounting"],
        "colour": "#0f766e",
        "verified": {"basis": "product", "date": load_catalogue()["demo"].verified.date},
    }
    return Provider.model_validate(document | changes)


def test_loading_is_fast() -> None:
    """Hundreds of definitions must not be felt: to read one takes a few milliseconds at most, at start none is read."""
    assert load_catalogue().read == frozenset()
    best = min(_seconds_to_read_all() for _ in range(3))
    assert best / len(SHIPPED) < 0.02


def _seconds_to_read_all() -> float:
    began = time.perf_counter()
    list(load_catalogue())
    return time.perf_counter() - began


# The operator's own definitions


def test_own_definition_is_added(definition: Callable[..., Path]) -> None:
    """A file in the operator's directory stands beside the shipped ones."""
    catalogue = load_catalogue(definition())
    assert set(catalogue) == {*SHIPPED, "acme"}
    labels = [provider.label.casefold() for provider in catalogue.values()]
    assert labels == sorted(labels)


def test_own_definition_replaces_a_shipped_one_as_a_whole(definition: Callable[..., Path]) -> None:
    """Nothing of the shipped file shines through."""
    folder = definition(('"acme"', '"xero"'), ('"Acme"', '"Our Xero"'), name="xero")
    xero = load_catalogue(folder)["xero"]
    assert xero.label == "Our Xero"
    assert xero.authorization.pkce == "S256"
    assert xero.revocation.style == "none"


def test_other_files_are_left_alone(definition: Callable[..., Path]) -> None:
    """Notes, editors' leftovers and hidden files in the directory are not definitions."""
    folder = definition()
    (folder / "README.md").write_text("not TOML [")
    (folder / ".acme.toml").write_text("not TOML [")
    (folder / "acme.toml~").write_text("not TOML [")
    assert "acme" in load_catalogue(folder)


def test_minimal_definition_has_the_standards_defaults(definition: Callable[..., Path]) -> None:
    """What a definition leaves out is what RFC 6749 and RFC 7636 say."""
    acme = load_catalogue(definition())["acme"]
    assert acme.authorization.pkce == "S256"
    assert acme.token.client_authentication == "client_secret_basic"
    assert acme.token.response.expires_in == "expires_in"
    assert acme.token.response.default_lifetime is None
    assert acme.refresh.rotates == "sometimes"
    assert acme.refresh.when == "ahead"
    assert (acme.refresh.keep_alive, acme.refresh.idle_lifetime, acme.refresh.per_minute) == (None, None, None)
    assert acme.refresh.concurrency == 20


# Messages


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('label = "Acme"\n', "", "label: is required"),
        ('label = "Acme"', "label = 7", "label: must be a text"),
        ('label = "Acme"', 'label = "A\\nB"', "label: must be one line of text"),
        ('label = "Acme"', f'label = "{"A" * 41}"', "label: must have at most 40 characters"),
        ("schema = 1", "schema = 2", "schema: must be 1"),
        ('"acme"', '"Acme Ltd"', "name: must be 'acme', as the file is called acme.toml"),
        ('["accounting"]', '"accounting"', "category: must be a list"),
        ('["accounting"]', "[]", "category: must not be empty"),
        ("#0f766e", "teal", "colour: must be a colour like #1a73e8"),
        ("2026-11-22", '"2026-11-22"', "verified.date: must be a date, such as 2026-11-22, without quotes"),
        (
            '"documentation"',
            '"hearsay"',
            "verified.basis: must be 'documentation', 'libraries', 'operator' or 'product'",
        ),
        (
            "https://acme.example/token",
            "http://acme.example/token",
            "token.url: must start with https:// (http:// is for loopback hosts only)",
        ),
        (
            "https://acme.example/token",
            "acme.example/token",
            "token.url: must start with https:// (http:// is for loopback hosts only)",
        ),
        ("https://acme.example/token", "https:///token", "token.url: has no host"),
        ("https://acme.example/token", "https://[::1/token", "token.url: is not a URL: Invalid IPv6 URL"),
        (
            "https://acme.example/token",
            "https://acme.example/to ken",
            "token.url: must not contain spaces or control characters",
        ),
        (
            "https://acme.example/token",
            "https://me:secret@acme.example/token",
            "token.url: must not contain a fragment, a user or a password",
        ),
        (
            "https://acme.example/token",
            "https://acme.example/token#here",
            "token.url: must not contain a fragment, a user or a password",
        ),
        (
            "https://acme.example/token",
            "https://{Host}/token",
            "token.url: has a brace that is not part of a {placeholder} in lower case",
        ),
        (
            "https://acme.example/token",
            "https://{host}/token",
            "token.url: holds {host}, but there is no [parameters.host]",
        ),
        (
            'url = "https://acme.example/token"',
            "",
            "token.url: is required (or set operator_supplied = true, or discovery = true)",
        ),
        (
            "schema = 1",
            "schema = 1\noperator_supplied = true",
            "token.url: must be left out, as operator_supplied says that the operator gives it",
        ),
    ],
)
def test_mistake_is_named_with_file_and_key(definition: Callable[..., Path], old: str, new: str, message: str) -> None:
    """Each mistake gives a message that says where it is and what must stand there."""
    assert f"acme.toml: {message}" in problems(definition((old, new)))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("pkcee = 1", "token: unknown key 'pkcee'"),
        ("[tokn]", "unknown key 'tokn' (did you mean 'token'?)"),
        ("[refresh]\nrotate = true", "refresh: unknown key 'rotate' (did you mean 'rotates'?)"),
        ("[refresh]\nrotates = 'often'", "refresh.rotates: must be true, false or 'sometimes'"),
        ("[refresh]\nsupported = 'no'", "refresh.supported: must be true or false"),
        ("[refresh]\nidle_lifetime = 0", "refresh.idle_lifetime: must be more than 0"),
        ("[refresh]\nidle_lifetime = '60'", "refresh.idle_lifetime: must be a whole number"),
        ("[refresh]\nkeep_alive = 0", "refresh.keep_alive: must be more than 0"),
        (
            "[refresh]\nkeep_alive = 60\nidle_lifetime = 60",
            "refresh.keep_alive: must be less than refresh.idle_lifetime",
        ),
        ("[refresh]\nkeep_alive = 60\nsupported = false", "refresh.keep_alive: keeps a refresh token alive, but"),
        ("[refresh]\nwhen = 'never'", "refresh.when: must be 'ahead' or 'on_demand'"),
        ("[refresh]\nconcurrency = 0", "refresh.concurrency: must be at least 1"),
        ("[refresh]\nconcurrency = 1001", "refresh.concurrency: must be at most 1000"),
        ("[refresh]\nconcurrency = true", "refresh.concurrency: must be a whole number"),
        ("[refresh]\nper_minute = 0", "refresh.per_minute: must be at least 1"),
        (
            "[refresh.errors]\noops = 'nobody'",
            "refresh.errors.oops: must be 'grant', 'client' or 'transient'",
        ),
        (
            "[refresh.error_descriptions]\n'is over' = 'dead'",
            "refresh.error_descriptions.is over: must be 'grant', 'client' or 'transient'",
        ),
        (
            "[refresh.response]\nacces_token = 'a'",
            "refresh.response: unknown key 'acces_token' (did you mean 'access_token'?)",
        ),
        (
            "[refresh]\nsupported = false\n[scopes]\noffline = ['o']",
            "scopes.offline: asks for a refresh token",
        ),
        ("[token.response]\nscope = 'a..b'", "token.response.scope: must be names separated by single dots"),
        ("[token.response]\nscope = ''", "token.response.scope: must be names separated by single dots"),
        ("[token.headers]\nAuthorization = 'x'", "token.headers: must not set Authorization"),
        ("[token.headers]\n'A b' = 'x'", "token.headers.A b: must be a header's name"),
        ("[token.parameters]\nclient_secret = 'x'", "token.parameters: must not set client_secret"),
        ("[authorization.parameters]\nstate = 'x'", "authorization.parameters: must not set state"),
        ("[scopes]\ndefault = ['a b']", "scopes.default.0: must be scopes without spaces"),
        ("[scopes]\nseparator = '+'", "scopes.separator: must be ' ', ',' or ';'"),
        ("[parameters]\nhost = 'x'", "parameters.host: must be a table"),
        ("[parameters.Host]\nlabel = 'Host'", "parameters.Host: must be lower-case letters"),
        ("[parameters.host]\nlable = 'Host'", "parameters.host: unknown key 'lable' (did you mean 'label'?)"),
        ("[parameters.host]\nlabel = 'Host'", "parameters.host: is used by no URL"),
        ("[parameters.client_id]\nlabel = 'Id'", "parameters.client_id: is taken"),
        (
            "[parameters.h]\nlabel = 'Host'\npattern = '('",
            "parameters.h.pattern: is not a regular expression",
        ),
        (
            "[parameters.h]\nlabel = 'Host'\npattern = 'a+'\ndefault = 'b'",
            "parameters.h.default: does not match the pattern",
        ),
        (
            "[parameters.h]\nlabel = 'Host'\ntype = 'host'\nexample = 'https://a.example/'",
            "parameters.h.example: must be a host's name, without https://",
        ),
        (
            "[parameters.h]\nlabel = 'Host'\ntype = 'host'\nchoices = { a = 'A' }",
            "parameters.h.type: says nothing beside choices",
        ),
        ("[parameters.h]\nlabel = 'Host'\ntype = 'hots'", "parameters.h.type: must be 'text', 'subdomain', 'host'"),
        ("assertion_issuer = 'redirect_host'", "token.assertion_issuer: is used with private_key_jwt"),
        ("[refresh.first]\ngrant_type = 'x'", "refresh.first: is used with style = 'access_token' only"),
        (
            "[refresh]\nstyle = 'access_token'\ngrant_type = 'x'\ntoken_parameter = 'y'\nfirst = { grant_type = 'z' }",
            "refresh.at_once: must be true with [refresh.first]",
        ),
        (
            "[revocation]\nstyle = 'bearer'\nurl = 'https://acme.example/r'\nrename = { token = 't' }",
            "revocation.rename: there are no parameters with style = 'bearer'",
        ),
        ("[revocation]\nstyle = 'bearer'", "revocation.url: is required with style = 'bearer'"),
        ("[revocation]\nurl = 'https://acme.example/r'", "revocation.style: is required with url"),
        ("[identity]\nsource = 'userinfo'", "identity.url: is required with source = 'userinfo'"),
        ("[identity]\nurl = 'https://acme.example/u'", "identity.url: is not asked with source = 'none'"),
        ("[identity]\nsource = 'token_response'", "identity.subject: is required"),
        ("[identity]\nsource = 'id_token'", "scopes.default: must hold 'openid'"),
    ],
)
def test_mistake_in_a_table_is_named(definition: Callable[..., Path], lines: str, message: str) -> None:
    """The same for what stands in tables, with the nearest known key for an unknown one."""
    found = problems(definition(add=lines))
    assert any(problem.startswith(f"acme.toml: {message}") for problem in found), found


def test_issuer_in_response_needs_an_issuer(definition: Callable[..., Path]) -> None:
    """A required `iss` with nothing to compare it to is refused."""
    found = problems(definition(("[token]", "issuer_in_response = true\n\n[token]")))
    assert found == ["acme.toml: authorization.issuer: is required with authorization.issuer_in_response"]


def test_a_definition_does_not_come_with_itself(definition: Callable[..., Path]) -> None:
    """Token sets that come together are other definitions' (`together`)."""
    found = problems(definition(('label = "Acme"', 'label = "Acme"\ntogether = ["acme"]')))
    assert found == ["acme.toml: together: must name other definitions"]


def test_a_definition_comes_with_others_that_there_are(definition: Callable[..., Path]) -> None:
    """A name that is misspelt would be missed by nobody but the user."""
    found = problems(definition(('label = "Acme"', 'label = "Acme"\ntogether = ["slak-bot"]')))
    assert found == ["acme.toml: together: 'slak-bot' is no definition (did you mean 'slack-bot'?)"]


def test_syntax_error_names_the_line(definition: Callable[..., Path]) -> None:
    """What is not TOML is reported with its line."""
    [problem] = problems(definition(('label = "Acme"', "label = Acme")))
    assert problem.startswith("acme.toml: is not TOML: ")
    assert "line 4" in problem


def test_bytes_that_are_no_text_are_named(definition: Callable[..., Path]) -> None:
    """A file in another encoding is a problem with a name, not a crash."""
    folder = definition()
    (folder / "acme.toml").write_bytes(b'label = "\xe9"')
    assert problems(folder)[0].startswith("acme.toml: is not TOML: ")


def test_all_problems_of_all_files_come_together(definition: Callable[..., Path]) -> None:
    """One run shows everything there is to mend."""
    definition(('label = "Acme"\n', ""), ("#0f766e", "teal"))
    folder = definition(('"acme"', '"other"'), ("https://acme.example/token", "ftp://x"), name="beta")
    found = problems(folder)
    assert [problem.split(": ")[0] for problem in found] == [
        "acme.toml",
        "acme.toml",
        "beta.toml",
        "beta.toml",
    ]


def test_missing_directory_is_a_problem(tmp_path: Path) -> None:
    """A wrong providers_dir is said, not ignored."""
    with pytest.raises(ConfigError) as caught:
        load_catalogue(tmp_path / "nowhere")
    assert caught.value.problems == [f"providers_dir: {tmp_path / 'nowhere'} cannot be read: No such file or directory"]


# Endpoints


def test_parameters_fill_the_urls(shipped: Catalogue) -> None:
    """A value goes to every place that names it; without one the default does."""
    microsoft = shipped["microsoft"]
    own = resolve_endpoints(microsoft, client_id="id", parameters={"tenant": "acme.com"}, supplied={})
    assert own.token_url == "https://login.microsoftonline.com/acme.com/oauth2/v2.0/token"
    assert own.refresh_url == own.token_url
    assert own.revocation_url is None
    default = resolve_endpoints(microsoft, client_id="id", parameters={}, supplied={})
    assert default.authorization_url is not None
    assert "/common/" in default.authorization_url


def test_demo_endpoints_come_from_its_base_url(shipped: Catalogue) -> None:
    """The demo provider is wherever it is served, its issuer included."""
    base = "http://127.0.0.1:8080/demo-provider"
    endpoints = resolve_endpoints(shipped["demo"], client_id="id", parameters={"base_url": base}, supplied={})
    assert endpoints == Endpoints(
        authorization_url=f"{base}/authorize",
        token_url=f"{base}/token",
        refresh_url=f"{base}/token",
        first_exchange_url=None,
        revocation_url=f"{base}/revoke",
        identity_url=f"{base}/userinfo",
        pushed_url=None,
        device_url=None,
        jwks_url=None,
        issuer=base,
    )


def test_client_id_fills_the_revocation_url(shipped: Catalogue) -> None:
    """GitHub wants the client id in the path."""
    endpoints = resolve_endpoints(shipped["github"], client_id="Iv1.abc", parameters={}, supplied={})
    assert endpoints.revocation_url == "https://api.github.com/applications/Iv1.abc/token"


def test_operator_supplies_the_endpoints(shipped: Catalogue) -> None:
    """Fundment works with what the operator gives; what may be left out is None."""
    supplied = {"authorization_url": "https://f.example/a", "token_url": "https://f.example/t"}
    fundment = shipped["fundment"]
    endpoints = resolve_endpoints(fundment, client_id="id", parameters={}, supplied=supplied)
    assert endpoints.token_url == "https://f.example/t"
    assert endpoints.revocation_url is None
    more = supplied | {"revocation_url": "https://f.example/r", "userinfo_url": "https://f.example/u"}
    endpoints = resolve_endpoints(fundment, client_id="id", parameters={}, supplied=more)
    assert endpoints.revocation_url == "https://f.example/r"
    assert endpoints.identity_url == "https://f.example/u"


@pytest.mark.parametrize(
    ("name", "parameters", "supplied", "message"),
    [
        (
            "demo",
            {},
            {},
            "clients.demo.parameters.base_url: is missing: Base URL, for example http://127.0.0.1",
        ),
        (
            "salesforce",
            {"host": "evil.example"},
            {},
            "clients.salesforce.parameters.host: is not a valid value",
        ),
        (
            "salesforce",
            {"host": "a.my.salesforce.com@evil.example"},
            {},
            "clients.salesforce.parameters.host: is",
        ),
        (
            "docusign",
            {"host": "account.docusign.com.evil.example"},
            {},
            "clients.docusign.parameters.host: is",
        ),
        (
            "microsoft",
            {"tenant": "../x"},
            {},
            "clients.microsoft.parameters.tenant: is not a valid value: Tenant",
        ),
        ("microsoft", {"tenannt": "x"}, {}, "clients.microsoft.parameters.tenannt: Microsoft has no such"),
        (
            "demo",
            {"base_url": "http://evil.example"},
            {},
            "clients.demo.parameters.base_url: authorization.url must",
        ),
        (
            "fundment",
            {},
            {},
            "clients.fundment.authorization_url: is missing: Fundment publishes no endpoints",
        ),
        (
            "fundment",
            {},
            {"token_url": "http://f.example"},
            "clients.fundment.token_url: must start with https://",
        ),
        (
            "xero",
            {},
            {"token_url": "https://evil.example"},
            "clients.xero.token_url: is in Xero's definition",
        ),
    ],
)
def test_incomplete_endpoints_say_what_the_operator_must_do(
    shipped: Catalogue, name: str, parameters: dict[str, str], supplied: dict[str, str], message: str
) -> None:
    """Each message begins with the setting to change; resolving refuses with the same list."""
    found = endpoint_problems(shipped[name], parameters=parameters, supplied=supplied)
    assert any(problem.startswith(message) for problem in found), found
    with pytest.raises(ConfigError) as caught:
        resolve_endpoints(shipped[name], client_id="id", parameters=parameters, supplied=supplied)
    assert caught.value.problems == found


def test_unset_endpoints_count_as_not_supplied(shipped: Catalogue) -> None:
    """Settings may pass every name, with None where the operator gave nothing."""
    nothing = dict.fromkeys(("authorization_url", "token_url", "pushed_url", "device_url", "jwks_url", "issuer"))
    assert endpoint_problems(shipped["xero"], parameters={}, supplied=nothing) == []


def test_chosen_scopes_replace_the_default_but_not_the_offline_ones(shipped: Catalogue) -> None:
    """Each scope once, in order, and never without what a refresh token needs."""
    scopes = shipped["docusign"].scopes
    assert scopes.requested() == ("signature", "extended")
    assert scopes.requested(["click.send", "click.send"]) == ("click.send", "extended")
    assert scopes.requested(["extended"]) == ("extended",)
    assert scopes.requested([]) == ("extended",)


# Banners


@pytest.mark.parametrize("draw", [banner_svg, icon_svg])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_banner_is_an_image_with_the_label(
    shipped: Catalogue, name: str, draw: Callable[[Provider], str]
) -> None:
    """Every provider has a banner and an icon that stand alone: no script, no outside reference."""
    svg = draw(shipped[name])
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.findtext("{http://www.w3.org/2000/svg}title") == shipped[name].label
    assert "script" not in svg
    assert svg.count("http") == 1
    assert svg == draw(shipped[name])


def test_label_is_escaped() -> None:
    """A label cannot bring markup into the image."""
    label = "<b> & \"Sons\" 'Ltd'"
    for svg in (banner_svg(make(label=label)), icon_svg(make(label=label))):
        root = ElementTree.fromstring(svg)
        assert root.get("aria-label") == label
        assert "<b>" not in svg


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), min_size=1, max_size=40).filter(
        str.strip
    )
)
def test_any_label_makes_well_formed_xml(label: str) -> None:
    """Whatever the schema accepts as a label can be drawn."""
    provider = make(label=label)
    ElementTree.fromstring(banner_svg(provider))
    ElementTree.fromstring(icon_svg(provider))


def test_long_label_is_drawn_smaller() -> None:
    """Forty characters fit where four do."""
    assert 'font-size="30"' in banner_svg(make(label="Acme"))
    assert 'font-size="7"' in banner_svg(make(label="a" * 40))


@given(st.integers(0, 0xFFFFFF))
def test_text_is_readable_on_any_colour(colour: int) -> None:
    """At least 4.2 to 1 on the worst colour: past what WCAG asks of text this large and bold (3 to 1)."""
    text = f"#{colour:06x}"
    assert contrast(readable_ink(text), text) > 4.2


# Documentation


def test_documentation_is_current() -> None:
    """docs/providers.md is what `python -m grantkeeper.catalogue.document` writes."""
    page = (ROOT / PAGE).read_text("utf-8")
    assert updated(page) == page


def test_coverage_counts_every_definition_once() -> None:
    """By its first category; the last line is the sum of all."""
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in coverage_table().splitlines()[2:] if line]
    counts = [[int(cell or 0) for cell in row] for row in rows]
    assert counts[-1] == [sum(column) for column in zip(*counts[:-1], strict=True)]
    assert counts[-1][0] == sum(counts[-1][1:]) == len(SHIPPED)
    listed = shipped_lists()
    assert all(listed.count(f"\n| `{name}` |") == 1 for name in SHIPPED)


def test_documented_example_loads(tmp_path: Path) -> None:
    """The definition in docs/providers.md is one."""
    page = (ROOT / PAGE).read_text("utf-8")
    (tmp_path / "acme.toml").write_text(page.split("```toml\n")[1].split("```")[0], "utf-8")
    assert load_catalogue(tmp_path)["acme"].scopes.requested() == ("invoices.read", "offline_access")
