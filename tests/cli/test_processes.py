"""What runs for good: `demo`, `serve` and `worker`, as real processes that are started, asked and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from grantkeeper.cli.demo import FIRST_PORT
from tests.support.command_line import Installation, beside
from tests.support.person import Page
from tests.support.process import Process, eventually, free_port, grantkeeper
from tests.support.world import CLIENT_ID, EMAIL, World

LIST = "/api/v1/oauth/connections"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A program that listens on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def demo(directory: Path, *arguments: str, name: str = "demo", **environment: str) -> Process:
    """`grantkeeper demo --json` in `directory`/data, not yet started."""
    settings = {f"GRANTKEEPER_{key}": value for key, value in environment.items()}
    data_dir = str(directory / "data")
    return grantkeeper(
        "demo", "--json", "--data-dir", data_dir, *arguments, directory=directory, name=name, env=settings
    )


def serve(installed: Installation, *arguments: str, name: str = "serve") -> Process:
    """`grantkeeper serve` on an installation, not yet started."""
    directory = installed.directory
    return grantkeeper("serve", "--data-dir", str(directory), *arguments, directory=directory.parent, name=name)


def record(process: Process) -> dict[str, str]:
    """What `demo --json` printed, once it has: one line and nothing else."""
    process.wait_for_line(r"^\{.*\}$")
    assert process.stdout.count("\n") == 1
    printed: dict[str, str] = json.loads(process.stdout)
    assert list(printed) == ["url", "token", "email", "password", "account_uuid"]
    return printed


def browser(printed: dict[str, str]) -> httpx2.Client:
    """A browser at the demo that follows redirects."""
    return httpx2.Client(base_url=printed["url"], follow_redirects=True, trust_env=False)


def api(printed: dict[str, str]) -> httpx2.Client:
    """A program with the demo's token."""
    headers = {"authorization": f"Bearer {printed['token']}"}
    return httpx2.Client(base_url=printed["url"], headers=headers, trust_env=False)


def events(process: Process) -> list[dict[str, Any]]:
    """The log on standard error: every line of it is JSON."""
    return [json.loads(line) for line in process.stderr.splitlines()]


class TestDemo:
    """`grantkeeper demo`."""

    def test_start_and_start_again(self, tmp_path: Path) -> None:
        """It serves when it prints; the next start on the same directory has the same credentials."""
        with demo(tmp_path, "--port", "0") as first:
            before = record(first)
            with api(before) as client:
                assert client.get(LIST).json() == {"data": []}
                logins = client.get("/api/v1/logins").json()["data"]
            assert logins[0]["account"]["uuid"] == before["account_uuid"]
            assert first.stop() == 0
        assert first.stderr == ""
        with demo(tmp_path, "--port", "0", name="again") as second:
            after = record(second)
            assert {**after, "url": ""} == {**before, "url": ""}
            with api(after) as client:
                assert client.get(LIST).status_code == 200
            assert second.stop(signal.SIGINT) == 0
        assert second.stderr == ""

    def test_what_it_keeps_is_for_its_owner(self, tmp_path: Path) -> None:
        """Credentials, keys and databases: nobody else may read them."""
        with demo(tmp_path, "--port", "0") as process:
            record(process)
            kept = [tmp_path / "data", *(tmp_path / "data").iterdir()]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in kept}
        assert {"demo.json", "root-keyset.json", "grantkeeper.sqlite3"} <= modes.keys()
        assert modes.pop("grantkeeper.sqlite3.migrate-lock", 0) in (0, 0o044)
        assert set(modes.values()) == {0}

    def test_connect(self, tmp_path: Path) -> None:
        """A person signs in with what was printed and connects; a program reads the token."""
        with demo(tmp_path, "--port", "0") as process:
            printed = record(process)
            with browser(printed) as person, api(printed) as client:
                begin = person.get("/sign-in", params={"next": "/oauth/demo/authorize"})
                form = Page(begin).forms["/sign-in"]
                onward = person.post("/sign-in", data={**form, "email": EMAIL, "password": printed["password"]})
                consent = person.get(Page(onward).link("Continue"))
                ((action, form),) = Page(consent).forms.items()
                answer = {**form, "subject": "ada-lovelace", "decision": "allow"}
                done = person.post(str(consent.url.join(action)), data=answer)
                assert done.status_code == 200, done.text
                (connection,) = client.get(LIST, params={"include": "status,identity"}).json()["data"]
                token = client.get(f"{LIST}/{connection['uuid']}/token").json()
            assert connection["status"] == "active"
            assert token["token_type"] == "Bearer"
            identity = person_at_provider(printed, token["access_token"])
            assert identity["name"] == "Ada Lovelace"
            assert process.stop() == 0
        assert token["access_token"] not in process.stderr

    def test_text(self, tmp_path: Path) -> None:
        """For people: address, e-mail, password, token and a line to try, on a calm screen."""
        directory = str(tmp_path / "data")
        process = grantkeeper("demo", "--port", "0", "--data-dir", directory, directory=tmp_path)
        with process:
            address = process.wait_for_line(r"runs at +(http://127\.0\.0\.1:\d+)$").group(1)
            token = process.wait_for_line(r"^  API token +(gk_\w+)$").group(1)
            process.wait_for_line(r"^  password +\S{20}$")
            process.wait_for_line(rf'^  curl -H "Authorization: Bearer {token}" {address}{LIST}$')
            process.stop()
        assert process.stderr == ""

    def test_port_in_use(self, tmp_path: Path, listener: socket.socket) -> None:
        """A port that was asked for and is taken is an error that says so."""
        port = listener.getsockname()[1]
        with demo(tmp_path, "--port", str(port)) as process:
            assert process.wait() == 69
        assert re.match(rf"Error: Port {port} of 127\.0\.0\.1 is in use", process.stderr)
        assert process.stdout == ""

    def test_next_free_port(self, tmp_path: Path) -> None:
        """Without --port the next free one is taken."""
        with suppress(OSError), socket.create_server(("127.0.0.1", FIRST_PORT)):
            with demo(tmp_path) as process:
                assert httpx2.URL(record(process)["url"]).port != FIRST_PORT
            return
        pytest.skip(f"somebody else's program listens on port {FIRST_PORT}")

    def test_real_settings_stay_out(self, tmp_path: Path) -> None:
        """The environment of a real installation does not lead the demo to its database and providers."""
        elsewhere = {
            "DATABASE_URL": "postgresql://us:hush-hush@127.0.0.1:9/none",
            "PUBLIC_URL": "https://connections.example.com",
            "CLIENTS__XERO__CLIENT_ID": "id",
            "LOG_LEVEL": "info",
        }
        with demo(tmp_path, "--port", "0", **elsewhere) as process:
            printed = record(process)
            with api(printed) as client:
                (provider,) = client.get("/api/v1/oauth/providers").json()["data"]
            assert provider["name"] == "demo"
            process.stop()
        assert "request" in {event["event"] for event in events(process)}

    def test_lost_token_is_replaced(self, tmp_path: Path) -> None:
        """A token that was revoked is replaced by one that works."""
        with demo(tmp_path, "--port", "0") as process:
            before = record(process)
        operator = Installation(tmp_path / "data")
        (token,) = operator.json("tokens", "list")
        operator.run("tokens", "revoke", token["uuid"])
        with demo(tmp_path, "--port", "0", name="again") as process:
            after = record(process)
            with api(after) as client:
                assert client.get(LIST).status_code == 200
        assert after["token"] != before["token"]
        assert after["password"] == before["password"]

    def test_directory_of_an_installation(self, installed: Installation) -> None:
        """It does not move into a directory that holds a real installation."""
        with demo(installed.directory.parent, "--port", "0") as process:
            assert process.wait() == 78
        assert "not a demo" in process.stderr

    def test_broken_credentials(self, tmp_path: Path) -> None:
        """A file that was tampered with is an error with its name."""
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "demo.json").write_text("{")
        with demo(tmp_path, "--port", "0") as process:
            assert process.wait() == 78
        assert "demo.json" in process.stderr


def person_at_provider(printed: dict[str, str], access_token: str) -> dict[str, str]:
    """Who the provider says an access token belongs to."""
    headers = {"authorization": f"Bearer {access_token}"}
    answer = httpx2.get(f"{printed['url']}/demo-provider/userinfo", headers=headers, trust_env=False)
    claims: dict[str, str] = answer.raise_for_status().json()
    return claims


class TestServe:
    """`grantkeeper serve`."""

    def test_start_and_stop(self, installed: Installation) -> None:
        """It answers, says in its log where, and ends well at SIGTERM."""
        port = free_port()
        with serve(installed, "--port", str(port)) as process:
            process.wait_for_http(f"http://127.0.0.1:{port}/health")
            started = json.loads(process.wait_for_line(r'^\{.*"serve\.started".*$', stream="stderr").group())
            assert (started["url"], started["port"]) == (f"http://127.0.0.1:{port}", port)
            assert process.stop() == 0
        assert events(process)[-1]["event"] == "serve.stopped"
        assert process.stdout == ""

    def test_port_in_use(self, installed: Installation) -> None:
        """A second one on the same port ends with an error; the first one goes on."""
        port = free_port()
        with serve(installed, "--port", str(port)) as first:
            first.wait_for_http(f"http://127.0.0.1:{port}/health")
            with serve(installed, "--port", str(port), name="second") as second:
                assert second.wait() == 69
            assert f"Port {port} of 127.0.0.1 is in use" in second.stderr
            first.wait_for_http(f"http://127.0.0.1:{port}/health")

    def test_request_in_flight_is_answered(self, installed: Installation) -> None:
        """A request that has begun when SIGTERM comes is answered before the end."""
        port = free_port()
        with serve(installed, "--port", str(port)) as process:
            process.wait_for_http(f"http://127.0.0.1:{port}/health")
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                head = b"POST /sign-in HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                form = b"content-type: application/x-www-form-urlencoded\r\ncontent-length: 5\r\n\r\n"
                client.sendall(head + form + b"emai")
                process.wait_for_line("serve.started", stream="stderr")
                stop_listening(process, port)
                client.sendall(b"l")
                assert client.recv(4096).startswith(b"HTTP/1.1 4")
            assert process.wait() == 0

    def test_second_signal_does_not_wait(self, installed: Installation) -> None:
        """Who presses Ctrl-C twice does not wait for a client that never ends its request."""
        port = free_port()
        with serve(installed, "--port", str(port)) as process:
            process.wait_for_http(f"http://127.0.0.1:{port}/health")
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nhost:")
                stop_listening(process, port)
                assert process.stop(signal.SIGINT) == 130

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["--host", "203.0.113.1", "--port", "18080"], 78, "cannot listen on port 18080 of 203.0.113.1"),
            (["--host", "no.such.host.invalid"], 78, "is not an address to listen on"),
            (["--port", "0"], 2, "--port"),
        ],
    )
    def test_address(self, installed: Installation, arguments: list[str], code: int, said: str) -> None:
        """An address that is not this machine's is an error that says so."""
        with serve(installed, *arguments) as process:
            assert process.wait() == code
        assert said in process.stderr

    def test_not_installed(self, tmp_path: Path) -> None:
        """Without an installation it says what to run; no traceback."""
        with serve(Installation(tmp_path / "data"), "--port", str(free_port())) as process:
            assert process.wait() == 78
        assert process.stderr.startswith("Error: ")
        assert "grantkeeper init" in process.stderr
        assert "Traceback" not in process.stderr


def stop_listening(process: Process, port: int) -> None:
    """Sends SIGTERM, and returns when the process takes no more connections."""

    def refused() -> bool | None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return True
        return None

    os.kill(process.pid, signal.SIGTERM)
    eventually(refused, within=10, what="waiting until it takes no more connections")


class TestWorker:
    """`grantkeeper worker`."""

    def test_start_and_stop(self, installed: Installation) -> None:
        """It runs until SIGTERM, and ends well."""
        directory = installed.directory
        worker = grantkeeper("worker", "--data-dir", str(directory), directory=directory.parent)
        with worker:
            worker.wait_for_line("worker.started", stream="stderr")
            assert worker.stop() == 0
        assert [event["event"] for event in events(worker)] == ["worker.started", "worker.stopped"]

    async def test_once(self, world: World, tmp_path: Path) -> None:
        """One round refreshes what is due, and says how many were tried and how they ended."""
        operator = beside(world, tmp_path)
        assert (await operator.meanwhile("worker", "--once")).stdout == "0 refreshes tried.\n"
        good, over = [await world.connect() for _ in range(2)]
        await fall_due(world)
        assert (await operator.meanwhile("worker", "--once")).stdout == "2 refreshes tried: 2 refreshed.\n"
        assert (await operator.meanwhile("worker", "--once")).stdout == "0 refreshes tried.\n"
        world.provider.fail_next(1, status=400, error="invalid_grant")
        await fall_due(world)
        told = (await operator.meanwhile("worker", "--once")).stdout
        assert told == "2 refreshes tried: 1 refreshed, 1 rejected.\n"
        assert {(await world.stored(one)).generation for one in (good, over)} == {2, 3}

    async def test_what_stays_due(self, world: World, tmp_path: Path) -> None:
        """A provider that refuses our client is tried by few; the others stay due, and it says why."""
        operator = beside(world, tmp_path)
        for _ in range(3):
            await world.connect()
        world.provider.rotate_client_secret(CLIENT_ID, "another")
        await fall_due(world)
        first = (await operator.meanwhile("worker", "--once")).stdout
        assert re.match(r"\d refresh(es)? tried: \d failing\.\n", first)
        await fall_due(world)
        # Until long after this test, however slow the machine is.
        await world.services.database.execute("UPDATE provider_states SET blocked_until = blocked_until + 3600000000")
        tried, left = (await operator.meanwhile("worker", "--once")).stdout.splitlines()
        assert tried == "0 refreshes tried."
        assert re.match(
            r"3 stay due at demo\. demo is paused since \S+ \S+; you must act\. Reason: .*invalid_client", left
        )

    async def test_progress_at_a_terminal(self, world: World, tmp_path: Path) -> None:
        """Standard error shows how far it is; standard output has the closing line and nothing else."""
        beside(world, tmp_path)
        for _ in range(3):
            await world.connect()
        await fall_due(world)
        output, screen = await asyncio.to_thread(at_a_terminal, tmp_path)
        assert output == "3 refreshes tried: 3 refreshed.\n"
        assert "3/3" in screen
        assert '"event"' not in screen, "the bar stands for the lines of good refreshes"


async def fall_due(world: World) -> None:
    """Have every connection due now, whatever its expiry."""
    await world.services.database.execute("UPDATE connections SET next_refresh_at = 0")


def at_a_terminal(directory: Path) -> tuple[str, str]:
    """What `worker --once` prints, and what it shows on a terminal that is its standard error."""
    environment = grantkeeper(directory=directory).environment | {"TERM": "xterm"}
    command = [sys.executable, "-m", "grantkeeper", "--data-dir", str(directory), "worker", "--once"]
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment)
        os.close(theirs)
        shown = bytearray()
        # A terminal whose program has ended answers with an error instead of the end.
        with suppress(OSError):
            while part := terminal.read(4096):
                shown += part
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, shown.decode()
    return output, shown.decode()
