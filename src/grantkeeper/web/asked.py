"""The values that a provider's definition asks the user for, as fields of a form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from grantkeeper.errors import GrantkeeperError, InvalidValue
from grantkeeper.model import Record
from grantkeeper.oauth.client import Asked

_INPUT_MODES = {"host": "url", "server": "url", "url": "url", "number": "numeric"}
"""Which keyboard a telephone shows."""

LONGEST_VALUE = 255
"""Characters of a value; what is longer is cut off when it is shown again."""


class Field(Record, frozen=True):
    """One field: what to say about it, what stands in it, and what is wrong with that."""

    name: str
    label: str
    help: str | None
    example: str | None
    choices: dict[str, str]
    inputmode: str
    value: str
    required: bool
    problem: str | None = None


def given_values(asked: Iterable[Asked], query: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """What a query or a form says of the values that are asked for, each under its name after `prefix`."""
    return {one.name: query[prefix + one.name] for one in asked if prefix + one.name in query}


def fields(
    asked: Iterable[Asked],
    given: Mapping[str, str],
    error: GrantkeeperError | None = None,
    *,
    renewed: bool = False,
    prefix: str = "",
) -> list[Field]:
    """A field for each value, with what was given or the default in it; `prefix` stands before the names.

    For a connection that is `renewed` only those that are not kept with it, as `error` tells. What was not filled in
    yet is not wrong.
    """
    problems = error.errors if isinstance(error, InvalidValue) else {}
    return [
        Field(
            name=prefix + one.name,
            label=one.label,
            help=one.help,
            example=one.example,
            choices=one.choices,
            inputmode=_INPUT_MODES.get(one.type, "text"),
            value=given.get(one.name, one.default or "")[:LONGEST_VALUE],
            required=one.default is None,
            problem=problems[one.name][0] if one.name in problems and one.name in given else None,
        )
        for one in asked
        if not renewed or one.name in problems or one.name in given
    ]


def wrong(shown: Iterable[Field]) -> Field | None:
    """The first field that has a problem."""
    return next((field for field in shown if field.problem), None)
