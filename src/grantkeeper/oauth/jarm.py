"""Signed authorization responses (JARM: JWT Secured Authorization Response Mode for OAuth 2.0)."""

from __future__ import annotations

from collections.abc import Sequence

from joserfc.jwk import KeySet

from grantkeeper.clock import Instant
from grantkeeper.errors import AuthorizationFailed, ProviderProtocolError
from grantkeeper.oauth.signed import Jwt, Kind, read

_RESPONSE = Kind(name="signed response", code="jarm")
# Those of the JWT itself. `iss` stays: inside, it does what RFC 9207 wants of the parameter (RFC 9207 §2.4).
_OF_THE_JWT = frozenset(("aud", "exp", "nbf", "iat", "jti", "sub"))
_MUST_BE_TEXT = ("state", "code", "error")


def jwt_kid(jwt: str) -> str | None:
    """The id of the key that is said to have signed it, so that the key can be fetched; AuthorizationFailed."""
    try:
        return read(jwt, _RESPONSE).kid
    except ProviderProtocolError as error:
        raise _failed(error) from None


def response_parameters(
    jwt: str, *, client_id: str, issuer: str, keys: KeySet, algorithms: Sequence[str], now: Instant
) -> list[tuple[str, str]]:
    """The response parameters in the `response` JWT, `iss` among them (JARM §2.1), checked as JARM §2.4 says.

    AuthorizationFailed where it is not the issuer's, not for us, expired or not signed as allowed; its `reason`
    says which: `jarm_signature`, `jarm_aud`, …. `none` is never allowed.
    """
    try:
        response = read(jwt, _RESPONSE)
        # Issuer and audience come first (JARM §2.4): a stranger's response costs no signature check.
        response.check_issuer(issuer)
        response.check_audience(client_id)
        response.check_expiry(now)
        response.verify(keys, [algorithm for algorithm in algorithms if algorithm != "none"])
        return _parameters(response)
    except ProviderProtocolError as error:
        raise _failed(error) from None


def _parameters(response: Jwt) -> list[tuple[str, str]]:
    """What is text; numbers as text. Other members are extensions that we did not ask for."""
    for name in _MUST_BE_TEXT:
        if not isinstance(response.claims.get(name, ""), str):
            raise response.kind.refused("malformed", f"`{name}` is not a text")
    return [
        (name, str(value))
        for name, value in response.claims.items()
        if name not in _OF_THE_JWT and isinstance(value, str | int) and not isinstance(value, bool)
    ]


def _failed(error: ProviderProtocolError) -> AuthorizationFailed:
    return AuthorizationFailed(
        error.code or "jarm_malformed",
        "The provider's answer cannot be trusted",
        f"We did not use the answer: {error.message}. Nothing was connected. Start again from your connections; if "
        "this happens twice, tell the person who runs this service.",
    )
