"""The questions of `grantkeeper providers new --ask`: each answer is checked before the next question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, get_args

import click

from grantkeeper.catalogue.template import template_problem
from grantkeeper.catalogue.values import CATEGORIES
from grantkeeper.terms import ClientAuthentication
from grantkeeper.urls import placeholders, url_problem

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
    given = _parameters((authorization, token))
    return ({"docs_url": page} if page else {}) | ({"parameters": given} if given else {}) | tables


def _scopes(scopes: list[str]) -> dict[str, Any]:
    if not scopes:
        return {}
    separator = {"space": " ", "comma": ",", "plus": "+"}[
        click.prompt(
            "What stands between them", type=click.Choice(("space", "comma", "plus")), default="space", err=True
        )
    ]
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
    names = dict.fromkeys(name for url in urls for name in placeholders(url))
    return {name: _parameter(name) for name in names}


def _parameter(name: str) -> dict[str, Any]:
    label = click.prompt(f"What people call {{{name}}}", default=name.replace("_", " ").capitalize(), err=True)
    who = click.prompt("Who gives it", type=click.Choice(("operator", "connection")), default="operator", err=True)
    example = click.prompt("A value as it might look", err=True)
    return {"label": label, "ask": who, "example": example}


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
