"""ID tokens and keys of the shipped provider (OpenID Connect Core)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from grantkeeper.testing.features import IdTokenAlgorithm
from tests.fake_provider.signing import seconds
from tests.support.provider_client import CLIENT, Answer, ProviderClient, answer_in, good


@pytest.fixture
def provider(provider: ProviderClient) -> ProviderClient:
    """A provider that knows the scope `openid`."""
    provider.fake.features.openid = True
    return provider


async def tokens_of(provider: ProviderClient, **changes: str | None) -> Answer:
    """Tokens of a new grant with an ID token."""
    url = provider.authorization_url(**{"scope": "openid profile", "nonce": "n-1", **changes})
    return good(await provider.exchange(answer_in(provider.fake.approve(url))["code"]))


async def published(provider: ProviderClient) -> KeySet:
    """The keys at the URL that the metadata names."""
    return KeySet.import_key_set((await provider.http.get(str(provider.fake.metadata()["jwks_uri"]))).json())


async def claims_of(provider: ProviderClient, tokens: Answer, algorithm: str = "ES256") -> dict[str, Any]:
    """The ID token's claims, its signature checked with the published keys."""
    return jwt.decode(str(tokens["id_token"]), await published(provider), algorithms=[algorithm]).claims


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_claims(provider: ProviderClient, algorithm: IdTokenAlgorithm) -> None:
    """It says who, to whom, by whom, until when, and belongs to this request and access token (§2, §3.1.3.6)."""
    provider.fake.features.signing_algorithm = algorithm
    tokens = await tokens_of(provider)
    claims = await claims_of(provider, tokens, algorithm)
    assert (claims["iss"], claims["aud"]) == (provider.fake.issuer, CLIENT.client_id)
    assert (claims["sub"], claims["name"], claims["nonce"]) == ("ada-lovelace", "Ada Lovelace", "n-1")
    assert (claims["iat"], claims["exp"]) == (seconds(provider), seconds(provider) + 3600)
    assert claims["auth_time"] == seconds(provider)
    half = hashlib.sha256(str(tokens["access_token"]).encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    assert "email" not in claims


async def test_refreshed(provider: ProviderClient) -> None:
    """A refresh gives another for the same person, without nonce and with the time of the first sign-in (§12.2)."""
    tokens = await tokens_of(provider)
    signed_in = seconds(provider)
    provider.clock.advance(100)
    claims = await claims_of(provider, good(await provider.refresh(tokens["refresh_token"])))
    assert (claims["sub"], claims["auth_time"]) == ("ada-lovelace", signed_in)
    assert "nonce" not in claims


async def test_only_with_the_scope(provider: ProviderClient) -> None:
    """Without the scope there is none; without the feature the scope is unknown."""
    assert "id_token" not in await tokens_of(provider, scope="profile")
    provider.fake.features.openid = False
    with pytest.raises(ValueError, match="scope"):
        await tokens_of(provider)
    assert "id_token_signing_alg_values_supported" not in provider.fake.metadata()
    assert (await provider.http.get(f"{provider.fake.issuer}/jwks")).status_code == 404


async def test_rotation(provider: ProviderClient) -> None:
    """A new key signs from now on; the old stays published unless it is withdrawn."""
    before = await tokens_of(provider)
    provider.fake.rotate_keys()
    after = await tokens_of(provider)
    assert len((await published(provider)).keys) == 2
    await claims_of(provider, before)
    await claims_of(provider, after)
    provider.fake.rotate_keys(keep_old=False)
    with pytest.raises(JoseError):
        await claims_of(provider, after)


async def test_no_private_key_is_published(provider: ProviderClient) -> None:
    """What stands at /jwks is public."""
    algorithms: tuple[IdTokenAlgorithm, ...] = ("ES256", "RS256")
    for provider.fake.features.signing_algorithm in algorithms:
        jwks = (await provider.http.get(f"{provider.fake.issuer}/jwks")).json()
        assert not any({"d", "p", "q"} & key.keys() for key in jwks["keys"])


async def test_bent(provider: ProviderClient) -> None:
    """Claims, userinfo and metadata can be bent by a test."""
    provider.fake.policy.id_token_claims |= {"sub": "mallory", "nonce": None}
    claims = await claims_of(provider, await tokens_of(provider))
    assert claims["sub"] == "mallory"
    assert "nonce" not in claims
    provider.fake.policy.userinfo_claims["sub"] = "eve"
    tokens = await tokens_of(provider)
    assert (await provider.userinfo(tokens["access_token"])).json()["sub"] == "eve"
    provider.fake.policy.metadata |= {"issuer": "https://evil.example", "jwks_uri": None}
    assert provider.fake.metadata()["issuer"] == "https://evil.example"
    assert "jwks_uri" not in provider.fake.metadata()


async def test_device(provider: ProviderClient) -> None:
    """A device gets one too."""
    provider.fake.features.device_code = True
    form = {"client_id": CLIENT.client_id, "client_secret": CLIENT.client_secret}
    asked = {**form, "scope": "openid"}
    device = good(await provider.http.post(f"{provider.fake.issuer}/device_authorization", data=asked))
    provider.fake.approve_device(str(device["user_code"]))
    polled = {
        **form,
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": str(device["device_code"]),
    }
    tokens = good(await provider.http.post(f"{provider.fake.issuer}/token", data=polled))
    assert (await claims_of(provider, tokens))["sub"] == "ada-lovelace"
