"""`grantkeeper connections connect`: a connection made from a terminal, where the provider lets it be."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import click

from grantkeeper.cli import connection_view as view
from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_json, shown, when
from grantkeeper.cli.people import find_account, find_user
from grantkeeper.errors import InvalidValue
from grantkeeper.model import ALL_SCOPES, Connection, Login, Record, User, clean_label

if TYPE_CHECKING:
    from grantkeeper.access import Caller
    from grantkeeper.app import Services
    from grantkeeper.authorize import Completed, DevicePrompt


class Asked(Record, frozen=True):
    """What is to be connected, for whom, and what its grant needs besides."""

    provider: str
    user: str
    account: str | None
    subject: str | None
    source: str | None
    label: str | None
    values: dict[str, str]


@click.command("connect", short_help="Connect a provider without a browser here.")
@click.argument("provider")
@click.option("--user", "user_name", metavar="USER", required=True, help="Who connects it: an e-mail address or UUID.")
@click.option(
    "--account", "account_uuid", metavar="UUID", help="In which account; by default the only one of the user's."
)
@click.option("--subject", metavar="NAME", help="For whom to connect, where a signed statement says it (RFC 7523).")
@click.option("--source", metavar="UUID", help="The connection whose access is exchanged (RFC 8693).")
@click.option(
    "--value",
    "values",
    metavar="NAME=VALUE",
    multiple=True,
    help="What the provider's definition asks for each connection, such as `subdomain=acme`; repeat it for more.",
)
@click.option("--label", help="What to call the connection; by default it is named after the provider.")
@json_option
@pass_options
def connect(
    options: Options,
    provider: str,
    user_name: str,
    account_uuid: str | None,
    subject: str | None,
    source: str | None,
    values: tuple[str, ...],
    label: str | None,
    as_json: bool,
) -> None:
    """Connect a provider that needs no browser here: by a code typed in elsewhere, or without a person.

    Where a code has to be typed in, it is shown, and the command waits until that was done; Ctrl-C ends it. Providers
    at which a person signs in with a browser are connected on the pages: the command says where.
    """
    asked = Asked(
        provider=provider,
        user=user_name,
        account=account_uuid,
        subject=subject,
        source=source,
        label=clean_label(label) if label is not None else None,
        values=dict(_pair(value) for value in values),
    )

    async def work(services: Services) -> Connection:
        caller, request_id = await _caller(services, asked), f"cli-{secrets.token_hex(8)}"
        completed = await _connected(services, caller, asked, request_id)
        if asked.label is None:
            return completed.connection
        return await services.connections.set_label(caller, completed.connection.uuid, asked.label, request_id)

    made = options.run(work)
    if as_json:
        print_json(view.record(made))
        return
    whose = f", as {shown(made.identity)}" if made.identity else ""
    click.echo(f"Connected {shown(made.label)}{whose}: {made.uuid}")
    click.echo(f"Its token expires {when(made.access_token_expires_at) or 'never'}.")


async def _caller(services: Services, asked: Asked) -> Caller:
    """The user in the account; CommandFailed where they are not in it, or it has to be named."""
    from grantkeeper.access import Caller

    people = services.people
    user = await find_user(people, asked.user)
    account = await find_account(people, asked.account) if asked.account else None
    logins = [one for one in await people.list_logins(user.uuid) if account is None or one.account.uuid == account.uuid]
    return Caller(user_uuid=user.uuid, account=_only(logins, user).account.uuid, scopes=ALL_SCOPES, actor="operator")


def _only(logins: list[Login], user: User) -> Login:
    if not logins:
        raise CommandFailed(f"{user.email} is not in that account; see `grantkeeper users list`.", ExitCode.NOT_FOUND)
    if len(logins) > 1:
        accounts = ", ".join(f"{login.account.uuid} ({shown(login.account.name)})" for login in logins)
        raise CommandFailed(f"{user.email} is in several accounts; choose one with --account: {accounts}.")
    return logins[0]


async def _connected(services: Services, caller: Caller, asked: Asked, request_id: str) -> Completed:
    """By whatever grant the provider's definition names."""
    grant = await services.authorizations.grant_of(asked.provider)
    if grant == "authorization_code":
        page = f"{services.settings.public_url}/oauth/{asked.provider}/authorize"
        raise CommandFailed(f"{asked.provider} is connected with a browser. Open {page} and sign in as {asked.user}.")
    try:
        if grant == "device_code":
            return await _by_code(services, caller, asked.provider, asked.values, request_id)
        return await services.authorizations.connect_directly(
            caller,
            asked.provider,
            request_id,
            subject=asked.subject,
            source_uuid=asked.source,
            parameters=asked.values,
        )
    except InvalidValue as error:
        field = next(iter(error.errors))
        option = f"--{field}" if field in ("subject", "source") else f"--value {field}=…"
        raise CommandFailed(f"{error.message} Give it with {option}.") from None


def _pair(value: str) -> tuple[str, str]:
    name, equals, given = value.partition("=")
    if not equals or not name:
        raise click.BadParameter("must be NAME=VALUE, such as subdomain=acme", param_hint="--value")
    return name, given


async def _by_code(
    services: Services, caller: Caller, provider: str, values: dict[str, str], request_id: str
) -> Completed:
    """Shows the code, and waits until somebody has typed it in (RFC 8628 §3.3, §3.4)."""
    from grantkeeper.authorize import Completed

    browser = secrets.token_urlsafe(32)
    handle = await services.authorizations.start_device(caller, provider, browser, None, None, values)
    told = False
    try:
        while True:
            found = await services.authorizations.poll_device(provider, handle, browser, request_id)
            if isinstance(found, Completed):
                return found
            if not told:
                _tell(found)
                told = True
            await services.clock.sleep(found.interval)
    except asyncio.CancelledError:
        if not await services.authorizations.abandon(provider, handle, browser):
            click.echo("It had been agreed to already; see `grantkeeper connections list`.", err=True)
        raise


def _tell(prompt: DevicePrompt) -> None:
    """On standard error: standard output is for what came of it."""
    click.echo(f"To connect {shown(prompt.label)}, open {prompt.verification_uri} on any device,", err=True)
    click.echo("sign in there, and type in this code:", err=True)
    click.echo(f"\n    {shown(prompt.user_code)}\n", err=True)
    if prompt.verification_uri_complete:
        click.echo(f"Or open {prompt.verification_uri_complete}", err=True)
    click.echo(f"Waiting until {when(prompt.expires_at)}; Ctrl-C ends it.", err=True)
