"""The whole flow with every failure, logged at debug: no secret in a log line, an error, a page or the database."""

from __future__ import annotations

import base64
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

import httpx2
import pytest

from grantkeeper import logs
from grantkeeper.app import Application
from grantkeeper.model import ALL_SCOPES
from grantkeeper.testing import FakeClient, FakeClock, FakeProvider
from grantkeeper.testing.server import ProviderServer
from tests.support.person import BROWSER_COOKIE, SESSION, Person, somebody
from tests.support.postgres import PostgresServer
from tests.support.world import (
    CLIENT_ID,
    CLIENT_SECRET,
    EMAIL,
    PASSWORD,
    REDIRECT_URI,
    World,
    add_login,
    add_token,
    settings_for,
)

WRONG_PASSWORD = "wrong horse battery staple"


class Tap:
    """Between the product and the provider: keeps every secret that passes, and tells what it kept of which kind."""

    KINDS = ("access_token", "refresh_token", "code", "code_verifier", "state", "token", "id_token")

    def __init__(self, app: Any) -> None:
        self._app = app
        self.kept: dict[str, set[str]] = defaultdict(set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI, with an ear on both directions."""
        asked, answered = bytearray(), bytearray()

        async def hear() -> Any:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def tell(message: Any) -> None:
            answered.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, hear, tell)
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.kept["authorization"].add(value.decode().partition(" ")[2])
        self.keep(dict(parse_qsl(asked.decode())))
        if answered.startswith(b"{"):
            self.keep(json.loads(answered))

    def keep(self, members: dict[str, Any]) -> None:
        """Secrets among the members of a form, a query or an answer."""
        for name, value in members.items():
            if name in self.KINDS and isinstance(value, str):
                self.kept[name].add(value)

    def keep_url(self, url: str) -> str:
        """The same for an address; answers it."""
        self.keep(dict(httpx2.URL(url).params.multi_items()))
        return url


class Seen:
    """Every answer that the product gave to browsers and API callers, but for what must carry a secret."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.statuses: set[int] = set()

    async def note(self, response: httpx2.Response) -> None:
        """An HTTP client's hook."""
        await response.aread()
        self.statuses.add(response.status_code)
        if response.status_code >= 400 or "text/html" in response.headers.get("content-type", ""):
            shown = {name: value for name, value in response.headers.items() if name not in ("set-cookie", "location")}
            self.texts.append(f"{shown}\n{response.text}")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The log at debug, in a file; afterwards as it was."""
    root = logging.getLogger()
    handlers, level, sink = root.handlers[:], root.level, (logs._Sink.level, logs._Sink.write)
    file = tmp_path / "grantkeeper.log"
    with file.open("w") as stream:
        logs.configure("debug", stream)
        yield file
        logs._Sink.level, logs._Sink.write = sink
        root.handlers[:] = handlers
        root.setLevel(level)


@asynccontextmanager
async def tapped_world(folder: Path, database_url: str) -> AsyncIterator[tuple[World, Tap]]:
    """The product, and a provider whose line is tapped."""
    clock = FakeClock()
    async with ProviderServer() as server:
        client = FakeClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uris=(REDIRECT_URI,))
        provider = FakeProvider(server.url, [client], clock)
        server.app = tap = Tap(provider)
        application = Application(settings_for(folder, database_url, server.url), clock)
        async with application.running() as services:
            login = await add_login(services, EMAIL)
            world = World(application, provider, clock, login, await add_token(services, login, tuple(ALL_SCOPES)))
            async with world.client:
                yield world, tap
        provider.close()


async def authorize(person: Person, tap: Tap, path: str = "/oauth/demo/authorize", **changes: str) -> str:
    """Off to the provider and back with other parameters; the callback's address, which is opened."""
    subject = changes.pop("subject", "ada-lovelace")
    callback = tap.keep_url(person.world.provider.approve(tap.keep_url(await person.leave(path)), subject=subject))
    address = str(httpx2.URL(callback).copy_merge_params(changes))
    await person.open(address)
    return address


async def connect(person: Person, tap: Tap) -> str:
    """A new connection's UUID."""
    await authorize(person, tap)
    return str(httpx2.URL(person.location).params["connection"])


async def browse(world: World, tap: Tap, seen: Seen) -> tuple[str, set[str]]:
    """What a person does, with everything that can go wrong; a connection's UUID, and the browser's secrets."""
    async with somebody(world) as person:
        person.http.event_hooks = {"response": [seen.note]}
        await person.sign_in(password=WRONG_PASSWORD)
        await person.sign_in()
        uuid = await connect(person, tap)
        await person.open("/connections")
        callback = await authorize(person, tap, iss="https://evil.example")
        await person.open(callback)
        await authorize(person, tap, error="<script>alert(1)</script>")
        await person.open(tap.keep_url(world.provider.deny(tap.keep_url(await person.leave()))))
        for body in (b"<html>", json.dumps({"access_token": "an odd token", "refresh_token": "and another"}).encode()):
            world.provider.answer_with(body)
            await authorize(person, tap)
        world.provider.fail_next(1, status=401, error="invalid_client")
        await authorize(person, tap)
        stolen = tap.keep_url(world.provider.approve(tap.keep_url(await person.leave())))
        async with somebody(world) as thief:
            thief.http.event_hooks = {"response": [seen.note]}
            await thief.open(stolen)
        for way in ("keep", "discard"):
            await authorize(person, tap, f"/oauth/demo/authorize/{uuid}", subject="grace-hopper")
            await person.submit(f"/oauth/held/{way}")
        await authorize(person, tap, f"/oauth/demo/authorize/{uuid}")
        return uuid, {person.http.cookies[name] for name in (SESSION, BROWSER_COOKIE)}


async def call(world: World, tap: Tap, seen: Seen, uuid: str) -> set[str]:
    """What an API caller does, with a provider that repeats secrets in its errors; tokens that were minted."""
    client, path = world.client, f"/api/v1/oauth/connections/{uuid}"
    client.event_hooks = {"response": [seen.note]}
    assert (await client.get(path + "/token")).status_code == 200
    world.clock.advance(3600)
    assert (await client.get(path + "/token")).status_code == 200
    known = {name: sorted(values)[-1] for name, values in tap.kept.items()}
    for body, status in (
        ({"error": known["refresh_token"], "error_description": known["access_token"]}, 400),
        ({"error": "invalid_client", "error_description": known["authorization"]}, 401),
        ({"access_token": known["access_token"] + "\n"}, 200),
        ([known["refresh_token"]], 200),
    ):
        world.clock.advance(3600)
        world.provider.answer_with(json.dumps(body).encode(), status=status)
        assert (await client.get(path + "/token")).status_code == 503
        await client.get(path + "?include=health,status")
    password = {"name": "n", "account_uuid": world.account_uuid, "password": WRONG_PASSWORD}
    await client.post("/api/v1/personal-access-tokens", json=password)
    minted = await client.post("/api/v1/personal-access-tokens", json=password | {"password": PASSWORD})
    for odd in (path + "/nothing", f"{path}?include=nonsense", f"{path}/token?min_ttl={world.token}"):
        await client.get(odd)
    await client.put(path, content=world.token, headers={"content-type": "application/json"})
    await client.get(path, headers={"authorization": f"Bearer {world.token}x"})
    world.clock.advance(3600)
    world.provider.revoke_grants()
    assert (await client.get(path + "/token")).status_code == 409
    world.provider.fail_next(1, endpoint="revoke")
    assert (await client.delete(path)).status_code == 204
    for _ in range(3):
        world.clock.advance(700)
        await world.services.worker.run_once()
    return {minted.json()["token"]}


def spellings(secret: str) -> Iterator[bytes]:
    """The ways in which a secret may lie about: as it is, in an address, in a header, in a column's dump."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield quote_plus(secret).encode()
    yield secret.encode().hex().encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")


def database_files(database_url: str, tmp_path: Path, postgres: PostgresServer) -> dict[str, bytes]:
    """Every byte that the database keeps."""
    if database_url.startswith("sqlite"):
        return {file.name: file.read_bytes() for file in tmp_path.glob("*.sqlite3*")}
    postgres.execute("CHECKPOINT")
    folder = Path(postgres.execute("SHOW data_directory")[0][0])
    oid = postgres.execute("SELECT oid FROM pg_database WHERE datname = current_database()", database=database_url)
    files = [*(folder / "base" / str(oid[0][0])).iterdir(), *(folder / "pg_wal").glob("0*")]
    return {file.name: file.read_bytes() for file in files} | {"log": postgres.log.encode()}


async def test_no_secret_lies_about(tmp_path: Path, database_url: str, log: Path, postgres: PostgresServer) -> None:
    """Every token, code, verifier, state, password and cookie that was used is looked for everywhere."""
    seen = Seen()
    async with tapped_world(tmp_path, database_url) as (world, tap):
        uuid, cookies = await browse(world, tap, seen)
        minted = await call(world, tap, seen, uuid)
        others = {CLIENT_SECRET, PASSWORD, WRONG_PASSWORD, world.token, *cookies, *minted}
        files = database_files(database_url, tmp_path, postgres)
        account = world.account_uuid
    files |= {file.name: file.read_bytes() for file in tmp_path.glob("*.sqlite3*")}

    # The flow was what it should be, and the tap heard it.
    assert {200, 303, 400, 401, 404, 409, 422, 502, 503} <= seen.statuses
    heard = {kind: len(values) for kind, values in tap.kept.items()}
    assert all(heard[kind] >= 5 for kind in ("access_token", "refresh_token", "code", "code_verifier", "state")), heard
    logged = log.read_bytes()
    assert logged.count(b"\n") > 50
    # Looking works: what is no secret is found.
    assert uuid.encode() in logged
    assert any(account.encode() in content for content in files.values())

    places = {"log": logged, "answers": "\n".join(seen.texts).encode(), **files}
    for kind, secrets in {**tap.kept, "other": others}.items():
        for secret in secrets:
            for spelling in spellings(secret):
                found = [place for place, content in places.items() if spelling in content]
                assert not found, f"a {kind} lies about in {found}"
