"""`grantkeeper demo`: everything in one process, with a provider to connect to, set up by itself."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from grantkeeper import logs
from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.install import create_keyset
from grantkeeper.cli.options import Options, json_option, pass_options, settings_options
from grantkeeper.cli.output import print_json
from grantkeeper.cli.people import add_account, add_login, add_user, new_password
from grantkeeper.errors import ConfigError

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.config import Settings
    from grantkeeper.testing import FakeProvider

HOST = "127.0.0.1"
"""Nowhere else: the demo provider lets anybody be anybody."""
FIRST_PORT = 8080
PORTS = 20
"""How many ports are tried, from the first, before any free one is taken."""
MOUNT = "/demo-provider"
_EMAIL, _NAME, _ACCOUNT = "ada@example.com", "Ada Lovelace", "Demo"
_FILE = "demo.json"
_PROVIDER_STATE = "demo-provider.sqlite3"
# A demo has its own of all these, whatever the environment says of the real installation.
_NOT_FOR_DEMOS = ("CONFIG", "DATABASE_URL", "ROOT_KEYSET", "PUBLIC_URL", "HOST", "PORT", "CLIENTS")


class Credentials(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a demo prints, kept so that the next start prints the same. Its `repr` shows no secret."""

    account_uuid: str
    password: str
    client_id: str
    client_secret: str
    email: str = _EMAIL
    token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.email!r})"


@click.command(short_help="Try everything on this machine, with a demo provider.")
@settings_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"By default the first free one from {FIRST_PORT}; 0: any free one.",
)
@json_option
@pass_options
def demo(options: Options, port: int | None, as_json: bool) -> None:
    """Run everything on this machine, with a demo provider to connect to. Needs no settings.

    What it keeps stays in the data directory (by default `demo` inside the usual one), so that the next
    start goes on. With `--json`, standard output is one line, printed once the demo serves: an object with
    `url`, `token`, `email`, `password` and `account_uuid`.
    """
    from grantkeeper.cli.server import listening_address

    folder = _folder(options)
    credentials = _credentials(folder)
    address, port = _any_port() if port is None else listening_address(HOST, port)
    settings = _settings(options, folder, port, credentials)
    logs.configure(settings.log_level)
    create_keyset(settings)

    def ready() -> None:
        (_print_record if as_json else _tell)(settings, credentials)

    _serve(settings, credentials, address, ready)


def _folder(options: Options) -> Path:
    """The demo's data directory; CommandFailed where it holds something else than a demo."""
    from grantkeeper.config import Settings

    usual = options.environment().get("GRANTKEEPER_DATA_DIR") or Settings().data_dir
    folder = (options.data_dir or Path(usual) / "demo").absolute()
    if (folder / "grantkeeper.sqlite3").exists() and not (folder / _FILE).exists():
        raise CommandFailed(
            f"{folder} holds an installation that is not a demo; give the demo a directory of its own with --data-dir.",
            ExitCode.CONFIGURATION,
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _credentials(folder: Path) -> Credentials:
    """Those of the last start, or new ones."""
    file = folder / _FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Credentials)
    except FileNotFoundError:
        credentials = Credentials(
            account_uuid=str(uuid.uuid4()),
            password=new_password(),
            client_id=f"demo-{secrets.token_hex(8)}",
            client_secret=secrets.token_urlsafe(32),
        )
        _save(folder, credentials)
        return credentials
    except msgspec.DecodeError:
        problem = f"{file}: is not what a demo writes; delete {folder} to start anew"
    raise ConfigError([problem])


def _save(folder: Path, credentials: Credentials) -> None:
    """Replace the file as a whole, so that a crash leaves the old one or the new one."""
    new = folder / f"{_FILE}.new"
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.encode(credentials))
    new.replace(folder / _FILE)


def _any_port() -> tuple[str, int]:
    from grantkeeper.cli.server import listening_address

    for port in (*range(FIRST_PORT, FIRST_PORT + PORTS), 0):
        try:
            return listening_address(HOST, port)
        except CommandFailed as error:
            refusal = error
    raise refusal


def _settings(options: Options, folder: Path, port: int, credentials: Credentials) -> Settings:
    """The settings of the demo: its own directory's file and the harmless part of the environment count."""
    from grantkeeper.config import load_settings

    url = f"http://{HOST}:{port}"
    overrides: Mapping[str, Any] = {
        "public_url": url,
        "host": HOST,
        "port": port,
        "provider_networks": [HOST],
        "clients": {
            "demo": {
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
                "parameters": {"base_url": url + MOUNT},
            }
        },
    }
    settings = load_settings(_environment(folder), options.config, overrides)
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})
    return settings


def _environment(folder: Path) -> dict[str, str]:
    def kept(name: str) -> bool:
        setting = name.removeprefix("GRANTKEEPER_").removesuffix("_FILE").partition("__")[0]
        return not name.startswith("GRANTKEEPER_") or setting not in _NOT_FOR_DEMOS

    ours = {name: value for name, value in os.environ.items() if kept(name)}
    return {**ours, "GRANTKEEPER_DATA_DIR": str(folder)}


def _serve(settings: Settings, credentials: Credentials, address: str, ready: Callable[[], None]) -> None:
    import uvloop

    from grantkeeper.app import Application
    from grantkeeper.cli.serve import DRAIN_SLACK
    from grantkeeper.cli.server import serve_until_stopped

    provider = _provider(settings, credentials)

    async def prepare(services: Services) -> None:
        await _ensure_people(services, credentials)
        _save(settings.data_dir, credentials)
        ready()

    try:
        application = Application(settings, mounts={MOUNT: provider})
        patience = settings.provider_timeout + DRAIN_SLACK
        uvloop.run(serve_until_stopped(application, address, settings.port, patience, prepare))
    finally:
        provider.close()


def _provider(settings: Settings, credentials: Credentials) -> FakeProvider:
    from grantkeeper.clock import SystemClock
    from grantkeeper.testing import DEMO_SCOPES, FakeClient, FakeProvider

    client = FakeClient(
        client_id=credentials.client_id,
        client_secret=credentials.client_secret,
        redirect_uris=(f"{settings.public_url}/oauth/demo/callback",),
    )
    return FakeProvider(
        settings.public_url + MOUNT,
        [client],
        SystemClock(),
        path=settings.data_dir / _PROVIDER_STATE,
        scopes={**DEMO_SCOPES, "offline_access": "Stay connected while you are away"},
        settings_page=True,
    )


async def _ensure_people(services: Services, credentials: Credentials) -> None:
    """The user, the account and a token that works, each made where it is not there."""
    from grantkeeper.access import TOKEN_LIFETIME, hash_token
    from grantkeeper.model import ALL_SCOPES

    people, now = services.people, services.clock.now()
    accounts = {account.uuid: account for account in await people.list_accounts()}
    account = accounts.get(credentials.account_uuid) or await add_account(services, _ACCOUNT, credentials.account_uuid)
    found = await people.get_user_by_email(credentials.email)
    user = found[0] if found else await add_user(services, credentials.email, _NAME, credentials.password)
    await add_login(services, user, account)
    if not credentials.token or await people.get_live_token(hash_token(credentials.token), now) is None:
        credentials.token, _ = await services.access.create_token(
            user.uuid, account.uuid, "Demo", ALL_SCOPES, now + TOKEN_LIFETIME
        )


def _print_record(settings: Settings, credentials: Credentials) -> None:
    print_json(
        {
            "url": settings.public_url,
            "token": credentials.token,
            "email": credentials.email,
            "password": credentials.password,
            "account_uuid": credentials.account_uuid,
        }
    )


def _tell(settings: Settings, credentials: Credentials) -> None:
    url = settings.public_url
    click.echo(f"""\
Grantkeeper's demo runs at  {url}

  e-mail     {credentials.email}
  password   {credentials.password}
  API token  {credentials.token}

Open the address, sign in and connect the demo provider. Then, in another terminal:

  curl -H "Authorization: Bearer {credentials.token}" {url}/api/v1/oauth/connections

The provider's own page, where you can shorten its tokens' life or withdraw a grant: {url}{MOUNT}/
All of it is kept in {settings.data_dir}
Ctrl-C stops it.""")
