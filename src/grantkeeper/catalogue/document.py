"""`python -m grantkeeper.catalogue.document` writes the generated parts of docs/providers.md.

They stand between `<!-- generated: NAME -->` and `<!-- end generated -->`; the rest of the page is
written by hand.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import Table, TokenResponsePaths, nested_table
from grantkeeper.catalogue.values import HostPattern, HttpStatus, ScopeToken

PAGE = Path("docs/providers.md")
"""Where the page is, from the root of the repository."""

_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end generated -->)", re.DOTALL)
_TYPES = {
    "str": "text",
    "int": "number",
    "bool": "true or false",
    "date": "date",
}
_NAMED: tuple[tuple[Any, str, str], ...] = (
    (HttpStatus, "HTTP status", "HTTP statuses"),
    (HostPattern, "host", "hosts"),
    (ScopeToken, "scope", "scopes"),
)
"""Values that have a name of their own, one and several."""
_MANY = {"text": "texts", "number": "numbers", "table": "tables"} | {one: several for _, one, several in _NAMED}
_BASES = ("documentation", "libraries", "operator", "product")


def updated(page: str) -> str:
    """The page with its generated parts as they must be; KeyError names a part that nobody generates."""
    parts = {"keys": key_tables, "coverage": coverage_table, "shipped": shipped_lists}
    return _BLOCK.sub(lambda match: f"{match[1]}\n{parts[match[2]]()}\n{match[3]}", page)


def key_tables() -> str:
    """Every key of a definition, one Markdown table for each of its tables."""
    return "\n".join(_section(name, table) for name, table in _tables("", Provider))


def coverage_table() -> str:
    """How many definitions are shipped in each category, and what they were checked against."""
    groups = _by_category()
    total = [provider for members in groups.values() for provider in members]
    rows = [_counts(f"[{category}](#{category})", members) for category, members in groups.items()]
    heading = ["category", "providers", *_BASES]
    line = f"|---|{'---:|' * (len(heading) - 1)}"
    return "\n".join([f"| {' | '.join(heading)} |", line, *rows, _counts("**all**", total), ""])


def shipped_lists() -> str:
    """The shipped definitions by category, and what each was checked against."""
    return "\n".join(_list(category, members) for category, members in _by_category().items())


def _by_category() -> dict[str, list[Provider]]:
    groups: dict[str, list[Provider]] = {}
    for provider in load_catalogue().values():
        groups.setdefault(provider.category[0], []).append(provider)
    return dict(sorted(groups.items()))


def _counts(name: str, members: Sequence[Provider]) -> str:
    bases: Counter[str] = Counter(provider.verified.basis for provider in members)
    return f"| {name} | {len(members)} | {' | '.join(str(bases[basis] or '') for basis in _BASES)} |"


def _list(category: str, members: Sequence[Provider]) -> str:
    rows = [
        f"| `{provider.name}` | {provider.label} | {_verified(provider)} | {provider.verified.date} |"
        for provider in members
    ]
    heading = ["| name | label | checked against | on |", "|---|---|---|---|"]
    return "\n".join([f"### {category}", "", *heading, *rows, ""])


def _verified(provider: Provider) -> str:
    verified = provider.verified
    basis = f"[{verified.basis}]({verified.page})" if verified.page else verified.basis
    return f"{basis}, a variant of `{provider.extends}`" if provider.extends else basis


def _tables(name: str, table: type[Table]) -> Iterator[tuple[str, type[Table]]]:
    yield name, table
    for key, field in _fields(table).items():
        found = nested_table(field.annotation)
        # refresh.response has the keys of token.response, which come first.
        if found is not None and not (found[0] is TokenResponsePaths and name == "refresh"):
            inner, named = found
            yield from _tables(f"{name}.{key}".strip(".") + (".NAME" if named else ""), inner)


def _section(name: str, table: type[Table]) -> str:
    heading = f"### `[{name}]`" if name else "### At the top"
    summary = (table.__doc__ or "").partition("\n")[0]
    rows = [_row(key, field) for key, field in _fields(table).items()]
    return "\n".join([heading, "", summary, "", "| key | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def _row(key: str, field: FieldInfo) -> str:
    cells = (f"`{key}`", _type(field), _default(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: FieldInfo) -> str:
    found = nested_table(field.annotation)
    if found is not None:
        return "tables by name" if found[1] else "table"
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    """A type in the words of TOML."""
    for named, one, _ in _NAMED:
        if annotation == named:
            return one
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {_several(_words(arguments[0]))}"
    if origin is dict:
        return "table" if arguments[1] is Any else f"table of {_several(_words(arguments[1]))}"
    if origin is not None:
        # Annotated and `X | None`: what is inside counts.
        return _words(next(argument for argument in arguments if argument is not type(None)))
    return _TYPES[annotation.__name__]


def _several(words: str) -> str:
    return _MANY.get(words, words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default if field.default is not PydanticUndefined else None
    return "" if value is None or value == () else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _fields(table: type[Table]) -> Mapping[str, FieldInfo]:
    return {field.alias or name: field for name, field in table.model_fields.items()}


def main(arguments: Sequence[str]) -> None:
    """Write the page, or the one that is named."""
    page = Path(arguments[0]) if arguments else PAGE
    page.write_text(updated(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
