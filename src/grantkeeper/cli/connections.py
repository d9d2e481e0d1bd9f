"""`grantkeeper connections`: the operator's view of every account's connections."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from grantkeeper.cli import connection_view as view
from grantkeeper.cli.connect import connect
from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_facts, print_json, print_table, when
from grantkeeper.cli.people import find_account
from grantkeeper.model import ALL_SCOPES, Connection, Evidence, MustAct, Refresh, Status

if TYPE_CHECKING:
    from grantkeeper.access import Caller
    from grantkeeper.app import Services
    from grantkeeper.storage.refreshes import Footing

_PAGE = 500


@click.group(short_help="Look at connections, connect, refresh, disconnect.")
def connections() -> None:
    """Every account's connections: look, connect, refresh, disconnect. Shows no tokens."""


connections.add_command(connect)


@connections.command("list")
@click.option("--account", "account_uuid", metavar="UUID", help="This account's only.")
@json_option
@pass_options
def list_(options: Options, account_uuid: str | None, as_json: bool) -> None:
    """List connections, oldest first."""

    async def work(services: Services) -> list[tuple[str, Connection]]:
        people = services.people
        accounts = [await find_account(people, account_uuid)] if account_uuid else await people.list_accounts()
        return [(account.name, found) for account in accounts for found in await _all(services, account.uuid)]

    found = options.run(work)
    if as_json:
        print_json([view.record(connection) for _, connection in found])
        return
    print_table(
        ("Label", "Provider", "Account", "Status", "Token expires", "UUID"),
        [
            (c.label, c.provider, account, view.status(c), when(c.access_token_expires_at), c.uuid)
            for account, c in found
        ],
        "No connections yet; people make them on the pages.",
    )


@connections.command("show")
@click.argument("uuid")
@click.option(
    "--history",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="How many of its refreshes to show, the last ones.",
)
@json_option
@pass_options
def show(options: Options, uuid: str, history: int, as_json: bool) -> None:
    """Show a connection, what happened to it, and how its refreshes went, the last one first.

    Refreshes are remembered for as long as the setting `history_days` says; a running process writes them down
    within a second or two.
    """

    async def work(services: Services) -> tuple[Connection, Footing | None, Sequence[Evidence], list[Refresh]]:
        connection = await _find(services, uuid)
        footing = await services.refreshes.footing(connection.uuid)
        evidence = await services.store.evidence(connection.account_uuid, connection.uuid)
        return connection, footing, evidence, await services.refreshes.history(connection.uuid, history)

    connection, footing, evidence, refreshes = options.run(work)
    if as_json:
        print_json(
            {
                **view.record(connection),
                **(view.footing_record(footing) if footing else {}),
                "evidence": [view.evidence_record(line) for line in evidence],
                "refreshes": [view.refresh_record(line) for line in refreshes],
            }
        )
        return
    print_facts(view.facts(connection) | (view.footing_facts(footing) if footing else {}))
    click.echo()
    if history:
        print_table(
            ("Refreshed", "Outcome", "Took", "Token set", "Who must act", "By", "Reason"),
            [view.refresh_row(line) for line in refreshes],
            "No refresh of it is remembered.",
        )
        click.echo()
    print_table(
        ("When", "What", "By", "Request", "Detail"),
        [(when(e.at), e.action, e.actor, e.request_id, view.detail(e)) for e in evidence],
        "Nothing is recorded of it.",
    )


@connections.command("refresh")
@click.argument("uuid")
@json_option
@pass_options
def refresh(options: Options, uuid: str, as_json: bool) -> None:
    """Refresh a connection now, whatever its expiry."""

    async def work(services: Services) -> tuple[Connection, Connection]:
        before = await _find(services, uuid)
        return before, await services.refresher.refresh_now(before)

    before, after = options.run(work)
    refreshed = after.generation > before.generation
    if as_json:
        print_json({"refreshed": refreshed, **view.record(after)})
    elif refreshed:
        click.echo(f"Refreshed {after.label}; its token expires {when(after.access_token_expires_at) or 'never'}.")
    if not refreshed:
        raise _not_refreshed(after)


@connections.command("disconnect")
@click.argument("uuid")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def disconnect(options: Options, uuid: str, yes: bool) -> None:
    """Remove a connection and have its grant revoked at the provider."""

    async def look(services: Services) -> Connection:
        return await _find(services, uuid)

    async def work(services: Services) -> str:
        await services.connections.disconnect(_operator(found), found.uuid, f"cli-{secrets.token_hex(8)}")
        evidence = await services.store.evidence(found.account_uuid, found.uuid)
        return next((e.detail.get("outcome", "") for e in reversed(evidence) if e.action == "revocation"), "")

    found = options.run(look)
    if not yes:
        click.confirm(f"Disconnect {found.label} at {found.provider}? It cannot be undone", abort=True)
    outcome = {
        "revoked": "The provider revoked the grant.",
        "not_supported": "The provider knows no revocation: its user can end the grant there.",
        "": "The provider did not confirm the revocation yet; the worker goes on trying for a week.",
    }
    revocation = options.run(work)
    click.echo(f"Disconnected {found.label}. {outcome.get(revocation, f'Revocation: {revocation}.')}")


def _operator(connection: Connection) -> Caller:
    """Whoever may run this command may do all that the account's users may; the evidence says who it was."""
    from grantkeeper.access import Caller

    return Caller(user_uuid="", account=connection.account_uuid, scopes=ALL_SCOPES, actor="operator")


async def _find(services: Services, uuid: str) -> Connection:
    found = await services.store.find(uuid.strip().lower())
    if found is None:
        raise CommandFailed(f"There is no connection {uuid}; see `grantkeeper connections list`.", ExitCode.NOT_FOUND)
    return found


async def _all(services: Services, account_uuid: str) -> list[Connection]:
    from grantkeeper.storage.connections import Page

    found: list[Connection] = []
    while True:
        after = (found[-1].created_at, found[-1].uuid) if found else None
        page = await services.store.list_page(account_uuid, Page(limit=_PAGE, after=after))
        found += page
        if len(page) < _PAGE:
            return found


def _not_refreshed(connection: Connection) -> CommandFailed:
    if connection.status is Status.NEEDS_REAUTHORIZATION:
        what = "its user must authorize it again"
    elif connection.must_act is MustAct.OPERATOR:
        what = "you must act: `grantkeeper doctor` may say more"
    elif connection.failure:
        what = "it is tried again by itself"
    else:
        return CommandFailed(f"{connection.label} was not refreshed: it has no refresh token.")
    return CommandFailed(f"{connection.label} was not refreshed; {what}. Reason: {connection.failure}")
