"""What commands print: JSON for programs, tables for people. Nothing here knows what it means."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from grantkeeper.clock import Instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDE = 240
"""Columns where nobody's terminal says otherwise, so that what `grep` gets is not broken into lines."""


def print_json(value: Any) -> None:
    """One line of JSON."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Rows under their headings; `empty` is what is said where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        # Narrow terminals break a cell rather than cut it: a UUID that lost its end is worth nothing.
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    if not table.rows:
        click.echo(empty)
        return
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False).print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; what is not known is left out."""
    known = {name: shown(value) for name, value in facts.items() if value not in (None, "", (), [], {})}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        click.echo(f"{name:<{width}}  {value}")


def shown(value: object) -> str:
    """A value as people read it. What came from elsewhere must not steer a terminal: it is made printable."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else _joined(value)
    return "".join(c if c.isprintable() else "�" for c in text)


def when(instant: Instant | None) -> str | None:
    """An instant for people, to the second."""
    return None if instant is None else f"{_EPOCH + timedelta(seconds=instant // 1_000_000):%Y-%m-%d %H:%M:%S}Z"


def timestamp(instant: Instant | None) -> str | None:
    """An instant for programs, to the microsecond, as the API writes it."""
    return None if instant is None else f"{_EPOCH + timedelta(microseconds=instant):%Y-%m-%dT%H:%M:%S.%f}Z"


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Iterable) else str(value)
