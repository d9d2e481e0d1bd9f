"""Every key of a definition either does something, which a test shows, or is a fact that is told and no more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import Field

from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import Refresh, Table, nested_table
from grantkeeper.clients.client import client_of
from grantkeeper.config import ClientSettings
from grantkeeper.oauth.client import Client
from tests.engine.quirky import PLAIN, Document, in_toml, merged
from tests.engine.test_quirks import CASES

_ROOT = Path(__file__).parent.parent
_FLOW = "tests/engine/test_quirks.py::test_the_whole_flow"
_PROFILES = "tests/interop/test_profiles.py::test_connect_read_refresh_reauthorize_disconnect"
_REQUESTS = "tests/interop/test_requests.py::test_everything_a_definition_asks_for"
_VALUES = "tests/engine/test_quirks_values.py"
_LIFETIMES = "tests/engine/test_quirks_lifetimes.py"

BEHAVIOUR = {
    # Without these there is no flow at all.
    "authorization.url": _FLOW,
    "token.url": _FLOW,
    "identity.url": _FLOW,
    "revocation.url": _FLOW,
    "revocation.style": _FLOW,
    "token.response.expires": _FLOW,
    "refresh.response.expires": _FLOW,
    # Ways to connect, profiles, and what is asked for.
    "extends": "tests/test_catalogue_loading.py::TestVariants::test_tables_are_merged_and_values_replaced",
    "operator_supplied": "tests/test_catalogue.py::test_operator_supplies_the_endpoints",
    "profile": _PROFILES,
    "discovery": "tests/discovery/test_connect.py::test_two_lines_connect",
    "grant": "tests/interop/test_grants.py::test_a_device_connects_reads_refreshes_and_disconnects",
    "device.url": "tests/interop/test_grants.py::test_a_device_connects_reads_refreshes_and_disconnects",
    "together": "tests/engine/test_token_sets.py::test_each_set_is_a_connection",
    "resources": _REQUESTS,
    "authorization.issuer": "tests/engine/test_attacks.py::TestMixUp::test_another_issuer",
    "authorization.issuer_in_response": "tests/engine/test_attacks.py::TestMixUp::test_no_issuer",
    "authorization.pushed": _PROFILES,
    "authorization.pushed_url": _PROFILES,
    "authorization.signed_request": _PROFILES,
    "authorization.signed_response": "tests/engine/test_attacks.py::TestSignedResponse::test_replaced_by_a_plain_one",
    "authorization.max_age": _REQUESTS,
    "authorization.login_hint": _REQUESTS,
    "authorization.claims": _REQUESTS,
    "authorization.details": _REQUESTS,
    "token.signing_algorithm": _PROFILES,
    "token.assertion_audience": "tests/oauth/test_sender.py::test_an_assertion_is_for_one_audience",
    "token.sender_constrained": "tests/engine/test_attacks_on_tokens.py::TestSenderConstrained::test_downgrade",
    "token.dpop_algorithm": _PROFILES,
    "signatures.jwks_url": "tests/engine/test_attacks_on_tokens.py::TestIdToken::test_another_key_of_the_same_name",
    "signatures.algorithms": "tests/engine/test_attacks_on_tokens.py::TestIdToken::test_hmac_with_what_is_public",
    "assertion.subject": "tests/oauth/test_renewals.py::test_an_assertion_speaks_for_whom_it_was_asked",
    "assertion.audience": "tests/oauth/test_renewals.py::test_an_assertion_is_for_one_audience",
    "assertion.claims": "tests/oauth/test_renewals.py::test_a_definition_adds_claims_and_replaces_none",
    "exchange.source": "tests/oauth/test_renewals.py::test_the_source_of_an_exchange_is_asked_anew",
    "exchange.audience": "tests/oauth/test_grants.py::test_a_token_is_exchanged",
    "exchange.subject_token_type": "tests/oauth/test_grants.py::test_a_token_is_exchanged",
    "exchange.requested_token_type": "tests/oauth/test_grants.py::test_a_token_is_exchanged",
    # What a connection is asked for.
    "parameters.NAME.label": f"{_VALUES}::test_what_is_missing_is_said",
    "parameters.NAME.example": f"{_VALUES}::test_what_is_missing_is_said",
    "refresh.response.keep": f"{_VALUES}::TestInstances::test_the_answer_to_a_refresh_may_have_it_elsewhere",
    # When and how often is refreshed.
    "refresh.response.ok": "tests/engine/test_quirks.py::test_a_flag_that_says_no",
    "refresh.idle_lifetime": f"{_LIFETIMES}::test_a_refresh_token_that_dies_of_idleness",
    "refresh.keep_alive": f"{_LIFETIMES}::test_a_refresh_token_that_dies_of_idleness",
    "refresh.when": "tests/engine/test_policies.py::test_on_demand_means_by_readers_only",
    "refresh.concurrency": "tests/engine/test_protection.py::test_no_more_at_one_time_than_the_provider_bears",
    "refresh.per_minute": "tests/engine/test_protection.py::test_no_more_in_a_minute_than_the_provider_bears",
}
"""Keys that do something, each with the test that shows it, besides the cases of `test_quirks`."""


class Fact(msgspec.Struct, frozen=True):
    """Why a key has no behaviour, and a definition that sets it; None: it cannot be set otherwise."""

    why: str
    example: Document | None = None


_EITHER_WAY = "told to the operator; a refresh does the same either way, as {} shows"

FACTS = {
    "schema": Fact("the version of the format; there is one"),
    "name": Fact("what the provider is called in URLs and settings; the file's name"),
    "label": Fact("what people call it", {"label": "Something Else"}),
    "category": Fact("groups the gallery", {"category": ["banking"]}),
    "icon": Fact("drawn on the banner", {"icon": "github"}),
    "docs_url": Fact("shown to the operator", {"docs_url": "https://example.com/docs"}),
    "colour": Fact("drawn on the banner", {"colour": "#123456"}),
    "verified.basis": Fact("shown to the operator", {"verified": {"basis": "libraries"}}),
    "verified.page": Fact("shown to the operator", {"verified": {"page": "https://example.com/"}}),
    "verified.date": Fact("shown to the operator", {"verified": {"date": "2026-11-21"}}),
    "parameters.NAME.help": Fact("shown beside the field", {"parameters": {"base_url": {"help": "Look there."}}}),
    "scopes.meaning": Fact("shown to people", {"scopes": {"meaning": {"profile": "See your name"}}}),
    "refresh.rotates": Fact(
        _EITHER_WAY.format(f"{_LIFETIMES}::test_a_refresh_token_that_is_spent_at_once"), {"refresh": {"rotates": True}}
    ),
    "refresh.most_tokens": Fact(
        _EITHER_WAY.format(f"{_LIFETIMES}::test_few_refresh_tokens_of_one_person"), {"refresh": {"most_tokens": 2}}
    ),
    "refresh.grace": Fact(
        _EITHER_WAY.format(f"{_LIFETIMES}::test_a_refresh_token_with_grace"), {"refresh": {"grace": 60}}
    ),
    "introspection.url": Fact("for whoever looks at tokens", {"introspection": {"url": "https://example.com/look"}}),
    "api.base_url": Fact("for whoever calls the API", {"api": {"base_url": "https://api.example.com"}}),
    "api.hosts": Fact("for whoever calls the API", {"api": {"hosts": ["api.example.com"]}}),
    "api.expired": Fact("for whoever calls the API", {"api": {"expired": [401, 403]}}),
    "api.docs_url": Fact("shown to the operator", {"api": {"docs_url": "https://example.com/api"}}),
    "api.rate_limit.limit": Fact("for whoever calls the API", {"api": {"rate_limit": {"limit": "X-Limit"}}}),
    "api.rate_limit.remaining": Fact("for whoever calls the API", {"api": {"rate_limit": {"remaining": "X-Left"}}}),
    "api.rate_limit.reset": Fact("for whoever calls the API", {"api": {"rate_limit": {"reset": "X-Reset"}}}),
}
"""Keys that are told, to people or to programs, and change nothing in what is sent or read."""


def keys_of(table: type[Table], above: str = "") -> Iterator[str]:
    """Every key of a table and of those in it, as paths; NAME stands for a name of the author's."""
    for name, field in table.model_fields.items():
        path = f"{above}{field.alias or name}"
        found = nested_table(field.annotation)
        if found is None:
            yield path
        else:
            inner, named = found
            yield from keys_of(inner, f"{path}.NAME." if named else f"{path}.")


def shown() -> set[str]:
    """The keys of the cases that break where the key is left out."""
    return {name.partition("-")[0] for name, case in CASES.items() if case.breaks is not None}


def uncovered(schema: type[Table]) -> list[str]:
    """The keys of which nobody knows what they are for."""
    return sorted(set(keys_of(schema)) - shown() - BEHAVIOUR.keys() - FACTS.keys())


def named_in(file: Path) -> set[str]:
    """The names of the tests in a file, those in classes as pytest writes them."""
    found = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inner = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}::{one.name}" for one in inner}
    return found


def client_with(directory: Path, change: Document) -> Client:
    """What the product makes of a definition with that in it; the label, which is for people, left aside."""
    directory.mkdir()
    (directory / "demo.toml").write_text(in_toml(merged(PLAIN, change)))
    provider = load_catalogue(directory)["demo"]
    settings = ClientSettings(client_id="id", parameters={"base_url": "https://example.com"})
    client = client_of(provider, settings, "id", "secret", "https://us.example/callback")
    return msgspec.structs.replace(client, label="")


def test_every_key_is_shown_or_a_fact() -> None:
    """Whoever adds a key to the schema adds a case to `test_quirks`, or says here why there is nothing to show."""
    assert uncovered(Provider) == []


def test_a_key_without_a_test_is_found() -> None:
    """A new key, in a new table or an old one, would not slip through."""

    class Odd(Refresh):
        quirk: bool = Field(False, description="A quirk that nobody has tested.")

    class Altered(Provider):
        refresh: Odd = Field(default_factory=Odd, description="The same with a quirk.")
        rows: dict[str, Odd] = Field(default_factory=dict, description="More of them.")

    found = uncovered(Altered)
    assert {"refresh.quirk", "rows.NAME.quirk"} <= set(found)
    assert not any(key.startswith("token.") for key in found)


def test_nothing_is_said_of_keys_that_are_gone() -> None:
    """No list outlives the schema, and no key is both behaviour and fact."""
    known = set(keys_of(Provider))
    tables = {key.rpartition(".")[0] for key in known}
    named = {name.partition("-")[0] for name in CASES} - {"no"}
    assert named - known - tables == set()
    assert (BEHAVIOUR.keys() | FACTS.keys()) - known == set()
    assert FACTS.keys() & (shown() | BEHAVIOUR.keys()) == set()


@pytest.mark.parametrize("test", sorted(set(BEHAVIOUR.values())))
def test_the_named_test_exists(test: str) -> None:
    """A test that is renamed or thrown away is missed here."""
    file, _, name = test.partition("::")
    assert name in named_in(_ROOT / file)


@pytest.mark.parametrize("key", [key for key, fact in FACTS.items() if fact.example is not None])
def test_a_fact_changes_nothing(tmp_path: Path, key: str) -> None:
    """The client that comes of a definition is the same with it: it cannot change what is sent or read."""
    example: Any = FACTS[key].example
    assert client_with(tmp_path / "with", example) == client_with(tmp_path / "without", {})
