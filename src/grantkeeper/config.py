"""Settings: defaults < TOML file < environment, parsed once, every problem reported together.

Environment names are `GRANTKEEPER_` and the setting's name in capitals; `__` steps into a table
(`GRANTKEEPER_CLIENTS__XERO__CLIENT_ID`). Every secret may be given as a path instead, by the same
name with `_FILE` at its end (`..._CLIENT_SECRET_FILE`) or `_file` in the TOML file.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from grantkeeper.errors import ConfigError

PREFIX = "GRANTKEEPER_"
_SECRETS = ("database_url", "root_keyset", "client_secret", "metrics_token")
# The root keyset's file is a setting of its own, read when it is needed.
_READ_HERE = ("database_url", "metrics_token")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# A last label of digits would be an address, written wrong.
_HOST = re.compile(r"(?:[\w-]{1,63}\.)*(?!\d+\.?$|0x)[\w-]{1,63}\.?", re.ASCII)


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "grantkeeper"


def _words(value: object) -> object:
    """A list, or its members in one string, separated by commas or spaces."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


Words = Annotated[list[str], BeforeValidator(_words)]


def _secure_url(value: str) -> SplitResult:
    parts = urlsplit(value)
    if not value.isprintable() or " " in value:
        raise ValueError("must not contain spaces or control characters")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an absolute http(s) URL, such as https://connections.example.com")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("must be https; plain http is accepted for this machine (127.0.0.1, localhost) only")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must not carry a user, a password or a fragment")
    with suppress(ValueError):
        if parts.port != 0:
            return parts
    raise ValueError("must have a port from 1 to 65535, or none")


def _network_or_host(word: str) -> None:
    with suppress(ValueError):
        ip_network(word)
        return
    if not _HOST.fullmatch(word):
        raise ValueError(
            "must hold addresses, networks by their first address, or host names, "
            "such as 127.0.0.1, 10.1.0.0/16 or idp.internal"
        )


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.lower()}"


class ClientSettings(BaseModel):
    """Our registration at one provider, `[clients.NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    client_id: str | None = Field(None, description="The client id that the provider gave.")
    client_secret: SecretStr | None = Field(None, description="The client secret that the provider gave.")
    authorization_url: str | None = Field(
        None, description="The authorization endpoint, where the catalogue leaves it to the operator."
    )
    token_url: str | None = Field(None, description="The token endpoint, likewise.")
    revocation_url: str | None = Field(None, description="The revocation endpoint (RFC 7009), likewise.")
    userinfo_url: str | None = Field(None, description="Where the connected identity is read, likewise.")
    pushed_url: str | None = Field(None, description="The pushed authorization request endpoint (RFC 9126), likewise.")
    device_url: str | None = Field(None, description="The device authorization endpoint (RFC 8628), likewise.")
    jwks_url: str | None = Field(None, description="Where the server's public keys are, likewise.")
    issuer: str | None = Field(
        None,
        description="The authorization server's issuer. With a client id it is all that a provider needs that the "
        "catalogue does not have: the rest comes from the server's metadata.",
    )
    resource: str | None = Field(
        None,
        description="The URL of an API or MCP server that says itself who authorizes for it (RFC 9728): enough for a "
        "provider that the catalogue does not have.",
    )
    client_authentication: str | None = Field(
        None,
        description="How we prove ourselves to a provider that the catalogue does not have, such as "
        "`private_key_jwt`; otherwise its definition says.",
    )
    certificate: str = Field(
        "default", description="The name of the certificate to show, where the provider wants one (RFC 8705)."
    )
    scopes: Words | None = Field(None, description="The scopes to ask for, instead of the catalogue's.")
    parameters: dict[str, str] = Field(
        default_factory=dict, description="Values for the placeholders in the provider's URLs, such as `tenant`."
    )

    @field_validator(
        "authorization_url",
        "token_url",
        "revocation_url",
        "userinfo_url",
        "pushed_url",
        "device_url",
        "jwks_url",
        "issuer",
        "resource",
    )
    @classmethod
    def _endpoint(cls, value: str | None) -> str | None:
        if value is not None:
            _secure_url(value)
        return value


class Settings(BaseModel):
    """Everything an operator can set."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    public_url: str = Field(
        "http://127.0.0.1:8080", description="Where browsers and API callers reach this service, without a path."
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="The port to listen on.")
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where the embedded database and the root keyset live; by default `~/.local/share/grantkeeper`.",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="`sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`; by default SQLite in the "
        "data directory.",
    )
    root_keyset: SecretStr | None = Field(
        None, description="The root keyset itself, as JSON; wins over `root_keyset_file`."
    )
    root_keyset_file: Path | None = Field(
        None,
        description="The file with the root keyset (mode 0600); by default `root-keyset.json` in the data directory.",
    )
    timezone: str = Field("UTC", description="The time zone of `created_at` and `updated_at`, such as `Europe/London`.")
    redirect_origins: Words = Field(
        default_factory=list,
        description="Origins that `redirect_to` may lead to after connecting, such as `https://app.example.com`.",
    )
    rate_limit: int = Field(500, ge=1, description="API requests a minute for each user.")
    session_hours: int = Field(24 * 14, ge=1, le=24 * 3660, description="How long a browser stays signed in, in hours.")
    worker: Literal["in-process", "off"] = Field(
        "in-process", description="Whether the serving process also refreshes in the background."
    )
    worker_concurrency: int = Field(64, ge=1, le=256, description="Refreshes at one time in one worker.")
    journal_dir: Path | None = Field(
        None,
        description="The directory in which what a provider answered is kept, encrypted, until the database has it; "
        "by default `journal` in the data directory. Processes on one machine share it; keep it over restarts.",
    )
    history_days: int = Field(30, ge=1, le=3660, description="How long the history of refreshes is kept, in days.")
    provider_timeout: float = Field(
        20.0, gt=0, le=120, description="Seconds a provider may take for one request, from connecting to the last byte."
    )
    provider_networks: Words = Field(
        default_factory=list,
        description="Addresses, networks or host names that providers may have although they are private, such as "
        "`127.0.0.1` or `10.1.0.0/16`.",
    )
    provider_ca_file: Path | None = Field(
        None,
        description="A PEM file with certificate authorities that are trusted at providers, besides the machine's.",
    )
    database_pool: int = Field(8, ge=2, le=100, description="PostgreSQL connections of one process.")
    providers_dir: Path | None = Field(
        None, description="A directory with your own provider definitions, added to the shipped ones."
    )
    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="What a scraper must send as `Authorization: Bearer …` to read `/metrics`, 16 characters or more; "
        "without it there is no `/metrics`.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    clients: dict[str, ClientSettings] = Field(
        default_factory=dict, description="Our registrations at providers, one table each: `[clients.xero]`."
    )

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str) -> str:
        parts = _secure_url(value)
        if parts.path.strip("/") or parts.query:
            raise ValueError("must have no path: this service wants a host name of its own")
        return _origin(parts)

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("is not a time zone; use an IANA name such as Europe/London") from None
        return value

    @field_validator("redirect_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        origins = [_secure_url(origin) for origin in value]
        if any(parts.path.strip("/") or parts.query for parts in origins):
            raise ValueError("must be origins, scheme and host without a path")
        return [_origin(parts) for parts in origins]

    @field_validator("provider_networks")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for word in value:
            _network_or_host(word)
        return value

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("must start with sqlite:/// or postgresql://")
        if url in ("sqlite:///", "sqlite:///:memory:"):
            raise ValueError("must name a file: sqlite:///PATH")
        return value

    @field_validator("metrics_token")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and not re.fullmatch(r"[!-~]{16,}", token):
            raise ValueError("must have 16 characters or more, without spaces or accents; try `openssl rand -hex 32`")
        return value

    @field_validator("data_dir", "root_keyset_file", "providers_dir", "journal_dir", "provider_ca_file")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        try:
            return value.expanduser() if value else value
        except RuntimeError:
            raise ValueError("begins with ~, but there is no such home directory") from None

    @property
    def database(self) -> str:
        """The database's URL, the default filled in. May carry a password: never log it."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'grantkeeper.sqlite3'}"

    @property
    def keyset_path(self) -> Path:
        """Where the root keyset is read, unless `root_keyset` holds it."""
        return self.root_keyset_file or self.data_dir / "root-keyset.json"

    @property
    def journal_path(self) -> Path:
        """Where journals are kept, for all databases of this machine."""
        return self.journal_dir or self.data_dir / "journal"

    @property
    def secure(self) -> bool:
        """Whether browsers reach us by https, so that cookies can demand it."""
        return self.public_url.startswith("https://")


def load_settings(
    environ: Mapping[str, str], config_file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """The settings in force; `overrides` (command line options) win over everything.

    Raises ConfigError with every problem found.
    """
    problems: list[str] = []
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    file = config_file or _named_file(environ, given)
    merged: dict[str, Any] = {}
    for layer in (_read_toml(file, problems) if file else {}, _read_environment(environ, problems), given):
        _merge(merged, _with_secrets_read(layer, "", problems))
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_problem(e["loc"], e["type"], e["msg"]) for e in error.errors(include_input=False)]
    if problems:
        raise ConfigError(problems)
    return settings


def _named_file(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Path | None:
    """The file that the environment names, or the one in the data directory if it is there."""
    if name := environ.get(f"{PREFIX}CONFIG"):
        return Path(name)
    data_dir = overrides.get("data_dir") or environ.get(f"{PREFIX}DATA_DIR") or _default_data_dir()
    default = Path(data_dir) / "grantkeeper.toml"
    return default if default.is_file() else None


def _read_toml(file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{file}: is not TOML: {error}")
    return {}


def _read_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    known = _names(Settings)
    result: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG":
            continue
        path = name.removeprefix(PREFIX).lower().split("__")
        if path[0] not in known:
            problems.append(_unknown(name, path[0], known))
            continue
        if path[0] == "clients" and len(path) > 1:
            path[1] = path[1].replace("_", "-")
        if not _enter(result, path, value):
            problems.append(f"{name}: is set both as a value and as a table")
    return result


def _enter(table: dict[str, Any], path: Sequence[str], value: str) -> bool:
    """Set `value` in nested tables; False where a value and a table would have one name."""
    *steps, last = path
    for step in steps:
        table = table.setdefault(step, {})
        if not isinstance(table, dict):
            return False
    if isinstance(table.get(last), dict):
        return False
    table[last] = value
    return True


def _with_secrets_read(table: Mapping[str, Any], place: str, problems: list[str]) -> dict[str, Any]:
    """A copy with `SECRET_file` replaced by what the file holds.

    Each source is done by itself, so that the environment's secret wins over a file that the TOML file names.
    """
    result = dict(table)
    for secret in ("client_secret",) if place else _READ_HERE:
        path = result.pop(f"{secret}_file", None)
        if not path:
            continue
        try:
            result[secret] = Path(path).expanduser().read_text("utf-8").strip()
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a file with UTF-8 text"
            problems.append(f"{place}{secret}_file: {path} cannot be read: {reason}")
    if not place and isinstance(clients := result.get("clients"), dict):
        tables = {name: client for name, client in clients.items() if isinstance(client, dict)}
        read = {name: _with_secrets_read(tables[name], f"clients.{name}.", problems) for name in tables}
        result["clients"] = clients | read
    return result


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _names(model: type[BaseModel]) -> set[str]:
    """The names of a table's settings, and of the files that their secrets may come from."""
    return {*model.model_fields, *(f"{name}_file" for name in _SECRETS if name in model.model_fields)}


def _unknown(name: str, key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"{name}: is not a setting" + (f"; did you mean {near[0]}?" if near else "")


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    where = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        fields = ClientSettings if len(location) == 3 and location[0] == "clients" else Settings
        return _unknown(where, str(location[-1]), _names(fields))
    return f"{where}: {message.removeprefix('Value error, ')}"
