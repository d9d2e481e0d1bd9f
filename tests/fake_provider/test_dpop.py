"""The shipped provider binds tokens to keys as RFC 9449 says."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from joserfc.jwk import Key

from grantkeeper.testing import FakeClient
from tests.fake_provider.signing import PUBLIC_CLIENT, new_key, proof
from tests.support.provider_client import (
    CALLBACK,
    POST,
    VERIFIER,
    Answer,
    ProviderClient,
    answer_in,
    good,
    refused,
)


@pytest.fixture
def provider(provider: ProviderClient) -> ProviderClient:
    """A provider that knows DPoP."""
    provider.fake.features.dpop = "offered"
    provider.fake.features.public_clients = True
    provider.fake.register(PUBLIC_CLIENT)
    return provider


async def exchange(
    provider: ProviderClient, headers: dict[str, str], code: str | None = None, form: dict[str, str] = POST
) -> httpx2.Response:
    """Redeem a code with these headers."""
    fields = {
        **form,
        "grant_type": "authorization_code",
        "code": code or provider.code(),
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    return await provider.http.post(f"{provider.fake.issuer}/token", data=fields, headers=headers)


async def refresh(
    provider: ProviderClient, tokens: Answer, headers: dict[str, str], form: dict[str, str] = POST
) -> httpx2.Response:
    """Refresh with these headers."""
    fields = {**form, "grant_type": "refresh_token", "refresh_token": str(tokens["refresh_token"])}
    return await provider.http.post(f"{provider.fake.issuer}/token", data=fields, headers=headers)


async def userinfo(
    provider: ProviderClient, tokens: Answer, key: Key | None, scheme: str = "DPoP", **changes: Any
) -> httpx2.Response:
    """Ask who somebody is, with a proof by `key`."""
    token = tokens["access_token"]
    headers = {"authorization": f"{scheme} {token}"}
    if key is not None:
        headers |= proof(provider, key, method="GET", path="/userinfo", token=token, **changes)
    return await provider.http.get(f"{provider.fake.issuer}/userinfo", headers=headers)


class TestTokenEndpoint:
    """§5."""

    async def test_bound(self, provider: ProviderClient) -> None:
        """A proof gives a token of type DPoP that is bound to its key; without one it is a bearer token."""
        key = new_key()
        tokens = good(await exchange(provider, proof(provider, key)))
        assert tokens["token_type"] == "DPoP"
        assert provider.fake.token_facts(str(tokens["access_token"])).jkt == key.thumbprint()
        assert good(await exchange(provider, {}))["token_type"] == "Bearer"

    @pytest.mark.parametrize(
        "changes",
        [
            {"htm": "GET"},
            {"htm": None},
            {"htu": "https://elsewhere.example/token"},
            {"htu": None},
            {"iat": 1},
            {"iat": None},
            {"iat": 99_999_999_999},
            {"jti": None},
            {"header": {"typ": "JWT"}},
            {"header": {"jwk": None}},
            {"header": {"jwk": new_key().as_dict(private=False)}},
            {"header": {"jwk": new_key().as_dict(private=True)}},
            {"header": {"jwk": {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}}},
        ],
    )
    async def test_bad_proof(self, provider: ProviderClient, changes: dict[str, Any]) -> None:
        """Each thing that §4.3 checks makes the proof bad when it is wrong."""
        response = await exchange(provider, proof(provider, new_key(), **changes))
        assert refused(response) == (400, "invalid_dpop_proof")

    async def test_htu_is_normalised(self, provider: ProviderClient) -> None:
        """Query and fragment of `htu` do not count, nor does the case of its host (§4.3)."""
        url = f"{provider.fake.issuer}/token?a=b#c".replace("http:", "HTTP:")
        good(await exchange(provider, proof(provider, new_key(), htu=url)))

    async def test_replayed(self, provider: ProviderClient) -> None:
        """A proof is good once, and for a minute; two of them in one request are one too many."""
        once = proof(provider, new_key())
        good(await exchange(provider, once))
        assert refused(await exchange(provider, once)) == (400, "invalid_dpop_proof")
        two = {"dpop": f"{proof(provider, new_key())['dpop']}, {proof(provider, new_key())['dpop']}"}
        assert refused(await exchange(provider, two)) == (400, "invalid_dpop_proof")
        late = proof(provider, new_key())
        provider.clock.advance(61)
        assert refused(await exchange(provider, late)) == (400, "invalid_dpop_proof")

    async def test_required(self, provider: ProviderClient) -> None:
        """Where it is required, of all or of one client, no token is given without a proof."""
        provider.fake.features.dpop = "required"
        assert refused(await exchange(provider, {})) == (400, "invalid_dpop_proof")
        good(await exchange(provider, proof(provider, new_key())))
        provider.fake.features.dpop = "offered"
        bound = FakeClient(client_id="bound", client_secret="s", redirect_uris=(CALLBACK,), dpop_bound=True)
        provider.fake.register(bound)
        form = {"client_id": "bound", "client_secret": "s"}
        code = answer_in(provider.fake.approve(provider.authorization_url(client_id="bound")))["code"]
        assert refused(await exchange(provider, {}, code, form)) == (400, "invalid_dpop_proof")

    async def test_code_bound_to_key(self, provider: ProviderClient) -> None:
        """`dpop_jkt` binds the code to a key (§10): another key does not redeem it."""
        key = new_key()
        url = provider.authorization_url(dpop_jkt=key.thumbprint())
        code = answer_in(provider.fake.approve(url))["code"]
        assert refused(await exchange(provider, proof(provider, new_key()), code)) == (400, "invalid_dpop_proof")
        code = answer_in(provider.fake.approve(url))["code"]
        good(await exchange(provider, proof(provider, key), code))
        with pytest.raises(ValueError, match="thumbprint"):
            provider.fake.approve(provider.authorization_url(dpop_jkt="short"))


class TestRefresh:
    """§5: whose refresh tokens are bound."""

    async def test_public_client(self, provider: ProviderClient) -> None:
        """A public client's refresh token works with its key alone, and survives attempts with others."""
        key, form = new_key(), {"client_id": PUBLIC_CLIENT.client_id}
        code = answer_in(provider.fake.approve(provider.authorization_url(client_id=PUBLIC_CLIENT.client_id)))["code"]
        tokens = good(await exchange(provider, proof(provider, key), code, form))
        for headers in ({}, proof(provider, new_key())):
            assert refused(await refresh(provider, tokens, headers, form)) == (400, "invalid_grant")
        again = good(await refresh(provider, tokens, proof(provider, key), form))
        assert again["token_type"] == "DPoP"

    async def test_confidential_client(self, provider: ProviderClient) -> None:
        """A confidential client's refresh token is bound by its authentication: its key may change."""
        tokens = good(await exchange(provider, proof(provider, new_key())))
        other = new_key()
        again = good(await refresh(provider, tokens, proof(provider, other)))
        assert provider.fake.token_facts(str(again["access_token"])).jkt == other.thumbprint()


class TestResource:
    """§7."""

    async def test_needs_its_key(self, provider: ProviderClient) -> None:
        """A bound token opens with a fresh proof by its key, for this request and this token."""
        key = new_key()
        tokens = good(await exchange(provider, proof(provider, key)))
        assert (await userinfo(provider, tokens, key)).json()["sub"] == "ada-lovelace"
        other = await userinfo(provider, tokens, new_key())
        assert (other.status_code, other.json()["error"]) == (401, "invalid_token")
        missing = await userinfo(provider, tokens, None)
        assert missing.headers["www-authenticate"].startswith("DPoP ")
        assert 'error="invalid_dpop_proof"' in missing.headers["www-authenticate"]
        for changes in ({"ath": None}, {"ath": "x"}, {"htm": "POST"}):
            response = await userinfo(provider, tokens, key, **changes)
            assert (response.status_code, response.json()["error"]) == (401, "invalid_dpop_proof")

    async def test_no_downgrade(self, provider: ProviderClient) -> None:
        """A bound token is not honoured as a bearer token, nor a bearer token as a bound one (§7.2)."""
        key = new_key()
        bound = good(await exchange(provider, proof(provider, key)))
        bearer = good(await exchange(provider, {}))
        for response in (
            await userinfo(provider, bound, key, "Bearer"),
            await userinfo(provider, bearer, key),
        ):
            assert (response.status_code, response.json()["error"]) == (401, "invalid_token")


class TestNonce:
    """§8 and §9."""

    async def test_token_endpoint(self, provider: ProviderClient) -> None:
        """A proof without the nonce, or with an old one, is told which to use; with it, it is taken."""
        provider.fake.features.dpop_nonces = True
        key = new_key()
        first = await exchange(provider, proof(provider, key))
        assert refused(first) == (400, "use_dpop_nonce")
        nonce = first.headers["dpop-nonce"]
        second = await exchange(provider, proof(provider, key, nonce=nonce))
        assert good(second)["token_type"] == "DPoP"
        assert second.headers["dpop-nonce"] == nonce
        provider.fake.rotate_dpop_nonce()
        third = await exchange(provider, proof(provider, key, nonce=nonce))
        assert refused(third) == (400, "use_dpop_nonce")
        assert third.headers["dpop-nonce"] != nonce

    async def test_changes_with_time(self, provider: ProviderClient) -> None:
        """After five minutes another nonce is given, and the one before is honoured for as long again."""
        provider.fake.features.dpop_nonces = True
        key = new_key()
        nonce = (await exchange(provider, proof(provider, key))).headers["dpop-nonce"]
        provider.clock.advance(301)
        second = await exchange(provider, proof(provider, key, nonce=nonce))
        good(second)
        assert second.headers["dpop-nonce"] != nonce
        provider.clock.advance(301)
        assert refused(await exchange(provider, proof(provider, key, nonce=nonce))) == (400, "use_dpop_nonce")

    async def test_resource(self, provider: ProviderClient) -> None:
        """The resource asks for its nonce with 401 and a challenge (§9)."""
        key = new_key()
        tokens = good(await exchange(provider, proof(provider, key)))
        provider.fake.features.dpop_nonces = True
        first = await userinfo(provider, tokens, key)
        assert first.status_code == 401
        assert 'error="use_dpop_nonce"' in first.headers["www-authenticate"]
        second = await userinfo(provider, tokens, key, nonce=first.headers["dpop-nonce"])
        assert second.status_code == 200

    async def test_off(self, provider: ProviderClient) -> None:
        """Where DPoP is off its header is not looked at, and no nonce is given."""
        provider.fake.features.dpop, provider.fake.features.dpop_nonces = "off", True
        response = await exchange(provider, {"dpop": "nonsense"})
        assert good(response)["token_type"] == "Bearer"
        assert "dpop-nonce" not in response.headers
        assert "dpop_signing_alg_values_supported" not in provider.fake.metadata()
