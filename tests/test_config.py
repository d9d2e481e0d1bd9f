"""Settings: every one from file and environment, in order, with every problem told in one go and no secret."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, SecretStr

from grantkeeper.config import ClientSettings, Settings, load_settings
from grantkeeper.errors import ConfigError


class Example(NamedTuple):
    """One setting, as the environment and a TOML file have it, and what comes of it."""

    variable: str
    toml: str
    value: Any


SETTINGS = {
    "public_url": Example("https://gk.example.com/", '"https://gk.example.com/"', "https://gk.example.com"),
    "host": Example("0.0.0.0", '"0.0.0.0"', "0.0.0.0"),
    "port": Example("9090", "9090", 9090),
    "data_dir": Example("/srv/gk", '"/srv/gk"', Path("/srv/gk")),
    "database_url": Example("sqlite:////srv/db", '"sqlite:////srv/db"', SecretStr("sqlite:////srv/db")),
    "root_keyset": Example('{"key": []}', "'{\"key\": []}'", SecretStr('{"key": []}')),
    "root_keyset_file": Example("/run/keyset", '"/run/keyset"', Path("/run/keyset")),
    "timezone": Example("Europe/London", '"Europe/London"', "Europe/London"),
    "redirect_origins": Example(
        "https://a.example, https://b.example",
        '["https://a.example", "https://b.example"]',
        ["https://a.example", "https://b.example"],
    ),
    "rate_limit": Example("50", "50", 50),
    "session_hours": Example("12", "12", 12),
    "worker": Example("off", '"off"', "off"),
    "worker_concurrency": Example("4", "4", 4),
    "provider_timeout": Example("7.5", "7.5", 7.5),
    "provider_networks": Example(
        "127.0.0.1, fd00::/8 idp.internal",
        '["127.0.0.1", "fd00::/8", "idp.internal"]',
        ["127.0.0.1", "fd00::/8", "idp.internal"],
    ),
    "provider_ca_file": Example("/etc/gk/ca.pem", '"/etc/gk/ca.pem"', Path("/etc/gk/ca.pem")),
    "database_pool": Example("3", "3", 3),
    "providers_dir": Example("/etc/gk", '"/etc/gk"', Path("/etc/gk")),
    "journal_dir": Example("/var/journal", '"/var/journal"', Path("/var/journal")),
    "history_days": Example("7", "7", 7),
    "metrics_token": Example("scrape-me-in-peace", '"scrape-me-in-peace"', SecretStr("scrape-me-in-peace")),
    "log_level": Example("debug", '"debug"', "debug"),
}
CLIENT = {
    "client_id": Example("our-id", '"our-id"', "our-id"),
    "client_secret": Example("s3cret", '"s3cret"', SecretStr("s3cret")),
    "authorization_url": Example("https://p.example/a", '"https://p.example/a"', "https://p.example/a"),
    "token_url": Example("https://p.example/t/", '"https://p.example/t/"', "https://p.example/t/"),
    "revocation_url": Example("https://p.example/r", '"https://p.example/r"', "https://p.example/r"),
    "userinfo_url": Example("https://p.example/u?v=1", '"https://p.example/u?v=1"', "https://p.example/u?v=1"),
    "pushed_url": Example("https://p.example/par", '"https://p.example/par"', "https://p.example/par"),
    "device_url": Example("https://p.example/d", '"https://p.example/d"', "https://p.example/d"),
    "jwks_url": Example("https://p.example/k", '"https://p.example/k"', "https://p.example/k"),
    "issuer": Example("https://p.example/", '"https://p.example/"', "https://p.example/"),
    "resource": Example("https://mcp.example/mcp", '"https://mcp.example/mcp"', "https://mcp.example/mcp"),
    "client_authentication": Example("private_key_jwt", '"private_key_jwt"', "private_key_jwt"),
    "certificate": Example("bank", '"bank"', "bank"),
    "scopes": Example("read write", '["read", "write"]', ["read", "write"]),
}
DEFAULTS = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings file of whoever runs the tests is found."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


def toml(directory: Path, text: str) -> Path:
    """A settings file."""
    file = directory / "settings.toml"
    file.write_text(text, "utf-8")
    return file


def problems(environ: dict[str, str] | None = None, file: Path | None = None, **overrides: Any) -> list[str]:
    """What is wrong with settings that cannot be."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ or {}, file, overrides)
    return caught.value.problems


@pytest.mark.parametrize("model", [Settings, ClientSettings])
def test_every_setting_says_what_it_is(model: type[BaseModel]) -> None:
    """Each has a description of a sentence or more, ending in a full stop."""
    for name, field in model.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_every_setting_has_an_example_here() -> None:
    """A new setting is tested with the others."""
    assert set(SETTINGS) == set(Settings.model_fields) - {"clients"}
    assert set(CLIENT) == set(ClientSettings.model_fields) - {"parameters"}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_from_the_environment_and_the_file(name: str, tmp_path: Path) -> None:
    """Each by its name; the environment wins over the file, an option over both, None is no option."""
    example, variable = SETTINGS[name], f"GRANTKEEPER_{name.upper()}"
    file = toml(tmp_path, f"{name} = {example.toml}\n")
    for settings in (
        load_settings({variable: example.variable}),
        load_settings({}, file),
        load_settings({}, None, {name: example.value}),
        load_settings({variable: example.variable}, None, {name: None}),
    ):
        assert getattr(settings, name) == example.value
    assert example.value != DEFAULTS[name]


@pytest.mark.parametrize("name", CLIENT)
def test_every_client_setting_from_the_environment_and_the_file(name: str, tmp_path: Path) -> None:
    """The same for a provider's table, whose - is written _ in the environment."""
    example = CLIENT[name]
    settings = [
        load_settings({f"GRANTKEEPER_CLIENTS__MY_PROVIDER__{name.upper()}": example.variable}),
        load_settings({}, toml(tmp_path, f"[clients.my-provider]\n{name} = {example.toml}\n")),
    ]
    for client in (loaded.clients["my-provider"] for loaded in settings):
        assert getattr(client, name) == example.value
        assert getattr(ClientSettings(), name) == ("default" if name == "certificate" else None)


def test_parameters_from_the_environment_and_the_file(tmp_path: Path) -> None:
    """A placeholder's value is a table deeper, and both sources add up."""
    file = toml(tmp_path, '[clients.salesforce.parameters]\nhost = "file"\nregion = "eu"\n')
    settings = load_settings({"GRANTKEEPER_CLIENTS__SALESFORCE__PARAMETERS__HOST": "environment"}, file)
    assert settings.clients["salesforce"].parameters == {"host": "environment", "region": "eu"}


def test_defaults_are_enough(tmp_path: Path) -> None:
    """Nothing needs setting: SQLite and the root keyset live in the data directory under HOME."""
    settings = load_settings({})
    assert settings.data_dir == tmp_path / "home/.local/share/grantkeeper"
    assert settings.database == f"sqlite:///{settings.data_dir}/grantkeeper.sqlite3"
    assert settings.keyset_path == settings.data_dir / "root-keyset.json"
    assert not settings.secure
    assert settings.clients == {}


def test_the_data_directory_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME moves the default."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert load_settings({}).data_dir == tmp_path / "xdg/grantkeeper"


def test_precedence(tmp_path: Path) -> None:
    """Default < file < environment < option, setting by setting."""
    file = toml(tmp_path, 'port = 1\nhost = "file"\nrate_limit = 1\n[clients.xero]\nclient_id = "f"\nscopes = ["f"]\n')
    environ = {
        "GRANTKEEPER_HOST": "environment",
        "GRANTKEEPER_RATE_LIMIT": "2",
        "GRANTKEEPER_CLIENTS__XERO__CLIENT_ID": "e",
        "OTHER_PORT": "9",
    }
    settings = load_settings(environ, file, {"rate_limit": 3, "clients": {"xero": {"token_url": "https://o.example"}}})
    assert (settings.port, settings.host, settings.rate_limit, settings.timezone) == (1, "environment", 3, "UTC")
    client = settings.clients["xero"]
    assert (client.client_id, client.scopes, client.token_url) == ("e", ["f"], "https://o.example")


def test_options_are_not_changed() -> None:
    """What a caller hands in stays as it was."""
    overrides: dict[str, Any] = {"clients": {"xero": {"client_id": "a"}}}
    load_settings({"GRANTKEEPER_CLIENTS__XERO__SCOPES": "x"}, None, overrides)
    assert overrides == {"clients": {"xero": {"client_id": "a"}}}


def test_where_the_settings_file_is_looked_for(tmp_path: Path) -> None:
    """Named by GRANTKEEPER_CONFIG, else in the data directory of option, environment or default."""
    ports = {}
    for number, place in enumerate(("named", "option", "environment", "home/.local/share/grantkeeper"), 1):
        (tmp_path / place).mkdir(parents=True)
        ports[place] = number
        (tmp_path / place / "grantkeeper.toml").write_text(f"port = {number}")
    option, environ = {"data_dir": tmp_path / "option"}, {"GRANTKEEPER_DATA_DIR": str(tmp_path / "environment")}
    named = {"GRANTKEEPER_CONFIG": str(tmp_path / "named/grantkeeper.toml")}
    assert load_settings({}).port == 4
    assert load_settings(environ).port == 3
    assert load_settings(environ, None, option).port == 2
    assert load_settings(environ | named, None, option).port == 1
    assert load_settings(environ | named, toml(tmp_path, "port = 5"), option).port == 5
    assert load_settings({}, None, {"data_dir": tmp_path / "empty"}).port == 8080


@pytest.mark.parametrize("place", ["environment", "file"])
def test_secrets_from_files(tmp_path: Path, place: str) -> None:
    """`_FILE` and `_file` name a file with the secret, whose last newline is none of it."""
    for name, text in (
        ("database", "postgresql://u:pw@h/db\n"),
        ("client", " with spaces \n"),
        ("metrics", "0123456789abcdef\n"),
    ):
        (tmp_path / name).write_text(text)
    environ = {
        "GRANTKEEPER_METRICS_TOKEN_FILE": str(tmp_path / "metrics"),
        "GRANTKEEPER_DATABASE_URL_FILE": str(tmp_path / "database"),
        "GRANTKEEPER_ROOT_KEYSET_FILE": str(tmp_path / "keyset"),
        "GRANTKEEPER_CLIENTS__XERO__CLIENT_SECRET_FILE": str(tmp_path / "client"),
    }
    file = toml(
        tmp_path,
        f"database_url_file = '{tmp_path}/database'\nroot_keyset_file = '{tmp_path}/keyset'\n"
        f"metrics_token_file = '{tmp_path}/metrics'\n[clients.xero]\nclient_secret_file = '{tmp_path}/client'\n",
    )
    settings = load_settings(environ) if place == "environment" else load_settings({}, file)
    assert settings.database == "postgresql://u:pw@h/db"
    assert settings.keyset_path == tmp_path / "keyset"
    assert settings.metrics_token == SecretStr("0123456789abcdef")
    assert settings.clients["xero"].client_secret == SecretStr("with spaces")


def test_secret_files_keep_to_the_precedence(tmp_path: Path) -> None:
    """The environment's secret wins over a file that the TOML file names, and the other way round."""
    (tmp_path / "secret").write_text("from the file")
    named = f"[clients.xero]\nclient_secret_file = '{tmp_path}/secret'\n"
    inline = "[clients.xero]\nclient_secret = 'inline'\n"
    variable = "GRANTKEEPER_CLIENTS__XERO__CLIENT_SECRET"
    one = load_settings({variable: "from the environment"}, toml(tmp_path, named))
    assert one.clients["xero"].client_secret == SecretStr("from the environment")
    other = load_settings({f"{variable}_FILE": str(tmp_path / "secret")}, toml(tmp_path, inline))
    assert other.clients["xero"].client_secret == SecretStr("from the file")


def test_an_empty_file_name_is_none() -> None:
    """As `GRANTKEEPER_DATABASE_URL_FILE=` in a compose file."""
    assert load_settings({"GRANTKEEPER_DATABASE_URL_FILE": ""}).database.startswith("sqlite:///")


def test_secret_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a directory, not text, not even a name: each is told with its setting and path."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    file = toml(
        tmp_path,
        f"database_url_file = 7\n[clients.a]\nclient_secret_file = '{tmp_path}/missing'\n"
        f"[clients.b]\nclient_secret_file = '{tmp_path}'\n[clients.c]\nclient_secret_file = '{tmp_path}/binary'\n",
    )
    assert problems(file=file) == [
        "database_url_file: 7 cannot be read: it is not a file with UTF-8 text",
        f"clients.a.client_secret_file: {tmp_path}/missing cannot be read: No such file or directory",
        f"clients.b.client_secret_file: {tmp_path} cannot be read: Is a directory",
        f"clients.c.client_secret_file: {tmp_path}/binary cannot be read: it is not a file with UTF-8 text",
    ]


def test_paths_begin_at_home(tmp_path: Path) -> None:
    """~ is the home directory wherever a path is given; that of a stranger is a problem."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/url").write_text("sqlite:////db")
    names = ("DATA_DIR", "ROOT_KEYSET_FILE", "PROVIDERS_DIR", "JOURNAL_DIR", "PROVIDER_CA_FILE")
    environ = {f"GRANTKEEPER_{name}": f"~/{name}" for name in names}
    settings = load_settings(environ | {"GRANTKEEPER_DATABASE_URL_FILE": "~/url"})
    paths = (
        settings.data_dir,
        settings.root_keyset_file,
        settings.providers_dir,
        settings.journal_dir,
        settings.provider_ca_file,
    )
    assert paths == tuple(tmp_path / "home" / name for name in names)
    assert settings.database == "sqlite:////db"
    assert problems(providers_dir="~nobody-here/x") == [
        "providers_dir: begins with ~, but there is no such home directory"
    ]


def test_every_problem_is_told_in_one_go(tmp_path: Path) -> None:
    """From file and environment, unknown names and bad values, in whichever table."""
    file = toml(
        tmp_path,
        "prot = 1\nrate_limit = 'many'\n[clients.xero]\nclient_idd = 'x'\ntoken_url = 'ftp://x'\n[clientz]\nx = 1\n",
    )
    environ = {
        "GRANTKEEPER_PORT": "0",
        "GRANTKEEPER_LOG_LEVLE": "info",
        "GRANTKEEPER_CLIENTS__HUBSPOT__SCOPE": "x",
        "GRANTKEEPER_DATABASE_URL_FILE": str(tmp_path / "missing"),
    }
    assert sorted(problems(environ, file)) == sorted(
        [
            "GRANTKEEPER_LOG_LEVLE: is not a setting; did you mean log_level?",
            f"database_url_file: {tmp_path}/missing cannot be read: No such file or directory",
            "port: Input should be greater than or equal to 1",
            "prot: is not a setting; did you mean port?",
            "rate_limit: Input should be a valid integer, unable to parse string as an integer",
            "clients.hubspot.scope: is not a setting; did you mean scopes?",
            "clients.xero.client_idd: is not a setting; did you mean client_id?",
            "clients.xero.token_url: must be an absolute http(s) URL, such as https://connections.example.com",
            "clientz: is not a setting; did you mean clients?",
        ]
    )


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("GRANTKEEPER_CLIENT_SECRET", "is not a setting"),
        ("GRANTKEEPER_CLIENT_SECRET_FILE", "is not a setting"),
        ("GRANTKEEPER_", "is not a setting"),
        ("GRANTKEEPER_QQQQ", "is not a setting"),
        ("GRANTKEEPER_ROOT_KEYSET_FIEL", "is not a setting; did you mean root_keyset_file?"),
        ("GRANTKEEPER_DATABASE_URL_FIL", "is not a setting; did you mean database_url_file?"),
    ],
)
def test_unknown_variables(variable: str, says: str) -> None:
    """Named as they were given, with the nearest name that would do at this place, if any is near."""
    (problem,) = problems({variable: "s3cret"})
    assert problem.startswith(f"{variable}: {says}")
    assert "client_secret" not in problem


@pytest.mark.parametrize(
    "names",
    [
        ("GRANTKEEPER_CLIENTS", "GRANTKEEPER_CLIENTS__XERO__CLIENT_ID"),
        ("GRANTKEEPER_PORT", "GRANTKEEPER_PORT__X"),
        ("GRANTKEEPER_CLIENTS__XERO", "GRANTKEEPER_CLIENTS__XERO__CLIENT_ID"),
    ],
)
def test_a_value_and_a_table_of_one_name(names: tuple[str, str]) -> None:
    """Whichever is read first, the other is told to be in conflict, and nothing breaks."""
    for order in (names, names[::-1]):
        assert f"{order[1]}: is set both as a value and as a table" in problems(dict.fromkeys(order, "1"))


@pytest.mark.parametrize("text", ["clients = 1", "clients = ['x']", "[clients]\nxero = 1", "[[clients]]\nx = 1"])
def test_a_table_that_is_none(tmp_path: Path, text: str) -> None:
    """What is no table where one belongs is a problem like any other."""
    assert problems(file=toml(tmp_path, text))[0].startswith("clients")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"port = ", "is not TOML"), (b"\xff", "is not TOML"), (b"a = 1\na = 2", "is not TOML"), (None, "cannot be read")],
)
def test_a_file_that_is_no_settings_file(tmp_path: Path, content: bytes | None, says: str) -> None:
    """The path and what is wrong; the environment's problems come with it."""
    file = tmp_path / "settings.toml"
    if content is not None:
        file.write_bytes(content)
    found = problems({"GRANTKEEPER_PORT": "x"}, file)
    assert found[0].startswith(f"{file}: {says}")
    assert found[1].startswith("port: ")


SECRET_PLACES = {
    "GRANTKEEPER_DATABASE_URL": "mysql://u:s3cret@h/db",
    "GRANTKEEPER_ROOT_KEYSET": "s3cret",
    "GRANTKEEPER_CLIENTS__XERO__CLIENT_SECRET": "s3cret",
    "GRANTKEEPER_CLIENTS__XERO__TOKEN_URL": "https://user:s3cret@p.example/token",
    "GRANTKEEPER_CLIENTS__XERO__USERINFO_URL": "http://p.example/?key=s3cret",
    "GRANTKEEPER_PUBLIC_URL": "https://user:s3cret@gk.example.com",
    "GRANTKEEPER_REDIRECT_ORIGINS": "https://s3cret@a.example",
    "GRANTKEEPER_METRICS_TOKEN": "s3cret",
    "GRANTKEEPER_PORT": "s3cret",
    "GRANTKEEPER_WORKER": "s3cret",
    "GRANTKEEPER_TIMEZONE": "s3cret",
}


def test_no_message_tells_a_secret(tmp_path: Path) -> None:
    """Neither the problems nor the traceback quote what was given, wherever a secret may have been put."""
    file = toml(tmp_path, "[clients.hubspot]\nclient_secret = ['s3cret']\nclient_id = {a = 's3cret'}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(SECRET_PLACES, file)
    assert len(caught.value.problems) >= 10
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    broken = toml(tmp_path, "[clients.xero]\nclient_secret = s3cret\n")
    assert "s3cret" not in "".join(problems(file=broken))


def test_reprs_show_no_secret() -> None:
    """Settings may be printed: every secret is masked, alone and inside one another."""
    settings = load_settings(
        {
            "GRANTKEEPER_DATABASE_URL": "postgresql://u:s3cret@h/db",
            "GRANTKEEPER_ROOT_KEYSET": "s3cret",
            "GRANTKEEPER_METRICS_TOKEN": "s3cret-0123456789",
            "GRANTKEEPER_CLIENTS__XERO__CLIENT_SECRET": "s3cret",
        }
    )
    for shown in (settings, settings.clients, settings.clients["xero"], settings.model_dump_json()):
        assert "s3cret" not in f"{shown!r} {shown}"
    assert settings.database == "postgresql://u:s3cret@h/db"
