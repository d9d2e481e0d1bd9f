"""`grantkeeper doctor`: what it finds, and that it says what to do."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grantkeeper.cli.checks import BUILT, Finding, check_installation
from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND, Clock, Instant, SystemClock
from grantkeeper.config import load_settings
from grantkeeper.refresh.breaker import STRIKES
from grantkeeper.storage.inspection import SKEW_HARMFUL, inspected, note_clock
from grantkeeper.testing import FakeClock
from tests.support.command_line import Installation, beside
from tests.support.machine_clock import MachineClocks
from tests.support.postgres import PostgresServer
from tests.support.process import free_port
from tests.support.world import CLIENT_ID, EMAIL, World

RAN = BUILT + 100 * DAY
"""When an installation ran last."""


def findings(told: dict[str, Any], level: str) -> str:
    """What was found at one level, in one text."""
    return "\n".join(
        f"{check['subject']}: {check['found']} -> {check['advice']}"
        for check in told["checks"]
        if check["level"] == level
    )


class TestThisSide:
    """Settings, database, keys and clock."""

    def test_all_is_well(self, installed: Installation) -> None:
        """A fresh installation passes; what is left to do is to set up a provider."""
        told = installed.json("doctor")
        assert told["ok"]
        for good in (
            "settings",
            "clock",
            "root keyset: fits",
            "database: sqlite",
            "database: can be written",
        ):
            assert good in findings(told, "ok")
        assert findings(told, "warn").startswith("providers: none can be connected here")
        assert "0 failed, 1 to look at." in installed.run("doctor").stdout

    def test_changes_nothing(self, tmp_path: Path) -> None:
        """Where nothing is installed it says so, and leaves it so."""
        told = Installation(tmp_path / "data").json("doctor", code=1)
        assert "there is no root keyset" in findings(told, "fail")
        assert "database: there is none" in findings(told, "fail")
        assert "grantkeeper init" in findings(told, "fail")
        assert not (tmp_path / "data").exists()

    def test_settings(self, installed: Installation) -> None:
        """Every problem of the settings is a line of its own."""
        installed.environment = {"PORTT": "1", "TIMEZONE": "Nowhere"}
        told = installed.json("doctor", code=1)
        assert "did you mean port?" in findings(told, "fail")
        assert "is not a time zone" in findings(told, "fail")

    def test_suspicious_settings(self, installed: Installation) -> None:
        """What is allowed and yet hardly meant is worth a look."""
        installed.environment = {"HOST": "0.0.0.0", "WORKER": "off"}
        told = installed.json("doctor")
        assert "public_url is only for this machine" in findings(told, "warn")
        assert "grantkeeper worker" in findings(told, "warn")

    def test_keyset_of_another_installation(self, installed: Installation, tmp_path: Path) -> None:
        """Says which key is missing."""
        other = Installation(tmp_path / "other")
        other.run("init", "--email", EMAIL)
        keyset = installed.directory / "root-keyset.json"
        wanted = json.loads(keyset.read_text())["primaryKeyId"]
        keyset.write_bytes((other.directory / keyset.name).read_bytes())
        assert f"lacks key {wanted}" in findings(installed.json("doctor", code=1), "fail")

    def test_permissions(self, installed: Installation) -> None:
        """A keyset that others can read fails, a database that they can read is worth a look."""
        for name in ("root-keyset.json", "grantkeeper.sqlite3"):
            (installed.directory / name).chmod(0o644)
        told = installed.json("doctor", code=1)
        assert "chmod 600" in findings(told, "fail")
        assert "others may read it (mode 0644)" in findings(told, "warn")

    def test_newer_schema(self, installed: Installation) -> None:
        """A database of a newer release fails."""
        with closing(sqlite3.connect(installed.directory / "grantkeeper.sqlite3")) as database:
            database.execute("UPDATE alembic_version SET version_num = '0999_later'")
            database.commit()
        assert "newer than this program" in findings(installed.json("doctor", code=1), "fail")

    def test_empty_database(self, installed: Installation) -> None:
        """A database without a schema is migrated by the next start."""
        (installed.directory / "grantkeeper.sqlite3").write_bytes(b"")
        assert "has schema none" in findings(installed.json("doctor"), "warn")

    def test_no_database(self, installed: Installation) -> None:
        """A file that is no database fails."""
        (installed.directory / "grantkeeper.sqlite3").write_bytes(b"x" * 5000)
        assert "not a database" in findings(installed.json("doctor", code=1), "fail")

    def test_locked_database(self, installed: Installation) -> None:
        """A database that cannot be written fails."""
        with closing(sqlite3.connect(installed.directory / "grantkeeper.sqlite3")) as other:
            other.execute("BEGIN IMMEDIATE")
            told = installed.json("doctor", code=1)
        assert "locked" in findings(told, "fail")

    async def test_implausible_clock(self, installed: Installation) -> None:
        """A clock that shows a time before this release fails."""
        settings = load_settings({"GRANTKEEPER_DATA_DIR": str(installed.directory)})
        found = await check_installation(settings, FakeClock(1_000_000 * SECOND))
        clock = next(finding for finding in found if finding.subject == "clock")
        assert (clock.level, clock.found) == ("fail", "shows a time before this release, or far from now")

    @pytest.mark.parametrize(("behind", "level"), [(-MINUTE, "ok"), (MINUTE, "ok"), (MINUTE + 1, "fail")])
    async def test_clock_went_back(self, installed: Installation, behind: int, level: str) -> None:
        """A clock that lies behind the time when the installation last ran fails, with what to do."""
        found = await noted_at(installed, RAN, MachineClocks(RAN - behind).clock())
        assert {finding.level for finding in found} == {"ok", level}
        assert level == "ok" or ("60 s behind" in found[-1].found and "time service" in found[-1].advice)

    async def test_the_machines_own_clock_counts(self, installed: Installation) -> None:
        """What the process made of it since its start does not."""
        machine = MachineClocks(RAN)
        clock = machine.clock()
        machine.wall -= 6 * HOUR
        found = await noted_at(installed, RAN, clock)
        assert "21600 s behind" in found[-1].found


async def noted_at(installed: Installation, at: Instant, clock: Clock) -> list[Finding]:
    """What is found of the clock of an SQLite installation that last ran at that instant."""
    settings = load_settings({"GRANTKEEPER_DATA_DIR": str(installed.directory)})
    async with inspected(settings.database) as database:
        assert database is not None
        await note_clock(database, at)
    return [finding for finding in await check_installation(settings, clock) if finding.subject == "clock"]


@pytest.mark.postgres
class TestPostgres:
    """The same on PostgreSQL."""

    def test_schema(self, installed: Installation, postgres: PostgresServer) -> None:
        """A database that wants migrating fails with the command to run; then all is well."""
        installed.environment = {"DATABASE_URL": postgres.create_database()}
        told = installed.json("doctor", code=1)
        assert "grantkeeper migrate" in findings(told, "fail")
        installed.run("migrate")
        told = installed.json("doctor")
        assert "database: postgresql" in findings(told, "ok")
        assert "clock: 0.0 s apart" in findings(told, "ok")

    def test_away(self, installed: Installation) -> None:
        """A server that does not answer fails, without its password on the screen."""
        installed.environment = {"DATABASE_URL": f"postgresql://us:hush-hush@127.0.0.1:{free_port()}/none"}
        told = installed.json("doctor", code=1)
        assert "database: PostgreSQL: the database cannot be used now" in findings(told, "fail")
        assert "hush-hush" not in json.dumps(told)

    async def test_clocks_apart(self, installed: Installation, postgres_url: str) -> None:
        """A clock that differs from the database's by more than leases bear fails; a little warns."""
        environment = {
            "GRANTKEEPER_DATA_DIR": str(installed.directory),
            "GRANTKEEPER_DATABASE_URL": postgres_url,
        }
        settings = load_settings(environment)
        for apart, level in ((SKEW_HARMFUL + 5 * SECOND, "fail"), (15 * SECOND, "warn")):
            found = await check_installation(settings, FakeClock(SystemClock().now() - apart))
            assert level in [finding.level for finding in found if "apart" in finding.found]


class TestProviders:
    """Whether they are set up, and whether they answer."""

    async def test_reached(self, world: World, tmp_path: Path) -> None:
        """A provider that answers anything at all is reached."""
        told = json.loads((await beside(world, tmp_path).meanwhile("doctor", "--json")).stdout)
        assert "demo: token endpoint 127.0.0.1:" in findings(told, "ok")
        assert "more are known, and not set up" in findings(told, "ok")

    async def test_paused(self, world: World, tmp_path: Path) -> None:
        """One that refuses our client is a warning that says since when, why, and what to mend and to run."""
        operator = beside(world, tmp_path)
        connection = await world.connect()
        world.provider.rotate_client_secret(CLIENT_ID, "another")
        await operator.meanwhile("connections", "refresh", connection.uuid, code=1)
        warned = findings(json.loads((await operator.meanwhile("doctor", "--json")).stdout), "warn")
        assert warned.startswith("demo: paused since 2")
        assert "Demo Provider answered invalid_client (HTTP 401) -> correct clients.demo" in warned
        assert "`grantkeeper providers resume demo`" in warned

    async def test_blocked(self, world: World, tmp_path: Path) -> None:
        """One that does not answer is a warning for which nobody must act."""
        operator = beside(world, tmp_path)
        connections = [await world.connect() for _ in range(STRIKES)]
        world.provider.fail_next(STRIKES, status=503)
        for connection in connections:
            await world.services.refresher.refresh_now(connection)
        warned = findings(json.loads((await operator.meanwhile("doctor", "--json")).stdout), "warn")
        assert warned.startswith("demo: blocked since 2")
        assert "-> nothing: one connection tries it" in warned

    def test_not_reached(self, installed: Installation) -> None:
        """One that does not answer fails with the address that was tried; asked for, it stands alone."""
        url = f"http://127.0.0.1:{free_port()}"
        installed.environment = {
            "CLIENTS__DEMO__CLIENT_ID": "id",
            "CLIENTS__DEMO__CLIENT_SECRET": "hush-hush",
            "CLIENTS__DEMO__PARAMETERS__BASE_URL": url,
            "PROVIDER_NETWORKS": "127.0.0.1",
        }
        told = installed.json("doctor", "demo", code=1)
        assert {check["subject"] for check in told["checks"]} == {"demo"}
        assert f"token endpoint {url}/token: the provider did not answer" in findings(told, "fail")
        assert "firewall" in findings(told, "fail")
        assert "hush-hush" not in json.dumps(told)
        assert "1 failed" in installed.run("doctor", "demo", code=1).stdout

    def test_inside_our_network(self, installed: Installation) -> None:
        """One at an address that nobody allowed fails with the address, its class, and the setting that allows it."""
        installed.environment = {
            "CLIENTS__DEMO__CLIENT_ID": "id",
            "CLIENTS__DEMO__CLIENT_SECRET": "hush-hush",
            "CLIENTS__DEMO__PARAMETERS__BASE_URL": "http://127.0.0.1:9",
        }
        said = findings(installed.json("doctor", "demo", code=1), "fail")
        assert "http://127.0.0.1:9/token: 127.0.0.1 is a loopback address; allow it with provider_networks" in said
        assert "Providers inside your network" in said

    def test_authorities_that_are_none(self, installed: Installation, tmp_path: Path) -> None:
        """A file that holds no certificate authorities is named, and nothing is asked without them."""
        (tmp_path / "ca.pem").write_text("nothing")
        installed.environment = {"PROVIDER_CA_FILE": str(tmp_path / "ca.pem"), "CLIENTS__XERO__CLIENT_ID": "id"}
        assert "ca.pem cannot be used: it holds no PEM certificates" in findings(
            installed.json("doctor", code=1), "fail"
        )

    def test_incomplete(self, installed: Installation) -> None:
        """One that lacks its secret is not offered, nor is one that nobody knows."""
        installed.environment = {"CLIENTS__XERO__CLIENT_ID": "id", "CLIENTS__XERRO__CLIENT_ID": "id"}
        failed = findings(installed.json("doctor", code=1), "fail")
        assert "clients.xero.client_secret: is missing -> complete [clients.xero]" in failed
        assert "clients.xerro: the catalogue has no such provider" in failed

    @pytest.mark.parametrize("name", ["demo", "fundment", "google", "xero"])
    def test_not_set_up(self, tmp_path: Path, name: str) -> None:
        """One that the settings do not name says what it needs; no installation is needed to ask."""
        told = Installation(tmp_path / "data").json("doctor", name, code=1)
        assert "is not set up; it needs client_id" in findings(told, "fail")

    def test_broken_definition(self, installed: Installation, tmp_path: Path) -> None:
        """A definition of the operator's that is wrong fails with its file and key."""
        (tmp_path / "ours.toml").write_text("schema = 1\nname = 'other'\n")
        installed.environment = {"PROVIDERS_DIR": str(tmp_path)}
        assert "ours.toml: name: must be 'ours'" in findings(installed.json("doctor", code=1), "fail")
