"""Every way in which a provider may be odd: the whole flow works where its definition says so, and breaks where not."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote_plus

import httpx2
import pytest

from grantkeeper import logs
from grantkeeper.errors import AuthorizationFailed, InvalidValue, NotFound
from tests.engine.quirk_answers import DEFAULTS, IDENTITY, LATER_ANSWERS, REFRESH, TOKEN_ANSWERS
from tests.engine.quirk_requests import AUTHORIZATION, CONNECTION_VALUES, REVOCATION, TOKEN_REQUESTS
from tests.engine.quirky import Case, Flow, merged, odd_world
from tests.engine.scenes import token_set
from tests.support.world import BROWSER, CLIENT_SECRET

CASES = {
    **AUTHORIZATION,
    **TOKEN_REQUESTS,
    **TOKEN_ANSWERS,
    **REFRESH,
    **LATER_ANSWERS,
    **IDENTITY,
    **REVOCATION,
    **CONNECTION_VALUES,
}
BROKEN = (AssertionError, ValueError, AuthorizationFailed, InvalidValue, NotFound)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_whole_flow(tmp_path: Path, sqlite_url: str, case: Case) -> None:
    """From the first click to disconnecting, at a provider that behaves so and a definition that says it."""
    async with odd_world(tmp_path, sqlite_url, case) as world:
        await Flow(world, case).run()


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.breaks], ids=[name for name, case in CASES.items() if case.breaks]
)
async def test_without_the_key(tmp_path: Path, sqlite_url: str, case: Case) -> None:
    """The same provider, and a definition that does not say it: the flow breaks, and just there."""
    async with odd_world(tmp_path, sqlite_url, case, told=False) as world:
        flow = Flow(world, case)
        with pytest.raises(BROKEN):
            await flow.run()
        assert flow.step == case.breaks


EVERYTHING = Case(
    definition={
        "authorization": {
            "rename": {"client_id": "client_key"},
            "pkce": "none",
            "parameters": {"access_type": "offline"},
        },
        "scopes": {"separator": ","},
        "token": {
            "encoding": "json",
            "client_authentication": "client_secret_post",
            "rename": {"client_id": "client_key"},
            "response": {
                "access_token": "data.access_token",
                "refresh_token": "@header.x-refresh-token",
                "expires_in": "data.ends",
                "expires": "at_iso",
                "error": "errcode",
                "ok": "ok",
                "keep": {"instance_url": "instance_url"},
            },
        },
        "refresh": {"errors": {"40030": "grant"}, "send_scope": True},
        "identity": {"url": "{instance_url}/userinfo", "method": "POST", "body": '{"me": true}'},
        "revocation": {"style": "bearer", "url": "{instance_url}/revoke"},
    },
    quirks={
        "authorization_names": {"client_id": "client_key"},
        "pkce": "refused",
        "offline_parameters": {"access_type": "offline"},
        "scope_separator": ",",
        "answer_scope_separator": ",",
        "token_encoding": "json",
        "token_names": {"client_id": "client_key"},
        "paths": {
            "access_token": "data.access_token",
            "refresh_token": "@header.x-refresh-token",
            "expires_in": "data.ends",
            "error": "errcode",
        },
        "expiry": "at_iso",
        "errors_with_200": True,
        "error_codes": {"invalid_grant": 40030},
        "ok_path": "ok",
        "refresh_scope": "required",
        "instance": "na1",
        "identity_body": '{"me": true}',
        "revocation": "bearer",
    },
    breaks=None,
)


async def test_everything_at_once(tmp_path: Path, database_url: str) -> None:
    """Quirks go together, on either engine."""
    async with odd_world(tmp_path, database_url, EVERYTHING) as world:
        await Flow(world, EVERYTHING).run()


@pytest.mark.parametrize("told", [True, False], ids=["told", "not-told"])
async def test_a_flag_that_says_no(tmp_path: Path, sqlite_url: str, told: bool) -> None:
    """`refresh.response.ok`: an answer with HTTP 200 and something like a token in it is an error all the same."""
    flag = Case(definition={"refresh": {"response": {"ok": "ok"} if told else DEFAULTS}}, breaks=None)
    async with odd_world(tmp_path, sqlite_url, flag) as world:
        connection = await Flow(world, flag).connect()
        world.clock.advance(3600)
        world.provider.answer_with(b'{"ok": false, "access_token": "the-old-one", "expires_in": 3600}')
        answer = await world.read_token(connection)
        assert answer.status_code == (503 if told else 200)
        world.clock.advance(3600)
        assert (await world.read_token(connection)).status_code == 200


async def test_a_signed_response_brings_its_values_signed(tmp_path: Path, sqlite_url: str) -> None:
    """What stands beside a signed response may be anybody's (JARM §2.4): only what is signed is kept."""
    signed = Case(
        definition={
            "authorization": {"issuer": "{base_url}", "signed_response": True},
            "signatures": {"jwks_url": "{base_url}/jwks", "algorithms": ["ES256"]},
            "callback": {"company": {"pattern": "[0-9]+"}},
        },
        quirks={"callback": {"company": "12345"}},
        features={"jarm": True},
        breaks=None,
    )
    async with odd_world(tmp_path, sqlite_url, signed) as world:
        flow = Flow(world, signed)
        callback = world.provider.approve(await flow.begin())
        query = [*httpx2.URL(callback).params.multi_items(), ("company", "666")]
        completed = await world.services.authorizations.complete("demo", query, BROWSER, "test")
        assert (await token_set(world, completed.connection)).parameters == {"company": "12345"}


async def test_secrets_in_urls_are_in_no_log(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the provider wants secrets in URLs, nothing that is written about requests shows any, at debug either."""
    written: list[str] = []
    monkeypatch.setattr(logs._Sink, "level", logs.DEBUG)
    monkeypatch.setattr(logs._Sink, "write", written.append)
    parts = [TOKEN_REQUESTS["token.method"], IDENTITY["identity.token"], REFRESH["refresh.parameters"]]
    definition = merged(
        *(case.definition for case in parts), {"token": {"client_authentication": "client_secret_post"}}
    )
    talkative = Case(
        definition=definition,
        quirks={name: value for case in parts for name, value in case.quirks.items()},
        breaks=None,
    )
    async with odd_world(tmp_path, sqlite_url, talkative) as world:
        flow = Flow(world, talkative)
        connection = await flow.connect()
        secrets = [CLIENT_SECRET, quote_plus(CLIENT_SECRET)]
        for _ in range(3):
            tokens = await token_set(world, connection)
            secrets += [tokens.access_token, tokens.refresh_token or ""]
            world.provider.fail_next(1, status=503)
            world.clock.advance(3600)
            answers = [await world.read_token(connection)]
            world.clock.advance(3600)
            answers.append(await world.read_token(connection))
            assert [answer.status_code for answer in answers] == [503, 200]
        stored = await world.stored(connection)
    log = "".join(written)
    assert log.count('"event":"provider.request"') > 6
    assert "/token" in log
    assert not any(secret in text for secret in secrets for text in (log, repr(stored), repr(world.provider.seen)))
