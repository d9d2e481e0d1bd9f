"""Finding and adding users, accounts and passwords, as several commands do."""

from __future__ import annotations

import re
import secrets
import sys
import uuid
from typing import TYPE_CHECKING

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.errors import InvalidValue
from grantkeeper.model import Account, User, clean_label

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.storage.people import PeopleStore

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_LONGEST_EMAIL = 254

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it."
)


def clean_email(email: str) -> str:
    """The address as it is stored, in lower case; InvalidValue where it is none."""
    text = clean_label(email, "email").lower()
    if not _EMAIL.fullmatch(text) or len(text) > _LONGEST_EMAIL:
        raise InvalidValue({"email": [f"{text} is not an e-mail address."]})
    return text


async def find_user(people: PeopleStore, name: str) -> User:
    """The user of an e-mail address or UUID, or CommandFailed."""
    found = await people.get_user_by_email(name.strip().lower()) or await people.get_user(name.lower())
    if found is None:
        raise CommandFailed(f"There is no user {name}; see `grantkeeper users list`.", ExitCode.NOT_FOUND)
    return found[0]


async def find_account(people: PeopleStore, account_uuid: str) -> Account:
    """The account of that UUID, or CommandFailed."""
    for account in await people.list_accounts():
        if account.uuid == account_uuid.lower():
            return account
    raise CommandFailed(f"There is no account {account_uuid}; see `grantkeeper accounts list`.", ExitCode.NOT_FOUND)


async def add_user(services: Services, email: str, name: str, password: str) -> User:
    """A new user, or CommandFailed where the address is taken, InvalidValue where something cannot be."""
    from grantkeeper.sign_in import hash_password

    user = User(
        uuid=str(uuid.uuid4()),
        email=clean_email(email),
        name=clean_label(name, "name"),
        created_at=services.clock.now(),
    )
    if not await services.people.add_user(user, await hash_password(password)):
        raise CommandFailed(f"There is a user {user.email} already.")
    return user


async def add_account(services: Services, name: str, account_uuid: str | None = None) -> Account:
    """A new account, with a data keyset of its own."""
    return await services.people.add_account(
        account_uuid or str(uuid.uuid4()), clean_label(name, "name"), services.clock.now()
    )


async def add_login(services: Services, user: User, account: Account) -> bool:
    """Let a user into an account; False where that is so already."""
    return await services.people.add_login(str(uuid.uuid4()), user.uuid, account.uuid, services.clock.now())


def interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def new_password() -> str:
    """A password that nobody guesses: 120 random bits."""
    return secrets.token_urlsafe(15)


def choose_password(from_stdin: bool) -> tuple[str, bool]:
    """The password, and whether it was made up, as it is where nobody gives one, and must be shown."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n"), False
    if interactive():
        return click.prompt("Password", hide_input=True, confirmation_prompt=True), False
    return new_password(), True
