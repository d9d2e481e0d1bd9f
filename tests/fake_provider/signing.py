"""What clients sign, made with joserfc alone: assertions, request objects, proofs of possession."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key

from grantkeeper.clock import SECOND
from grantkeeper.testing import FakeClient
from tests.support.provider_client import CALLBACK, ProviderClient

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def new_key() -> ECKey:
    """A key on P-256."""
    return ECKey.generate_key("P-256", auto_kid=True)


def public(*keys: Key) -> dict[str, Any]:
    """A JWK Set of the public parts."""
    return {"keys": [dict(key.as_dict(private=False)) for key in keys]}


KEY = new_key()
KEY_CLIENT = FakeClient(
    client_id="key-holder",
    redirect_uris=(CALLBACK,),
    auth_methods=frozenset({"private_key_jwt"}),
    jwks=public(KEY),
)
PUBLIC_CLIENT = FakeClient(client_id="app-on-a-phone", redirect_uris=(CALLBACK,), auth_methods=frozenset({"none"}))


def signed(claims: dict[str, Any], key: Key = KEY, *, alg: str = "ES256", **header: Any) -> str:
    """A JWT."""
    return jwt.encode(_present({"alg": alg, "kid": key.kid, **header}), claims, key, algorithms=[alg])


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def seconds(provider: ProviderClient) -> int:
    """The time at the provider."""
    return provider.clock.now() // SECOND


def assertion(provider: ProviderClient, key: Key = KEY, *, alg: str = "ES256", **changes: Any) -> dict[str, str]:
    """The form fields of `private_key_jwt`, correct but for the changes."""
    claims = {
        "iss": KEY_CLIENT.client_id,
        "sub": KEY_CLIENT.client_id,
        "aud": provider.fake.issuer,
        "jti": str(uuid.uuid4()),
        "iat": seconds(provider),
        "exp": seconds(provider) + 60,
        **changes,
    }
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": signed(claims, key, alg=alg)}


def proof(
    provider: ProviderClient,
    key: Key,
    *,
    method: str = "POST",
    path: str = "/token",
    token: object = None,
    header: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, str]:
    """The DPoP header, correct but for the changes; None leaves a claim out."""
    claims: dict[str, Any] = {
        "jti": str(uuid.uuid4()),
        "htm": method,
        "htu": provider.fake.issuer + path,
        "iat": seconds(provider),
    }
    if token is not None:
        hashed = hashlib.sha256(str(token).encode()).digest()
        claims["ath"] = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
    members = {"alg": "ES256", "typ": "dpop+jwt", "jwk": key.as_dict(private=False), **(header or {})}
    return {"dpop": jwt.encode(_present(members), _present({**claims, **changes}), key, algorithms=["ES256"])}
