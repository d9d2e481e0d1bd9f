"""The form of a page, as a browser would fill it in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx2


@dataclass(frozen=True)
class Form:
    """Where a form goes, and what its fields and buttons hold."""

    action: str
    fields: dict[str, str]


def form_of(response: httpx2.Response) -> Form | None:
    """The last form of a page; None where there is none."""
    parser = _FormParser()
    parser.feed(response.text)
    if parser.action is None:
        return None
    return Form(urljoin(str(response.url), parser.action), parser.fields)


def words_of(response: httpx2.Response) -> str:
    """What a page says, up to 500 characters."""
    words = re.sub(r"<style.*?</style>|<[^>]*>", " ", response.text, flags=re.DOTALL)
    return " ".join(words.split())[:500]


class _FormParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form":
            self.action = attributes.get("action") or ""
        elif tag in ("input", "button") and "name" in attributes:
            self.fields[attributes["name"] or ""] = attributes.get("value") or ""
