"""`providers list`, `show`, `check` and `new`."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grantkeeper.catalogue import load_catalogue
from grantkeeper.testing.server import ProviderServer
from tests.discovery.servers import Server, metadata
from tests.support.command_line import Installation

ACME = """
schema = 1
name = "acme"
label = "Acme"
category = ["accounting", "hr"]
docs_url = "https://acme.example/docs"
colour = "#0f766e"

[verified]
basis = "libraries"
date = 2026-11-22

[parameters.subdomain]
label = "Subdomain"
ask = "connection"
help = "It stands before .acme.example in your address bar."
example = "bakery"

[parameters.region]
label = "Region"
choices = { eu = "Europe", us = "United States" }
default = "eu"

[authorization]
url = "https://{subdomain}.{region}.acme.example/authorize"

[scopes]
default = ["invoices.read"]
offline = ["offline"]

[scopes.meaning]
"invoices.read" = "Read invoices"
"invoices.write" = "Write invoices"

[token]
url = "https://{subdomain}.acme.example/token"

[api]
base_url = "https://{subdomain}.acme.example/api"
hosts = ["*.acme.example"]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The operator's directory, with one definition in it."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "acme.toml").write_text(ACME)
    return folder


@pytest.fixture
def operator(tmp_path: Path, own: Path) -> Installation:
    """Commands that need no installation, with a directory of definitions."""
    return Installation(tmp_path / "data", PROVIDERS_DIR=str(own), PROVIDER_NETWORKS="127.0.0.1")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """An authorization server that publishes metadata."""
    async with ProviderServer() as running:
        running.app = server = Server(running.url)
        yield server


def definition(server: Server, **changes: str | None) -> str:
    """A definition that agrees with that server, but for these lines."""
    lines: dict[str, str | None] = {
        "url": f'"{server.url}/authorize"',
        "issuer": f'"{server.url}"',
        "token_url": f'"{server.url}/token"',
        "method": '"client_secret_basic"',
        "scopes": '["read"]',
        "revocation": f'"{server.url}/revoke"',
    }
    lines |= changes
    authorization = "\n".join(f"{key} = {lines[key]}" for key in ("url", "issuer", "pkce") if lines.get(key))
    return f"""
schema = 1
name = "local"
label = "Local"
category = ["other"]
colour = "#0f766e"
[verified]
basis = "documentation"
page = "https://local.example/docs"
date = 2026-11-22
[authorization]
{authorization}
{lines.get("more", "")}
[scopes]
default = {lines["scopes"]}
[token]
url = {lines["token_url"]}
client_authentication = {lines["method"]}
[signatures]
jwks_url = "{server.url}/jwks"
[revocation]
style = "rfc7009"
url = {lines["revocation"]}
"""


class TestList:
    """`providers list`."""

    def test_words_and_category(self, operator: Installation) -> None:
        """Found by name, label and category, by every word; by category among all that it is about."""
        assert [row["name"] for row in operator.json("providers", "list", "ACM", "account")] == ["acme"]
        about = {row["name"]: row["category"] for row in operator.json("providers", "list", "--category", "hr")}
        assert about["acme"] == ["accounting", "hr"]
        assert all("hr" in categories for categories in about.values())
        assert operator.json("providers", "list", "acme", "xero") == []
        assert "no such provider" in operator.run("providers", "list", "acme", "xero").stdout
        every = [row["name"] for row in operator.json("providers", "list")]
        assert set(every) == {*load_catalogue().names, "acme"}

    def test_category_and_basis_are_shown(self, operator: Installation) -> None:
        """What it is about first of all, and where its facts come from."""
        row = operator.json("providers", "list", "acme")[0]
        assert (row["category"], row["basis"]) == (["accounting", "hr"], "libraries")
        shown = operator.run("providers", "list", "acme").stdout
        assert "accounting" in shown
        assert "libraries" in shown
        assert "is not set up" not in shown

    def test_unknown_category(self, operator: Installation) -> None:
        """The known ones are named."""
        assert "accounting" in operator.run("providers", "list", "--category", "acounting", code=2).stderr


class TestShow:
    """`providers show`."""

    def test_what_an_operator_wants(self, operator: Installation) -> None:
        """What to register and to set, who gives which parameter, what scopes mean, where the facts come from."""
        shown = " ".join(operator.run("providers", "show", "acme").stdout.split())
        for fact in (
            "other software agrees on them; no page of the provider itself confirmed them (2026-11-22)",
            "an OAuth 2 client for authorization_code",
            "/oauth/acme/callback",
            "client secret, in the Authorization header",
            "clients.acme.client_id, clients.acme.client_secret",
            "each user gives it when connecting",
            "It stands before .acme.example in your address bar; such as bakery",
            "you give it, clients.acme.parameters.region; one of eu (Europe), us (United States); eu if left out",
            "Scope invoices.read Read invoices",
            "Scope invoices.write Write invoices (not asked for unless you name it)",
            "Scope offline no words for it (for a refresh token)",
            "*.acme.example",
        ):
            assert fact in shown

    def test_documentation(self, operator: Installation) -> None:
        """The page is named, and the day it was read."""
        facts, shown = operator.json("providers", "show", "xero"), operator.run("providers", "show", "xero").stdout
        assert f"read in the provider's own documentation ({facts['verified']['date']})" in shown
        assert facts["verified"]["page"] in shown

    def test_what_comes_with_it(self, operator: Installation) -> None:
        """A bot's token set comes with its person's, if the operator sets it up."""
        assert (
            "slack-bot, where it is set up with the same client id" in operator.run("providers", "show", "slack").stdout
        )
        assert "Comes with" not in operator.run("providers", "show", "slack-bot").stdout

    def test_endpoints_that_the_operator_gives(self, operator: Installation) -> None:
        """They stand among the settings."""
        shown = operator.run("providers", "show", "fundment").stdout
        assert "the provider publishes none: you give them" in shown
        assert "clients.fundment.token_url" in shown


class TestCheck:
    """`providers check`, without a network."""

    def test_everything(self, operator: Installation) -> None:
        """The shipped ones and the operator's, counted."""
        count = len(load_catalogue()) + 1
        assert f"{count} checked, 0 with problems" in operator.run("providers", "check").stdout

    def test_by_name(self, operator: Installation) -> None:
        """What it was verified against."""
        assert "xero: no problem; verified by documentation" in operator.run("providers", "check", "xero").stdout

    def test_file_and_directory(self, operator: Installation, own: Path, tmp_path: Path) -> None:
        """Every problem of every file that is named, and of no other; the exit code says it."""
        drafts = tmp_path / "drafts"
        drafts.mkdir()
        (drafts / "one.toml").write_text(ACME.replace('"acme"', '"one"').replace("#0f766e", "teal"))
        (drafts / "two.toml").write_text("schema = [")
        (drafts / "sandbox.toml").write_text(
            'schema = 1\nname = "sandbox"\nextends = "acme"\nlabel = "Sandbox"\n'
            '[verified]\nbasis = "libraries"\ndate = 2026-11-22\n'
        )
        (own / "broken.toml").write_text("")
        said = operator.run("providers", "check", str(drafts), code=1).stdout
        assert f"{drafts}/one.toml: colour: must be a colour like #1a73e8" in said
        assert f"{drafts}/two.toml: is not TOML" in said
        assert "sandbox: no problem" in said
        assert "3 checked, 2 with problems" in said
        assert "broken" not in said
        assert "sandbox: no problem" in operator.run("providers", "check", str(drafts / "sandbox.toml")).stdout
        told = operator.json("providers", "check", "acme", "broken", code=1)
        assert [(one["name"], bool(one["problems"])) for one in told] == [("broken", True), ("acme", False)]

    def test_nothing_of_that_name(self, operator: Installation, tmp_path: Path) -> None:
        """Neither a file nor a provider; a file that is not there is one that cannot be read."""
        assert "nosuch" in operator.run("providers", "check", "nosuch", code=3).stderr
        said = operator.run("providers", "check", str(tmp_path / "nosuch.toml"), code=1).stdout
        assert "nosuch.toml: cannot be read" in said

    def test_installation_is_not_needed(self, operator: Installation) -> None:
        """Nothing is created by looking."""
        operator.run("providers", "check", "xero")
        assert not operator.directory.exists()


class TestOnline:
    """`providers check --online`, against a server on this machine."""

    async def said(self, operator: Installation, own: Path, text: str, code: int = 0) -> str:
        (own / "local.toml").write_text(text)
        return (await operator.meanwhile("providers", "check", "local", "--online", code=code)).stdout

    async def test_agrees(self, operator: Installation, own: Path, server: Server) -> None:
        """A definition that says what the server says."""
        assert "local: agrees with what its server announces" in await self.said(operator, own, definition(server))

    @pytest.mark.parametrize(
        ("changes", "announced", "key", "ours", "theirs"),
        [
            ({"token_url": '"https://old.example/token"'}, {}, "token.url", "https://old.example/token", "{url}/token"),
            (
                {"url": '"https://old.example/authorize"'},
                {},
                "authorization.url",
                "https://old.example/authorize",
                "{url}/authorize",
            ),
            (
                {"revocation": '"https://old.example/revoke"'},
                {},
                "revocation.url",
                "https://old.example/revoke",
                "{url}/revoke",
            ),
            (
                {"method": '"client_secret_post"'},
                {},
                "token.client_authentication",
                "client_secret_post",
                "client_secret_basic, none",
            ),
            ({}, {"code_challenge_methods_supported": ["plain"]}, "authorization.pkce", "S256", "plain"),
            (
                {"more": "issuer_in_response = true"},
                {},
                "authorization.issuer_in_response",
                "required",
                "not announced",
            ),
        ],
        ids=["token", "authorization", "revocation", "method", "pkce", "iss"],
    )
    async def test_differs(
        self,
        operator: Installation,
        own: Path,
        server: Server,
        changes: dict[str, str | None],
        announced: dict[str, Any],
        key: str,
        ours: str,
        theirs: str,
    ) -> None:
        """A line with the key and both sides, and exit code 1."""
        assert server.document is not None
        server.document |= announced
        said = await self.said(operator, own, definition(server, **changes), code=1)
        line = f"local: {key}: the definition says {ours}, the server {theirs.format(url=server.url)} (differs)"
        assert line in said
        assert "1 compared with their servers, 1 contradicted" in said

    @pytest.mark.parametrize(
        ("changes", "announced", "key"),
        [
            ({}, {"scopes_supported": ["write"]}, "scopes"),
            ({"pkce": '"none"'}, {}, "authorization.pkce"),
            ({}, {"authorization_response_iss_parameter_supported": True}, "authorization.issuer_in_response"),
            ({}, {"revocation_endpoint": None}, "revocation.url"),
        ],
        ids=["scopes", "pkce", "iss", "revocation"],
    )
    async def test_worth_a_look(
        self,
        operator: Installation,
        own: Path,
        server: Server,
        changes: dict[str, str | None],
        announced: dict[str, Any],
        key: str,
    ) -> None:
        """What a server may do beside what it announces is told, and is no error."""
        assert server.document is not None
        server.document |= announced
        said = await self.said(operator, own, definition(server, **changes))
        assert f"local: {key}: the definition says " in said
        assert "(look at it)" in said

    async def test_discovery(self, operator: Installation, own: Path, server: Server) -> None:
        """A definition that leaves endpoints to the metadata is completed by them; one that cannot be is wrong."""
        text = definition(server, url=None).replace("category", "discovery = true\ncategory")
        text = text.replace(f'[token]\nurl = "{server.url}/token"', "[token]")
        assert "agrees" in await self.said(operator, own, text)
        server.document = metadata(server.url, token_endpoint=None)
        assert "token.url: the metadata of" in await self.said(operator, own, text, code=1)
        server.document = None
        assert "HTTP 404" in await self.said(operator, own, text, code=1)

    async def test_another_issuer(self, operator: Installation, own: Path, server: Server) -> None:
        """A document that speaks for somebody else is no witness."""
        server.document = metadata("https://evil.example")
        assert "issuer is 'https://evil.example'" in await self.said(operator, own, definition(server), code=1)

    async def test_nothing_to_compare_with(self, operator: Installation, own: Path, server: Server) -> None:
        """No issuer, no metadata, no answer: told, and no error."""
        assert "there is nothing to ask" in await self.said(operator, own, definition(server, issuer=None))
        server.document = None
        assert "HTTP 404" in await self.said(operator, own, definition(server))
        server.status = 503
        assert "HTTP 503" in await self.said(operator, own, definition(server))

    @pytest.mark.parametrize("ask", ["operator", "connection"])
    async def test_parameters_of_the_issuer(self, operator: Installation, own: Path, server: Server, ask: str) -> None:
        """Its placeholders are filled with what the definition gives as examples."""
        text = definition(server).replace(f'issuer = "{server.url}"', 'issuer = "{base}"')
        text += f"""[parameters.base]\nask = "{ask}"\nlabel = "Base"\npattern = 'http://[0-9.:]+'\n"""
        text += f"""example = "{server.url}"\n"""
        assert "agrees" in await self.said(operator, own, text)
        said = await self.said(operator, own, text.replace("example = ", "help = "))
        assert "parameters.base" in said
        assert "0 compared with their servers" in said

    async def test_json(self, operator: Installation, own: Path, server: Server) -> None:
        """The same for programs."""
        (own / "local.toml").write_text(definition(server, token_url='"https://old.example/token"'))
        result = await operator.meanwhile("providers", "check", "local", "--online", "--json", code=1)
        (told,) = json.loads(result.stdout)
        (difference,) = told["online"]["differences"]
        assert difference == {
            "key": "token.url",
            "ours": "https://old.example/token",
            "theirs": f"{server.url}/token",
            "wrong": True,
        }


class TestNew:
    """`providers new`."""

    async def test_from_an_issuer(self, operator: Installation, own: Path, server: Server) -> None:
        """What it announces becomes a definition that agrees with it, in the operator's directory."""
        server.document = metadata(
            server.url,
            scopes_supported=["openid", "email", "offline_access", "api"],
            id_token_signing_alg_values_supported=["RS256", "HS256"],
            authorization_response_iss_parameter_supported=True,
            service_documentation="https://local.example/docs",
        )
        result = await operator.meanwhile("providers", "new", "local", "--issuer", server.url, "--category", "hr")
        provider = load_catalogue(own)["local"]
        assert provider.token.url == f"{server.url}/token"
        assert provider.scopes.requested() == ("openid", "email", "offline_access")
        assert set(provider.scopes.meaning) == set(provider.scopes.requested())
        assert provider.authorization.issuer_in_response
        assert provider.authorization.parameters == {"prompt": "consent"}
        assert provider.signatures.algorithms == ("RS256",)
        assert provider.verified.basis == "documentation"
        assert provider.verified.page == f"{server.url}/.well-known/oauth-authorization-server"
        assert provider.docs_url == "https://local.example/docs"
        assert provider.category == ("hr",)
        assert result.stdout == ""
        for told in (f"Wrote {own}/local.toml", "/oauth/local/callback", "[clients.local]", "providers check local"):
            assert told in result.stderr
        agreed = await operator.meanwhile("providers", "check", "local", "--online")
        assert "local: agrees" in agreed.stdout

    async def test_nothing_is_overwritten(self, operator: Installation, own: Path, server: Server) -> None:
        """A file that is there stays as it is."""
        result = await operator.meanwhile("providers", "new", "acme", "--issuer", server.url, code=1)
        assert "is there already" in result.stderr
        assert (own / "acme.toml").read_text() == ACME
        assert "is there already" in operator.run("providers", "new", "acme", "--ask", code=1).stderr

    async def test_standard_output(self, operator: Installation, own: Path, server: Server) -> None:
        """Where it is asked for, or no directory is set: the definition and nothing else."""
        before = sorted(own.iterdir())
        printed = (await operator.meanwhile("providers", "new", "--issuer", server.url, "--stdout")).stdout
        assert tomllib.loads(printed)["token"]["url"] == f"{server.url}/token"
        del operator.environment["PROVIDERS_DIR"]
        again = await operator.meanwhile("providers", "new", "--issuer", server.url)
        assert again.stdout == printed
        assert "providers_dir" in again.stderr
        assert sorted(own.iterdir()) == before

    async def test_issuer_that_says_nothing(self, operator: Installation, own: Path, server: Server) -> None:
        """No metadata, or no endpoints in them: nothing is written."""
        server.document = metadata(server.url, token_endpoint=None)
        result = await operator.meanwhile("providers", "new", "local", "--issuer", server.url, code=1)
        assert "token.url: is required" in result.stderr
        server.document = None
        await operator.meanwhile("providers", "new", "local", "--issuer", server.url, code=1)
        assert not (own / "local.toml").exists()

    def test_asking(self, operator: Installation, own: Path) -> None:
        """Answers become a definition; a wrong answer is asked for again; questions are no output."""
        answers = [
            "Bakery!",
            "bakery",
            "The Bakery",
            "commerce",
            "https://bakery.example/docs",
            "ftp://bakery.example",
            "https://{shop}.bakery.example/authorize",
            "https://{shop}.bakery.example/token",
            "client_secret_post",
            "n",
            "cakes bread",
            "plus",
            "semicolon",
            "Read cakes",
            "Read bread",
            "n",
            "https://{shop}.bakery.example/revoke",
            "https://{shop}.bakery.example/{till}/me",
            "user.id",
            "user.name",
            "Shop",
            "connection",
            "",
            "https://corner.bakery.example",
            "corner",
            "Till",
            "operator",
            "number",
            "7",
        ]
        result = operator.run("providers", "new", "--ask", typed="\n".join(answers) + "\n")
        assert result.stdout == ""
        provider = load_catalogue(own)["bakery"]
        assert (provider.label, provider.category) == ("The Bakery", ("commerce",))
        assert provider.authorization.url == "https://{shop}.bakery.example/authorize"
        assert provider.authorization.pkce == "none"
        assert (provider.scopes.default, provider.scopes.separator) == (("cakes", "bread"), ";")
        assert provider.scopes.meaning["cakes"] == "Read cakes"
        assert provider.token.client_authentication == "client_secret_post"
        assert not provider.refresh.supported
        assert provider.revocation.url == "https://{shop}.bakery.example/revoke"
        assert (provider.identity.subject, provider.identity.label) == ("user.id", "user.name")
        shop = provider.parameters["shop"]
        assert (shop.label, shop.ask, shop.type, shop.example) == ("Shop", "connection", "subdomain", "corner")
        assert (provider.parameters["till"].type, provider.parameters["till"].example) == ("number", "7")
        assert (provider.verified.basis, provider.verified.page) == ("documentation", "https://bakery.example/docs")

    def test_nobody_to_ask(self, operator: Installation, own: Path) -> None:
        """An end of the answers is an end of the questions, and nothing is written."""
        operator.run("providers", "new", "bakery", "--ask", typed="The Bakery\n", code=130)
        assert not (own / "bakery.toml").exists()

    @pytest.mark.parametrize("arguments", [[], ["--ask", "--issuer", "https://as.example"]])
    def test_one_of_two_ways(self, operator: Installation, arguments: list[str]) -> None:
        """From an issuer, or by asking."""
        operator.run("providers", "new", "bakery", *arguments, code=2)

    def test_issuer_that_is_no_url(self, operator: Installation) -> None:
        """Told before anything is asked of anybody."""
        assert "must start with https://" in operator.run("providers", "new", "--issuer", "ftp://x", code=2).stderr


async def test_asked_at_the_same_time(operator: Installation, own: Path, server: Server) -> None:
    """Many definitions of one server: each is compared, and an answer is an answer for itself."""
    for number in range(12):
        text = definition(server, token_url=f'"{server.url}/token{number or ""}"')
        (own / f"local{number}.toml").write_text(text.replace('"local"', f'"local{number}"'))
    names = [f"local{number}" for number in range(12)]
    async with asyncio.timeout(30):
        result = await operator.meanwhile("providers", "check", *names, "--online", code=1)
    assert "12 compared with their servers, 11 contradicted" in result.stdout
    assert "local0: agrees" in result.stdout
