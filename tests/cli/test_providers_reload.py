"""Definitions that are edited beside real processes: SIGHUP, and an edit alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.acme import ACME, own_folder
from tests.support.command_line import Installation
from tests.support.process import Process, free_port, grantkeeper

READ = r'^\{.*"definitions\.read".*$'
REFUSED = r'^\{.*"definitions\.refused".*$'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The operator's directory, with one definition in it."""
    return own_folder(tmp_path)


@pytest.fixture
def port() -> int:
    """Where it is served."""
    return free_port()


@pytest.fixture
def served(installed: Installation, own: Path, port: int) -> Iterator[Process]:
    """`grantkeeper serve` with that directory, started."""
    with command(installed, own, "serve", "--port", str(port)) as process:
        process.wait_for_line("serve.started", stream="stderr")
        yield process


def command(installed: Installation, own: Path, *arguments: str) -> Process:
    """A process that runs for good, not yet started."""
    directory = installed.directory
    settings = {"GRANTKEEPER_PROVIDERS_DIR": str(own)}
    arguments = (arguments[0], "--data-dir", str(directory), *arguments[1:])
    return grantkeeper(*arguments, directory=directory.parent, name=arguments[0], env=settings)


def logged(process: Process, name: str) -> list[dict[str, Any]]:
    """The events of that name."""
    return [event for line in process.stderr.splitlines() if (event := json.loads(line))["event"] == name]


def banner(port: int) -> str:
    """What the served process draws for the provider."""
    return httpx2.get(f"http://127.0.0.1:{port}/imgs/acme.svg", trust_env=False).raise_for_status().text


def test_sighup(served: Process, own: Path, port: int) -> None:
    """The process goes on, with the edited definition; a broken one is refused, and told; it still ends well."""
    assert ">Acme<" in banner(port)
    (own / "acme.toml").write_text(ACME.replace('"Acme"', '"Acme Corporation"'))
    os.kill(served.pid, signal.SIGHUP)
    served.wait_for_line(READ, stream="stderr")
    assert ">Acme Corporation<" in banner(port)
    (own / "acme.toml").write_text("schema = [")
    os.kill(served.pid, signal.SIGHUP)
    served.wait_for_line(REFUSED, stream="stderr")
    assert ">Acme Corporation<" in banner(port)
    refused = logged(served, "definitions.refused")[0]
    assert refused["provider"] == "acme"
    assert f"{own}/acme.toml: is not TOML" in refused["problems"][0]
    assert served.stop() == 0


def test_edit_alone(served: Process, own: Path, port: int) -> None:
    """Saving the file is enough."""
    (own / "acme.toml").write_text(ACME.replace('"Acme"', '"Acme Corporation"'))
    served.wait_for_line(READ, stream="stderr")
    assert ">Acme Corporation<" in banner(port)
    assert [event["changed"] for event in logged(served, "definitions.read")] == [["acme"]]
    assert served.stop() == 0


def test_worker(installed: Installation, own: Path) -> None:
    """The process that only refreshes does the same."""
    with command(installed, own, "worker") as process:
        process.wait_for_line("worker.started", stream="stderr")
        (own / "other.toml").write_text(ACME.replace('"acme"', '"other"'))
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for_line(READ, stream="stderr")
        assert logged(process, "definitions.read")[0]["changed"] == ["other"]
        assert process.stop() == 0


def test_sighup_without_a_directory(installed: Installation, port: int) -> None:
    """Nobody's process ends by it."""
    directory = installed.directory
    arguments = ("serve", "--data-dir", str(directory), "--port", str(port))
    with grantkeeper(*arguments, directory=directory.parent, name="serve") as process:
        process.wait_for_line("serve.started", stream="stderr")
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for_line("definitions.not_read", stream="stderr")
        process.wait_for_http(f"http://127.0.0.1:{port}/health")
        assert process.stop() == 0
