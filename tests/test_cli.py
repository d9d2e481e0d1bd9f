"""The operator's commands, on an installation in SQLite. What runs for good is in cli/test_processes.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path

import httpx2
import pytest

from grantkeeper.cli.output import timestamp, when
from grantkeeper.clock import SystemClock
from grantkeeper.storage.migrate import known_revisions
from tests.support.command_line import Installation, beside
from tests.support.postgres import PostgresServer
from tests.support.process import Process, eventually, grantkeeper
from tests.support.world import CLIENT_SECRET, EMAIL, PASSWORD, World, http_client, open_world

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def mode(file: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(file.stat().st_mode)


@pytest.fixture
def new(tmp_path: Path) -> Installation:
    """A data directory that does not exist yet."""
    return Installation(tmp_path / "data")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation as `init` leaves it, to be copied: making each anew takes long."""
    made = Installation(tmp_path_factory.mktemp("template") / "data")
    made.run("init", "--email", EMAIL, "--name", "Ada", "--password-stdin", typed=PASSWORD)
    return made.directory


@pytest.fixture
def installed(new: Installation, template: Path) -> Installation:
    """An installation with one user."""
    shutil.copytree(template, new.directory)
    return new


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A running product whose clock is the machine's, as the commands' is."""
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, clock=SystemClock()) as world:
        yield world


@pytest.fixture
def operator(world: World, tmp_path: Path) -> Installation:
    """The command line beside it."""
    return beside(world, tmp_path)


@contextmanager
def terminal(*arguments: str, directory: Path) -> Iterator[tuple[Callable[[], str], FileIO, subprocess.Popen[bytes]]]:
    """A command at a terminal: what it shows so far, the keyboard, the process."""
    keyboard, line = os.openpty()
    screen = directory / "screen"
    with screen.open("wb") as output, os.fdopen(line, "rb") as stdin, FileIO(keyboard, "wb") as keys:
        command = [sys.executable, "-m", "grantkeeper", *arguments]
        environment = grantkeeper(directory=directory).environment
        process = subprocess.Popen(
            command, stdin=stdin, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        try:
            yield screen.read_text, keys, process
        finally:
            process.kill()
            process.wait()


def wait_for(question: str, shown: Callable[[], str]) -> None:
    """Returns when the question is on the screen: what is typed before, a password's prompt throws away."""

    def probe() -> re.Match[str] | None:
        return re.search(question, shown())

    eventually(probe, within=30, what=question)


class TestInit:
    """From nothing to an installation."""

    def test_creates_everything(self, new: Installation) -> None:
        """Files that only the owner may read, a database, and a user whose password is shown once."""
        told = new.run("init", "--email", "Ada@Example.com", "--account", "Lovelace & Co").stdout
        assert mode(new.directory) == 0o700
        for name in ("root-keyset.json", "grantkeeper.toml", "grantkeeper.sqlite3"):
            assert mode(new.directory / name) == 0o600
        assert re.search(rf"Added ada@example\.com and the account Lovelace & Co \({UUID}\)", told)
        assert re.search(r"^Password, shown this once: \S{20}$", told, re.MULTILINE)
        assert "serve" in told
        assert new.json("users", "list")[0]["email"] == EMAIL

    def test_json(self, new: Installation) -> None:
        """For programs: one object with what was made."""
        told = new.json("init", "--email", EMAIL)
        assert told["email"] == EMAIL
        assert told["schema"] == known_revisions()[-1]
        assert len(told["password"]) == 20
        assert sorted(Path(path).name for path in told["created"]) == ["grantkeeper.toml", "root-keyset.json"]

    def test_again(self, installed: Installation) -> None:
        """A second `init` changes nothing: no new key, no second user, not even a question."""
        before = {path: path.read_bytes() for path in installed.directory.glob("*.*") if path.suffix != ".sqlite3"}
        told = installed.run("init").stdout
        assert "There are users already" in told
        assert before == {path: path.read_bytes() for path in before}
        assert len(installed.json("users", "list")) == 1

    def test_given_password(self, new: Installation) -> None:
        """A password that was given is not shown."""
        told = new.run("init", "--email", EMAIL, "--password-stdin", typed=PASSWORD)
        assert PASSWORD not in told.output
        assert "Password" not in told.output

    def test_asks(self, tmp_path: Path) -> None:
        """On a terminal it asks for address, name and password, and never shows the password."""
        with terminal("init", directory=tmp_path) as (shown, keys, process):
            for question, answer in (
                ("Your e-mail address: ", EMAIL),
                (r"Your name \[ada@example.com\]: ", "Ada"),
                ("Password: ", PASSWORD),
                ("Repeat for confirmation: ", PASSWORD),
            ):
                wait_for(question, shown)
                keys.write(f"{answer}\n".encode())
            assert process.wait(30) == 0, shown()
            assert f"Added {EMAIL}" in shown()
            assert PASSWORD not in shown()

    def test_nobody_to_ask(self, new: Installation) -> None:
        """Without a terminal and without --email it says what is missing."""
        assert "--email" in new.run("init", code=2).stderr

    @pytest.mark.parametrize(
        ("arguments", "typed", "said"),
        [
            (["--email", "not an address"], PASSWORD, "not an e-mail address"),
            (["--email", EMAIL], "short", "The password must have"),
            (["--email", EMAIL, "--account", " "], PASSWORD, "must not be empty"),
        ],
    )
    def test_bad_values(self, new: Installation, arguments: list[str], typed: str, said: str) -> None:
        """Values that cannot be are refused, and the next try can begin where this one ended."""
        assert said in new.run("init", *arguments, "--password-stdin", typed=typed, code=1).stderr
        assert PASSWORD not in new.run("init", "--email", "b@example.com", "--password-stdin", typed=PASSWORD).output

    def test_lost_keyset(self, installed: Installation) -> None:
        """No new keyset for a database that was sealed with another: it says which key is missing."""
        keyset = installed.directory / "root-keyset.json"
        key_id = json.loads(keyset.read_text())["primaryKeyId"]
        keyset.unlink()
        said = installed.run("init", code=78).stderr
        assert str(key_id) in said
        assert "restore" in said
        assert not keyset.exists()


class TestStartOfACommand:
    """Settings, keys and schema, before anything is done."""

    def test_help_is_quick_to_load(self) -> None:
        """`--help` loads neither the server nor the keys nor the database drivers."""
        heavy = ["granian", "tink", "pydantic", "asyncpg", "httpx2", "rich", "prometheus_client", "grantkeeper.app"]
        program = (
            "import sys; from grantkeeper.cli import grantkeeper\n"
            "grantkeeper(['--help'], standalone_mode=False)\n"
            f"sys.exit(repr([name for name in {heavy} if name in sys.modules]))"
        )
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert told.stderr == "[]\n"
        assert "demo" in told.stdout

    def test_module(self, tmp_path: Path) -> None:
        """`python -m grantkeeper` is the command."""
        environment = grantkeeper(directory=tmp_path).environment
        command = [sys.executable, "-m", "grantkeeper", "--version"]
        with Process(command, directory=tmp_path, env=environment) as process:
            assert process.wait() == 0
            assert re.fullmatch(r"\d+\.\d+\.\d+\n", process.stdout)

    def test_every_problem_of_the_settings(self, installed: Installation) -> None:
        """All problems of file and environment in one go, the nearest known name for an unknown one."""
        (installed.directory / "grantkeeper.toml").write_text('timezone = "Europe/Lodnon"\nprot = 80\n')
        installed.environment = {"PUBLIC_URL": "http://connections.example.com", "RATE_LIMITT": "1"}
        said = installed.run("users", "list", code=78).stderr
        assert "4 problems" in said
        assert "timezone: is not a time zone" in said
        assert "prot: is not a setting; did you mean port?" in said
        assert "public_url: must be https" in said
        assert "GRANTKEEPER_RATE_LIMITT: is not a setting; did you mean rate_limit?" in said

    def test_settings_file_that_is_not_there(self, installed: Installation) -> None:
        """A file that was named must exist."""
        said = installed.run("--config", str(installed.directory / "no.toml"), "users", "list", code=78).stderr
        assert "no.toml: cannot be read: No such file or directory" in said

    def test_secret_in_a_file(self, installed: Installation, tmp_path: Path) -> None:
        """`_FILE` in the environment names a file with the secret; one that is not there is a problem."""
        secret = tmp_path / "secret"
        installed.environment = {
            "CLIENTS__XERO__CLIENT_ID": "our-id",
            "CLIENTS__XERO__CLIENT_SECRET_FILE": str(secret),
        }
        assert "client_secret_file" in installed.run("providers", "list", code=78).stderr
        secret.write_text("our-secret\n")
        offered = [row["name"] for row in installed.json("providers", "list") if row["offered"]]
        assert offered == ["xero"]

    def test_keyset_in_the_environment(self, installed: Installation) -> None:
        """The root keyset may come from the environment, and its file need not exist then."""
        keyset = installed.directory / "root-keyset.json"
        installed.environment = {"ROOT_KEYSET": keyset.read_text()}
        keyset.unlink()
        assert len(installed.json("users", "list")) == 1

    def test_missing_keyset(self, installed: Installation) -> None:
        """Says where it should be and what to do."""
        (installed.directory / "root-keyset.json").unlink()
        said = installed.run("users", "list", code=78).stderr
        assert "there is no root keyset" in said
        assert "backup" in said

    def test_wrong_keyset(self, installed: Installation, tmp_path: Path) -> None:
        """Says the id of the key that the database wants and the id of the one that is there."""
        ours = installed.directory / "root-keyset.json"
        other = Installation(tmp_path / "other")
        other.run("init", "--email", EMAIL)
        wanted = json.loads(ours.read_text())["primaryKeyId"]
        ours.write_bytes((other.directory / "root-keyset.json").read_bytes())
        said = installed.run("users", "list", code=78).stderr
        assert f"lacks key {wanted}" in said
        assert str(json.loads(ours.read_text())["primaryKeyId"]) in said

    def test_keyset_that_others_can_read(self, installed: Installation) -> None:
        """Refused, with the command that mends it."""
        (installed.directory / "root-keyset.json").chmod(0o640)
        assert "chmod 600" in installed.run("users", "list", code=78).stderr

    def test_newer_schema(self, installed: Installation) -> None:
        """A database of a newer release is left alone, by every command."""
        with closing(sqlite3.connect(installed.directory / "grantkeeper.sqlite3")) as database:
            database.execute("UPDATE alembic_version SET version_num = '0999_later'")
            database.commit()
        for command in (["users", "list"], ["migrate"], ["init"]):
            said = installed.run(*command, code=78).stderr
            assert "0999_later" in said
            assert "newer than this program" in said

    def test_data_directory_that_cannot_be(self, tmp_path: Path) -> None:
        """A file where the directory should be is an error with its name, not a traceback."""
        (tmp_path / "file").write_text("")
        said = Installation(tmp_path / "file" / "below").run("init", code=1).stderr
        assert re.fullmatch(r"Error: .*/file/?.*: (Not a directory|File exists)\n", said)


class TestMigrate:
    """`grantkeeper migrate`."""

    def test_says_what_it_did(self, new: Installation) -> None:
        """From nothing to ours, then nothing more to do."""
        latest = known_revisions()[-1]
        assert f"from nothing to schema {latest}" in new.run("migrate").stdout
        assert f"has schema {latest} already" in new.run("migrate").stdout

    @pytest.mark.postgres
    def test_postgresql(self, new: Installation, postgres: PostgresServer) -> None:
        """On PostgreSQL other commands refuse politely until it has run."""
        new.environment = {"DATABASE_URL": postgres.create_database()}
        new.run("init", "--email", EMAIL)
        new.environment = {"DATABASE_URL": postgres.create_database()}
        assert "run `grantkeeper migrate`" in new.run("users", "list", code=78).stderr
        assert "from nothing" in new.run("migrate").stdout
        assert "already" in new.run("migrate").stdout
        assert new.json("users", "list") == []

    def test_database_that_is_away(self, new: Installation) -> None:
        """A server that does not answer is worth another try: exit code 69, and no password on the screen."""
        new.environment = {"DATABASE_URL": "postgresql://us:hush-hush@127.0.0.1:9/none"}
        said = new.run("migrate", code=69).output
        assert "cannot be used now" in said
        assert "hush-hush" not in said


class TestPeople:
    """`users`, `accounts` and `tokens`."""

    def test_users(self, installed: Installation) -> None:
        """Added, listed, deleted; the address is free afterwards."""
        assert "has" not in installed.run("users", "add", "bob@example.com", "--password-stdin", typed=PASSWORD).stdout
        assert [user["email"] for user in installed.json("users", "list")] == [EMAIL, "bob@example.com"]
        assert "already" in installed.run("users", "add", "BOB@example.com", code=1).stderr
        assert "Interrupted" in installed.run("users", "delete", "bob@example.com", typed="n\n", code=130).stderr
        installed.run("users", "delete", "bob@example.com", "--yes")
        installed.run("users", "delete", "bob@example.com", "--yes", code=3)
        installed.run("users", "add", "bob@example.com")

    def test_made_up_password(self, installed: Installation) -> None:
        """Where nobody can be asked a password is made up and shown once."""
        added = installed.json("users", "add", "bob@example.com")
        assert len(added["password"]) == 20
        assert added["password"] not in installed.run("users", "list").output
        assert "shown this once" in installed.run("users", "set-password", added["uuid"]).stdout

    def test_accounts(self, installed: Installation) -> None:
        """A user comes into an account and leaves it."""
        account = installed.json("accounts", "add", "Second")
        join = ["accounts", "add-user", EMAIL, "--account", account["uuid"]]
        assert "now belongs to Second" in installed.run(*join).stdout
        assert "belongs to Second already" in installed.run(*join).stdout
        assert [a["users"] for a in installed.json("accounts", "list")] == [[EMAIL], [EMAIL]]
        leave = ["accounts", "remove-user", EMAIL, "--account", account["uuid"]]
        assert "no longer belongs" in installed.run(*leave).stdout
        installed.run(*leave, code=3)

    def test_unknown_names(self, installed: Installation) -> None:
        """Every command says what it cannot find, with exit code 3."""
        for arguments in (
            ["users", "set-password", "nobody@example.com"],
            ["users", "add", "bob@example.com", "--account", UNKNOWN],
            ["accounts", "add-user", EMAIL, "--account", UNKNOWN],
            ["tokens", "create", "--user", UNKNOWN, "--name", "x"],
            ["tokens", "revoke", UNKNOWN],
            ["connections", "list", "--account", UNKNOWN],
            ["connections", "show", UNKNOWN],
            ["connections", "refresh", UNKNOWN],
            ["connections", "disconnect", UNKNOWN, "--yes"],
            ["providers", "show", "nothing"],
            ["providers", "resume", "nothing"],
            ["doctor", "nothing"],
        ):
            assert "no" in installed.run(*arguments, code=3).stderr

    def test_what_came_from_elsewhere_cannot_steer_the_terminal(self, installed: Installation) -> None:
        """Control characters cannot get into a name, and nothing unprintable is printed."""
        assert "control characters" in installed.run("accounts", "add", "x\x1b[31mred", code=1).stderr
        installed.run("accounts", "add", "[bold]brackets[/bold]")
        assert "[bold]brackets[/bold]" in installed.run("accounts", "list").stdout

    async def test_tokens(self, world: World, operator: Installation) -> None:
        """A token works in the running product with the scopes it was given, until it is revoked."""
        created = await operator.meanwhile("tokens", "create", "--user", EMAIL, "--name", "ci", "--json")
        record = json.loads(created.stdout)
        assert record["scopes"] == ["connections:read"]
        async with http_client(world.application, record["token"]) as client:
            assert (await client.get("/api/v1/oauth/connections")).status_code == 200
            assert (await client.put(f"/api/v1/oauth/connections/{UNKNOWN}", json={})).status_code == 403
            listed = (await operator.meanwhile("tokens", "list")).output
            assert "ci" in listed
            assert record["token"] not in listed
            await operator.meanwhile("tokens", "revoke", record["uuid"].upper())
            await world_forgets(client)
        dead = json.loads((await operator.meanwhile("tokens", "list", "--json", "--user", EMAIL)).stdout)
        assert next(token for token in dead if token["uuid"] == record["uuid"])["revoked_at"]

    def test_token_of_another_account(self, installed: Installation) -> None:
        """A token is made only for an account that its user belongs to."""
        account = installed.json("accounts", "add", "Other")["uuid"]
        arguments = ["tokens", "create", "--user", EMAIL, "--name", "x", "--account", account]
        assert "does not belong to Other" in installed.run(*arguments, code=1).stderr
        installed.run("tokens", "create", "--user", EMAIL, "--name", "x", "--scope", "everything", code=2)


async def world_forgets(client: httpx2.AsyncClient) -> None:
    """Returns when a revoked token is refused: another process notices within a second."""
    while (await client.get("/api/v1/oauth/connections")).status_code == 200:
        pass


async def stay_blocked(world: World) -> None:
    """Have what is blocked stay so for an hour, however slow the machine is."""
    await world.services.database.execute("UPDATE provider_states SET blocked_until = blocked_until + 3600000000")


class TestProviders:
    """`providers`, which needs neither database nor keys."""

    def test_list(self, new: Installation) -> None:
        """Every provider of the catalogue, why it is not offered, and what the settings name in vain."""
        new.environment = {"CLIENTS__XERO__CLIENT_ID": "our-id", "CLIENTS__NOSUCH__CLIENT_ID": "x"}
        rows = {row["name"]: row for row in new.json("providers", "list")}
        assert rows["xero"]["problems"] == ["clients.xero.client_secret: is missing"]
        assert "the catalogue has no such provider" in rows["nosuch"]["problems"][0]
        assert "is not set up" in rows["google"]["problems"][0]
        assert "clients.xero.client_secret: is missing" in new.run("providers", "list").stdout

    def test_show(self, new: Installation) -> None:
        """Endpoints, scopes, verification and the redirect URI to register."""
        new.environment = {"PUBLIC_URL": "https://connections.example.com"}
        shown = new.run("providers", "show", "google").stdout
        facts = new.json("providers", "show", "google")
        assert facts["redirect_uri"] == "https://connections.example.com/oauth/google/callback"
        for fact in (facts["redirect_uri"], facts["endpoints"]["token"], facts["verified"]["page"], "openid"):
            assert fact in shown

    def test_show_with_parameters(self, new: Installation) -> None:
        """Placeholders of a provider that is not set up stay; those of one that is are filled."""
        assert "{" in new.json("providers", "show", "salesforce")["endpoints"]["token"]
        new.environment = {
            "CLIENTS__SALESFORCE__CLIENT_ID": "id",
            "CLIENTS__SALESFORCE__CLIENT_SECRET": "hush-hush",
            "CLIENTS__SALESFORCE__PARAMETERS__HOST": "acme.my.salesforce.com",
        }
        shown = new.json("providers", "show", "salesforce")
        assert shown["offered"]
        assert shown["endpoints"]["token"].startswith("https://acme.my.salesforce.com/")
        assert "hush-hush" not in json.dumps(shown)

    async def test_paused(self, world: World, operator: Installation) -> None:
        """A provider that refuses our client is paused: since when, until when, why, and that the operator must act."""
        connection = await world.connect()
        world.provider.rotate_client_secret("grantkeeper-test", "another")
        await operator.meanwhile("connections", "refresh", connection.uuid, code=1)
        await stay_blocked(world)
        [state] = [s for s in await world.services.refreshes.provider_states() if s.blocked_at]
        rows = {
            row["name"]: row for row in json.loads((await operator.meanwhile("providers", "list", "--json")).stdout)
        }
        assert (rows["xero"]["refreshed"], rows["xero"]["blocked"]) == ("as usual", None)
        assert rows["demo"]["refreshed"] == "paused"
        assert rows["demo"]["blocked"] == {
            "since": timestamp(state.blocked_at),
            "until": timestamp(state.blocked_until),
            "reason": "Demo Provider answered invalid_client (HTTP 401)",
            "must_act": "operator",
            "probes": 1,
        }
        listed = (await operator.meanwhile("providers", "list")).stdout
        shown = (await operator.meanwhile("providers", "show", "demo")).stdout
        for told in (listed, shown):
            assert f"paused since {when(state.blocked_at)}" in told
            assert str(when(state.blocked_until)) in told
            assert "invalid_client" in told
        assert "you must act" in listed
        assert "`grantkeeper providers resume demo`" in listed
        facts = json.loads((await operator.meanwhile("providers", "show", "demo", "--json")).stdout)
        assert (facts["refreshed"], facts["blocked"]) == ("paused", rows["demo"]["blocked"])

    async def test_resume(self, world: World, operator: Installation) -> None:
        """Once the secret is mended, the next refresh tries it at once, and all goes on."""
        connection = await world.connect()
        assert "nothing to resume" in (await operator.meanwhile("providers", "resume", "demo")).stdout
        world.provider.rotate_client_secret("grantkeeper-test", "another")
        await operator.meanwhile("connections", "refresh", connection.uuid, code=1)
        await stay_blocked(world)
        world.provider.rotate_client_secret("grantkeeper-test", CLIENT_SECRET)
        asked = world.provider.counts["token"]
        assert (
            "operator must act" in (await operator.meanwhile("connections", "refresh", connection.uuid, code=69)).stderr
        )
        assert world.provider.counts["token"] == asked, "until its next try a paused provider is left alone"
        assert "The next refresh at demo tries it" in (await operator.meanwhile("providers", "resume", "demo")).stdout
        assert "tries it anyway" in (await operator.meanwhile("providers", "resume", "demo")).stdout
        assert "at the next refresh" in (await operator.meanwhile("providers", "list")).stdout
        await operator.meanwhile("connections", "refresh", connection.uuid)
        assert "nothing to resume" in (await operator.meanwhile("providers", "resume", "demo")).stdout

    def test_database_that_is_away(self, new: Installation) -> None:
        """The catalogue is shown all the same; what only the database knows is said to be unknown."""
        new.environment = {"DATABASE_URL": "postgresql://us:hush-hush@127.0.0.1:9/none"}
        told = new.run("providers", "list", "--json")
        assert {row["refreshed"] for row in json.loads(told.stdout)} == {"not known"}
        assert "blocked or paused is not known: " in told.stderr
        assert "not known" in new.run("providers", "show", "xero").stdout
        assert "hush-hush" not in told.output


class TestConnections:
    """`connections`, beside a running product."""

    async def test_list_and_show(self, world: World, operator: Installation) -> None:
        """The operator sees what there is and what happened, but no token."""
        connection = await world.connect()
        tokens = (await world.read_token(connection)).json()
        for arguments in (["list"], ["list", "--account", world.account_uuid], ["show", connection.uuid]):
            people = (await operator.meanwhile("connections", *arguments)).stdout
            programs = (await operator.meanwhile("connections", *arguments, "--json")).stdout
            assert connection.uuid in people
            assert connection.label in people
            assert "active" in people
            assert connection.uuid in programs
            assert tokens["access_token"] not in people + programs
        shown = json.loads((await operator.meanwhile("connections", "show", connection.uuid, "--json")).stdout)
        assert [line["action"] for line in shown["evidence"]] == ["connect"]
        assert shown["evidence"][0]["actor"] == f"user:{world.login.user.uuid}"

    async def test_history(self, world: World, operator: Installation) -> None:
        """How its refreshes went, the last one first: when, with what outcome, by whom, who must act and why."""
        connection = await world.connect()
        show = ("connections", "show", connection.uuid)
        assert "No refresh of it is remembered." in (await operator.meanwhile(*show)).stdout
        await operator.meanwhile("connections", "refresh", connection.uuid)
        world.provider.revoke_grants()
        await operator.meanwhile("connections", "refresh", connection.uuid, code=1)
        told = json.loads((await operator.meanwhile(*show, "--json")).stdout)["refreshes"]
        assert [(line["outcome"], line["generation"], line["must_act"]) for line in told] == [
            ("rejected", 2, "user"),
            ("refreshed", 1, "nobody"),
        ]
        assert told[0]["reason"] == "Demo Provider answered invalid_grant (HTTP 400)"
        assert told[0]["at"] > told[1]["at"]
        assert all(line["milliseconds"] > 0 for line in told)
        people = (await operator.meanwhile(*show)).stdout
        last_two = rf"rejected +\d+ ms +2 +user +{re.escape(told[0]['owner'])} +Demo.*\n.* refreshed +\d+ ms +1 +nobody"
        assert re.search(last_two, people)
        last = json.loads((await operator.meanwhile(*show, "--json", "--history", "1")).stdout)["refreshes"]
        assert last == told[:1]
        # Its table is gone, not the connection's last failure.
        assert told[0]["owner"] not in (await operator.meanwhile(*show, "--history", "0")).stdout

    async def test_how_it_stands_with_the_engine(self, world: World, operator: Installation) -> None:
        """An attempt without word, the previous token set, and when a token was last read."""
        connection = await world.connect()
        show = ("connections", "show", connection.uuid)
        told = json.loads((await operator.meanwhile(*show, "--json")).stdout)
        assert (told["unsettled_at"], told["previous_issued_at"], told["previous_spare"]) == (None, None, False)
        people = (await operator.meanwhile(*show)).stdout
        assert "Outcome unknown" not in people
        assert re.search(r"^Token last read +20\d\d-\d\d-\d\d, within a day$", people, re.MULTILINE)
        await operator.meanwhile("connections", "refresh", connection.uuid)
        world.provider.fail_next(1, status=503)
        await operator.meanwhile("connections", "refresh", connection.uuid, code=1)
        told = json.loads((await operator.meanwhile(*show, "--json")).stdout)
        assert told["unsettled_at"] is not None
        people = (await operator.meanwhile(*show)).stdout
        assert re.search(r"^Outcome unknown +an attempt until .*; looked into before", people, re.MULTILINE)
        assert re.search(r"^Previous token set +kept, of 20\S+ \S+Z$", people, re.MULTILINE)

    async def test_refresh(self, world: World, operator: Installation) -> None:
        """A refresh on demand gives the running product a new token."""
        connection = await world.connect()
        before = (await world.read_token(connection)).json()["access_token"]
        told = await operator.meanwhile("connections", "refresh", connection.uuid, "--json")
        assert json.loads(told.stdout)["refreshed"]
        assert (await world.read_token(connection)).json()["access_token"] != before

    async def test_refresh_that_fails(self, world: World, operator: Installation) -> None:
        """Says who must act, with exit code 1."""
        connection = await world.connect()
        world.provider.revoke_grants()
        said = (await operator.meanwhile("connections", "refresh", connection.uuid, code=1)).stderr
        assert "its user must authorize it again" in said
        assert "needs_reauthorization (its user must act)" in (await operator.meanwhile("connections", "list")).stdout
        again = (await operator.meanwhile("connections", "refresh", connection.uuid, code=1)).stderr
        assert "authorize it again" in again

    async def test_refresh_that_the_provider_refuses_us(self, world: World, operator: Installation) -> None:
        """A client that is refused is the operator's to mend."""
        connection = await world.connect()
        world.provider.rotate_client_secret("grantkeeper-test", "another")
        said = (await operator.meanwhile("connections", "refresh", connection.uuid, code=1)).stderr
        assert "you must act" in said

    async def test_disconnect(self, world: World, operator: Installation) -> None:
        """After a yes the connection is gone, the grant revoked, and the evidence says by whom."""
        connection = await world.connect()
        arguments = ["connections", "disconnect", connection.uuid]
        await operator.meanwhile(*arguments, typed="n\n", code=130)
        assert await world.services.store.find(connection.uuid)
        told = await operator.meanwhile(*arguments, "--yes")
        assert "The provider revoked the grant." in told.stdout
        assert await world.services.store.find(connection.uuid) is None
        assert all(grant.revoked_at for grant in world.provider.grants())
        evidence = await world.services.store.evidence(connection.account_uuid, connection.uuid)
        assert ("operator", "disconnect") in {(line.actor, line.action) for line in evidence}
