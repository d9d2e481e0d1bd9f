"""`grantkeeper doctor PROVIDER`: what the server supports, what we use, and what safer option is left unused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grantkeeper.clock import SystemClock
from grantkeeper.testing import FakeProvider
from grantkeeper.testing.asgi import Receive, Scope, Send
from grantkeeper.testing.features import Features
from grantkeeper.testing.server import ProviderServer
from tests.support.command_line import Installation
from tests.support.process import free_port

CAPABLE = Features(
    openid=True,
    client_assertions=True,
    pushed_requests="offered",
    request_objects="offered",
    jarm=True,
    dpop="offered",
)
HEAD = """
schema = 1
name = "acme"
label = "Acme"
category = ["accounting"]
colour = "#0f766e"
"""
TABLES = """
[verified]
basis = "documentation"
date = 2026-11-22

[authorization]
url = "{url}/authorize"
issuer = "{issuer}"
{authorization}

[scopes]
default = ["openid", "profile"]

[signatures]
jwks_url = "{url}/jwks"

[token]
url = "{url}/token"

[revocation]
style = "rfc7009"
url = "{url}/revoke"
"""


class Acme:
    """A capable server, and a definition of it that a test changes."""

    def __init__(self, directory: Path, url: str) -> None:
        self.url = url
        self.provider = FakeProvider(url, [], SystemClock(), features=msgspec.structs.replace(CAPABLE))
        self.asked: list[str] = []
        self.definitions = directory / "definitions"
        self.definitions.mkdir()
        self.operator = Installation(
            directory / "data",
            PROVIDERS_DIR=str(self.definitions),
            PROVIDER_NETWORKS="127.0.0.1",
            PROVIDER_TIMEOUT="5",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server, which notes the paths that it is asked for."""
        self.asked.append(scope["path"])
        await self.provider(scope, receive, send)

    def set_up(self, name: str, **settings: str) -> None:
        """A table of the settings, `[clients.NAME]`."""
        self.operator.environment |= {f"CLIENTS__{name.upper()}__{key.upper()}": v for key, v in settings.items()}

    def define(self, top: str = "", authorization: str = "", issuer: str | None = None) -> None:
        """Acme's definition with lines added, and its client with a secret."""
        tables = TABLES.format(url=self.url, issuer=issuer or self.url, authorization=authorization)
        (self.definitions / "acme.toml").write_text(f"{HEAD}{top}\n{tables}", "utf-8")
        self.set_up("acme", client_id="id", client_secret="hush-hush")

    async def told(self, name: str = "acme", code: int = 0) -> dict[str, Any]:
        """What doctor says of a provider."""
        result = await self.operator.meanwhile("doctor", name, "--json", code=code)
        told = json.loads(result.stdout)
        assert isinstance(told, dict)
        assert "hush-hush" not in result.stdout
        return told


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[Acme]:
    """The server, running."""
    async with ProviderServer() as server:
        server.app = acme = Acme(tmp_path, server.url)
        yield acme
        acme.provider.close()


def safer(told: dict[str, Any]) -> set[str]:
    """What it advises to set."""
    assert all((each["level"] == "warn") == bool(each["safer"] or each["conflict"]) for each in told["posture"])
    return {each["safer"] for each in told["posture"] if each["safer"]}


def found(told: dict[str, Any], level: str) -> str:
    """What was found at one level, in one text."""
    return "\n".join(f"{c['found']} -> {c['advice']}" for c in told["checks"] if c["level"] == level)


class TestCompared:
    """A definition beside the metadata of its issuer."""

    async def test_plain_definition(self, acme: Acme) -> None:
        """Every safer option that the server announces is named with its key; what works is no failure."""
        acme.define()
        told = await acme.told()
        assert told["ok"]
        assert safer(told) == {
            'token.client_authentication = "private_key_jwt"',
            'token.sender_constrained = "dpop"',
            f'authorization.pushed = true, authorization.pushed_url = "{acme.url}/par"',
            "authorization.signed_request = true",
            "authorization.signed_response = true",
            "authorization.issuer_in_response = true",
            'profile = "fapi2"',
        }
        assert f"{acme.url} publishes metadata" in found(told, "ok")

    async def test_profile_changed_by_the_definition_alone(self, acme: Acme) -> None:
        """Two lines more, and nothing is left unused; the settings and the server stay as they are."""
        acme.define('profile = "fapi2_message_signing"', f'pushed_url = "{acme.url}/par"')
        told = await acme.told()
        assert safer(told) == set()
        used = {each["topic"]: each["used"] for each in told["posture"]}
        assert used["client authentication"] == "private_key_jwt"
        assert used["sender-constrained tokens"] == "dpop"
        assert used["FAPI 2.0"] == used["pushed requests (PAR)"] == "yes"

    async def test_what_the_server_demands(self, acme: Acme) -> None:
        """A server that has begun to require what we do not do is told apart from one that only offers it."""
        acme.provider.features.pushed_requests = "required"
        acme.define()
        conflicts = {each["topic"]: each["conflict"] for each in (await acme.told())["posture"]}
        assert conflicts["pushed requests (PAR)"] == "the server requires it"
        assert conflicts["signed requests (JAR)"] is None

    async def test_scopes_and_endpoints_that_the_server_does_not_name(self, acme: Acme) -> None:
        """An old definition shows."""
        acme.provider.policy.metadata = {"scopes_supported": ["openid"], "token_endpoint": f"{acme.url}/v2/token"}
        acme.define()
        conflicts = {each["topic"]: each["conflict"] for each in (await acme.told())["posture"]}
        assert conflicts["scopes"].startswith("the server does not announce profile")
        assert conflicts["endpoints"] == f"token.url is {acme.url}/token, announced is {acme.url}/v2/token"

    async def test_for_people(self, acme: Acme) -> None:
        """The table says what to set, and where; what a server writes does not steer the terminal."""
        acme.provider.policy.metadata = {"scopes_supported": ["openid", "profile", "\x1b[2J"]}
        acme.define()
        shown = (await acme.operator.meanwhile("doctor", "acme")).stdout
        advice = 'sender-constrained tokens: safer option left unused: set token.sender_constrained = "dpop"'
        assert advice in shown.splitlines()
        assert "Keys are set in its definition, or a changed copy of it in providers_dir" in shown
        assert "0 failed, 7 to look at." in shown
        assert "\x1b" not in shown


class TestNotCompared:
    """Where there is nothing to compare with, that is said."""

    async def test_no_issuer(self, acme: Acme) -> None:
        """A definition without issuer does not say whose metadata to read."""
        acme.define()
        definition = acme.definitions / "acme.toml"
        definition.write_text(definition.read_text().replace(f'issuer = "{acme.url}"\n', ""), "utf-8")
        told = await acme.told()
        assert "has no authorization.issuer: nothing can be compared" in found(told, "ok")
        assert told["posture"] == []

    async def test_no_metadata(self, acme: Acme) -> None:
        """A server that publishes none: what we use is told without a judgement."""
        acme.define(issuer=f"{acme.url}/elsewhere")
        told = await acme.told()
        assert f"{acme.url}/elsewhere publishes no metadata" in found(told, "ok")
        assert safer(told) == set()
        assert {each["supported"] for each in told["posture"]} == {"publishes no metadata"}

    async def test_another_issuer(self, acme: Acme) -> None:
        """Metadata that name another issuer are no basis for advice: the definition, or the server, is wrong."""
        acme.provider.policy.metadata = {"issuer": "https://other.example"}
        acme.define()
        told = await acme.told()
        assert "issuer is 'https://other.example', not what was asked for -> see that authorization.issuer" in found(
            told, "warn"
        )
        assert told["posture"] == []

    async def test_issuer_away(self, acme: Acme) -> None:
        """An issuer that does not answer is worth a look; the endpoints are told apart from it."""
        acme.define(issuer=f"http://127.0.0.1:{free_port()}")
        told = await acme.told()
        assert "metadata: the provider did not answer" in found(told, "warn")
        assert "token endpoint 127.0.0.1" in found(told, "ok")
        assert told["posture"] == []

    def test_only_for_one_that_is_asked_for(self, tmp_path: Path) -> None:
        """The check of everything asks nobody for metadata of definitions that are complete."""
        told = Installation(tmp_path / "data").json("doctor", code=1)
        assert "posture" not in told


class TestDiscovered:
    """Providers of which the settings give an issuer and little else."""

    async def test_issuer_and_client_id(self, acme: Acme) -> None:
        """What discovery fills in is what is compared; where the keys would stand is said."""
        acme.provider.features.public_clients = True
        acme.set_up("other", client_id="id", issuer=acme.url)
        told = await acme.told("other")
        used = {each["topic"]: each["used"] for each in told["posture"]}
        assert used["client authentication"] == "none"
        assert used["issuer in responses"] == "required"
        assert 'token.client_authentication = "private_key_jwt"' in safer(told)
        shown = (await acme.operator.meanwhile("doctor", "other")).stdout
        assert "Keys are set in a definition of its own, which it lacks, in providers_dir" in shown

    async def test_looking_registers_nobody(self, acme: Acme) -> None:
        """One that registers itself is compared as it will be; the server has no client more for it."""
        acme.provider.features.registration = True
        acme.set_up("other", issuer=acme.url)
        told = await acme.told("other")
        assert "publishes metadata" in found(told, "ok")
        assert told["posture"]
        assert "/.well-known/oauth-authorization-server" in acme.asked
        assert "/register" not in acme.asked

    async def test_metadata_away(self, acme: Acme) -> None:
        """Without metadata such a provider cannot be connected: that is a failure, with its address."""
        url = f"http://127.0.0.1:{free_port()}"
        acme.set_up("other", client_id="id", issuer=url)
        told = await acme.told("other", code=1)
        assert "metadata: the provider did not answer" in found(told, "fail")
        assert "what was found out before stays in use" in found(told, "fail")
        assert (await acme.told("other", code=1))["posture"] == []

    async def test_metadata_of_another(self, acme: Acme) -> None:
        """The issuer in the settings is pinned."""
        acme.provider.policy.metadata = {"issuer": "https://other.example"}
        acme.set_up("other", client_id="id", issuer=acme.url)
        told = await acme.told("other", code=1)
        assert "not what was asked for -> see that the issuer is right" in found(told, "fail")

    async def test_among_all(self, acme: Acme) -> None:
        """In the check of everything it counts as offered once its metadata are there."""
        acme.set_up("other", client_id="id", issuer=acme.url)
        told = json.loads((await acme.operator.meanwhile("doctor", "--json", code=1)).stdout)
        assert "1 offered; " in found(told, "ok")
        assert "token endpoint 127.0.0.1" in found(told, "ok")
