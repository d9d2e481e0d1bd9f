"""The shipped provider's sample resource (RFC 9728), and metadata that says what is on and no more."""

from __future__ import annotations

import httpx2
import pytest

from grantkeeper.testing import Features
from tests.support.provider_client import Answer, ProviderClient, answer_in, good


@pytest.fixture
def provider(provider: ProviderClient) -> ProviderClient:
    """A provider with /mcp beside it."""
    provider.fake.features.sample_resource = True
    provider.fake.features.resource_indicators = True
    return provider


async def visit(provider: ProviderClient, tokens: Answer | None = None, method: str = "GET") -> httpx2.Response:
    """Ask the resource."""
    headers = {"authorization": f"Bearer {tokens['access_token']}"} if tokens else {}
    return await provider.http.request(method, f"{provider.fake.issuer}/mcp", headers=headers)


async def tokens_for(provider: ProviderClient, resource: str | None) -> Answer:
    """Tokens for that resource."""
    url = provider.authorization_url(resource=resource)
    return good(await provider.exchange(answer_in(provider.fake.approve(url))["code"]))


async def test_found_by_its_url(provider: ProviderClient) -> None:
    """Without a token it says where its metadata is, which names it and its authorization server."""
    response = await visit(provider)
    assert response.status_code == 401
    challenge = response.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    where = challenge.partition('resource_metadata="')[2].partition('"')[0]
    origin = provider.fake.issuer.removesuffix("/demo-provider")
    assert where == f"{origin}/.well-known/oauth-protected-resource/demo-provider/mcp"
    metadata = (await provider.http.get(where)).json()
    assert metadata["resource"] == f"{provider.fake.issuer}/mcp"
    assert metadata["authorization_servers"] == [provider.fake.issuer]


async def test_for_its_tokens_only(provider: ProviderClient) -> None:
    """A token for it opens; one for elsewhere, or for nowhere, does not."""
    opened = await visit(provider, await tokens_for(provider, f"{provider.fake.issuer}/mcp"), "POST")
    assert opened.json()["sub"] == "ada-lovelace"
    for resource in ("https://elsewhere.example/", None):
        refused = await visit(provider, await tokens_for(provider, resource))
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert "resource_metadata=" in refused.headers["www-authenticate"]


async def test_off(provider: ProviderClient) -> None:
    """Unless switched on there is neither resource nor metadata."""
    provider.fake.features.sample_resource = False
    assert (await visit(provider)).status_code == 404
    url = f"{provider.fake.issuer}/.well-known/oauth-protected-resource/mcp"
    assert (await provider.http.get(url)).status_code == 404


async def test_metadata_of_the_demo(provider: ProviderClient) -> None:
    """With everything off the metadata is that of a plain code flow."""
    for name in Features.__struct_fields__:
        setattr(provider.fake.features, name, getattr(Features(), name))
    assert repr(provider.fake.features) == "Features()"
    assert provider.fake.metadata().keys() == {
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "revocation_endpoint",
        "userinfo_endpoint",
        "scopes_supported",
        "response_types_supported",
        "response_modes_supported",
        "grant_types_supported",
        "code_challenge_methods_supported",
        "token_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_methods_supported",
        "authorization_response_iss_parameter_supported",
    }


async def test_every_endpoint_it_names_is_there(provider: ProviderClient) -> None:
    """With everything on, each URL in the metadata answers something other than 404."""
    provider.fake.features.openid = provider.fake.features.jarm = provider.fake.features.device_code = True
    provider.fake.features.registration = provider.fake.features.client_assertions = True
    provider.fake.features.pushed_requests = provider.fake.features.dpop = "offered"
    metadata = provider.fake.metadata()
    named = {name: str(url) for name, url in metadata.items() if name.endswith(("_endpoint", "_uri"))}
    assert len(named) == 8
    for url in named.values():
        statuses = {(await provider.http.get(url)).status_code, (await provider.http.post(url)).status_code}
        assert 404 not in statuses
