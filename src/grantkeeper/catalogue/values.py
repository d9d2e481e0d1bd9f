"""What the values of a definition must be, each with a message that says it in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from grantkeeper.catalogue.template import template_problem, url_problem

ClientAuthentication = Literal["client_secret_basic", "client_secret_post", "none"]
"""How the client proves itself (RFC 6749 §2.3.1; names of RFC 8414 §2)."""

ErrorMeaning = Literal["grant", "client", "transient"]
"""Who must act after an error: `grant` the user, `client` the operator, `transient` nobody: it is retried."""


def _matching(pattern: str, otherwise: str) -> AfterValidator:
    """A validator: the whole text matches, or the message says what it must be."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(otherwise)
        return value

    return AfterValidator(check)


def _without(problem: Callable[[str], str | None]) -> AfterValidator:
    """A validator out of a function that names the problem, or None."""

    def check(value: str) -> str:
        if found := problem(value):
            raise ValueError(found)
        return value

    return AfterValidator(check)


def _reserved(*names: str) -> AfterValidator:
    """A validator for tables whose keys must leave alone what Grantkeeper sends itself."""

    def check(value: dict[str, str]) -> dict[str, str]:
        if clash := sorted(name for name in value if name.lower() in names):
            raise ValueError(f"must not set {', '.join(clash)}: Grantkeeper sets it itself")
        return value

    return AfterValidator(check)


Url = Annotated[str, _without(url_problem)]
UrlTemplate = Annotated[str, _without(template_problem)]
Slug = Annotated[
    str,
    _matching(r"[a-z0-9]+(-[a-z0-9]+)*", "must be lower-case letters and digits, with single hyphens between"),
]
Text = Annotated[str, _matching(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*", "must be one line of text")]
Path = Annotated[str, _matching(r"[^.\s]+(\.[^.\s]+)*", "must be names separated by single dots")]
PathOrNothing = Annotated[str, _matching(r"([^.\s]+(\.[^.\s]+)*)?", "must be names separated by single dots")]
ScopeToken = Annotated[
    str,
    _matching(
        r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+",
        "must be scopes without spaces, commas, quotes or backslashes",
    ),
]
Words = Annotated[tuple[ScopeToken, ...], Field(strict=False)]
Seconds = Annotated[int, Field(gt=0)]
HeaderName = Annotated[str, _matching(r"[A-Za-z0-9-]+", "must be a header's name")]
Headers = Annotated[
    dict[HeaderName, Text],
    _reserved("authorization", "content-type", "content-length", "cookie", "host"),
]
AuthorizationParameters = Annotated[
    dict[str, Text],
    _reserved(
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    ),
]
TokenParameters = Annotated[
    dict[str, Text],
    _reserved(
        "client_id",
        "client_secret",
        "code",
        "code_verifier",
        "grant_type",
        "redirect_uri",
        "refresh_token",
        "scope",
    ),
]
ParameterName = Annotated[str, _matching(r"[a-z][a-z0-9_]*", "must be lower-case letters, digits and underscores")]
Colour = Annotated[str, _matching(r"#[0-9a-fA-F]{6}", "must be a colour like #1a73e8")]
