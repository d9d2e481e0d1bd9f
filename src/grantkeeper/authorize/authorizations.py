"""The attempts: begun by a person, bound to their browser, used once, carried to their end.

An attempt is taken before any request to the provider, so that no answer is used twice; what the provider then gives
is stored before the person is told.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets as random
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from grantkeeper import logs
from grantkeeper.access import Caller, hash_token
from grantkeeper.authorize.device import DeviceGrants, DevicePrompt, ended, prompt_for
from grantkeeper.authorize.direct import LONGEST_HINT, DirectNeeds, renewal_for
from grantkeeper.authorize.landing import LIFETIME, Completed, Landing, Origin, origin_of
from grantkeeper.authorize.redeem import Redeemer
from grantkeeper.authorize.request import AuthorizationRequests
from grantkeeper.authorize.target import allowed_target, retry_url
from grantkeeper.clients import Clients
from grantkeeper.clock import Clock, Instant
from grantkeeper.discovery import Discovery
from grantkeeper.errors import (
    AuthorizationFailed,
    InvalidValue,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    SealError,
)
from grantkeeper.model import AttemptSecrets, Authorization, Connection, Renewal, Scope
from grantkeeper.oauth import dpop
from grantkeeper.oauth.authorization import (
    called_back,
    check_issuer,
    explained,
    new_code_verifier,
    read_callback,
    refused,
    standard_names,
    unsigned_response,
)
from grantkeeper.oauth.client import Asked, Client
from grantkeeper.oauth.grants import device_token_call, exchange_call
from grantkeeper.oauth.jarm import jwt_kid, response_parameters
from grantkeeper.oauth.message import Call
from grantkeeper.oauth.renewals import renewal_call
from grantkeeper.oauth.sender import Sender
from grantkeeper.refresh import Refresher
from grantkeeper.storage.authorizations import AuthorizationStore
from grantkeeper.storage.connections import ConnectionStore

_T = TypeVar("_T")


class Authorizations:
    """Authorizations at all providers. `redirect_origins` are where `redirect_to` may lead."""

    def __init__(
        self,
        store: AuthorizationStore,
        connections: ConnectionStore,
        landing: Landing,
        clients: Clients,
        discovery: Discovery,
        sender: Sender,
        refresher: Refresher,
        clock: Clock,
        redirect_origins: Sequence[str],
    ) -> None:
        self._store = store
        self._connections = connections
        self._landing = landing
        self._clients = clients
        self._discovery = discovery
        self._sender = sender
        self._refresher = refresher
        self._requests = AuthorizationRequests(sender, clock)
        self._redeemer = Redeemer(sender, discovery, clock)
        self._devices = DeviceGrants(store, sender, clock)
        self._clock = clock
        self._redirect_origins = frozenset(redirect_origins)
        self._going_on: set[asyncio.Task[Any]] = set()

    def asked(self, provider: str) -> tuple[Asked, ...]:
        """What the user has to say about each connection to a provider, before it is begun; NotFound."""
        return self._clients.offered(provider).asked

    async def grant_of(self, provider: str) -> str:
        """How a provider that can be connected here is connected, as its definition names it; NotFound."""
        await self._discovery.ensure(provider)
        return self._clients.offered(provider).grant

    def needs(self, provider: str) -> DirectNeeds:
        """What the user has to say before a provider is connected without a browser; NotFound."""
        client = self._clients.offered(provider)
        source = client.exchange.source if client.exchange is not None else None
        return DirectNeeds(
            label=client.label,
            subject=client.grant == "jwt_bearer" and client.assertion.subject == "asked",
            source=source,
            source_label=self._clients.label(source) if source is not None else None,
            source_offered=source in dict(self._clients.offers()),
        )

    def target(self, redirect_to: str | None) -> str | None:
        """Where a browser may go after connecting, asked before it begins; InvalidValue where it may not."""
        return allowed_target(redirect_to, self._redirect_origins)

    async def start(
        self,
        caller: Caller,
        provider: str,
        browser: str,
        connection_uuid: str | None,
        redirect_to: str | None,
        login_hint: str | None = None,
        parameters: Mapping[str, str] = {},
    ) -> str:
        """Remember the attempt and answer where to send the browser (RFC 6749 §4.1.1).

        `browser` is the secret of the browser's cookie, to which the attempt is bound; `login_hint` what the
        provider is told of who signs in, where its definition lets it be told. `parameters`: what the provider's
        definition asks of the user (`asked`); InvalidValue where something is missing.
        """
        client, connection, values = await self._begin(
            caller, provider, "authorization_code", connection_uuid, parameters
        )
        state = random.token_urlsafe(32)
        secrets = AttemptSecrets(
            code_verifier=new_code_verifier() if client.pkce else None,
            nonce=random.token_urlsafe(16) if client.openid else None,
            dpop_key=_dpop_key(client),
            parameters=values,
        )
        attempt = self._attempt(caller, client, state, browser, connection_uuid, redirect_to, secrets)
        hint = _login_hint(client, connection, login_hint)
        try:
            # Whoever authorizes again renews that connection, and none that came with it.
            others = self._clients.together(client) if connection is None else []
            url = await self._requests.url(client.asking_for(others), state, secrets, hint)
        except ProviderError as error:
            raise self._told("authorization.not_started", provider, error, retry_url(attempt)) from None
        await self._store.add(attempt)
        return url

    async def complete(
        self, provider: str, query: Sequence[tuple[str, str]], browser: str | None, request_id: str
    ) -> Completed:
        """Everything between the provider's redirect and the stored connection, or AuthorizationFailed."""
        query = await self._answer(provider, query)
        parameters = read_callback(query)
        attempt = await self._take(provider, parameters.state, browser)
        again = retry_url(attempt)
        try:
            registered = self._clients.registered(provider, attempt.client_id)
            client = registered.filled(attempt.secrets.parameters)
            check_issuer(client, parameters.issuer)
            if parameters.error is not None:
                raise refused(client, parameters.error)
            secrets = _with(attempt.secrets, called_back(client, query))
            client = client.filled(secrets.parameters)
            call = exchange_call(client, parameters.code or "", secrets.code_verifier)
            others = self._clients.together(registered) if attempt.connection_uuid is None else []
            # The code is spent, whether the browser stays or not.
            origin = origin_of(attempt, request_id)
            return await self._to_its_end(self._finish(client, origin, call, secrets, others=others))
        except AuthorizationFailed as error:
            error.retry_url = error.retry_url or again
            raise
        except ProviderError as error:
            raise self._told("authorization.failed", provider, error, again) from None

    async def start_device(
        self,
        caller: Caller,
        provider: str,
        browser: str,
        connection_uuid: str | None,
        redirect_to: str | None,
        parameters: Mapping[str, str] = {},
    ) -> str:
        """Ask for a code that is typed in elsewhere (RFC 8628 §3.1); the handle under which it is waited for."""
        client, _, values = await self._begin(caller, provider, "device_code", connection_uuid, parameters)
        handle = random.token_urlsafe(32)
        secrets = AttemptSecrets(dpop_key=_dpop_key(client), parameters=values)
        attempt = self._attempt(caller, client, handle, browser, connection_uuid, redirect_to, secrets)
        try:
            device, expires_at = await self._devices.begin(client)
        except ProviderError as error:
            raise self._told("authorization.not_started", provider, error, retry_url(attempt)) from None
        secrets = msgspec.structs.replace(secrets, device=device)
        attempt = msgspec.structs.replace(attempt, secrets=secrets, expires_at=expires_at)
        await self._store.add(attempt)
        # The first interval is the person's, too.
        await self._devices.may_poll(attempt)
        return handle

    async def poll_device(
        self, provider: str, handle: str, browser: str | None, request_id: str
    ) -> Completed | DevicePrompt:
        """The connection, once its person has agreed; what to show them until then; AuthorizationFailed at the end.

        May be called at any time: the provider is asked no more often than it wants to be.
        """
        attempt = await self._found(provider, handle, browser)
        secrets = await self._store.peek(attempt)
        if secrets is None or secrets.device is None:
            raise _used(attempt)
        await self._discovery.ensure(provider)
        attempt = msgspec.structs.replace(attempt, secrets=secrets)
        try:
            client = self._clients.registered(provider, attempt.client_id).filled(secrets.parameters)
            if not await self._devices.may_poll(attempt):
                return prompt_for(client, attempt)
            completed = await self._to_its_end(self._poll(client, attempt, request_id))
            return completed or prompt_for(client, attempt)
        except ProviderError as error:
            again = retry_url(attempt)
            failed = self._told("authorization.failed", provider, error, again)
            await self._store.take(attempt, self._clock.now())
            raise ended(self._clients.label(provider), error.code, again) or failed from None

    async def abandon(self, provider: str, handle: str, browser: str) -> bool:
        """End a device authorization that nobody waits for any more; False where it has been agreed to already.

        A poll that is under way is carried to its end first: what it brings is stored, never lost.
        """
        await self.settle()
        try:
            attempt = await self._found(provider, handle, browser)
        except AuthorizationFailed as error:
            return error.reason != "replayed"
        return await self._store.take(attempt, self._clock.now()) is not None

    async def connect_directly(
        self,
        caller: Caller,
        provider: str,
        request_id: str,
        *,
        connection_uuid: str | None = None,
        subject: str | None = None,
        source_uuid: str | None = None,
        redirect_to: str | None = None,
        parameters: Mapping[str, str] = {},
    ) -> Completed:
        """A connection by a grant that needs no person (RFC 6749 §4.4, RFC 7523, RFC 8693).

        `subject`: for whom an assertion speaks; `source_uuid`: the connection whose token is exchanged. InvalidValue
        where the provider's definition wants one and it is missing.
        """
        client, _, values = await self._begin(caller, provider, None, connection_uuid, parameters)
        renewal = renewal_for(client, subject, source_uuid)
        origin = Origin(
            account_uuid=caller.account_uuid,
            user_uuid=caller.user_uuid,
            request_id=request_id,
            connection_uuid=connection_uuid,
            redirect_to=allowed_target(redirect_to, self._redirect_origins),
        )
        again = f"/oauth/{provider}/authorize" + (f"/{connection_uuid}" if connection_uuid else "")
        try:
            token = await self._source_token(caller, client, renewal)
            call = await renewal_call(client, renewal, self._sender.keys, self._clock.now(), token)
            secrets = AttemptSecrets(dpop_key=_dpop_key(client), parameters=values)
            return await self._to_its_end(self._finish(client, origin, call, secrets, renewal))
        except ProviderError as error:
            raise self._told("authorization.failed", provider, error, again) from None

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

    async def _begin(
        self,
        caller: Caller,
        provider: str,
        grant: str | None,
        connection_uuid: str | None,
        parameters: Mapping[str, str],
    ) -> tuple[Client, Connection | None, dict[str, str]]:
        """The client to begin with, the connection to renew, and the values that the client is filled with.

        NotFound where there is no such connection, or none for that grant (None: any that needs no person).
        """
        caller.require(Scope.CONNECTIONS_WRITE)
        await self._discovery.ensure(provider)
        client = self._clients.offered(provider)
        if client.grant != grant and (grant is not None or client.asks_person):
            raise NotFound("This provider is connected in another way.")
        connection = None
        if connection_uuid is not None:
            connection = await self._connections.get(caller.account_uuid, connection_uuid)
            if connection is None or connection.provider != provider:
                raise NotFound("There is no such connection.")
        values = await self._values(client, connection, parameters)
        return client.filled(values), connection, values

    async def _values(self, client: Client, connection: Connection | None, given: Mapping[str, str]) -> dict[str, str]:
        """What the user says for this connection, or has said when it was made; InvalidValue names what is missing."""
        before: Mapping[str, str] = {}
        if connection is not None and (client.asked or client.called_back):
            # Where its tokens cannot be opened any more, authorizing again mends that: the user says it again.
            with suppress(SealError):
                before = await self._connections.parameters(connection)
        # What a callback need not bring stays as it is until one does.
        kept = (value.name for value in client.called_back if not value.required)
        values, errors = {name: before[name] for name in kept if name in before}, {}
        for asked in client.asked:
            value = client.meant(asked, given.get(asked.name, "")) or before.get(asked.name) or asked.default or ""
            if asked.accepts(value) and client.fits(asked.name, value):
                values[asked.name] = value
            else:
                example = f", such as {asked.example}" if asked.example else ""
                errors[asked.name] = [f"Say the {asked.label} of your account at {client.label}{example}."]
        if errors:
            raise InvalidValue(errors)
        return values

    def _attempt(
        self,
        caller: Caller,
        client: Client,
        state: str,
        browser: str,
        connection_uuid: str | None,
        redirect_to: str | None,
        secrets: AttemptSecrets,
    ) -> Authorization:
        now = self._clock.now()
        return Authorization(
            state_hash=hash_token(state),
            account_uuid=caller.account_uuid,
            user_uuid=caller.user_uuid,
            provider=client.name,
            client_id=client.client_id,
            redirect_uri=client.redirect_uri,
            browser_hash=hash_token(browser),
            created_at=now,
            expires_at=now + LIFETIME,
            secrets=secrets,
            connection_uuid=connection_uuid,
            redirect_to=allowed_target(redirect_to, self._redirect_origins),
        )

    async def _answer(self, provider: str, query: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """What the browser brought back; where the provider signs it, what is signed and nothing else (JARM §2.4)."""
        await self._discovery.ensure(provider)
        # Also where it is offered to nobody any more: what was begun is answered as it was asked.
        client = self._clients.current(provider)
        if client is None:
            return query
        if not client.signed_response:
            return standard_names(client, query)
        signed = [value for name, value in query if name == "response"]
        if len(signed) != 1:
            raise unsigned_response(client)
        try:
            keys = await self._discovery.key_set(client, jwt_kid(signed[0]))
            if keys is None:
                raise ProviderUnavailable(f"{client.label}'s keys are not known", sent=False)
        except ProviderError as error:
            raise explained(client.label, error, f"/oauth/{provider}/authorize") from None
        return response_parameters(
            signed[0],
            client_id=client.client_id,
            issuer=client.issuer or "",
            keys=keys,
            algorithms=client.signature_algorithms,
            now=self._clock.now(),
        )

    async def _finish(
        self,
        client: Client,
        origin: Origin,
        call: Call,
        secrets: AttemptSecrets,
        renewal: Renewal | None = None,
        others: Iterable[Client] = (),
    ) -> Completed:
        redeemed = await self._redeemer.redeem(client, call, secrets, renewal)
        completed = await self._landing.land(client, origin, redeemed)
        further = []
        for other in others:
            found = await self._redeemer.further(other.filled(secrets.parameters), redeemed, secrets)
            if found is not None:
                further.append((await self._landing.land(other, origin, found)).connection)
        return msgspec.structs.replace(completed, further=tuple(further))

    async def _poll(self, client: Client, attempt: Authorization, request_id: str) -> Completed | None:
        """The connection, or None: not yet."""
        device = attempt.secrets.device
        call = device_token_call(client, device.device_code if device else "")
        try:
            redeemed = await self._redeemer.redeem(client, call, attempt.secrets)
        except ProviderError as error:
            if await self._devices.waits(attempt, error):
                return None
            raise
        # The provider gives tokens for a code once: whoever got them stores them.
        await self._store.take(attempt, self._clock.now())
        return await self._landing.land(client, origin_of(attempt, request_id), redeemed)

    async def _source_token(self, caller: Caller, client: Client, renewal: Renewal) -> str | None:
        if renewal.source_uuid is None or client.exchange is None:
            return None
        source = await self._connections.get(caller.account_uuid, renewal.source_uuid)
        if source is None or source.provider != client.exchange.source:
            problem = f"Choose a connection of {self._clients.label(client.exchange.source)} to exchange."
            raise InvalidValue({"source": [problem]})
        _, tokens = await self._refresher.fresh(caller.account_uuid, renewal.source_uuid, 60)
        return tokens.access_token

    def _told(self, event: str, provider: str, error: ProviderError, again: str) -> AuthorizationFailed:
        """What an error means for the person, once it is written down for the operator."""
        logs.event(event, provider=provider, reason=error.message, code=error.code)
        return explained(self._clients.label(provider), error, again)

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
                await self._landing.let_go(held)
            raise AuthorizationFailed(
                "choice_expired",
                "That choice is no longer open",
                "The sign-in was too long ago, or you have chosen already. Connect again if you still want to.",
                retry_url="/connect",
            )
        origin = Origin(account_uuid=held.account_uuid, user_uuid=caller.user_uuid, request_id=request_id)
        created = await self._landing.add(held.provider, held.client_id, origin, held.grant)
        return Completed(connection=created, created=True, redirect_to=held.redirect_to)

    async def _discard(self, caller: Caller, handle: str) -> None:
        held = await self._store.take_held(hash_token(handle), caller.account_uuid, caller.user_uuid)
        if held is not None:
            await self._landing.let_go(held)

    async def _discard_expired(self, now: Instant) -> None:
        for held in await self._store.take_expired_held(now):
            await self._landing.let_go(held)

    async def _take(self, provider: str, state: str, browser: str | None) -> Authorization:
        """The attempt this callback belongs to, used up by it; AuthorizationFailed says why not."""
        attempt = await self._found(provider, state, browser)
        secrets = await self._store.take(attempt, self._clock.now())
        if secrets is None:
            raise _used(attempt)
        if secrets.device is not None:
            # Its state went to no authorization endpoint: nobody can have sent it back.
            raise _unknown_state()
        return msgspec.structs.replace(attempt, secrets=secrets)

    async def _found(self, provider: str, state: str, browser: str | None) -> Authorization:
        """An attempt that this browser began and that is not over yet, without its secrets."""
        found = await self._store.get(hash_token(state))
        if found is None or found[0].provider != provider:
            raise _unknown_state()
        attempt, taken = found
        if browser is None or not hmac.compare_digest(hash_token(browser), attempt.browser_hash):
            raise AuthorizationFailed(
                "other_browser",
                "This sign-in began in another browser",
                "For your safety a connection can only be finished in the browser in which it was started. "
                "Nothing was connected. Start again here.",
                retry_url=retry_url(attempt),
            )
        if taken:
            raise _used(attempt)
        if attempt.expires_at <= self._clock.now():
            raise AuthorizationFailed(
                "expired",
                "That took too long",
                "A sign-in must be finished in time, mostly within ten minutes. Nothing was connected. "
                "Please try again.",
                retry_url=retry_url(attempt),
            )
        return attempt


def _with(secrets: AttemptSecrets, values: Mapping[str, str]) -> AttemptSecrets:
    """The same with what the callback brought."""
    if not values:
        return secrets
    return msgspec.structs.replace(secrets, parameters={**secrets.parameters, **values})


def _dpop_key(client: Client) -> str | None:
    """A key for a connection to be: each has its own, so that one that leaks opens no other."""
    return dpop.new_key(client.dpop_algorithm) if client.sender_constrained == "dpop" else None


def _login_hint(client: Client, connection: Connection | None, given: str | None) -> str | None:
    """Whom the provider is told to expect (OpenID Connect Core §3.1.2.1), where its definition says to tell."""
    if client.login_hint == "none":
        return None
    if connection is not None:
        return connection.subject if client.login_hint == "subject" else connection.identity
    return given[:LONGEST_HINT] if given and given.isprintable() else None


def _unknown_state() -> AuthorizationFailed:
    return AuthorizationFailed(
        "unknown_state",
        "We do not know this sign-in",
        "It may have been too long ago, or the link is incomplete. Nothing was connected. "
        "Start again from your connections.",
        retry_url="/connect",
    )


def _used(attempt: Authorization) -> AuthorizationFailed:
    return AuthorizationFailed(
        "replayed",
        "This sign-in has been used already",
        "Each sign-in works once. If you pressed Back or reloaded, look at your connections: it may be "
        "there. Otherwise start again.",
        retry_url=retry_url(attempt),
    )
