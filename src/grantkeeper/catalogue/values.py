"""What the values of a definition must be, each with a message that says it in plain words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from grantkeeper.catalogue.template import issuer_template_problem, template_problem, url_problem

CATEGORIES = (
    "accounting",
    "advice",
    "analytics",
    "automation",
    "banking",
    "calendar",
    "commerce",
    "communication",
    "crm",
    "demo",
    "design",
    "developer",
    "documents",
    "education",
    "email",
    "files",
    "finance",
    "gaming",
    "government",
    "health",
    "hr",
    "identity",
    "investment",
    "legal",
    "marketing",
    "media",
    "other",
    "payments",
    "productivity",
    "project",
    "property",
    "sales",
    "security",
    "social",
    "storage",
    "support",
    "surveys",
    "transport",
)
"""What the shipped providers are about: how the gallery groups them. An operator's may be about something else."""


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


def _only_json(value: dict[str, Any]) -> dict[str, Any]:
    """The table, where JSON can say all that stands in it (RFC 8259 §3); TOML knows dates and infinities too."""
    for path, found in _leaves(value, ()):
        if not isinstance(found, (str, int, float)) or (isinstance(found, float) and not math.isfinite(found)):
            where = ".".join(path)
            raise ValueError(
                f"{where} must be a text, a number, true or false, a list or a table; write a date in quotes"
            )
    return value


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
        return
    for key, member in inner:
        yield from _leaves(member, (*path, str(key)))


def _claims_request(value: dict[str, Any]) -> dict[str, Any]:
    """Claims by where they are wanted (OpenID Connect Core §5.5)."""
    for place, claims in value.items():
        if place not in ("id_token", "userinfo"):
            raise ValueError(f"must hold the tables id_token and userinfo, each with claims by name, not '{place}'")
        if not isinstance(claims, dict) or not all(isinstance(wanted, (dict, list)) for wanted in claims.values()):
            raise ValueError(
                f"{place} must hold a table for each claim; an empty one, such as email = {{}}, asks for it"
            )
    return value


def _typed(value: dict[str, Any]) -> dict[str, Any]:
    """One authorization detail (RFC 9396 §2)."""
    kind = value.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError("must have a type, a text that the provider's documentation names")
    return value


def _page_problem(url: str) -> str | None:
    """Why this is no page to be read by people, which may name a place in it."""
    return url_problem(url.partition("#")[0])


Url = Annotated[str, _without(url_problem)]
PageUrl = Annotated[str, _without(_page_problem)]
UrlTemplate = Annotated[str, _without(template_problem)]
IssuerTemplate = Annotated[str, _without(issuer_template_problem)]
Resource = Annotated[
    str,
    _matching(
        r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#\x00-\x1f\x7f]+",
        "must be an absolute URI without a fragment, such as https://api.example.com",
    ),
]
Claims = Annotated[dict[str, Any], AfterValidator(_claims_request), AfterValidator(_only_json)]
Detail = Annotated[dict[str, Any], AfterValidator(_typed), AfterValidator(_only_json)]
Slug = Annotated[
    str,
    _matching(r"[a-z0-9]+(-[a-z0-9]+)*", "must be lower-case letters and digits, with single hyphens between"),
]
Text = Annotated[str, _matching(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*", "must be one line of text")]
Path = Annotated[
    str,
    _matching(
        r"@header\.[a-z0-9-]+|[^.\s@][^.\s]*(\.[^.\s]+)*",
        "must be names separated by single dots, or @header. and the name of a header in lower case",
    ),
]
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
    _reserved("authorization", "content-type", "content-length", "cookie", "dpop", "host"),
]
AuthorizationParameters = Annotated[
    dict[str, Text],
    _reserved(
        "authorization_details",
        "claims",
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "dpop_jkt",
        "login_hint",
        "max_age",
        "nonce",
        "redirect_uri",
        "request_uri",
        "resource",
        "response_mode",
        "response_type",
        "scope",
        "state",
    ),
]
_OF_TOKEN_REQUESTS = (
    "assertion",
    "authorization_details",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "grant_type",
    "redirect_uri",
    "refresh_token",
    "requested_token_type",
    "resource",
    "subject_token",
    "subject_token_type",
)
TokenParameters = Annotated[dict[str, Text], _reserved(*_OF_TOKEN_REQUESTS, "scope")]
RefreshParameters = Annotated[dict[str, Text], _reserved(*_OF_TOKEN_REQUESTS)]
AssertionClaims = Annotated[dict[str, Text], _reserved("aud", "exp", "iat", "iss", "jti", "nbf", "sub")]


def _json_object(value: str) -> str:
    """A text that is a JSON object."""
    try:
        found = json.loads(value)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("must be a JSON object")
    return value


JsonText = Annotated[str, AfterValidator(_json_object)]
Renames = Annotated[
    dict[Text, Annotated[str, _matching(r"[\x21-\x7e]*", "must be a parameter's name, or empty to leave it out")]],
    Field(),
]
HostPattern = Annotated[
    str,
    _matching(
        r"(\*\.)?([a-z0-9-]|\{[a-z][a-z0-9_]*\})+(\.([a-z0-9-]|\{[a-z][a-z0-9_]*\})+)*",
        "must be a host name, perhaps with placeholders, or *. and a domain",
    ),
]
HttpStatus = Annotated[int, Field(ge=400, le=599)]
ParameterName = Annotated[str, _matching(r"[a-z][a-z0-9_]*", "must be lower-case letters, digits and underscores")]
Colour = Annotated[str, _matching(r"#[0-9a-fA-F]{6}", "must be a colour like #1a73e8")]
