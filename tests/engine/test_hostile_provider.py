"""A token endpoint on its worst day: outcomes are clear, nothing is lost, and no connection is condemned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest

from grantkeeper.clock import HOUR, SECOND
from grantkeeper.model import MustAct, Status
from grantkeeper.testing import hostile
from grantkeeper.testing.hostile import Answer
from tests.engine.scenes import Rough, complete, connections_of, fails, rough_world, token_set, tokens

MALFORMED: dict[str, Answer] = {
    "html": hostile.html(),
    "html-404": hostile.html(status=404),
    "empty": hostile.empty(),
    "empty-400": hostile.empty(status=400),
    "array": hostile.json_body([{"access_token": "x"}]),
    "null": hostile.json_body(None),
    "nested": hostile.response(b"[" * 50_000, headers={"content-type": "application/json"}),
    "10-mb": hostile.big(),
    "endless": hostile.endless_chunks(),
    "no-token": hostile.json_body({"token_type": "Bearer"}),
    "error-200": hostile.json_body({"error": "weird", "error_description": "no"}),
    "error-html": hostile.json_body({"error": "<script>alert(1)</script>"}, status=400),
    "token-with-space": tokens(2, access_token="a b"),
    "token-with-newline": tokens(2, access_token="a\r\nX-Evil: 1"),
    "token-a-number": tokens(2, access_token=7),
    "many-fields": hostile.response(b"a=1&" * 200, headers={"content-type": "application/x-www-form-urlencoded"}),
    "redirect": hostile.response(b"", status=302, headers={"location": "http://127.0.0.1:9/"}),
    "nan": hostile.response(b'{"access_token": "x", "expires_in": NaN}'),
}
UNAVAILABLE: dict[str, Answer] = {
    "429": hostile.html(status=429),
    "429-garbage": hostile.json_body({}, status=429, headers={"retry-after": "²"}),
    "503": hostile.html(status=503),
    "500-grant": hostile.json_body({"error": "invalid_grant"}, status=500),
    "reset": hostile.reset(),
    "hang-up": hostile.hang_up(),
    "cut": hostile.cut(),
    "never": hostile.never(),
    "drip": hostile.drip(),
    "transient": hostile.json_body({"error": "temporarily_unavailable"}, status=400),
}
WORST = MALFORMED | UNAVAILABLE


@pytest.fixture
async def rough(tmp_path: Path) -> AsyncIterator[Rough]:
    """The provider `rough`; a second of silence counts as no answer."""
    async with rough_world(tmp_path) as rough:
        yield rough


async def test_a_bad_answer_to_a_refresh_costs_nothing(rough: Rough, subtests: pytest.Subtests) -> None:
    """A valid token is served on, an expired one is a 503, and once the provider is well again all goes on."""
    for name, answer in WORST.items():
        with subtests.test(name):
            await survives(rough, answer)


async def survives(rough: Rough, answer: Answer) -> None:
    """One connection, whose provider falls ill and gets well."""
    world, connection = rough.world, await rough.connect()
    rough.script(answer)

    world.clock.advance(70)
    still_valid = await world.read_token(connection)
    assert (still_valid.status_code, still_valid.json()["access_token"]) == (200, "access-1")
    stored = await world.stored(connection)
    assert (stored.status, stored.must_act, stored.failures) == (Status.FAILING, MustAct.NOBODY, 1)
    assert (await token_set(world, connection)).refresh_token == "refresh-1"

    world.clock.advance(31)
    expired = await world.read_token(connection)
    assert expired.status_code == 503
    assert 1 <= int(expired.headers["retry-after"]) <= 60
    assert "access-1" not in expired.text
    assert (await world.stored(connection)).status is Status.FAILING

    rough.script(tokens(2))
    world.clock.advance(3600)
    mended = await world.read_token(connection)
    assert (mended.status_code, mended.json()["access_token"]) == (200, "access-2")
    assert (await world.stored(connection)).status is Status.ACTIVE


@pytest.mark.parametrize(
    ("answers", "reason"),
    [(MALFORMED, "malformed_answer"), (UNAVAILABLE, "provider_down")],
    ids=["malformed", "down"],
)
async def test_a_bad_answer_to_a_code_has_a_page_of_its_own(
    rough: Rough, subtests: pytest.Subtests, answers: dict[str, Answer], reason: str
) -> None:
    """Nothing is connected, the code is not sent twice, the person is told what to do, and the way back works."""
    for number, (name, answer) in enumerate(answers.items(), start=1):
        with subtests.test(name):
            rough.script(answer)
            failure = await fails(rough.world, await rough.approve(), provider="rough")
            # A code that the provider gives, known or not, is what the operator wants to read.
            told = {"error-200": "weird", "redirect": "redirect"}.get(name, reason)
            assert (failure.reason, failure.status) == (told, 502)
            assert failure.retry_url == "/oauth/rough/authorize"
            assert "<" not in failure.message
            assert await connections_of(rough.world) == []
            assert rough.requests == number
    rough.script(tokens())
    assert (await complete(rough.world, await rough.approve(), provider="rough")).created


async def test_a_client_that_is_refused_while_connecting_is_the_operators_business(rough: Rough) -> None:
    """The page says whom to tell."""
    rough.script(hostile.json_body({"error": "invalid_client"}, status=401))
    failure = await fails(rough.world, await rough.approve(), provider="rough")

    assert (failure.reason, failure.status) == ("client_rejected", 502)
    assert "invalid_client" in failure.message


async def test_a_bad_answer_to_a_reauthorization_leaves_what_works(rough: Rough, subtests: pytest.Subtests) -> None:
    """The connection stays active with the tokens it had."""
    connection = await rough.connect()
    for name, answer in WORST.items():
        with subtests.test(name):
            rough.script(answer)
            failure = await fails(rough.world, await rough.approve(connection), provider="rough")
            assert failure.retry_url == f"/oauth/rough/authorize/{connection.uuid}"
            assert await rough.world.stored(connection) == connection
            assert (await token_set(rough.world, connection)).access_token == "access-1"


@pytest.mark.parametrize(
    ("lifetimes", "seconds"),
    [
        (("100", 100.9), 100),
        ((10**12, 1e300), 10 * 365 * 86_400),
        ((-1, 0, "-3600"), 60),
        ((True, None, "soon", []), None),
    ],
    ids=["plain", "endless", "over", "none"],
)
async def test_an_odd_lifetime_makes_a_usable_connection(
    rough: Rough, lifetimes: tuple[object, ...], seconds: int | None
) -> None:
    """Its times can be shown, and its token read."""
    for lifetime in lifetimes:
        connection = await rough.connect(tokens(expires_in=lifetime))
        shown = (await connections_of(rough.world))[-1]
        assert shown["uuid"] == connection.uuid
        assert (shown["access_token_expires_at"] is None) == (seconds is None)
        if seconds is not None:
            assert connection.access_token_expires_at == rough.world.clock.now() + seconds * SECOND
        assert (await rough.world.read_token(connection)).json()["access_token"] == "access-1"
        rough.world.clock.advance(1)


async def test_no_token_type_means_bearer(rough: Rough) -> None:
    """RFC 6749 requires it, and some leave it out all the same."""
    connection = await rough.connect(tokens(token_type=None))

    assert (await rough.world.read_token(connection)).json()["token_type"] == "Bearer"


async def test_what_a_database_cannot_hold_is_not_stored(tmp_path: Path, postgres_url: str) -> None:
    """PostgreSQL takes no NUL in a text: a scope that holds one must not cost the grant."""
    async with rough_world(tmp_path, postgres_url) as rough:
        connection = await rough.connect(tokens(scope="read bad\x00scope"))

        assert connection.scopes == ("read",)
        assert (await rough.world.read_token(connection)).status_code == 200


@pytest.mark.parametrize("how", ["seconds", "date"])
async def test_retry_after_is_honoured(rough: Rough, how: str) -> None:
    """Nobody asks before its time, however many readers come, and somebody asks after it."""
    world, connection = rough.world, await rough.connect()
    world.clock.advance(95)
    date = formatdate(world.clock.now() // SECOND + 120, usegmt=True)
    value = "120" if how == "seconds" else date
    rough.script(hostile.json_body({}, status=429, headers={"retry-after": value}), tokens(2))

    for _ in range(5):
        assert (await world.read_token(connection)).json()["access_token"] == "access-1"
    world.clock.advance(100)
    answers = [await world.read_token(connection) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {503}
    assert {int(answer.headers["retry-after"]) for answer in answers} <= {19, 20}
    assert rough.requests == 2

    world.clock.advance(21)
    assert (await world.read_token(connection)).json()["access_token"] == "access-2"
    assert rough.requests == 3


async def test_a_retry_after_of_weeks_is_not_waited_for(rough: Rough) -> None:
    """At most an hour is honoured, so that a mistyped header does not end a connection."""
    world, connection = rough.world, await rough.connect()
    rough.script(hostile.json_body({}, status=503, headers={"retry-after": "9999999"}))
    world.clock.advance(70)
    await world.read_token(connection)

    stored = await world.stored(connection)
    assert stored.next_refresh_at is not None
    assert stored.next_refresh_at - world.clock.now() <= HOUR


@pytest.mark.parametrize("kind", ["html", "503"])
async def test_a_failing_provider_is_asked_ever_more_rarely(rough: Rough, kind: str) -> None:
    """An hour of readers every ten seconds costs a few dozen requests, not 360."""
    world, connection = rough.world, await rough.connect()
    rough.script(WORST[kind])

    for _ in range(360):
        world.clock.advance(10)
        await world.read_token(connection)

    assert 10 <= rough.requests <= 60
    assert (await world.stored(connection)).status is Status.FAILING
