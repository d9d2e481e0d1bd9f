"""A browser attempt: used once, in time, in the browser that began it, and answered by the right server."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from grantkeeper.access import browser_caller
from grantkeeper.app import open_services
from grantkeeper.authorize import Completed
from grantkeeper.errors import AuthorizationFailed, Forbidden, NotFound
from grantkeeper.model import Status
from grantkeeper.testing import FakeClient
from tests.engine.scenes import (
    ADA,
    begin,
    complete,
    connections_of,
    evidence_of,
    fails,
    redirect_uri,
    settings_of,
    token_set,
    write_definition,
)
from tests.support.world import BROWSER, CLIENT_ID, CLIENT_SECRET, World, open_world


def changed(callback_url: str, **parameters: str | None) -> str:
    """The callback with other parameters; None leaves one out."""
    parts = urlsplit(callback_url)
    query: dict[str, str | None] = {name: values[0] for name, values in parse_qs(parts.query).items()}
    kept = {name: value for name, value in (query | parameters).items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


async def test_a_first_connection_is_what_was_consented(either_world: World) -> None:
    """Identity, scopes, label and evidence are stored with the grant."""
    world = either_world
    completed = await complete(world, world.provider.approve(await begin(world)))

    connection = completed.connection
    assert completed.created
    assert (connection.label, connection.status) == ("My Demo Provider Account 1", Status.ACTIVE)
    assert (connection.subject, connection.identity) == (ADA, "Ada Lovelace")
    assert connection.scopes == ("profile", "email", "accounts.read")
    assert await evidence_of(world, connection.uuid) == [
        ("connect", {"scopes": "profile email accounts.read", "subject": ADA})
    ]
    assert [row["uuid"] for row in await connections_of(world)] == [connection.uuid]


async def test_the_same_person_may_connect_twice(world: World) -> None:
    """Many connections to one provider, each with a free label and a grant of its own."""
    first, second = await world.connect(), await world.connect()

    assert (first.label, second.label) == ("My Demo Provider Account 1", "My Demo Provider Account 2")
    assert (await token_set(world, first)).refresh_token != (await token_set(world, second)).refresh_token


async def test_twenty_callbacks_at_once_are_one_connection(either_world: World) -> None:
    """A browser that loads the callback again and again spends the code once."""
    world = either_world
    callback = world.provider.approve(await begin(world))
    outcomes = await asyncio.gather(*(complete(world, callback) for _ in range(20)), return_exceptions=True)

    done = [outcome for outcome in outcomes if isinstance(outcome, Completed)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, AuthorizationFailed)]
    assert (len(done), len(failed)) == (1, 19)
    assert {failure.reason for failure in failed} == {"replayed"}
    assert world.provider.counts["token"] == 1
    assert len(await connections_of(world)) == 1
    assert (await world.read_token(done[0].connection)).status_code == 200


async def test_a_callback_is_good_for_once(world: World) -> None:
    """Back or reload: the page says to look at the connections, and nothing is asked of the provider."""
    callback = world.provider.approve(await begin(world))
    await complete(world, callback)
    failure = await fails(world, callback)

    assert failure.reason == "replayed"
    assert world.provider.counts["token"] == 1


@pytest.mark.parametrize("seconds", [600, 601, 3600])
async def test_an_attempt_lasts_ten_minutes(world: World, seconds: int) -> None:
    """Whoever takes longer starts again; the code is not spent."""
    url = await begin(world)
    world.clock.advance(seconds)
    failure = await fails(world, world.provider.approve(url))

    assert (failure.reason, failure.retry_url) == ("expired", "/oauth/demo/authorize")
    assert world.provider.counts["token"] == 0


async def test_an_attempt_is_good_until_its_last_moment(world: World) -> None:
    """Nine minutes and 59 seconds are in time."""
    url = await begin(world)
    world.clock.advance(599)

    assert (await complete(world, world.provider.approve(url))).created


async def test_an_old_attempt_is_forgotten_a_day_later(world: World) -> None:
    """Its state is unknown then, and its sealed verifier is gone."""
    callback = world.provider.approve(await begin(world))
    world.clock.advance(86_400 + 601)
    await world.services.worker.run_once()

    assert (await fails(world, callback)).reason == "unknown_state"


@pytest.mark.parametrize("browser", [None, "", "c" * 43, BROWSER + "x"], ids=["none", "empty", "other", "longer"])
async def test_another_browser_cannot_finish(world: World, browser: str | None) -> None:
    """A link with somebody else's code connects nothing; the right browser still can."""
    callback = world.provider.approve(await begin(world))
    failure = await fails(world, callback, browser=browser)

    assert (failure.reason, failure.retry_url) == ("other_browser", "/oauth/demo/authorize")
    assert world.provider.counts["token"] == 0
    assert (await complete(world, callback)).created


@pytest.mark.parametrize("state", ["", None, "x", "é", "x" * 5000, "' OR 1=1 --"])
async def test_an_unknown_state_is_refused(world: World, state: str | None) -> None:
    """Whatever stands there, nothing is asked of the provider."""
    callback = world.provider.approve(await begin(world))
    failure = await fails(world, changed(callback, state=state))

    assert failure.reason == ("unknown_state" if state else "malformed_callback")
    assert world.provider.counts["token"] == 0
    assert (await complete(world, callback)).created


@pytest.mark.parametrize("iss", ["https://evil.example", None, "", "HTTP://127.0.0.1"])
async def test_an_answer_of_another_server_is_refused(world: World, iss: str | None) -> None:
    """RFC 9207: the code is not sent anywhere, and the attempt is over."""
    callback = world.provider.approve(await begin(world))
    failure = await fails(world, changed(callback, iss=iss))

    assert (failure.reason, failure.retry_url) == ("wrong_issuer", "/oauth/demo/authorize")
    assert world.provider.counts["token"] == 0
    assert (await fails(world, callback)).reason == "replayed"


async def test_an_error_is_believed_only_from_the_right_server(world: World) -> None:
    """An attacker's `access_denied` does not pass for the provider's."""
    denied = world.provider.deny(await begin(world))

    assert (await fails(world, changed(denied, iss="https://evil.example"))).reason == "wrong_issuer"


async def test_denied_is_denied(world: World) -> None:
    """Nothing is connected or changed, and the person may try again."""
    connection = await world.connect()
    for attempt, retry_url in (
        (await begin(world), "/oauth/demo/authorize"),
        (await begin(world, connection=connection), f"/oauth/demo/authorize/{connection.uuid}"),
        (await begin(world, redirect_to="/connect?a=1"), "/oauth/demo/authorize?redirect_to=%2Fconnect%3Fa%3D1"),
    ):
        failure = await fails(world, world.provider.deny(attempt))
        assert (failure.reason, failure.status, failure.retry_url) == ("denied", 200, retry_url)

    assert await world.stored(connection) == connection
    assert len(await connections_of(world)) == 1


async def test_html_in_an_error_is_not_repeated(world: World) -> None:
    """Neither the page's words nor the log get it."""
    denied = world.provider.deny(await begin(world))
    failure = await fails(world, changed(denied, error="<script>alert(1)</script>"))

    assert failure.reason == "provider_error"
    assert "script" not in failure.message + failure.title


async def test_a_spent_code_is_not_a_connection(world: World) -> None:
    """What the provider calls `invalid_grant` while connecting is a page, and condemns nothing."""
    callback = world.provider.approve(await begin(world))
    world.clock.advance(61)
    failure = await fails(world, callback)

    assert (failure.reason, failure.status) == ("invalid_grant", 502)
    assert await connections_of(world) == []


async def test_a_code_of_another_attempt_is_useless(world: World) -> None:
    """PKCE: a code that was given for another verifier is refused by the provider."""
    mine = world.provider.approve(await begin(world))
    theirs = world.provider.approve(await begin(world))
    code = parse_qs(urlsplit(theirs).query)["code"][0]

    assert (await fails(world, changed(mine, code=code))).reason == "invalid_grant"
    assert await connections_of(world) == []


async def test_one_providers_answer_does_not_pass_at_anothers_callback(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Mix-up: each provider has its own redirect URI, and the code goes to no other token endpoint."""
    folder = tmp_path_factory.mktemp("mix-up")
    write_definition(folder / "providers", "other")
    clients = {"other": settings_of("http://127.0.0.1:9", "http://127.0.0.1:9/token")}
    url = f"sqlite:///{folder / 'db.sqlite3'}"
    async with open_world(folder, url, providers_dir=folder / "providers", clients=clients) as world:
        world.provider.register(
            FakeClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uris=(redirect_uri("other"),))
        )
        callback = world.provider.approve(await begin(world, "other"))
        assert (await fails(world, callback, provider="demo")).reason == "unknown_state"
        assert (await fails(world, callback, provider="nonsense")).reason == "unknown_state"
        # Not used up: it goes on where it belongs, to a token endpoint that is down.
        assert (await fails(world, callback, provider="other")).reason == "provider_down"


async def test_only_who_may_write_can_begin(world: World) -> None:
    """A caller without the scope, an unknown provider, another account's connection: no attempt is made."""
    connection = await world.connect()
    eve = await world.new_login("eve@example.com")
    caller = browser_caller(world.login)
    reader = type(caller)(user_uuid=caller.user_uuid, account=caller.account, scopes=frozenset(), actor="x")

    with pytest.raises(Forbidden):
        await world.services.authorizations.start(reader, "demo", BROWSER, None, None)
    for provider in ("nonsense", "xero", "../demo"):
        with pytest.raises(NotFound):
            await begin(world, provider)
    with pytest.raises(NotFound):
        await begin(world, connection=connection, login=eve)


async def test_the_client_that_began_must_be_the_one_that_finishes(world: World) -> None:
    """The operator changed the client id while somebody was at the provider: a page, and no code is spent."""
    callback = world.provider.approve(await begin(world))
    settings = world.services.settings
    clients = {"demo": settings.clients["demo"].model_copy(update={"client_id": "new-client"})}
    other = settings.model_copy(update={"clients": clients})
    async with open_services(other, world.clock) as services:
        query = list(httpx2.URL(callback).params.multi_items())
        with pytest.raises(AuthorizationFailed) as failure:
            await services.authorizations.complete("demo", query, BROWSER, "request-1")

    assert (failure.value.reason, failure.value.retry_url) == ("client_rejected", "/oauth/demo/authorize")
    assert world.provider.counts["token"] == 0


async def test_an_identity_that_nobody_tells_does_not_cost_the_grant(world: World) -> None:
    """Userinfo is down: the connection is made all the same, its identity unknown."""
    world.provider.fail_next(2, status=503, endpoint="userinfo")
    connection = await world.connect()

    assert (connection.subject, connection.identity) == (None, None)
    assert (await world.read_token(connection)).status_code == 200


async def test_a_hiccup_of_userinfo_is_ridden_out(world: World) -> None:
    """One failure is asked again."""
    world.provider.fail_next(1, status=503, endpoint="userinfo")

    assert (await world.connect()).subject == ADA


async def test_a_grant_without_a_refresh_token_is_shown_as_such(world: World) -> None:
    """It works until its token expires, and then its user is asked, not its operator."""
    world.provider.policy.omit.add("refresh_token")
    connection = await world.connect()

    assert not connection.refreshable
    assert connection.next_refresh_at == connection.access_token_expires_at
    assert (await connections_of(world))[0]["health"]["refreshable"] is False
