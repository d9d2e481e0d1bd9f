"""What a URL of a provider must be, whoever names it: a definition, the operator, or the provider itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from grantkeeper.terms import ValueType

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


VALUE_PATTERNS: Mapping[ValueType, str] = {
    "text": r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
    "subdomain": r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
    "host": r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+",
    "server": r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]+)?(/[A-Za-z0-9._-]+)*",
    "url": r"https?://[^\s/{}?#]+(/[^\s/{}?#]+)*",
    "uuid": r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "number": r"[0-9]+",
}
"""The regular expression that a value of each type matches as a whole."""

VALUE_WORDS: Mapping[ValueType, str] = {
    "text": "letters, digits, full stops, hyphens and underscores",
    "subdomain": "one part of a host's name: letters, digits and hyphens",
    "host": "a host's name, without https://",
    "server": "a host's name, with port and path where the server has them, without https://",
    "url": "a URL that ends in no slash",
    "uuid": "a UUID",
    "number": "digits",
}
"""The same in words."""

_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def meant(kind: ValueType, name: str, value: str, templates: Iterable[str]) -> str:
    """What a person means who pastes an address where a part of it is wanted.

    Of a host the name, of a server all but the scheme and the last slash, of a subdomain the part that stands in the
    place of `{name}` in one of these templates; anything else as it is.
    """
    value = value.strip()
    if kind not in ("subdomain", "host", "server"):
        return value
    bare = value[found.end() :] if (found := _SCHEME.match(value)) else value
    if kind == "server":
        return bare.rstrip("/")
    host = bare.partition("/")[0].partition("?")[0]
    if kind == "host":
        return host
    for template in templates:
        before, placeholder, after = template.partition("://")[2].partition("/")[0].partition(f"{{{name}}}")
        inner = host.removeprefix(before).removesuffix(after)
        if placeholder and after and host == before + inner + after:
            return inner
    return value


# What keeps to its place in a URL (RFC 3986 §3.2.2 and §3.3): it ends neither host nor segment, and climbs nowhere.
_LONGEST_VALUE = 500
_IN_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?")
_IN_PATH = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~:@-]+")


def fits(template: str, name: str, value: str) -> bool:
    """Whether a value that a user or a provider gives may stand in a template: it must keep to its place there.

    A template that begins with the placeholder leaves scheme and host to the value; any other says where it leads.
    """
    before, placeholder, _ = template.partition(f"{{{name}}}")
    if not placeholder:
        return True
    if len(value) > _LONGEST_VALUE:
        return False
    if not before:
        return value.isascii() and not set("?\\") & set(value) and url_problem(value) is None
    in_host = "/" not in before.partition("://")[2]
    return (_IN_HOST if in_host else _IN_PATH).fullmatch(value) is not None


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
