"""Authorization requests and responses of the shipped provider: pushed, signed, bound to resources, detailed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.fake_provider.signing import KEY_CLIENT, assertion, new_key, proof, seconds, signed
from tests.support.provider_client import (
    CALLBACK,
    CLIENT,
    POST,
    VERIFIER,
    ProviderClient,
    answer_in,
    good,
    refused,
)

MCP = "https://mcp.example/mcp"
FILES = "https://files.example/"
NO_HEADERS: Mapping[str, str] = {}


def request_parameters(provider: ProviderClient, **changes: str | None) -> dict[str, str]:
    """The parameters of a good authorization request."""
    return dict(answer_in(provider.authorization_url(**changes)))


async def push(provider: ProviderClient, headers: Mapping[str, str] = NO_HEADERS, /, **changes: str) -> httpx2.Response:
    """Push a request, good but for the changes."""
    form = {**request_parameters(provider), **POST, **changes}
    return await provider.http.post(f"{provider.fake.issuer}/par", data=form, headers=dict(headers))


def url_of(provider: ProviderClient, request_uri: object, client_id: str = CLIENT.client_id) -> str:
    """Where the browser is sent with a pushed request."""
    return f"{provider.fake.issuer}/authorize?{urlencode({'client_id': client_id, 'request_uri': str(request_uri)})}"


class TestPushed:
    """RFC 9126."""

    @pytest.fixture
    def provider(self, provider: ProviderClient) -> ProviderClient:
        """A provider with /par."""
        provider.fake.features.pushed_requests = "offered"
        return provider

    async def test_pushed(self, provider: ProviderClient) -> None:
        """201 with a request_uri that lives 60 seconds; the browser brings it and is answered as pushed."""
        response = await push(provider)
        assert response.status_code == 201
        assert response.json()["expires_in"] == 60
        page = await provider.http.get(url_of(provider, response.json()["request_uri"]))
        assert "Test &lt;App&gt; would like to use your account" in page.text
        again = (await push(provider)).json()["request_uri"]
        answer = answer_in(provider.fake.approve(url_of(provider, again)))
        assert answer["state"] == "st&te"
        good(await provider.exchange(answer["code"]))

    async def test_once(self, provider: ProviderClient) -> None:
        """A request_uri is good once, for its client, and for a minute."""
        uri = (await push(provider)).json()["request_uri"]
        assert (await provider.http.get(url_of(provider, uri, "other"))).status_code == 400
        provider.fake.approve(url_of(provider, uri))
        assert (await provider.http.get(url_of(provider, uri))).status_code == 400
        late = (await push(provider)).json()["request_uri"]
        provider.clock.advance(60)
        assert (await provider.http.get(url_of(provider, late))).status_code == 400
        assert (await provider.http.get(url_of(provider, "https://evil.example/request"))).status_code == 400

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"client_secret": "wrong"}, "invalid_client"),
            ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"scope": "everything"}, "invalid_scope"),
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"),
        ],
    )
    async def test_refused_at_once(self, provider: ProviderClient, changes: dict[str, str], error: str) -> None:
        """What the authorization endpoint would refuse is refused where the request is pushed."""
        assert refused(await push(provider, NO_HEADERS, **changes))[1] == error

    async def test_required(self, provider: ProviderClient) -> None:
        """Where pushing is required, a request in the URL is refused, to the client."""
        provider.fake.features.pushed_requests = "required"
        assert provider.fake.metadata()["require_pushed_authorization_requests"] is True
        response = await provider.http.get(provider.authorization_url())
        assert answer_in(response.headers["location"])["error"] == "invalid_request"
        uri = (await push(provider)).json()["request_uri"]
        provider.fake.approve(url_of(provider, uri))

    async def test_proof_binds_the_code(self, provider: ProviderClient) -> None:
        """A DPoP proof at /par binds the code (RFC 9449 §10.1), and must agree with dpop_jkt."""
        provider.fake.features.dpop = "offered"
        key = new_key()
        uri = (await push(provider, proof(provider, key, path="/par"))).json()["request_uri"]
        code = answer_in(provider.fake.approve(url_of(provider, uri)))["code"]
        assert refused(await provider.exchange(code)) == (400, "invalid_dpop_proof")
        other = new_key().thumbprint()
        two_keys = await push(provider, proof(provider, key, path="/par"), dpop_jkt=other)
        assert refused(two_keys) == (400, "invalid_dpop_proof")

    async def test_off(self, provider: ProviderClient) -> None:
        """Unless switched on there is no /par, and a request_uri means nothing."""
        provider.fake.features.pushed_requests = "off"
        assert (await push(provider)).status_code == 404
        assert (await provider.http.get(url_of(provider, "x"))).status_code == 400
        assert "pushed_authorization_request_endpoint" not in provider.fake.metadata()


class TestSigned:
    """RFC 9101."""

    @pytest.fixture
    def provider(self, provider: ProviderClient) -> ProviderClient:
        """A provider that reads request objects, and a client with a key."""
        provider.fake.features.request_objects = "required"
        provider.fake.features.client_assertions = True
        provider.fake.register(KEY_CLIENT)
        return provider

    def url(self, provider: ProviderClient, key: Any = None, **changes: Any) -> str:
        """An authorization URL with a signed request."""
        claims = {
            **request_parameters(provider, client_id=KEY_CLIENT.client_id),
            "iss": KEY_CLIENT.client_id,
            "aud": provider.fake.issuer,
            "exp": seconds(provider) + 60,
            **changes,
        }
        token = signed(claims, typ="oauth-authz-req+jwt") if key is None else signed(claims, key)
        return f"{provider.fake.issuer}/authorize?{urlencode({'client_id': KEY_CLIENT.client_id, 'request': token})}"

    async def test_signed(self, provider: ProviderClient) -> None:
        """What counts is in the request object; parameters beside it do not."""
        url = self.url(provider, resource=[MCP, FILES]) + "&state=another&scope=accounts.read"
        provider.fake.features.resource_indicators = True
        answer = answer_in(provider.fake.approve(url))
        assert answer["state"] == "st&te"
        form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": CALLBACK}
        fields = {**form, "code_verifier": VERIFIER, **assertion(provider)}
        tokens = good(await provider.http.post(f"{provider.fake.issuer}/token", data=fields))
        assert tokens["scope"] == "profile email"
        assert provider.fake.token_facts(str(tokens["access_token"])).audience == (MCP, FILES)

    @pytest.mark.parametrize(
        "changes",
        [
            {"key": new_key()},
            {"aud": "https://elsewhere.example"},
            {"exp": 1},
            {"client_id": "other"},
            {"iss": "other"},
            {"request_uri": "x"},
        ],
    )
    async def test_refused(self, provider: ProviderClient, changes: dict[str, Any]) -> None:
        """One signed by another, for another server, out of time or of another client is refused on a page."""
        response = await provider.http.get(self.url(provider, **changes))
        assert response.status_code == 400
        assert "request object is not good" in response.text

    async def test_required(self, provider: ProviderClient) -> None:
        """Where it is required, an unsigned request is refused; where it is offered, it is not."""
        response = await provider.http.get(provider.authorization_url())
        assert answer_in(response.headers["location"])["error"] == "invalid_request"
        provider.fake.features.request_objects = "offered"
        provider.fake.approve(provider.authorization_url())

    async def test_pushed(self, provider: ProviderClient) -> None:
        """A request object can be pushed (RFC 9126 §3)."""
        provider.fake.features.pushed_requests = "required"
        token = parse_qs(urlsplit(self.url(provider)).query)["request"][0]
        response = await provider.http.post(
            f"{provider.fake.issuer}/par", data={"request": token, **assertion(provider)}
        )
        assert response.status_code == 201, response.text
        uri = response.json()["request_uri"]
        provider.fake.approve(url_of(provider, uri, KEY_CLIENT.client_id))


class TestSignedResponse:
    """JARM."""

    async def test_response(self, provider: ProviderClient) -> None:
        """The answer is one JWT by a published key, for this client, with all that stands in the query otherwise."""
        provider.fake.features.jarm = True
        location = provider.fake.approve(provider.authorization_url(response_mode="jwt"))
        answer = answer_in(location)
        assert answer.keys() == {"keep", "response"}
        jwks = (await provider.http.get(f"{provider.fake.issuer}/jwks")).json()
        claims = jwt.decode(answer["response"], KeySet.import_key_set(jwks), algorithms=["ES256"]).claims
        assert claims.keys() == {"code", "state", "iss", "aud", "exp"}
        assert (claims["iss"], claims["aud"], claims["state"]) == (provider.fake.issuer, CLIENT.client_id, "st&te")
        assert claims["exp"] == seconds(provider) + 600
        good(await provider.exchange(claims["code"]))

    async def test_error(self, provider: ProviderClient) -> None:
        """Refusals are signed too; a denied request as well as a bad one."""
        provider.fake.features.jarm = True
        url = provider.authorization_url(response_mode="query.jwt", scope="everything")
        location = (await provider.http.get(url)).headers["location"]
        assert "error" not in answer_in(location)
        claims = jwt.decode(answer_in(location)["response"], provider.fake.keys.current, algorithms=["ES256"]).claims
        assert claims["error"] == "invalid_scope"
        denied = answer_in(provider.fake.deny(provider.authorization_url(response_mode="jwt")))
        assert denied.keys() == {"keep", "response"}

    async def test_unknown_mode(self, provider: ProviderClient) -> None:
        """A mode that is not on is an invalid request, told in the plain mode."""
        location = (await provider.http.get(provider.authorization_url(response_mode="jwt"))).headers["location"]
        assert answer_in(location)["error"] == "invalid_request"


class TestResources:
    """RFC 8707."""

    @pytest.fixture
    def provider(self, provider: ProviderClient) -> ProviderClient:
        """A provider that knows resources."""
        provider.fake.features.resource_indicators = True
        return provider

    def code_for(self, provider: ProviderClient, *resources: str) -> str:
        """A code for these resources."""
        query = urlencode([("resource", resource) for resource in resources])
        return answer_in(provider.fake.approve(f"{provider.authorization_url()}&{query}"))["code"]

    def audience(self, provider: ProviderClient, tokens: dict[str, object]) -> tuple[str, ...]:
        """Whom the access token is for."""
        return provider.fake.token_facts(str(tokens["access_token"])).audience

    async def test_audience(self, provider: ProviderClient) -> None:
        """The token is for what was asked, several if several; a token request may choose among them (§2.2)."""
        both = good(await provider.exchange(self.code_for(provider, MCP, FILES)))
        assert self.audience(provider, both) == (MCP, FILES)
        one = good(await provider.refresh(both["refresh_token"], resource=FILES))
        assert self.audience(provider, one) == (FILES,)
        assert self.audience(provider, good(await provider.refresh(one["refresh_token"]))) == (MCP, FILES)

    async def test_invalid_target(self, provider: ProviderClient) -> None:
        """A resource that was not allowed, has a fragment, is no URI or is not on the list is invalid_target."""
        code = self.code_for(provider, MCP)
        assert refused(await provider.exchange(code, resource=FILES)) == (400, "invalid_target")
        tokens = good(await provider.exchange(self.code_for(provider, MCP)))
        assert refused(await provider.refresh(tokens["refresh_token"], resource=FILES)) == (400, "invalid_target")
        for bad in (f"{MCP}#part", "mcp"):
            location = (await provider.http.get(provider.authorization_url(resource=bad))).headers["location"]
            assert answer_in(location)["error"] == "invalid_target"
        provider.fake.features.resources = frozenset({MCP})
        with pytest.raises(ValueError, match="invalid_target"):
            self.code_for(provider, FILES)

    async def test_signed_access_token(self, provider: ProviderClient) -> None:
        """A JWT access token says the same of itself (RFC 9068), and opens as the other kind does."""
        provider.fake.features.jwt_access_tokens = True
        tokens = good(await provider.exchange(self.code_for(provider, MCP)))
        decoded = jwt.decode(str(tokens["access_token"]), provider.fake.keys.current, algorithms=["ES256"])
        assert decoded.header["typ"] == "at+jwt"
        assert (decoded.claims["aud"], decoded.claims["client_id"]) == (MCP, CLIENT.client_id)
        assert decoded.claims["exp"] == seconds(provider) + 3600
        assert (await provider.userinfo(tokens["access_token"])).json()["sub"] == "ada-lovelace"


class TestDetails:
    """RFC 9396."""

    PAYMENT = {"type": "payment", "amount": {"currency": "EUR", "value": "12.50"}}

    async def test_echoed(self, provider: ProviderClient) -> None:
        """What was allowed is in the token answer, and in that of a refresh."""
        provider.fake.features.authorization_details = frozenset({"payment"})
        url = provider.authorization_url(authorization_details=json.dumps([self.PAYMENT]))
        tokens = good(await provider.exchange(answer_in(provider.fake.approve(url))["code"]))
        assert tokens["authorization_details"] == [self.PAYMENT]
        assert good(await provider.refresh(tokens["refresh_token"]))["authorization_details"] == [self.PAYMENT]
        assert provider.fake.metadata()["authorization_details_types_supported"] == ["payment"]

    @pytest.mark.parametrize("details", ["x", "{}", '["payment"]', '[{"type": "other"}]', "[{}]"])
    async def test_refused(self, provider: ProviderClient, details: str) -> None:
        """Anything but an array of objects of known types is refused."""
        provider.fake.features.authorization_details = frozenset({"payment"})
        location = (await provider.http.get(provider.authorization_url(authorization_details=details))).headers[
            "location"
        ]
        assert answer_in(location)["error"] == "invalid_authorization_details"
