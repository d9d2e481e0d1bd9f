"""`grantkeeper doctor`: is all well, and what to do where it is not."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options, settings_options
from grantkeeper.cli.output import print_json, print_table, shown

if TYPE_CHECKING:
    from grantkeeper.cli.checks import Finding
    from grantkeeper.cli.provider_checks import Report
    from grantkeeper.oauth.aspect import Aspect


@click.command(short_help="Check everything, and say what to do.")
@settings_options
@click.argument("provider", required=False)
@json_option
@pass_options
@click.pass_context
def doctor(ctx: click.Context, options: Options, provider: str | None, as_json: bool) -> None:
    """Check settings, database, keys, clock and each provider's endpoints, and say what to do.

    With PROVIDER only that one is checked, and what its server announces is compared with what is used of it, so that
    no safer option is left unused. Changes nothing. Ends with exit code 1 where something failed.
    """
    from grantkeeper.cli.checks import FAIL, WARN
    from grantkeeper.cli.provider_checks import level_of

    with _busy(as_json):
        report = asyncio.run(_report(options, provider))
    levels = [finding.level for finding in report.findings] + [level_of(aspect) for aspect in report.aspects]
    failed, warned = levels.count(FAIL), levels.count(WARN)
    if as_json:
        posture = [_aspect_record(aspect) for aspect in report.aspects]
        compared = {"posture": posture} if provider is not None else {}
        print_json({"ok": not failed, "checks": report.findings, **compared})
    else:
        _show(report)
        click.echo(f"{failed} failed, {warned} to look at." if failed or warned else "All is well.")
    if failed:
        ctx.exit(ExitCode.FAILED)


def _show(report: Report) -> None:
    print_table(
        ("", "Check", "Found", "What to do"),
        [(f.level, f.subject, f.found, f.advice) for f in report.findings],
        "Nothing to check.",
    )
    if report.aspects:
        click.echo()
        _compare(report)


def _compare(report: Report) -> None:
    """A table, and below it, in lines that can be copied, what to do."""
    from grantkeeper.cli.provider_checks import advice_of, level_of

    print_table(
        ("", "Topic", "The server supports", "We use", "Standard"),
        [(level_of(a), a.topic, a.supported, a.used, a.rfc) for a in report.aspects],
        "Nothing to compare.",
    )
    click.echo()
    for aspect in report.aspects:
        if advice := advice_of(aspect):
            click.echo(shown(f"{aspect.topic}: {advice}"))
    click.echo(f"Keys are set in {report.key_place}; see docs/providers.md.")


def _aspect_record(aspect: Aspect) -> dict[str, Any]:
    import msgspec

    from grantkeeper.cli.provider_checks import level_of

    return {"level": level_of(aspect), **msgspec.structs.asdict(aspect)}


async def _report(options: Options, name: str | None) -> Report:
    from grantkeeper.cli import checks
    from grantkeeper.cli.key_checks import check_keys
    from grantkeeper.cli.provider_checks import Report, check_providers
    from grantkeeper.errors import ConfigError

    try:
        settings = options.settings()
    except ConfigError as error:
        advice = "correct it; docs/settings.md says how"
        return Report(findings=[checks.failed("settings", problem, advice) for problem in error.problems])
    report = await check_providers(settings, name)
    if name is None:
        ours: list[Finding] = [*checks.check_settings(settings), *await checks.check_installation(settings)]
        return Report(findings=[*ours, *await check_keys(settings), *report.findings])
    if not report.findings:
        raise CommandFailed(
            f"The catalogue has no provider {name}; see `grantkeeper providers list`.", ExitCode.NOT_FOUND
        )
    return report


def _busy(as_json: bool) -> AbstractContextManager[Any]:
    """Something to look at while providers are waited for."""
    if as_json:
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("Checking…")
