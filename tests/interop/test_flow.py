"""The whole flow against the real oidc-provider: rotation, access tokens of five seconds, `iss`, ID tokens.

Its clock is the machine's; ours begins there and is moved by the test, so that nobody waits for a token to run out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from grantkeeper.access import browser_caller
from grantkeeper.authorize import Completed, OtherIdentity
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import Connection, MustAct, Status, TokenSet
from grantkeeper.testing import FakeClock
from tests.support.oidc_provider import OidcProvider, callback_parameters
from tests.support.world import BROWSER, PUBLIC_URL, World, open_world

pytestmark = pytest.mark.interop

DEFINITION = """
schema = 1
name = "oidc"
label = "OIDC Provider"
category = ["identity"]
colour = "#336699"
[verified]
basis = "operator"
date = 2026-11-22
[parameters.issuer]
label = "Issuer"
pattern = 'http://127\\.0\\.0\\.1:[0-9]+'
[authorization]
url = "{issuer}/auth"
issuer = "{issuer}"
issuer_in_response = true
[authorization.parameters]
prompt = "consent"
[scopes]
default = ["openid", "profile"]
OFFLINE
[token]
url = "{issuer}/token"
[refresh]
rotates = true
[revocation]
style = "rfc7009"
url = "{issuer}/token/revocation"
[identity]
"""
USERINFO = 'source = "userinfo"\nurl = "{issuer}/me"\nlabel = "name"\n'
ID_TOKEN = 'source = "id_token"\n'
OFFLINE = 'offline = ["offline_access"]'


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    """One provider for all of these tests."""
    with OidcProvider([f"{PUBLIC_URL}/oauth/oidc/callback"], access_token_ttl=5) as provider:
        yield provider


@asynccontextmanager
async def flow(
    folder: Path, provider: OidcProvider, *, identity: str = USERINFO, offline: str = OFFLINE, **client: Any
) -> AsyncIterator[Flow]:
    """The product with that provider's definition."""
    (folder / "providers").mkdir()
    (folder / "providers" / "oidc.toml").write_text(DEFINITION.replace("OFFLINE", offline) + identity)
    settings = {
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "parameters": {"issuer": provider.issuer},
    }
    async with open_world(
        folder,
        f"sqlite:///{folder / 'grantkeeper.sqlite3'}",
        clock=FakeClock(time.time_ns() // 1000),
        providers_dir=folder / "providers",
        clients={"oidc": settings | client},
    ) as world:
        yield Flow(world, provider)


class Flow:
    """A person, the product and the real provider."""

    def __init__(self, world: World, provider: OidcProvider) -> None:
        self.world = world
        self.provider = provider

    def advance(self, seconds: float) -> None:
        """Let our clock run ahead of the provider's."""
        clock = self.world.services.clock
        assert isinstance(clock, FakeClock)
        clock.advance(seconds)

    async def callback(self, connection: Connection | None = None, *, login: str = "ada", allow: bool = True) -> str:
        """Where a person with a fresh browser comes back to."""
        caller, uuid = browser_caller(self.world.login), connection.uuid if connection else None
        url = await self.world.services.authorizations.start(caller, "oidc", BROWSER, uuid, None)
        async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as browser:
            return await self.provider.consent(browser, url, login, allow=allow)

    async def complete(self, callback: str, **changes: str) -> Completed:
        """The callback, with other parameters."""
        query = list((callback_parameters(callback) | changes).items())
        return await self.world.services.authorizations.complete("oidc", query, BROWSER, "request-1")

    async def connect(self, login: str = "ada") -> Connection:
        """A new connection."""
        return (await self.complete(await self.callback(login=login))).connection

    async def read(self, connection: Connection) -> str:
        """Its access token, as the API gives it."""
        answer = await self.world.read_token(connection)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def whose(self, access_token: str) -> str | None:
        """Whose token it is, as the provider says; None: nobody's."""
        async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as client:
            bearer = {"authorization": f"Bearer {access_token}"}
            answer = await client.get(self.provider.userinfo_endpoint, headers=bearer)
        return answer.json()["sub"] if answer.status_code == 200 else None

    async def tokens(self, connection: Connection) -> TokenSet:
        """What is stored."""
        found = await self.world.services.store.get_with_tokens(connection.account_uuid, connection.uuid)
        assert found is not None
        return await self.world.services.store.open_tokens(found.connection, found.sealed_tokens)

    async def refused(self, refresh_token: str | None) -> bool:
        """Whether the provider takes a refresh token no more."""
        form = urlencode({"grant_type": "refresh_token", "refresh_token": refresh_token or ""})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        credentials = (self.provider.client_id, self.provider.client_secret)
        async with httpx2.AsyncClient(trust_env=False, auth=credentials, timeout=10.0) as client:
            answer = await client.post(self.provider.token_endpoint, content=form, headers=headers)
        return answer.status_code == 400 and answer.json()["error"] == "invalid_grant"

    def refreshes(self) -> int:
        """How many refreshes the provider was asked for."""
        return self.provider.counts().token.get("refresh_token", 0)


@pytest.mark.parametrize(("identity", "label"), [(USERINFO, "Person ada"), (ID_TOKEN, None)], ids=["userinfo", "id"])
async def test_connect_read_refresh_disconnect(
    tmp_path: Path, provider: OidcProvider, identity: str, label: str | None
) -> None:
    """Each token works at the provider, each refresh rotates, and after the disconnect nothing works any more."""
    async with flow(tmp_path, provider, identity=identity) as run:
        connection = await run.connect()
        assert (connection.subject, connection.identity, connection.refreshable) == ("ada", label, True)
        assert connection.scopes == ("openid", "profile", "offline_access")
        before, refresh_token = run.refreshes(), (await run.tokens(connection)).refresh_token
        assert await run.whose(await run.read(connection)) == "ada"
        assert run.refreshes() == before
        for number in range(1, 6):
            run.advance(5)
            assert await run.whose(await run.read(connection)) == "ada"
            assert run.refreshes() == before + number
            rotated = (await run.tokens(connection)).refresh_token
            assert rotated != refresh_token
            refresh_token = rotated

        listed = await run.world.client.get("/api/v1/oauth/connections?include=status,identity")
        assert [row["uuid"] for row in listed.json()["data"]] == [connection.uuid]
        access_token = await run.read(connection)
        revocations = provider.counts().revocation
        gone = await run.world.client.delete(f"/api/v1/oauth/connections/{connection.uuid}")
        assert gone.status_code == 204
        assert provider.counts().revocation == revocations + 1
        assert await run.whose(access_token) is None
        assert await run.refused(refresh_token)


async def test_fifty_readers_are_one_refresh(tmp_path: Path, provider: OidcProvider) -> None:
    """A provider that ends the grant when a refresh token comes twice sees each once."""
    async with flow(tmp_path, provider) as run:
        connection = await run.connect()
        before, refused = run.refreshes(), provider.counts().token_errors
        for number in range(1, 4):
            run.advance(5)
            answers = await asyncio.gather(*(run.read(connection) for _ in range(50)))
            assert len(set(answers)) == 1
            assert run.refreshes() == before + number
        assert await run.whose(answers[0]) == "ada"
        assert provider.counts().token_errors == refused


async def test_the_worker_keeps_five_second_tokens_alive(tmp_path: Path, provider: OidcProvider) -> None:
    """Due in the second half of their life; what readers get is always fresh."""
    async with flow(tmp_path, provider) as run:
        connection = await run.connect()
        before = run.refreshes()
        for _ in range(3):
            run.advance(3.2)
            assert await run.world.services.worker.run_once() == 1
        assert run.refreshes() == before + 3
        assert await run.whose(await run.read(connection)) == "ada"
        assert run.refreshes() == before + 3


async def test_reauthorizing_keeps_the_connection(tmp_path: Path, provider: OidcProvider) -> None:
    """The same person: same UUID and label, new tokens that work and rotate."""
    async with flow(tmp_path, provider) as run:
        connection = await run.connect()
        again = await run.complete(await run.callback(connection))
        assert not again.created
        assert (again.connection.uuid, again.connection.generation) == (connection.uuid, 2)
        run.advance(5)
        assert await run.whose(await run.read(connection)) == "ada"


async def test_somebody_elses_grant_is_held_and_given_back(tmp_path: Path, provider: OidcProvider) -> None:
    """Discarded, it is revoked there; the connection works on."""
    async with flow(tmp_path, provider, identity=ID_TOKEN) as run:
        connection = await run.connect()
        with pytest.raises(OtherIdentity) as failure:
            await run.complete(await run.callback(connection, login="grace"))
        revocations = provider.counts().revocation
        caller = browser_caller(run.world.login)
        await run.world.services.authorizations.discard_held(caller, failure.value.handle)
        await run.world.services.worker.run_once()
        assert provider.counts().revocation == revocations + 1
        run.advance(5)
        assert await run.whose(await run.read(connection)) == "ada"


async def test_denied_and_forged_answers_connect_nothing(tmp_path: Path, provider: OidcProvider) -> None:
    """A person who declines, another issuer, and a callback that comes again."""
    async with flow(tmp_path, provider) as run:
        reasons = []
        callback = await run.callback()
        for url, changes in (
            (await run.callback(allow=False), {}),
            (callback, {"iss": "https://evil.example"}),
            (callback, {}),
        ):
            with pytest.raises(AuthorizationFailed) as failure:
                await run.complete(url, **changes)
            reasons.append(failure.value.reason)
        listed = await run.world.client.get("/api/v1/oauth/connections")

    assert reasons == ["denied", "wrong_issuer", "replayed"]
    assert listed.json()["data"] == []


async def test_a_grant_that_ended_there_needs_its_user(tmp_path: Path, provider: OidcProvider) -> None:
    """Its refresh token was used by somebody else: the provider ends the grant, and the API says 409."""
    async with flow(tmp_path, provider) as run:
        connection = await run.connect()
        stolen = (await run.tokens(connection)).refresh_token
        assert not await run.refused(stolen)
        run.advance(5)
        answer = await run.world.read_token(connection)
        stored = await run.world.stored(connection)

    assert answer.status_code == 409
    assert answer.json()["refresh_authorization_url"] == f"{PUBLIC_URL}/oauth/oidc/authorize/{connection.uuid}"
    assert (stored.status, stored.must_act) == (Status.NEEDS_REAUTHORIZATION, MustAct.USER)


async def test_without_offline_access_no_refresh_token_comes(tmp_path: Path, provider: OidcProvider) -> None:
    """That is shown at once, and the connection ends with its token."""
    async with flow(tmp_path, provider, offline="") as run:
        connection = await run.connect()
        assert not connection.refreshable
        assert await run.whose(await run.read(connection)) == "ada"
        run.advance(6)
        answer = await run.world.read_token(connection)

    assert answer.status_code == 409


async def test_a_wrong_client_secret_is_the_operators_business(tmp_path: Path, provider: OidcProvider) -> None:
    """The real `invalid_client`, as a page that says whom to tell."""
    async with flow(tmp_path, provider, client_secret="wrong: secret+%") as run:
        with pytest.raises(AuthorizationFailed) as failure:
            await run.complete(await run.callback())

    assert failure.value.reason == "client_rejected"
    assert "invalid_client" in failure.value.message
