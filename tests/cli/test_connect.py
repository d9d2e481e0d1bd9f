"""`grantkeeper connections connect`: codes to type in elsewhere, grants without a person, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grantkeeper.access import browser_caller
from grantkeeper.clock import SECOND, SystemClock
from grantkeeper.model import Connection
from grantkeeper.storage.connections import Page
from tests.support.command_line import Installation
from tests.support.grants import client_settings, open_grants
from tests.support.process import Process, grantkeeper
from tests.support.world import EMAIL, PUBLIC_URL, World

NAMES = ("telly", "robot", "desk", "swap", "sso", "depot")
CONNECT = ("connections", "connect")
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
CODE = r"^    ([A-Z]{4}-[A-Z]{4})$"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A provider that is connected in every way, and polled every second."""
    async with open_grants(tmp_path, *NAMES, clock=SystemClock()) as world:
        world.provider.features.device_interval = 1
        yield world


@pytest.fixture
def operator(world: World, tmp_path: Path) -> Installation:
    """The command line beside it, which reads its settings from files."""
    lines = [
        "provider_timeout = 5",
        'provider_networks = ["127.0.0.1"]',
        f"providers_dir = {json.dumps(str(tmp_path / 'providers'))}",
    ]
    for name, given in client_settings(world.provider.issuer, *NAMES).items():
        lines.append(f"[clients.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in given.items() if isinstance(value, str)]
        lines.append(f"parameters = {{ base_url = {json.dumps(given['parameters']['base_url'])} }}")
    (tmp_path / "grantkeeper.toml").write_text("\n".join(lines), "utf-8")
    return Installation(tmp_path)


@contextmanager
def waiting(directory: Path, *arguments: str) -> Iterator[Process]:
    """The command in a process of its own, which waits for a code."""
    with grantkeeper("--data-dir", str(directory), *CONNECT, *arguments, directory=directory) as process:
        yield process


async def shown_code(process: Process) -> str:
    """The code that it tells its operator, once it does; the event loop serves the provider meanwhile."""
    found = await asyncio.to_thread(process.wait_for_line, CODE, stream="stderr")
    return found[1]


async def connections(world: World) -> list[Connection]:
    """What the user's account has."""
    return await world.services.store.list_page(world.account_uuid, Page(limit=100))


async def made_by(operator: Installation, *arguments: str) -> Any:
    """What the command prints for programs."""
    result = await operator.meanwhile(*CONNECT, *arguments, "--user", EMAIL, "--json")
    assert result.stdout.count("\n") == 1
    return msgspec.json.decode(result.stdout)


class TestDevice:
    """A code to type in elsewhere."""

    async def test_shown_and_waited_for(self, world: World, tmp_path: Path, operator: Installation) -> None:
        """Address and code at once; polled no faster than the provider wants; then what was connected."""
        began = SystemClock().now()
        with waiting(operator.directory, "telly", "--user", EMAIL, "--label", "  The telly ") as process:
            code = await shown_code(process)
            assert f"open {world.provider.issuer}/device on any device" in process.stderr
            assert f"{world.provider.issuer}/device?user_code={code}" in process.stderr
            await world.provider.wait_for_requests(2)
            world.provider.approve_device(code)
            assert await asyncio.to_thread(process.wait) == 0
        [made] = await connections(world)
        assert process.stdout.startswith(f"Connected The telly, as Ada Lovelace: {made.uuid}\nIts token expires 20")
        assert (made.label, made.provider, made.identity) == ("The telly", "telly", "Ada Lovelace")
        assert world.provider.counts["token"] <= (SystemClock().now() - began) / SECOND
        evidence = (await world.services.store.evidence(made.account_uuid, made.uuid))[0]
        assert (evidence.action, evidence.actor) == ("connect", f"user:{world.login.user.uuid}")

    async def test_json(self, world: World, operator: Installation) -> None:
        """For programs: one line once it is done; the code is on standard error."""
        with waiting(operator.directory, "telly", "--user", EMAIL, "--json") as process:
            world.provider.approve_device(await shown_code(process))
            assert await asyncio.to_thread(process.wait) == 0
        [made] = await connections(world)
        assert msgspec.json.decode(process.stdout)["uuid"] == made.uuid
        assert process.stdout.count("\n") == 1

    async def test_interrupted(self, world: World, operator: Installation) -> None:
        """Ctrl-C leaves nothing: no connection, no code that we still know, and agreeing later connects nothing."""
        with waiting(operator.directory, "telly", "--user", EMAIL) as process:
            code = await shown_code(process)
            assert await asyncio.to_thread(process.stop, signal.SIGINT) == 130
        assert process.stderr.endswith("Interrupted.\n")
        assert "Traceback" not in process.stderr
        assert process.stdout == ""
        kept = "SELECT count(*) FROM authorizations WHERE taken_at IS NULL OR sealed_secrets IS NOT NULL"
        assert await world.services.database.fetch_one(kept) == (0,)
        world.provider.approve_device(code)
        await world.services.worker.run_once()
        assert await connections(world) == []
        assert world.provider.grants() == []

    async def test_interrupted_too_late(self, world: World, operator: Installation) -> None:
        """Where the provider has given tokens at that very moment, they are stored, and the operator is told."""
        with waiting(operator.directory, "telly", "--user", EMAIL) as process:
            world.provider.approve_device(await shown_code(process))
            world.provider.hold(when="after")
            await world.provider.wait_for_held()
            os.kill(process.pid, signal.SIGINT)
            world.provider.release()
            assert await asyncio.to_thread(process.wait) == 130
        assert "It had been agreed to already; see `grantkeeper connections list`." in process.stderr
        assert [made.provider for made in await connections(world)] == ["telly"]

    async def test_denied(self, world: World, operator: Installation) -> None:
        """Somebody said no: an error that says so."""
        with waiting(operator.directory, "telly", "--user", EMAIL) as process:
            world.provider.deny_device(await shown_code(process))
            assert await asyncio.to_thread(process.wait) == 1
        assert "Error: Telly told us that access was declined." in process.stderr
        assert await connections(world) == []

    async def test_expired(self, world: World, operator: Installation) -> None:
        """Nobody typed it in: it ends by itself."""
        world.provider.features.device_lifetime = 2
        with waiting(operator.directory, "telly", "--user", EMAIL) as process:
            await shown_code(process)
            assert await asyncio.to_thread(process.wait) == 1
        assert re.search(r"^Error: .*(no longer good|must be finished in time)", process.stderr, re.MULTILINE)

    async def test_no_code(self, world: World, operator: Installation) -> None:
        """A provider that is away gives none: nothing is waited for."""
        world.provider.fail_next(status=503, endpoint="device_authorization")
        result = await operator.meanwhile(*CONNECT, "telly", "--user", EMAIL, code=1)
        assert "Please try again in a few minutes" in result.stderr
        assert result.stdout == ""


class TestWithoutAPerson:
    """Connected at once."""

    async def test_client_credentials(self, world: World, operator: Installation) -> None:
        """Nothing is asked."""
        result = await operator.meanwhile(*CONNECT, "robot", "--user", EMAIL)
        [made] = await connections(world)
        assert result.stdout.startswith(f"Connected My Robot Account 1: {made.uuid}\n")
        assert (await made_by(operator, "robot", "--label", "Second"))["label"] == "Second"
        tokens = await world.read_token(made)
        assert tokens.status_code == 200
        assert tokens.json()["access_token"] not in result.output

    async def test_values(self, world: World, operator: Installation) -> None:
        """What the definition asks for each connection is given by name; what is missing or wrong is named."""
        made = await made_by(operator, "depot", "--value", "tenant=acme", "--value", "region=us")
        assert made["provider"] == "depot"
        [connection] = await connections(world)
        assert await world.services.store.parameters(connection) == {"tenant": "acme", "region": "us"}
        for wrong in ([], ["--value", "tenant=a/b"]):
            refused = await operator.meanwhile(*CONNECT, "depot", "--user", EMAIL, *wrong, code=1)
            assert "Give it with --value tenant=…." in refused.stderr, wrong
        await operator.meanwhile(*CONNECT, "depot", "--user", EMAIL, "--value", "acme", code=2)
        assert len(await connections(world)) == 1

    async def test_jwt_bearer(self, world: World, operator: Installation) -> None:
        """For whom has to be said, and how."""
        made = await made_by(operator, "desk", "--subject", "grace@example.com")
        assert (made["provider"], made["identity"]) == ("desk", "grace@example.com")
        refused = await operator.meanwhile(*CONNECT, "desk", "--user", EMAIL, code=1)
        assert "Give it with --subject." in refused.stderr
        assert len(await connections(world)) == 1

    async def test_token_exchange(self, world: World, operator: Installation) -> None:
        """The connection whose access is exchanged has to be said, and must be the account's own."""
        caller = browser_caller(world.login)
        source = await world.connect()
        made = await made_by(operator, "swap", "--source", source.uuid.upper())
        assert made["provider"] == "swap"
        robot = await world.services.authorizations.connect_directly(caller, "robot", "test")
        theirs = await world.connect(login=await world.new_login("eve@example.com"))
        for wrong in ([], ["--source", robot.connection.uuid], ["--source", theirs.uuid], ["--source", "nonsense"]):
            refused = await operator.meanwhile(*CONNECT, "swap", "--user", EMAIL, *wrong, code=1)
            assert "Give it with --source." in refused.stderr, wrong

    async def test_the_provider_refuses(self, world: World, operator: Installation) -> None:
        """What the provider's answer means, and nothing connected."""
        world.provider.fail_next(status=401, error="invalid_client")
        refused = await operator.meanwhile(*CONNECT, "robot", "--user", EMAIL, code=1)
        assert "not registered at Robot as it should be (invalid_client)" in refused.stderr
        assert await connections(world) == []


class TestRefusals:
    """What the command cannot do."""

    async def test_a_browser_is_needed(self, world: World, operator: Installation) -> None:
        """It says which page to open, and as whom."""
        for provider in ("demo", "sso"):
            refused = await operator.meanwhile(*CONNECT, provider, "--user", EMAIL, code=1)
            assert f"Open {PUBLIC_URL}/oauth/{provider}/authorize and sign in as {EMAIL}." in refused.stderr
            assert refused.stdout == ""

    async def test_for_whom(self, world: World, operator: Installation) -> None:
        """An unknown user or account, and one that the user is not in; of several, one must be chosen."""
        theirs = await world.new_login("eve@example.com")
        unknown = "00000000-0000-4000-8000-000000000000"
        for arguments, words in (
            (("--user", "nobody@example.com"), "There is no user nobody@example.com"),
            (("--user", EMAIL, "--account", unknown), f"There is no account {unknown}"),
            (("--user", EMAIL, "--account", theirs.account.uuid), "is not in that account"),
        ):
            refused = await operator.meanwhile(*CONNECT, "robot", *arguments, code=3)
            assert words in refused.stderr
        await operator.meanwhile("accounts", "add-user", EMAIL, "--account", theirs.account.uuid)
        refused = await operator.meanwhile(*CONNECT, "robot", "--user", EMAIL, code=1)
        assert "choose one with --account" in refused.stderr
        assert theirs.account.uuid in refused.stderr
        made = await made_by(operator, "robot", "--account", theirs.account.uuid.upper())
        assert made["account_uuid"] == theirs.account.uuid
        assert world.provider.counts["token"] == 1

    async def test_what(self, world: World, operator: Installation) -> None:
        """A provider that cannot be connected here, and a label that cannot be: before the provider is asked."""
        for provider in ("xero", "nothing"):
            refused = await operator.meanwhile(*CONNECT, provider, "--user", EMAIL, code=3)
            assert "cannot be connected here" in refused.stderr
        refused = await operator.meanwhile(*CONNECT, "robot", "--user", EMAIL, "--label", "", code=1)
        assert "must not be empty" in refused.stderr
        await operator.meanwhile(*CONNECT, "robot", code=2)
        assert world.provider.counts["token"] == 0
