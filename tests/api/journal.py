"""The log as an operator reads it."""

from __future__ import annotations

import io
from typing import Any

import msgspec


class Journal:
    """The lines that were logged since the test began, at level debug."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        """All of it, as an operator would read it."""
        return self._stream.getvalue()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of one event, decoded."""
        lines = [msgspec.json.decode(line) for line in self.text.splitlines()]
        return [line for line in lines if line["event"] == name]
