"""What an index call asks for: page size, cursor, filters, order, extra keys. Every problem is told at once."""

from __future__ import annotations

import base64
import uuid as uuids
from collections.abc import Sequence
from typing import Annotated

import msgspec

from grantkeeper.errors import InvalidValue
from grantkeeper.model import Status, Summary
from grantkeeper.storage.connections import Page

LARGEST_PAGE = 500
SORTS = ("created_at", "updated_at", "label")
FILTERS = ("uuid", "provider", "status", "label")
INCLUDES = ("status", "scopes", "identity", "health")
PROVIDER_INCLUDES = ("definition",)
LONGEST_FILTER = 255
"""Characters; no label, provider or status is longer."""

# A cursor is in its caller's hands: nothing that a database cannot hold comes back in one.
_decode_label_cursor = msgspec.json.Decoder(tuple[str, bool, str, str]).decode
_decode_instant_cursor = msgspec.json.Decoder(
    tuple[str, bool, Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)], str]
).decode


class IndexQuery(msgspec.Struct, frozen=True):
    """A checked query: the page to read (one row more than `per_page`), and what to add to each row."""

    page: Page
    per_page: int
    explicit: bool
    include: frozenset[str]


_EVERYTHING = IndexQuery(Page(limit=LARGEST_PAGE + 1), LARGEST_PAGE, False, frozenset())


def parse_index(query: Sequence[tuple[str, str]]) -> IndexQuery:
    """Check an index call's parameters, or raise InvalidValue naming every bad one."""
    if not query:
        return _EVERYTHING
    given = dict(query)
    errors: dict[str, list[str]] = {}
    per_page = _per_page(given, errors)
    sort, descending = _sort(given, errors)
    filters = _filters(given, errors)
    include = _include(given, errors)
    after = _cursor(given, sort, descending, errors)
    if errors:
        raise InvalidValue(errors)
    page = Page(limit=per_page + 1, sort=sort, descending=descending, after=after, **filters)
    return IndexQuery(page, per_page, "per_page" in given, include)


class Slice(msgspec.Struct, frozen=True):
    """The part of a short list that an index call asks for; `cursor` leads on, None on the last part."""

    start: int
    stop: int
    per_page: int
    explicit: bool
    cursor: str | None
    include: frozenset[str] = frozenset()


def parse_slice(query: Sequence[tuple[str, str]], names: Sequence[str], includes: Sequence[str] = ()) -> Slice:
    """Check `per_page` and `cursor` of an index whose rows have these names, in order.

    `includes`: the extra keys that may be asked for; none: the call has no `include`.
    """
    given = dict(query)
    errors: dict[str, list[str]] = {}
    per_page = _per_page(given, errors)
    after = given.get("cursor")
    if after is not None and after not in names:
        errors["cursor"] = ["The cursor is not one of ours; begin again without it."]
    include = _include(given, errors, includes) if includes else frozenset()
    if errors:
        raise InvalidValue(errors)
    start = names.index(after) + 1 if after is not None else 0
    stop = min(start + per_page, len(names))
    cursor = names[stop - 1] if stop < len(names) else None
    return Slice(start, stop, per_page, "per_page" in given, cursor, include)


def parse_include(query: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The `include` of a call for one connection."""
    errors: dict[str, list[str]] = {}
    include = _include(dict(query), errors)
    if errors:
        raise InvalidValue(errors)
    return include


def parse_whole_number(query: Sequence[tuple[str, str]], name: str, default: int, least: int, most: int) -> int:
    """A whole number from `least` to `most`, or InvalidValue."""
    value = dict(query).get(name)
    if value is None:
        return default
    if value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most:
        return int(value)
    raise InvalidValue({name: [f"{name} must be a whole number from {least} to {most}."]})


def next_cursor(page: Page, last: Summary) -> str:
    """The cursor behind a page's last row; opaque to callers."""
    value = last.label.casefold() if page.sort == "label" else getattr(last, page.sort)
    text = msgspec.json.encode([page.sort, page.descending, value, last.uuid])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _per_page(given: dict[str, str], errors: dict[str, list[str]]) -> int:
    try:
        return parse_whole_number(list(given.items()), "per_page", LARGEST_PAGE, 1, LARGEST_PAGE)
    except InvalidValue as error:
        errors.update({name: list(problems) for name, problems in error.errors.items()})
        return LARGEST_PAGE


def _sort(given: dict[str, str], errors: dict[str, list[str]]) -> tuple[str, bool]:
    text = given.get("sort", "created_at")
    name = text.removeprefix("-")
    if name not in SORTS:
        errors["sort"] = [f"sort must be one of {', '.join(SORTS)}, with - before it for descending order."]
        return "created_at", False
    return name, text.startswith("-")


def _filters(given: dict[str, str], errors: dict[str, list[str]]) -> dict[str, str]:
    filters: dict[str, str] = {}
    for key, value in given.items():
        if not key.startswith("filter"):
            continue
        name = key.removeprefix("filter[").removesuffix("]")
        if key != f"filter[{name}]" or name not in FILTERS:
            errors[key] = [f"There is no such filter; the filters are {', '.join(FILTERS)}."]
        elif name == "status" and value not in list(Status):
            errors[key] = [f"The status must be one of {', '.join(Status)}."]
        elif name == "uuid" and not _is_uuid(value):
            errors[key] = ["The UUID is malformed."]
        elif len(value) > LONGEST_FILTER:
            errors[key] = [f"The value must not be longer than {LONGEST_FILTER} characters."]
        elif "\0" in value:
            errors[key] = ["The value must not contain control characters."]
        else:
            filters[name] = value.lower() if name == "uuid" else value
    return filters


def _include(given: dict[str, str], errors: dict[str, list[str]], known: Sequence[str] = INCLUDES) -> frozenset[str]:
    names = frozenset(name for name in given.get("include", "").split(",") if name)
    if unknown := names - set(known):
        errors["include"] = [f"include knows {', '.join(known)}, not {', '.join(sorted(unknown))}."]
    return names


def _cursor(
    given: dict[str, str], sort: str, descending: bool, errors: dict[str, list[str]]
) -> tuple[int | str, str] | None:
    if "cursor" not in given:
        return None
    try:
        text = given["cursor"]
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        decode = _decode_label_cursor if sort == "label" else _decode_instant_cursor
        made_for, was_descending, value, uuid = decode(decoded)
        if (made_for, was_descending) == (sort, descending) and "\0" not in f"{value}" and _is_uuid(uuid):
            return value, uuid
    except (ValueError, msgspec.DecodeError):
        pass
    errors["cursor"] = ["The cursor is not one of ours for this order; begin again without it."]
    return None


def _is_uuid(value: str) -> bool:
    try:
        return str(uuids.UUID(value)) == value.lower()
    except ValueError:
        return False
