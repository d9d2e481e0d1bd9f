"""Becoming a client without a form: dynamic registration (RFC 7591, 7592) and client ID metadata documents.

Whoever registers a client is told secrets: none of them stands in a message or a `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import ClientRejected, ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import Record
from grantkeeper.oauth.message import Request, Response
from grantkeeper.terms import ClientAuthentication, GrantType
from grantkeeper.urls import url_problem

GRANT_TYPES: dict[GrantType, str] = {
    "authorization_code": "authorization_code",
    "device_code": "urn:ietf:params:oauth:grant-type:device_code",
    "client_credentials": "client_credentials",
    "jwt_bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "token_exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
}
"""Our names of grants, and those of the registry (RFC 7591 §2)."""

_SECRET_METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
_LONGEST = 4096
_JSON = {"accept": "application/json", "content-type": "application/json"}


class Application(Record, frozen=True):
    """What we say of ourselves to one server, before it knows us. `name` is what people are shown there."""

    name: str
    public_url: str
    redirect_uri: str
    grant: GrantType
    authentication: ClientAuthentication
    signing_algorithm: str
    scopes: Sequence[str] = ()
    refreshes: bool = True
    dpop: bool = False
    certificate_bound: bool = False
    pushed: bool = False
    signed_request: bool = False
    signed_response: bool = False


class Registration(Record, frozen=True):
    """What a server gave us: a client, and how to change it later (RFC 7591 §3.2.1). Its `repr` shows no secret.

    `authentication`: the method it was registered with. `secret_expires_at`: None where the secret stays good.
    """

    client_id: str
    authentication: ClientAuthentication
    client_secret: str | None = None
    secret_expires_at: Instant | None = None
    access_token: str | None = None
    url: str | None = None

    def __repr__(self) -> str:
        return f"Registration(client_id={self.client_id!r})"


def client_metadata(application: Application) -> dict[str, Any]:
    """Our client metadata (RFC 7591 §2, OpenID Connect Registration §2, RFC 9449 §5.2, RFC 8705 §3.4, RFC 9126 §6)."""
    grants = [GRANT_TYPES[application.grant], *(["refresh_token"] if application.refreshes else [])]
    browser = application.grant == "authorization_code"
    signs = application.authentication == "private_key_jwt"
    keys = signs or application.signed_request or application.authentication == "self_signed_tls_client_auth"
    document: dict[str, Any] = {
        "client_name": application.name,
        "client_uri": application.public_url,
        "application_type": "web",
        "grant_types": grants,
        "response_types": ["code"] if browser else [],
        "token_endpoint_auth_method": application.authentication,
        "redirect_uris": [application.redirect_uri] if browser else None,
        "scope": " ".join(application.scopes) or None,
        "jwks_uri": f"{application.public_url}/.well-known/jwks.json" if keys else None,
        "token_endpoint_auth_signing_alg": application.signing_algorithm if signs else None,
        "request_object_signing_alg": application.signing_algorithm if application.signed_request else None,
        "authorization_signed_response_alg": application.signing_algorithm if application.signed_response else None,
        "dpop_bound_access_tokens": application.dpop or None,
        "tls_client_certificate_bound_access_tokens": application.certificate_bound or None,
        "require_pushed_authorization_requests": application.pushed or None,
    }
    return {name: value for name, value in document.items() if value is not None}


def metadata_document(client_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What is served at the URL that is our client id (draft-ietf-oauth-client-id-metadata-document §4)."""
    return {"client_id": client_id, **metadata}


def registration_request(endpoint: str, metadata: Mapping[str, Any]) -> Request:
    """Ask to be registered (RFC 7591 §3.1)."""
    return Request(method="POST", url=endpoint, headers=dict(_JSON), body=msgspec.json.encode(metadata))


def read_request(registration: Registration) -> Request | None:
    """Ask how we are registered (RFC 7592 §2.1); None where the server gave no way."""
    return _managed(registration, "GET")


def update_request(registration: Registration, metadata: Mapping[str, Any]) -> Request | None:
    """Change our registration (RFC 7592 §2.2); None where the server gave no way.

    Everything is sent, as what is left out may be forgotten; the secret goes along as it is.
    """
    whole = {"client_id": registration.client_id, **metadata}
    if registration.client_secret is not None:
        whole["client_secret"] = registration.client_secret
    return _managed(registration, "PUT", msgspec.json.encode(whole))


def delete_request(registration: Registration) -> Request | None:
    """End our registration (RFC 7592 §2.3); None where the server gave no way."""
    return _managed(registration, "DELETE")


def registration_response(response: Response, metadata: Mapping[str, Any]) -> Registration:
    """What became of a registration with that metadata (RFC 7591 §3.2), or ProviderError.

    The server may change what was asked for: how we prove ourselves is taken as it says, but a registration without
    our redirect URI, or with a method that we did not ask for and cannot serve, is refused.
    """
    if response.status not in (200, 201):
        raise _refused(response)
    return _registration(response, metadata, None)


def managed_response(response: Response, metadata: Mapping[str, Any], before: Registration) -> Registration:
    """The registration after a read or an update (RFC 7592 §3); what the answer does not repeat stays."""
    if response.status != 200:
        raise _refused(response)
    return _registration(response, metadata, before)


def deletion_response(response: Response) -> None:
    """Return where a registration is gone (RFC 7592 §2.3), else ProviderError.

    A server that no longer knows the registration, or its token, answers 401 or 404: it is gone as well.
    """
    if response.status not in (200, 204, 401, 404):
        raise _refused(response)


def _managed(registration: Registration, method: str, body: bytes = b"") -> Request | None:
    if registration.url is None or registration.access_token is None:
        return None
    headers = {**(_JSON if body else {"accept": "application/json"})}
    headers["authorization"] = f"Bearer {registration.access_token}"
    return Request(method=method, url=registration.url, headers=headers, body=body)


def _refused(response: Response) -> ProviderError:
    status = response.status
    if status == 429 or status >= 500:
        return ProviderUnavailable(f"the registration endpoint answered HTTP {status}")
    if status in (401, 403):
        return ClientRejected(
            f"the server registers nobody without its leave (HTTP {status}): register by hand and set client_id"
        )
    if not 400 <= status < 500:
        return ProviderProtocolError(f"the registration endpoint answered HTTP {status}")
    code = _error_code(response)
    return ClientRejected(f"the server refused to register us (HTTP {status}, {code or 'no reason'})", code=code)


def _error_code(response: Response) -> str | None:
    try:
        code = response.json_object().get("error")
    except ProviderProtocolError:
        return None
    fit = isinstance(code, str) and code.isascii() and code.replace("_", "").isalnum() and len(code) <= 60
    return code if fit else None


def _registration(response: Response, metadata: Mapping[str, Any], before: Registration | None) -> Registration:
    document = response.json_object()
    client_id = _text(document, "client_id") or (before.client_id if before else None)
    if client_id is None:
        raise _wrong("client_id is missing")
    if before is not None and client_id != before.client_id:
        raise _wrong("client_id is another one than before")
    _keeps_redirect_uri(document, metadata)
    url = _text(document, "registration_client_uri") or (before.url if before else None)
    if url is not None and (problem := url_problem(url)):
        raise _wrong(f"registration_client_uri {problem}")
    method = _method(document, metadata)
    secret = _text(document, "client_secret") or (before.client_secret if before else None)
    if method in _SECRET_METHODS and secret is None:
        raise _wrong("client_secret is missing")
    return Registration(
        client_id=client_id,
        authentication=method,
        client_secret=secret if method in _SECRET_METHODS else None,
        secret_expires_at=_expiry(document) if method in _SECRET_METHODS else None,
        access_token=_text(document, "registration_access_token") or (before.access_token if before else None),
        url=url,
    )


def _keeps_redirect_uri(document: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    wanted, given = metadata.get("redirect_uris", []), document.get("redirect_uris")
    if wanted and given is not None and not (isinstance(given, list) and wanted[0] in given):
        raise _wrong("redirect_uris lacks ours")


def _method(document: Mapping[str, Any], metadata: Mapping[str, Any]) -> ClientAuthentication:
    """How we were told to prove ourselves: as asked for, or by the secret that we were given."""
    asked: ClientAuthentication = metadata["token_endpoint_auth_method"]
    given = document.get("token_endpoint_auth_method", asked)
    if given == asked:
        return asked
    if given not in (*_SECRET_METHODS, "none"):
        raise _wrong("token_endpoint_auth_method is not the one that was asked for")
    if asked not in (*_SECRET_METHODS, "none"):
        raise _wrong(f"token_endpoint_auth_method is weaker than {asked}, which was asked for")
    method: ClientAuthentication = given
    return method


def _expiry(document: Mapping[str, Any]) -> Instant | None:
    """0 stands for never (RFC 7591 §3.2.1)."""
    value = document.get("client_secret_expires_at", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise _wrong("client_secret_expires_at is not a time")
    return int(value) * SECOND or None


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise _wrong(f"{name} is not a text of up to {_LONGEST} characters")
    return value


def _wrong(what: str) -> ProviderProtocolError:
    return ProviderProtocolError(f"the answer to our registration cannot be used: {what}", code="registration")
