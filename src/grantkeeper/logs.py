"""Structured logs: one JSON object a line, on standard error.

Our own events are written straight to the stream: one stands behind every request, and the standard
library's way there takes a quarter of a request's time. Libraries log through the standard library
and stay at WARNING, because some of them print headers and URLs, and so secrets, when asked to be
chatty.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import msgspec

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

_NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error"}
_encode = msgspec.json.Encoder().encode


class _Sink:
    """Where events go, and from which level on; warnings go to standard error until `configure` is called."""

    level = WARNING
    write: Callable[[str], object] = staticmethod(lambda line: sys.stderr.write(line))


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send events from `level` on, and the libraries' warnings, to `stream` (standard error by default)."""
    out = stream or sys.stderr
    _Sink.level = logging.getLevelNamesMapping()[level.upper()]
    _Sink.write = out.write
    handler = logging.StreamHandler(out)
    handler.setFormatter(_LibraryFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(WARNING)


def enabled(level: int) -> bool:
    """Whether events of that level are written."""
    return level >= _Sink.level


def event(name: str, *, level: int = INFO, **fields: Any) -> None:
    """Write that `name` happened; `fields` are numbers, words and identifiers, never a secret."""
    if level >= _Sink.level:
        _Sink.write(_line(time.time(), level, name, fields))


def crash(name: str, error: BaseException, **fields: Any) -> None:
    """Write an error that nobody foresaw: its type and the lines it passed, not its text, which may quote a value."""
    event(name, level=ERROR, **fields, exception=_places(type(error), error.__traceback__))


class _LibraryFormatter(logging.Formatter):
    """A library's record in the shape of ours."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = _places(record.exc_info[0], record.exc_info[2])
        return _line(record.created, record.levelno, record.getMessage(), fields).rstrip("\n")


def _line(at: float, level: int, name: str, fields: dict[str, Any]) -> str:
    when = f"{_second(int(at))}.{int(at % 1 * 1000):03d}+00:00"
    shown = {"time": when, "level": _NAMES.get(level, str(level)), "event": name, **fields}
    return _encode(shown).decode() + "\n"


@functools.lru_cache(maxsize=2)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _places(kind: type[BaseException], traceback: TracebackType | None) -> list[str]:
    places = [kind.__name__]
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('grantkeeper/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return places
