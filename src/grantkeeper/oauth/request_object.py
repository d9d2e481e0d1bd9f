"""Authorization requests as signed JWTs (RFC 9101)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import InvalidValue
from grantkeeper.oauth.signing import Signer

TYPE = "oauth-authz-req+jwt"
"""The `typ` of its header, so that it can be taken for nothing else (RFC 9101 §10.8)."""

# The first two must not be inside (RFC 9101 §4). With `sub` it could be used as a client assertion (§10.8), and
# what authenticates the client goes beside it (RFC 9126 §3).
_NEVER_INSIDE = frozenset(
    ("request", "request_uri", "sub", "client_assertion", "client_assertion_type", "client_secret")
)
# Parameters that are JSON (OpenID Connect Core §5.5 and §3.1.2.1, RFC 9396 §2): inside a JWT as values, not as text.
_JSON = frozenset(("claims", "authorization_details", "max_age"))


async def request_object(
    signer: Signer,
    client_id: str,
    audience: str,
    parameters: Mapping[str, Any],
    now: Instant,
    lifetime: int = 300,
) -> str:
    """The parameters of an authorization request, signed (RFC 9101 §4). `lifetime` in seconds.

    `audience` is the provider's issuer. A parameter that is None is left out, a list stands for one that is given
    several times. InvalidValue where `claims`, `authorization_details` or `max_age` is text that is not JSON.
    """
    seconds = now // SECOND
    inside = {name: _value(name, value) for name, value in parameters.items() if value is not None}
    ours = {
        "iss": client_id,
        "client_id": client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(16),
        "iat": seconds,
        "nbf": seconds,
        "exp": seconds + lifetime,
    }
    kept = {name: value for name, value in inside.items() if name not in _NEVER_INSIDE}
    return await signer.sign({**kept, **ours}, typ=TYPE)


def _value(name: str, value: Any) -> Any:
    if name not in _JSON or not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidValue({name: [f"The {name} must be JSON."]}) from None
