"""The shipped provider knows clients by what they sign, and public ones by name only when told to."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx2
import pytest
from joserfc.jwk import OctKey, OKPKey, RSAKey

from grantkeeper.testing import FakeClient, FakeProvider
from tests.fake_provider.signing import (
    KEY,
    KEY_CLIENT,
    PUBLIC_CLIENT,
    assertion,
    new_key,
    public,
    seconds,
    signed,
)
from tests.support.provider_client import CALLBACK, CLIENT, ProviderClient, good, refused


@pytest.fixture
def provider(provider: ProviderClient) -> ProviderClient:
    """A provider that takes assertions and public clients."""
    provider.fake.features.client_assertions = True
    provider.fake.features.public_clients = True
    provider.fake.register(KEY_CLIENT)
    provider.fake.register(PUBLIC_CLIENT)
    return provider


async def refresh(provider: ProviderClient, client_id: str, /, **form: str) -> httpx2.Response:
    """Use a refresh token of that client, authenticated by these fields alone."""
    issued = provider.fake.issue(client_id)
    fields = {"grant_type": "refresh_token", "refresh_token": str(issued.refresh_token), **form}
    return await provider.http.post(f"{provider.fake.issuer}/token", data=fields)


class TestPrivateKeyJwt:
    """RFC 7523 §2.2 and §3."""

    @pytest.mark.parametrize(
        ("key", "alg"),
        [
            (new_key(), "ES256"),
            (RSAKey.generate_key(2048, auto_kid=True), "RS256"),
            (RSAKey.generate_key(2048, auto_kid=True), "PS256"),
            (OKPKey.generate_key("Ed25519", auto_kid=True), "Ed25519"),
        ],
    )
    async def test_accepted(self, provider: ProviderClient, key: Any, alg: str) -> None:
        """Each kind of key gets its client in, and the request is seen as authenticated by it."""
        client = FakeClient(
            client_id=KEY_CLIENT.client_id, auth_methods=frozenset({"private_key_jwt"}), jwks=public(KEY, key)
        )
        provider.fake.register(client)
        good(await refresh(provider, client.client_id, **assertion(provider, key, alg=alg)))
        assert provider.fake.seen[-1].auth_method == "private_key_jwt"
        assert provider.fake.seen[-1].parameters["client_assertion"] == "…"

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": "https://elsewhere.example"},
            {"aud": None},
            {"iss": "somebody-else"},
            {"sub": "somebody-else"},
            {"sub": CLIENT.client_id},
            {"exp": 1},
            {"exp": None},
            {"exp": "soon"},
            {"nbf": 99_999_999_999},
            {"jti": None},
        ],
    )
    async def test_refused(self, provider: ProviderClient, changes: dict[str, Any]) -> None:
        """An assertion for another server, of another client, out of its time or without an id is refused."""
        response = await refresh(provider, KEY_CLIENT.client_id, **assertion(provider, **changes))
        assert refused(response) == (401, "invalid_client")

    async def test_forged(self, provider: ProviderClient) -> None:
        """A key that is not the client's, an HMAC made with the public key, and no JWT at all are refused."""
        forged = assertion(provider, new_key())
        assert refused(await refresh(provider, KEY_CLIENT.client_id, **forged)) == (401, "invalid_client")
        confused = OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
        claims = {"iss": KEY_CLIENT.client_id, "sub": KEY_CLIENT.client_id, "aud": provider.fake.issuer, "jti": "j"}
        token = signed({**claims, "exp": seconds(provider) + 60}, confused, alg="HS256")
        for nonsense in (token, "nonsense", "a.b.c"):
            form = {**forged, "client_assertion": nonsense}
            assert refused(await refresh(provider, KEY_CLIENT.client_id, **form)) == (401, "invalid_client")

    async def test_replayed(self, provider: ProviderClient) -> None:
        """An assertion is good once."""
        fields = assertion(provider)
        good(await refresh(provider, KEY_CLIENT.client_id, **fields))
        assert refused(await refresh(provider, KEY_CLIENT.client_id, **fields)) == (401, "invalid_client")

    async def test_audience(self, provider: ProviderClient) -> None:
        """The token endpoint may be the audience, unless the provider is told to be as strict as FAPI 2.0."""
        token_endpoint = f"{provider.fake.issuer}/token"
        good(await refresh(provider, KEY_CLIENT.client_id, **assertion(provider, aud=token_endpoint)))
        provider.fake.features.assertion_audience_is_issuer = True
        for audience in (token_endpoint, [provider.fake.issuer]):
            strict = await refresh(provider, KEY_CLIENT.client_id, **assertion(provider, aud=audience))
            assert refused(strict) == (401, "invalid_client")
        good(await refresh(provider, KEY_CLIENT.client_id, **assertion(provider)))

    async def test_one_method_only(self, provider: ProviderClient) -> None:
        """A secret beside an assertion is a bad request; a secret in place of it is refused."""
        both = await refresh(provider, KEY_CLIENT.client_id, client_secret="s", **assertion(provider))
        assert refused(both) == (400, "invalid_request")
        instead = await refresh(provider, KEY_CLIENT.client_id, client_id=KEY_CLIENT.client_id, client_secret="s")
        assert refused(instead) == (401, "invalid_client")

    async def test_off(self, provider: ProviderClient) -> None:
        """Unless switched on, assertions are not known, and the metadata does not promise them."""
        provider.fake.features.client_assertions = False
        response = await refresh(provider, KEY_CLIENT.client_id, **assertion(provider))
        assert refused(response) == (401, "invalid_client")
        assert "private_key_jwt" not in str(provider.fake.metadata())

    async def test_keys_by_url(self, provider: ProviderClient) -> None:
        """Keys are fetched from the client's jwks_uri whenever it shows an assertion, so that they may roll over."""
        old, new, asked = new_key(), new_key(), []
        published = [public(old), public(new)]

        async def fetch(url: str) -> bytes:
            asked.append(url)
            return httpx2.Response(200, json=published.pop(0)).content

        client = FakeClient(
            client_id=KEY_CLIENT.client_id,
            auth_methods=frozenset({"private_key_jwt"}),
            jwks_uri="https://client.example/jwks",
        )
        fake = FakeProvider(
            provider.fake.issuer, [client], provider.clock, features=provider.fake.features, fetch=fetch
        )
        http = httpx2.AsyncClient(transport=httpx2.ASGITransport(fake))
        served = ProviderClient(fake, provider.clock, http)
        good(await refresh(served, client.client_id, **assertion(served, old)))
        good(await refresh(served, client.client_id, **assertion(served, new)))
        assert asked == ["https://client.example/jwks"] * 2
        fake.close()


class TestClientSecretJwt:
    """OpenID Connect Core §9: an HMAC with the client's secret."""

    async def test_accepted_and_refused(self, provider: ProviderClient) -> None:
        """The right secret gets in, another does not."""
        secret = "a secret of at least thirty-two bytes"
        client = FakeClient(client_id="hmac", client_secret=secret, auth_methods=frozenset({"client_secret_jwt"}))
        provider.fake.register(client)
        whose = {"iss": "hmac", "sub": "hmac"}

        def by(secret: str) -> dict[str, str]:
            return assertion(provider, OctKey.import_key(secret), alg="HS256", **whose, jti=str(uuid.uuid4()))

        good(await refresh(provider, "hmac", **by(secret)))
        assert provider.fake.seen[-1].auth_method == "client_secret_jwt"
        assert refused(await refresh(provider, "hmac", **by(secret[::-1]))) == (401, "invalid_client")


class TestPublicClient:
    """The method `none`."""

    async def test_named_only(self, provider: ProviderClient) -> None:
        """A public client names itself; a confidential one cannot get in like that."""
        named = {"client_id": PUBLIC_CLIENT.client_id}
        good(await refresh(provider, PUBLIC_CLIENT.client_id, **named))
        unproved = await refresh(provider, CLIENT.client_id, client_id=CLIENT.client_id)
        assert refused(unproved) == (401, "invalid_client")
        provider.fake.features.public_clients = False
        assert refused(await refresh(provider, PUBLIC_CLIENT.client_id, **named)) == (401, "invalid_client")

    async def test_grant_types(self, provider: ProviderClient) -> None:
        """A client restricted to some grant types may not use the others."""
        only_codes = FakeClient(
            client_id="codes",
            client_secret="s",
            redirect_uris=(CALLBACK,),
            grant_types=frozenset({"authorization_code"}),
        )
        provider.fake.register(only_codes)
        response = await refresh(provider, "codes", client_id="codes", client_secret="s")
        assert refused(response) == (400, "unauthorized_client")
