"""Providers' public keys: kept, and fetched anew when a signature names a key that is not among them."""

from __future__ import annotations

import msgspec
from joserfc.jwk import KeySet

from grantkeeper import logs
from grantkeeper.clock import HOUR, MINUTE, Clock, Instant
from grantkeeper.discovery.finder import Plain
from grantkeeper.discovery.sharing import Sharing
from grantkeeper.errors import ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.jwks import key_set
from grantkeeper.oauth.metadata import document_of, metadata_request
from grantkeeper.storage.provider_metadata import KeptKeys, ProviderMetadataStore

LIFETIME = HOUR
"""How long keys are used without being looked for anew."""
PAUSE = MINUTE
"""The least time between two looks: a signature with a made-up key id must not make us ask for each."""


class _Held(Record, frozen=True):
    """Keys in this process."""

    url: str
    keys: KeySet
    fetched_at: Instant

    def serves(self, kid: str | None, now: Instant) -> bool:
        """Whether there is no need to ask."""
        return now - self.fetched_at < LIFETIME and (kid is None or any(key.kid == kid for key in self.keys))


class KeySets:
    """The keys of every client's provider, shared through the database."""

    def __init__(self, store: ProviderMetadataStore, http: Plain, clock: Clock) -> None:
        self._store = store
        self._http = http
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._tried_at: dict[str, Instant] = {}
        self._sharing = Sharing[_Held | None]()

    async def of(self, client: Client, kid: str | None) -> KeySet | None:
        """The keys that may have signed with `kid`; None where the provider publishes none.

        ProviderUnavailable or ProviderProtocolError where there are none yet. An unknown `kid` leads to one look a
        minute at most, and is then not in the answer: that is for the check of the signature to refuse.
        """
        if client.jwks_url is None:
            return None
        held = self._fitting(client)
        for _ in range(2):
            # Twice, as the first may be a look under way for another key, which ended in the database.
            if held is None or not held.serves(kid, self._clock.now()):
                held = await self._sharing.run(client.name, lambda: self._renewed(client, kid))
        if held is None:
            raise ProviderUnavailable(f"the keys of {client.label} could not be fetched; trying again in a minute")
        return held.keys

    def _fitting(self, client: Client) -> _Held | None:
        held = self._held.get(client.name)
        return held if held is not None and held.url == client.jwks_url else None

    async def _renewed(self, client: Client, kid: str | None) -> _Held | None:
        """From the database if another process was quicker, else from the provider; what there is, if it fails."""
        await self._read_kept(client)
        held, now = self._fitting(client), self._clock.now()
        if held is not None and (held.serves(kid, now) or now - held.fetched_at < PAUSE):
            return held
        if now - self._tried_at.get(client.name, now - PAUSE) < PAUSE:
            return held
        self._tried_at[client.name] = now
        try:
            return await self._fetched(client)
        except ProviderError as error:
            logs.event("keys.not_fetched", level=logs.WARNING, provider=client.name, reason=error.message)
            if held is None and not isinstance(error, ProviderUnavailable):
                # As an answer of the provider: that nothing was sent is not to be said of what came before.
                raise ProviderProtocolError(f"the keys of {client.label}: {error.message}", code="jwks") from None
            return held

    async def _read_kept(self, client: Client) -> None:
        kept, held = await self._store.keys(client.name), self._fitting(client)
        if kept is None or kept.jwks_url != client.jwks_url or (held and held.fetched_at >= kept.fetched_at):
            return
        try:
            keys = key_set(msgspec.json.decode(kept.jwks))
        except (ProviderProtocolError, msgspec.DecodeError):
            return
        self._held[client.name] = _Held(url=kept.jwks_url, keys=keys, fetched_at=kept.fetched_at)

    async def _fetched(self, client: Client) -> _Held:
        url, now = client.jwks_url or "", self._clock.now()
        document = document_of(await self._http.plain(metadata_request(url)), url)
        held = self._held[client.name] = _Held(url=url, keys=key_set(document), fetched_at=now)
        kept = KeptKeys(jwks_url=url, jwks=msgspec.json.encode(document).decode(), fetched_at=now)
        await self._store.keep_keys(client.name, kept)
        return held
