"""Clients that register themselves at the shipped provider (RFC 7591, RFC 7592), or are described by a document."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from grantkeeper.testing import FakeProvider, Features
from tests.fake_provider.signing import KEY, new_key, public
from tests.support.provider_client import CALLBACK, VERIFIER, Answer, ProviderClient, answer_in, good, refused

HTTPS_CALLBACK = "https://client.example/callback"
METADATA: dict[str, Any] = {"client_name": "Grantkeeper", "redirect_uris": [HTTPS_CALLBACK]}


@pytest.fixture
def provider(provider: ProviderClient) -> ProviderClient:
    """A provider where anybody may register."""
    provider.fake.features.registration = True
    provider.fake.features.client_assertions = True
    provider.fake.features.public_clients = True
    return provider


async def register(provider: ProviderClient, token: str | None = None, **changes: Any) -> httpx2.Response:
    """Register a client."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return await provider.http.post(f"{provider.fake.issuer}/register", json={**METADATA, **changes}, headers=headers)


def registered(response: httpx2.Response) -> Answer:
    """What a successful registration answered."""
    assert response.status_code == 201, response.text
    members: Answer = response.json()
    return members


async def manage(
    provider: ProviderClient, client: Answer, method: str, token: object = None, **body: Any
) -> httpx2.Response:
    """Read, change or remove a registration."""
    headers = {"authorization": f"Bearer {token or client['registration_access_token']}"}
    return await provider.http.request(
        method, str(client["registration_client_uri"]), headers=headers, json=body or None
    )


async def connect(provider: ProviderClient, client: Answer) -> Answer:
    """Go through the code flow as that client."""
    url = provider.authorization_url(client_id=str(client["client_id"]), redirect_uri=HTTPS_CALLBACK)
    code = answer_in(provider.fake.approve(url))["code"]
    secret = {"client_secret": str(client["client_secret"])} if "client_secret" in client else {}
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": HTTPS_CALLBACK}
    fields = {**form, "code_verifier": VERIFIER, "client_id": str(client["client_id"]), **secret}
    return good(await provider.http.post(f"{provider.fake.issuer}/token", data=fields))


class TestRegister:
    """RFC 7591."""

    async def test_answer(self, provider: ProviderClient) -> None:
        """201 with what was registered, an id, a secret, and where it is managed; the client then works."""
        client = registered(await register(provider, token_endpoint_auth_method="client_secret_post"))
        assert client["redirect_uris"] == [HTTPS_CALLBACK]
        assert (client["client_secret_expires_at"], client["client_name"]) == (0, "Grantkeeper")
        assert client["registration_client_uri"] == f"{provider.fake.issuer}/register/{client['client_id']}"
        assert (await connect(provider, client))["token_type"] == "Bearer"

    async def test_public_client(self, provider: ProviderClient) -> None:
        """A client that asks for no authentication gets no secret."""
        client = registered(await register(provider, token_endpoint_auth_method="none"))
        assert "client_secret" not in client
        await connect(provider, client)

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"redirect_uris": []}, "invalid_redirect_uri"),
            ({"redirect_uris": ["http://client.example/"]}, "invalid_redirect_uri"),
            ({"redirect_uris": ["https://client.example/#x"]}, "invalid_redirect_uri"),
            ({"redirect_uris": "https://client.example/"}, "invalid_client_metadata"),
            ({"token_endpoint_auth_method": "tls_client_auth"}, "invalid_client_metadata"),
            ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
            ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
            ({"jwks": {"keys": []}}, "invalid_client_metadata"),
            ({"jwks": {"keys": [new_key().as_dict(private=True)]}}, "invalid_client_metadata"),
            ({"jwks": public(KEY), "jwks_uri": "https://client.example/jwks"}, "invalid_client_metadata"),
        ],
    )
    async def test_refused(self, provider: ProviderClient, changes: dict[str, Any], error: str) -> None:
        """Metadata that cannot be is refused with the error §3.2.2 has for it."""
        assert refused(await register(provider, **changes)) == (400, error)

    async def test_body(self, provider: ProviderClient) -> None:
        """Only a JSON object is read."""
        url, json = f"{provider.fake.issuer}/register", {"content-type": "application/json"}
        for body, headers in ((b"[]", json), (b"{", json), (b"{}", {"content-type": "text/plain"})):
            response = await provider.http.post(url, content=body, headers=headers)
            assert refused(response) == (400, "invalid_client_metadata")

    async def test_initial_access_token(self, provider: ProviderClient) -> None:
        """Where one is asked for, nobody registers without it."""
        provider.fake.features.initial_access_token = "from the operator"
        for token in (None, "wrong"):
            assert (await register(provider, token)).status_code == 401
        registered(await register(provider, "from the operator"))

    async def test_off(self, provider: ProviderClient) -> None:
        """Unless switched on there is no such endpoint."""
        provider.fake.features.registration = False
        assert (await register(provider)).status_code == 404
        assert "registration_endpoint" not in provider.fake.metadata()


class TestManage:
    """RFC 7592."""

    async def test_read(self, provider: ProviderClient) -> None:
        """A client reads itself; nobody else does, and an unknown one is not told from a foreign one."""
        client = registered(await register(provider))
        assert (await manage(provider, client, "GET")).json()["client_id"] == client["client_id"]
        assert (await manage(provider, client, "GET", token="wrong")).status_code == 401
        nobody = {**client, "registration_client_uri": f"{provider.fake.issuer}/register/nobody"}
        assert (await manage(provider, nobody, "GET")).status_code == 401

    async def test_change(self, provider: ProviderClient) -> None:
        """It states all of itself anew, keeps its secret, and gets a new registration access token."""
        client = registered(await register(provider))
        body = {**METADATA, "client_id": client["client_id"], "client_name": "Another name"}
        changed = await manage(provider, client, "PUT", **body)
        assert (changed.status_code, changed.json()["client_name"]) == (200, "Another name")
        assert changed.json()["client_secret"] == client["client_secret"]
        assert (await manage(provider, client, "GET")).status_code == 401
        assert (await manage(provider, changed.json(), "GET")).status_code == 200

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"client_id": "another"}, "invalid_request"),
            ({"registration_access_token": "x"}, "invalid_request"),
            ({"client_secret": "chosen"}, "invalid_client_metadata"),
            ({"redirect_uris": []}, "invalid_redirect_uri"),
        ],
    )
    async def test_change_refused(self, provider: ProviderClient, changes: dict[str, Any], error: str) -> None:
        """It cannot become another client, nor choose what only the server states."""
        client = registered(await register(provider))
        body = {**METADATA, "client_id": client["client_id"], **changes}
        assert refused(await manage(provider, client, "PUT", **body)) == (400, error)

    async def test_remove(self, provider: ProviderClient) -> None:
        """204, and the client, its grants and its registration are gone."""
        client = registered(await register(provider, token_endpoint_auth_method="client_secret_post"))
        tokens = await connect(provider, client)
        assert (await manage(provider, client, "DELETE")).status_code == 204
        assert (await provider.userinfo(tokens["access_token"])).status_code == 401
        assert (await manage(provider, client, "GET")).status_code == 401
        with pytest.raises(ValueError, match="No client"):
            await connect(provider, client)


class TestClientDocument:
    """A client id that is the URL of the client's metadata."""

    URL = "https://client.example/oauth/client.json"

    def serving(self, provider: ProviderClient, document: dict[str, Any]) -> ProviderClient:
        """A provider that fetches this document from everywhere."""

        async def fetch(_url: str) -> bytes:
            return httpx2.Response(200, json=document).content

        features = Features(client_documents=True, public_clients=True)
        fake = FakeProvider(provider.fake.issuer, [], provider.clock, features=features, fetch=fetch)
        return ProviderClient(fake, provider.clock, httpx2.AsyncClient(transport=httpx2.ASGITransport(fake)))

    async def test_described(self, provider: ProviderClient) -> None:
        """The document is fetched when the browser comes, and the client works."""
        served = self.serving(provider, {**METADATA, "client_id": self.URL})
        url = served.authorization_url(client_id=self.URL, redirect_uri=HTTPS_CALLBACK)
        assert "Grantkeeper would like to use your account" in (await served.http.get(url)).text
        await connect(served, {"client_id": self.URL})
        assert served.fake.metadata()["client_id_metadata_document_supported"] is True

    @pytest.mark.parametrize(
        "changes",
        [
            {"client_id": "https://elsewhere.example/client.json"},
            {"token_endpoint_auth_method": "client_secret_basic"},
            {"redirect_uris": [CALLBACK]},
        ],
    )
    async def test_refused(self, provider: ProviderClient, changes: dict[str, Any]) -> None:
        """One that names another client, wants a secret, or has a bad redirect URI describes nobody."""
        served = self.serving(provider, {**METADATA, "client_id": self.URL, **changes})
        await served.fake.fetch_client(self.URL)
        with pytest.raises(ValueError, match="No client"):
            await connect(served, {"client_id": self.URL})
