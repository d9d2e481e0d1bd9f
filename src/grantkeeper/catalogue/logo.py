"""Banners and icons in SVG, drawn from a definition's label and colour: no artwork but the icon that it names.

Each is drawn once and kept: equal definitions give equal text.
"""

from __future__ import annotations

import functools
import unicodedata
from xml.sax.saxutils import escape, quoteattr

from grantkeeper.catalogue.icons import icon_path
from grantkeeper.catalogue.schema import Provider

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_DARK, _LIGHT = "#111827", "#ffffff"
_WIDTH, _HEIGHT, _TEXT_WIDTH = 320, 96, 212
_LARGEST_TEXT = 30
_MOST_DRAWN = 1024
# How wide a bold letter is for each unit of its size, in the widest of those fonts.
_LETTER, _CAPITAL, _WIDE = 0.72, 0.82, 1.12
_BREADTHS = {
    **dict.fromkeys("ijlI.,:;!|' ", 0.42),
    **dict.fromkeys("tfr-/()[]", 0.5),
    **dict.fromkeys("mwMWQ@%&—", _WIDE),
}


def banner_svg(provider: Provider) -> str:
    """A banner of 320 by 96: a tile with the icon or the initial, and the label, in two lines where it is long."""
    return _banner(provider.label, provider.colour, provider.icon)


def icon_svg(provider: Provider) -> str:
    """A square of 64 for lists: the icon, or the initial, on the definition's colour."""
    return _icon(provider.label, provider.colour, provider.icon)


def readable_ink(colour: str) -> str:
    """Near-black or white, whichever stands out more on a `#rrggbb` colour (WCAG 2.2 §1.4.3)."""
    return max((_DARK, _LIGHT), key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two `#rrggbb` colours, from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@functools.lru_cache(_MOST_DRAWN)
def _banner(label: str, colour: str, icon: str | None) -> str:
    ink = readable_ink(colour)
    return _document(
        label,
        _WIDTH,
        _HEIGHT,
        _rectangle(0, 0, _WIDTH, _HEIGHT, 16, colour, edge=ink),
        _rectangle(20, 20, 56, 56, 14, ink),
        _emblem(label, icon, middle=48, size=32, fill=colour),
        *_lines(label, ink),
    )


@functools.lru_cache(_MOST_DRAWN)
def _icon(label: str, colour: str, icon: str | None) -> str:
    ink = readable_ink(colour)
    return _document(
        label,
        64,
        64,
        _rectangle(0, 0, 64, 64, 14, colour, edge=ink),
        _emblem(label, icon, middle=32, size=34, fill=ink),
    )


def _emblem(label: str, icon: str | None, *, middle: int, size: int, fill: str) -> str:
    """The icon of that slug, or the label's initial where there is no such icon."""
    path = icon_path(icon) if icon is not None else None
    if path is None:
        return _text(_initial(label), x=middle, y=middle, size=size, fill=fill, anchor="middle")
    corner, scale = middle - size // 2, f"{size / 24:.4g}"
    return f'<path transform="translate({corner} {corner}) scale({scale})" fill="{fill}" d="{path}"/>'


def _lines(label: str, ink: str) -> list[str]:
    """The label beside the tile: in two lines where that lets it be larger."""
    lines = min(([label], *_halves(label)), key=lambda lines: -_size(lines))
    size = _size(lines)
    top = _HEIGHT // 2 - (len(lines) - 1) * size * 0.6
    return [
        _text(line, x=92, y=top + row * size * 1.2, size=size, fill=ink, anchor="start")
        for row, line in enumerate(lines)
    ]


def _halves(label: str) -> list[list[str]]:
    """Every way to break the label in two between words."""
    words = label.split()
    return [[" ".join(words[:cut]), " ".join(words[cut:])] for cut in range(1, len(words))]


def _size(lines: list[str]) -> int:
    """The largest size at which all these lines fit."""
    return max(1, min(_LARGEST_TEXT, int(_TEXT_WIDTH / max(map(_breadth, lines)))))


def _breadth(text: str) -> float:
    """How wide a text is for each unit of its size, at most."""
    return sum(map(_letter_breadth, text)) or _LETTER


def _letter_breadth(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0
    if unicodedata.east_asian_width(letter) in "WF" or ord(letter) > 0xFFFF:
        return _WIDE
    return _BREADTHS.get(letter, _CAPITAL if letter.isupper() else _LETTER)


def _luminance(colour: str) -> float:
    """Relative luminance from 0 to 1 (WCAG 2.2, "relative luminance")."""
    channels = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _initial(label: str) -> str:
    return next((character for character in label if character.isalnum()), label[0]).upper()


def _document(label: str, width: int, height: int, *shapes: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(label)}>'
        f"<title>{escape(label)}</title>{''.join(shapes)}</svg>\n"
    )


def _rectangle(x: int, y: int, width: int, height: int, radius: int, fill: str, edge: str | None = None) -> str:
    """A box; a faint edge tells where it ends on a page of its own colour."""
    stroke = f' stroke="{edge}" stroke-opacity="0.15" stroke-width="4"' if edge is not None else ""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}"{stroke}/>'


def _text(text: str, *, x: int, y: float, size: int, fill: str, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{y:g}" font-family="{_FONT}" font-size="{size}" font-weight="700" fill="{fill}" '
        f'text-anchor="{anchor}" dominant-baseline="central">{escape(text)}</text>'
    )
