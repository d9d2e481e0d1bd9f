"""The certified provider behaves as the interoperability tests rely on."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.oidc_provider import SCOPE, AuthorizationRequest, OidcProvider, callback_parameters
from tests.support.process import HarnessError, PartMissing, eventually

CALLBACK = "http://127.0.0.1:9/callback"


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    """A provider whose callback nobody serves: these tests never open it."""
    with OidcProvider([CALLBACK]) as provider:
        yield provider


@pytest.fixture
async def person() -> AsyncIterator[httpx2.AsyncClient]:
    """A browser's worth of cookies."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as client:
        yield client


async def ask(provider: OidcProvider, url: str, **parameters: str) -> httpx2.Response:
    """A form sent with the client's id and secret."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as client:
        return await client.post(url, data=parameters, auth=(provider.client_id, provider.client_secret))


async def connect(
    provider: OidcProvider, person: httpx2.AsyncClient, login: str = "ada", **changes: str
) -> dict[str, Any]:
    """The token response of a whole authorization."""
    request = AuthorizationRequest(provider, CALLBACK, **changes)
    got = callback_parameters(await provider.consent(person, request.url, login))
    assert (got["state"], got["iss"]) == (request.state, provider.issuer)
    response = await ask(
        provider,
        provider.token_endpoint,
        grant_type="authorization_code",
        code=got["code"],
        redirect_uri=CALLBACK,
        code_verifier=request.code_verifier,
    )
    assert response.status_code == 200, response.text
    tokens: dict[str, Any] = response.json()
    return tokens


async def identity(provider: OidcProvider, tokens: dict[str, Any]) -> dict[str, str]:
    """What the userinfo endpoint says to the access token."""
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as client:
        told: dict[str, str] = (await client.get(provider.userinfo_endpoint, headers=bearer)).json()
    return told


async def refresh(provider: OidcProvider, refresh_token: str) -> httpx2.Response:
    """One refresh."""
    return await ask(provider, provider.token_endpoint, grant_type="refresh_token", refresh_token=refresh_token)


@pytest.mark.interop
def test_provider_announces_itself(provider: OidcProvider) -> None:
    """Discovery names endpoints under the issuer, PKCE S256, basic authentication and the `iss` parameter."""
    metadata = provider.metadata
    assert metadata["issuer"] == provider.issuer
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert "client_secret_basic" in metadata["token_endpoint_auth_methods_supported"]
    assert set(SCOPE.split()) <= set(metadata["scopes_supported"])
    for endpoint in (
        provider.authorization_endpoint,
        provider.token_endpoint,
        provider.revocation_endpoint,
        provider.userinfo_endpoint,
    ):
        assert endpoint.startswith(f"{provider.issuer}/")


@pytest.mark.interop
async def test_provider_whole_flow_rotates_refresh_tokens(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """Consent, code, tokens for 5 seconds, userinfo, refresh to a new pair; all of it counted."""
    before = provider.counts().token
    tokens = await connect(provider, person)
    assert (tokens["expires_in"], set(tokens["scope"].split())) == (5, set(SCOPE.split()))
    refreshed = (await refresh(provider, tokens["refresh_token"])).json()
    assert refreshed["refresh_token"] != tokens["refresh_token"]
    assert refreshed["access_token"] != tokens["access_token"]
    assert await identity(provider, refreshed) == {
        "sub": "ada",
        "name": "Person ada",
        "preferred_username": "ada",
    }
    after = provider.counts().token
    assert after["authorization_code"] == before.get("authorization_code", 0) + 1
    assert after["refresh_token"] == before.get("refresh_token", 0) + 1


@pytest.mark.interop
async def test_provider_ends_the_grant_when_a_spent_token_returns(
    provider: OidcProvider, person: httpx2.AsyncClient
) -> None:
    """A replayed refresh token is refused, counted as an error, and takes its successor along."""
    before = provider.counts().token_errors.get("invalid_grant", 0)
    tokens = await connect(provider, person)
    successor = (await refresh(provider, tokens["refresh_token"])).json()["refresh_token"]
    for spent in (tokens["refresh_token"], successor):
        response = await refresh(provider, spent)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert provider.counts().token_errors["invalid_grant"] == before + 2


@pytest.mark.interop
async def test_provider_gives_no_refresh_token_without_the_consent_prompt(
    provider: OidcProvider, person: httpx2.AsyncClient
) -> None:
    """offline_access without prompt=consent is dropped, so the grant comes without a refresh token."""
    tokens = await connect(provider, person, prompt="")
    assert "refresh_token" not in tokens
    assert "offline_access" not in tokens["scope"].split()


@pytest.mark.interop
async def test_provider_revokes(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """A revoked refresh token refreshes no more."""
    before = provider.counts().revocation
    tokens = await connect(provider, person)
    token = tokens["refresh_token"]
    revoked = await ask(provider, provider.revocation_endpoint, token=token, token_type_hint="refresh_token")
    assert revoked.status_code == 200
    assert (await refresh(provider, token)).json()["error"] == "invalid_grant"
    assert provider.counts().revocation == before + 1


@pytest.mark.interop
async def test_provider_lets_access_tokens_expire(person: httpx2.AsyncClient) -> None:
    """With a lifetime of one second the access token stops working, and a refresh brings one that works."""
    with OidcProvider([CALLBACK], access_token_ttl=1) as provider:
        tokens = await connect(provider, person)
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}

        def refused() -> bool | None:
            answer = httpx2.get(provider.userinfo_endpoint, headers=bearer, trust_env=False)
            return answer.status_code == 401 or None

        eventually(refused, within=10, what="the access token's end")
        refreshed = (await refresh(provider, tokens["refresh_token"])).json()
        assert (await identity(provider, refreshed))["sub"] == "ada"


@pytest.mark.interop
async def test_provider_lets_a_person_decline(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """Cancel brings back access_denied with the state."""
    request = AuthorizationRequest(provider, CALLBACK)
    got = callback_parameters(await provider.consent(person, request.url, allow=False))
    assert (got["error"], got["state"]) == ("access_denied", request.state)


@pytest.mark.interop
async def test_provider_remembers_who_logged_in(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """The same cookies stay the same person, whatever login is offered later."""
    for login in ("grace", "ada"):
        tokens = await connect(provider, person, login)
        assert (await identity(provider, tokens))["sub"] == "grace"


@pytest.mark.interop
async def test_provider_wants_pkce_and_the_registered_callback(
    provider: OidcProvider, person: httpx2.AsyncClient
) -> None:
    """Without a challenge the callback gets invalid_request; an unknown callback gets no redirect at all."""
    got = callback_parameters(
        await provider.consent(
            person, AuthorizationRequest(provider, CALLBACK, code_challenge="", code_challenge_method="").url
        )
    )
    assert got["error"] == "invalid_request"
    with pytest.raises(HarnessError, match="answered 400"):
        await provider.consent(person, AuthorizationRequest(provider, "http://127.0.0.1:9/other").url)


@pytest.mark.interop
async def test_provider_refuses_another_client_secret(provider: OidcProvider) -> None:
    """A wrong secret is invalid_client."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        response = await client.post(
            provider.token_endpoint,
            data={"grant_type": "refresh_token", "refresh_token": "x"},
            auth=(provider.client_id, "guessed"),
        )
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_provider_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    """Without node_modules the message is an instruction."""
    with pytest.raises(PartMissing, match="run `make test`, or `npm ci"):
        OidcProvider([CALLBACK], interop=tmp_path).start()
