"""URLs with placeholders, such as `https://{host}/oauth/token`, and what a URL must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts of this machine, where plain http is as safe as https (RFC 8252 §8.3)."""

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def placeholders(template: str) -> tuple[str, ...]:
    """The names in a template, each once, in the order they first come."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(template)))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every placeholder replaced; KeyError names one that has no value."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def url_problem(url: str) -> str | None:
    """Why this is no URL of a provider; None: it is one.

    https, except on loopback hosts (RFC 6749 §3.1.2.1 and §3.2); no fragment (§3.1); no user in it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is not a URL: {error}"
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        return "must start with https:// (http:// is for loopback hosts only)"
    if not host:
        return "has no host"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "must not contain spaces or control characters"
    if "#" in url or "@" in parts.netloc:
        return "must not contain a fragment, a user or a password"
    return None


def template_problem(template: str) -> str | None:
    """The same for a URL with placeholders, as far as it can be told before they have values."""
    sample = _PLACEHOLDER.sub("x", template)
    if "{" in sample or "}" in sample:
        return "has a brace that is not part of a {placeholder} in lower case"
    if _PLACEHOLDER.match(template):
        # The whole start is a parameter's: its scheme and host are looked at when it has a value.
        sample = f"https://{sample}"
    return url_problem(sample)
