"""A client of the fake provider, without the product and without a browser."""

from __future__ import annotations

import html
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from grantkeeper.testing import FakeClient, FakeClock, FakeProvider
from grantkeeper.testing.server import ProviderServer
from grantkeeper.testing.wording import s256

CALLBACK = "http://client.example/callback?keep=me"
SECRET = "s3cret with: + and ü"
CLIENT = FakeClient(client_id="app:one", client_secret=SECRET, redirect_uris=(CALLBACK,), name="Test <App>")
OTHER = FakeClient(client_id="other", client_secret="other-secret", redirect_uris=(CALLBACK,))
VERIFIER = "v" * 43
POST = {"client_id": CLIENT.client_id, "client_secret": SECRET}

Answer = dict[str, object]


class ProviderClient:
    """A fake provider being served, and a browserless client of it."""

    def __init__(self, fake: FakeProvider, clock: FakeClock, http: httpx2.AsyncClient) -> None:
        self.fake = fake
        self.clock = clock
        self.http = http

    def authorization_url(self, **changes: str | None) -> str:
        """An authorization request, correct but for the changes; None leaves a parameter out."""
        parameters = {
            "response_type": "code",
            "client_id": CLIENT.client_id,
            "redirect_uri": CALLBACK,
            "scope": "profile email",
            "state": "st&te",
            "code_challenge": s256(VERIFIER),
            "code_challenge_method": "S256",
            **changes,
        }
        kept = {name: value for name, value in parameters.items() if value is not None}
        return f"{self.fake.issuer}/authorize?{urlencode(kept)}"

    def code(self) -> str:
        """A code that Ada allowed."""
        return answer_in(self.fake.approve(self.authorization_url()))["code"]

    async def exchange(self, code: str, /, **changes: str) -> httpx2.Response:
        """Redeem a code."""
        form = {
            **POST,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
            **changes,
        }
        return await self.http.post(f"{self.fake.issuer}/token", data=form)

    async def refresh(self, refresh_token: object, **changes: str) -> httpx2.Response:
        """Use a refresh token."""
        form = {**POST, "grant_type": "refresh_token", "refresh_token": str(refresh_token), **changes}
        return await self.http.post(f"{self.fake.issuer}/token", data=form)

    async def tokens(self) -> Answer:
        """The first tokens of a new grant."""
        return good(await self.exchange(self.code()))

    async def userinfo(self, access_token: object) -> httpx2.Response:
        """Ask who somebody is."""
        headers = {"authorization": f"Bearer {access_token}"}
        return await self.http.get(f"{self.fake.issuer}/userinfo", headers=headers)


def good(response: httpx2.Response) -> Answer:
    """The members of a successful token answer."""
    assert response.status_code == 200, response.text
    members: Answer = response.json()
    return members


def refused(response: httpx2.Response) -> tuple[int, object]:
    """Status and error code of a refusal."""
    return response.status_code, response.json()["error"]


def answer_in(location: str) -> Mapping[str, str]:
    """The parameters of a redirect, each of which must stand there once."""
    query = parse_qs(urlsplit(location).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


def plain_client() -> httpx2.AsyncClient:
    """A client for http only: it trusts no certificate, and so loads none."""
    return httpx2.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@asynccontextmanager
async def served_provider() -> AsyncIterator[ProviderClient]:
    """A provider in mode grace, under a prefix, as the demo mounts it."""
    clock = FakeClock()
    async with ProviderServer() as server, plain_client() as http:
        fake = FakeProvider(f"{server.url}/demo-provider", [CLIENT, OTHER], clock, settings_page=True)
        server.app = fake
        yield ProviderClient(fake, clock, http)
        fake.close()


def form_in(page: httpx2.Response) -> dict[str, str]:
    """The hidden fields of the first form of a page."""
    first = page.text.split("</form>")[0]
    found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', first)
    return {name: html.unescape(value) for name, value in found}
