"""Reading the catalogue: shipped definitions, then the operator's; every problem of every file in one go."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from grantkeeper.catalogue.rules import inconsistencies
from grantkeeper.catalogue.schema import Provider, Table, nested_table
from grantkeeper.errors import ConfigError

_MESSAGES = {
    "missing": "is required",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "date_type": "must be a date, such as 2026-11-22, without quotes",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
}
"""What to say for pydantic's error types; its own words serve for the rest."""


class Catalogue(Mapping[str, Provider]):
    """Every known provider by name; goes through them in the order of their labels. Cannot be changed."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        in_order = sorted(providers.values(), key=lambda provider: (provider.label.casefold(), provider.name))
        self._providers = {provider.name: provider for provider in in_order}

    def __getitem__(self, name: str) -> Provider:
        return self._providers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._providers)

    def __len__(self) -> int:
        return len(self._providers)

    def __repr__(self) -> str:
        return f"Catalogue({', '.join(self._providers)})"


def load_catalogue(extra_dir: Path | None = None) -> Catalogue:
    """The shipped definitions; files in `extra_dir` add to them, or replace one of the same name as a whole.

    Raises ConfigError with every problem of every file, each beginning with the file.
    """
    providers: dict[str, Provider] = {}
    problems: list[str] = []
    for shown, file in [*_shipped(), *_extra(extra_dir, problems)]:
        provider = _read(shown, file, problems)
        if provider is not None:
            providers[provider.name] = provider
    if problems:
        raise ConfigError(problems)
    return Catalogue(providers)


def _shipped() -> list[tuple[str, Traversable]]:
    folder = resources.files(__package__) / "providers"
    return [(f"providers/{file.name}", file) for file in _definitions(folder)]


def _extra(folder: Path | None, problems: list[str]) -> list[tuple[str, Traversable]]:
    if folder is None:
        return []
    try:
        return [(str(folder / file.name), file) for file in _definitions(folder)]
    except OSError as error:
        problems.append(f"providers_dir: {folder} cannot be read: {error.strerror}")
        return []


def _definitions(folder: Traversable) -> list[Traversable]:
    found = (file for file in folder.iterdir() if file.name.endswith(".toml") and not file.name.startswith("."))
    return sorted(found, key=lambda file: file.name)


def _read(shown: str, file: Traversable, problems: list[str]) -> Provider | None:
    """The provider in a file, or None with its problems added."""
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        problems.append(f"{shown}: cannot be read: {error.strerror}")
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{shown}: is not TOML: {error}")
        return None
    stem = file.name.removesuffix(".toml")
    found = _misnamed(document, stem)
    provider = _validated(document, found)
    if provider is not None:
        found += inconsistencies(provider)
    problems += [f"{shown}: {problem}" for problem in found]
    return provider if not found else None


def _misnamed(document: Mapping[str, Any], stem: str) -> list[str]:
    name = document.get("name", stem)
    return [] if name == stem else [f"name: must be '{stem}', as the file is called {stem}.toml"]


def _validated(document: dict[str, Any], found: list[str]) -> Provider | None:
    try:
        return Provider.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        found += [_problem(detail["loc"], detail["type"], detail.get("ctx", {}), detail["msg"]) for detail in details]
        return None


def _problem(location: tuple[int | str, ...], kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind == "extra_forbidden":
        *outer, key = (str(part) for part in location)
        near = difflib.get_close_matches(key, _known_keys(outer), n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        return f"{'.'.join(outer)}{': ' if outer else ''}unknown key '{key}'{hint}"
    where = ".".join(str(part) for part in location if part != "[key]")
    return f"{where}: {_words(kind, context, message)}"


def _words(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        # TOML writes booleans in lower case.
        context = {"expected": context["expected"].replace("True", "true").replace("False", "false")}
    return _MESSAGES[kind].format(**context) if kind in _MESSAGES else message


def _known_keys(path: list[str]) -> list[str]:
    """The keys of the table that a path of keys leads to."""
    table: type[Table] = Provider
    steps = iter(path)
    for step in steps:
        found = nested_table(_fields(table)[step].annotation)
        if found is None:
            return []
        table, named_by_author = found
        if named_by_author:
            next(steps, None)
    return list(_fields(table))


def _fields(table: type[Table]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in table.model_fields.items()}
