"""What every command may be told, and how it comes to its settings and services."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.config import Settings

T = TypeVar("T")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Options:
    """The options for every command; what is given behind the command's name wins."""

    def __init__(self) -> None:
        self.config: Path | None = None
        self.data_dir: Path | None = None
        self.debug = False

    def environment(self) -> dict[str, str]:
        """The environment, `--data-dir` put in like the setting, so that its `grantkeeper.toml` is read."""
        given = {"GRANTKEEPER_DATA_DIR": str(self.data_dir.absolute())} if self.data_dir else {}
        return {**os.environ, **given}

    def repeated(self) -> list[str]:
        """These options as they were given, for commands that we suggest."""
        given = {"--data-dir": self.data_dir, "--config": self.config}
        return [word for name, value in given.items() if value for word in (name, shlex.quote(str(value)))]

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Settings:
        """The settings in force; ConfigError with everything that is wrong with them."""
        from grantkeeper.config import load_settings

        return with_public_url(load_settings(self.environment(), self.config, overrides))

    def run(self, work: Callable[[Services], Awaitable[T]], settings: Settings | None = None) -> T:
        """Do something with the services of an installation, then close them."""
        from grantkeeper import logs
        from grantkeeper.app import open_services

        # A command says what happened by itself: only what went wrong beside it is worth a line.
        logs.configure("warning")

        async def opened() -> T:
            async with open_services(settings or self.settings()) as services:
                return await work(services)

        return asyncio.run(opened())


def with_public_url(settings: Settings) -> Settings:
    """Unless the operator says otherwise, people reach us where we listen."""
    if "public_url" in settings.model_fields_set:
        return settings
    local = settings.host in ("127.0.0.1", "::1", "localhost")
    host = settings.host if local else "127.0.0.1"
    address = f"[{host}]" if ":" in host else host
    return settings.model_copy(update={"public_url": f"http://{address}:{settings.port}"})


pass_options = click.make_pass_decorator(Options, ensure=True)


def settings_options(command: Decorated) -> Decorated:
    """Adds `--config` and `--data-dir`, before the command's name or behind it."""
    kind = click.Path(path_type=Path, dir_okay=False)
    folder = click.Path(path_type=Path, file_okay=False)
    for name, type_, help_ in (
        ("--data-dir", folder, "Where the embedded database and the root keyset live."),
        (
            "--config",
            kind,
            "The settings file; by default grantkeeper.toml in the data directory, if it is there.",
        ),
    ):
        command = click.option(name, type=type_, help=help_, expose_value=False, callback=_keep)(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def _keep(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        setattr(ctx.ensure_object(Options), str(parameter.name), value)
