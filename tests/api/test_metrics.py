"""`/metrics`: who may scrape it, and what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from grantkeeper.app import Application
from grantkeeper.errors import StorageUnavailable
from grantkeeper.model import MustAct, Refresh
from grantkeeper.storage.refreshes import ProviderState
from tests.api.builders import client_of
from tests.api.journal import Journal
from tests.support.world import CLIENT_ID, CLIENT_SECRET, World, http_client, open_world

TOKEN = "scrape-0123456789abcdef"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
async def scraped(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The product on either engine, with a token for its metrics."""
    async with open_world(tmp_path, database_url, metrics_token=TOKEN) as world:
        yield world


async def scrape(world: World, **headers: str) -> httpx2.Response:
    """An answer to whoever has the token."""
    async with http_client(world.application, TOKEN) as client:
        return await client.get("/metrics", headers={name.replace("_", "-"): value for name, value in headers.items()})


async def samples(world: World) -> Samples:
    """Every sample by name and labels, read as Prometheus reads it."""
    answer = await scrape(world)
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def refreshes(outcome: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The counter of the demo provider's refreshes that ended so."""
    return "grantkeeper_refreshes_total", (("outcome", outcome), ("provider", "demo"))


def blocked(must_act: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Whether the demo provider is blocked, and that one must act."""
    return "grantkeeper_provider_blocked", (("must_act", must_act), ("provider", "demo"))


DEMO = (("provider", "demo"),)


async def test_not_there_without_a_token(world: World) -> None:
    """Unless the operator sets a token, nobody finds anything: 404, with whatever is sent."""
    assert world.services.settings.metrics_token.get_secret_value() == ""
    for token in (None, "", world.token, TOKEN):
        assert (await client_of(world, token).get("/metrics")).status_code == 404
    assert "/metrics" not in {route.path for route in world.application.routes}


async def test_who_may_scrape(scraped: World) -> None:
    """Exactly the token, as Bearer: everything else is 401, says how, and tells nothing."""
    assert (await scrape(scraped)).status_code == 200
    assert (await scrape(scraped, authorization=f"bearer {TOKEN}")).status_code == 200
    for authorization in (
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer  {TOKEN}",
        f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        f"Bearer {scraped.token}",
        f"Bearer {TOKEN[:-1]}\u00e9",
    ):
        value = authorization.encode("latin-1") if authorization is not None else None
        headers = [(b"authorization", value)] if value is not None else []
        async with http_client(scraped.application) as client:
            answer = await client.get("/metrics", headers=headers)
        assert answer.status_code == 401, authorization
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "grantkeeper_" not in answer.text
    async with http_client(scraped.application, TOKEN) as client:
        assert (await client.get("/api/v1/logins")).status_code == 401, "it opens nothing else"
        assert (await client.post("/metrics")).status_code == 405


async def test_the_token_is_in_no_log(scraped: World, journal: Journal) -> None:
    """A scrape has its line, without what was sent."""
    await scrape(scraped)
    await scrape(scraped, authorization=f"Bearer wrong-{TOKEN}")
    assert [(line["route"], line["status"]) for line in journal.events("request")] == [
        ("/metrics", 200),
        ("/metrics", 401),
    ]
    assert TOKEN not in journal.text


async def test_refreshes_are_counted(scraped: World) -> None:
    """By provider and outcome, with the time that they took."""
    world = scraped
    begun = await samples(world)
    assert [begun[refreshes(outcome)] for outcome in ("refreshed", "rejected", "lost")] == [0, 0, 0]
    connection, over = await world.connect(), await world.connect(subject="grace-hopper")
    for _ in range(2):
        world.clock.advance(3600)
        await world.read_token(connection)
    world.provider.fail_next(1, status=400, error="invalid_grant")
    await world.read_token(over)
    told = await samples(world)
    assert (told[refreshes("refreshed")], told[refreshes("rejected")]) == (2, 1)
    assert told["grantkeeper_refresh_seconds_count", DEMO] == 3


async def test_how_long_it_took(scraped: World) -> None:
    """Only what asked a provider, and was timed, counts as time."""
    for outcome, duration in (("refreshed", 300_000), ("recovered", 0), ("retired", 9), ("handed_over", 9)):
        line = Refresh(
            at=0,
            connection_uuid="c",
            account_uuid="a",
            provider="demo",
            outcome=outcome,
            generation=1,
            owner="o",
            duration=duration,
        )
        scraped.services.refresher.history.note(line)
    told = await samples(scraped)
    assert [told[refreshes(outcome)] for outcome in ("refreshed", "recovered", "retired", "handed_over")] == [1] * 4
    assert told["grantkeeper_refresh_seconds_sum", DEMO] == pytest.approx(0.3)
    assert told["grantkeeper_refresh_seconds_bucket", (("le", "0.25"), *DEMO)] == 0
    assert told["grantkeeper_refresh_seconds_bucket", (("le", "0.5"), *DEMO)] == 1


async def test_a_paused_provider(scraped: World) -> None:
    """1 while it is left alone, by who must act; 0 again once it works."""
    world = scraped
    connection = await world.connect()
    world.provider.rotate_client_secret(CLIENT_ID, "another")
    world.clock.advance(3600)
    await world.read_token(connection)
    told = await samples(world)
    assert (told[blocked("operator")], told[blocked("nobody")]) == (1, 0)
    world.provider.rotate_client_secret(CLIENT_ID, CLIENT_SECRET)
    world.clock.advance(3600)
    assert (await world.read_token(connection)).status_code == 200
    told = await samples(world)
    assert (told[blocked("operator")], told[blocked("nobody")]) == (0, 0)


async def test_how_late_refreshes_are(scraped: World) -> None:
    """The age of what has been due longest; 0 where nothing is."""
    connection = await scraped.connect()
    assert (await samples(scraped))["grantkeeper_refresh_lag_seconds", DEMO] == 0
    due = connection.next_refresh_at
    assert due is not None
    scraped.clock.advance((due - scraped.clock.now()) / 1_000_000 + 90)
    assert (await samples(scraped))["grantkeeper_refresh_lag_seconds", DEMO] == pytest.approx(90)


async def test_an_answer_that_waits_for_the_database(scraped: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gauge is the journal's own number."""
    assert (await samples(scraped))["grantkeeper_journal_unsettled", ()] == 0
    monkeypatch.setattr(type(scraped.services.refresher), "unsettled", 3)
    assert (await samples(scraped))["grantkeeper_journal_unsettled", ()] == 3


async def test_while_the_database_is_away(scraped: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process knows is told, what the database knows is left out, and that it is away is a sample."""
    connection = await scraped.connect()
    scraped.clock.advance(3600)
    await scraped.read_token(connection)
    assert (await samples(scraped))["grantkeeper_database_up", ()] == 1

    async def away() -> list[ProviderState]:
        raise StorageUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(scraped.services.refreshes, "provider_states", away)
        told = await samples(scraped)
    assert told["grantkeeper_database_up", ()] == 0
    assert told[refreshes("refreshed")] == 1
    assert not {name for name, _ in told} & {"grantkeeper_provider_blocked", "grantkeeper_refresh_lag_seconds"}
    assert blocked("nobody") in await samples(scraped)


async def test_formats(scraped: World) -> None:
    """Prometheus' text format for everybody, OpenMetrics for who asks for it; nothing but our own series."""
    answer = await scrape(scraped)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    openmetrics = await scrape(scraped, accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    scraped.services.refresher.history.note(
        Refresh(
            at=0,
            connection_uuid="c",
            account_uuid="a",
            provider="demo",
            outcome="failing",
            generation=1,
            owner="o",
            must_act=MustAct.NOBODY,
        )
    )
    assert {name for name, _ in await samples(scraped)} == {
        "grantkeeper_refreshes_total",
        "grantkeeper_refresh_seconds_bucket",
        "grantkeeper_refresh_seconds_count",
        "grantkeeper_refresh_seconds_sum",
        "grantkeeper_journal_unsettled",
        "grantkeeper_database_up",
    }


async def test_each_process_counts_its_own(tmp_path: Path, postgres_url: str) -> None:
    """Counters are of the process that is asked, and of no other one, even in the same interpreter."""
    async with open_world(tmp_path, postgres_url, metrics_token=TOKEN) as world:
        other = Application(world.services.settings, world.clock)
        async with other.running(), http_client(other, TOKEN) as theirs:
            connection = await world.connect()
            world.clock.advance(3600)
            await world.read_token(connection)
            assert (await samples(world))[refreshes("refreshed")] == 1
            assert 'outcome="refreshed",provider="demo"} 0.0' in (await theirs.get("/metrics")).text
