"""`grantkeeper init` and `grantkeeper migrate`: from nothing, or an older release, to what `serve` wants."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grantkeeper.cli.options import Options, json_option, pass_options, settings_options
from grantkeeper.cli.output import print_json
from grantkeeper.cli.people import (
    add_account,
    add_login,
    add_user,
    choose_password,
    clean_email,
    interactive,
    password_option,
)
from grantkeeper.errors import ConfigError
from grantkeeper.model import Record

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.config import Settings


class _FirstUser(Record, frozen=True):
    """Who was added, `password` only where it was made up. Its `repr` does not show it."""

    email: str
    account_uuid: str
    account_name: str
    password: str | None

    def __repr__(self) -> str:
        return f"_FirstUser({self.email!r})"


@click.command(short_help="Set up an installation.")
@settings_options
@click.option("--email", help="The first user's e-mail address; asked for where it is not given.")
@click.option("--name", help="The first user's name; asked for, or the e-mail address.")
@click.option("--account", "account_name", default="Main", show_default=True, help="The first account's name.")
@password_option
@json_option
@pass_options
def init(
    options: Options,
    email: str | None,
    name: str | None,
    account_name: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Set up an installation: data directory, settings file, database, root keyset, first user and account.

    What is there already is left as it is. Where nobody can be asked for a password, one is made up and
    shown once.
    """
    file, created = _ensure_settings_file(options)
    settings = options.settings()
    before, after = bring_up(settings)
    if create_keyset(settings):
        created.append(settings.keyset_path)
    first = None
    if options.run(_count_users, settings) == 0:
        first = _add_first_user(options, settings, email, name, account_name, password_stdin)
    if as_json:
        _print_record(settings, created, after, first)
        return
    for path in created:
        click.echo(f"Created {path}")
    click.echo(f"Created the database, schema {after}." if before is None else f"The database has schema {after}.")
    _tell(options, file, settings, first)


@click.command()
@settings_options
@pass_options
def migrate(options: Options) -> None:
    """Bring the database to the schema of this release. Does nothing where that is so already."""
    before, after = bring_up(options.settings())
    if before == after:
        click.echo(f"The database has schema {after} already.")
    else:
        click.echo(f"Brought the database from {before or 'nothing'} to schema {after}.")


def bring_up(settings: Settings) -> tuple[str | None, str]:
    """The database's revision before and after; ConfigError where it is newer than ours."""
    return asyncio.run(_bring_up(settings.database))


def create_keyset(settings: Settings) -> bool:
    """Make the root keyset where there is none; ConfigError where the database was sealed with another."""
    from grantkeeper.crypto import create_root_keyset

    if settings.root_keyset is not None or settings.keyset_path.exists():
        return False
    if wanted := asyncio.run(_sealed_with(settings.database)):
        keys = ", ".join(map(str, sorted(wanted)))
        raise ConfigError(
            [
                f"{settings.keyset_path}: there is no root keyset, but the database was sealed with "
                f"key {keys}; restore that keyset from your backup: a new one would open nothing"
            ]
        )
    create_root_keyset(settings.keyset_path)
    return True


async def _bring_up(url: str) -> tuple[str | None, str]:
    from grantkeeper.storage.inspection import revision_of
    from grantkeeper.storage.migrate import check_revision, known_revisions, migrate, open_database

    before = await revision_of(url)
    if not check_revision(before):
        if url.startswith("sqlite:///"):
            # Opening creates the file, so that nobody else may read it, and migrates.
            await (await open_database(url)).close()
        else:
            await asyncio.to_thread(migrate, url)
    return before, known_revisions()[-1]


async def _sealed_with(url: str) -> set[int]:
    from grantkeeper.storage.inspection import inspected, root_key_ids

    async with inspected(url) as database:
        return await root_key_ids(database) if database else set()


def _ensure_settings_file(options: Options) -> tuple[Path, list[Path]]:
    """The settings file, and what was created: the file itself where there was none."""
    from grantkeeper.cli.settings_file import write_settings_file
    from grantkeeper.config import Settings

    environment = options.environment()
    folder = Path(environment.get("GRANTKEEPER_DATA_DIR") or Settings().data_dir)
    named = options.config or environment.get("GRANTKEEPER_CONFIG")
    file = Path(named) if named else folder / "grantkeeper.toml"
    return file, [file] if write_settings_file(file) else []


async def _count_users(services: Services) -> int:
    return len(await services.people.list_users())


def _add_first_user(
    options: Options,
    settings: Settings,
    email: str | None,
    name: str | None,
    account_name: str,
    password_stdin: bool,
) -> _FirstUser:
    if email is None:
        if not interactive():
            raise click.UsageError("Nobody can be asked for the first user's e-mail address: give it with --email.")
        email = click.prompt("Your e-mail address")
    address = clean_email(str(email))
    if name is None:
        name = click.prompt("Your name", default=address) if interactive() else address
    password, made_up = choose_password(password_stdin)

    async def work(services: Services) -> _FirstUser:
        user = await add_user(services, address, str(name), password)
        account = await add_account(services, account_name)
        await add_login(services, user, account)
        return _FirstUser(
            email=address,
            account_uuid=account.uuid,
            account_name=account.name,
            password=password if made_up else None,
        )

    return options.run(work, settings)


def _print_record(settings: Settings, created: list[Path], schema: str, first: _FirstUser | None) -> None:
    record: dict[str, object] = {
        "created": list(map(str, created)),
        "schema": schema,
        "url": settings.public_url,
        "email": first.email if first else None,
        "account_uuid": first.account_uuid if first else None,
    }
    if first and first.password:
        record["password"] = first.password
    print_json(record)


def _tell(options: Options, file: Path, settings: Settings, first: _FirstUser | None) -> None:
    if first:
        click.echo(f"Added {first.email} and the account {first.account_name} ({first.account_uuid}).")
        if first.password:
            click.echo(f"Password, shown this once: {first.password}")
    else:
        click.echo("There are users already: none was added.")
    if settings.root_keyset is None:
        click.echo(f"\nKeep a copy of {settings.keyset_path} apart from the database's backups:")
        click.echo("without it nobody can read the tokens in the database, with both anybody can.")
    ours = " ".join(["grantkeeper", *options.repeated()])
    click.echo(f"\nNext:\n  1. Put the client id and secret of each provider into {file}")
    click.echo(f"  2. {ours} doctor    says whether all is well, and what to do where it is not")
    click.echo(f"  3. {ours} serve     then open {settings.public_url}")
