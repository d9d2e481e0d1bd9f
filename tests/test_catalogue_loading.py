"""Loading the catalogue: what is read and when, variants, and reading the operator's files again."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.catalogue.load import load_catalogue, read_again, read_files, text_problems
from grantkeeper.catalogue.writing import toml_text
from grantkeeper.clients import Clients
from grantkeeper.config import ClientSettings
from grantkeeper.errors import ConfigError
from tests.discovery.servers import found as said_by_issuer
from tests.support.world import open_world

BASE = """
schema = 1
name = "{name}"
label = "{label}"
category = ["accounting"]
colour = "#0f766e"

[verified]
basis = "documentation"
date = 2026-11-22

[authorization]
url = "https://{name}.example/authorize"
parameters = {{ access_type = "offline", prompt = "consent" }}

[scopes]
default = ["read", "write"]

[token]
url = "https://{name}.example/token"
"""
VARIANT = """
schema = 1
name = "acme-sandbox"
extends = "acme"
label = "Acme Sandbox"

[verified]
basis = "libraries"
date = 2026-11-20

[authorization.parameters]
prompt = "login"

[scopes]
default = ["read"]

[token]
url = "https://sandbox.acme.example/token"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The operator's directory."""
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A directory in the place of the shipped one."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    return folder


def write(folder: Path, name: str, text: str = BASE, *replacements: tuple[str, str], label: str | None = None) -> Path:
    """A definition in a folder, with pieces of text replaced."""
    text = text.format(name=name, label=label or name.title()) if text is BASE else text
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / f"{name}.toml").write_text(text, "utf-8")
    return folder / f"{name}.toml"


def problems(own: Path, shipped: Path | None = None) -> list[str]:
    """What loading complains about, without the folder's path."""
    with pytest.raises(ConfigError) as caught:
        load_catalogue(own, shipped) if shipped else load_catalogue(own)
    return [problem.replace(f"{own}/", "") for problem in caught.value.problems]


def clients(own: Path | None = None, **settings: dict[str, Any]) -> Clients:
    """Clients of the shipped catalogue and of these settings."""
    given = {name: ClientSettings(**values) for name, values in settings.items()}
    return Clients(load_catalogue(own), given, "https://gk.example")


class TestReadWhenAskedFor:
    """Hundreds of definitions must not be felt at start, nor by a request."""

    def test_shipped_definition(self) -> None:
        """Nothing is read until somebody asks for it, and then that alone."""
        catalogue = load_catalogue()
        assert "xero" in catalogue
        assert "nosuch" not in catalogue
        assert len(catalogue) == len(catalogue.names)
        assert catalogue.get("nosuch") is None
        assert catalogue.read == frozenset()
        assert catalogue["xero"].label == "Xero"
        assert catalogue["xero"] is catalogue["xero"]
        assert catalogue.read == {"xero"}

    def test_going_through_reads_all(self) -> None:
        """Whoever wants all gets all, in the order of their labels."""
        catalogue = load_catalogue()
        labels = [provider.label for provider in catalogue.values()]
        assert labels == sorted(labels, key=str.casefold)
        assert catalogue.read == catalogue.names

    def test_clients_read_what_is_configured(self) -> None:
        """Putting clients together, and asking them what a request asks, reads the settings' providers only."""
        credentials = {"client_id": "id", "client_secret": "hush"}
        found = clients(xero=credentials, google=credentials, corp={"issuer": "https://as.example", "client_id": "id"})
        assert found.offers() == [("google", "Google"), ("xero", "Xero")]
        assert found.label("xero") == "Xero"
        assert found.label("corp") == "Corp"
        assert found.problems("slack")
        assert "slack" in found.catalogue
        assert found.catalogue.read == {"xero", "google", "corp"}

    def test_label_of_a_provider_that_is_not_set_up_any_more(self) -> None:
        """Its connections still show what people call it; an unknown one is called by its name."""
        found = clients()
        assert found.label("hubspot") == "HubSpot"
        assert found.label("gone") == "gone"
        assert found.catalogue.read == {"hubspot"}

    def test_broken_shipped_definition_is_told_when_asked_for(self, shipped: Path) -> None:
        """It stands in nobody's way until then."""
        write(shipped, "acme", BASE, ("url =", "ulr ="))
        catalogue = load_catalogue(None, shipped)
        with pytest.raises(ConfigError, match=r"providers/acme.toml: authorization: unknown key 'ulr'"):
            catalogue["acme"]

    def test_own_definitions_are_read_at_once(self, own: Path) -> None:
        """They are what may be wrong: every problem of every file is told at start."""
        write(own, "acme", BASE, ("2026-11-22", '"today"'))
        write(own, "bcme", BASE, ('label = "Bcme"\n', ""))
        write(own, "good")
        assert problems(own) == [
            "acme.toml: verified.date: must be a date, such as 2026-11-22, without quotes",
            "bcme.toml: label: is required",
        ]


class TestVariants:
    """`extends`."""

    def test_tables_are_merged_and_values_replaced(self, own: Path) -> None:
        """What is not written is the other's, key by key; lists are replaced as a whole."""
        write(own, "acme")
        write(own, "acme-sandbox", VARIANT)
        variant = load_catalogue(own)["acme-sandbox"]
        assert variant.token.url == "https://sandbox.acme.example/token"
        assert variant.authorization.url == "https://acme.example/authorize"
        assert variant.authorization.parameters == {"access_type": "offline", "prompt": "login"}
        assert variant.scopes.default == ("read",)
        assert variant.colour == "#0f766e"
        assert (variant.name, variant.label, variant.verified.basis) == ("acme-sandbox", "Acme Sandbox", "libraries")
        assert load_catalogue(own)["acme"].scopes.default == ("read", "write")

    def test_of_a_shipped_definition(self, own: Path) -> None:
        """An operator writes what differs from what is shipped."""
        write(own, "xero-eu", VARIANT, ('"acme-sandbox"', '"xero-eu"'), ('"acme"', '"xero"'), ('"read"', '"openid"'))
        variant = load_catalogue(own)["xero-eu"]
        assert variant.identity.subject == "xero_userid"
        assert variant.token.url == "https://sandbox.acme.example/token"

    def test_follows_what_replaces_its_base(self, own: Path, shipped: Path) -> None:
        """An operator's file in the place of a shipped one changes its variants, shipped or not."""
        write(shipped, "acme")
        write(shipped, "acme-sandbox", VARIANT)
        assert load_catalogue(own, shipped)["acme-sandbox"].colour == "#0f766e"
        write(own, "acme", BASE, ("#0f766e", "#123456"))
        assert load_catalogue(own, shipped)["acme-sandbox"].colour == "#123456"

    def test_read_later_it_is_what_was_checked(self, own: Path, shipped: Path) -> None:
        """An edit of the operator's after the start changes nothing until it is taken into use."""
        write(shipped, "acme")
        write(shipped, "acme-sandbox", VARIANT)
        write(own, "acme", BASE, ("#0f766e", "#123456"))
        catalogue = load_catalogue(own, shipped)
        write(own, "acme", "nonsense")
        assert catalogue["acme-sandbox"].colour == "#123456"

    def test_replaced_base_that_does_not_do(self, own: Path, shipped: Path) -> None:
        """Told at start with both files: what is missing in one breaks the other."""
        write(shipped, "acme")
        write(shipped, "acme-sandbox", VARIANT, ('"https://sandbox.acme.example/token"', '"https://{host}/token"'))
        shipped_base = write(shipped, "acme")
        shipped_base.write_text(
            shipped_base.read_text() + '[parameters.host]\nlabel = "Host"\n[api]\nbase_url="https://{host}"'
        )
        assert load_catalogue(None, shipped)["acme-sandbox"].token.url == "https://{host}/token"
        write(own, "acme")
        assert problems(own, shipped) == [
            "providers/acme-sandbox.toml, which extends acme.toml: token.url: holds {host}, but there is no "
            "[parameters.host]"
        ]

    @pytest.mark.parametrize("key", ["label", "verified", "name"])
    def test_what_must_be_its_own(self, own: Path, key: str) -> None:
        """Nobody has checked it by checking the other, and people must be able to tell them apart."""
        write(own, "acme")
        text = (
            VARIANT.replace('[verified]\nbasis = "libraries"\ndate = 2026-11-20\n', "")
            if key == "verified"
            else VARIANT
        )
        lines = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
        write(own, "acme-sandbox", "\n".join(lines))
        assert problems(own) == [f"acme-sandbox.toml: {key}: is required"]

    @pytest.mark.parametrize(
        ("base", "said"),
        [
            ("acne", "extends: 'acne' is no definition (did you mean 'acme'?)"),
            ("zzz", "extends: 'zzz' is no definition"),
            ("acme-sandbox", "extends: must name another definition"),
            ("other", "extends: 'other' is a variant itself; extend what it extends"),
            ("broken", "extends: 'broken' has problems of its own"),
        ],
    )
    def test_base_that_is_none(self, own: Path, base: str, said: str) -> None:
        """Each is told with the variant's file, and the nearest name where there is one."""
        write(own, "acme")
        write(own, "other", VARIANT, ('"acme-sandbox"', '"other"'))
        if base == "broken":
            write(own, "broken", "schema = [")
        write(own, "acme-sandbox", VARIANT, ('"acme"', f'"{base}"'))
        assert f"acme-sandbox.toml: {said}" in problems(own)

    def test_contradiction_that_comes_of_merging(self, own: Path) -> None:
        """What is wrong with the whole is told with the variant's file."""
        write(own, "acme")
        write(own, "acme-sandbox", VARIANT + "\n[refresh]\nsupported = false\nkeep_alive = 60\n")
        assert problems(own) == [
            "acme-sandbox.toml: refresh.keep_alive: keeps a refresh token alive, but refresh.supported is false"
        ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[api]\nbase_ulr = 'https://x.example'", "api: unknown key 'base_ulr' (did you mean 'base_url'?)"),
        ("[api.rate_limit]\nremain = 'X-Left'", "api.rate_limit: unknown key 'remain' (did you mean 'remaining'?)"),
        (
            "[parameters.sub]\nlabel = 'Sub'\nchoice = {}",
            "parameters.sub: unknown key 'choice' (did you mean 'choices'?)",
        ),
        (
            "[callback.realm_id]\npattern = '[0-9]+'\nrequire = true",
            "callback.realm_id: unknown key 'require' (did you mean 'required'?)",
        ),
        ("[token.response]\nexpire_in = 'x'", "token.response: unknown key 'expire_in' (did you mean 'expires_in'?)"),
        ("[introspection]\nuri = 'https://x.example'", "introspection: unknown key 'uri' (did you mean 'url'?)"),
    ],
)
def test_unknown_key_names_the_nearest(own: Path, lines: str, said: str) -> None:
    """In every table, also those that the author names."""
    file = write(own, "acme")
    file.write_text(f"{file.read_text()}\n{lines}\n")
    assert f"acme.toml: {said}" in problems(own)


class TestReadAgain:
    """The operator's files while the product runs."""

    def test_edited_added_and_removed(self, own: Path) -> None:
        """What the files say now; what is gone brings back the shipped one."""
        for name in ("acme", "bcme", "xero"):
            write(own, name)
        before = load_catalogue(own)
        write(own, "acme", BASE, ("#0f766e", "#123456"))
        write(own, "ccme")
        for name in ("bcme", "xero"):
            (own / f"{name}.toml").unlink()
        now = read_again(own, before)
        assert now.problems == {}
        assert now.catalogue["acme"].colour == "#123456"
        assert "ccme" in now.catalogue
        assert "bcme" not in now.catalogue
        assert now.catalogue["xero"].identity.subject == "xero_userid"
        assert before["acme"].colour == "#0f766e"

    def test_file_with_problems_is_refused_whole(self, own: Path) -> None:
        """Nothing of it comes into use; the others do."""
        write(own, "acme")
        write(own, "bcme")
        before = load_catalogue(own)
        write(own, "acme", BASE, ("#0f766e", "teal"), ("acme.example/token", "evil.example/token"))
        write(own, "bcme", BASE, ("#0f766e", "#123456"))
        write(own, "new", "schema = [")
        now = read_again(own, before)
        assert list(now.problems) == ["acme", "new"]
        assert now.problems["acme"] == [f"{own}/acme.toml: colour: must be a colour like #1a73e8"]
        assert now.catalogue["acme"] == before["acme"]
        assert now.catalogue["bcme"].colour == "#123456"
        assert "new" not in now.catalogue

    def test_refused_file_of_a_shipped_provider(self, own: Path) -> None:
        """What was in use stays: the shipped definition."""
        before = load_catalogue(own)
        write(own, "xero", BASE, ("#0f766e", "teal"))
        now = read_again(own, before)
        assert list(now.problems) == ["xero"]
        assert now.catalogue["xero"] == before["xero"]

    def test_variant_of_a_refused_file(self, own: Path) -> None:
        """It is read with the definition that stays in use."""
        write(own, "acme")
        write(own, "acme-sandbox", VARIANT)
        before = load_catalogue(own)
        write(own, "acme", "schema = [")
        write(own, "acme-sandbox", VARIANT, ('"read"', '"write"'))
        now = read_again(own, before)
        assert list(now.problems) == ["acme"]
        assert now.catalogue["acme-sandbox"].scopes.default == ("write",)
        assert now.catalogue["acme-sandbox"].authorization.url == "https://acme.example/authorize"

    def test_base_that_breaks_a_shipped_variant(self, own: Path, shipped: Path) -> None:
        """It is refused, and the variant stays what it was."""
        write(shipped, "acme")
        base = write(shipped, "acme")
        base.write_text(base.read_text() + '[parameters.host]\nlabel = "Host"\n[api]\nbase_url = "https://{host}"')
        write(shipped, "acme-sandbox", VARIANT, ('"https://sandbox.acme.example/token"', '"https://{host}/token"'))
        before = load_catalogue(own, shipped)
        write(own, "acme")
        now = read_again(own, before, shipped)
        assert list(now.problems) == ["acme"]
        assert now.catalogue["acme-sandbox"].api.base_url == "https://{host}"

    def test_directory_that_is_gone(self, own: Path) -> None:
        """An error, and no empty catalogue."""
        before = load_catalogue(own)
        own.rmdir()
        with pytest.raises(ConfigError, match=r"providers_dir: .* cannot be read"):
            read_again(own, before)


def test_given_files_stand_before_all_others(own: Path, tmp_path: Path) -> None:
    """A file can be checked before it is put where it belongs."""
    write(own, "acme")
    draft = write(tmp_path, "acme", BASE, ("#0f766e", "#123456"))
    assert read_files([draft], own).catalogue["acme"].colour == "#123456"
    missing = read_files([tmp_path / "nowhere.toml"], own)
    assert missing.problems == {"nowhere": [f"{tmp_path}/nowhere.toml: cannot be read: No such file or directory"]}


@given(st.text(), st.dictionaries(st.text(), st.text(), min_size=1), st.lists(st.text()))
def test_written_text_reads_as_what_was_written(text: str, table: dict[str, str], several: list[str]) -> None:
    """Whatever stands in it, as a value or as a key."""
    document = {"plain": text, "number": 7, "yes": True, "day": datetime.date(2026, 11, 22), "several": several}
    document |= {"table": table | {"inner": table}}
    assert tomllib.loads(toml_text(document)) == document


def test_what_toml_cannot_say() -> None:
    """An error, and no text that means something else."""
    with pytest.raises(ValueError, match="no TOML for NoneType"):
        toml_text({"nothing": None})


def test_text_is_checked_before_it_is_a_file() -> None:
    """As if it were one."""
    assert text_problems("acme", BASE.format(name="acme", label="Acme")) == []
    assert text_problems("bcme", BASE.format(name="acme", label="Acme")) == [
        "name: must be 'bcme', as the file is called bcme.toml"
    ]
    assert "is not TOML" in text_problems("acme", "schema = [")[0]


class TestClientsTakeANewCatalogue:
    """`Clients.use`."""

    SETTINGS = {"client_id": "id", "client_secret": "hush"}

    def test_all_at_once(self, own: Path) -> None:
        """The clients are those of the new definitions."""
        write(own, "acme")
        found = clients(own, acme=self.SETTINGS, bcme=self.SETTINGS)
        before = found.offered("acme")
        write(own, "acme", BASE, ("acme.example/token", "acme.example/new"))
        write(own, "bcme")
        found.use(load_catalogue(own))
        assert before.token_url == "https://acme.example/token"
        assert found.offered("acme").token_url == "https://acme.example/new"
        assert [name for name, _ in found.offers()] == ["acme", "bcme"]
        (own / "bcme.toml").unlink()
        found.use(load_catalogue(own))
        assert "no such provider" in found.problems("bcme")[0]

    def test_what_another_issuer_said(self, own: Path) -> None:
        """An answer that was asked for before the definition changed is not taken for the new issuer's."""
        text = BASE.replace('url = "https://{name}.example/authorize"', 'issuer = "https://as.example"')
        text = text.format(name="acme", label="Acme").replace("colour", "discovery = true\ncolour")
        write(own, "acme", text.replace('[token]\nurl = "https://acme.example/token"', ""))
        found = clients(own, acme=self.SETTINGS)
        found.learn("acme", said_by_issuer())
        assert found.offered("acme").token_url == "https://as.example/token"
        file = own / "acme.toml"
        file.write_text(file.read_text().replace("#0f766e", "#123456"))
        found.use(load_catalogue(own))
        assert found.offered("acme").token_url == "https://as.example/token"
        file.write_text(file.read_text().replace("https://as.example", "https://other.example"))
        found.use(load_catalogue(own))
        assert found.pending("acme")
        found.learn("acme", said_by_issuer())
        assert found.pending("acme")

    def test_nothing_where_it_cannot_be_read(self, shipped: Path, own: Path) -> None:
        """Clients stay what they were."""
        write(shipped, "acme")
        found = Clients(load_catalogue(None, shipped), {"acme": ClientSettings(**self.SETTINGS)}, "https://gk.example")
        write(shipped, "acme", "schema = [")
        with pytest.raises(ConfigError):
            found.use(load_catalogue(own, shipped))
        assert found.offered("acme").token_url == "https://acme.example/token"


async def test_requests_read_what_they_need(tmp_path: Path) -> None:
    """A start, the pages, the API and a banner: whatever is asked, the other definitions stay unread."""
    async with open_world(tmp_path, f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}") as world:
        catalogue = world.services.clients.catalogue
        assert catalogue.read == {"demo"}
        await world.read_token(await world.connect())
        for path in ("/api/v1/oauth/connections", "/api/v1/oauth/providers", "/health", "/api/v1/openapi.json"):
            assert (await world.client.get(path)).status_code == 200
        assert catalogue.read == {"demo"}
        assert (await world.client.get("/imgs/xero.svg")).status_code == 200
        assert (await world.client.get("/imgs/nosuch.svg")).status_code == 404
        assert catalogue.read == {"demo", "xero"}
