"""A definition in plain words: what an operator must know and do before people can connect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grantkeeper.catalogue.schema import Provider
    from grantkeeper.catalogue.tables import Parameter, Verification

_BASIS = {
    "documentation": "read in the provider's own documentation",
    "libraries": "other software agrees on them; no page of the provider itself confirmed them",
    "operator": "the provider publishes none: you give them",
    "product": "they ship with Grantkeeper",
}
_PROOF = {
    "client_secret_basic": "client secret, in the Authorization header",
    "client_secret_post": "client secret, in the body",
    "client_secret_jwt": "a JWT signed with the client secret",
    "private_key_jwt": "a JWT signed with a key of ours: see `grantkeeper keys`",
    "tls_client_auth": "a certificate: see `grantkeeper keys`",
    "self_signed_tls_client_auth": "a certificate of our own: see `grantkeeper keys`",
    "none": "nothing: a public client",
}


def basis(verified: Verification) -> str:
    """Where the facts come from, in a sentence."""
    return f"{_BASIS[verified.basis]} ({verified.date})"


def to_register(provider: Provider, redirect_uri: str) -> dict[str, object]:
    """What is to be set up at the provider, and what to write into the settings then."""
    by_browser = provider.grant == "authorization_code"
    scopes = provider.scopes
    settings = [f"clients.{provider.name}.{name}" for name in _settings(provider)]
    return {
        "Register there": f"an OAuth 2 client for {provider.grant}",
        "Redirect URI to register": redirect_uri if by_browser else None,
        "Scopes to allow": scopes.requested(),
        "It proves itself by": _PROOF[provider.token.client_authentication],
        "Settings to give": settings,
    }


def scopes(provider: Provider) -> dict[str, object]:
    """Each scope with its meaning, and what it is asked for."""
    known = provider.scopes
    found: dict[str, object] = {}
    for scope in dict.fromkeys((*known.requested(), *known.meaning)):
        asked = "" if scope in known.requested() else " (not asked for unless you name it)"
        offline = " (for a refresh token)" if scope in known.offline else ""
        found[f"Scope {scope}"] = f"{known.meaning.get(scope, 'no words for it')}{offline}{asked}"
    return found


def parameters(provider: Provider) -> dict[str, object]:
    """Each value that somebody gives, who that is, and how it may look."""
    found: dict[str, object] = {
        f"Parameter {name}": "; ".join(_parameter(provider.name, name, given))
        for name, given in provider.parameters.items()
    }
    for name, kept in provider.callback.items():
        found[f"Kept {name}"] = f"what the callback brings as {kept.parameter or name}"
    for name in sorted(provider.kept):
        found[f"Kept {name}"] = "what the token response brings"
    return found


def _settings(provider: Provider) -> Iterator[str]:
    method = provider.token.client_authentication
    yield "client_id"
    if method in ("client_secret_basic", "client_secret_post", "client_secret_jwt"):
        yield "client_secret"
    if provider.operator_supplied:
        if provider.grant == "authorization_code":
            yield "authorization_url"
        if provider.grant == "device_code":
            yield "device_url"
        yield "token_url"
    for name, given in provider.parameters.items():
        if given.ask == "operator" and given.default is None:
            yield f"parameters.{name}"


def _parameter(provider: str, name: str, given: Parameter) -> Iterator[str]:
    yield given.label
    yield (
        f"you give it, clients.{provider}.parameters.{name}"
        if given.ask == "operator"
        else ("each user gives it when connecting")
    )
    if given.help:
        yield given.help.rstrip(".")
    if given.choices:
        yield "one of " + ", ".join(f"{value} ({label})" for value, label in given.choices.items())
    if given.default is not None:
        yield f"{given.default} if left out"
    if given.example is not None:
        yield f"such as {given.example}"
