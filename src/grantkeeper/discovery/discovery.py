"""The service: completes clients with what their providers say, before they are asked for, and keeps it fresh."""

from __future__ import annotations

from joserfc.jwk import KeySet

from grantkeeper import logs
from grantkeeper.clients import Clients, Found, Wanted
from grantkeeper.clock import DAY, MINUTE, SECOND, Clock, Instant
from grantkeeper.discovery.finder import Finder, Plain, found_in
from grantkeeper.discovery.kept import kept_registration, learn_all_kept, learn_kept
from grantkeeper.discovery.key_sets import KeySets
from grantkeeper.discovery.registrar import Registrar
from grantkeeper.discovery.sharing import Sharing
from grantkeeper.errors import ConfigError, GrantkeeperError, ProviderError
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.registration import Registration
from grantkeeper.storage.database import until_stored
from grantkeeper.storage.provider_metadata import ProviderMetadataStore

LIFETIME = DAY
"""How long metadata are used before they are fetched anew, beside what else goes on."""
_LOOK = MINUTE
"""How often a process looks whether another has found out, or changed, something."""
_RETRY_MISSING = 30 * SECOND
_RETRY_STALE = 10 * MINUTE
_ROUND = 60.0


class Discovery:
    """Finds out about the providers whose definition or settings leave it to discovery."""

    def __init__(self, store: ProviderMetadataStore, clients: Clients, http: Plain, clock: Clock, owner: str) -> None:
        self._store = store
        self._clients = clients
        self._clock = clock
        self._finder = Finder(http, clock)
        self._registrar = Registrar(store, http, clock, owner)
        self._key_sets = KeySets(store, http, clock)
        self._sharing = Sharing[None]()
        self._looks = Sharing[None]()
        self._registrations = Sharing[Registration]()
        self._fetched_at: dict[str, Instant] = {}
        self._looked_at: dict[str, Instant] = {}
        self._failed_at: dict[str, Instant] = {}

    async def load(self) -> None:
        """Put clients together with what is stored, without asking anybody; wanted once, at the start."""
        fetched = await learn_all_kept(self._store, self._clients)
        self._fetched_at |= fetched
        self._looked_at |= dict.fromkeys(fetched, self._clock.now())

    async def run(self) -> None:
        """Complete what is missing and renew what is old, for ever; returns at once where there is nothing to find."""
        while await self.round():
            await self._clock.sleep(_ROUND)

    async def round(self) -> int:
        """Do so once; answers for how many providers there is something to find."""
        names = [name for name in self._clients.configured() if self._clients.wanted(name) is not None]
        for name in names:
            try:
                await self.ensure(name)
            except GrantkeeperError as error:
                logs.event("discovery.failed", level=logs.ERROR, provider=name, reason=error.message)
        return len(names)

    async def ensure(self, name: str) -> None:
        """See that a client is complete, as far as it can be; to be awaited before it is asked for.

        Returns at once where it is, or needs nothing. Raises nothing of the provider: what is missing is told by
        `Clients.problems`, and by the errors of whoever asks for the client.
        """
        wanted = self._clients.wanted(name)
        if wanted is None:
            return
        if not self._clients.pending(name):
            if self._clock.now() - self._looked_at.get(name, 0) >= _LOOK:
                self._looks.begin(name, lambda: self._look(name, wanted))
            return
        if self._clock.now() - self._failed_at.get(name, -_RETRY_MISSING) >= _RETRY_MISSING:
            await self._sharing.run(name, lambda: self._complete(name, wanted))

    async def renew(self, name: str) -> None:
        """Fetch a provider's metadata now; ConfigError where it has none to find, ProviderError where that fails."""
        wanted = self._clients.wanted(name)
        if wanted is None:
            raise ConfigError([f"clients.{name}: nothing of it is left to discovery; see docs/providers.md"])
        await self._fetch(name, wanted)

    async def key_set(self, client: Client, kid: str | None) -> KeySet | None:
        """The provider's keys that may have signed with `kid`; None where it publishes none (no `jwks_url`).

        ProviderUnavailable or ProviderProtocolError where they cannot be had. Its `sent` is true: whoever checks a
        signature has sent a request before.
        """
        return await self._key_sets.of(client, kid)

    async def register(self, name: str) -> tuple[Registration, bool]:
        """Our registration, and whether it is new; one that is there already is brought up to date (RFC 7592).

        ConfigError where the provider has no place to register at; ProviderError where it refuses.
        """
        await self.renew(name)
        metadata = self._clients.found(name).metadata
        assert metadata is not None
        registration = await kept_registration(self._store, name, metadata.issuer)
        if registration is not None:
            changed = await self._registrar.update(name, registration, self._clients.application(name))
            self._clients.learn(name, Found(registration=changed or registration))
            return changed or registration, False
        if metadata.registration_endpoint is None:
            raise ConfigError([f"clients.{name}: {metadata.issuer} has no registration endpoint; register by hand"])
        if not self._clients.registers(name):
            raise ConfigError([f"clients.{name}: is a client of {metadata.issuer} already, or cannot be one"])
        await self._register(name)
        found = self._clients.found(name).registration
        assert found is not None
        return found, True

    async def unregister(self, name: str) -> bool | None:
        """End our registration: whether the server was told; None where there was none. ProviderError: it stays."""
        told = await self._registrar.end(name)
        await self._store.forget_metadata(name)
        self._clients.forget(name)
        self._fetched_at.pop(name, None)
        return told

    async def caught_up(self) -> None:
        """Return once what was begun beside everything else has ended."""
        for sharing in (self._looks, self._sharing, self._registrations):
            await sharing.settle()

    async def settle(self) -> None:
        """Return once what servers gave us is stored; wanted before the database closes. Fetching can wait."""
        self._looks.cancel()
        self._sharing.cancel()
        await self._looks.settle()
        await self._sharing.settle()
        await self._registrations.settle()

    async def _complete(self, name: str, wanted: Wanted) -> None:
        """Whatever is missing; what goes wrong becomes the client's problem, and is tried again later."""
        try:
            await self._read_kept(name)
            if self._clients.found(name).metadata is None:
                await self._fetch(name, wanted)
            if self._clients.registers(name):
                await self._register(name)
            self._failed_at.pop(name, None)
        except ProviderError as error:
            self._failed_at[name] = self._clock.now()
            logs.event("discovery.failed", level=logs.WARNING, provider=name, reason=error.message)
            self._clients.learn(name, Found(trouble=error.message))

    async def _look(self, name: str, wanted: Wanted) -> None:
        """Beside everything else: take over what other processes found, fetch what is old. Nothing is lost by it."""
        self._looked_at[name] = now = self._clock.now()
        try:
            await self._read_kept(name)
            await self._renew_secret(name)
            if now - self._fetched_at.get(name, 0) < LIFETIME:
                return
            if now - self._failed_at.get(name, -_RETRY_STALE) >= _RETRY_STALE:
                await self._fetch(name, wanted)
                self._failed_at.pop(name, None)
        except GrantkeeperError as error:
            self._failed_at[name] = now
            logs.event("discovery.not_renewed", level=logs.WARNING, provider=name, reason=error.message)

    async def _read_kept(self, name: str) -> None:
        fetched_at = await learn_kept(self._store, self._clients, name)
        if fetched_at is not None:
            self._fetched_at[name], self._looked_at[name] = fetched_at, self._clock.now()

    async def _renew_secret(self, name: str) -> None:
        before = self._clients.found(name).registration
        if before is not None:
            ours = self._clients.application(name)
            renewed = await self._registrations.run(name, lambda: self._registrar.renewed(name, before, ours))
            if self._clients.found(name).registration is before:
                self._clients.learn(name, Found(registration=renewed))

    async def _fetch(self, name: str, wanted: Wanted) -> None:
        before = await self._store.metadata(name)
        pinned = before.issuer if before is not None and before.resource == wanted.resource else None
        kept = await self._finder.find(wanted, pinned)
        found = found_in(kept, wanted)
        assert found is not None
        await until_stored(self._clock, lambda: self._store.keep_metadata(name, kept))
        self._fetched_at[name] = kept.fetched_at
        self._clients.learn(name, found)
        await self._read_kept(name)

    async def _register(self, name: str) -> None:
        metadata = self._clients.found(name).metadata
        assert metadata is not None
        assert metadata.registration_endpoint is not None
        issuer, endpoint, ours = metadata.issuer, metadata.registration_endpoint, self._clients.application(name)
        registration = await self._registrations.run(
            name, lambda: self._registrar.registered(name, issuer, endpoint, ours)
        )
        now = self._clients.found(name).metadata
        if now is not None and now.issuer == issuer:
            # Else its definition has changed meanwhile: another issuer must not be told this secret.
            self._clients.learn(name, Found(registration=registration))
