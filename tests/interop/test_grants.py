"""Connections without a browser of their own, against the real oidc-provider: devices, and clients for themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from grantkeeper.access import browser_caller
from grantkeeper.authorize import Completed, DevicePrompt
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import Connection
from tests.interop.bank import DPOP, FAPI, HEAD, LIFETIME, Bank, Profile, open_bank
from tests.support.oidc_provider import OidcProvider
from tests.support.world import BROWSER

pytestmark = pytest.mark.interop

ENDPOINTS = """
[scopes]
SCOPES
[token]
url = "{issuer}/token"
client_authentication = "private_key_jwt"
sender_constrained = "dpop"
[revocation]
style = "rfc7009"
url = "{issuer}/token/revocation"
[signatures]
jwks_url = "{issuer}/jwks"
"""
DEVICE = Profile(
    HEAD.replace("TOP", 'grant = "device_code"')
    + ENDPOINTS.replace("SCOPES", 'default = ["openid", "profile"]\noffline = ["offline_access"]')
    + '[identity]\nsource = "userinfo"\nurl = "{issuer}/me"\nlabel = "name"\n[device]\nurl = "{issuer}/device/auth"\n',
    {
        **FAPI,
        **DPOP,
        "require_pushed_authorization_requests": False,
        "grant_types": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
        "redirect_uris": [],
        "response_types": [],
    },
)


def service(provider: OidcProvider) -> Profile:
    """A client that has tokens for the API in its own name."""
    top = f'grant = "client_credentials"\nresources = ["{provider.api}"]'
    text = HEAD.replace("TOP", top) + ENDPOINTS.replace("SCOPES", 'default = ["read"]')
    grants = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}
    return Profile(text, {**FAPI, **DPOP, **grants, "require_pushed_authorization_requests": False})


class Device:
    """Somebody who connects by a code, and waits for it."""

    def __init__(self, run: Bank) -> None:
        self._run = run
        self._authorizations = run.world.services.authorizations
        self._handle = ""

    async def begin(self, connection: Connection | None = None) -> DevicePrompt:
        """What they are shown."""
        caller, uuid = browser_caller(self._run.world.login), connection.uuid if connection else None
        self._handle = await self._authorizations.start_device(caller, "bank", BROWSER, uuid, None)
        prompt = await self.look()
        assert isinstance(prompt, DevicePrompt)
        return prompt

    async def look(self) -> Completed | DevicePrompt:
        """What they are shown now."""
        return await self._authorizations.poll_device("bank", self._handle, BROWSER, "request-1")

    async def confirm(self, prompt: DevicePrompt, *, allow: bool = True) -> None:
        """Elsewhere: type in the code, sign in, and agree."""
        assert prompt.verification_uri_complete is not None
        async with self._run.provider.browser() as browser:
            await self._run.provider.connect_device(browser, prompt.verification_uri_complete, allow=allow)

    async def connect(self, connection: Connection | None = None) -> Connection:
        """All of it."""
        prompt = await self.begin(connection)
        await self.confirm(prompt)
        self._run.advance(prompt.interval)
        completed = await self.look()
        assert isinstance(completed, Completed)
        return completed.connection


async def test_a_device_connects_reads_refreshes_and_disconnects(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider
) -> None:
    """RFC 8628, with assertions and tokens bound to a key; the same connection can be authorized again."""
    async with open_bank(tmp_path, sqlite_url, bank_server, DEVICE) as run:
        connection = await Device(run).connect()
        assert (connection.subject, connection.identity) == ("ada", "Person ada")
        first = await run.read(connection)
        assert await run.whose(connection, first) == "ada"
        run.advance(LIFETIME)
        assert await run.whose(connection, await run.read(connection)) == "ada"
        again = await Device(run).connect(connection)
        assert (again.uuid, again.generation) == (connection.uuid, 3)
        last, proof = await run.read(connection), await run.proof(connection)
        revocations = bank_server.counts().revocation
        await run.disconnect(connection)
        assert (await run.ask(last, proof)).status_code == 401
        assert bank_server.counts().revocation == revocations + 1


async def test_a_device_is_polled_politely(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """However often its page is looked at, the server never has to say slow_down."""
    async with open_bank(tmp_path, sqlite_url, bank_server, DEVICE) as run:
        before = bank_server.counts()
        device = Device(run)
        prompt = await device.begin()
        for _ in range(12):
            assert isinstance(await device.look(), DevicePrompt)
            run.advance(1)
        after = bank_server.counts()
        await device.confirm(prompt)
        run.advance(prompt.interval)
        assert isinstance(await device.look(), Completed)
    errors = after.token_errors
    assert errors["authorization_pending"] - before.token_errors.get("authorization_pending", 0) == 2
    assert errors.get("slow_down", 0) == before.token_errors.get("slow_down", 0)


async def test_a_device_that_is_too_fast_slows_down(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """Where the server's clock is behind ours it says slow_down; the next poll comes five seconds later than else."""
    async with open_bank(tmp_path, sqlite_url, bank_server, DEVICE) as run:
        before = bank_server.counts().token_errors.get("slow_down", 0)
        device = Device(run)
        prompt = await device.begin()
        await device.confirm(prompt)
        run.advance_ours(prompt.interval)
        assert isinstance(await device.look(), DevicePrompt)
        assert bank_server.counts().token_errors["slow_down"] == before + 1
        run.advance(prompt.interval + 4)
        assert isinstance(await device.look(), DevicePrompt)
        run.advance(1)
        assert isinstance(await device.look(), Completed)
        assert bank_server.counts().token_errors["slow_down"] == before + 1


async def test_a_device_whose_person_declines(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """That is told, and connects nothing."""
    async with open_bank(tmp_path, sqlite_url, bank_server, DEVICE) as run:
        device = Device(run)
        prompt = await device.begin()
        await device.confirm(prompt, allow=False)
        run.advance(prompt.interval)
        with pytest.raises(AuthorizationFailed) as failure:
            await device.look()
        listed = await run.world.client.get("/api/v1/oauth/connections")
    assert failure.value.reason == "denied"
    assert listed.json()["data"] == []


async def test_a_device_code_ends(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """Ten minutes later nobody waits any more."""
    async with open_bank(tmp_path, sqlite_url, bank_server, DEVICE) as run:
        device = Device(run)
        await device.begin()
        run.advance(601)
        with pytest.raises(AuthorizationFailed) as failure:
            await device.look()
    assert failure.value.reason == "expired"


async def test_a_service_has_tokens_of_its_own(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """Client credentials: the API takes each token with our proof, and the next is had without a refresh token."""
    async with open_bank(tmp_path, sqlite_url, bank_server, service(bank_server)) as run:
        caller = browser_caller(run.world.login)
        authorizations = run.world.services.authorizations
        connection = (await authorizations.connect_directly(caller, "bank", "request-1")).connection
        tokens = []
        for _ in range(3):
            tokens.append(await run.read(connection))
            proof = await run.proof(connection, url=bank_server.api)
            told = (await run.ask(tokens[-1], proof, url=bank_server.api)).json()
            assert (told["aud"], told["scope"], told["client_id"]) == (bank_server.api, "read", connection.client_id)
            run.advance(LIFETIME)
        assert len(set(tokens)) == 3
        assert (await run.tokens(connection)).refresh_token is None
        await run.disconnect(connection)
        gone = await run.world.read_token(connection)
    assert gone.status_code == 404
