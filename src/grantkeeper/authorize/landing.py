"""What becomes of what a provider gave: a connection, a connection renewed, or a grant held until its user chooses."""

from __future__ import annotations

import secrets
import uuid as uuids
from functools import partial

import msgspec

from grantkeeper import logs
from grantkeeper.access import hash_token
from grantkeeper.authorize.redeem import Redeemed
from grantkeeper.clients import Clients
from grantkeeper.clock import MINUTE, SECOND, Clock, Instant
from grantkeeper.errors import AuthorizationFailed, SealError
from grantkeeper.model import Authorization, Claim, Connection, Evidence, Grant, HeldGrant, Record, Status
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.identity import Identity
from grantkeeper.schedule import refresh_due_at
from grantkeeper.storage.authorizations import AuthorizationStore
from grantkeeper.storage.connections import ConnectionStore, Page
from grantkeeper.storage.database import until_stored
from grantkeeper.storage.refreshes import RefreshStore

LIFETIME = 10 * MINUTE
"""How long a person may take at the provider, or to choose about a held grant."""
_LEASE = 30 * SECOND
_POLL = 0.1
_MANY = 10_000


class Completed(Record, frozen=True):
    """A finished authorization: the connection, whether it is new, and where the person was going.

    `refused_scopes`: what was asked for and not granted (RFC 6749 §3.3). `further`: connections that other token sets
    of the same answer became.
    """

    connection: Connection
    created: bool
    further: tuple[Connection, ...] = ()
    redirect_to: str | None = None
    refused_scopes: tuple[str, ...] = ()


class Origin(Record, frozen=True):
    """For whom a grant was asked, and why: the user's account, the connection to renew, where they were going."""

    account_uuid: str
    user_uuid: str
    request_id: str
    connection_uuid: str | None = None
    redirect_to: str | None = None

    @property
    def actor(self) -> str:
        """Who did it, in evidence."""
        return f"user:{self.user_uuid}"


def origin_of(attempt: Authorization, request_id: str) -> Origin:
    """Whose attempt it was."""
    return Origin(
        account_uuid=attempt.account_uuid,
        user_uuid=attempt.user_uuid,
        request_id=request_id,
        connection_uuid=attempt.connection_uuid,
        redirect_to=attempt.redirect_to,
    )


class OtherIdentity(AuthorizationFailed):
    """The grant is not the connection's person's; it is held under `handle` until the user chooses."""

    def __init__(
        self,
        connection: Connection,
        provider_label: str,
        handle: str,
        identity: Identity | None,
        *,
        signed_in: bool = True,
    ) -> None:
        was = connection.identity or "another identity"
        if identity is None:
            title = "We could not confirm who signed in"
            message = (
                f"“{connection.label}” belongs to {was}, and {provider_label} did not tell us who signed in "
                "just now. The connection was left as it was."
            )
        elif not signed_in:
            title = "That is somebody else's access"
            message = (
                f"“{connection.label}” belongs to {was}, but {provider_label} gave access to "
                f"{identity.label or 'somebody else'}. The connection was left as it was."
            )
        else:
            title = "You signed in as somebody else"
            message = (
                f"“{connection.label}” belongs to {was}, but at {provider_label} you signed in as "
                f"{identity.label or 'somebody else'}. The connection was left as it was."
            )
        super().__init__("other_identity", title, message, status=409)
        self.handle = handle


class Landing:
    """Stores what was granted, whatever the grant: nobody is told before it is durable."""

    def __init__(
        self,
        store: AuthorizationStore,
        connections: ConnectionStore,
        refreshes: RefreshStore,
        clients: Clients,
        clock: Clock,
    ) -> None:
        self._store = store
        self._connections = connections
        self._refreshes = refreshes
        self._clients = clients
        self._clock = clock

    async def land(self, client: Client, origin: Origin, redeemed: Redeemed) -> Completed:
        """A new connection, or the one that was to be renewed; AuthorizationFailed where it is another's grant."""
        grant = redeemed.grant
        if origin.connection_uuid is None:
            connection, created = await self.add(client.name, client.client_id, origin, grant), True
        else:
            connection, created = await self._renew(client, origin, grant, redeemed.identity), False
        return Completed(
            connection=connection,
            created=created,
            redirect_to=origin.redirect_to,
            refused_scopes=client.not_granted(connection.scopes),
        )

    async def add(self, provider: str, client_id: str, origin: Origin, grant: Grant) -> Connection:
        """A new connection with the first free label."""
        now = self._clock.now()
        account_uuid = origin.account_uuid
        labels = await until_stored(self._clock, lambda: self._connections.labels(account_uuid, provider))
        connection = Connection(
            uuid=str(uuids.uuid4()),
            account_uuid=account_uuid,
            provider=provider,
            client_id=client_id,
            label=_free_label(self._clients.label(provider), labels),
            status=Status.ACTIVE,
            created_at=now,
            updated_at=now,
            scopes=grant.scopes,
            generation=1,
            token_type=grant.tokens.token_type,
            refreshable=grant.tokens.renewable,
            subject=grant.subject,
            identity=grant.identity,
            access_token_expires_at=grant.tokens.access_token_expires_at,
            refresh_token_expires_at=grant.tokens.refresh_token_expires_at,
            refreshed_at=now,
            next_refresh_at=self._due(provider, grant, now),
        )
        evidence = self._evidence(origin, "connect", connection.uuid, grant)
        await until_stored(self._clock, lambda: self._add_once(connection, grant, evidence))
        logs.event("connected", connection=connection.uuid, account=account_uuid, provider=provider)
        return connection

    async def let_go(self, held: HeldGrant) -> None:
        """Revoke a grant that nobody wants, unless that could end a connection that somebody does want.

        At some providers all tokens of one person are one grant, and end together.
        """
        if await self._may_be_in_use(held):
            logs.event("held_grant.dropped", provider=held.provider, account=held.account_uuid)
        else:
            await self._revoke(held.account_uuid, held.connection_uuid, held.provider, held.client_id, held.grant)

    async def _renew(self, client: Client, origin: Origin, grant: Grant, identity: Identity | None) -> Connection:
        uuid = origin.connection_uuid or ""
        connection = await until_stored(self._clock, lambda: self._connections.get(origin.account_uuid, uuid))
        if connection is None:
            raise await self._gone(client, origin, grant)
        if connection.subject is not None and grant.subject != connection.subject:
            confirmed = identity if grant.subject is not None else None
            held = await self._hold(client, origin, grant)
            raise OtherIdentity(connection, client.label, held, confirmed, signed_in=client.asks_person)
        grant = await self._with_old_refresh_token(client, connection, grant)
        now = self._clock.now()
        evidence = self._evidence(origin, "reauthorize", connection.uuid, grant)
        replaced = await until_stored(
            self._clock,
            lambda: self._connections.replace_grant(
                connection.account_uuid,
                connection.uuid,
                client.client_id,
                grant,
                self._due(client.name, grant, now),
                now,
                evidence,
            ),
        )
        if replaced is None:
            raise await self._gone(client, origin, grant)
        return replaced

    async def _gone(self, client: Client, origin: Origin, grant: Grant) -> AuthorizationFailed:
        """The connection was disconnected meanwhile, so its new grant goes the same way."""
        await self._revoke(origin.account_uuid, origin.connection_uuid or "", client.name, client.client_id, grant)
        return AuthorizationFailed(
            "connection_gone",
            "This connection is gone",
            "It was disconnected while you were away, so nothing was changed. Connect again if you want it back.",
            retry_url=f"/oauth/{client.name}/authorize",
        )

    async def _with_old_refresh_token(self, client: Client, connection: Connection, grant: Grant) -> Grant:
        """Some providers give a refresh token at the first consent only: a working one is not thrown away.

        It is taken under the lease, as a refresh in flight may be spending the one that is stored. The lease
        ends with the grant that is stored next.
        """
        if grant.tokens.renewable or not _keeps_refresh_token(connection, client):
            return grant
        if grant.tokens.dpop_key is not None:
            # The old one may be bound to the old key (RFC 9449 §5).
            return grant
        claim = await self._claim(connection)
        if claim is None or not _keeps_refresh_token(claim.connection, client):
            return grant
        try:
            old = await self._connections.open_tokens(claim.connection, claim.sealed_tokens)
        except SealError:
            return grant
        tokens = msgspec.structs.replace(
            grant.tokens,
            refresh_token=old.refresh_token,
            refresh_token_expires_at=old.refresh_token_expires_at,
        )
        return msgspec.structs.replace(grant, tokens=tokens)

    async def _claim(self, connection: Connection) -> Claim | None:
        """The lease, as soon as nobody is refreshing; None where the connection is gone."""
        owner = f"reauthorization:{uuids.uuid4()}"
        current: Connection | None = connection
        while current is not None:
            now, generation = self._clock.now(), current.generation
            save = partial(self._refreshes.claim, connection.uuid, generation, owner, now, now + _LEASE)
            if (claim := await until_stored(self._clock, save)) is not None:
                return claim
            await self._clock.sleep(_POLL)
            current = await until_stored(self._clock, lambda: self._connections.find(connection.uuid))
        return None

    async def _add_once(self, connection: Connection, grant: Grant, evidence: Evidence) -> None:
        """Also right where the database stored the connection and was lost before it could say so."""
        if await self._connections.find(connection.uuid) is None:
            await self._connections.add(connection, grant.tokens, evidence)

    async def _hold(self, client: Client, origin: Origin, grant: Grant) -> str:
        handle = secrets.token_urlsafe(32)
        held = HeldGrant(
            handle_hash=hash_token(handle),
            account_uuid=origin.account_uuid,
            user_uuid=origin.user_uuid,
            provider=client.name,
            client_id=client.client_id,
            connection_uuid=origin.connection_uuid or "",
            grant=grant,
            expires_at=self._clock.now() + LIFETIME,
            redirect_to=origin.redirect_to,
        )
        await until_stored(self._clock, lambda: self._store.hold(held))
        return handle

    async def _may_be_in_use(self, held: HeldGrant) -> bool:
        """Whether a connection of this account has the same identity, or might: nobody said whose it is."""
        if held.grant.subject is None:
            return True
        page = Page(limit=_MANY, provider=held.provider)
        others = await until_stored(self._clock, lambda: self._connections.list_page(held.account_uuid, page))
        return any(other.subject == held.grant.subject for other in others)

    async def _revoke(
        self, account_uuid: str, connection_uuid: str, provider: str, client_id: str, grant: Grant
    ) -> None:
        await until_stored(
            self._clock,
            lambda: self._connections.add_revocation(
                account_uuid,
                connection_uuid,
                provider,
                client_id,
                grant.tokens,
                str(uuids.uuid4()),
                self._clock.now(),
            ),
        )

    def _due(self, provider: str, grant: Grant, now: Instant) -> Instant | None:
        return refresh_due_at(grant.tokens, self._clients.policy(provider), now, secrets.randbelow(1000) / 1000)

    def _evidence(self, origin: Origin, action: str, uuid: str, grant: Grant) -> Evidence:
        detail = {"scopes": " ".join(grant.scopes)}
        if grant.subject is not None:
            detail["subject"] = grant.subject
        return Evidence(
            at=self._clock.now(),
            account_uuid=origin.account_uuid,
            actor=origin.actor,
            action=action,
            connection_uuid=uuid,
            request_id=origin.request_id,
            detail=detail,
        )


def _keeps_refresh_token(connection: Connection, client: Client) -> bool:
    """Whether the stored refresh token works as far as we know, with the client of today."""
    alive = connection.status in (Status.ACTIVE, Status.FAILING) and connection.client_id == client.client_id
    return alive and connection.refreshable


def _free_label(provider_label: str, taken: set[str]) -> str:
    number = 1
    while (label := f"My {provider_label} Account {number}") in taken:
        number += 1
    return label
