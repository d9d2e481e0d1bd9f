"""Every profile against the real oidc-provider, which insists on it: the definition alone says which is spoken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from grantkeeper.errors import AuthorizationFailed
from grantkeeper.model import MustAct
from grantkeeper.testing.server import ProviderServer
from tests.interop.bank import (
    DPOP,
    FAPI,
    LIFETIME,
    PUSHED,
    SECRET,
    Profile,
    client_id_in,
    definition,
    lines,
    open_bank,
    reopened,
)
from tests.support.certificates import self_signed
from tests.support.oidc_provider import OidcProvider, RequestCounts, callback_parameters
from tests.support.world import BROWSER

pytestmark = pytest.mark.interop

BOUND: dict[str, Any] = {"tls_client_certificate_bound_access_tokens": True}
SIGNED: dict[str, Any] = {"require_signed_request_object": True, "authorization_signed_response_alg": "ES256"}


def by(method: str, **registered: str) -> Profile:
    """A plain client that proves itself by its secret in that way."""
    known = {"token_endpoint_auth_method": method, **registered}
    return Profile(definition(token=lines(client_authentication=method)), known, SECRET)


def fapi(registered: Mapping[str, Any], token: str = "", profile: str = "fapi2") -> Profile:
    """A FAPI 2.0 client, with what differs."""
    return Profile(definition(lines(profile=profile), PUSHED, token), {**FAPI, **registered})


def certified(method: str) -> Profile:
    """A FAPI 2.0 client that proves itself, and its tokens, by a certificate."""
    token = lines(client_authentication=method, sender_constrained="certificate")
    return fapi({"token_endpoint_auth_method": method, **BOUND}, token)


PLAIN = by("client_secret_basic")
PROFILES = {
    "plain": PLAIN,
    "post": by("client_secret_post"),
    "secret-jwt": by("client_secret_jwt", token_endpoint_auth_signing_alg="HS256"),
    "public-dpop": Profile(
        definition(token=lines(client_authentication="none", sender_constrained="dpop")),
        {"token_endpoint_auth_method": "none", **DPOP},
    ),
    "fapi-dpop": fapi(DPOP),
    "fapi-dpop-other-algorithms": fapi(
        {"token_endpoint_auth_signing_alg": "PS256", **DPOP}, lines(signing_algorithm="PS256", dpop_algorithm="EdDSA")
    ),
    "fapi-certificate": certified("tls_client_auth"),
    "fapi-self-signed": certified("self_signed_tls_client_auth"),
    "fapi-assertion-certificate": fapi(BOUND, lines(sender_constrained="certificate")),
    "fapi-message-signing": fapi({**DPOP, **SIGNED}, profile="fapi2_message_signing"),
}


def check_seen(profile: Profile, before: RequestCounts, after: RequestCounts) -> None:
    """Two authorizations, one refresh and one disconnect were made as that profile wants them, and in no other way."""
    known = profile.registered or {}
    pushed = 2 if "fapi_profile" in known else 0
    signed = 2 if "require_signed_request_object" in known else 0
    assert grown(before.authentication, after.authentication) == {profile.authentication: 3}
    assert grown(before.token_types, after.token_types) == {profile.token_type: 3}
    assert after.pushed - before.pushed == pushed
    assert after.request_objects - before.request_objects == signed
    assert after.signed_responses - before.signed_responses == signed
    assert after.revocation > before.revocation


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """By how much, where at all."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}


@pytest.mark.parametrize("name", PROFILES)
async def test_connect_read_refresh_reauthorize_disconnect(
    tmp_path: Path, database_url: str, bank_server: OidcProvider, name: str
) -> None:
    """Each token works for whoever may have it, each refresh rotates, and after the disconnect nothing works."""
    async with open_bank(tmp_path, database_url, bank_server, PROFILES[name]) as run:
        before = bank_server.counts()
        connection = await run.connect()
        assert (connection.subject, connection.identity, connection.refreshable) == ("ada", "Person ada", True)
        first, refresh_token = await run.read(connection), (await run.tokens(connection)).refresh_token
        assert await run.whose(connection, first) == "ada"

        run.advance(LIFETIME)
        assert await run.whose(connection, await run.read(connection)) == "ada"
        assert await run.whose(connection, first) is None
        assert (await run.tokens(connection)).refresh_token != refresh_token

        again = await run.connect(connection)
        assert (again.uuid, again.generation) == (connection.uuid, 3)
        last = await run.read(connection)
        assert await run.whose(connection, last) == "ada"

        proof = await run.proof(connection)
        await run.disconnect(connection)
        assert (await run.ask(last, proof)).status_code == 401
        check_seen(PROFILES[name], before, bank_server.counts())


ASSERTS = lines(client_authentication="private_key_jwt")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (definition(token=ASSERTS), FAPI),
        (definition(authorization=f"pushed = true\n{PUSHED}", token=ASSERTS), {**FAPI, **DPOP}),
        (definition(authorization=f"pushed = true\n{PUSHED}", token=ASSERTS), {**FAPI, **SIGNED}),
    ],
    ids=["not-pushed", "not-bound", "not-signed"],
)
async def test_the_server_insists(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider, text: str, known: dict[str, Any]
) -> None:
    """A definition that falls short of what the server wants of the client connects nothing."""
    async with open_bank(tmp_path, sqlite_url, bank_server, Profile(text, known)) as run:
        with pytest.raises(AuthorizationFailed):
            await run.connect()
        listed = await run.world.client.get("/api/v1/oauth/connections")
    assert listed.json()["data"] == []


async def test_a_proof_is_for_one_request_with_one_token(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider
) -> None:
    """The server refuses our proofs for another method, URL or connection, a second use, and none at all."""
    async with open_bank(tmp_path, sqlite_url, bank_server, PROFILES["fapi-dpop"]) as run:
        connection, other = await run.connect(), await run.connect(login="grace")
        token = await run.read(connection)
        assert await run.whose(connection, token) == "ada"
        good = await run.proof(connection)
        assert (await run.ask(token, good)).status_code == 200
        for wrong in (
            good,
            None,
            await run.proof(connection, "POST"),
            await run.proof(connection, url=bank_server.api),
            await run.proof(other),
        ):
            assert (await run.ask(token, wrong)).status_code in (400, 401)


async def test_a_bound_token_is_worth_nothing_to_others(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider
) -> None:
    """Whoever shows another certificate is refused, one with the same name included."""
    async with open_bank(tmp_path, sqlite_url, bank_server, PROFILES["fapi-certificate"]) as run:
        connection = await run.connect()
        token = await run.read(connection)
        assert (await run.ask(token, None)).status_code == 200
        assert (await run.ask(token, None, certificate=self_signed("grantkeeper"))).status_code == 401


async def test_nonces_end(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """Long after the last request the server wants another nonce: asked once more, refreshed once."""
    async with open_bank(tmp_path, sqlite_url, bank_server, PROFILES["fapi-dpop"]) as run:
        connection = await run.connect()
        before = bank_server.counts()
        run.advance(3600)
        assert await run.whose(connection, await run.read(connection)) == "ada"
        after = bank_server.counts()
    assert after.token_errors["use_dpop_nonce"] == before.token_errors["use_dpop_nonce"] + 1
    assert after.token["refresh_token"] == before.token.get("refresh_token", 0) + 2


async def test_keys_roll_over(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """The provider reads our JWKS: a new key is published before it signs, and it signs from then on."""
    async with (
        open_bank(tmp_path, sqlite_url, bank_server, PROFILES["fapi-dpop"]) as run,
        ProviderServer(run.world.application) as ours,
    ):
        keys = run.world.services.keys
        bank_server.register(client_id_in(tmp_path), **FAPI, **DPOP, jwks_uri=f"{ours.url}/.well-known/jwks.json")
        connection = await run.connect()
        old = (await keys.signer("ES256")).kid
        await keys.create("ES256")
        assert (await keys.signer("ES256")).kid == old
        run.advance(25 * 3600)
        assert (await keys.signer("ES256")).kid != old
        assert await run.whose(connection, await run.read(connection)) == "ada"


async def test_a_definition_alone_moves_a_provider_to_fapi(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider
) -> None:
    """Settings and database stay as they are. The server wants proofs at once, so that each connection's user is
    asked once more; whoever authorizes again has bound tokens under the same UUID.
    """
    fapi_now = PROFILES["fapi-dpop"]
    client = {
        "client_id": client_id_in(tmp_path),
        "client_secret": SECRET,
        "parameters": {"issuer": bank_server.issuer},
    }
    async with open_bank(tmp_path, sqlite_url, bank_server, PLAIN, client) as run:
        connection, waiting = await run.connect(), await run.connect(login="grace")
        jwks = dict(await run.world.services.keys.published())

    bank_server.register(client_id_in(tmp_path), **FAPI, **DPOP, jwks=jwks)
    async with reopened(tmp_path, sqlite_url, run, fapi_now, client) as run:
        again = await run.connect(connection)
        assert (again.uuid, again.generation) == (connection.uuid, 2)
        assert await run.whose(again, await run.read(again)) == "ada"
        run.advance(LIFETIME)
        assert await run.whose(again, await run.read(again)) == "ada"
        refused = await run.world.read_token(waiting)
        assert refused.status_code == 409
        assert (await run.world.stored(waiting)).must_act is MustAct.USER


async def test_a_plain_answer_where_a_signed_one_is_due(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider
) -> None:
    """JARM cannot be stripped: the parameters in the clear are refused, and the attempt connects nothing."""
    async with open_bank(tmp_path, sqlite_url, bank_server, PROFILES["fapi-message-signing"]) as run:
        assert list(callback_parameters(await run.callback())) == ["response"]
        state = bank_server.last_request()["state"]
        plain = [("code", "x"), ("state", state), ("iss", bank_server.issuer)]
        with pytest.raises(AuthorizationFailed) as failure:
            await run.world.services.authorizations.complete("bank", plain, BROWSER, "request-1")
        listed = await run.world.client.get("/api/v1/oauth/connections")
    assert failure.value.reason == "unsigned_response"
    assert listed.json()["data"] == []
