"""Icons of the Simple Icons collection, where it gives them away (CC0 1.0)."""

from __future__ import annotations

import functools
import re

_FREE = (None, "CC0-1.0")
"""The licences that the collection notes for icons which are under its own, CC0 1.0, and no other."""
# Nothing but what a path is made of (SVG 2 §9.3) gets into a drawing of ours, whatever the collection holds.
_PATH = re.compile(r'<path d="([MmZzLlHhVvCcSsQqTtAa0-9 ,.e+-]+)"/>')


@functools.cache
def icon_path(slug: str) -> str | None:
    """The path of an icon that fills a square of 24; None where the collection has none, or not for all to use."""
    # Here, because importing it takes 20 ms, which only whoever draws should pay.
    from simple_icons_pack import get_icon

    icon = get_icon(slug)
    if icon is None or icon.license not in _FREE:
        return None
    found = _PATH.findall(icon.svg)
    return found[0] if len(found) == 1 else None
