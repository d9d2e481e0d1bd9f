"""Registering at a server by ourselves, once for all processes (RFC 7591), and managing it (RFC 7592)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from grantkeeper import logs
from grantkeeper.clock import DAY, MINUTE, Clock
from grantkeeper.discovery.finder import Plain
from grantkeeper.discovery.kept import kept_registration
from grantkeeper.errors import ProviderError, ProviderUnavailable
from grantkeeper.oauth.registration import (
    Registration,
    delete_request,
    deletion_response,
    managed_response,
    registration_request,
    registration_response,
    update_request,
)
from grantkeeper.storage.database import until_stored
from grantkeeper.storage.provider_metadata import KeptRegistration, ProviderMetadataStore

CLAIM = 5 * MINUTE
"""How long one process alone may try to register; more than any request takes."""
RENEW = DAY
"""How long before its end a secret is renewed."""
_POLL = 0.2
_MOST_POLLS = 50

_decode = msgspec.json.Decoder(Registration).decode


class Registrar:
    """Our registrations. `owner` tells this process from all others."""

    def __init__(self, store: ProviderMetadataStore, http: Plain, clock: Clock, owner: str) -> None:
        self._store = store
        self._http = http
        self._clock = clock
        self._owner = owner

    async def registered(self, name: str, issuer: str, endpoint: str, metadata: Mapping[str, Any]) -> Registration:
        """Our registration; made now if there is none, by one process of all. ProviderError where it cannot be."""
        for _ in range(_MOST_POLLS):
            if (registration := await kept_registration(self._store, name, issuer)) is not None:
                return registration
            now = self._clock.now()
            if await self._store.claim_registration(name, issuer, self._owner, now, now + CLAIM):
                return await self._register(name, issuer, endpoint, metadata)
            await self._clock.sleep(_POLL)
        raise ProviderUnavailable(
            f"another process is registering us at {issuer}, or did so less than five minutes ago and heard nothing",
            sent=False,
        )

    async def update(self, name: str, registration: Registration, metadata: Mapping[str, Any]) -> Registration | None:
        """Tell the server what we are like now (RFC 7592 §2.2); None where it gave no way."""
        request = update_request(registration, metadata)
        if request is None:
            return None
        changed = managed_response(await self._http.plain(request), metadata, registration)
        kept = await self._store.registration(name)
        if kept is not None:
            renewed = _keeping(kept.issuer, changed, self._clock.now())
            await until_stored(self._clock, lambda: self._store.change_registration(name, renewed))
        return changed

    async def renewed(self, name: str, registration: Registration, metadata: Mapping[str, Any]) -> Registration:
        """The registration with a new secret if its own is about to end and the server gives another."""
        expires_at = registration.secret_expires_at
        if expires_at is None or expires_at - self._clock.now() > RENEW:
            return registration
        try:
            return await self.update(name, registration, metadata) or registration
        except ProviderError as error:
            logs.event("registration.not_renewed", level=logs.ERROR, provider=name, reason=error.message)
            return registration

    async def end(self, name: str) -> bool | None:
        """End our registration: whether the server was told (RFC 7592 §2.3); None where there was none.

        ProviderError where the server refuses or does not answer: then it stays.
        """
        kept = await self._store.registration(name)
        if kept is None:
            return None
        request = delete_request(_decode(kept.content))
        if request is not None:
            deletion_response(await self._http.plain(request))
        await until_stored(self._clock, lambda: self._store.forget_registration(name, kept.client_id))
        return request is not None

    async def _register(self, name: str, issuer: str, endpoint: str, metadata: Mapping[str, Any]) -> Registration:
        """Under the claim; what the server gives is stored, however long the database is away."""
        try:
            answer = await self._http.plain(registration_request(endpoint, metadata))
            registration = registration_response(answer, metadata)
        except ProviderError as error:
            # Perhaps the server has registered us and we did not hear it: the claim lapses, so that not every try
            # leaves another client behind.
            if not (isinstance(error, ProviderUnavailable) and error.sent):
                await self._store.release_registration(name, self._owner)
            raise
        kept = _keeping(issuer, registration, self._clock.now())
        if not await until_stored(self._clock, lambda: self._store.keep_registration(name, self._owner, kept)):
            # Ours came too late, and another process has registered meanwhile: one is enough.
            await self._withdraw(name, registration)
            other = await kept_registration(self._store, name, issuer)
            if other is None:
                raise ProviderUnavailable(f"another process is registering us at {issuer}", sent=False)
            return other
        logs.event("registration.made", provider=name, issuer=issuer, client_id=registration.client_id)
        return registration

    async def _withdraw(self, name: str, registration: Registration) -> None:
        request = delete_request(registration)
        try:
            if request is not None:
                deletion_response(await self._http.plain(request))
        except ProviderError as error:
            logs.event("registration.left_over", level=logs.WARNING, provider=name, reason=error.message)


def _keeping(issuer: str, registration: Registration, now: int) -> KeptRegistration:
    return KeptRegistration(
        issuer=issuer,
        client_id=registration.client_id,
        content=msgspec.json.encode(registration),
        created_at=now,
        expires_at=registration.secret_expires_at,
    )
