"""What is asked of the token endpoint, one function for each grant type; `Sender.call` sends it.

RFC 6749 §4.1.3, §4.4 and §6, RFC 7523 §2.1, RFC 8628 §3, RFC 8693 §2.1, RFC 9126 §2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Call

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def exchange_call(client: Client, code: str, code_verifier: str | None) -> Call:
    """Redeem an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5)."""
    parameters = {"grant_type": "authorization_code", "code": code, "redirect_uri": client.redirect_uri}
    if code_verifier is not None:
        parameters["code_verifier"] = code_verifier
    return _token_call(client, client.token_url, parameters)


def refresh_call(client: Client, token: str, scopes: tuple[str, ...], *, first: bool = False) -> Call:
    """Ask for the next token set (RFC 6749 §6); the scopes go along only where the provider wants them.

    `first`: exchange the first access token, which does not live long.
    """
    asked = client.first_exchange if first and client.first_exchange is not None else client.refresh
    parameters = {"grant_type": asked.grant_type, asked.token_parameter: token}
    if client.refresh_sends_scope and scopes:
        # An answer may leave out the scopes that a refresh token hangs on; a refresh must not.
        wanted = dict.fromkeys((*scopes, *client.offline_scopes))
        parameters["scope"] = client.scope_separator.join(wanted)
    if client.refresh_sends_redirect_uri:
        parameters["redirect_uri"] = client.redirect_uri
    call = _token_call(client, asked.url or client.token_url, parameters)
    return msgspec.structs.replace(
        call,
        parameters={**call.parameters, **client.refresh_parameters},
        method=asked.method,
        authentication=asked.authentication,
    )


def client_credentials_call(client: Client) -> Call:
    """A token for ourselves (RFC 6749 §4.4.2)."""
    return _token_call(client, client.token_url, {"grant_type": "client_credentials"} | _scope(client))


def jwt_bearer_call(client: Client, assertion: str) -> Call:
    """A token for whom our assertion speaks (RFC 7523 §2.1)."""
    return _token_call(client, client.token_url, {"grant_type": JWT_BEARER, "assertion": assertion} | _scope(client))


def token_exchange_call(client: Client, subject_token: str) -> Call:
    """A token in exchange for another (RFC 8693 §2.1)."""
    policy = client.exchange
    assert policy is not None
    parameters = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject_token,
        "subject_token_type": policy.subject_token_type,
    } | _scope(client)
    if policy.audience is not None:
        parameters["audience"] = policy.audience
    if policy.requested_token_type is not None:
        parameters["requested_token_type"] = policy.requested_token_type
    return _token_call(client, client.token_url, parameters)


def device_authorization_call(client: Client) -> Call:
    """Ask for a code that a person types in elsewhere (RFC 8628 §3.1)."""
    return Call(url=client.device_url or "", parameters={**_scope(client), **_resources(client)})


def device_token_call(client: Client, device_code: str) -> Call:
    """Ask whether the person has agreed (RFC 8628 §3.4)."""
    return _token_call(client, client.token_url, {"grant_type": DEVICE_CODE, "device_code": device_code})


def pushed_call(client: Client, parameters: Mapping[str, Any]) -> Call:
    """Push an authorization request (RFC 9126 §2.1)."""
    assert client.pushed_url is not None
    return Call(url=client.pushed_url, parameters=in_a_form(parameters))


def in_a_form(parameters: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Parameters as a form or a query carries them: JSON for what is no text (OIDC Core §5.5, RFC 9396 §2)."""
    return {name: _as_text(name, value) for name, value in parameters.items()}


def _as_text(name: str, value: Any) -> str | list[str]:
    if isinstance(value, str) or (name == "resource" and isinstance(value, list)):
        return value
    return msgspec.json.encode(value).decode()


def _token_call(client: Client, url: str, parameters: Mapping[str, str]) -> Call:
    return Call(
        url=url,
        parameters={**parameters, **_resources(client), **client.token_parameters},
        encoding="json" if client.json_body else "form",
        headers=client.token_headers,
        method=client.token_method,
        renames=client.token_renames,
    )


def _scope(client: Client) -> dict[str, str]:
    return {"scope": client.scope_separator.join(client.scopes)} if client.scopes else {}


def _resources(client: Client) -> dict[str, list[str]]:
    return {"resource": list(client.resources)} if client.resources else {}
