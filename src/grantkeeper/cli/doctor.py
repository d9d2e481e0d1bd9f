"""`grantkeeper doctor`: is all well, and what to do where it is not."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options, settings_options
from grantkeeper.cli.output import print_json, print_table

if TYPE_CHECKING:
    from grantkeeper.cli.checks import Finding


@click.command(short_help="Check everything, and say what to do.")
@settings_options
@click.argument("provider", required=False)
@json_option
@pass_options
@click.pass_context
def doctor(ctx: click.Context, options: Options, provider: str | None, as_json: bool) -> None:
    """Check settings, database, keys, clock and each provider's endpoints, and say what to do.

    With PROVIDER only that one is checked. Changes nothing. Ends with exit code 1 where something failed.
    """
    from grantkeeper.cli.checks import FAIL, WARN

    with _busy(as_json):
        findings = asyncio.run(_findings(options, provider))
    failed = sum(finding.level == FAIL for finding in findings)
    warned = sum(finding.level == WARN for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": findings})
    else:
        print_table(
            ("", "Check", "Found", "What to do"),
            [(f.level, f.subject, f.found, f.advice) for f in findings],
            "Nothing to check.",
        )
        click.echo(f"{failed} failed, {warned} to look at." if failed or warned else "All is well.")
    if failed:
        ctx.exit(ExitCode.FAILED)


async def _findings(options: Options, name: str | None) -> list[Finding]:
    from grantkeeper.cli import checks
    from grantkeeper.cli.provider_checks import check_providers
    from grantkeeper.errors import ConfigError

    try:
        settings = options.settings()
    except ConfigError as error:
        return [
            checks.failed("settings", problem, "correct it; docs/settings.md says how") for problem in error.problems
        ]
    if name is not None:
        findings = await check_providers(settings, name)
        if not findings:
            raise CommandFailed(
                f"The catalogue has no provider {name}; see `grantkeeper providers list`.", ExitCode.NOT_FOUND
            )
        return findings
    findings = checks.check_settings(settings)
    findings += await checks.check_installation(settings)
    findings += await check_providers(settings)
    return findings


def _busy(as_json: bool) -> AbstractContextManager[Any]:
    """Something to look at while providers are waited for."""
    if as_json:
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("Checking…")
