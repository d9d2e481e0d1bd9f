"""The command `grantkeeper` with its options for every command, and how errors end."""

from __future__ import annotations

import errno
import traceback
from typing import Any

import click

from grantkeeper import __version__
from grantkeeper.cli.accounts import accounts
from grantkeeper.cli.connections import connections
from grantkeeper.cli.demo import demo
from grantkeeper.cli.doctor import doctor
from grantkeeper.cli.exits import ExitCode, exit_code
from grantkeeper.cli.install import init, migrate
from grantkeeper.cli.keys import keys
from grantkeeper.cli.options import Options, settings_options
from grantkeeper.cli.providers import providers
from grantkeeper.cli.serve import serve, worker
from grantkeeper.cli.tokens import tokens
from grantkeeper.cli.users import users
from grantkeeper.errors import ConfigError, GrantkeeperError


class Command(click.Group):
    """Ends every error as docs/cli.md says: a message on standard error and an exit code, no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which one comes to need them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GrantkeeperError as error:
            _show(error)
            ctx.exit(exit_code(error))
        except (click.Abort, KeyboardInterrupt, EOFError):
            click.echo("Interrupted.", err=True)
            ctx.exit(ExitCode.INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                # Whoever read our output has seen enough: click ends quietly.
                raise
            ctx.exit(_system_error(error, ctx))
        except Exception as error:
            ctx.exit(_unexpected(error, ctx))


def _show(error: GrantkeeperError) -> None:
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        click.echo(f"{len(error.problems)} problems need you first:", err=True)
        for problem in error.problems:
            click.echo(f"  - {problem}", err=True)
    else:
        click.echo(f"Error: {error.message}", err=True)


def _system_error(error: OSError, ctx: click.Context) -> ExitCode:
    if error.filename is None or ctx.ensure_object(Options).debug:
        return _unexpected(error, ctx)
    click.echo(f"Error: {error.filename}: {error.strerror}", err=True)
    return ExitCode.FAILED


def _unexpected(error: Exception, ctx: click.Context) -> ExitCode:
    """Say where it happened; the error's own text, which may quote a value, only to who asks for it."""
    if ctx.ensure_object(Options).debug:
        traceback.print_exception(error)
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('grantkeeper/')[2]}:{place.lineno}"
        click.echo(f"Unexpected {type(error).__name__} at {where}; `grantkeeper --debug …` shows more.", err=True)
    return ExitCode.UNEXPECTED


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@settings_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error that nobody foresaw.")
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def grantkeeper(ctx: click.Context, debug: bool) -> None:
    """Keeps OAuth 2 connections: authorizes, refreshes, and hands out access tokens that work."""
    ctx.ensure_object(Options).debug = debug


for _command in (init, serve, demo, worker, migrate, doctor, users, accounts, tokens, providers, keys, connections):
    grantkeeper.add_command(_command)
