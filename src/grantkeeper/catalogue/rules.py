"""What the keys of one definition must be to each other, beyond what each must be alone."""

from __future__ import annotations

from collections.abc import Iterator

from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.template import placeholders

CLIENT_ID = "client_id"
"""The placeholder that the revocation URL may hold besides the definition's own parameters."""


def inconsistencies(provider: Provider) -> list[str]:
    """Every contradiction in a definition, as `key: what is wrong`."""
    return [
        *_endpoints(provider),
        *_placeholders(provider),
        *_issuer(provider),
        *_revocation(provider),
        *_identity(provider),
        *_refresh(provider),
    ]


def _endpoints(provider: Provider) -> Iterator[str]:
    for key, url in (("authorization.url", provider.authorization.url), ("token.url", provider.token.url)):
        if provider.operator_supplied and url is not None:
            yield f"{key}: must be left out, as operator_supplied says that the operator gives it"
        if not provider.operator_supplied and url is None:
            yield f"{key}: is required (or set operator_supplied = true)"


def _placeholders(provider: Provider) -> Iterator[str]:
    used = set()
    for key, url in provider.urls().items():
        for name in placeholders(url):
            used.add(name)
            if name not in provider.parameters and (key, name) != ("revocation.url", CLIENT_ID):
                yield f"{key}: holds {{{name}}}, but there is no [parameters.{name}]"
    if CLIENT_ID in provider.parameters:
        yield f"parameters.{CLIENT_ID}: is taken: it stands for the client id in revocation.url"
    for name in provider.parameters.keys() - used - {CLIENT_ID}:
        yield f"parameters.{name}: is used by no URL"


def _issuer(provider: Provider) -> Iterator[str]:
    if provider.authorization.issuer_in_response and provider.authorization.issuer is None:
        yield "authorization.issuer: is required with issuer_in_response"


def _revocation(provider: Provider) -> Iterator[str]:
    style, url = provider.revocation.style, provider.revocation.url
    if style == "none" and url is not None:
        yield "revocation.style: is required with url: rfc7009, bearer or delete_json"
    if style != "none" and url is None and not provider.operator_supplied:
        yield f"revocation.url: is required with style = '{style}'"


def _identity(provider: Provider) -> Iterator[str]:
    source, url = provider.identity.source, provider.identity.url
    if source == "userinfo" and url is None and not provider.operator_supplied:
        yield "identity.url: is required with source = 'userinfo'"
    if source != "userinfo" and url is not None:
        yield f"identity.url: is not asked with source = '{source}'"
    if source == "token_response" and "subject" not in provider.identity.model_fields_set:
        yield "identity.subject: is required with source = 'token_response'"
    wanted = provider.scopes.requested()
    if source == "id_token" and "openid" not in wanted:
        yield "scopes.default: must hold 'openid' with identity.source = 'id_token'"


def _refresh(provider: Provider) -> Iterator[str]:
    refresh = provider.refresh
    if not refresh.supported and provider.scopes.offline:
        yield "scopes.offline: asks for a refresh token, but refresh.supported is false"
    if not refresh.supported and refresh.keep_alive is not None:
        yield "refresh.keep_alive: keeps a refresh token alive, but refresh.supported is false"
    if refresh.keep_alive and refresh.idle_lifetime and refresh.keep_alive >= refresh.idle_lifetime:
        yield "refresh.keep_alive: must be less than refresh.idle_lifetime, or it comes too late"
