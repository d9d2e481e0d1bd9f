"""Definitions that are edited while the product runs: taken into use, or refused, without a restart."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from grantkeeper import logs
from grantkeeper.catalogue import load_catalogue
from tests.discovery.servers import Server
from tests.support.acme import ACME, own_folder
from tests.support.world import World, open_world

CREDENTIALS = {"client_id": "id-1", "client_secret": "hush-hush"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The operator's directory, with one definition in it."""
    return own_folder(tmp_path)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged."""
    stream = io.StringIO()
    logs.configure("info", stream)
    yield stream
    logs.configure("warning")


@pytest.fixture
async def world(tmp_path: Path, own: Path, log: io.StringIO) -> AsyncIterator[World]:
    """A running product whose loops wait for a clock that stands: the tests look themselves."""
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, providers_dir=own) as world:
        yield world


def events(log: io.StringIO, *names: str) -> list[dict[str, Any]]:
    """Those of the log with these names."""
    return [event for line in log.getvalue().splitlines() if (event := json.loads(line))["event"] in names]


async def look(world: World, own: Path, times: int = 3) -> None:
    """As many looks as it takes to see an edit, and that it has come to rest."""
    for _ in range(times):
        await world.services.definitions.look(own)


async def test_edit_is_taken_into_use(world: World, own: Path, log: io.StringIO) -> None:
    """The definition is the edited one, for whoever asks next; once, and told once."""
    assert world.services.clients.label("acme") == "Acme"
    await look(world, own)
    (own / "acme.toml").write_text(ACME.replace('"Acme"', '"Acme Corporation"'))
    await look(world, own)
    assert world.services.clients.label("acme") == "Acme Corporation"
    banner = await world.client.get("/imgs/acme.svg")
    assert "Acme Corporation" in banner.text
    await look(world, own)
    assert [event["changed"] for event in events(log, "definitions.read")] == [["acme"]]


async def test_half_written_file_is_not_read(world: World, own: Path, log: io.StringIO) -> None:
    """An edit is read when two looks in a row have shown the same, so that an editor may take its time."""
    await look(world, own)
    (own / "acme.toml").write_text(ACME[:60])
    await look(world, own, times=1)
    (own / "acme.toml").write_text(ACME.replace('"Acme"', '"Acme Corporation"'))
    await look(world, own, times=1)
    assert world.services.clients.label("acme") == "Acme"
    await look(world, own, times=1)
    assert world.services.clients.label("acme") == "Acme Corporation"
    assert events(log, "definitions.refused") == []


async def test_file_with_problems_is_refused(world: World, own: Path, log: io.StringIO) -> None:
    """The old one stays in use, the problems are logged, and what else was edited is taken into use."""
    await look(world, own)
    (own / "acme.toml").write_text(ACME.replace('"Acme"', '"Acme Corporation"').replace("#0f766e", "teal"))
    (own / "other.toml").write_text(ACME.replace('"acme"', '"other"').replace('"Acme"', '"Other"'))
    await look(world, own)
    assert world.services.clients.label("acme") == "Acme"
    assert world.services.clients.label("other") == "Other"
    (refused,) = events(log, "definitions.refused")
    assert refused["provider"] == "acme"
    assert refused["problems"] == [f"{own}/acme.toml: colour: must be a colour like #1a73e8"]
    (own / "acme.toml").write_text(ACME.replace('"Acme"', '"Acme Corporation"'))
    await look(world, own)
    assert world.services.clients.label("acme") == "Acme Corporation"


async def test_directory_that_goes_away_and_comes_back(world: World, own: Path, log: io.StringIO) -> None:
    """Nothing is given up for a directory that cannot be read, and asking for it says why."""
    await look(world, own)
    own.rename(own.with_name("away"))
    await look(world, own)
    assert world.services.clients.label("acme") == "Acme"
    world.services.definitions.wake()
    await look(world, own)
    (told,) = events(log, "definitions.not_read")
    assert "cannot be read" in told["problems"][0]
    own.with_name("away").rename(own)
    world.services.definitions.wake()
    await look(world, own)
    assert events(log, "definitions.read")[-1]["changed"] == []


async def test_connections_keep_working(tmp_path: Path, own: Path, log: io.StringIO) -> None:
    """They are refreshed as the edited definition says, and as before where an edit is refused."""
    shipped = resources.files("grantkeeper.catalogue").joinpath("providers", "demo.toml").read_text("utf-8")
    (own / "demo.toml").write_text(shipped)
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, providers_dir=own) as world:
        await look(world, own)
        connection = await world.connect()
        for edited in (shipped.replace('label = "Demo Provider"', 'label = "Our Demo"'), "schema = ["):
            (own / "demo.toml").write_text(edited)
            await look(world, own)
            assert world.services.clients.offers() == [("demo", "Our Demo")]
            asked = world.provider.counts["token"]
            world.clock.advance(2 * 3600)
            assert (await world.read_token(connection)).status_code == 200
            assert world.provider.counts["token"] == asked + 1


async def test_what_an_edit_leaves_open_is_found_out(
    tmp_path: Path, own: Path, server: Server, log: io.StringIO
) -> None:
    """A definition that comes to rely on discovery is complete before anybody asks for it, and stays so."""
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, providers_dir=own, clients={"acme": CREDENTIALS}) as world:
        await look(world, own)
        assert world.services.clients.offered("acme").token_url == "https://acme.example/token"
        discovering = ACME.replace('colour = "#0f766e"', 'colour = "#0f766e"\ndiscovery = true')
        discovering = discovering.replace('url = "https://acme.example/authorize"', f'issuer = "{server.url}"')
        (own / "acme.toml").write_text(discovering.replace('[token]\nurl = "https://acme.example/token"', ""))
        await look(world, own)
        assert world.services.clients.problems("acme") == []
        assert world.services.clients.offered("acme").token_url == f"{server.url}/token"
        (own / "acme.toml").write_text((own / "acme.toml").read_text().replace('"Acme"', '"Acme Corporation"'))
        asked = server.counts.total()
        await look(world, own)
        assert world.services.clients.offers() == [("acme", "Acme Corporation")]
        assert server.counts.total() == asked, "what was found stays known where it is looked for at the same place"


async def test_registration_that_comes_too_late(tmp_path: Path, own: Path, server: Server, log: io.StringIO) -> None:
    """A secret that one issuer gave is never used with the one that an edit has put in its place."""
    discovering = ACME.replace('colour = "#0f766e"', 'colour = "#0f766e"\ndiscovery = true')
    discovering = discovering.replace('[token]\nurl = "https://acme.example/token"', "")
    (own / "acme.toml").write_text(
        discovering.replace('url = "https://acme.example/authorize"', f'issuer = "{server.url}"')
    )
    server.hold = True
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, providers_dir=own, clients={"acme": {}}) as world:
        registering = asyncio.create_task(world.services.discovery.ensure("acme"))
        await server.arrived.wait()
        (own / "acme.toml").write_text(
            discovering.replace('url = "https://acme.example/authorize"', 'issuer = "http://127.0.0.1:9"')
        )
        world.services.clients.use(load_catalogue(own))
        server.released.set()
        await registering
        assert world.services.clients.found("acme").registration is None
        assert world.services.clients.current("acme") is None


async def test_nothing_to_watch(tmp_path: Path, log: io.StringIO) -> None:
    """Without providers_dir there is nothing to do; who asks for it is told."""
    async with open_world(tmp_path, f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}") as world:
        await world.services.definitions.run()
        world.application.reread()
    (told,) = events(log, "definitions.not_read")
    assert told["reason"] == "providers_dir is not set"
