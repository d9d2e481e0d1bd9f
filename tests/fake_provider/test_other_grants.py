"""Grants of the shipped provider that need no browser: client credentials, JWT bearer, token exchange."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2
import pytest
from joserfc.jwk import Key

from grantkeeper.testing import FakeClient
from tests.fake_provider.signing import KEY as CLIENT_KEY
from tests.fake_provider.signing import KEY_CLIENT, PUBLIC_CLIENT, new_key, proof, public, seconds, signed
from tests.support.provider_client import CLIENT, POST, ProviderClient, good, refused

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
OWN = {**POST, "grant_type": "client_credentials"}
STS = "https://issuer.example"
STS_KEY = new_key()


async def ask(provider: ProviderClient, form: dict[str, str], headers: dict[str, str] | None = None) -> httpx2.Response:
    """A token request."""
    return await provider.http.post(f"{provider.fake.issuer}/token", data=form, headers=headers or {})


class TestClientCredentials:
    """RFC 6749 §4.4."""

    @pytest.fixture
    def provider(self, provider: ProviderClient) -> ProviderClient:
        """A provider that knows the grant."""
        provider.fake.features.client_credentials = True
        return provider

    async def test_answer(self, provider: ProviderClient) -> None:
        """The client acts for itself, with the scope it asked for, and gets no refresh token."""
        tokens = good(await ask(provider, {**OWN, "scope": "accounts.read"}))
        assert tokens.keys() == {"access_token", "token_type", "expires_in", "scope"}
        assert tokens["scope"] == "accounts.read"
        assert (await provider.userinfo(tokens["access_token"])).json() == {"sub": CLIENT.client_id}
        narrow = await ask(provider, {**OWN, "scope": "everything"})
        assert refused(narrow) == (400, "invalid_scope")

    async def test_confidential_only(self, provider: ProviderClient) -> None:
        """A public client has no tokens of its own."""
        provider.fake.features.public_clients = True
        provider.fake.register(PUBLIC_CLIENT)
        response = await ask(provider, {"client_id": PUBLIC_CLIENT.client_id, "grant_type": "client_credentials"})
        assert refused(response) == (400, "unauthorized_client")

    async def test_bound(self, provider: ProviderClient) -> None:
        """With a proof the token is bound to its key."""
        provider.fake.features.dpop = "required"
        key = new_key()
        tokens = good(await ask(provider, OWN, proof(provider, key)))
        assert tokens["token_type"] == "DPoP"

    async def test_off(self, provider: ProviderClient) -> None:
        """Unless switched on it is not known."""
        provider.fake.features.client_credentials = False
        response = await ask(provider, OWN)
        assert refused(response) == (400, "unsupported_grant_type")


class TestJwtBearer:
    """RFC 7523 §2.1."""

    @pytest.fixture
    def provider(self, provider: ProviderClient) -> ProviderClient:
        """A provider that trusts one issuer."""
        provider.fake.features.jwt_bearer = True
        provider.fake.trust_issuer(STS, public(STS_KEY))
        return provider

    def grant(self, provider: ProviderClient, key: Key = STS_KEY, **changes: Any) -> dict[str, str]:
        """The form of a request with an assertion, good but for the changes."""
        claims = {
            "iss": STS,
            "sub": "grace-hopper",
            "aud": provider.fake.issuer,
            "jti": str(uuid.uuid4()),
            "exp": seconds(provider) + 60,
            **changes,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return {"grant_type": JWT_BEARER, "assertion": signed(kept, key)}

    async def test_answer(self, provider: ProviderClient) -> None:
        """The assertion says for whom the token is; there is no refresh token."""
        tokens = good(await ask(provider, {**POST, **self.grant(provider), "scope": "profile"}))
        assert (await provider.userinfo(tokens["access_token"])).json()["sub"] == "grace-hopper"
        assert "refresh_token" not in tokens
        assert provider.fake.seen[-2].parameters["assertion"] == "…"

    async def test_without_client_authentication(self, provider: ProviderClient) -> None:
        """The assertion alone is enough (RFC 7521 §4.1); a wrong secret beside it is not ignored."""
        good(await ask(provider, self.grant(provider)))
        assert provider.fake.grants()[0].client_id == STS
        wrong = await ask(provider, {**POST, "client_secret": "wrong", **self.grant(provider)})
        assert refused(wrong) == (401, "invalid_client")

    async def test_by_the_client_itself(self, provider: ProviderClient) -> None:
        """A client with keys may speak for people, as service accounts do."""
        provider.fake.register(KEY_CLIENT)
        good(await ask(provider, self.grant(provider, CLIENT_KEY, iss=KEY_CLIENT.client_id)))

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://stranger.example"},
            {"key": new_key()},
            {"aud": "https://elsewhere.example"},
            {"exp": 1},
            {"exp": None},
            {"sub": None},
            {"nbf": 99_999_999_999},
        ],
    )
    async def test_refused(self, provider: ProviderClient, changes: dict[str, Any]) -> None:
        """Each thing §3 wants is missed."""
        assert refused(await ask(provider, {**POST, **self.grant(provider, **changes)})) == (400, "invalid_grant")

    async def test_replayed(self, provider: ProviderClient) -> None:
        """An assertion with a jti is good once."""
        form = self.grant(provider)
        good(await ask(provider, {**POST, **form}))
        assert refused(await ask(provider, {**POST, **form})) == (400, "invalid_grant")


class TestTokenExchange:
    """RFC 8693."""

    @pytest.fixture
    def provider(self, provider: ProviderClient) -> ProviderClient:
        """A provider that knows the grant."""
        provider.fake.features.token_exchange = True
        provider.fake.features.resource_indicators = True
        return provider

    def form(self, token: object, **changes: str) -> dict[str, str]:
        """A request to exchange that access token."""
        subject = {"subject_token": str(token), "subject_token_type": ACCESS_TOKEN}
        return {**POST, "grant_type": EXCHANGE, **subject, **changes}

    async def test_answer(self, provider: ProviderClient) -> None:
        """A token for the same person at another audience, with less scope, and what kind of token it is."""
        tokens = await provider.tokens()
        form = self.form(
            tokens["access_token"], audience="reports", resource="https://reports.example/", scope="profile"
        )
        exchanged = good(await ask(provider, form))
        assert (exchanged["issued_token_type"], exchanged["scope"]) == (ACCESS_TOKEN, "profile")
        assert (await provider.userinfo(exchanged["access_token"])).json()["sub"] == "ada-lovelace"
        facts = provider.fake.token_facts(str(exchanged["access_token"]))
        assert facts.audience == ("reports", "https://reports.example/")
        assert "refresh_token" not in exchanged

    async def test_actor(self, provider: ProviderClient) -> None:
        """An actor token says who acts (§4.1)."""
        tokens, acting = await provider.tokens(), provider.fake.issue(CLIENT.client_id, subject="alan-turing")
        form = self.form(tokens["access_token"], actor_token=acting.access_token, actor_token_type=ACCESS_TOKEN)
        exchanged = good(await ask(provider, form))
        assert provider.fake.token_facts(str(exchanged["access_token"])).actor == "alan-turing"

    async def test_refused(self, provider: ProviderClient) -> None:
        """A token that is not ours, is over, is of another type, or has less scope than asked for is refused."""
        tokens = await provider.tokens()
        good_form = self.form(tokens["access_token"])
        for changes, error in (
            ({"subject_token": "made-up"}, "invalid_request"),
            ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
            ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
            ({"scope": "accounts.read"}, "invalid_scope"),
            ({"resource": "not a uri"}, "invalid_target"),
            ({"actor_token": "made-up", "actor_token_type": ACCESS_TOKEN}, "invalid_request"),
        ):
            assert refused(await ask(provider, {**good_form, **changes})) == (400, error)
        provider.fake.expire_access_tokens()
        assert refused(await ask(provider, good_form)) == (400, "invalid_request")

    async def test_by_another_client(self, provider: ProviderClient) -> None:
        """The token given is the asking client's own."""
        provider.fake.register(FakeClient(client_id="gateway", client_secret="g"))
        form = self.form((await provider.tokens())["access_token"], client_id="gateway", client_secret="g")
        good(await ask(provider, form))
        assert provider.fake.grants()[-1].client_id == "gateway"
