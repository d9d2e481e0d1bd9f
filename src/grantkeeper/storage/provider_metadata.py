"""What providers said of themselves, shared by all processes: metadata, public keys, and our registrations."""

from __future__ import annotations

from grantkeeper.clock import Instant
from grantkeeper.model import Record
from grantkeeper.storage.database import Database
from grantkeeper.storage.vault import Vault

_TABLE, _COLUMN = "registrations", "sealed_registration"


class KeptMetadata(Record, frozen=True):
    """Documents as they came, JSON; `resource_scope` is what the resource's challenge asked for."""

    issuer: str
    document: str
    fetched_at: Instant
    resource: str | None = None
    resource_document: str | None = None
    resource_scope: str | None = None


class KeptKeys(Record, frozen=True):
    """A JWK Set as it came, JSON, and where from."""

    jwks_url: str
    jwks: str
    fetched_at: Instant


class KeptRegistration(Record, frozen=True):
    """A client that a server gave us. `content` holds its secrets: the `repr` does not show it."""

    issuer: str
    client_id: str
    content: bytes
    created_at: Instant
    expires_at: Instant | None = None

    def __repr__(self) -> str:
        return f"KeptRegistration(issuer={self.issuer!r}, client_id={self.client_id!r})"


class ProviderMetadataStore:
    """The rows behind discovery, by the provider's name in the settings. Registrations are sealed."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def metadata(self, provider: str) -> KeptMetadata | None:
        """What was fetched last."""
        row = await self._database.fetch_one("get_provider_metadata", provider=provider)
        if row is None:
            return None
        return KeptMetadata(
            issuer=row[1],
            resource=row[2],
            document=row[3],
            resource_document=row[4],
            resource_scope=row[5],
            fetched_at=row[6],
        )

    async def keep_metadata(self, provider: str, kept: KeptMetadata) -> None:
        """Put what was fetched in the place of what was there."""
        await self._database.execute(
            "put_provider_metadata",
            provider=provider,
            issuer=kept.issuer,
            resource=kept.resource,
            document=kept.document,
            resource_document=kept.resource_document,
            resource_scope=kept.resource_scope,
            fetched_at=kept.fetched_at,
        )

    async def forget_metadata(self, provider: str) -> None:
        """Drop what was fetched, and with it which authorization server a resource named."""
        await self._database.execute("delete_provider_metadata", provider=provider)

    async def keys(self, provider: str) -> KeptKeys | None:
        """The keys that were fetched last."""
        row = await self._database.fetch_one("get_provider_keys", provider=provider)
        return KeptKeys(jwks_url=row[0], jwks=row[1], fetched_at=row[2]) if row else None

    async def keep_keys(self, provider: str, kept: KeptKeys) -> None:
        """Put keys in the place of those that were there."""
        await self._database.execute(
            "put_provider_keys",
            provider=provider,
            jwks_url=kept.jwks_url,
            jwks=kept.jwks,
            fetched_at=kept.fetched_at,
        )

    async def registration(self, provider: str) -> KeptRegistration | None:
        """Our registration, or None; SealError where it does not open."""
        row = await self._database.fetch_one("get_registration", provider=provider)
        if row is None:
            return None
        content = (await self._vault.installation()).open(bytes(row[2]), _TABLE, provider, _COLUMN)
        return KeptRegistration(issuer=row[0], client_id=row[1], content=content, created_at=row[3], expires_at=row[4])

    async def claim_registration(self, provider: str, issuer: str, owner: str, now: Instant, until: Instant) -> bool:
        """Whether `owner` is the one that may register now; nobody else may before `until`."""
        return (
            await self._database.execute(
                "claim_registration", provider=provider, issuer=issuer, owner=owner, now=now, until=until
            )
            == 1
        )

    async def keep_registration(self, provider: str, owner: str, kept: KeptRegistration) -> bool:
        """Store what the owner of the claim was given; False where the claim has lapsed and is another's now."""
        return (
            await self._database.execute(
                "keep_registration",
                provider=provider,
                owner=owner,
                client_id=kept.client_id,
                sealed_registration=await self._sealed(provider, kept.content),
                expires_at=kept.expires_at,
            )
            == 1
        )

    async def change_registration(self, provider: str, kept: KeptRegistration) -> None:
        """Store what the server changed of a registration: a new secret or token."""
        await self._database.execute(
            "change_registration",
            provider=provider,
            client_id=kept.client_id,
            sealed_registration=await self._sealed(provider, kept.content),
            expires_at=kept.expires_at,
        )

    async def release_registration(self, provider: str, owner: str) -> None:
        """Give back a claim that led to nothing."""
        await self._database.execute("release_registration", provider=provider, owner=owner)

    async def forget_registration(self, provider: str, client_id: str) -> None:
        """Drop a registration that has ended."""
        await self._database.execute("delete_registration", provider=provider, client_id=client_id)

    async def _sealed(self, provider: str, content: bytes) -> bytes:
        return (await self._vault.installation()).seal(content, _TABLE, provider, _COLUMN)
