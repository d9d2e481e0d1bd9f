"""Proofs for connections whose tokens are bound to a key (DPoP, RFC 9449): the key never leaves this service."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
from joserfc import jws
from joserfc.jwk import ECKey, JWKRegistry

from grantkeeper.access import browser_caller
from grantkeeper.app import Application
from grantkeeper.model import Connection, Scope
from grantkeeper.oauth import dpop
from grantkeeper.testing.wording import s256
from tests.api.builders import INDEX, UNKNOWN_UUID, client_of, client_with, other_client
from tests.api.description import ApiDescription
from tests.api.journal import Journal
from tests.support.grants import open_grants
from tests.support.person import somebody
from tests.support.world import BROWSER, World, http_client

API = "https://api.example.com/accounts"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A provider that binds tokens to keys; every answer is compared with the API description."""
    async with open_grants(tmp_path, "vault", "robot") as world:
        document = await world.client.get("/api/v1/openapi.json")
        world.client.event_hooks = {"response": [ApiDescription(document.json()).check]}
        yield world


async def connect(world: World) -> Connection:
    """A connection whose tokens are bound to a key of its own."""
    authorizations = world.services.authorizations
    url = await authorizations.start(browser_caller(world.login), "vault", BROWSER, None, None)
    query = list(httpx2.URL(world.provider.approve(url)).params.multi_items())
    return (await authorizations.complete("vault", query, BROWSER, "test")).connection


async def ask(world: World, connection: Connection, **body: Any) -> httpx2.Response:
    """`POST …/proof` for a GET of an API, but for the changes; a field that is None is left out."""
    asked = {name: value for name, value in ({"method": "GET", "url": API} | body).items() if value is not None}
    return await world.client.post(f"{INDEX}/{connection.uuid}/proof", json=asked)


async def proof(world: World, connection: Connection, **body: Any) -> str:
    """The proof in the answer."""
    answer = await ask(world, connection, **body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["proof"])


async def read(world: World, connection: Connection) -> dict[str, Any]:
    """The token in its answer."""
    answer = await world.read_token(connection)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def opened(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a proof, its signature checked with the key in its header."""
    header = jws.extract_compact(text.encode()).headers()
    key = JWKRegistry.import_key(header["jwk"])
    checked = jws.deserialize_compact(text, key, algorithms=["ES256"])
    return header, msgspec.json.decode(checked.payload)


async def use(world: World, token: str, proof: str) -> httpx2.Response:
    """`GET /userinfo` at the provider with a token and a proof, as a program would."""
    headers = {"authorization": f"DPoP {token}", "dpop": proof}
    async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as client:
        return await client.get(f"{world.provider.issuer}/userinfo", headers=headers)


async def private_key(world: World, connection: Connection) -> str:
    """The key as it is sealed in the database."""
    held = await world.services.store.get_with_tokens(connection.account_uuid, connection.uuid)
    assert held is not None
    tokens = await world.services.store.open_tokens(held.connection, held.sealed_tokens)
    assert tokens.dpop_key is not None
    return tokens.dpop_key


class TestProofs:
    """What they say, and what they open."""

    async def test_it_is_for_this_request(self, world: World) -> None:
        """Signed by a public key in it, it names method, URL without query, time and the access token's hash."""
        connection = await connect(world)
        token = await read(world, connection)
        assert token["token_type"] == "DPoP"
        answer = await ask(world, connection, method="post", url=f"{API}?page=2#top")
        assert answer.headers["cache-control"] == "no-store"
        header, claims = opened(answer.json()["proof"])
        assert (header["typ"], header["alg"], "d" in header["jwk"]) == ("dpop+jwt", "ES256", False)
        assert (claims["htm"], claims["htu"]) == ("POST", API)
        assert claims["iat"] == world.clock.now() // 1_000_000
        assert claims["ath"] == s256(token["access_token"])
        assert "nonce" not in claims
        assert claims["jti"] != opened(await proof(world, connection))[1]["jti"]

    async def test_it_opens_the_api_together_with_the_token(self, world: World) -> None:
        """The provider takes both; the token alone, a proof for elsewhere or used twice it does not take."""
        connection = await connect(world)
        token, url = (await read(world, connection))["access_token"], f"{world.provider.issuer}/userinfo"
        good = await proof(world, connection, url=url)
        assert (await use(world, token, good)).json()["sub"] == "ada-lovelace"
        for wrong in (good, await proof(world, connection), await proof(world, connection, url=url, method="POST"), ""):
            assert (await use(world, token, wrong)).status_code == 401

    async def test_a_nonce(self, world: World) -> None:
        """A server that wants its own nonce in the proof gets it."""
        world.provider.features.dpop_nonces = True
        connection = await connect(world)
        token, url = (await read(world, connection))["access_token"], f"{world.provider.issuer}/userinfo"
        refused = await use(world, token, await proof(world, connection, url=url))
        assert refused.status_code == 401
        nonce = refused.headers["dpop-nonce"]
        wanted = await proof(world, connection, url=url, nonce=nonce)
        assert opened(wanted)[1]["nonce"] == nonce
        assert (await use(world, token, wanted)).status_code == 200

    async def test_a_token_that_was_read_before_a_refresh(self, world: World) -> None:
        """Its hash is given, and the proof is for it, in capitals or not; else it is for the stored one."""
        connection = await connect(world)
        token = (await read(world, connection))["access_token"]
        world.clock.advance(3590)
        newer = (await read(world, connection))["access_token"]
        assert newer != token
        digest = hashlib.sha256(token.encode()).hexdigest()
        url = f"{world.provider.issuer}/userinfo"
        for given in (digest, digest.upper()):
            older = await proof(world, connection, url=url, access_token_sha256=given)
            assert opened(older)[1]["ath"] == s256(token)
            assert (await use(world, token, older)).status_code == 200
        assert opened(await proof(world, connection))[1]["ath"] == s256(newer)

    async def test_a_refresh_keeps_the_key(self, world: World) -> None:
        """The next token is bound to the same key, and is still called DPoP."""
        connection = await connect(world)
        first, before = await read(world, connection), opened(await proof(world, connection))[0]["jwk"]
        world.clock.advance(3590)
        second = await read(world, connection)
        assert (second["token_type"], second["access_token"] != first["access_token"]) == ("DPoP", True)
        url = f"{world.provider.issuer}/userinfo"
        after = await proof(world, connection, url=url)
        assert opened(after)[0]["jwk"] == before
        assert (await use(world, second["access_token"], after)).status_code == 200

    async def test_each_connection_has_its_own_key(self, world: World) -> None:
        """One connection's proof is worth nothing with another one's token."""
        one, other = await connect(world), await connect(world)
        url = f"{world.provider.issuer}/userinfo"
        theirs = await proof(world, other, url=url)
        assert opened(theirs)[0]["jwk"] != opened(await proof(world, one))[0]["jwk"]
        assert (await use(world, (await read(world, one))["access_token"], theirs)).status_code == 401


class TestRefusals:
    """What no proof is made for, and for whom."""

    async def test_bearer_tokens(self, world: World) -> None:
        """A token that is bound to nothing needs no proof: 422 says so."""
        for connection in (await world.connect(), await _robot(world)):
            answer = await ask(world, connection)
            assert (answer.status_code, list(answer.json()["errors"])) == (422, ["uuid"])
            assert "bound to no key" in answer.json()["message"]

    async def test_where_tokens_are_made_and_ended(self, world: World) -> None:
        """With such a proof, and a stolen refresh token, whoever calls the API could make tokens."""
        connection = await connect(world)
        issuer = world.provider.issuer
        for url in (f"{issuer}/token", f"{issuer}/revoke"):
            for method in ("POST", "GET"):
                answer = await ask(world, connection, method=method, url=url)
                assert (answer.status_code, list(answer.json()["errors"])) == (422, ["url"]), url

    @pytest.mark.parametrize(
        "spelled",
        [
            "HTTP://{host}/token",
            "http://{host}/token?x=1",
            "http://{host}/token#x",
            "http://{host}/TOKEN",
            "http://{host}/token/",
            "http://{host}//token",
            "http://{host}/./token",
            "http://{host}/a/../token",
            "http://{host}/a/%2e%2E/token",
            "http://{host}/a%2F..%2ftoken",
            "http://{host}/%74oken",
            "http://{host}/%2574oken",
            "http://{host}/tok%65n%3fx=1",
            "http://{host}/token%23x",
            "http://{host}/token;x=1",
            "http://{host}/a;b/../token",
            "http://{host}/%5ctoken",
            "http://someone:secret@{host}/token",
            "https://{host}/token",
            "http://{name}./token",
            "http://{name}:80/token",
            "https://{name}:443/token",
        ],
    )
    async def test_in_any_spelling(self, world: World, spelled: str) -> None:
        """Whatever some server might take for its own endpoint is refused like the endpoint itself."""
        parts = urlsplit(world.provider.issuer)
        url = spelled.format(host=parts.netloc, name=parts.hostname)
        answer = await ask(world, await connect(world), url=url)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["url"])
        assert "ours to make" in answer.json()["message"]

    @pytest.mark.parametrize("path", ["/tokens", "/token/1", "/v1/token", "/a%20b", "/%E2%82%AC", "/", "", "/x;token"])
    async def test_other_urls_of_the_same_host(self, world: World, path: str) -> None:
        """An API beside the token endpoint is an API."""
        await proof(world, await connect(world), url=world.provider.issuer + path)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("method", value) for value in (None, "", 7, ["GET"], "GET POST", "GET\r\nX: y", "G" * 33, "ÄÖ")),
            *(
                ("url", value)
                for value in (
                    None,
                    "",
                    7,
                    "/accounts",
                    "api.example.com",
                    "ftp://api.example.com",
                    "https://",
                    "https://a b/",
                    "https://api.example.com:99999/",
                    "https://api.example.com\\@evil.example/",
                    "https://api.example.com/\r\n",
                    "https://[::1/",
                )
            ),
            *(("nonce", value) for value in ("", 7, 'a"b', "a b", "a\\b", "ä", "x" * 1025, "a\n")),
            *(("access_token_sha256", value) for value in ("", 7, "0" * 63, "0" * 65, "g" * 64, "\uff10" * 64)),
        ],
    )
    async def test_bad_fields(self, world: World, field: str, value: Any) -> None:
        """422 names the field."""
        answer = await ask(world, await connect(world), **{field: value})
        assert (answer.status_code, list(answer.json()["errors"])) == (422, [field])

    async def test_everything_wrong_at_once(self, world: World) -> None:
        """All fields are named together; without a body, those that are required."""
        connection = await connect(world)
        answer = await ask(world, connection, method=7, url=7, nonce=7, access_token_sha256=7)
        assert list(answer.json()["errors"]) == ["method", "url", "nonce", "access_token_sha256"]
        path = f"{INDEX}/{connection.uuid}/proof"
        assert list((await world.client.post(path)).json()["errors"]) == ["method", "url"]
        assert (await world.client.post(path, content=b"[", headers=_JSON)).status_code == 400
        assert (await world.client.post(path, content=b"method=GET", headers=_FORM)).status_code == 415

    async def test_who_may_ask(self, world: World) -> None:
        """Whoever may read the token, and nobody else; another account's connection is as unknown as any."""
        connection = await connect(world)
        path, body = f"{INDEX}/{connection.uuid}/proof", {"method": "GET", "url": API}
        others = await client_with(world, *(scope for scope in Scope if scope is not Scope.TOKENS_READ))
        assert (await others.post(path, json=body)).status_code == 403
        reader = await client_with(world, Scope.TOKENS_READ)
        assert (await reader.post(path, json=body)).status_code == 200
        assert (await reader.post(f"{INDEX}/{connection.uuid.upper()}/proof", json=body)).status_code == 200
        _, stranger = await other_client(world)
        for client, uuid in ((stranger, connection.uuid), (reader, UNKNOWN_UUID), (reader, "nonsense")):
            answer = await client.post(f"{INDEX}/{uuid}/proof", json=body)
            assert (answer.status_code, answer.json()) == (404, {"message": "There is no such connection."})
        assert (await client_of(world, None).post(path, json=body)).status_code == 401
        assert (await reader.get(path)).status_code == 405

    async def test_a_provider_that_is_no_longer_set_up(self, world: World) -> None:
        """What its endpoints are is not known, so nothing is signed: 503, and the operator is told why."""
        connection = await connect(world)
        statement = "UPDATE connections SET client_id = :other WHERE uuid = :uuid"
        sealed_for = connection.client_id
        await world.services.database.execute(statement, uuid=connection.uuid, other=f"{sealed_for}-before")
        answer = await ask(world, connection)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert "restore the client" in answer.json()["message"]


async def test_the_key_stays_here(world: World, journal: Journal) -> None:
    """Neither the key nor any part of it is in an answer, a page, an export of ours, or the log."""
    connection = await connect(world)
    key = await private_key(world, connection)
    secret = msgspec.json.decode(key)["d"]
    shown = [(await ask(world, connection)).text, (await world.read_token(connection)).text]
    shown.append((await world.client.get(f"{INDEX}?include=status,identity")).text)
    shown.append((await ask(world, connection, url="nonsense")).text)
    world.clock.advance(3590)
    shown.append((await world.read_token(connection)).text)
    async with somebody(world) as person:
        await person.sign_in()
        for path in ("/connections", f"/connections/{connection.uuid}/disconnect"):
            await person.open(path)
            shown.append(person.response.text)
    world.provider.fail_next(status=500)
    world.clock.advance(3590)
    shown.append((await world.read_token(connection)).text)
    assert len(journal.events("request")) >= 6
    for text in (*shown, journal.text, repr(await world.stored(connection))):
        assert secret not in text
        assert '"d"' not in text
    opened_proof = opened(await proof(world, connection))[0]["jwk"]
    assert opened_proof.keys() == {"kty", "crv", "x", "y"}
    assert ECKey.import_key(opened_proof).thumbprint() == dpop.thumbprint(key)


async def test_two_processes_sign_alike(world: World) -> None:
    """Any replica signs with the connection's key."""
    connection = await connect(world)
    other = Application(world.services.settings, world.clock)
    async with other.running(), http_client(other, world.token) as theirs:
        answer = await theirs.post(f"{INDEX}/{connection.uuid}/proof", json={"method": "GET", "url": API})
    assert opened(answer.json()["proof"])[0]["jwk"] == opened(await proof(world, connection))[0]["jwk"]


async def _robot(world: World) -> Connection:
    """A connection without a person, whose tokens are bound to nothing."""
    caller = browser_caller(world.login)
    return (await world.services.authorizations.connect_directly(caller, "robot", "test")).connection


_JSON = {"content-type": "application/json"}
_FORM = {"content-type": "application/x-www-form-urlencoded"}
