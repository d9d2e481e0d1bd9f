"""The rate limit: so many requests a minute for each user, over all tokens, accounts and processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from grantkeeper.app import Application
from grantkeeper.model import ALL_SCOPES
from tests.api.builders import INDEX, UNKNOWN_UUID, client_of, other_client
from tests.support.world import World, http_client, open_world

MINUTE = 60
# The clock of the tests begins 23.951021 seconds into its minute.
LEFT = 37


def standing(answer: httpx2.Response) -> tuple[int, int, int]:
    """Status, limit and what remains of it."""
    headers = answer.headers
    return answer.status_code, int(headers["x-ratelimit-limit"]), int(headers["x-ratelimit-remaining"])


@asynccontextmanager
async def limited(directory: Path, rate_limit: int) -> AsyncIterator[World]:
    """The product with a small limit."""
    url = f"sqlite:///{directory / 'limited.sqlite3'}"
    async with open_world(directory, url, rate_limit=rate_limit) as world:
        yield world


async def test_500_a_minute(world: World) -> None:
    """By default 500 requests pass, counted down, and the next is 429 until the minute is over."""
    for remaining in range(499, -1, -1):
        assert standing(await world.client.get("/api/v1/oauth/providers")) == (200, 500, remaining)
    answer = await world.client.get("/api/v1/oauth/providers")
    assert standing(answer) == (429, 500, 0)
    assert answer.json() == {"message": "Too many requests: 500 a minute are allowed."}
    assert answer.headers["retry-after"] == str(LEFT)
    world.clock.advance(LEFT - 1)
    again = await world.client.get("/api/v1/oauth/providers")
    assert (again.status_code, again.headers["retry-after"]) == (429, "1")
    world.clock.advance(1)
    assert standing(await world.client.get("/api/v1/oauth/providers")) == (200, 500, 499)


async def test_what_counts(tmp_path: Path) -> None:
    """Every call by a user counts, refused ones too; past the limit none is carried out."""
    async with limited(tmp_path, 6) as world:
        connection = await world.connect()
        statuses = [
            standing(answer)
            for answer in (
                await world.client.get(INDEX),
                await world.client.get(f"{INDEX}/{UNKNOWN_UUID}"),
                await world.client.get(INDEX, params={"per_page": "x"}),
                await client_of(world, world.token, X_Account_UUID=UNKNOWN_UUID).get(INDEX),
                await client_of(world, await world.new_token(world.login, ())).get(INDEX),
                await world.client.put(f"{INDEX}/{connection.uuid}", content=b"{"),
                await world.client.delete(f"{INDEX}/{connection.uuid}"),
                await world.client.put(f"{INDEX}/{connection.uuid}", json={"label": "taken"}),
            )
        ]
        expected = [200, 404, 422, 404, 403, 415, 429, 429]
        assert statuses == [(status, 6, max(0, 5 - at)) for at, status in enumerate(expected)]
        assert (await world.stored(connection)).label == connection.label


async def test_what_does_not_count(tmp_path: Path) -> None:
    """What no user can be told of: calls without a good token, unknown paths and methods, public pages."""
    async with limited(tmp_path, 2) as world:
        for answer in (
            await client_of(world, None).get(INDEX),
            await client_of(world, world.token + "x").get(INDEX),
            await world.client.get("/api/v1/nothing"),
            await world.client.patch(INDEX),
            await world.client.get("/api/v1/openapi.json"),
            await world.client.get("/health"),
        ):
            assert "x-ratelimit-limit" not in answer.headers
        assert standing(await world.client.get(INDEX)) == (200, 2, 1)


async def test_for_each_user(tmp_path: Path) -> None:
    """All tokens of a user share one count; another user has a count of their own."""
    async with limited(tmp_path, 2) as world:
        second = client_of(world, await world.new_token(world.login, tuple(ALL_SCOPES), any_account=True))
        _, eve = await other_client(world)
        assert standing(await world.client.get(INDEX)) == (200, 2, 1)
        assert standing(await second.get(INDEX)) == (200, 2, 0)
        assert standing(await world.client.get(INDEX)) == (429, 2, 0)
        assert standing(await second.get(INDEX)) == (429, 2, 0)
        assert standing(await eve.get(INDEX)) == (200, 2, 1)


async def test_settling_loses_nothing(tmp_path: Path) -> None:
    """Sharing the count with the database neither forgets nor doubles what was counted."""
    async with limited(tmp_path, 4) as world:
        for remaining in (3, 2, 1, 0):
            assert standing(await world.client.get(INDEX)) == (200, 4, remaining)
            await world.services.access.settle()
            await world.services.access.settle()
        assert standing(await world.client.get(INDEX)) == (429, 4, 0)
        world.clock.advance(LEFT)
        await world.services.access.settle()
        assert standing(await world.client.get(INDEX)) == (200, 4, 3)


@pytest.mark.parametrize("settle_first", [True, False])
async def test_two_processes_share_the_count(tmp_path: Path, postgres_url: str, settle_first: bool) -> None:
    """Two applications on one PostgreSQL database: once each has settled, what one let through the other knows."""
    async with open_world(tmp_path, postgres_url, rate_limit=10) as world:
        other = Application(world.services.settings, world.clock)
        async with other.running() as services:
            theirs = http_client(other, world.token)
            for remaining in (9, 8, 7, 6, 5, 4):
                assert standing(await world.client.get(INDEX)) == (200, 10, remaining)
            await world.services.access.settle()
            assert standing(await theirs.get(INDEX)) == (200, 10, 9)
            if settle_first:
                await services.access.settle()
                assert standing(await theirs.get(INDEX)) == (200, 10, 2)
            else:
                assert standing(await theirs.get(INDEX)) == (200, 10, 8)
                await services.access.settle()
            for remaining in (1, 0):
                assert standing(await theirs.get(INDEX)) == (200, 10, remaining)
            assert standing(await theirs.get(INDEX)) == (429, 10, 0)
            await services.access.settle()
            await world.client.get(INDEX)
            await world.services.access.settle()
            assert standing(await world.client.get(INDEX)) == (429, 10, 0)
            world.clock.advance(MINUTE)
            assert standing(await world.client.get(INDEX)) == (200, 10, 9)
            assert standing(await theirs.get(INDEX)) == (200, 10, 9)
