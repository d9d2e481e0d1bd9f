"""What callers do with connections: list, get, label, token, disconnect. Every verb asks the gate first."""

from __future__ import annotations

import asyncio
import re
import uuid as uuids

from grantkeeper import logs
from grantkeeper.access import Caller
from grantkeeper.clock import Clock
from grantkeeper.errors import GrantkeeperError, NotFound
from grantkeeper.model import Connection, Evidence, Scope, Summary, TokenSet, clean_label
from grantkeeper.refresh import Refresher
from grantkeeper.revoke import Revoker
from grantkeeper.storage.connections import ConnectionStore, Page

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

REVOCATION_PATIENCE = 5.0
"""Seconds a disconnect waits for the provider to confirm; the worker goes on trying after that."""


class Connections:
    """The connections of one caller's account; another account's do not exist for it."""

    def __init__(self, store: ConnectionStore, refresher: Refresher, revoker: Revoker, clock: Clock) -> None:
        self._store = store
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


def _canonical(uuid: str) -> str:
    """The UUID in lower case; one that is malformed is as unknown as any other."""
    if not _UUID.fullmatch(uuid):
        raise _unknown()
    return uuid.lower()


def _unknown() -> NotFound:
    return NotFound("There is no such connection.")
