"""A definition completed by what the server says of itself: what it leaves open is filled, what it says stays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import Identity, Revocation, Scopes, Table, TokenEndpoint
from grantkeeper.clients.found import Found
from grantkeeper.config import ClientSettings
from grantkeeper.oauth.metadata import ServerMetadata

_T = TypeVar("_T", bound=Table)

# Strongest first, of those that need nothing but the secret.
_BY_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
_BY_CERTIFICATE = ("tls_client_auth", "self_signed_tls_client_auth")
_SCOPE = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,200}")
_OFFLINE, _OPENID = "offline_access", "openid"


def completed(provider: Provider, given: ClientSettings, found: Found, *, generic: bool, by_document: bool) -> Provider:
    """The definition with every endpoint and habit that it leaves open taken from the server's metadata.

    `generic`: it says nothing of scopes and identity either; `by_document`: our client id is a URL. Without metadata
    the definition stays as it is.
    """
    metadata = found.metadata
    if metadata is None:
        return provider
    if generic:
        provider = _with_scopes(provider, given, found, metadata)
    method = "none" if by_document else _authentication(given, found, metadata)
    token = _token(provider.token, method, found, metadata)
    by_certificate = token.client_authentication in _BY_CERTIFICATE or token.sender_constrained == "certificate"

    def url(name: str) -> str | None:
        return metadata.aliased(name) if by_certificate else getattr(metadata, name)

    request = _filled(
        provider.authorization,
        url=metadata.authorization_endpoint,
        issuer=metadata.issuer,
        pushed_url=url("pushed_authorization_request_endpoint"),
        pushed=metadata.require_pushed_authorization_requests or None,
        issuer_in_response=metadata.authorization_response_iss_parameter_supported or None,
        signed_request=metadata.require_signed_request_object or None,
    )
    return provider.model_copy(
        update={
            "discovery": True,
            "authorization": request,
            "token": _filled(token, url=url("token_endpoint")),
            "revocation": _revocation(provider.revocation, url("revocation_endpoint")),
            "signatures": _filled(provider.signatures, jwks_url=metadata.jwks_uri),
            "device": _filled(provider.device, url=url("device_authorization_endpoint")),
            "identity": _identity(provider.identity, url("userinfo_endpoint")),
            "resources": _resources(provider, found),
        }
    )


def shortcomings(provider: Provider, given: ClientSettings, found: Found) -> Iterator[str]:
    """What the server's metadata say against connecting, as `what: why`; asked of a completed definition."""
    metadata, resource = found.metadata, found.resource
    if metadata is None:
        return
    methods = metadata.code_challenge_methods_supported
    by_browser = provider.grant == "authorization_code"
    if by_browser and provider.authorization.pkce == "S256" and methods is not None and "S256" not in methods:
        yield f"code_challenge_methods_supported: {metadata.issuer} lacks S256, without which codes can be injected"
    for key, url in _needed(provider):
        if url is None:
            yield f"{key}: the metadata of {metadata.issuer} names no such endpoint"
    if resource is not None and metadata.issuer not in resource.authorization_servers:
        yield f"issuer: {resource.resource} does not name {metadata.issuer} among its authorization servers"


def _needed(provider: Provider) -> Iterator[tuple[str, str | None]]:
    """The endpoints without which nothing works."""
    yield "token.url", provider.token.url
    if provider.grant == "authorization_code":
        yield "authorization.url", provider.authorization.url
        if provider.authorization.pushed:
            yield "authorization.pushed_url", provider.authorization.pushed_url
    if provider.grant == "device_code":
        yield "device.url", provider.device.url


def _filled(table: _T, **found: Any) -> _T:
    """The table with what it leaves open; what it states, and what was not found, stays as it is."""
    stated = table.model_fields_set
    return table.model_copy(
        update={key: value for key, value in found.items() if value is not None and key not in stated}
    )


def _token(token: TokenEndpoint, method: str | None, found: Found, metadata: ServerMetadata) -> TokenEndpoint:
    resource = found.resource
    bound = resource is not None and resource.dpop_bound_access_tokens_required
    token = _filled(token, client_authentication=method, sender_constrained="dpop" if bound else None)
    signs = metadata.token_endpoint_auth_signing_alg_values_supported
    return _filled(
        token,
        signing_algorithm=_first(("ES256", "PS256", "EdDSA", "RS256"), signs),
        dpop_algorithm=_first(("ES256", "EdDSA"), metadata.dpop_signing_alg_values_supported),
    )


def _authentication(given: ClientSettings, found: Found, metadata: ServerMetadata) -> str | None:
    """How a client proves itself whose definition does not say: as registered, or by its secret if it has one."""
    if found.registration is not None and given.client_id is None:
        return found.registration.authentication
    if not given.client_secret and given.client_id is not None:
        return "none"
    return _first((*_BY_SECRET, "none"), metadata.token_endpoint_auth_methods_supported) or "client_secret_basic"


def _first(wanted: Sequence[str], supported: Sequence[str] | None) -> str | None:
    """The first that is supported; None where nothing is said, or none is."""
    return next((one for one in wanted if one in (supported or ())), None)


def _revocation(revocation: Revocation, url: str | None) -> Revocation:
    """An endpoint that is announced is the standard's (RFC 8414 §2)."""
    if url is None or revocation.style not in ("none", "rfc7009") or revocation.url is not None:
        return revocation
    if revocation.style == "none" and "style" in revocation.model_fields_set:
        return revocation
    return revocation.model_copy(update={"style": "rfc7009", "url": url})


def _identity(identity: Identity, url: str | None) -> Identity:
    return _filled(identity, url=url) if identity.source == "userinfo" else identity


def _resources(provider: Provider, found: Found) -> tuple[str, ...]:
    """A resource is named as it names itself (RFC 8707 §2)."""
    return (found.resource.resource,) if found.resource is not None else provider.resources


def _with_scopes(provider: Provider, given: ClientSettings, found: Found, metadata: ServerMetadata) -> Provider:
    """What is asked for where nobody says: what the resource wants, or who the person is; and to stay connected."""
    known = metadata.scopes_supported or ()
    default: tuple[str, ...] = (_OPENID,) if _OPENID in known else ()
    if found.resource is not None:
        # The challenge says what this resource wants now; the document, all that it could.
        wanted_there = found.scope.split() if found.scope else found.resource.scopes_supported or ()
        default = tuple(scope for scope in wanted_there if _SCOPE.fullmatch(scope))
    wanted = default if given.scopes is None else tuple(given.scopes)
    offline = (_OFFLINE,) if given.scopes is None and _OFFLINE in known else ()
    scopes = Scopes(default=wanted, offline=offline)
    request = provider.authorization
    prompts = metadata.prompt_values_supported
    if _OFFLINE in scopes.requested() and (prompts is None or "consent" in prompts):
        # Without it the scope is dropped without a word (OpenID Connect Core §11).
        request = _filled(request, parameters={"prompt": "consent"})
    identity = provider.identity
    if _OPENID in scopes.requested():
        identity = _filled(identity, source="id_token", label="email")
    return provider.model_copy(update={"scopes": scopes, "authorization": request, "identity": identity})
