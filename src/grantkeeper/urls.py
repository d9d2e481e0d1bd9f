"""What a URL of a provider must be, whoever names it: a definition, the operator, or the provider itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts of this machine, where plain http is as safe as https (RFC 8252 §8.3)."""


PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""What stands in a URL for a value of the client's or the connection's."""


def placeholders(template: str) -> tuple[str, ...]:
    """The names in a template, each once, in the order they first come."""
    return tuple(dict.fromkeys(PLACEHOLDER.findall(template)))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders replaced; those that have no value yet stay."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


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


def issuer_problem(issuer: str) -> str | None:
    """Why this is no authorization server's issuer (RFC 8414 §2); None: it is one."""
    if problem := url_problem(issuer):
        return problem
    return "must not contain a query" if "?" in issuer else None
