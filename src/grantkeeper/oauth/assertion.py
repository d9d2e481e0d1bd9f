"""Signed statements of ours: client assertions and the JWT bearer grant (RFC 7523)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import ClientRejected
from grantkeeper.oauth.signing import Signer

LIFETIME = 60
"""For how many seconds a client assertion is good; no longer than providers of the FAPI 2.0 profile accept."""

_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SHORTEST_SECRET = 32


def client_assertion_claims(
    client_id: str, audience: str, now: Instant, lifetime: int = LIFETIME, *, speaker: str | None = None
) -> dict[str, Any]:
    """What a client says of itself to authenticate (RFC 7523 §3). `lifetime` in seconds.

    `speaker`: what it calls itself as the issuer, where that is not its client id.
    `audience` is the provider's issuer, as one string: a list could be used at another provider on it
    (FAPI 2.0 Security Profile, what clients shall do). Without `nbf`: a provider whose clock is behind would
    refuse it.
    """
    return _claims(speaker or client_id, client_id, audience, now, lifetime)


async def private_key_jwt(
    signer: Signer, client_id: str, audience: str, now: Instant, *, speaker: str | None = None
) -> dict[str, str]:
    """The parameters that authenticate a client by its key (RFC 7523 §2.2, OpenID Connect Core §9)."""
    return _parameters(await signer.sign(client_assertion_claims(client_id, audience, now, speaker=speaker)))


def client_secret_jwt(
    client_secret: str, client_id: str, audience: str, now: Instant, *, speaker: str | None = None
) -> dict[str, str]:
    """The parameters that authenticate a client by an HMAC with its secret (OpenID Connect Core §9), HS256.

    ClientRejected where the secret is too short for that (RFC 7518 §3.2) or is a key of another kind.
    """
    if len(client_secret.encode()) < _SHORTEST_SECRET:
        raise ClientRejected(
            f"client_secret_jwt needs a client secret of at least {_SHORTEST_SECRET} bytes (RFC 7518 §3.2): "
            "have the provider make a longer one, or authenticate in another way"
        )
    try:
        key = OctKey.import_key(client_secret)
    except ValueError:
        raise ClientRejected(
            "the client secret is a public key, which client_secret_jwt must not use: set the secret that the "
            "provider gave, or authenticate with private_key_jwt"
        ) from None
    claims = client_assertion_claims(client_id, audience, now, speaker=speaker)
    return _parameters(jwt.encode({"alg": "HS256"}, claims, key, ["HS256"]))


async def jwt_bearer_assertion(
    signer: Signer,
    issuer: str,
    subject: str,
    audience: str,
    now: Instant,
    extra: Mapping[str, Any] | None = None,
    lifetime: int = 300,
) -> str:
    """An assertion that stands in for a person's consent (RFC 7523 §2.1). `lifetime` in seconds.

    `issuer` speaks, access is asked for `subject`. `extra` claims replace none of ours.
    """
    return await signer.sign({**(extra or {}), **_claims(issuer, subject, audience, now, lifetime)})


def _claims(issuer: str, subject: str, audience: str, now: Instant, lifetime: int) -> dict[str, Any]:
    seconds = now // SECOND
    return {
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "jti": secrets.token_urlsafe(16),
        "iat": seconds,
        "exp": seconds + lifetime,
    }


def _parameters(assertion: str) -> dict[str, str]:
    return {"client_assertion_type": _TYPE, "client_assertion": assertion}
