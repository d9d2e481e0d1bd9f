"""The questions of `grantkeeper providers new --ask`: each answer is checked before the next question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, get_args

import click

from grantkeeper.catalogue.template import template_problem
from grantkeeper.catalogue.values import CATEGORIES
from grantkeeper.terms import ClientAuthentication, ValueType
from grantkeeper.urls import VALUE_PATTERNS, VALUE_WORDS, placeholders, url_problem

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = "Name in URLs and settings, such as acme"


def ask_name(given: str | None) -> str:
    """The definition's name."""
    return given or str(_ask(_NAME, _slug))


def ask_about(name: str, label: str | None, category: str | None) -> dict[str, Any]:
    """What people see of it."""
    choices = click.Choice(CATEGORIES)
    return {
        "label": label or click.prompt("Name that people know", default=name.replace("-", " ").title(), err=True),
        "category": [category or click.prompt("What it is about", type=choices, default="other", err=True)],
    }


def ask_definition() -> dict[str, Any]:
    """The tables, and the page that the answers come from (`docs_url`), if there is one."""
    page = _ask("The provider's own page about OAuth 2 (Enter: none)", _optional(url_problem), default="")
    authorization = _ask("Authorization URL; {name} stands for a value to be given", _template)
    token = _ask("Token URL", _template)
    method = click.prompt(
        "How we prove ourselves",
        type=click.Choice(get_args(ClientAuthentication)),
        default="client_secret_basic",
        err=True,
    )
    pkce = method == "none" or click.confirm("Does it take PKCE? (yes, unless it refuses it)", default=True, err=True)
    scopes = click.prompt("Scopes to ask for, spaces between (Enter: none)", default="", show_default=False, err=True)
    tables: dict[str, Any] = {
        "authorization": {"url": authorization} | ({} if pkce else {"pkce": "none"}),
        "scopes": _scopes(scopes.split()),
        "token": {"url": token, "client_authentication": method},
    }
    tables |= _refresh() | _revocation() | _identity()
    given = _parameters(table["url"] for table in tables.values() if "url" in table)
    return ({"docs_url": page} if page else {}) | ({"parameters": given} if given else {}) | tables


def _scopes(scopes: list[str]) -> dict[str, Any]:
    if not scopes:
        return {}
    separators = {"space": " ", "comma": ",", "semicolon": ";"}
    answer = click.prompt("What stands between them", type=click.Choice(separators), default="space", err=True)
    separator = separators[answer]
    meaning = {scope: click.prompt(f"What {scope} allows, in plain words", err=True) for scope in scopes}
    return {"default": scopes} | ({} if separator == " " else {"separator": separator}) | {"meaning": meaning}


def _refresh() -> dict[str, Any]:
    if click.confirm("Does it give refresh tokens?", default=True, err=True):
        return {}
    return {"refresh": {"supported": False}}


def _revocation() -> dict[str, Any]:
    url = _ask("Revocation URL, RFC 7009 (Enter: none)", _optional(template_problem), default="")
    return {"revocation": {"style": "rfc7009", "url": url}} if url else {}


def _identity() -> dict[str, Any]:
    url = _ask("URL that tells whose token it is, as JSON (Enter: none)", _optional(template_problem), default="")
    if not url:
        return {}
    subject = click.prompt("Path of what never changes about the account", default="sub", err=True)
    label = click.prompt("Path of what a person recognises it by", default="email", err=True)
    return {"identity": {"source": "userinfo", "url": url, "subject": subject, "label": label}}


def _parameters(urls: Iterable[str]) -> dict[str, Any]:
    found: dict[str, str] = {}
    for url in urls:
        for name in placeholders(url):
            found.setdefault(name, url)
    return {name: _parameter(name, url) for name, url in found.items()}


def _parameter(name: str, url: str) -> dict[str, Any]:
    label = click.prompt(f"What people call {{{name}}}", default=name.replace("_", " ").capitalize(), err=True)
    who = click.prompt("Who gives it", type=click.Choice(("operator", "connection")), default="operator", err=True)
    kinds = click.Choice(get_args(ValueType))
    kind: ValueType = click.prompt("What kind of value it is", type=kinds, default=_likely(name, url), err=True)
    example = _ask("A value as it might look", _of_type(kind))
    return {"label": label, "ask": who, "type": kind, "example": example}


def _likely(name: str, url: str) -> ValueType:
    """What stands in that place of a URL, most often."""
    if url.startswith(f"{{{name}}}"):
        return "url"
    host = url.partition("://")[2].partition("/")[0]
    if host == f"{{{name}}}":
        return "host"
    return "subdomain" if f"{{{name}}}" in host else "text"


def _of_type(kind: ValueType) -> Callable[[str], str]:
    def check(answer: str) -> str:
        if not re.fullmatch(VALUE_PATTERNS[kind], answer):
            raise click.UsageError(f"It must be {VALUE_WORDS[kind]}.")
        return answer

    return check


def _ask(question: str, check: Callable[[str], str], default: str | None = None) -> str:
    answer: str = click.prompt(question, value_proc=check, default=default, show_default=False, err=True)
    return answer


def _slug(answer: str) -> str:
    if not _SLUG.fullmatch(answer) or len(answer) > 40:
        raise click.UsageError("Up to 40 lower-case letters and digits, with single hyphens between.")
    return answer


def _template(answer: str) -> str:
    if problem := template_problem(answer):
        raise click.UsageError(f"It {problem}.")
    return answer


def _optional(problem_of: Callable[[str], str | None]) -> Callable[[str], str]:
    def check(answer: str) -> str:
        if answer and (problem := problem_of(answer)):
            raise click.UsageError(f"It {problem}.")
        return answer

    return check
