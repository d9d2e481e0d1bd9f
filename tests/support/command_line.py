"""The command line in a test: an installation of its own, and what its commands answered."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from grantkeeper import logs
from grantkeeper.cli.command import grantkeeper
from tests.support.world import CLIENT_ID, CLIENT_SECRET, World


class Installation:
    """Commands on one data directory, run inside this process.

    Of the settings in the environment of whoever runs the tests they see nothing, but what `environment` holds.
    """

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.environment = environment

    def run(self, *arguments: str, typed: str | None = None, code: int = 0) -> Result:
        """A command's answer, `typed` on its standard input; AssertionError where it ends in another code."""
        theirs = {name: None for name in os.environ if name.startswith("GRANTKEEPER_")}
        ours = {f"GRANTKEEPER_{name}": value for name, value in self.environment.items()}
        home = {"HOME": str(self.directory), "XDG_DATA_HOME": None}
        with _own_logging():
            result = CliRunner().invoke(
                grantkeeper,
                ["--data-dir", str(self.directory), *arguments],
                prog_name="grantkeeper",
                input=typed,
                env={**theirs, **home, **ours},
            )
        assert result.exit_code == code, f"exit code {result.exit_code}:\n{result.stderr}{result.stdout}"
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints with `--json`: one line."""
        result = self.run(*arguments, "--json", code=code)
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    async def meanwhile(self, *arguments: str, typed: str | None = None, code: int = 0) -> Result:
        """The same, while this event loop goes on serving what the command talks to."""
        return await asyncio.to_thread(self.run, *arguments, typed=typed, code=code)


def beside(world: World, directory: Path) -> Installation:
    """The command line on the data directory of a running product, set up by files."""
    secret = directory / "demo-client-secret"
    secret.write_text(f"{CLIENT_SECRET}\n", "utf-8")
    (directory / "grantkeeper.toml").write_text(
        f"""
        provider_timeout = 5
        provider_networks = ["127.0.0.1"]
        [clients.demo]
        client_id = "{CLIENT_ID}"
        client_secret_file = "{secret}"
        parameters = {{ base_url = "{world.provider.issuer}" }}
        """,
        "utf-8",
    )
    return Installation(directory)


@contextmanager
def _own_logging() -> Iterator[None]:
    """Commands set up logging for their process, which here is the tests'."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        logs.configure("warning", sys.__stderr__)
        root.handlers[:] = handlers
        root.setLevel(level)
