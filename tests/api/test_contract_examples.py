"""The contract's two examples: the same connections, built here, must read the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from grantkeeper.clock import Instant
from grantkeeper.testing import FakeClock
from tests.api.builders import INDEX, add_connection
from tests.support.world import PUBLIC_URL, World, http_client, open_world

EXAMPLES = Path(__file__).parent / "contract"
THEIR_HOST = "https://api.plannrcrm.com"
# Endpoints supplied by the operator, as the catalogue wants them for this provider.
FUNDMENT = {
    "client_id": "fundment-client",
    "client_secret": "fundment-secret",
    "authorization_url": "https://fundment.example/authorize",
    "token_url": "https://fundment.example/token",
}
OpenWorld = Callable[[Instant], Awaitable[World]]


def example(name: str) -> dict[str, Any]:
    """A document of the contract, its keys in its order."""
    document: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return document


def ours(connection: dict[str, Any]) -> dict[str, Any]:
    """The example with what differs by decision: host, image of the logo, UUID in the reauthorization URL."""
    name = connection["provider"]["name"]
    provider = connection["provider"] | {
        "logo_url": f"{PUBLIC_URL}/imgs/{name}.svg",
        "authorization_url": connection["provider"]["authorization_url"].replace(THEIR_HOST, PUBLIC_URL),
    }
    url = f"{provider['authorization_url']}/{connection['uuid']}"
    return connection | {"provider": provider, "refresh_authorization_url": url}


def compact(document: dict[str, Any]) -> bytes:
    """JSON without spaces, keys in the order they have."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def instant(text: str) -> Instant:
    """Microseconds since the epoch of an ISO 8601 time."""
    return (datetime.fromisoformat(text) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def created_at(connection: dict[str, Any]) -> Instant:
    """When the example was made: its whole second, with the fraction that its expiry shows."""
    return instant(connection["created_at"]) + instant(connection["access_token_expires_at"]) % 1_000_000


@pytest.fixture
async def open_at(tmp_path: Path, database_url: str) -> AsyncIterator[OpenWorld]:
    """Opens the product in London at an instant, with Fundment set up, on either engine."""
    async with AsyncExitStack() as stack:

        async def open_(now: Instant) -> World:
            opened = open_world(
                tmp_path,
                database_url,
                clock=FakeClock(now),
                timezone="Europe/London",
                clients={"fundment": FUNDMENT},
            )
            return await stack.enter_async_context(opened)

        yield open_


async def rebuild(world: World, connection: dict[str, Any], label: str) -> None:
    """The example's connection in our store."""
    await add_connection(
        world,
        label,
        provider=connection["provider"]["name"],
        connection_uuid=connection["uuid"],
        created_at=created_at(connection),
        access_token_expires_at=instant(connection["access_token_expires_at"]),
        refresh_token_expires_at=instant(connection["refresh_token_expires_at"]),
    )


async def test_list_of_january(open_at: OpenWorld) -> None:
    """The list of the example in winter is byte for byte ours, but for what differs by decision."""
    document = example("list-connections")
    [connection] = document["data"]
    world = await open_at(created_at(connection))
    await rebuild(world, connection, connection["label"])
    answer = await world.client.get(INDEX)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == compact({"data": [ours(connection)]})


async def test_update_of_june(open_at: OpenWorld) -> None:
    """The update of the example in summer time is byte for byte ours, but for what differs by decision."""
    connection = example("update-connection")
    world = await open_at(created_at(connection))
    await rebuild(world, connection, "As it was called before")
    answer = await world.client.put(f"{INDEX}/{connection['uuid']}", json={"label": connection["label"]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == compact(ours(connection))


async def test_list_of_both_seasons(open_at: OpenWorld) -> None:
    """In one list each time has the offset of its own season, and the oldest connection stands first."""
    june, [january] = example("update-connection"), example("list-connections")["data"]
    world = await open_at(created_at(january))
    await rebuild(world, january, january["label"])
    await rebuild(world, june, june["label"])
    answer = await world.client.get(INDEX)
    assert answer.content == compact({"data": [ours(june), ours(january)]})


async def test_request_of_the_seed(open_at: OpenWorld) -> None:
    """The request as the seed spells it, an absolute URL with exactly those headers, is understood."""
    connection = example("update-connection")
    world = await open_at(created_at(connection))
    await rebuild(world, connection, "As it was called before")
    body = b'{"label":"My Fundment Account 1"}'
    request = httpx2.Request(
        "PUT",
        f"{PUBLIC_URL}{INDEX}/{connection['uuid']}",
        headers={"Authorization": f"Bearer {world.token}", "Content-Type": "application/json"},
        content=body,
    )
    answer = await world.client.send(request)
    assert answer.content == compact(ours(connection))


async def test_addresses_of_a_connection(open_at: OpenWorld) -> None:
    """The logo is an image served by the product itself; the two authorization addresses are its own pages."""
    [connection] = example("list-connections")["data"]
    world = await open_at(created_at(connection))
    await rebuild(world, connection, connection["label"])
    [found] = (await world.client.get(INDEX)).json()["data"]
    async with http_client(world.application) as visitor:
        logo = await visitor.get(found["provider"]["logo_url"])
        new = await visitor.get(found["provider"]["authorization_url"])
        again = await visitor.get(found["refresh_authorization_url"])
    assert logo.status_code == 200
    assert logo.headers["content-type"].startswith("image/")
    assert new.status_code == again.status_code == 303, "a visitor is sent to sign in"


async def test_include_adds_behind_the_fixed_keys(open_at: OpenWorld) -> None:
    """`include` adds its keys after the contract's, in one order however it is asked, and only when asked."""
    [connection] = example("list-connections")["data"]
    world = await open_at(created_at(connection))
    await rebuild(world, connection, connection["label"])
    fixed = list(connection)
    [bare] = (await world.client.get(INDEX)).json()["data"]
    assert list(bare) == fixed
    for asked, added in (
        ("health", ["health"]),
        ("health,identity,scopes,status", ["status", "scopes", "identity", "health"]),
        ("identity,status,identity", ["status", "identity"]),
        ("", []),
    ):
        [row] = (await world.client.get(INDEX, params={"include": asked})).json()["data"]
        one = (await world.client.get(f"{INDEX}/{connection['uuid']}", params={"include": asked})).json()
        put = await world.client.put(f"{INDEX}/{connection['uuid']}", params={"include": asked}, json={})
        assert list(row) == list(one) == list(put.json()) == fixed + added


async def test_nulls_of_the_contract(open_at: OpenWorld) -> None:
    """Tokens that do not expire have null where the examples have a time; the keys stay."""
    [connection] = example("list-connections")["data"]
    world = await open_at(created_at(connection))
    await rebuild(world, connection, connection["label"])
    await world.services.database.execute(
        "UPDATE connections SET access_token_expires_at = NULL, refresh_token_expires_at = NULL"
    )
    answer = await world.client.get(f"{INDEX}/{connection['uuid']}")
    expected = ours(connection) | {"access_token_expires_at": None, "refresh_token_expires_at": None}
    assert answer.content == compact(expected)
