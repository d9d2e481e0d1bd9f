"""What the API tests put into the product without its pages, and calls that no well-behaved client makes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec

from grantkeeper.app import Application
from grantkeeper.clock import DAY, HOUR, Instant
from grantkeeper.model import ALL_SCOPES, Connection, Evidence, Login, Scope, Status, TokenSet
from grantkeeper.web.edge import Edge
from tests.support.world import CLIENT_ID, World, add_token, http_client

INDEX = "/api/v1/oauth/connections"
TOKENS = "/api/v1/personal-access-tokens"
UNKNOWN_UUID = "00000000-0000-4000-8000-000000000000"


async def add_connection(
    world: World,
    label: str = "My account",
    *,
    provider: str = "demo",
    login: Login | None = None,
    created_at: Instant | None = None,
    connection_uuid: str | None = None,
    access_token_expires_at: Instant | None = None,
    refresh_token_expires_at: Instant | None = None,
) -> Connection:
    """A connection straight into the store, with tokens that no provider knows; it expires in four hours."""
    now = world.clock.now() if created_at is None else created_at
    tokens = TokenSet(
        access_token="access-" + uuid.uuid4().hex,
        token_type="Bearer",
        refresh_token="refresh-" + uuid.uuid4().hex,
        issued_at=now,
        access_token_expires_at=access_token_expires_at or now + 4 * HOUR,
        refresh_token_expires_at=refresh_token_expires_at or now + 365 * DAY,
    )
    account = (login or world.login).account.uuid
    connection = Connection(
        uuid=connection_uuid or str(uuid.uuid4()),
        account_uuid=account,
        provider=provider,
        client_id=CLIENT_ID,
        label=label,
        status=Status.ACTIVE,
        created_at=now,
        updated_at=now,
        scopes=("profile",),
        generation=1,
        token_type=tokens.token_type,
        refreshable=True,
        access_token_expires_at=tokens.access_token_expires_at,
        refresh_token_expires_at=tokens.refresh_token_expires_at,
    )
    evidence = Evidence(at=now, account_uuid=account, actor="test", action="connect")
    await world.services.store.add(connection, tokens, evidence)
    return connection


def client_of(world: World, token: str | None, **headers: str) -> httpx2.AsyncClient:
    """A client with another token, or none, whose answers are held to the description as the world's are."""
    client = http_client(world.application, token)
    client.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    client.event_hooks = world.client.event_hooks
    return client


async def client_with(world: World, *scopes: Scope, login: Login | None = None) -> httpx2.AsyncClient:
    """A client whose token has these scopes only."""
    return client_of(world, await add_token(world.services, login or world.login, scopes))


async def other_client(world: World, email: str = "eve@example.com") -> tuple[Login, httpx2.AsyncClient]:
    """Somebody in another account, with every scope."""
    login = await world.new_login(email)
    return login, client_of(world, await world.new_token(login, tuple(ALL_SCOPES)))


class RawAnswer(msgspec.Struct, frozen=True):
    """What went over the wire, before any client has made something of it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        return next((value.decode() for key, value in self.headers if key == name), None)


async def raw_call(
    application: Application | Edge,
    path: str,
    *,
    method: str = "GET",
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: Sequence[dict[str, Any]] = ({"type": "http.request", "body": b""},),
) -> RawAnswer:
    """A request as a server would pass it on, with whatever bytes a client may have sent."""
    messages = iter(body)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": list(headers),
    }
    await application(scope, receive, send)
    start, content = sent
    return RawAnswer(start["status"], start["headers"], content["body"])


def bearer(token: str) -> tuple[bytes, bytes]:
    """The header that carries an API token."""
    return b"authorization", f"Bearer {token}".encode()
