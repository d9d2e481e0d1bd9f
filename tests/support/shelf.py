"""A catalogue of made-up providers, as many as a test wants."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

_DEFINITION = """
schema = 1
name = "{name}"
label = "{label}"
category = [{category}]
colour = "{colour}"
docs_url = "https://{name}.example.com/docs"
{more}
[verified]
basis = "libraries"
date = 2026-11-22
[authorization]
url = "https://{name}.example.com/authorize"
[token]
url = "https://{name}.example.com/token"
{rest}
"""


def write_definition(
    folder: Path,
    name: str,
    label: str,
    *categories: str,
    colour: str = "#336699",
    more: str = "",
    rest: str = "",
) -> None:
    """One definition; `more` are further keys of the whole, `rest` further tables."""
    folder.mkdir(exist_ok=True)
    text = _DEFINITION.format(
        name=name,
        label=label,
        category=", ".join(f'"{category}"' for category in categories or ("other",)),
        colour=colour,
        more=more,
        rest=rest,
    )
    (folder / f"{name}.toml").write_text(text, "utf-8")


def client_settings(names: Iterable[str]) -> dict[str, Any]:
    """Settings of a client at each."""
    return {name: {"client_id": "id", "client_secret": "secret"} for name in names}
