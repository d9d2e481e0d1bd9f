"""The definition of a provider that the catalogue does not have: its operator names an issuer or a resource."""

from __future__ import annotations

import datetime
from typing import Any, get_args

from pydantic import ValidationError

from grantkeeper.catalogue.schema import Provider
from grantkeeper.config import ClientSettings
from grantkeeper.terms import ClientAuthentication

_COLOUR = "#475569"
_DATE = datetime.date(2026, 11, 22)


def generic_definition(name: str, given: ClientSettings) -> tuple[Provider | None, list[str]]:
    """A definition that leaves all to discovery, or None with what is wrong with the settings."""
    problems = _problems(name, given)
    if problems:
        return None, problems
    document: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "label": name.replace("-", " ").capitalize(),
        "category": ("other",),
        "colour": _COLOUR,
        "operator_supplied": True,
        "discovery": True,
        "verified": {"basis": "operator", "date": _DATE},
    }
    if given.client_authentication is not None:
        document["token"] = {"client_authentication": given.client_authentication}
    if given.resource is not None:
        document["resources"] = (given.resource,)
    try:
        return Provider.model_validate(document), []
    except ValidationError:
        # Of all these values only the name is the operator's own and unchecked.
        return None, [f"clients.{name}: the name must be up to 40 lower-case letters and digits, with single hyphens"]


def is_generic(given: ClientSettings) -> bool:
    """Whether the settings say where to look for a provider by themselves."""
    return given.issuer is not None or given.resource is not None


def _problems(name: str, given: ClientSettings) -> list[str]:
    if not is_generic(given):
        return [
            f"clients.{name}: the catalogue has no such provider; see `grantkeeper providers list`, or give the "
            "server's issuer, or the resource's URL"
        ]
    methods = get_args(ClientAuthentication)
    if given.client_authentication is not None and given.client_authentication not in methods:
        return [f"clients.{name}.client_authentication: must be one of {', '.join(methods)}"]
    return []
