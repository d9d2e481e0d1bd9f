"""Several token sets in one answer, such as a bot's beside a person's: each is a connection of its own (`together`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from grantkeeper.clock import SECOND
from grantkeeper.model import Connection, Status
from grantkeeper.storage.connections import Page
from tests.engine.quirky import PLAIN, Case, Document, Flow, behave, in_toml, merged
from tests.engine.scenes import ADA, token_set
from tests.support.person import somebody
from tests.support.world import CLIENT_ID, World, open_world

GRACE = "grace-hopper"
PERSON: Document = {"together": ["demo-team"], "scopes": {"default": ["profile"]}}
TEAM: Document = {
    "schema": 1,
    "name": "demo-team",
    "extends": "demo",
    "label": "Demo Team",
    "verified": {"basis": "product", "date": "2026-11-22"},
    "authorization": {"scope_parameter": "team_scope"},
    "scopes": {"default": ["accounts.read"], "meaning": {"accounts.read": "Read the team's accounts"}},
    "token": {"response": {name: f"team.{name}" for name in ("access_token", "refresh_token", "expires_in", "scope")}},
    # Later answers have one set, where the standards have it.
    "refresh": {"response": {"access_token": "access_token"}},
}
BOTH = Case(definition=PERSON, quirks={"team_scope": "team_scope", "team_subject": GRACE}, breaks=None)


@asynccontextmanager
async def teams(
    directory: Path, database_url: str, *, told: bool = True, client_id: str = CLIENT_ID
) -> AsyncIterator[World]:
    """A provider that gives two token sets, both set up; `told`: the definition says that they come together."""
    providers = directory / "providers"
    providers.mkdir()
    (providers / "demo.toml").write_text(in_toml(merged(PLAIN, PERSON, {} if told else {"together": None})))
    (providers / "demo-team.toml").write_text(in_toml(TEAM))
    also = {"demo-team": client_id}
    async with open_world(directory, database_url, providers_dir=providers, also=also) as world:
        behave(world, BOTH)
        yield world


async def of(world: World, provider: str) -> list[Connection]:
    """The account's connections at that provider."""
    return await world.services.store.list_page(world.account_uuid, Page(limit=100, provider=provider))


def asked_in(url: str) -> dict[str, list[str]]:
    """The parameters of an authorization request."""
    return parse_qs(urlsplit(url).query)


async def test_each_set_is_a_connection(tmp_path: Path, database_url: str) -> None:
    """One consent for both; each connection is its own owner's, with its own scopes, and lives and ends by itself."""
    async with teams(tmp_path, database_url) as world:
        flow = Flow(world, BOTH)
        asked = asked_in(await flow.begin())
        assert (asked["scope"], asked["team_scope"]) == (["profile"], ["accounts.read"])
        completed = await flow.completed()
        person, [team] = completed.connection, completed.further
        assert (person.subject, person.scopes, person.label) == (ADA, ("profile",), "My Demo Provider Account 1")
        assert (team.subject, team.scopes, team.label) == (GRACE, ("accounts.read",), "My Demo Team Account 1")
        tokens = [(await token_set(world, one)).access_token for one in (person, team)]
        assert all(world.provider.is_good(token) for token in tokens)
        assert len(set(tokens)) == 2

        world.clock.advance(3600)
        for one in (person, team):
            assert (await world.read_token(one)).status_code == 200
            assert (await world.stored(one)).generation == 2
        world.clock.advance((((await world.stored(team)).next_refresh_at or 0) - world.clock.now()) / SECOND + 3600)
        await world.services.worker.run_once()
        assert (await world.stored(team)).generation == 3

        await flow.disconnect(person, (await token_set(world, person)).access_token)
        assert (await world.read_token(team)).status_code == 200


async def test_without_the_key(tmp_path: Path, sqlite_url: str) -> None:
    """A definition that does not say it asks for the person's set alone."""
    async with teams(tmp_path, sqlite_url, told=False) as world:
        flow = Flow(world, BOTH)
        assert "team_scope" not in asked_in(await flow.begin())
        assert (await flow.completed()).further == ()
        assert await of(world, "demo-team") == []


async def test_another_client_is_not_asked_for(tmp_path: Path, sqlite_url: str) -> None:
    """What is registered as another client cannot come with this one's consent."""
    async with teams(tmp_path, sqlite_url, client_id="another") as world:
        flow = Flow(world, BOTH)
        assert "team_scope" not in asked_in(await flow.begin())
        assert (await flow.completed()).further == ()


async def test_a_set_that_does_not_come(tmp_path: Path, sqlite_url: str) -> None:
    """The provider gives the person's alone: that is a connection, and no more is said to be."""
    async with teams(tmp_path, sqlite_url) as world:
        world.provider.quirks.team_scope = None
        completed = await Flow(world, BOTH).completed()
        assert (completed.connection.status, completed.further) == (Status.ACTIVE, ())
        assert await of(world, "demo-team") == []


async def test_authorizing_again_renews_one(tmp_path: Path, sqlite_url: str) -> None:
    """Only its own set is asked for, and the other connection stays as it is."""
    async with teams(tmp_path, sqlite_url) as world:
        flow = Flow(world, BOTH)
        first = await flow.completed()
        assert "team_scope" not in asked_in(await flow.begin(first.connection))
        again = await flow.completed(first.connection)
        assert (again.created, again.further) == (False, ())
        [team] = await of(world, "demo-team")
        assert (team.uuid, team.generation) == (first.further[0].uuid, 1)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "at-an-app"])
async def test_the_browser_is_told_of_both(tmp_path: Path, sqlite_url: str, elsewhere: bool) -> None:
    """The gallery says what both ask for; afterwards both are named."""
    async with teams(tmp_path, sqlite_url) as world, somebody(world) as person:
        await person.sign_in()
        page = await person.open("/connect")
        assert "Read the team's accounts" in page.text
        target = "?redirect_to=/connect" if elsewhere else ""
        await person.open(f"/oauth/demo/authorize{target}")
        await person.open(world.provider.approve(person.location))
        [main], [team] = await of(world, "demo"), await of(world, "demo-team")
        told = parse_qs(urlsplit(person.location).query)
        assert (told["connection"], told["further"]) == ([main.uuid], [team.uuid])
        if not elsewhere:
            await person.follow()
            both = "“My Demo Provider Account 1” is connected, and so is “My Demo Team Account 1”."
            assert both in person.page.text


async def test_the_api_tells_front_ends(tmp_path: Path, sqlite_url: str) -> None:
    """`include=definition` names what comes together, where it does."""
    async with teams(tmp_path, sqlite_url) as world:
        answer = await world.client.get("/api/v1/oauth/providers", params={"include": "definition"})
        together = {one["name"]: one["definition"]["together"] for one in answer.json()["data"]}
        assert together == {"demo": ["demo-team"], "demo-team": []}
