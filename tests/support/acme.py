"""A definition of an operator's own, and the directory that it stands in."""

from __future__ import annotations

from pathlib import Path

ACME = """
schema = 1
name = "acme"
label = "Acme"
category = ["accounting"]
colour = "#0f766e"

[verified]
basis = "documentation"
date = 2026-11-22

[authorization]
url = "https://acme.example/authorize"

[token]
url = "https://acme.example/token"
"""


def own_folder(directory: Path) -> Path:
    """The operator's directory, with that one definition in it."""
    folder = directory / "own"
    folder.mkdir()
    (folder / "acme.toml").write_text(ACME)
    return folder
