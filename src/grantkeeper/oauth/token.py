"""What an answer of the token endpoint means (RFC 6749 §5), whatever the grant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from grantkeeper.clock import Instant
from grantkeeper.errors import (
    AddressRefused,
    ClientRejected,
    GrantRejected,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailable,
)
from grantkeeper.model import Grant, Record, Renewal, TokenSet
from grantkeeper.oauth.client import Client, TokenResponsePaths
from grantkeeper.oauth.lifetime import after, jwt_expiry, lifetime, seconds, stated
from grantkeeper.oauth.message import Response, at_path
from grantkeeper.terms import ErrorMeaning

PAUSING = frozenset({"invalid_client", "unauthorized_client", "invalid_scope"})
"""Errors of ours, not of one connection: until the operator acts, no refresh at this provider can succeed."""

_MEANINGS: dict[str, ErrorMeaning] = {
    "invalid_grant": "grant",
    "invalid_client": "client",
    "unauthorized_client": "client",
    "invalid_scope": "client",
    "invalid_request": "client",
    "unsupported_grant_type": "client",
    "invalid_client_metadata": "client",
    "invalid_request_object": "client",
    "invalid_target": "client",
    "invalid_authorization_details": "client",
    "invalid_dpop_proof": "client",
    "use_dpop_nonce": "transient",
    "temporarily_unavailable": "transient",
    "server_error": "transient",
    "slow_down": "transient",
}
# Longer than any error code, shorter than any token that a provider might repeat in its place.
_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,40}")
# What can stand in an Authorization header (RFC 6750 §2.1); a refresh token only travels in bodies and
# may hold spaces (RFC 6749 appendix A.17).
_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]+")
_REFRESH_TOKEN = re.compile(r"[\x20-\x7e]+")
_SCOPE = re.compile(r"[\x21-\x7e]+")
_WORD = re.compile(r"[\x21-\x7e]{1,500}")


class TokenResponse(Record, frozen=True):
    """A good answer: the grant, and the whole document for those who look for an identity in it."""

    grant: Grant
    document: dict[str, Any]

    def __repr__(self) -> str:
        return f"TokenResponse({self.grant!r})"


def token_response(
    client: Client,
    response: Response,
    requested_at: Instant,
    before: Grant | None = None,
    *,
    dpop_key: str | None = None,
    renewal: Renewal | None = None,
    parameters: Mapping[str, str] = {},
) -> TokenResponse:
    """Read an answer of the token endpoint (RFC 6749 §5), or raise the ProviderError that it means.

    Lifetimes count from the instant the request was sent. Without `expires_in` the access token's own
    `exp` holds where it is a JWT, then the provider's default. What else the answer leaves out (refresh
    token, its expiry, scopes, type) stays as it was `before`, as do the key that the tokens are bound to, how
    they are had again and what fills the provider's URLs; for a first answer `dpop_key`, `renewal` and `parameters`
    say so.
    """
    if response.status == 429 or response.status >= 500:
        _raise_unavailable(client, response, requested_at)
    if 300 <= response.status < 400:
        raise ProviderProtocolError(f"{client.label} sent us elsewhere, which is not followed", code="redirect")
    paths = client.response if before is None else client.refresh_response
    document = _document(paths, response)
    _raise_error(client, paths, response, document, requested_at)
    access_token = _token(document, paths.access_token, _ACCESS_TOKEN)
    if access_token is None:
        raise ProviderProtocolError(f"{client.label} answered without an access token")
    new_refresh = _token(document, paths.refresh_token, _REFRESH_TOKEN) if client.refresh_supported else None
    kept = before.tokens if before is not None else None
    refresh_token = new_refresh or (kept.refresh_token if kept else None)
    end = stated(paths, at_path(document, paths.expires_in), requested_at)
    if kept is not None:
        dpop_key, renewal, parameters = kept.dpop_key, _later(kept.renewal), kept.parameters
    elif client.refresh_style == "access_token":
        renewal = Renewal(grant="access_token", first=client.first_exchange is not None)
    lives = lifetime(end) if refresh_token or renewal else seconds(end)
    token_type = _token_type(at_path(document, paths.token_type) if paths.token_type else None, kept)
    if before is None:
        _check_bound(client, token_type, dpop_key)
    tokens = TokenSet(
        access_token=access_token,
        token_type=token_type,
        dpop_key=dpop_key,
        renewal=renewal,
        parameters=_parameters(client, paths, document, parameters, first=before is None),
        refresh_token=refresh_token,
        issued_at=requested_at,
        access_token_expires_at=(
            after(requested_at, lives)
            or jwt_expiry(access_token, requested_at)
            or after(requested_at, paths.default_lifetime)
        ),
        refresh_token_expires_at=_refresh_expiry(paths, document, requested_at, new_refresh, kept),
    )
    scopes = _scopes(paths, at_path(document, paths.scope)) or (before.scopes if before else client.scopes)
    subject, identity = (before.subject, before.identity) if before else (None, None)
    return TokenResponse(
        grant=Grant(tokens=tokens, scopes=scopes, subject=subject, identity=identity), document=document
    )


def _later(renewal: Renewal | None) -> Renewal | None:
    """The same way, after it was gone once."""
    return msgspec.structs.replace(renewal, first=False) if renewal is not None and renewal.first else renewal


def good_answer(client: Client, response: Response, now: Instant, asked: str) -> dict[str, Any]:
    """The members of a good answer to a request that asks for no token, else the ProviderError that came instead.

    `asked`: what for, in words that follow “answered HTTP 500”.
    """
    told = f"{client.label} answered HTTP {response.status} {asked}"
    if response.status == 429 or response.status >= 500:
        raise ProviderUnavailable(told, retry_after=response.retry_after(now))
    document = response.json_object()
    if response.status < 300:
        return document
    code = error_code(document.get("error"))
    raise ProviderProtocolError(told) if code is None else error_for(client, code, response.status)


def error_code(error: Any) -> str | None:
    """The code in an `error` member, if it is one that may be shown; some providers nest it in an object."""
    if isinstance(error, dict):
        error = error.get("code") or error.get("type")
    if isinstance(error, int) and not isinstance(error, bool):
        # Where a number stands there, 0 means that all is well.
        error = str(error) if error else None
    return error if isinstance(error, str) and _CODE.fullmatch(error) else None


def error_for(
    client: Client, code: str, status: int, retry_after: int | None = None, description: object = None
) -> ProviderError:
    """The error that an OAuth error code means at this provider (RFC 6749 §5.2).

    `description`: the text that came with it, which at some providers tells more than the code; never shown.
    """
    meaning = _described(client, description) or client.error_meanings.get(code) or _MEANINGS.get(code)
    text = f"{client.label} answered {code} (HTTP {status})"
    if meaning == "grant":
        return GrantRejected(text, code=code)
    if meaning == "client":
        return ClientRejected(text, code=code)
    if meaning == "transient":
        return ProviderUnavailable(text, retry_after=retry_after, code=code)
    return ProviderProtocolError(text, code=code)


def pauses(error: ProviderError, client: Client) -> bool:
    """Whether refreshing at this provider is to pause for all connections until the operator acts.

    For the codes of `PAUSING`, and for what the provider's definition calls the operator's. Not for
    `invalid_request` and its like, which may be about one connection alone.
    """
    if not isinstance(error, ClientRejected) or isinstance(error, AddressRefused) or error.code is None:
        # Where a name leads may be another tomorrow.
        return False
    if error.code in PAUSING or client.error_meanings.get(error.code) == "client":
        return True
    # No code that means this by itself: only the definition's `error_descriptions` can have said so.
    return _MEANINGS.get(error.code) != "client"


def may_have_spent(error: ProviderError, status: int | None) -> bool:
    """Whether the provider may have spent the refresh token of the request that ended in this error.

    `status`: of the answer, None where there was none: then it is whether the request had left us.
    Only an answer that is plainly a refusal says that nothing happened; a broken server, a redirect and
    an answer that cannot be read say nothing about it.
    """
    if status is None:
        return bool(getattr(error, "sent", True))
    if status == 429:
        return False
    if not (200 <= status < 300 or 400 <= status < 500) or error.code is None:
        return True
    refused = isinstance(error, GrantRejected | ClientRejected)
    if status < 300:
        # Providers that answer errors with 200 answer their own mishaps so as well.
        return not refused
    # `invalid_grant` that passes by itself: an earlier request with this refresh token is still under way.
    return error.code == "server_error" or (error.code == "invalid_grant" and not refused)


def _described(client: Client, description: object) -> ErrorMeaning | None:
    if not isinstance(description, str):
        return None
    folded = description.casefold()
    for text, meaning in client.error_description_meanings.items():
        if text.casefold() in folded:
            return meaning
    return None


def _raise_unavailable(client: Client, response: Response, now: Instant) -> None:
    raise ProviderUnavailable(f"{client.label} answered HTTP {response.status}", retry_after=response.retry_after(now))


def _raise_error(
    client: Client, paths: TokenResponsePaths, response: Response, document: dict[str, Any], now: Instant
) -> None:
    """Errors come with 4xx, but at some providers with 200 as well."""
    ok = at_path(document, paths.ok) if paths.ok else None
    error = at_path(document, paths.error)
    if response.status < 300 and not error and ok is not False:
        return
    code = error_code(error)
    if code is None:
        raise ProviderProtocolError(f"{client.label} answered HTTP {response.status} without an error code")
    description = at_path(document, paths.error_description)
    raise error_for(client, code, response.status, response.retry_after(now), description)


def _document(paths: TokenResponsePaths, response: Response) -> dict[str, Any]:
    """The answer with its headers under `@header`; where the token is one of those, the body may be empty."""
    in_header = paths.access_token.startswith("@header.")
    body: dict[str, Any] = {} if in_header and not response.body.strip() else response.json_object()
    return body | {"@header": response.headers}


def _token(document: dict[str, Any], path: str, form: re.Pattern[str]) -> str | None:
    value = at_path(document, path)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ProviderProtocolError(f"the provider's {path} is not a token")
    return value


def _token_type(value: Any, kept: TokenSet | None) -> str:
    """`Bearer` where the provider says nothing, or in its own spelling (RFC 6749 §7.1: case-insensitive)."""
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        return kept.token_type if kept else "Bearer"
    return {"bearer": "Bearer", "dpop": "DPoP"}.get(value.lower(), value)


def _check_bound(client: Client, token_type: str, dpop_key: str | None) -> None:
    """Refuse a token of another kind than was asked for (RFC 9449 §5): unbound, or bound to what we have not.

    Only at the first answer: what a refresh gives is never thrown away.
    """
    bound = token_type == "DPoP"
    if bound == (dpop_key is not None):
        return
    what = "a token that anybody could use" if dpop_key else "a token bound to a key, which nobody asked for"
    raise ProviderProtocolError(f"{client.label} answered with {what} ({token_type})", code="token_type_mismatch")


def _parameters(
    client: Client, paths: TokenResponsePaths, document: dict[str, Any], known: Mapping[str, str], *, first: bool
) -> dict[str, str]:
    """What fills the provider's URLs from now on: newer members in place of older ones, where they fit.

    A first answer without one that URLs are made of is refused; what a refresh gives is never thrown away.
    """
    found = {name: at_path(document, path) for name, path in paths.keep.items()}
    words = {name: str(value) for name, value in found.items() if isinstance(value, str | int) and value is not True}
    values = {**known} | {n: word for n, word in words.items() if _WORD.fullmatch(word) and client.fits(n, word)}
    if first and (missing := (paths.keep.keys() & client.open_placeholders) - values.keys()):
        where = ", ".join(sorted(paths.keep[name] for name in missing))
        raise ProviderProtocolError(f"{client.label} answered without a usable {where}", code="kept_value")
    return values


def _refresh_expiry(
    paths: TokenResponsePaths,
    document: dict[str, Any],
    now: Instant,
    new_refresh: str | None,
    kept: TokenSet | None,
) -> Instant | None:
    path = paths.refresh_expires_in
    lives = seconds(stated(paths, at_path(document, path), now)) if path else None
    if lives is not None:
        return after(now, lives)
    if new_refresh is not None and (kept is None or new_refresh != kept.refresh_token):
        return after(now, paths.refresh_default_lifetime)
    return kept.refresh_token_expires_at if kept else None


def _scopes(paths: TokenResponsePaths, value: Any) -> tuple[str, ...]:
    """The scopes in a text or a list (RFC 6749 §3.3); what cannot be one is left out."""
    if isinstance(value, list):
        words = [word for item in value if isinstance(item, str) for word in item.split()]
    else:
        words = value.replace(paths.scope_separator, " ").split() if isinstance(value, str) else []
    return tuple(word for word in words if _SCOPE.fullmatch(word))
