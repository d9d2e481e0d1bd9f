"""Members of an answer at the places where a provider with quirks has them."""

from __future__ import annotations

from collections.abc import Mapping

from grantkeeper.testing.asgi import Headers

_HEADER = "@header."


def spread(members: Mapping[str, object], paths: Mapping[str, str]) -> tuple[dict[str, object], Headers]:
    """The members where `paths` wants them: in the body, in headers, or nowhere."""
    body: dict[str, object] = {}
    headers = []
    for name, value in members.items():
        path = paths.get(name, name)
        if path.startswith(_HEADER):
            headers.append((path.removeprefix(_HEADER), str(value)))
        elif path:
            put(body, path, value)
    return body, tuple(headers)


def put(document: dict[str, object], path: str, value: object) -> None:
    """Set what a dotted path leads to; TypeError where something else stands in the way."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = document.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise TypeError(f"{parent} is a member already, and cannot hold {last}")
        document = inner
    document[last] = value


def nested(path: str, members: Mapping[str, object]) -> dict[str, object]:
    """The members at a path of a document that holds nothing else; an empty path: they are the document."""
    document: dict[str, object] = {}
    if not path:
        return dict(members)
    put(document, path, members)
    return document
