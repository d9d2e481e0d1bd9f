"""Providers that say whose grant it is in an ID token: believed when it is for us, and else nothing is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from grantkeeper.clock import SECOND
from grantkeeper.model import Connection
from tests.engine.scenes import Rough, begin, complete, connections_of, fails, rough_world, token_set, tokens
from tests.oauth.clients import jwt
from tests.support.world import CLIENT_ID

IDENTITY = '[identity]\nsource = "id_token"\nlabel = "email"'


@pytest.fixture
async def rough(tmp_path: Path) -> AsyncIterator[Rough]:
    """The provider `rough`, which is asked for `openid`."""
    async with rough_world(tmp_path, token=IDENTITY, scopes='["openid"]') as rough:
        yield rough


async def returning(rough: Rough, connection: Connection | None = None, **changes: Any) -> str:
    """A callback, and an ID token for this very attempt, or one that was changed."""
    url = await begin(rough.world, "rough", connection=connection)
    claims = {
        "aud": CLIENT_ID,
        "exp": rough.world.clock.now() // SECOND + 60,
        "iat": rough.world.clock.now() // SECOND,
        "nonce": httpx2.URL(url).params["nonce"],
        "sub": "ada",
        "email": "ada@example.com",
    }
    rough.script(tokens(2, id_token=jwt(claims | changes)))
    return rough.callback(url)


async def test_an_id_token_names_the_person(rough: Rough) -> None:
    """Its subject is compared later, its label is shown."""
    connection = (await complete(rough.world, await returning(rough), provider="rough")).connection

    assert (connection.subject, connection.identity) == ("ada", "ada@example.com")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"nonce": "another"}, "id_token_nonce"), ({"aud": "another"}, "id_token_aud"), ({"exp": 1}, "id_token_exp")],
    ids=["nonce", "audience", "expiry"],
)
async def test_an_id_token_for_another_attempt_connects_nothing(
    rough: Rough, changes: dict[str, Any], reason: str
) -> None:
    """A code that was slipped in brings another nonce: neither a new connection nor an old one gets its tokens."""
    first = (await complete(rough.world, await returning(rough), provider="rough")).connection
    before = await token_set(rough.world, first)
    for connection in (None, first):
        failure = await fails(rough.world, await returning(rough, connection, **changes), provider="rough")
        assert failure.reason == reason

    assert await rough.world.stored(first) == first
    assert await token_set(rough.world, first) == before
    assert len(await connections_of(rough.world)) == 1


@pytest.mark.parametrize("id_token", [None, 7])
async def test_without_an_id_token_the_identity_is_unknown(rough: Rough, id_token: object) -> None:
    """The connection is made all the same."""
    callback = await returning(rough)
    rough.script(tokens(1, id_token=id_token))
    connection = (await complete(rough.world, callback, provider="rough")).connection

    assert (connection.subject, connection.identity) == (None, None)
