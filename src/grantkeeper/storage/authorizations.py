"""Browser attempts in flight, and grants that wait for their user's choice."""

from __future__ import annotations

from grantkeeper import logs
from grantkeeper.clock import Instant
from grantkeeper.errors import SealError
from grantkeeper.model import AttemptSecrets, Authorization, HeldGrant
from grantkeeper.storage.database import Database, Row
from grantkeeper.storage.vault import Vault


class AuthorizationStore:
    """State and handles come as SHA-256 hashes; verifiers, nonces and grants are sealed."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def add(self, authorization: Authorization) -> None:
        """Remember an attempt before its browser leaves for the provider."""
        await self._database.execute(
            "add_authorization",
            state_hash=authorization.state_hash,
            account_uuid=authorization.account_uuid,
            user_uuid=authorization.user_uuid,
            provider=authorization.provider,
            client_id=authorization.client_id,
            redirect_uri=authorization.redirect_uri,
            browser_hash=authorization.browser_hash,
            created_at=authorization.created_at,
            expires_at=authorization.expires_at,
            sealed_secrets=await self._seal(authorization),
            connection_uuid=authorization.connection_uuid,
            redirect_to=authorization.redirect_to,
        )

    async def get(self, state_hash: bytes) -> tuple[Authorization, bool] | None:
        """An attempt without its secrets, and whether it has been taken already."""
        row = await self._database.fetch_one("get_authorization", state_hash=state_hash)
        if row is None:
            return None
        authorization = Authorization(
            state_hash=bytes(row[0]),
            account_uuid=row[1],
            user_uuid=row[2],
            provider=row[3],
            client_id=row[4],
            redirect_uri=row[5],
            browser_hash=bytes(row[6]),
            created_at=row[7],
            expires_at=row[8],
            connection_uuid=row[9],
            redirect_to=row[10],
        )
        return authorization, row[11] is not None

    async def take(self, authorization: Authorization, now: Instant) -> AttemptSecrets | None:
        """What only we know of it, once: None where another request has taken it. It is forgotten here."""
        async with self._database.transaction() as statements:
            row = await statements.fetch_one("take_authorization", state_hash=authorization.state_hash, now=now)
            if row is None:
                return None
            await statements.execute("forget_authorization_secrets", state_hash=authorization.state_hash)
        return await self._secrets(authorization, row[0])

    async def peek(self, authorization: Authorization) -> AttemptSecrets | None:
        """The same without taking it, for a device authorization that is shown and polled; None: it was taken."""
        row = await self._database.fetch_one("peek_authorization", state_hash=authorization.state_hash)
        return await self._secrets(authorization, row[0]) if row is not None else None

    async def claim_poll(self, authorization: Authorization, now: Instant, next_poll_at: Instant) -> bool:
        """Whether this caller may poll now; nobody else may before `next_poll_at`."""
        row = await self._database.fetch_one(
            "claim_poll", state_hash=authorization.state_hash, now=now, next_poll_at=next_poll_at
        )
        return row is not None

    async def put_off_poll(self, authorization: Authorization, next_poll_at: Instant) -> None:
        """Nobody polls before that instant; the secrets, and with them the interval, are stored as they are now."""
        await self._database.execute(
            "put_off_poll",
            state_hash=authorization.state_hash,
            next_poll_at=next_poll_at,
            sealed_secrets=await self._seal(authorization),
        )

    async def _seal(self, authorization: Authorization) -> bytes:
        row = authorization.state_hash.hex()
        return await self._vault.seal(
            authorization.account_uuid, authorization.secrets, "authorizations", row, "sealed_secrets"
        )

    async def _secrets(self, authorization: Authorization, sealed: bytes) -> AttemptSecrets:
        return await self._vault.open_secrets(authorization.account_uuid, sealed, authorization.state_hash.hex())

    async def hold(self, held: HeldGrant) -> None:
        """Keep a grant until its user has chosen, or it expires."""
        sealed = await self._vault.seal(
            held.account_uuid, held.grant, "held_grants", held.handle_hash.hex(), "sealed_grant"
        )
        await self._database.execute(
            "add_held_grant",
            handle_hash=held.handle_hash,
            account_uuid=held.account_uuid,
            user_uuid=held.user_uuid,
            provider=held.provider,
            client_id=held.client_id,
            connection_uuid=held.connection_uuid,
            redirect_to=held.redirect_to,
            expires_at=held.expires_at,
            sealed_grant=sealed,
        )

    async def take_held(self, handle_hash: bytes, account_uuid: str, user_uuid: str) -> HeldGrant | None:
        """The grant held under a handle, once."""
        row = await self._database.fetch_one(
            "take_held_grant", handle_hash=handle_hash, account_uuid=account_uuid, user_uuid=user_uuid
        )
        return await self._held(row) if row else None

    async def take_expired_held(self, now: Instant) -> list[HeldGrant]:
        """Grants that nobody chose in time, each given to one caller only; what does not open is dropped."""
        held = []
        for row in await self._database.fetch_all("take_expired_held_grants", now=now):
            try:
                held.append(await self._held(row))
            except SealError as error:
                logs.event("held_grant.unreadable", level=logs.ERROR, reason=error.message)
        return held

    async def _held(self, row: Row) -> HeldGrant:
        handle_hash = bytes(row[0])
        return HeldGrant(
            handle_hash=handle_hash,
            account_uuid=row[1],
            user_uuid=row[2],
            provider=row[3],
            client_id=row[4],
            connection_uuid=row[5],
            redirect_to=row[6],
            expires_at=row[7],
            grant=await self._vault.open_grant(row[1], row[8], handle_hash.hex()),
        )

    async def purge(self, before: Instant) -> None:
        """Drop attempts that expired before that instant."""
        await self._database.execute("purge_authorizations", before=before)
