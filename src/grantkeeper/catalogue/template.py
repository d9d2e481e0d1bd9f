"""URLs with placeholders, such as `https://{host}/oauth/token`."""

from __future__ import annotations

from grantkeeper.urls import PLACEHOLDER, fill, placeholders, url_problem

__all__ = ["fill", "issuer_template_problem", "placeholders", "template_problem", "url_problem"]


def template_problem(template: str) -> str | None:
    """Why this is no URL with placeholders, as far as it can be told before they have values; None: it is one."""
    sample = PLACEHOLDER.sub("x", template)
    if "{" in sample or "}" in sample:
        return "has a brace that is not part of a {placeholder} in lower case"
    if PLACEHOLDER.match(template):
        # The whole start is a parameter's: its scheme and host are looked at when it has a value.
        sample = f"https://{sample}"
    return url_problem(sample)


def issuer_template_problem(template: str) -> str | None:
    """The same for an authorization server's issuer."""
    return template_problem(template) or ("must not contain a query" if "?" in template else None)
