"""A first definition out of what a server announces: for `grantkeeper providers new`.

Pure: metadata in, the document of a definition out. It states what can be known; the rest stays with the standards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grantkeeper.oauth.metadata import ServerMetadata

_BY_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
_OTHERWISE = ("private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth", "none")
_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
_MEANING = {
    "openid": "Know which user this is",
    "profile": "See the user's name",
    "email": "See the user's e-mail address",
    "offline_access": "Stay connected while you are away",
}
_OFFLINE, _OPENID = "offline_access", "openid"


def draft(metadata: ServerMetadata) -> dict[str, Any]:
    """The tables of a definition, without those that only a person can write: name, label, what it is about."""
    tables = {
        "authorization": _authorization(metadata),
        "scopes": _scopes(metadata),
        "token": _token(metadata),
        "revocation": _revocation(metadata),
        "introspection": {"url": metadata.introspection_endpoint},
        "signatures": _signatures(metadata),
        "device": {"url": metadata.device_authorization_endpoint} if _grant(metadata) == "device_code" else {},
        "identity": _identity(metadata),
    }
    stated = {name: _stated(table) for name, table in tables.items()}
    grant = {} if _grant(metadata) == "authorization_code" else {"grant": _grant(metadata)}
    return grant | {name: table for name, table in stated.items() if table}


def remarks(metadata: ServerMetadata) -> Iterator[str]:
    """What a person should look at."""
    methods = metadata.code_challenge_methods_supported
    if methods is not None and "S256" not in methods:
        yield 'The server does not announce S256: if it refuses PKCE, write authorization.pkce = "none".'
    if metadata.scopes_supported is None:
        yield "The server does not announce its scopes: write scopes.default, with their meaning in plain words."
    if metadata.require_signed_request_object or metadata.dpop_signing_alg_values_supported:
        yield "The server knows safer ways than the usual: `grantkeeper doctor` names them once it is set up."


def _grant(metadata: ServerMetadata) -> str:
    if metadata.authorization_endpoint is not None:
        return "authorization_code"
    return "device_code" if metadata.device_authorization_endpoint is not None else "client_credentials"


def _authorization(metadata: ServerMetadata) -> dict[str, Any]:
    if _grant(metadata) != "authorization_code":
        return {"issuer": metadata.issuer}
    required = metadata.require_pushed_authorization_requests
    prompts = metadata.prompt_values_supported
    # Without it the scope is dropped without a word (OpenID Connect Core §11).
    consent = _OFFLINE in (metadata.scopes_supported or ()) and (prompts is None or "consent" in prompts)
    return {
        "url": metadata.authorization_endpoint,
        "issuer": metadata.issuer,
        "issuer_in_response": metadata.authorization_response_iss_parameter_supported or None,
        "pushed": required or None,
        "pushed_url": metadata.pushed_authorization_request_endpoint if required else None,
        "signed_request": metadata.require_signed_request_object or None,
        "parameters": {"prompt": "consent"} if consent else None,
    }


def _scopes(metadata: ServerMetadata) -> dict[str, Any]:
    known = metadata.scopes_supported or ()
    default = [scope for scope in (_OPENID, "profile", "email") if scope in known]
    offline = [_OFFLINE] if _OFFLINE in known else []
    meaning = {scope: _MEANING[scope] for scope in (*default, *offline)}
    return {"default": default or None, "offline": offline or None, "meaning": meaning or None}


def _token(metadata: ServerMetadata) -> dict[str, Any]:
    # Silence means HTTP Basic (RFC 8414 §2).
    methods = metadata.token_endpoint_auth_methods_supported or ("client_secret_basic",)
    method = _first((*_BY_SECRET, *_OTHERWISE), methods)
    signs = metadata.token_endpoint_auth_signing_alg_values_supported if method == "private_key_jwt" else None
    return {
        "url": metadata.token_endpoint,
        "client_authentication": method,
        "signing_algorithm": _first(("ES256", "PS256", "EdDSA", "RS256"), signs or ()),
    }


def _revocation(metadata: ServerMetadata) -> dict[str, Any]:
    url = metadata.revocation_endpoint
    return {} if url is None else {"style": "rfc7009", "url": url}


def _signatures(metadata: ServerMetadata) -> dict[str, Any]:
    announced = metadata.id_token_signing_alg_values_supported
    if announced is None or metadata.jwks_uri is None:
        return {}
    usable = [one for one in _ALGORITHMS if one in announced]
    return {"jwks_url": metadata.jwks_uri, "algorithms": usable or None}


def _identity(metadata: ServerMetadata) -> dict[str, Any]:
    known = metadata.scopes_supported or ()
    if _OPENID not in known or _grant(metadata) == "client_credentials":
        return {}
    return {"source": "id_token", "label": "email" if "email" in known else None}


def _first(wanted: Sequence[str], known: Sequence[str]) -> str | None:
    return next((one for one in wanted if one in known), None)


def _stated(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}
