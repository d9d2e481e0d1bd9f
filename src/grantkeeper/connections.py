"""What callers do with connections: list, get, label, token, disconnect. Every verb asks the gate first."""

from __future__ import annotations

import asyncio
import posixpath
import re
import uuid as uuids
from urllib.parse import unquote, urlsplit

from grantkeeper import logs
from grantkeeper.access import Caller
from grantkeeper.clients import Clients
from grantkeeper.clock import Clock
from grantkeeper.errors import GrantkeeperError, InvalidValue, NotFound, ProviderError, Unavailable
from grantkeeper.model import Connection, Evidence, Scope, Summary, TokenSet, clean_label
from grantkeeper.oauth import dpop
from grantkeeper.refresh import Refresher
from grantkeeper.revoke import Revoker
from grantkeeper.storage.connections import ConnectionStore, Page

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

REVOCATION_PATIENCE = 5.0
"""Seconds a disconnect waits for the provider to confirm; the worker goes on trying after that."""


class Connections:
    """The connections of one caller's account; another account's do not exist for it."""

    def __init__(
        self, store: ConnectionStore, clients: Clients, refresher: Refresher, revoker: Revoker, clock: Clock
    ) -> None:
        self._store = store
        self._clients = clients
        self._refresher = refresher
        self._revoker = revoker
        self._clock = clock

    async def list_page(self, caller: Caller, page: Page) -> list[Connection]:
        """The connections that the page selects. Opens nothing sealed."""
        caller.require(Scope.CONNECTIONS_READ)
        return await self._store.list_page(caller.account_uuid, page)

    async def list_summaries(self, caller: Caller, page: Page) -> list[Summary]:
        """The same rows with only what every list shows."""
        caller.require(Scope.CONNECTIONS_READ)
        return await self._store.list_summaries(caller.account_uuid, page)

    async def get(self, caller: Caller, uuid: str) -> Connection:
        """One connection, or NotFound."""
        caller.require(Scope.CONNECTIONS_READ)
        connection = await self._store.get(caller.account_uuid, _canonical(uuid))
        if connection is None:
            raise _unknown()
        return connection

    async def set_label(self, caller: Caller, uuid: str, label: object, request_id: str) -> Connection:
        """Rename a connection; InvalidValue says what a label may be."""
        caller.require(Scope.CONNECTIONS_WRITE)
        before = await self._store.get(caller.account_uuid, _canonical(uuid))
        if before is None:
            raise _unknown()
        text = clean_label(label)
        if text == before.label:
            return before
        evidence = self._evidence(caller, "label", before.uuid, request_id, {"from": before.label, "to": text})
        after = await self._store.set_label(caller.account_uuid, before.uuid, text, self._clock.now(), evidence)
        if after is None:
            raise _unknown()
        return after

    async def unchanged(self, caller: Caller, uuid: str) -> Connection:
        """The answer to an update that changes nothing, for those who might have changed something."""
        caller.require(Scope.CONNECTIONS_WRITE)
        connection = await self._store.get(caller.account_uuid, _canonical(uuid))
        if connection is None:
            raise _unknown()
        return connection

    async def token(self, caller: Caller, uuid: str, min_ttl: int) -> tuple[Connection, TokenSet]:
        """A usable access token, good for `min_ttl` more seconds where the provider can do that."""
        caller.require(Scope.TOKENS_READ)
        return await self._refresher.fresh(caller.account_uuid, _canonical(uuid), min_ttl)

    async def token_instead_of(self, caller: Caller, uuid: str, refused: bytes) -> tuple[Connection, TokenSet]:
        """A usable access token in place of one that an API refused, given by that token's SHA-256."""
        caller.require(Scope.TOKENS_READ)
        return await self._refresher.instead_of(caller.account_uuid, _canonical(uuid), refused)

    async def proof(
        self,
        caller: Caller,
        uuid: str,
        method: str,
        url: str,
        nonce: str | None = None,
        access_token_hash: str | None = None,
    ) -> str:
        """A DPoP proof for one request with the connection's access token (RFC 9449 §7.1); the key stays here.

        `access_token_hash`: of the token that goes with it (`ath`), where it may not be the stored one any more.
        InvalidValue where the tokens are bound to no key, or the request is one that only we may make.
        """
        caller.require(Scope.TOKENS_READ)
        uuid = _canonical(uuid)
        held = await self._store.get_with_tokens(caller.account_uuid, uuid)
        if held is None:
            raise _unknown()
        tokens = await self._store.open_tokens(held.connection, held.sealed_tokens)
        if tokens.dpop_key is None:
            raise InvalidValue({"uuid": ["This connection's tokens are bound to no key: they need no proof."]})
        self._refuse_ours(held.connection, tokens, url)
        return dpop.proof(
            tokens.dpop_key,
            method,
            url,
            self._clock.now(),
            nonce=nonce,
            access_token_hash=access_token_hash or dpop.token_hash(tokens.access_token),
        )

    def _refuse_ours(self, connection: Connection, tokens: TokenSet, url: str) -> None:
        """No proof for the endpoints where tokens are made and ended: with one a stolen token could be renewed."""
        try:
            client = self._clients.of(connection).filled(tokens.parameters)
        except ProviderError as error:
            raise Unavailable(f"No proof can be made: {error.message}", 60) from None
        ours = (
            client.token_url,
            client.refresh.url,
            client.first_exchange.url if client.first_exchange is not None else None,
            client.pushed_url,
            client.device_url,
            client.revocation_url,
        )
        if _place(url) in {_place(endpoint) for endpoint in ours if endpoint}:
            raise InvalidValue({"url": ["That is where tokens are made or ended: such a request is ours to make."]})

    async def disconnect(self, caller: Caller, uuid: str, request_id: str) -> None:
        """Remove a connection at once and have its grant revoked at the provider."""
        caller.require(Scope.CONNECTIONS_WRITE)
        uuid = _canonical(uuid)
        evidence = self._evidence(caller, "disconnect", uuid, request_id, {})
        revocation_uuid = str(uuids.uuid4())
        if not await self._store.delete(caller.account_uuid, uuid, revocation_uuid, self._clock.now(), evidence):
            raise _unknown()
        try:
            await asyncio.wait_for(self._revoker.work(), REVOCATION_PATIENCE)
        except (TimeoutError, GrantkeeperError) as error:
            logs.event("revocation.left_to_worker", connection=uuid, reason=type(error).__name__)

    def _evidence(self, caller: Caller, action: str, uuid: str, request_id: str, detail: dict[str, str]) -> Evidence:
        return Evidence(
            at=self._clock.now(),
            account_uuid=caller.account_uuid,
            actor=caller.actor,
            action=action,
            connection_uuid=uuid,
            request_id=request_id,
            detail=detail,
        )


def _place(url: str) -> tuple[str, str]:
    """Host and path of a URL, equal for all spellings that some server might take for the same; InvalidValue.

    Whoever compares a proof's URL with its own may decode it first, and need not know by which scheme and port it was
    reached.
    """
    parts = urlsplit(dpop.target(url))
    path = parts.path
    while (plain := unquote(path)) != path:
        path = plain
    # What follows a semicolon is a parameter to some servers, what follows a question mark a query.
    path = re.sub(r"[?#].*", "", path.replace("\\", "/"), flags=re.DOTALL)
    segments = (segment.partition(";")[0] for segment in path.split("/"))
    return (parts.hostname or "").rstrip("."), posixpath.normpath("/" + "/".join(segments).lstrip("/")).casefold()


def _canonical(uuid: str) -> str:
    """The UUID in lower case; one that is malformed is as unknown as any other."""
    if not _UUID.fullmatch(uuid):
        raise _unknown()
    return uuid.lower()


def _unknown() -> NotFound:
    return NotFound("There is no such connection.")
