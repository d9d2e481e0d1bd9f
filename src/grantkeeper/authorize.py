"""The browser's way: start an authorization, complete it at the callback, reauthorize in place.

An attempt is taken before any request to the provider, so that no answer is used twice; what the
provider then gives is stored before the person is told.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import uuid as uuids
from collections.abc import Collection, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from grantkeeper import logs
from grantkeeper.access import Caller, hash_token
from grantkeeper.clients import Clients
from grantkeeper.clock import MINUTE, SECOND, Clock, Instant
from grantkeeper.errors import (
    AuthorizationFailed,
    InvalidValue,
    NotFound,
    ProviderError,
    SealError,
)
from grantkeeper.model import (
    Authorization,
    Claim,
    Connection,
    Evidence,
    Grant,
    HeldGrant,
    Record,
    Scope,
    Status,
)
from grantkeeper.oauth.authorization import (
    CallbackParameters,
    authorization_url,
    check_issuer,
    explained,
    new_code_verifier,
    read_callback,
    refused,
)
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.identity import (
    Identity,
    identity_in_token_response,
    userinfo_request,
    userinfo_response,
)
from grantkeeper.oauth.token import TokenResponse, exchange_request, token_response
from grantkeeper.schedule import refresh_due_at
from grantkeeper.storage.authorizations import AuthorizationStore
from grantkeeper.storage.connections import ConnectionStore, Page
from grantkeeper.storage.database import until_stored
from grantkeeper.storage.refreshes import RefreshStore

LIFETIME = 10 * MINUTE
"""How long a person may take at the provider, or to choose about a held grant."""
_IDENTITY_TRIES = 2
_LEASE = 30 * SECOND
_POLL = 0.1
_MANY = 10_000

_T = TypeVar("_T")


class Completed(Record, frozen=True):
    """A finished authorization: the connection, whether it is new, and where the person was going."""

    connection: Connection
    created: bool
    redirect_to: str | None = None


class OtherIdentity(AuthorizationFailed):
    """The grant is not the connection's person's; it is held under `handle` until the user chooses."""

    def __init__(self, connection: Connection, provider_label: str, handle: str, identity: Identity | None) -> None:
        was = connection.identity or "another identity"
        if identity is None:
            title = "We could not confirm who signed in"
            message = (
                f"“{connection.label}” belongs to {was}, and {provider_label} did not tell us who signed in "
                "just now. The connection was left as it was."
            )
        else:
            title = "You signed in as somebody else"
            message = (
                f"“{connection.label}” belongs to {was}, but at {provider_label} you signed in as "
                f"{identity.label or 'somebody else'}. The connection was left as it was."
            )
        super().__init__("other_identity", title, message, status=409)
        self.handle = handle


class Authorizations:
    """Browser authorizations of all providers. `redirect_origins` are where `redirect_to` may lead."""

    def __init__(
        self,
        store: AuthorizationStore,
        connections: ConnectionStore,
        refreshes: RefreshStore,
        clients: Clients,
        http: ProviderHttp,
        clock: Clock,
        redirect_origins: Sequence[str],
    ) -> None:
        self._store = store
        self._connections = connections
        self._refreshes = refreshes
        self._clients = clients
        self._http = http
        self._clock = clock
        self._redirect_origins = frozenset(redirect_origins)
        self._going_on: set[asyncio.Task[Any]] = set()

    async def start(
        self,
        caller: Caller,
        provider: str,
        browser: str,
        connection_uuid: str | None,
        redirect_to: str | None,
    ) -> str:
        """Remember the attempt and answer where to send the browser (RFC 6749 §4.1.1).

        `browser` is the secret of the browser's cookie, to which the attempt is bound.
        """
        caller.require(Scope.CONNECTIONS_WRITE)
        client = self._clients.offered(provider)
        if connection_uuid is not None:
            connection = await self._connections.get(caller.account_uuid, connection_uuid)
            if connection is None or connection.provider != provider:
                raise NotFound("There is no such connection.")
        state = secrets.token_urlsafe(32)
        now = self._clock.now()
        attempt = Authorization(
            state_hash=hash_token(state),
            account_uuid=caller.account_uuid,
            user_uuid=caller.user_uuid,
            provider=provider,
            client_id=client.client_id,
            redirect_uri=client.redirect_uri,
            browser_hash=hash_token(browser),
            created_at=now,
            expires_at=now + LIFETIME,
            code_verifier=new_code_verifier() if client.pkce else None,
            nonce=secrets.token_urlsafe(16) if client.openid else None,
            connection_uuid=connection_uuid,
            redirect_to=allowed_target(redirect_to, self._redirect_origins),
        )
        await self._store.add(attempt)
        return authorization_url(client, state, attempt.code_verifier, attempt.nonce)

    async def complete(
        self, provider: str, query: Sequence[tuple[str, str]], browser: str | None, request_id: str
    ) -> Completed:
        """Everything between the provider's redirect and the stored connection, or AuthorizationFailed."""
        parameters = read_callback(query)
        attempt = await self._take(provider, parameters, browser)
        retry_url = _retry_url(attempt)
        try:
            client = self._clients.registered(provider, attempt.client_id)
            check_issuer(client, parameters.issuer)
            if parameters.error is not None:
                raise refused(client, parameters.error)
            # The code is spent, whether the browser stays or not.
            return await self._to_its_end(self._redeem(client, attempt, parameters.code or "", request_id))
        except AuthorizationFailed as error:
            error.retry_url = error.retry_url or retry_url
            raise
        except ProviderError as error:
            logs.event("authorization.failed", provider=provider, reason=error.message)
            raise explained(self._clients.label(provider), error, retry_url) from None

    async def keep_held(self, caller: Caller, handle: str, request_id: str) -> Completed:
        """The user wants a held grant as a connection of its own."""
        caller.require(Scope.CONNECTIONS_WRITE)
        return await self._to_its_end(self._keep(caller, handle, request_id))

    async def discard_held(self, caller: Caller, handle: str) -> None:
        """The user does not want a held grant: it is revoked at the provider."""
        await self._to_its_end(self._discard(caller, handle))

    async def tidy(self, now: Instant, keep_until: Instant) -> None:
        """Revoke held grants that nobody chose, and forget attempts that ended before `keep_until`."""
        await self._to_its_end(self._discard_expired(now))
        await self._store.purge(keep_until)

    async def settle(self) -> None:
        """Return once everything that a provider gave is stored; wanted before the database closes."""
        while self._going_on:
            await asyncio.wait(self._going_on)

    async def _to_its_end(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The outcome of `work`, which goes on if its caller leaves."""
        task = asyncio.create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._going_on.discard(task)
        # Whoever waited hears of a failure; if nobody did, it is written down.
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.event("authorization.ended", reason=type(error).__name__)

    async def _keep(self, caller: Caller, handle: str, request_id: str) -> Completed:
        held = await self._store.take_held(hash_token(handle), caller.account_uuid, caller.user_uuid)
        if held is None or held.expires_at <= self._clock.now():
            if held is not None:
                await self._let_go(held)
            raise AuthorizationFailed(
                "choice_expired",
                "That choice is no longer open",
                "The sign-in was too long ago, or you have chosen already. Connect again if you still want to.",
                retry_url="/connect",
            )
        created = await self._add(
            held.provider, held.client_id, held.account_uuid, caller.actor, held.grant, request_id
        )
        return Completed(connection=created, created=True, redirect_to=held.redirect_to)

    async def _discard(self, caller: Caller, handle: str) -> None:
        held = await self._store.take_held(hash_token(handle), caller.account_uuid, caller.user_uuid)
        if held is not None:
            await self._let_go(held)

    async def _discard_expired(self, now: Instant) -> None:
        for held in await self._store.take_expired_held(now):
            await self._let_go(held)

    async def _take(self, provider: str, parameters: CallbackParameters, browser: str | None) -> Authorization:
        """The attempt this callback belongs to, used up by it; AuthorizationFailed says why not."""
        found = await self._store.get(hash_token(parameters.state))
        if found is None or found[0].provider != provider:
            raise AuthorizationFailed(
                "unknown_state",
                "We do not know this sign-in",
                "It may have been too long ago, or the link is incomplete. Nothing was connected. "
                "Start again from your connections.",
                retry_url="/connect",
            )
        attempt, taken = found
        if browser is None or not hmac.compare_digest(hash_token(browser), attempt.browser_hash):
            raise AuthorizationFailed(
                "other_browser",
                "This sign-in began in another browser",
                "For your safety a connection can only be finished in the browser in which it was started. "
                "Nothing was connected. Start again here.",
                retry_url=_retry_url(attempt),
            )
        if taken:
            raise _used(attempt)
        if attempt.expires_at <= self._clock.now():
            raise AuthorizationFailed(
                "expired",
                "That took too long",
                "A sign-in must be finished within ten minutes. Nothing was connected. Please try again.",
                retry_url=_retry_url(attempt),
            )
        secrets_taken = await self._store.take(attempt, self._clock.now())
        if secrets_taken is None:
            raise _used(attempt)
        return msgspec.structs.replace(attempt, code_verifier=secrets_taken[0], nonce=secrets_taken[1])

    async def _redeem(self, client: Client, attempt: Authorization, code: str, request_id: str) -> Completed:
        requested_at = self._clock.now()
        answer = await self._http.send(exchange_request(client, code, attempt.code_verifier))
        redeemed = token_response(client, answer, requested_at)
        identity = await self._identity(client, redeemed, attempt.nonce)
        grant = redeemed.grant
        if identity is not None:
            grant = msgspec.structs.replace(grant, subject=identity.subject, identity=identity.label)
        actor = f"user:{attempt.user_uuid}"
        if attempt.connection_uuid is None:
            created = await self._add(client.name, client.client_id, attempt.account_uuid, actor, grant, request_id)
            return Completed(connection=created, created=True, redirect_to=attempt.redirect_to)
        return await self._reauthorize(client, attempt, grant, identity, request_id)

    async def _identity(self, client: Client, redeemed: TokenResponse, nonce: str | None) -> Identity | None:
        """Who consented; None where the provider cannot or does not say.

        ProviderProtocolError for an ID token that is not for us (OpenID Connect Core §3.1.3.7). What came
        with it is not revoked: at some providers that would end the person's other connections.
        """
        given = identity_in_token_response(client, redeemed.document, nonce, self._clock.now())
        request = userinfo_request(client, redeemed.grant.tokens.access_token)
        if given is not None or request is None:
            return given
        for _ in range(_IDENTITY_TRIES):
            try:
                return userinfo_response(client, await self._http.send(request))
            except ProviderError as error:
                logs.event("authorization.identity_unknown", provider=client.name, reason=error.message)
        return None

    async def _reauthorize(
        self, client: Client, attempt: Authorization, grant: Grant, identity: Identity | None, request_id: str
    ) -> Completed:
        assert attempt.connection_uuid is not None
        connection = await until_stored(
            self._clock,
            lambda: self._connections.get(attempt.account_uuid, attempt.connection_uuid or ""),
        )
        if connection is None:
            raise await self._gone(client, attempt, grant)
        if connection.subject is not None and grant.subject != connection.subject:
            confirmed = identity if grant.subject is not None else None
            raise OtherIdentity(connection, client.label, await self._hold(attempt, grant), confirmed)
        grant = await self._with_old_refresh_token(client, connection, grant)
        now = self._clock.now()
        actor = f"user:{attempt.user_uuid}"
        evidence = self._evidence(attempt.account_uuid, actor, "reauthorize", connection.uuid, grant, request_id)
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
            raise await self._gone(client, attempt, grant)
        return Completed(connection=replaced, created=False, redirect_to=attempt.redirect_to)

    async def _gone(self, client: Client, attempt: Authorization, grant: Grant) -> AuthorizationFailed:
        """The connection was disconnected meanwhile, so its new grant goes the same way."""
        await self._revoke(attempt, grant)
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
        if grant.tokens.refresh_token is not None or not _keeps_refresh_token(connection, client):
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

    async def _add(
        self, provider: str, client_id: str, account_uuid: str, actor: str, grant: Grant, request_id: str
    ) -> Connection:
        now = self._clock.now()
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
            refreshable=grant.tokens.refresh_token is not None,
            subject=grant.subject,
            identity=grant.identity,
            access_token_expires_at=grant.tokens.access_token_expires_at,
            refresh_token_expires_at=grant.tokens.refresh_token_expires_at,
            refreshed_at=now,
            next_refresh_at=self._due(provider, grant, now),
        )
        evidence = self._evidence(account_uuid, actor, "connect", connection.uuid, grant, request_id)
        await until_stored(self._clock, lambda: self._add_once(connection, grant, evidence))
        logs.event("connected", connection=connection.uuid, account=account_uuid, provider=provider)
        return connection

    async def _add_once(self, connection: Connection, grant: Grant, evidence: Evidence) -> None:
        """Also right where the database stored the connection and was lost before it could say so."""
        if await self._connections.find(connection.uuid) is None:
            await self._connections.add(connection, grant.tokens, evidence)

    async def _hold(self, attempt: Authorization, grant: Grant) -> str:
        handle = secrets.token_urlsafe(32)
        held = HeldGrant(
            handle_hash=hash_token(handle),
            account_uuid=attempt.account_uuid,
            user_uuid=attempt.user_uuid,
            provider=attempt.provider,
            client_id=attempt.client_id,
            connection_uuid=attempt.connection_uuid or "",
            grant=grant,
            expires_at=self._clock.now() + LIFETIME,
            redirect_to=attempt.redirect_to,
        )
        await until_stored(self._clock, lambda: self._store.hold(held))
        return handle

    async def _let_go(self, held: HeldGrant) -> None:
        """Revoke a grant that nobody wants, unless that could end a connection that somebody does want.

        At some providers all tokens of one person are one grant, and end together.
        """
        if await self._may_be_in_use(held):
            logs.event("held_grant.dropped", provider=held.provider, account=held.account_uuid)
        else:
            await self._revoke(held, held.grant)

    async def _may_be_in_use(self, held: HeldGrant) -> bool:
        """Whether a connection of this account has the same identity, or might: nobody said whose it is."""
        if held.grant.subject is None:
            return True
        page = Page(limit=_MANY, provider=held.provider)
        others = await until_stored(self._clock, lambda: self._connections.list_page(held.account_uuid, page))
        return any(other.subject == held.grant.subject for other in others)

    async def _revoke(self, origin: Authorization | HeldGrant, grant: Grant) -> None:
        await until_stored(
            self._clock,
            lambda: self._connections.add_revocation(
                origin.account_uuid,
                origin.connection_uuid or "",
                origin.provider,
                origin.client_id,
                grant.tokens,
                str(uuids.uuid4()),
                self._clock.now(),
            ),
        )

    def _due(self, provider: str, grant: Grant, now: Instant) -> Instant | None:
        return refresh_due_at(grant.tokens, self._clients.policy(provider), now, secrets.randbelow(1000) / 1000)

    def _evidence(
        self, account_uuid: str, actor: str, action: str, uuid: str, grant: Grant, request_id: str
    ) -> Evidence:
        detail = {"scopes": " ".join(grant.scopes)}
        if grant.subject is not None:
            detail["subject"] = grant.subject
        return Evidence(
            at=self._clock.now(),
            account_uuid=account_uuid,
            actor=actor,
            action=action,
            connection_uuid=uuid,
            request_id=request_id,
            detail=detail,
        )


def allowed_target(redirect_to: str | None, origins: Collection[str]) -> str | None:
    """Where a browser may go after connecting: a path of ours, or an address on one of `origins`.

    InvalidValue for any other; None for none.
    """
    if not redirect_to:
        return None
    # A URL is ASCII (RFC 3986 §2): what is not would be read differently by different readers.
    if redirect_to.isascii() and redirect_to.isprintable() and "\\" not in redirect_to:
        if redirect_to.startswith("/") and not redirect_to.startswith("//"):
            return redirect_to
        try:
            parts = urlsplit(redirect_to)
            if not parts.username and f"{parts.scheme}://{parts.netloc}".lower() in origins:
                return redirect_to
        except ValueError:
            pass
    raise InvalidValue(
        {"redirect_to": ["The address in redirect_to is not allowed here; add its origin to redirect_origins."]}
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


def _retry_url(attempt: Authorization) -> str:
    """The same attempt again, which ends where this one would have ended."""
    begin = f"/oauth/{attempt.provider}/authorize"
    begin += f"/{attempt.connection_uuid}" if attempt.connection_uuid else ""
    return f"{begin}?{urlencode({'redirect_to': attempt.redirect_to})}" if attempt.redirect_to else begin


def _used(attempt: Authorization) -> AuthorizationFailed:
    return AuthorizationFailed(
        "replayed",
        "This sign-in has been used already",
        "Each sign-in works once. If you pressed Back or reloaded, look at your connections: it may be "
        "there. Otherwise start again.",
        retry_url=_retry_url(attempt),
    )
