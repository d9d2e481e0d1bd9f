"""Banners and icons in SVG, drawn from a definition's label and colour: no artwork of anybody."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from grantkeeper.catalogue.schema import Provider

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_DARK, _LIGHT = "#111827", "#ffffff"
_WIDTH, _HEIGHT, _TEXT_WIDTH = 320, 96, 212
_LARGEST_TEXT = 30
# A bold letter is about this wide for each unit of its size, in the widest of those fonts.
_LETTER_WIDTH = 0.72


def banner_svg(provider: Provider) -> str:
    """A banner of 320 by 96: a tile with the initial, and the label. Equal definitions give equal text."""
    ink = readable_ink(provider.colour)
    size = min(_LARGEST_TEXT, int(_TEXT_WIDTH / (_LETTER_WIDTH * len(provider.label))))
    return _document(
        provider,
        _WIDTH,
        _HEIGHT,
        _rectangle(0, 0, _WIDTH, _HEIGHT, 16, provider.colour),
        _rectangle(20, 20, 56, 56, 14, ink),
        _text(_initial(provider.label), x=48, y=48, size=32, fill=provider.colour, anchor="middle"),
        _text(provider.label, x=92, y=48, size=size, fill=ink, anchor="start"),
    )


def icon_svg(provider: Provider) -> str:
    """A square of 64 for lists: the initial on the definition's colour."""
    ink = readable_ink(provider.colour)
    return _document(
        provider,
        64,
        64,
        _rectangle(0, 0, 64, 64, 14, provider.colour),
        _text(_initial(provider.label), x=32, y=32, size=34, fill=ink, anchor="middle"),
    )


def readable_ink(colour: str) -> str:
    """Near-black or white, whichever stands out more on a `#rrggbb` colour (WCAG 2.2 §1.4.3)."""
    return max((_DARK, _LIGHT), key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two `#rrggbb` colours, from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance from 0 to 1 (WCAG 2.2, "relative luminance")."""
    channels = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _initial(label: str) -> str:
    return next((character for character in label if character.isalnum()), label[0]).upper()


def _document(provider: Provider, width: int, height: int, *shapes: str) -> str:
    title = escape(provider.label)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(provider.label)}>'
        f"<title>{title}</title>{''.join(shapes)}</svg>\n"
    )


def _rectangle(x: int, y: int, width: int, height: int, radius: int, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}"/>'


def _text(text: str, *, x: int, y: int, size: int, fill: str, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{y}" font-family="{_FONT}" font-size="{size}" font-weight="700" fill="{fill}" '
        f'text-anchor="{anchor}" dominant-baseline="central">{escape(text)}</text>'
    )
