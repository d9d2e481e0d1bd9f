"""Reporting a token that an API answered 401 to: it is refreshed once, whoever reports it."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from grantkeeper.app import Application
from grantkeeper.model import Connection, Scope
from grantkeeper.refresh.refresher import YOUNG
from tests.api.builders import INDEX, UNKNOWN_UUID, client_of, client_with, other_client
from tests.api.journal import Journal
from tests.support.world import PUBLIC_URL, World, http_client, open_world

FIELD = "refused_token_sha256"


def sha256(token: str) -> str:
    """What is reported of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def fingerprint(answer: httpx2.Response) -> str:
    """Of the token in an answer: a failing test prints no token."""
    assert answer.status_code == 200, answer.text
    return sha256(answer.json()["access_token"])


async def report(client: httpx2.AsyncClient, connection: Connection, refused: Any) -> httpx2.Response:
    """`POST …/token` with a hash."""
    return await client.post(f"{INDEX}/{connection.uuid}/token", json={FIELD: refused})


async def grown_up(world: World) -> tuple[Connection, str]:
    """A connection whose token is old enough to be refused for its own sake, and that token's hash."""
    connection = await world.connect()
    world.clock.advance(YOUNG)
    return connection, fingerprint(await world.read_token(connection))


async def test_it_is_refreshed(either_world: World) -> None:
    """The answer is the next token, as reading it answers, although the refused one had not expired."""
    connection, first = await grown_up(either_world)
    answer = await report(either_world.client, connection, first)
    assert fingerprint(answer) != first
    assert answer.json() == (await either_world.read_token(connection)).json()
    assert answer.headers["cache-control"] == "no-store"
    assert either_world.provider.counts["token"] == 2


async def test_a_newer_one_is_stored_already(either_world: World) -> None:
    """A report of any token but the stored one is answered with that, and the provider is not asked."""
    world = either_world
    connection, first = await grown_up(world)
    second = fingerprint(await report(world.client, connection, first.upper()))
    world.clock.advance(YOUNG)
    for refused in (first, sha256("never seen")):
        assert fingerprint(await report(world.client, connection, refused)) == second
    assert world.provider.counts["token"] == 2


async def test_one_that_cannot_be_refreshed(world: World) -> None:
    """The provider gave no refresh token: its user must authorize again, and is told where."""
    world.provider.policy.omit.add("refresh_token")
    connection, first = await grown_up(world)
    answer = await report(world.client, connection, first)
    assert answer.status_code == 409
    assert answer.json()["refresh_authorization_url"].endswith(connection.uuid)
    assert fingerprint(await world.read_token(connection)) == first


async def test_fifty_reporters(either_world: World) -> None:
    """All at once, and again afterwards: one request to the provider, one new token for everybody."""
    world = either_world
    connection, first = await grown_up(world)
    world.provider.hold(when="before")
    reporters = [asyncio.create_task(report(world.client, connection, first)) for _ in range(50)]
    await world.provider.wait_for_held()
    world.provider.release()
    answers = [fingerprint(answer) for answer in await asyncio.gather(*reporters)]
    answers.append(fingerprint(await report(world.client, connection, first)))
    assert len(set(answers)) == 1
    assert answers[0] != first
    assert world.provider.counts["token"] == 2


async def test_reporters_in_two_processes(tmp_path: Path, postgres_url: str) -> None:
    """The process that lost the race serves what the other one was given."""
    async with open_world(tmp_path, postgres_url) as world:
        connection, first = await grown_up(world)
        other = Application(world.services.settings, world.clock)
        async with other.running(), http_client(other, world.token) as theirs:
            world.provider.hold(when="before")
            reporters = [
                asyncio.create_task(report(client, connection, first)) for client in (world.client, theirs) * 5
            ]
            await world.provider.wait_for_held()
            world.provider.release()
            while not all(reporter.done() for reporter in reporters):
                # Who waits for the other process looks again and again.
                await asyncio.wait(reporters, timeout=0.02)
                world.clock.advance(0.02)
            answers = {fingerprint(reporter.result()) for reporter in reporters}
        assert len(answers) == 1
        assert world.provider.counts["token"] == 2


async def test_a_young_token(world: World) -> None:
    """One just issued is refused for another reason: 503 that says so and when, and the provider is not asked."""
    connection = await world.connect()
    first = fingerprint(await world.read_token(connection))
    world.clock.advance(YOUNG - 4)
    answer = await report(world.client, connection, first)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "4")
    assert "issued 6 seconds ago" in answer.json()["message"]
    assert world.provider.counts["token"] == 1
    world.clock.advance(4)
    assert fingerprint(await report(world.client, connection, first)) != first


async def test_the_provider_is_down(world: World) -> None:
    """A refused token is never the answer, even where no other can be had: 503, and later the new one."""
    connection, first = await grown_up(world)
    world.provider.fail_next(1, status=503)
    answer = await report(world.client, connection, first)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    world.clock.advance(600)
    assert fingerprint(await report(world.client, connection, first)) != first


async def test_the_grant_is_over(either_world: World) -> None:
    """The reason for the refusal may be that the user ended the grant: 409 with where to authorize again."""
    connection, first = await grown_up(either_world)
    either_world.provider.revoke_grants()
    answer = await report(either_world.client, connection, first)
    assert answer.status_code == 409
    url = f"{PUBLIC_URL}/oauth/demo/authorize/{connection.uuid}"
    assert answer.json()["refresh_authorization_url"] == url


@pytest.mark.parametrize(
    "refused", [None, 7, True, [], "", "0" * 63, "0" * 65, "g" * 64, "\uff10" * 64, f" {'0' * 64}", f"{'0' * 64}\n"]
)
async def test_what_is_no_hash(world: World, refused: Any) -> None:
    """422 names the field; nothing of what was sent comes back."""
    connection, _ = await grown_up(world)
    answer = await report(world.client, connection, refused)
    assert (answer.status_code, list(answer.json()["errors"])) == (422, [FIELD])
    assert "64 hexadecimal digits" in answer.json()["message"]
    assert world.provider.counts["token"] == 1


async def test_nothing_is_reported(world: World) -> None:
    """Without the field, or without a body, it says what is missing."""
    connection, _ = await grown_up(world)
    path = f"{INDEX}/{connection.uuid}/token"
    for answer in (await world.client.post(path), await world.client.post(path, json={"token": "x"})):
        assert answer.status_code == 422
        assert answer.json()["errors"] == {FIELD: [f"The {FIELD} is required."]}


async def test_a_token_sent_by_mistake(world: World, journal: Journal) -> None:
    """Who sends the token itself is told what to send; neither the answer nor the log repeats it."""
    connection, first = await grown_up(world)
    token = (await world.read_token(connection)).json()["access_token"]
    answer = await report(world.client, connection, token)
    assert answer.status_code == 422
    assert token not in answer.text
    replaced = await report(world.client, connection, first)
    assert fingerprint(replaced) != first
    assert len(journal.events("request")) == 4
    for secret in (token, replaced.json()["access_token"], first):
        assert secret not in journal.text


async def test_who_may_report(world: World) -> None:
    """Whoever may read the token, and nobody else; unknown, another account's and other methods as elsewhere."""
    connection, first = await grown_up(world)
    path = f"{INDEX}/{connection.uuid}/token"
    assert (await report(client_of(world, None), connection, first)).status_code == 401
    lacking = await client_with(world, Scope.CONNECTIONS_READ, Scope.CONNECTIONS_WRITE, Scope.ADMIN)
    assert (await report(lacking, connection, first)).status_code == 403
    _, eve = await other_client(world)
    assert (await report(eve, connection, first)).status_code == 404
    for uuid in (UNKNOWN_UUID, "nonsense"):
        assert (await world.client.post(f"{INDEX}/{uuid}/token", json={FIELD: first})).status_code == 404
    answer = await world.client.put(path, json={FIELD: first})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert world.provider.counts["token"] == 1
    reader = await client_with(world, Scope.TOKENS_READ)
    assert fingerprint(await report(reader, connection, first)) != first
