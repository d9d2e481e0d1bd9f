"""`grantkeeper accounts`: the tenants, and who belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_json, print_table, timestamp, when
from grantkeeper.cli.people import add_account, add_login, find_account, find_user
from grantkeeper.model import Account, Login

if TYPE_CHECKING:
    from grantkeeper.app import Services

account_option = click.option(
    "--account",
    "account_uuid",
    metavar="UUID",
    required=True,
    help="The account; `accounts list` shows its UUID.",
)


@click.group()
def accounts() -> None:
    """The tenants, and who belongs to them."""


@accounts.command("add")
@click.argument("name")
@json_option
@pass_options
def add(options: Options, name: str, as_json: bool) -> None:
    """Add an account."""

    async def work(services: Services) -> Account:
        return await add_account(services, name)

    account = options.run(work)
    if as_json:
        print_json(_record(account, []))
    else:
        click.echo(f"Added account {account.name} ({account.uuid}).")


@accounts.command("list")
@json_option
@pass_options
def list_(options: Options, as_json: bool) -> None:
    """List accounts and their users."""

    async def work(services: Services) -> list[tuple[Account, list[Login]]]:
        people = services.people
        return [(account, await people.list_account_logins(account.uuid)) for account in await people.list_accounts()]

    found = options.run(work)
    if as_json:
        print_json([_record(account, logins) for account, logins in found])
        return
    print_table(
        ("Name", "Users", "Since", "UUID"),
        [
            (account.name, [login.user.email for login in logins], when(account.created_at), account.uuid)
            for account, logins in found
        ],
        "No accounts yet; `grantkeeper accounts add NAME` adds one.",
    )


@accounts.command("add-user")
@click.argument("user")
@account_option
@pass_options
def add_user(options: Options, user: str, account_uuid: str) -> None:
    """Let a user into an account. USER is an e-mail address or UUID."""

    async def work(services: Services) -> tuple[str, str, bool]:
        found = await find_user(services.people, user)
        account = await find_account(services.people, account_uuid)
        return found.email, account.name, await add_login(services, found, account)

    email, name, new = options.run(work)
    click.echo(f"{email} now belongs to {name}." if new else f"{email} belongs to {name} already.")


@accounts.command("remove-user")
@click.argument("user")
@account_option
@pass_options
def remove_user(options: Options, user: str, account_uuid: str) -> None:
    """End a membership; the user's tokens for that account stop working. USER is as above."""

    async def work(services: Services) -> tuple[str, str]:
        found = await find_user(services.people, user)
        account = await find_account(services.people, account_uuid)
        if not await services.people.delete_login(found.uuid, account.uuid):
            raise CommandFailed(f"{found.email} does not belong to {account.name}.", ExitCode.NOT_FOUND)
        return found.email, account.name

    email, name = options.run(work)
    click.echo(f"{email} no longer belongs to {name}.")


def _record(account: Account, logins: list[Login]) -> dict[str, object]:
    return {
        "uuid": account.uuid,
        "name": account.name,
        "created_at": timestamp(account.created_at),
        "users": [login.user.email for login in logins],
    }
