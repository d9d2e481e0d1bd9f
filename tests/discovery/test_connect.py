"""Providers that nobody wrote a definition for, through the whole product: connect, read, refresh, start again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from grantkeeper.access import browser_caller
from grantkeeper.app import Application, Services
from grantkeeper.errors import AuthorizationFailed, Unavailable
from grantkeeper.model import ALL_SCOPES, Connection, Login, MustAct
from grantkeeper.testing import FakeClient, FakeClock, FakeProvider
from grantkeeper.testing.asgi import Receive, Response, Scope, Send
from grantkeeper.testing.features import Features
from grantkeeper.testing.server import ProviderServer
from tests.support.world import BROWSER, EMAIL, PUBLIC_URL, add_login, add_token, http_client, settings_for

SECURE_URL = "https://gk.example"
CALLBACK = f"{PUBLIC_URL}/oauth/acme/callback"
PUBLIC_CLIENT = FakeClient(client_id="id-1", redirect_uris=(CALLBACK,), auth_methods=frozenset({"none"}))


class Front:
    """The provider, with metadata that can be taken away."""

    def __init__(self, provider: FakeProvider) -> None:
        self.provider = provider
        self.silent = False
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.asked.append(path)
        if self.silent and (path.startswith("/.well-known/") or path in ("/mcp", "/jwks", "/register")):
            await Response(status=503).send(send)
        else:
            await self.provider(scope, receive, send)


class House:
    """A running product beside one provider."""

    def __init__(self, application: Application, services: Services, login: Login, token: str, front: Front) -> None:
        self.services = services
        self.front = front
        self.client = http_client(application, token)
        self._login = login

    async def connect(self, name: str = "acme") -> Connection:
        """Connect as a browser would, without the pages."""
        url = await self.services.authorizations.start(browser_caller(self._login), name, BROWSER, None, None)
        self.asked = parse_qs(urlsplit(url).query)
        await self.front.provider.fetch_client(self.asked["client_id"][0])
        back = self.front.provider.approve(url)
        query = list(httpx2.URL(back).params.multi_items())
        return (await self.services.authorizations.complete(name, query, BROWSER, "test")).connection

    async def token(self, connection: Connection, **query: Any) -> str:
        """What a caller reads."""
        answer = await self.client.get(f"/api/v1/oauth/connections/{connection.uuid}/token", params=query)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


class Street:
    """One provider on loopback, and as many starts of the product as a test wants, over one database."""

    def __init__(self, directory: Path, database_url: str, clock: FakeClock, server: ProviderServer) -> None:
        self._place = (directory, database_url)
        self._clock = clock
        self._server = server
        self.url = server.url

    def provide(self, features: Features, clients: Sequence[FakeClient] = (), **options: Any) -> FakeProvider:
        """The provider of this street."""
        provider = FakeProvider(self.url, clients, self._clock, features=features, **options)
        self.front = Front(provider)
        self._server.app = self.front
        return provider

    @asynccontextmanager
    async def house(self, public_url: str = PUBLIC_URL, **acme: Any) -> AsyncIterator[House]:
        """The product with these settings of `acme`."""
        settings = settings_for(*self._place, self.url, public_url=public_url, clients={"acme": acme})
        application = Application(settings, self._clock)
        async with application.running() as services:
            email = f"{len(await services.people.list_users())}-{EMAIL}"
            login = await add_login(services, email)
            house = House(application, services, login, await add_token(services, login, tuple(ALL_SCOPES)), self.front)
            async with house.client:
                yield house


@pytest.fixture
async def street(tmp_path: Path, database_url: str, clock: FakeClock) -> AsyncIterator[Street]:
    """A provider to be described, on either engine."""
    async with ProviderServer() as server:
        yield Street(tmp_path, database_url, clock, server)


def resource_server(**more: Any) -> Features:
    """A provider with an MCP-like resource whose tokens are for it alone."""
    return Features(sample_resource=True, resource_indicators=True, registration=True, **more)


async def test_an_mcp_server_by_its_url_alone(street: Street, clock: FakeClock) -> None:
    """One line of settings: found, registered, connected; the token opens the resource; it is refreshed."""
    street.provide(resource_server())
    async with street.house(resource=f"{street.url}/mcp") as house:
        connection = await house.connect()
        assert house.asked["resource"] == [f"{street.url}/mcp"]
        token = await house.token(connection)
        async with httpx2.AsyncClient() as anybody:
            headers = {"authorization": f"Bearer {token}"}
            assert (await anybody.get(f"{street.url}/mcp", headers=headers)).status_code == 200
        clock.advance(3600)
        assert await house.token(connection) != token
    assert street.front.asked.count("/register") == 1


async def test_refreshed_though_nothing_can_be_found_any_more(street: Street, clock: FakeClock) -> None:
    """Days later, after a start with metadata, keys and resource away: tokens are refreshed as ever."""
    street.provide(resource_server())
    async with street.house(resource=f"{street.url}/mcp") as house:
        connection = await house.connect()
        first = await house.token(connection)
    street.front.silent = True
    clock.advance(3 * 86_400)
    async with street.house(resource=f"{street.url}/mcp") as house:
        await house.services.discovery.caught_up()
        _, tokens = await house.services.refresher.fresh(connection.account_uuid, connection.uuid, 60)
        assert tokens.access_token != first


async def test_known_by_the_url_of_a_document(street: Street) -> None:
    """Where the server reads them, our client id is the URL of what we serve: nothing is registered."""
    served: list[str] = []
    house: House

    async def fetch(url: str) -> bytes:
        served.append(url)
        answer = await house.client.get(url)
        return answer.content

    street.provide(resource_server(client_documents=True, public_clients=True), fetch=fetch)
    async with street.house(SECURE_URL, resource=f"{street.url}/mcp") as house:
        connection = await house.connect()
        document = f"{SECURE_URL}/oauth/acme/client.json"
        assert (connection.client_id, house.asked["client_id"]) == (document, [document])
        assert await house.token(connection)
        assert document in served
    assert "/register" not in street.front.asked


async def test_what_the_document_is(street: Street) -> None:
    """JSON without a session, cached for five minutes, and only for the providers that need it."""
    street.provide(Features(client_documents=True, public_clients=True))
    async with street.house(SECURE_URL, issuer=street.url) as house:
        await house.services.discovery.ensure("acme")
        answer = await house.client.get("/oauth/acme/client.json", headers={"authorization": ""})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert answer.json()["client_id"] == f"{SECURE_URL}/oauth/acme/client.json"
        assert answer.json()["redirect_uris"] == [f"{SECURE_URL}/oauth/acme/callback"]
        again = await house.client.get("/oauth/acme/client.json", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        for name in ("demo", "xero", "nonsense"):
            assert (await house.client.get(f"/oauth/{name}/client.json")).status_code == 404


async def test_two_lines_connect(street: Street) -> None:
    """Issuer and client id: offered with a label and a banner, connected without a secret, `iss` demanded."""
    street.provide(Features(public_clients=True), [PUBLIC_CLIENT])
    async with street.house(issuer=street.url, client_id="id-1") as house:
        await house.services.discovery.ensure("acme")
        offers = (await house.client.get("/api/v1/oauth/providers")).json()
        assert "acme" in str(offers)
        assert (await house.client.get("/imgs/acme.svg")).status_code == 200
        connection = await house.connect()
        assert connection.label == "My Acme Account 1"
        assert house.services.clients.offered("acme").issuer_in_response
        assert await house.token(connection, min_ttl=86_400)


async def test_offered_without_being_asked_for(street: Street) -> None:
    """The running product finds out by itself: whoever opens the page sees the provider."""
    street.provide(Features(public_clients=True), [PUBLIC_CLIENT])
    async with street.house(issuer=street.url, client_id="id-1") as house:
        await house.services.discovery.ensure("acme")
        assert ("acme", "Acme") in house.services.clients.offers()


async def test_an_id_token_is_checked_with_keys_that_roll_over(street: Street, clock: FakeClock) -> None:
    """Signed with the server's key; after it has changed keys, with the new one; while it hides them, not at all."""
    provider = street.provide(Features(openid=True, public_clients=True), [PUBLIC_CLIENT])
    async with street.house(issuer=street.url, client_id="id-1") as house:
        assert (await house.connect()).subject == "ada-lovelace"
        provider.rotate_keys(keep_old=False)
        clock.advance(61)
        assert (await house.connect()).subject == "ada-lovelace"
        provider.rotate_keys(keep_old=False)
        street.front.silent = True
        clock.advance(61)
        with pytest.raises(AuthorizationFailed):
            await house.connect()


async def test_a_refresh_waits_for_metadata_that_never_were(street: Street, clock: FakeClock) -> None:
    """The stored metadata lost and the server silent: nobody must act, and it goes on when the server does."""
    street.provide(Features(public_clients=True), [PUBLIC_CLIENT])
    async with street.house(issuer=street.url, client_id="id-1") as house:
        connection = await house.connect()
        await house.services.database.execute("DELETE FROM provider_metadata")
    street.front.silent = True
    async with street.house(issuer=street.url, client_id="id-1") as house:
        clock.advance(3600)
        with pytest.raises(Unavailable):
            await house.services.refresher.fresh(connection.account_uuid, connection.uuid, 60)
        after = await house.services.store.find(connection.uuid)
        assert after is not None
        assert after.must_act is MustAct.NOBODY
        street.front.silent = False
        clock.advance(600)
        await house.services.discovery.ensure("acme")
        _, tokens = await house.services.refresher.fresh(connection.account_uuid, connection.uuid, 60)
        assert tokens.access_token
