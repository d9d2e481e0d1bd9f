"""`grantkeeper connections`: the operator's view of every account's connections."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_facts, print_json, print_table, timestamp, when
from grantkeeper.cli.people import find_account
from grantkeeper.model import ALL_SCOPES, Connection, Evidence, MustAct, Status

if TYPE_CHECKING:
    from grantkeeper.access import Caller
    from grantkeeper.app import Services

_PAGE = 500


@click.group(short_help="Look at connections, refresh, disconnect.")
def connections() -> None:
    """Every account's connections: look, refresh, disconnect. Shows no tokens."""


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
        print_json([_record(connection) for _, connection in found])
        return
    print_table(
        ("Label", "Provider", "Account", "Status", "Token expires", "UUID"),
        [(c.label, c.provider, account, _status(c), when(c.access_token_expires_at), c.uuid) for account, c in found],
        "No connections yet; people make them on the pages.",
    )


@connections.command("show")
@click.argument("uuid")
@json_option
@pass_options
def show(options: Options, uuid: str, as_json: bool) -> None:
    """Show a connection and what happened to it."""

    async def work(services: Services) -> tuple[Connection, Sequence[Evidence]]:
        connection = await _find(services, uuid)
        return connection, await services.store.evidence(connection.account_uuid, connection.uuid)

    connection, evidence = options.run(work)
    if as_json:
        print_json({**_record(connection), "evidence": [_evidence_record(line) for line in evidence]})
        return
    print_facts(_facts(connection))
    click.echo()
    print_table(
        ("When", "What", "By", "Request", "Detail"),
        [(when(e.at), e.action, e.actor, e.request_id, _detail(e)) for e in evidence],
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
        print_json({"refreshed": refreshed, **_record(after)})
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


def _status(connection: Connection) -> str:
    who = {MustAct.USER: "its user must act", MustAct.OPERATOR: "you must act", MustAct.NOBODY: ""}
    hint = who[connection.must_act]
    return f"{connection.status.value} ({hint})" if hint else connection.status.value


def _facts(connection: Connection) -> dict[str, object]:
    return {
        "Label": connection.label,
        "UUID": connection.uuid,
        "Account": connection.account_uuid,
        "Provider": connection.provider,
        "Client id": connection.client_id,
        "Connected as": connection.identity or connection.subject,
        "Scopes": connection.scopes,
        "Status": _status(connection),
        "Last failure": connection.failure,
        "Failures in a row": connection.failures or None,
        "Created": when(connection.created_at),
        "Updated": when(connection.updated_at),
        "Token expires": when(connection.access_token_expires_at) or "never",
        "Refreshable": connection.refreshable,
        "Refresh token expires": when(connection.refresh_token_expires_at) or "never, or not known",
        "Last refreshed": when(connection.refreshed_at),
        "Next refresh": when(connection.next_refresh_at),
        "Token sets so far": connection.generation,
    }


def _record(connection: Connection) -> dict[str, object]:
    return {
        "uuid": connection.uuid,
        "account_uuid": connection.account_uuid,
        "label": connection.label,
        "provider": connection.provider,
        "client_id": connection.client_id,
        "status": connection.status.value,
        "must_act": connection.must_act.value,
        "failure": connection.failure,
        "failures": connection.failures,
        "scopes": list(connection.scopes),
        "subject": connection.subject,
        "identity": connection.identity,
        "created_at": timestamp(connection.created_at),
        "updated_at": timestamp(connection.updated_at),
        "access_token_expires_at": timestamp(connection.access_token_expires_at),
        "refresh_token_expires_at": timestamp(connection.refresh_token_expires_at),
        "refreshable": connection.refreshable,
        "refreshed_at": timestamp(connection.refreshed_at),
        "next_refresh_at": timestamp(connection.next_refresh_at),
        "generation": connection.generation,
    }


def _evidence_record(evidence: Evidence) -> dict[str, object]:
    return {
        "at": timestamp(evidence.at),
        "action": evidence.action,
        "actor": evidence.actor,
        "request_id": evidence.request_id,
        "detail": evidence.detail,
    }


def _detail(evidence: Evidence) -> str:
    return ", ".join(f"{name}: {value}" for name, value in evidence.detail.items())
