"""The authorization request and its response (RFC 6749 §4.1.1 and §4.1.2, RFC 7636, RFC 9207)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from grantkeeper.clock import Instant
from grantkeeper.errors import (
    AddressRefused,
    AuthorizationFailed,
    ClientRejected,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailable,
)
from grantkeeper.model import AttemptSecrets, Record
from grantkeeper.oauth import dpop
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.grants import in_a_form
from grantkeeper.oauth.message import Response, renamed
from grantkeeper.oauth.token import good_answer

_ERROR_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,40}")
# An absolute URI (RFC 9126 §2.2), short enough for an address bar.
_REQUEST_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!-~]{1,1000}")


class CallbackParameters(Record, frozen=True):
    """What the browser brought back; `error` is a code fit to be shown. Its `repr` shows no value."""

    state: str
    code: str | None = None
    error: str | None = None
    issuer: str | None = None

    def __repr__(self) -> str:
        return f"CallbackParameters(error={self.error!r})"


def new_code_verifier() -> str:
    """A fresh PKCE verifier of 64 characters (RFC 7636 §4.1)."""
    return secrets.token_urlsafe(48)


def code_challenge(code_verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 §4.2)."""
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def authorization_parameters(
    client: Client, state: str, secrets: AttemptSecrets, login_hint: str | None = None
) -> dict[str, Any]:
    """What is asked for (RFC 6749 §4.1.1), as values: `grants.in_a_form` writes them, a signed request holds them.

    `login_hint`: who is expected (OpenID Connect Core §3.1.2.1).
    """
    parameters: dict[str, Any] = {
        **client.authorization_parameters,
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "state": state,
    }
    if client.scopes:
        parameters[client.scope_parameter] = client.scope_separator.join(client.scopes)
    if secrets.code_verifier is not None:
        parameters |= {"code_challenge": code_challenge(secrets.code_verifier), "code_challenge_method": "S256"}
    optional = {
        "nonce": secrets.nonce,
        "dpop_jkt": dpop.thumbprint(secrets.dpop_key) if secrets.dpop_key is not None else None,
        "response_mode": "jwt" if client.signed_response else None,
        "login_hint": login_hint,
        "max_age": client.max_age,
        "claims": client.claims or None,
        "authorization_details": list(client.details) or None,
        "resource": list(client.resources) or None,
    }
    asked = parameters | {name: value for name, value in optional.items() if value is not None}
    return renamed(asked, client.authorization_renames)


def front_channel_url(client: Client, parameters: Mapping[str, Any]) -> str:
    """Where the browser is sent: the authorization endpoint, with these parameters besides its own."""
    parts = urlsplit(client.authorization_url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | in_a_form(parameters)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query, doseq=True), ""))


def pushed_response(client: Client, response: Response, now: Instant) -> str:
    """The `request_uri` that stands for a pushed request (RFC 9126 §2.2), or the ProviderError that came instead."""
    document = good_answer(client, response, now, "to the pushed request")
    request_uri = document.get("request_uri")
    if not isinstance(request_uri, str) or not _REQUEST_URI.fullmatch(request_uri):
        raise ProviderProtocolError(f"{client.label} gave no request_uri for the pushed request", code="no_request_uri")
    return request_uri


def standard_names(client: Client, query: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """The callback's parameters with the code by its usual name, where the provider has another for it."""
    if client.code_parameter == "code":
        return query
    renames = {client.code_parameter: "code", "code": "_"}
    return [(renames.get(name, name), value) for name, value in query]


def read_callback(query: Sequence[tuple[str, str]]) -> CallbackParameters:
    """The response parameters, each given at most once (RFC 6749 §3.1), or AuthorizationFailed."""
    found: dict[str, str] = {}
    for name, value in query:
        if name in ("state", "code", "error", "iss", "response"):
            if name in found:
                raise _malformed(f"“{name}” came twice")
            found[name] = value
    if not found.get("state"):
        raise _malformed("“state” is missing")
    error = found.get("error")
    if error is None and not found.get("code"):
        raise _malformed("neither a code nor an error came back")
    if error is not None and not _ERROR_CODE.fullmatch(error):
        error = "unreadable_error"
    return CallbackParameters(state=found["state"], code=found.get("code"), error=error, issuer=found.get("iss"))


def called_back(client: Client, query: Sequence[tuple[str, str]]) -> dict[str, str]:
    """What the callback brings besides the code, by its name here; AuthorizationFailed where it is not as wanted."""
    found = {}
    for value in client.called_back:
        texts = [text for name, text in query if name == value.parameter]
        if not texts and not value.required:
            continue
        if len(texts) != 1:
            raise _odd_value(client, f"“{value.parameter}” {'came twice' if texts else 'is missing'}")
        if not re.fullmatch(value.pattern, texts[0]) or not client.fits(value.name, texts[0]):
            raise _odd_value(client, f"“{value.parameter}” is not what it must be")
        found[value.name] = texts[0]
    return found


def check_issuer(client: Client, issuer: str | None) -> None:
    """Refuse another authorization server's answer, and one that does not say whose it is (RFC 9207 §2.4)."""
    if client.issuer is None:
        return
    if issuer is None and not client.issuer_in_response:
        return
    if issuer != client.issuer:
        raise AuthorizationFailed(
            "wrong_issuer",
            "The answer did not come from where you were sent",
            f"You were sent to {client.label}, but the answer names another sender. Nothing was connected. "
            "Start again; if this happens twice, tell the person who runs this service.",
        )


def unsigned_response(client: Client) -> AuthorizationFailed:
    """The provider signs its responses, and this one is not: it may be anybody's (JARM §2.4)."""
    return AuthorizationFailed(
        "unsigned_response",
        "The answer is not signed",
        f"{client.label} signs what it sends back, and this was not signed. Nothing was connected. "
        "Start again; if this happens twice, tell the person who runs this service.",
    )


def refused(client: Client, code: str) -> AuthorizationFailed:
    """What an error response of the authorization server means for the person (RFC 6749 §4.1.2.1)."""
    if code == "access_denied":
        return AuthorizationFailed(
            "denied",
            "You did not allow the connection",
            f"{client.label} told us that access was declined. Nothing was connected or changed.",
            status=200,
        )
    return AuthorizationFailed(
        "provider_error",
        f"{client.label} could not finish",
        f"{client.label} answered with “{code}”. Nothing was connected or changed. Try again; if it happens "
        "again, tell the person who runs this service.",
    )


def explained(label: str, error: ProviderError, retry_url: str) -> AuthorizationFailed:
    """What a failed code exchange means for the person: try again, or tell the operator."""
    if isinstance(error, ProviderUnavailable):
        reason, title = "provider_down", f"{label} is not answering"
        message = "You did nothing wrong. Nothing was connected or changed. Please try again in a few minutes."
    elif isinstance(error, AddressRefused):
        reason, title = "address_refused", f"{label} may not be reached from here"
        message = "Only the person who runs this service can allow that; please tell them."
    elif isinstance(error, ClientRejected):
        reason, title = "client_rejected", f"{label} does not accept this service"
        code = f" ({error.code})" if error.code else ""
        message = (
            f"This service is not registered at {label} as it should be{code}. "
            "Only the person who runs this service can mend that; please tell them."
        )
    else:
        reason, title = error.code or "malformed_answer", f"{label} gave an answer we cannot use"
        message = (
            "Nothing was connected or changed. Please try again; if it happens again, tell the person who "
            "runs this service."
        )
    return AuthorizationFailed(reason, title, message, retry_url=retry_url, status=502, code=error.code)


def _odd_value(client: Client, what: str) -> AuthorizationFailed:
    return AuthorizationFailed(
        "callback_value",
        f"{client.label} sent an answer we cannot use",
        f"Besides the code, {client.label} tells us where your data is, and there {what}. Nothing was connected or "
        "changed. Start again; if this happens twice, tell the person who runs this service.",
    )


def _malformed(what: str) -> AuthorizationFailed:
    return AuthorizationFailed(
        "malformed_callback",
        "The provider's answer is incomplete",
        f"We could not read the provider's answer: {what}. Nothing was connected. Start again from your connections.",
    )
