"""The certified provider insists on what each profile demands, so that a client which passes there does it right."""

from __future__ import annotations

import base64
import hashlib
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey

from tests.support.certificates import Authority, Pair, self_signed
from tests.support.oidc_provider import AuthorizationRequest, OidcProvider, callback_parameters
from tests.support.process import HarnessError

pytestmark = pytest.mark.interop

CALLBACK = "http://127.0.0.1:9/callback"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FAPI = {
    "fapi_profile": "2.0",
    "token_endpoint_auth_method": "private_key_jwt",
    "id_token_signed_response_alg": "ES256",
    "require_pushed_authorization_requests": True,
    "dpop_bound_access_tokens": True,
}
AUTHORITY = Authority()


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    """One provider over TLS, with every profile."""
    with OidcProvider([CALLBACK], authority=AUTHORITY, access_token_ttl=60) as provider:
        yield provider


@pytest.fixture
async def person(provider: OidcProvider) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser."""
    async with provider.browser() as browser:
        yield browser


class Client:
    """A client of the provider, with a key for assertions, one for DPoP, and perhaps a certificate."""

    def __init__(self, provider: OidcProvider, client_id: str, certificate: Pair | None = None) -> None:
        self.provider = provider
        self.client_id = client_id
        self.certificate = certificate
        self.key: Key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
        self.dpop = ECKey.generate_key("P-256")
        self.nonce = ""
        self.asserts = False
        self.proves = False

    @property
    def jwks(self) -> dict[str, Any]:
        """What the provider knows of its keys."""
        return {"keys": [self.key.as_dict(private=False)]}

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A JWT by this client, for the provider, good for a minute."""
        now = self.provider.now // 1_000_000
        common = {"iss": self.client_id, "aud": self.provider.issuer, "iat": now, "nbf": now, "exp": now + 60}
        algorithm = "HS256" if isinstance(self.key, OctKey) else "ES256"
        return jwt.encode({"alg": algorithm} | header, {**common, "jti": secrets.token_urlsafe(8), **claims}, self.key)

    def assertion(self) -> dict[str, str]:
        """The client proves itself by a signature."""
        token = self.sign({"sub": self.client_id})
        return {"client_assertion_type": ASSERTION, "client_assertion": token}

    def proof(self, method: str, url: str, access_token: str | None = None, *, key: Key | None = None) -> str:
        """A DPoP proof."""
        claims = {"jti": secrets.token_urlsafe(8), "iat": self.provider.now // 1_000_000, "htm": method, "htu": url}
        if self.nonce:
            claims["nonce"] = self.nonce
        if access_token is not None:
            digest = hashlib.sha256(access_token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self.dpop.as_dict(private=False)}
        return jwt.encode(header, claims, key or self.dpop)

    async def ask(self, method: str, url: str, **options: Any) -> httpx2.Response:
        """One request, on a connection of its own."""
        async with self.provider.browser(self.certificate) as http:
            return await http.request(method, url, **options)

    async def post(self, endpoint: str, **form: str) -> httpx2.Response:
        """A form, with an assertion and a DPoP proof where it makes them; once more with the nonce that is wanted."""
        answer = await self._post(endpoint, form)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        if self.proves and answer.json().get("error") == "use_dpop_nonce":
            answer = await self._post(endpoint, form)
        return answer

    async def _post(self, endpoint: str, form: Mapping[str, str]) -> httpx2.Response:
        """Both are good for one request only."""
        url = str(self.provider.metadata[endpoint])
        headers = {"dpop": self.proof("POST", url)} if self.proves else {}
        return await self.ask(
            "POST", url, data=dict(form) | (self.assertion() if self.asserts else {}), headers=headers
        )

    async def push(self, request: AuthorizationRequest) -> str:
        """The authorization URL of a pushed request."""
        parameters = {"request": self.sign(request.parameters)} if self.client_id == "signed" else request.parameters
        form = parameters | {"client_id": self.client_id}
        answer = await self.post("pushed_authorization_request_endpoint", **form)
        assert answer.status_code == 201, answer.text
        query = httpx2.QueryParams({"client_id": self.client_id, "request_uri": answer.json()["request_uri"]})
        return f"{self.provider.authorization_endpoint}?{query}"

    async def redeem(self, code: str, request: AuthorizationRequest, **more: str) -> httpx2.Response:
        """The code for tokens."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        verifier = {"code_verifier": request.code_verifier}
        return await self.post("token_endpoint", **form, **verifier, client_id=self.client_id, **more)

    async def me(self, scheme: str, access_token: str, **headers: str) -> httpx2.Response:
        """Who the provider says the token is of."""
        authorization = {"authorization": f"{scheme} {access_token}"}
        return await self.ask("GET", self.provider.userinfo_endpoint, headers=authorization | headers)

    async def api(self, access_token: str) -> dict[str, Any]:
        """What the API reads in the token."""
        headers = {"authorization": f"Bearer {access_token}"}
        told: dict[str, Any] = (await self.ask("GET", self.provider.api, headers=headers)).json()
        return told


def request_of(client: Client, **changes: str) -> AuthorizationRequest:
    """That client's authorization request."""
    return AuthorizationRequest(client.provider, CALLBACK, client_id=client.client_id, **changes)


async def test_fapi_wants_assertions_pushed_requests_and_proofs(
    provider: OidcProvider, person: httpx2.AsyncClient
) -> None:
    """Without one of them nothing is given; with all of them the token is bound to the key, at /me too."""
    client = Client(provider, "fapi")
    provider.register("fapi", **FAPI, jwks=client.jwks)
    client.asserts = True
    request = request_of(client)
    assert "error=invalid_request" in await provider.consent(person, request.url)
    callback = await provider.consent(person, await client.push(request))
    refused = await client.redeem(callback_parameters(callback)["code"], request)
    assert refused.json()["error"] == "invalid_grant"

    client.proves = True
    request = request_of(client)
    callback = await provider.consent(person, await client.push(request))
    answer = await client.redeem(callback_parameters(callback)["code"], request)
    tokens = answer.json()
    assert (answer.status_code, tokens["token_type"]) == (200, "DPoP")
    assert client.nonce

    access_token, url = tokens["access_token"], provider.userinfo_endpoint
    good = await client.me("DPoP", access_token, dpop=client.proof("GET", url, access_token))
    assert good.json()["sub"] == "ada"
    for headers in ({}, {"dpop": client.proof("GET", url)}, {"dpop": client.proof("POST", url, access_token)}):
        assert (await client.me("DPoP", access_token, **headers)).status_code >= 400
    other = Client(provider, "fapi")
    other.nonce = client.nonce
    assert (await client.me("DPoP", access_token, dpop=other.proof("GET", url, access_token))).status_code == 401


async def test_fapi_takes_no_other_audience_and_no_second_use(provider: OidcProvider) -> None:
    """An assertion made for the token endpoint is refused, and so is one that was used."""
    client = Client(provider, "fapi-audience")
    provider.register("fapi-audience", **FAPI, jwks=client.jwks)
    token = client.sign({"sub": client.client_id, "aud": provider.token_endpoint})
    once = client.assertion()
    for authentication, error in (
        ({"client_assertion_type": ASSERTION, "client_assertion": token}, "invalid_client"),
        (once, "invalid_grant"),
        (once, "invalid_client"),
    ):
        answer = await client.post("token_endpoint", grant_type="refresh_token", refresh_token="x", **authentication)
        assert answer.json()["error"] == error


@pytest.mark.parametrize("method", ["tls_client_auth", "self_signed_tls_client_auth"])
async def test_certificates_authenticate_and_bind(
    provider: OidcProvider, person: httpx2.AsyncClient, method: str
) -> None:
    """The certificate is the client's proof, and the token is worth nothing to whoever shows another or none."""
    vouched = method == "tls_client_auth"
    pair = AUTHORITY.client("grantkeeper") if vouched else self_signed("grantkeeper")
    other = AUTHORITY.client("somebody else") if vouched else self_signed("grantkeeper")
    key = ECKey.import_key(pair.private_key).as_dict(private=False)
    key["x5c"] = [base64.b64encode(pair.x509.public_bytes(Encoding.DER)).decode()]
    known = {"tls_client_auth_subject_dn": pair.subject} if vouched else {"jwks": {"keys": [key]}}
    bound = {"tls_client_certificate_bound_access_tokens": True, "require_pushed_authorization_requests": True}
    provider.register(method, token_endpoint_auth_method=method, fapi_profile="2.0", **bound, **known)

    client = Client(provider, method, pair)
    request = request_of(client)
    code = callback_parameters(await provider.consent(person, await client.push(request)))["code"]
    assert (await Client(provider, method, other).redeem(code, request)).json()["error"] == "invalid_client"
    access_token = (await client.redeem(code, request)).json()["access_token"]
    assert (await client.me("Bearer", access_token)).json()["sub"] == "ada"
    assert (await Client(provider, method, other).me("Bearer", access_token)).status_code == 401
    assert (await Client(provider, method).me("Bearer", access_token)).status_code == 401


async def test_messages_are_signed_both_ways(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """A request that is not signed is refused, and the answer to a signed one is a signature of the provider's."""
    client = Client(provider, "signed")
    signs = {"require_signed_request_object": True, "authorization_signed_response_alg": "ES256"}
    provider.register("signed", **FAPI | signs | {"dpop_bound_access_tokens": False}, jwks=client.jwks)
    client.asserts = True
    request = request_of(client, response_mode="jwt")
    plain = await client.post("pushed_authorization_request_endpoint", **request.parameters)
    assert plain.json()["error"] == "invalid_request"

    before = provider.counts()
    callback = callback_parameters(await provider.consent(person, await client.push(request)))
    assert list(callback) == ["response"]
    assert callback["response"].count(".") == 2
    after = provider.counts()
    assert after.request_objects == before.request_objects + 1
    assert after.signed_responses == before.signed_responses + 1


async def test_devices_wait_politely(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """Who polls before the interval is over hears slow_down; after the person's consent the tokens come."""
    provider.register(
        "device",
        grant_types=[DEVICE, "refresh_token"],
        redirect_uris=[],
        response_types=[],
        token_endpoint_auth_method="none",
    )
    client = Client(provider, "device")
    began = (await client.post("device_authorization_endpoint", client_id="device", scope="openid profile")).json()
    assert began["interval"] == 5

    async def poll() -> dict[str, Any]:
        form = {"grant_type": DEVICE, "device_code": began["device_code"], "client_id": "device"}
        answer: dict[str, Any] = (await client.post("token_endpoint", **form)).json()
        return answer

    assert (await poll())["error"] == "slow_down"
    provider.advance(10)
    assert (await poll())["error"] == "authorization_pending"
    await provider.connect_device(person, began["verification_uri_complete"])
    provider.advance(9)
    assert (await poll())["error"] == "slow_down"
    provider.advance(15)
    assert (await client.me("Bearer", (await poll())["access_token"])).json()["sub"] == "ada"


async def test_a_device_hears_that_the_person_declined(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """access_denied, not silence."""
    provider.register(
        "device-2", grant_types=[DEVICE], redirect_uris=[], response_types=[], token_endpoint_auth_method="none"
    )
    client = Client(provider, "device-2")
    began = (await client.post("device_authorization_endpoint", client_id="device-2", scope="openid")).json()
    await provider.connect_device(person, began["verification_uri_complete"], allow=False)
    provider.advance(5)
    form = {"grant_type": DEVICE, "device_code": began["device_code"], "client_id": "device-2"}
    assert (await client.post("token_endpoint", **form)).json()["error"] == "access_denied"


async def test_clients_have_tokens_of_their_own(provider: OidcProvider) -> None:
    """Client credentials, for the API alone: the token is a JWT that the API reads; another resource is refused."""
    secret = secrets.token_urlsafe(32)
    provider.register(
        "service",
        client_secret=secret,
        grant_types=["client_credentials"],
        redirect_uris=[],
        response_types=[],
        token_endpoint_auth_method="client_secret_post",
    )
    client = Client(provider, "service")
    form = {"grant_type": "client_credentials", "client_id": "service", "client_secret": secret, "scope": "read"}
    tokens = (await client.post("token_endpoint", **form, resource=provider.api)).json()
    told = await client.api(tokens["access_token"])
    assert {"aud": provider.api, "scope": "read", "client_id": "service"}.items() <= told.items()
    elsewhere = await client.post("token_endpoint", **form, resource="https://other.example/api")
    assert elsewhere.json()["error"] == "invalid_target"


async def test_a_secret_can_sign(provider: OidcProvider) -> None:
    """client_secret_jwt: the right secret's signature is taken, the secret itself is not."""
    secret = secrets.token_urlsafe(32)
    provider.register("hmac", client_secret=secret, token_endpoint_auth_method="client_secret_jwt")
    client = Client(provider, "hmac")
    client.key = OctKey.import_key(secret)
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    signed = await client.post("token_endpoint", **form, **client.assertion())
    sent = await client.post("token_endpoint", **form, client_id="hmac", client_secret=secret)
    assert (signed.json()["error"], sent.json()["error"]) == ("invalid_grant", "invalid_client")


async def test_clients_register_and_manage_themselves(provider: OidcProvider) -> None:
    """RFC 7591 and 7592: made, read, changed (with another access token from then on), and gone."""
    async with provider.browser() as http:
        metadata = {"redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "refresh_token"]}
        made = (await http.post(provider.metadata["registration_endpoint"], json=metadata)).json()
        url, held = made["registration_client_uri"], made["registration_access_token"]
        read = (await http.get(url, headers={"authorization": f"Bearer {held}"})).json()
        assert read["client_id"] == made["client_id"]
        new = metadata | {"client_id": made["client_id"], "client_secret": made["client_secret"], "client_name": "New"}
        changed = (await http.put(url, json=new, headers={"authorization": f"Bearer {held}"})).json()
        assert changed["client_name"] == "New"
        assert (await http.get(url, headers={"authorization": f"Bearer {held}"})).status_code == 401
        bearer = {"authorization": f"Bearer {changed['registration_access_token']}"}
        assert (await http.delete(url, headers=bearer)).status_code == 204
        assert (await http.get(url, headers=bearer)).status_code == 401


async def test_registration_may_need_a_token() -> None:
    """With an initial access token nobody else registers."""
    with OidcProvider([CALLBACK], initial_access_token="let-me-in") as provider:
        async with provider.browser() as http:
            url, metadata = provider.metadata["registration_endpoint"], {"redirect_uris": [CALLBACK]}
            assert (await http.post(url, json=metadata)).status_code == 401
            bearer = {"authorization": "Bearer let-me-in"}
            assert (await http.post(url, json=metadata, headers=bearer)).status_code == 201


async def test_requests_carry_details_claims_and_hints(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """What was asked for is what the provider saw, and what the token for the API holds."""
    secret = secrets.token_urlsafe(32)
    provider.register(
        "rich",
        client_secret=secret,
        authorization_details_types=["account_information"],
        token_endpoint_auth_method="client_secret_post",
    )
    client = Client(provider, "rich")
    asked = {
        "scope": "openid offline_access read",
        "resource": provider.api,
        "authorization_details": '[{"type":"account_information","actions":["list"]}]',
        "claims": '{"userinfo":{"email":null}}',
        "login_hint": "grace",
        "max_age": "600",
        "nonce": "n-1",
    }
    request = request_of(client, **asked)
    code = callback_parameters(await provider.consent(person, request.url, None))["code"]
    assert asked.items() <= provider.last_request().items()
    answer = await client.redeem(code, request, client_secret=secret, resource=provider.api)
    tokens = answer.json()
    assert tokens["authorization_details"] == [{"type": "account_information", "actions": ["list"]}]
    told = await client.api(tokens["access_token"])
    assert {"sub": "grace", "aud": provider.api, "scope": "read"}.items() <= told.items()


async def test_its_clock_moves(provider: OidcProvider, person: httpx2.AsyncClient) -> None:
    """What the test lets pass is past for the provider: the token's minute, too."""
    client = Client(provider, "moving")
    provider.register("moving", client_secret="s" * 32, token_endpoint_auth_method="client_secret_post")
    request = request_of(client)
    code = callback_parameters(await provider.consent(person, request.url))["code"]
    tokens = (await client.redeem(code, request, client_secret="s" * 32)).json()
    assert (await client.me("Bearer", tokens["access_token"])).status_code == 200
    provider.advance(60)
    assert (await client.me("Bearer", tokens["access_token"])).status_code == 401


def test_what_it_would_not_take_is_told(provider: OidcProvider) -> None:
    """A client whose metadata contradict each other is the test's mistake, in words."""
    with pytest.raises(HarnessError, match="jwks or jwks_uri"):
        provider.register("broken", token_endpoint_auth_method="private_key_jwt")


async def test_it_speaks_tls_to_those_who_trust_it(provider: OidcProvider) -> None:
    """The authority is not among the machine's, and the other name of the host is there for certificates."""
    aliases = provider.metadata["mtls_endpoint_aliases"]
    assert aliases["token_endpoint"].startswith("https://localhost:")
    async with httpx2.AsyncClient(trust_env=False, verify=ssl.create_default_context()) as stranger:
        with pytest.raises(httpx2.ConnectError):
            await stranger.get(provider.issuer)


def test_requirements_hold_for_all() -> None:
    """A server of which every client pushes says so."""
    with OidcProvider([CALLBACK], require=["par", "jar"]) as provider:
        assert provider.metadata["require_pushed_authorization_requests"] is True
        assert provider.metadata["require_signed_request_object"] is True
