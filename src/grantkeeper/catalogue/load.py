"""Reading the catalogue: shipped definitions, then the operator's; every problem of every file in one go.

The shipped ones are read when they are first asked for. The operator's are read at once, as they are what may be wrong.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from grantkeeper.catalogue.catalogue import Catalogue
from grantkeeper.catalogue.rules import inconsistencies
from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import Table, nested_table
from grantkeeper.errors import ConfigError

__all__ = ["Catalogue", "Reading", "load_catalogue", "read_again", "read_files", "text_problems"]

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

_OF_ITS_OWN = ("name", "label", "together", "verified")
"""What a variant says of itself: nobody has checked it by checking the other."""
_EXTENDS = re.compile(r'^extends\s*=\s*["\']([^"\']*)["\']', re.MULTILINE)


class _File(NamedTuple):
    """Where a definition is, and what it is called in messages."""

    shown: str
    file: Traversable


class Reading(NamedTuple):
    """What came of reading an operator's files: the catalogue without those that have problems; these, by name."""

    catalogue: Catalogue
    problems: dict[str, list[str]]


SHIPPED: Traversable = resources.files(__package__) / "providers"
"""Where the shipped definitions are."""


def load_catalogue(extra_dir: Path | None = None, shipped: Traversable = SHIPPED) -> Catalogue:
    """The shipped definitions; files in `extra_dir` add to them, or replace one of the same name as a whole.

    Raises ConfigError with every problem of every file of the operator's, each beginning with the file. A variant of a
    shipped definition is one of the operator's where that is replaced.
    """
    found = _Shelf(_extra(extra_dir), shipped).read({})
    if found.problems:
        raise ConfigError([problem for problems in found.problems.values() for problem in problems])
    return found.catalogue


def read_again(extra_dir: Path, before: Catalogue, shipped: Traversable = SHIPPED) -> Reading:
    """The catalogue with the operator's files as they are now; in the place of one with problems stands what was.

    Raises ConfigError where the directory cannot be read.
    """
    return _Shelf(_extra(extra_dir), shipped).read(before)


def read_files(files: Iterable[Path], extra_dir: Path | None = None) -> Reading:
    """The catalogue with these files as well, which stand before those in `extra_dir`.

    Raises ConfigError where the directory cannot be read.
    """
    given = {file.name.removesuffix(".toml"): _File(str(file), file) for file in files}
    return _Shelf(_extra(extra_dir) | given, SHIPPED).read({})


def text_problems(name: str, text: str) -> list[str]:
    """What is wrong with a definition that is not written yet and extends no other."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [f"is not TOML: {error}"]
    return _checked(document, name)[1]


class _Shelf:
    """The files of all definitions, by name; the operator's stand before the shipped ones."""

    def __init__(self, own: Mapping[str, _File], shipped: Traversable) -> None:
        self._shipped = {_stem(file): _File(f"providers/{file.name}", file) for file in _definitions(shipped)}
        self._own = dict(own)
        self._files = self._shipped | self._own
        self._documents: dict[str, dict[str, Any]] = {}
        self._refused: dict[str, list[str]] = {}

    def read(self, before: Mapping[str, Provider]) -> Reading:
        """Read the operator's files; what was before stands in for one that has problems."""
        providers: dict[str, Provider] = {}
        # What others extend comes first: they are read with what it has come to.
        for name in sorted(self._own, key=lambda name: (self._is_variant(name), name)):
            try:
                provider = self.provider(name)
                self._check_shipped_variants(name)
            except ConfigError as error:
                self._refuse(name, error.problems, before, providers)
            else:
                providers[name] = provider
        unread = {name: partial(self.provider, name) for name in self._files}
        return Reading(Catalogue(providers, unread), dict(sorted(self._refused.items())))

    def provider(self, name: str) -> Provider:
        """One definition, or ConfigError with its problems."""
        provider, found = _checked(self._whole(name), name)
        for other in provider.together if provider is not None else ():
            if other not in self._files:
                found.append(f"together: '{other}' is no definition{_near(other, self._files)}")
        if found or provider is None:
            raise self._error(name, *found)
        return provider

    def _whole(self, name: str) -> dict[str, Any]:
        """A definition's document, with what it leaves to the one that it extends."""
        document = self._document(name)
        base = document.get("extends")
        if not isinstance(base, str):
            return document
        if base == name:
            raise self._error(name, "extends: must name another definition")
        if base not in self._files:
            problems = (
                "has problems of its own" if base in self._refused else f"is no definition{_near(base, self._files)}"
            )
            raise self._error(name, f"extends: '{base}' {problems}")
        stated = self._documents[base] = self._document(base)
        if "extends" in stated:
            raise self._error(name, f"extends: '{base}' is a variant itself; extend what it extends")
        return _merged({key: value for key, value in stated.items() if key not in _OF_ITS_OWN}, document)

    def _document(self, name: str) -> dict[str, Any]:
        if name in self._documents:
            return self._documents[name]
        file = self._files[name].file
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise self._error(name, f"cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise self._error(name, f"is not TOML: {error}") from None
        if name in self._own:
            # A shipped variant that is read later must find what was checked, not what the file holds by then.
            self._documents[name] = document
        return document

    def _is_variant(self, name: str) -> bool:
        try:
            return "extends" in self._document(name)
        except ConfigError:
            return False

    def _check_shipped_variants(self, name: str) -> None:
        """A replaced definition must do for the shipped ones that extend it."""
        if name not in self._shipped:
            return
        problems: list[str] = []
        for variant in self._extending.get(name, ()):
            try:
                self.provider(variant)
            except ConfigError as error:
                where = f"{self._files[variant].shown}, which extends {self._files[name].shown}"
                problems += [f"{where}{problem.removeprefix(self._files[variant].shown)}" for problem in error.problems]
        if problems:
            raise ConfigError(problems)

    @cached_property
    def _extending(self) -> dict[str, list[str]]:
        """The shipped variants that are not replaced, by what they extend."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._shipped.keys() - self._own.keys()):
            if match := _EXTENDS.search(self._shipped[name].file.read_text("utf-8")):
                found.setdefault(match[1], []).append(name)
        return found

    def _refuse(
        self, name: str, problems: list[str], before: Mapping[str, Provider], providers: dict[str, Provider]
    ) -> None:
        """Go on with what was there before the file, or without it."""
        self._refused[name] = problems
        self._documents.pop(name, None)
        if name in before:
            providers[name] = before[name]
            self._documents[name] = before[name].model_dump(by_alias=True, exclude_unset=True)
        elif name in self._shipped:
            self._files[name] = self._shipped[name]
        else:
            del self._files[name]

    def _error(self, name: str, *problems: str) -> ConfigError:
        return ConfigError([f"{self._files[name].shown}: {problem}" for problem in problems])


def _extra(folder: Path | None) -> dict[str, _File]:
    if folder is None:
        return {}
    try:
        return {_stem(file): _File(str(folder / file.name), file) for file in _definitions(folder)}
    except OSError as error:
        raise ConfigError([f"providers_dir: {folder} cannot be read: {error.strerror}"]) from None


def _definitions(folder: Traversable) -> Iterator[Traversable]:
    return (file for file in folder.iterdir() if file.name.endswith(".toml") and not file.name.startswith("."))


def _stem(file: Traversable) -> str:
    return file.name.removesuffix(".toml")


def _merged(base: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The base's tables with the document's keys put into them; other values are replaced."""
    merged = dict(base)
    for key, value in document.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(value, dict) and isinstance(under, dict) else value
    return merged


def _checked(document: dict[str, Any], stem: str) -> tuple[Provider | None, list[str]]:
    """The provider, and what is wrong with it."""
    found = _misnamed(document, stem)
    provider = _validated(document, found)
    if provider is not None:
        found += inconsistencies(provider)
    return provider, found


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
        hint = _near(key, _known_keys(outer))
        return f"{'.'.join(outer)}{': ' if outer else ''}unknown key '{key}'{hint}"
    where = ".".join(str(part) for part in location if part != "[key]")
    return f"{where}: {_words(kind, context, message)}"


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


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
