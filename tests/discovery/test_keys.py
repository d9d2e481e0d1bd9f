"""Providers' public keys: kept, shared, rolled over (RFC 7517, OpenID Connect Core §10.1.1)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from joserfc.jwk import KeySet, OctKey

from grantkeeper.crypto import RootKeyset
from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.client import Client
from grantkeeper.testing import FakeClock
from tests.discovery.processes import running
from tests.discovery.servers import Server, new_key

JWKS = "GET /jwks"


def client_of(server: Server, **changes: Any) -> Client:
    """A client whose provider publishes keys; it needs no discovery for that."""
    client = Client(
        name="acme",
        label="Acme",
        client_id="id-1",
        redirect_uri="https://gk.example/oauth/acme/callback",
        authorization_url=f"{server.url}/authorize",
        token_url=f"{server.url}/token",
        jwks_url=f"{server.url}/jwks",
    )
    return msgspec.structs.replace(client, **changes)


def kids(keys: KeySet | None) -> list[str | None]:
    """The ids of keys."""
    assert keys is not None
    return [key.kid for key in keys]


async def test_fetched_once_an_hour(database_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """By all processes together, and once for all who ask at the same time."""
    client = client_of(server)
    async with running(database_url, root, clock) as one:
        many = await asyncio.gather(*(one.discovery.key_set(client, "first") for _ in range(20)))
        assert all(kids(keys) == ["first"] for keys in many)
        clock.advance(3599)
        await one.discovery.key_set(client, None)
    async with running(database_url, root, clock) as other:
        assert kids(await other.discovery.key_set(client, "first")) == ["first"]
        assert server.counts[JWKS] == 1
        clock.advance(1)
        await other.discovery.key_set(client, "first")
    assert server.counts[JWKS] == 2


async def test_a_key_that_is_new_is_found(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """Roll-over: an unknown key id leads to a look at once, if the last was a minute ago."""
    client = client_of(server)
    async with running(database_url, root, clock) as process:
        await process.discovery.key_set(client, "first")
        server.keys = [new_key("second")]
        clock.advance(60)
        assert kids(await process.discovery.key_set(client, "second")) == ["second"]
    assert server.counts[JWKS] == 2


async def test_made_up_key_ids_do_not_make_us_ask(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """However many, of however many processes: one look a minute; the answer is the keys there are."""
    client = client_of(server)
    async with running(database_url, root, clock) as one, running(database_url, root, clock) as other:
        for number in range(10):
            for process in (one, other):
                assert kids(await process.discovery.key_set(client, f"made-up-{number}")) == ["first"]
        assert server.counts[JWKS] == 1
        clock.advance(61)
        for number in range(10):
            for process in (one, other):
                await process.discovery.key_set(client, f"made-up-{number}")
    assert server.counts[JWKS] == 2


async def test_keys_outlive_their_server(database_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """Unreachable for hours, over a restart: what is kept still verifies, and it is asked once a minute at most."""
    client = client_of(server)
    async with running(database_url, root, clock) as process:
        await process.discovery.key_set(client, "first")
    server.status = 503
    clock.advance(7200)
    async with running(database_url, root, clock) as process:
        for _ in range(5):
            assert kids(await process.discovery.key_set(client, "first")) == ["first"]
    assert server.counts[JWKS] == 2


async def test_no_keys_yet(sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """Without any, a check cannot be made; the error never says that nothing was sent, as a token request was."""
    server.status = 503
    client = client_of(server)
    async with running(sqlite_url, root, clock) as process:
        with pytest.raises(ProviderUnavailable) as caught:
            await process.discovery.key_set(client, "first")
        assert caught.value.sent
        server.status = 200
        with pytest.raises(ProviderUnavailable):
            await process.discovery.key_set(client, "first")
        clock.advance(60)
        assert kids(await process.discovery.key_set(client, "first")) == ["first"]


async def test_an_address_that_is_refused(sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """Keys at a private address are a protocol error, not an error of something that was not sent."""
    client = client_of(server, jwks_url="https://10.0.0.8/jwks")
    async with running(sqlite_url, root, clock) as process:
        with pytest.raises(ProviderProtocolError, match=r"10\.0\.0\.8") as caught:
            await process.discovery.key_set(client, "first")
        assert not hasattr(caught.value, "sent")


async def test_keys_that_prove_nothing(sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """A set of symmetric keys only is refused, not taken for none being needed."""
    server.more["/secrets"] = {"keys": [OctKey.generate_key(256).as_dict(private=True)]}
    client = client_of(server, jwks_url=f"{server.url}/secrets")
    async with running(sqlite_url, root, clock) as process:
        with pytest.raises(ProviderProtocolError, match="no key that can verify"):
            await process.discovery.key_set(client, None)


async def test_a_provider_that_publishes_none(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """Without `jwks_url` there is no set."""
    async with running(sqlite_url, root, clock) as process:
        assert await process.discovery.key_set(client_of(server, jwks_url=None), "first") is None


async def test_keys_of_another_place_are_not_used(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """When `jwks_url` changes, what was kept from the old one verifies nothing."""
    async with running(database_url, root, clock) as process:
        await process.discovery.key_set(client_of(server), "first")
        server.more["/new"] = {"keys": [new_key("second").as_dict(private=False)]}
        moved = client_of(server, jwks_url=f"{server.url}/new")
        clock.advance(60)
        assert kids(await process.discovery.key_set(moved, "second")) == ["second"]
