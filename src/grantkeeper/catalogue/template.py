"""URLs with placeholders, such as `https://{host}/oauth/token`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from grantkeeper.urls import url_problem

__all__ = ["fill", "issuer_template_problem", "placeholders", "template_problem", "url_problem"]

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def placeholders(template: str) -> tuple[str, ...]:
    """The names in a template, each once, in the order they first come."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(template)))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every placeholder replaced; KeyError names one that has no value."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def template_problem(template: str) -> str | None:
    """Why this is no URL with placeholders, as far as it can be told before they have values; None: it is one."""
    sample = _PLACEHOLDER.sub("x", template)
    if "{" in sample or "}" in sample:
        return "has a brace that is not part of a {placeholder} in lower case"
    if _PLACEHOLDER.match(template):
        # The whole start is a parameter's: its scheme and host are looked at when it has a value.
        sample = f"https://{sample}"
    return url_problem(sample)


def issuer_template_problem(template: str) -> str | None:
    """The same for an authorization server's issuer."""
    return template_problem(template) or ("must not contain a query" if "?" in template else None)
