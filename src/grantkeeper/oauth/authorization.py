"""The authorization request and its response (RFC 6749 §4.1.1 and §4.1.2, RFC 7636, RFC 9207)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import Record
from grantkeeper.oauth.client import Client

_ERROR_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


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


def authorization_url(client: Client, state: str, code_verifier: str | None, nonce: str | None) -> str:
    """Where the browser is sent (RFC 6749 §4.1.1)."""
    parts = urlsplit(client.authorization_url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    parameters |= client.authorization_parameters
    parameters |= {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "state": state,
    }
    if client.scopes:
        parameters[client.scope_parameter] = client.scope_separator.join(client.scopes)
    if code_verifier is not None:
        parameters |= {"code_challenge": code_challenge(code_verifier), "code_challenge_method": "S256"}
    if nonce is not None:
        parameters["nonce"] = nonce
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(parameters), ""))


def read_callback(query: Sequence[tuple[str, str]]) -> CallbackParameters:
    """The response parameters, each given at most once (RFC 6749 §3.1), or AuthorizationFailed."""
    found: dict[str, str] = {}
    for name, value in query:
        if name in ("state", "code", "error", "iss"):
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
    return CallbackParameters(
        state=found["state"], code=found.get("code"), error=error, issuer=found.get("iss")
    )


def check_issuer(client: Client, issuer: str | None) -> None:
    """Refuse an answer of another authorization server (RFC 9207 §2.4), or one that fails to say whose it is."""
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


def _malformed(what: str) -> AuthorizationFailed:
    return AuthorizationFailed(
        "malformed_callback",
        "The provider's answer is incomplete",
        f"We could not read the provider's answer: {what}. Nothing was connected. Start again from your connections.",
    )
