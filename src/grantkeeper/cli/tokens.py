"""`grantkeeper tokens`: personal access tokens, with which programs call the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_json, print_table, timestamp, when
from grantkeeper.cli.people import find_account, find_user
from grantkeeper.clock import DAY, Instant
from grantkeeper.model import PersonalAccessToken, Scope, User

if TYPE_CHECKING:
    from grantkeeper.app import Services


@click.group()
def tokens() -> None:
    """Personal access tokens, with which programs call the API."""


@tokens.command("create")
@click.option("--user", "user_name", metavar="USER", required=True, help="Whose token: an e-mail address or UUID.")
@click.option("--name", required=True, help="What it is for, to recognise it by.")
@click.option(
    "--account",
    "account_uuid",
    metavar="UUID",
    help="Good in this account only; by default in all of the user's.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it allows; give it several times. By default `connections:read`.",
)
@click.option(
    "--expires-in-days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="How long it lasts.",
)
@json_option
@pass_options
def create(
    options: Options,
    user_name: str,
    name: str,
    account_uuid: str | None,
    scopes: tuple[str, ...],
    expires_in_days: int,
    as_json: bool,
) -> None:
    """Create a token. It is shown this once and kept nowhere."""
    allowed = frozenset(map(Scope, scopes)) or frozenset({Scope.CONNECTIONS_READ})

    async def work(services: Services) -> tuple[str, PersonalAccessToken, User]:
        user = await find_user(services.people, user_name)
        account = await _own_account(services, user, account_uuid) if account_uuid else None
        expires_at = services.clock.now() + expires_in_days * DAY
        token, record = await services.access.create_token(user.uuid, account, name, allowed, expires_at)
        return token, record, user

    token, record, user = options.run(work)
    if as_json:
        print_json({"token": token, **_record(record, user)})
        return
    click.echo(token)
    click.echo(f"Shown this once. It is {user.email}'s, until {when(record.expires_at)}.", err=True)


@tokens.command("list")
@click.option("--user", "user_name", metavar="USER", help="This user's only: an e-mail address or UUID.")
@json_option
@pass_options
def list_(options: Options, user_name: str | None, as_json: bool) -> None:
    """List tokens, dead ones too; never the tokens themselves."""

    async def work(services: Services) -> tuple[list[tuple[PersonalAccessToken, User]], Instant]:
        people = services.people
        users = [await find_user(people, user_name)] if user_name else await people.list_users()
        found = [(token, user) for user in users for token in await people.list_tokens(user.uuid)]
        return found, services.clock.now()

    found, now = options.run(work)
    if as_json:
        print_json([_record(token, user) for token, user in found])
        return
    print_table(
        ("Name", "User", "Scopes", "State", "Expires", "Last used", "UUID"),
        [
            (
                token.name,
                user.email,
                sorted(token.scopes),
                _state(token, now),
                when(token.expires_at),
                when(token.last_used_at),
                token.uuid,
            )
            for token, user in found
        ],
        "No tokens yet; `grantkeeper tokens create` makes one.",
    )


@tokens.command("revoke")
@click.argument("uuid")
@pass_options
def revoke(options: Options, uuid: str) -> None:
    """End a token. A running server stops honouring it within a second."""

    async def work(services: Services) -> bool:
        return await services.access.revoke_token(uuid.lower())

    if not options.run(work):
        raise CommandFailed(f"There is no living token {uuid}; see `grantkeeper tokens list`.", ExitCode.NOT_FOUND)
    click.echo(f"Revoked token {uuid}.")


async def _own_account(services: Services, user: User, account_uuid: str) -> str:
    account = await find_account(services.people, account_uuid)
    if all(login.account.uuid != account.uuid for login in await services.people.list_logins(user.uuid)):
        raise CommandFailed(f"{user.email} does not belong to {account.name}; see `grantkeeper accounts add-user`.")
    return account.uuid


def _state(token: PersonalAccessToken, now: Instant) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "good"


def _record(token: PersonalAccessToken, user: User) -> dict[str, object]:
    return {
        "uuid": token.uuid,
        "name": token.name,
        "user": user.email,
        "account_uuid": token.account_uuid,
        "scopes": sorted(token.scopes),
        "created_at": timestamp(token.created_at),
        "expires_at": timestamp(token.expires_at),
        "last_used_at": timestamp(token.last_used_at),
        "revoked_at": timestamp(token.revoked_at),
    }
