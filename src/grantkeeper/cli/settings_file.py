"""The settings as text: a commented grantkeeper.toml, and the tables of docs/settings.md."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from grantkeeper.config import PREFIX, ClientSettings, Settings

_HEAD = """\
# Grantkeeper's settings, each with its default, or an example where it has none; take the # off to set it.
# The environment wins over this file: GRANTKEEPER_PORT=9000. All of it is explained in docs/settings.md.
"""
_CLIENT = """
# Your registrations at providers, one table each. `grantkeeper providers list` names them, and
# `grantkeeper providers show NAME` the redirect URI to register. Instead of client_secret, client_secret_file
# may name a file that holds it.
# [clients.xero]
# client_id = ""
# client_secret = ""
"""
# Set by commands, or safer elsewhere: a file with the keyset in it would be as secret as the keyset.
_LEFT_OUT = ("clients", "root_keyset")
_EXAMPLES = {
    "database_url": "postgresql://grantkeeper@db.example.com/grantkeeper",
    "root_keyset_file": "/etc/grantkeeper/root-keyset.json",
    "providers_dir": "/etc/grantkeeper/providers",
    "journal_dir": "/var/lib/grantkeeper/journal",
    "provider_ca_file": "/etc/grantkeeper/authorities.pem",
}


def write_settings_file(file: Path) -> bool:
    """Write the commented settings to `file`, mode 0600; False where it is there already."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(settings_template())
    return True


def settings_template() -> str:
    """A grantkeeper.toml that changes nothing."""
    parts = [_HEAD]
    for name, field in Settings.model_fields.items():
        if name not in _LEFT_OUT:
            lines = textwrap.wrap((field.description or "").replace("`", ""), 110)
            parts.append("\n".join(f"# {line}" for line in lines) + f"\n# {name} = {_toml(name, field)}\n")
    return "\n".join(parts) + _CLIENT


def settings_tables() -> str:
    """Every setting with its environment variable, its default and its description, in Markdown."""
    lines = [*_table(Settings.model_fields, PREFIX), "", "## `[clients.NAME]`", "", _CLIENT_INTRODUCTION, ""]
    lines += _table(ClientSettings.model_fields, f"{PREFIX}CLIENTS__NAME__")
    return "\n".join(lines)


_CLIENT_INTRODUCTION = (
    "One table for each provider that people may connect; `grantkeeper providers list` shows the names.\n"
    "In the environment `-` in a provider's name is written `_`."
)


def _table(fields: dict[str, FieldInfo], prefix: str) -> Iterator[str]:
    yield "| setting | environment | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        if limits := _limits(field):
            meaning += f" {limits}"
        yield f"| `{name}` | `{prefix}{name.upper()}` | {_default(name, field)} | {meaning} |"


def _default(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "see there"
    value = _plain(field)
    return "none" if value in (None, "", [], {}) else f"`{_written(value)}`"


def _limits(field: FieldInfo) -> str:
    """Which values are allowed, where that is not any."""
    signs = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [
        f"{word} {value}" for sign, word in signs.items() for data in field.metadata
        if (value := getattr(data, sign, None)) is not None
    ]  # fmt: skip
    if choices := [choice for choice in get_args(field.annotation) if isinstance(choice, str)]:
        found.append("one of " + ", ".join(f"`{choice}`" for choice in choices))
    return f"({', '.join(found)})" if found else ""


def _toml(name: str, field: FieldInfo) -> str:
    return _written(_EXAMPLES.get(name, _plain(field)))


def _plain(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
