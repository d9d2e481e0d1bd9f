"""`grantkeeper users`: the people who sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grantkeeper.cli.exits import CommandFailed
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_json, print_table, timestamp, when
from grantkeeper.cli.people import (
    add_login,
    add_user,
    choose_password,
    clean_email,
    find_account,
    find_user,
    password_option,
)
from grantkeeper.model import Login, User

if TYPE_CHECKING:
    from grantkeeper.app import Services


@click.group()
def users() -> None:
    """The people who sign in."""


@users.command("add")
@click.argument("email")
@click.option("--name", help="What to call them; by default the e-mail address.")
@click.option("--account", "account_uuid", metavar="UUID", help="Let them into this account.")
@password_option
@json_option
@pass_options
def add(
    options: Options,
    email: str,
    name: str | None,
    account_uuid: str | None,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Add a user. Where nobody can be asked for a password, one is made up and shown once."""
    email = clean_email(email)
    password, made_up = choose_password(password_stdin)

    async def work(services: Services) -> User:
        account = await find_account(services.people, account_uuid) if account_uuid else None
        user = await add_user(services, email, name or email, password)
        if account:
            await add_login(services, user, account)
        return user

    user = options.run(work)
    if as_json:
        print_json({**_record(user), **({"password": password} if made_up else {})})
        return
    click.echo(f"Added {user.email} ({user.uuid}).")
    if made_up:
        click.echo(f"Password, shown this once: {password}")


@users.command("list")
@json_option
@pass_options
def list_(options: Options, as_json: bool) -> None:
    """List users and the accounts they belong to."""

    async def work(services: Services) -> list[tuple[User, list[Login]]]:
        people = services.people
        return [(user, await people.list_logins(user.uuid)) for user in await people.list_users()]

    found = options.run(work)
    if as_json:
        accounts = [[login.account.uuid for login in logins] for _, logins in found]
        print_json([{**_record(user), "accounts": of} for (user, _), of in zip(found, accounts, strict=True)])
        return
    print_table(
        ("E-mail", "Name", "Accounts", "Since", "UUID"),
        [
            (
                user.email,
                user.name,
                [login.account.name for login in logins],
                when(user.created_at),
                user.uuid,
            )
            for user, logins in found
        ],
        "No users yet; `grantkeeper users add EMAIL` adds one.",
    )


@users.command("set-password")
@click.argument("user")
@password_option
@pass_options
def set_password(options: Options, user: str, password_stdin: bool) -> None:
    """Change a password; every browser of the user is signed out. USER is an e-mail address or UUID."""
    password, made_up = choose_password(password_stdin)

    async def work(services: Services) -> str:
        from grantkeeper.sign_in import hash_password

        found = await find_user(services.people, user)
        await services.people.set_password(found.uuid, await hash_password(password))
        return found.email

    click.echo(f"{options.run(work)} has a new password.")
    if made_up:
        click.echo(f"Password, shown this once: {password}")


@users.command("delete")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def delete(options: Options, user: str, yes: bool) -> None:
    """Delete a user and end their tokens. Connections belong to accounts and stay. USER is as above."""
    if not yes:
        click.confirm(f"Delete {user} and end all their tokens and sessions?", abort=True)

    async def work(services: Services) -> str:
        found = await find_user(services.people, user)
        if not await services.people.delete_user(found.uuid, services.clock.now()):
            raise CommandFailed(f"{found.email} was deleted by somebody else just now.")
        return found.email

    click.echo(f"Deleted {options.run(work)}.")


def _record(user: User) -> dict[str, object]:
    return {
        "uuid": user.uuid,
        "email": user.email,
        "name": user.name,
        "created_at": timestamp(user.created_at),
    }
