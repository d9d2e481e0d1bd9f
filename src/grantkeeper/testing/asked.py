"""What authorization and token requests ask for in the same words: scopes, resources, authorization details."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from grantkeeper.testing.asgi import Parameters
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.vocabulary import OAuthError


def scopes_asked(ground: Ground, form: Parameters) -> tuple[str, ...]:
    """Scopes asked for, or those given to whoever names none; `invalid_scope` for one that is not known."""
    scopes = tuple(dict.fromkeys((form.get("scope") or " ".join(ground.base_scopes)).split()))
    if not set(scopes) <= set(ground.scopes):
        raise OAuthError("invalid_scope", "A scope is not known here.")
    return scopes


def resources_asked(ground: Ground, form: Parameters) -> tuple[str, ...]:
    """Resources named (RFC 8707 §2), or `invalid_target`; none where the feature is off."""
    if not ground.features.resource_indicators:
        return ()
    resources = tuple(dict.fromkeys(form.all("resource")))
    known = ground.features.resources
    for resource in resources:
        parts = urlsplit(resource)
        if not parts.scheme or "#" in resource or (known and resource not in known):
            raise OAuthError("invalid_target", "A resource is not known here.")
    return resources


def details_asked(ground: Ground, form: Parameters) -> list[dict[str, Any]]:
    """Authorization details (RFC 9396 §5), or `invalid_authorization_details`; none where the feature is off."""
    text = form.get("authorization_details")
    if text is None or not ground.features.authorization_details:
        return []
    try:
        details = msgspec.json.decode(text, type=list[dict[str, Any]])
    except msgspec.DecodeError as error:
        raise OAuthError("invalid_authorization_details", "It is not a JSON array of objects.") from error
    if any(detail.get("type") not in ground.features.authorization_details for detail in details):
        raise OAuthError("invalid_authorization_details", "A type is not known here.")
    return details


def required(form: Parameters, name: str) -> str:
    """The value of a parameter, or `invalid_request`."""
    value = form.get(name)
    if value is None:
        raise OAuthError("invalid_request", f"The parameter {name} is missing.")
    return value
