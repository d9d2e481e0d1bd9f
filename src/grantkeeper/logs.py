"""Structured logs: one JSON object a line, on standard error.

Only this product's own logger follows the operator's level; libraries stay at WARNING, because some
of them print headers and URLs, and so secrets, when they are asked to be chatty.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

LOGGER = logging.getLogger("grantkeeper")
_encode = msgspec.json.Encoder().encode


def event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log that `name` happened; `fields` are numbers, words and identifiers, never a secret."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, name, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, event, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.name != LOGGER.name:
            line["logger"] = record.name
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self._where(record)
        return _encode(line).decode()

    def _where(self, record: logging.LogRecord) -> list[str]:
        """The exception's type and the lines it passed; not its text, which may quote a value."""
        assert record.exc_info is not None
        kind, _, traceback = record.exc_info
        places = [kind.__name__ if kind else "?"]
        while traceback is not None:
            code = traceback.tb_frame.f_code
            places.append(f"{code.co_filename.rpartition('grantkeeper/')[2]}:{traceback.tb_lineno} {code.co_name}")
            traceback = traceback.tb_next
        return places


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send every record to `stream` (standard error by default), ours from `level` on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level.upper())
