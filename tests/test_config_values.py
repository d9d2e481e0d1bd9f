"""Values of settings: what a URL, a database, a time zone and a number may be, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grantkeeper.config import ClientSettings, load_settings
from grantkeeper.errors import ConfigError


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings file of whoever runs the tests is found."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


def problems(environ: dict[str, str] | None = None, **overrides: Any) -> list[str]:
    """What is wrong with settings that cannot be."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ or {}, None, overrides)
    return caught.value.problems


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://gk.example.com", "https://gk.example.com"),
        ("HTTPS://GK.example.com:8443/", "https://gk.example.com:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://gk.example.com?", "https://gk.example.com"),
        ("https://gk.example.com#", "https://gk.example.com"),
    ],
)
def test_a_good_origin(url: str, origin: str) -> None:
    """Public URL and redirect origins are kept as browsers write an origin."""
    settings = load_settings({"GRANTKEEPER_PUBLIC_URL": url, "GRANTKEEPER_REDIRECT_ORIGINS": url})
    assert settings.public_url == origin
    assert settings.redirect_origins == [origin]
    assert settings.secure == origin.startswith("https")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gk.example.com", "must be an absolute http(s) URL"),
        ("", "must be an absolute http(s) URL"),
        ("*", "must be an absolute http(s) URL"),
        ("https://", "must be an absolute http(s) URL"),
        ("ftp://gk.example.com", "must be an absolute http(s) URL"),
        ("javascript:alert(1)", "must be an absolute http(s) URL"),
        ("http://gk.example.com", "must be https"),
        ("http://127.0.0.1.example.com", "must be https"),
        ("http://10.0.0.1", "must be https"),
        ("https://user@gk.example.com", "must not carry a user"),
        ("https://user:pw@gk.example.com", "must not carry a user"),
        ("https://@gk.example.com", "must not carry a user"),
        ("https://gk.example.com/#x", "must not carry a user, a password or a fragment"),
        ("https://gk.example.com:99999", "must have a port from 1 to 65535"),
        ("https://gk.example.com:0", "must have a port from 1 to 65535"),
        ("https://gk.example.com:http", "must have a port from 1 to 65535"),
        ("https://gk.example.com\n", "must not contain spaces or control characters"),
        ("https://gk .example.com", "must not contain spaces or control characters"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("https://gk.example.com/app", "no path|without a path"),
        ("https://gk.example.com/?x=1", "no path|without a path"),
    ],
)
def test_a_bad_origin(url: str, says: str) -> None:
    """Each problem has its sentence, for the public URL and for redirect origins."""
    found = problems(public_url=url, redirect_origins=[url])
    for name, problem in zip(("public_url", "redirect_origins"), found, strict=True):
        assert problem.startswith(f"{name}: ")
        assert any(words in problem for words in says.split("|")), problem


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("", True),
        ("sqlite:///relative.db", True),
        ("sqlite:////absolute.db", True),
        ("postgresql://u:p@h/db?sslmode=require", True),
        ("postgres://h/db", True),
        ("sqlite:///", False),
        ("sqlite:///:memory:", False),
        ("sqlite://x", False),
        ("mysql://h/db", False),
        ("/var/lib/db", False),
        ("postgresql+asyncpg://h/db", False),
    ],
)
def test_database_urls(value: str, good: bool) -> None:
    """SQLite in a file and PostgreSQL; the message says so, without what was given."""
    if good:
        assert load_settings({"GRANTKEEPER_DATABASE_URL": value}).database_url == SecretStr(value)
        return
    (problem,) = problems({"GRANTKEEPER_DATABASE_URL": value})
    assert problem.startswith("database_url: must ")
    assert "mysql" not in problem


@pytest.mark.parametrize(
    "value", ["127.0.0.1", "10.1.0.0/16", "::1", "fd00::/8", "idp.internal", "localhost", "IdP_1.example.com.", "1.com"]
)
def test_a_good_provider_network(value: str) -> None:
    """Addresses, networks and host names, also several."""
    assert load_settings({"GRANTKEEPER_PROVIDER_NETWORKS": value}).provider_networks == [value]
    assert load_settings({}, None, {"provider_networks": [value, "::1"]}).provider_networks == [value, "::1"]


@pytest.mark.parametrize(
    "value",
    ["10.1.2.3/16", "10.1", "127.1", "300.0.0.1", "0x7f000001", "127.0.0.1:80", "[::1]", "*", "*.internal", "a..b",
     "http://idp.internal", "10.0.0.0-10.0.0.9", "10.0.0.0/33", "idp.internal/24", "fe80::1%", "\u0661.0.0.1"],
)  # fmt: skip
def test_a_bad_provider_network(value: str) -> None:
    """A typing mistake allows nothing by chance: it is told, with what would be good."""
    (problem,) = problems({"GRANTKEEPER_PROVIDER_NETWORKS": f"127.0.0.1,{value}"})
    assert problem.startswith("provider_networks: must hold addresses, networks by their first address, or host names")


@pytest.mark.parametrize(
    "value", ["", "Europe/Atlantis", "Europe", "../../etc/passwd", "/etc/localtime", "GMT+25", "\0"]
)
def test_bad_time_zones(value: str) -> None:
    """Only IANA names; nothing outside their directory is opened."""
    assert problems(timezone=value) == ["timezone: is not a time zone; use an IANA name such as Europe/London"]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("port", ["0", "65536", "-1", "1.5", ""]),
        ("rate_limit", ["0", "x"]),
        ("session_hours", ["0", "1000000000000"]),
        ("worker", ["on", "IN-PROCESS"]),
        ("worker_concurrency", ["0", "257"]),
        ("provider_timeout", ["0", "121", "nan", "inf", "-1"]),
        ("database_pool", ["1", "101"]),
        ("log_level", ["verbose"]),
    ],
)
def test_bounds(name: str, bad: list[str]) -> None:
    """A value outside is a problem under the setting's name."""
    for value in bad:
        (problem,) = problems({f"GRANTKEEPER_{name.upper()}": value})
        assert problem.startswith(f"{name}: ")


CLIENT_URLS = [name for name in ClientSettings.model_fields if name.endswith("_url") or name in ("issuer", "resource")]


@pytest.mark.parametrize("name", CLIENT_URLS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("p.example", "must be an absolute http(s) URL"),
        ("ftp://p.example", "must be an absolute http(s) URL"),
        ("http://p.example", "must be https"),
        ("https://us:er@p.example", "must not carry a user, a password or a fragment"),
        ("https://p.example/#a", "must not carry a user, a password or a fragment"),
        ("https://p.example/a b", "must not contain spaces or control characters"),
        ("https://p.example:0/", "must have a port from 1 to 65535, or none"),
    ],
)
def test_bad_urls_of_a_client(name: str, bad: str, message: str) -> None:
    """Every URL that an operator gives for a provider is looked at, under its own name."""
    (problem,) = problems({f"GRANTKEEPER_CLIENTS__ACME__{name.upper()}": bad})
    assert problem.startswith(f"clients.acme.{name}: {message}")


def test_urls_of_a_client() -> None:
    """None is forgotten here; this machine needs no https."""
    assert len(CLIENT_URLS) == 9
    for name in CLIENT_URLS:
        settings = load_settings({f"GRANTKEEPER_CLIENTS__ACME__{name.upper()}": "http://127.0.0.1:8080/x"})
        assert getattr(settings.clients["acme"], name) == "http://127.0.0.1:8080/x"


@pytest.mark.parametrize("token", ["", "0123456789abcdef", "!~" * 8, "x" * 500])
def test_a_good_metrics_token(token: str) -> None:
    """Long enough to be guessed by nobody; empty as none at all, as `GRANTKEEPER_METRICS_TOKEN=` in a compose file."""
    assert load_settings({"GRANTKEEPER_METRICS_TOKEN": token}).metrics_token == SecretStr(token)


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "with spaces in it, long", "naïve-0123456789", "tab\t0123456789abc"]
)
def test_a_bad_metrics_token(token: str) -> None:
    """One that is short, or that no header carries, is refused with how to make a good one, and not repeated."""
    [problem] = problems({"GRANTKEEPER_METRICS_TOKEN": token})
    assert problem.startswith("metrics_token: must have 16 characters or more")
    assert "openssl rand -hex 32" in problem
    assert token not in problem


def test_where_journals_are(tmp_path: Path) -> None:
    """In the data directory, unless a directory is named."""
    assert load_settings({}, None, {"data_dir": tmp_path}).journal_path == tmp_path / "journal"
    assert load_settings({"GRANTKEEPER_JOURNAL_DIR": "/var/j"}).journal_path == Path("/var/j")
