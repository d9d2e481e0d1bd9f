"""`grantkeeper keys` from end to end, what a running server makes of it, and what `doctor` says."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import KeySet, import_key

from grantkeeper.cli.checks import Finding
from grantkeeper.cli.exits import ExitCode
from grantkeeper.cli.key_checks import SIGNS_FOR, check_keys
from grantkeeper.clock import DAY, Instant, SystemClock
from grantkeeper.config import load_settings
from grantkeeper.keys.software import ALGORITHMS, key_type
from grantkeeper.terms import SigningAlgorithm
from grantkeeper.testing import FakeClock
from tests.keys.certificates import new_key, pem, self_signed
from tests.keys.rings import CLAIMS, PRIVATE_MEMBERS
from tests.support.command_line import Installation, beside
from tests.support.world import World

JWKS = "/.well-known/jwks.json"


def new_files(directory: Path, *, days: int = 365) -> tuple[str, ...]:
    """The options that name a fresh certificate and its key."""
    key = new_key()
    certificate, key_file = directory / "client.pem", directory / "client.key"
    certificate.write_bytes(self_signed(key, SystemClock().now(), ends=days * DAY))
    key_file.write_bytes(pem(key))
    return "--certificate", str(certificate), "--key", str(key_file)


def states(installed: Installation) -> dict[str, str]:
    """What each key does."""
    return {key["kid"]: key["state"] for key in installed.json("keys", "list")}


class TestCommands:
    """What they do and print."""

    def test_none(self, installed: Installation) -> None:
        """Where there is no key the list says how to make one."""
        assert "`grantkeeper keys create` makes one" in installed.run("keys", "list").stdout
        assert installed.json("keys", "list") == []

    def test_create(self, installed: Installation) -> None:
        """The first signs at once, ES256 unless told otherwise; standard output is its KID alone."""
        result = installed.run("keys", "create")
        kid = result.stdout.strip()
        assert result.stderr == f"Published at {JWKS}; signs from now on.\n"
        (key,) = installed.json("keys", "list")
        assert (key["kid"], key["algorithm"], key["state"], key["kept"]) == (kid, "ES256", "in use", "here")
        assert kid in installed.run("keys", "list").stdout

    def test_rotation(self, installed: Installation) -> None:
        """A further one of an algorithm waits for the overlap; `--now` does not; other algorithms are untouched."""
        first, other = installed.json("keys", "create"), installed.json("keys", "create", "--algorithm", "PS256")
        second = installed.json("keys", "create", "--overlap", "48")
        assert (first["state"], other["state"], second["state"]) == ("in use", "in use", "waits")
        assert "signs from 2" in installed.run("keys", "create").stderr
        third = installed.json("keys", "create", "--now")
        now = states(installed)
        assert (now[third["kid"]], now[first["kid"]], now[other["kid"]]) == ("in use", "retired", "in use")

    def test_retire(self, installed: Installation) -> None:
        """At once, its successor begins; the last is kept unless forced; withdrawn it is no longer published."""
        old, new = installed.json("keys", "create")["kid"], installed.json("keys", "create")["kid"]
        installed.run("keys", "retire", old)
        assert states(installed) == {old: "retired", new: "in use"}
        assert "--force" in installed.run("keys", "retire", new, code=1).stderr
        installed.run("keys", "retire", new, "--force", "--withdraw")
        assert states(installed) == {old: "retired", new: "withdrawn"}

    @pytest.mark.parametrize("kid", ["nobody", "-nobody", "-hidden", "--nobody"])
    def test_unknown(self, installed: Installation, kid: str) -> None:
        """A KID that is not there says where to look, and one that begins with a hyphen is no option."""
        assert f"There is no key {kid}; see" in installed.run("keys", "retire", kid, code=3).stderr

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_certificate_of_a_key(self, installed: Installation, algorithm: str) -> None:
        """What is printed holds the published key, vouches for itself, and names us."""
        kid = installed.run("keys", "create", "--algorithm", algorithm).stdout.strip()
        printed = x509.load_pem_x509_certificate(installed.run("keys", "certificate", kid).stdout.encode())
        printed.verify_directly_issued_by(printed)
        spki = printed.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert import_key(spki, key_type(cast(SigningAlgorithm, algorithm))).thumbprint() == kid
        assert printed.subject.rfc4514_string() == "CN=127.0.0.1"
        assert (printed.not_valid_after_utc - printed.not_valid_before_utc).days == 730

    def test_certificate_of_no_key(self, installed: Installation, tmp_path: Path) -> None:
        """A certificate has no key that signs, and a KID may begin with a hyphen."""
        imported = installed.run("keys", "import-certificate", "bank", *new_files(tmp_path)).stdout.strip()
        for kid in (imported, "-unknown"):
            refused = installed.run("keys", "certificate", kid, code=ExitCode.NOT_FOUND)
            assert f"There is no key {kid} that signs" in refused.stderr

    def test_import_certificate(self, installed: Installation, tmp_path: Path) -> None:
        """It is used at once and replaces the one of its name; ending soon is worth a word."""
        first = installed.run("keys", "import-certificate", "bank", *new_files(tmp_path))
        assert "soon" not in first.stderr
        second = installed.run("keys", "import-certificate", "bank", *new_files(tmp_path, days=10))
        assert "That is in 9 days: get the next one soon." in second.stderr
        assert states(installed) == {first.stdout.strip(): "retired", second.stdout.strip(): "in use"}
        third = installed.json("keys", "import-certificate", "bank", "--overlap", "24", *new_files(tmp_path))
        assert (third["state"], third["kind"], third["name"]) == ("waits", "certificate", "bank")

    def test_import_of_what_is_not_fit(self, installed: Installation, tmp_path: Path) -> None:
        """The message says why; nothing is kept."""
        good = new_files(tmp_path)
        (tmp_path / "client.key").write_bytes(pem(new_key()))
        assert "does not belong" in installed.run("keys", "import-certificate", "bank", *good, code=1).stderr
        assert "lower-case" in installed.run("keys", "import-certificate", "A b", *new_files(tmp_path), code=1).stderr
        assert installed.json("keys", "list") == []

    def test_private_keys_are_never_printed(self, installed: Installation, tmp_path: Path) -> None:
        """No output of any command, nor a byte of the database, has a line of what was imported."""
        files = new_files(tmp_path)
        output = installed.run("keys", "import-certificate", "bank", *files)
        listed = installed.run("keys", "list", "--json")
        told = output.stdout + output.stderr + listed.stdout + installed.run("keys", "list").stdout
        # The first line holds the private number, the last one no more than the public key.
        secret = (tmp_path / "client.key").read_text().splitlines()[1]
        assert secret not in told
        assert "PRIVATE" not in told
        stored = b"".join(file.read_bytes() for file in installed.directory.glob("grantkeeper.sqlite3*"))
        assert secret.encode() not in stored
        assert b"BEGIN CERTIFICATE" in stored


class TestServer:
    """What a running server publishes and signs with."""

    async def test_keys_made_beside_it(self, world: World, tmp_path: Path) -> None:
        """They are published, and what it signs is found good by whoever fetches them."""
        operator = beside(world, tmp_path)
        made = json.loads((await operator.meanwhile("keys", "create", "--json")).stdout)
        answer = await world.client.get(JWKS)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "public, max-age=300"
        (published,) = answer.json()["keys"]
        assert PRIVATE_MEMBERS.isdisjoint(published)
        signed = await (await world.services.keys.signer("ES256")).sign(CLAIMS)
        token = jwt.decode(signed, KeySet.import_key_set(answer.json()))
        assert (token.header["kid"], token.claims) == (made["kid"], CLAIMS)

    async def test_conditional_and_public(self, world: World) -> None:
        """It needs no token; without keys it is an empty set; what has not changed is not sent again."""
        del world.client.headers["authorization"]
        answer = await world.client.get(JWKS)
        assert (answer.status_code, answer.json()) == (200, {"keys": []})
        again = await world.client.get(JWKS, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        await world.services.keys.create("ES256")
        changed: httpx2.Response = await world.client.get(JWKS, headers={"if-none-match": answer.headers["etag"]})
        assert (changed.status_code, len(changed.json()["keys"])) == (200, 1)


class TestDoctor:
    """What it says of keys."""

    def test_well(self, installed: Installation) -> None:
        """Nothing where there are none; else how many are in use."""
        assert found_now(installed) == []
        installed.run("keys", "create")
        assert found_now(installed) == [("ok", "1 in use")]

    async def test_a_certificate_that_ends(self, installed: Installation, tmp_path: Path) -> None:
        """Thirty days before it is a warning, afterwards a failure; one that will replace it settles it."""
        await installed.meanwhile("keys", "import-certificate", "bank", *new_files(tmp_path, days=40))
        now = SystemClock().now()
        assert [await levels(installed, now + days * DAY) for days in (9, 11, 41)] == [
            ["ok"],
            ["ok", "warn"],
            ["ok", "fail"],
        ]
        found = await found_at(installed, now + 41 * DAY)
        assert found[-1].advice == "get the next one: grantkeeper keys import-certificate bank"
        files = new_files(tmp_path, days=400)
        await installed.meanwhile("keys", "import-certificate", "bank", "--overlap", "720", *files)
        assert await levels(installed, now + 11 * DAY) == ["ok"]

    async def test_a_key_that_has_signed_for_long(self, installed: Installation) -> None:
        """After a year it is worth replacing; while its successor waits nothing is left to do."""
        await installed.meanwhile("keys", "create", "--algorithm", "EdDSA")
        now = SystemClock().now()
        assert await levels(installed, now + SIGNS_FOR - DAY) == ["ok"]
        found = await found_at(installed, now + SIGNS_FOR + DAY)
        assert [finding.level for finding in found] == ["ok", "warn"]
        assert found[-1].advice == "replace it: grantkeeper keys create --algorithm EdDSA"

    def test_another_root_keyset(self, installed: Installation, tmp_path: Path) -> None:
        """Where no account has noticed, the keys do: every command refuses to start."""
        other = Installation(tmp_path / "other")
        other.run("init", "--email", "ada@example.com")
        installed.run("keys", "create")
        with closing(sqlite3.connect(installed.directory / "grantkeeper.sqlite3")) as database:
            root = json.loads((installed.directory / "root-keyset.json").read_text())["primaryKeyId"]
            database.execute("DELETE FROM logins")
            database.execute("DELETE FROM accounts")
            database.commit()
        (installed.directory / "root-keyset.json").write_bytes((other.directory / "root-keyset.json").read_bytes())
        assert f"lacks key {root}" in installed.run("keys", "list", code=78).stderr
        failed = [check for check in installed.json("doctor", code=1)["checks"] if check["level"] == "fail"]
        assert [check["subject"] for check in failed] == ["root keyset"]


def found_now(installed: Installation) -> list[tuple[str, str]]:
    """Level and text of what `doctor` finds of keys."""
    checks: list[dict[str, Any]] = installed.json("doctor")["checks"]
    return [(check["level"], check["found"]) for check in checks if check["subject"] == "keys"]


async def found_at(installed: Installation, now: Instant) -> list[Finding]:
    """What is found of keys at that time."""
    settings = load_settings({"GRANTKEEPER_DATA_DIR": str(installed.directory)})
    return await check_keys(settings, FakeClock(now))


async def levels(installed: Installation, now: Instant) -> list[str]:
    """How bad each of it is."""
    return [finding.level for finding in await found_at(installed, now)]
