"""A connection made with a code that its person types in elsewhere (RFC 8628): shown, and polled politely."""

from __future__ import annotations

import msgspec

from grantkeeper.clock import SECOND, Clock, Instant
from grantkeeper.errors import AuthorizationFailed, ProviderError, ProviderUnavailable
from grantkeeper.model import Authorization, DeviceCode, Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.device import device_authorization_response
from grantkeeper.oauth.grants import device_authorization_call
from grantkeeper.oauth.sender import Sender
from grantkeeper.storage.authorizations import AuthorizationStore

_SLOWER = 5
"""Seconds by which `slow_down` lengthens the interval, for this and all later polls (RFC 8628 §3.5)."""


class DevicePrompt(Record, frozen=True):
    """What a person must be shown, until `expires_at`. `interval`: seconds until it is worth asking again."""

    provider: str
    label: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_at: Instant
    interval: int


class DeviceGrants:
    """Begins device authorizations, and says when each may be polled, whichever process polls."""

    def __init__(self, store: AuthorizationStore, sender: Sender, clock: Clock) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock

    async def begin(self, client: Client) -> tuple[DeviceCode, Instant]:
        """A fresh code of the provider, and when it ends (RFC 8628 §3.2)."""
        now = self._clock.now()
        answer = await self._sender.call(client, device_authorization_call(client))
        return device_authorization_response(client, answer, now)

    async def may_poll(self, attempt: Authorization) -> bool:
        """Whether it is time; if so nobody else polls within the interval."""
        now = self._clock.now()
        return await self._store.claim_poll(attempt, now, now + _device(attempt).interval * SECOND)

    async def waits(self, attempt: Authorization, error: ProviderError) -> bool:
        """Whether that answer means: not yet. `slow_down` and an unreachable server put later polls off."""
        if error.code == "authorization_pending":
            return True
        if error.code != "slow_down" and not isinstance(error, ProviderUnavailable):
            return False
        device = _device(attempt)
        slower = msgspec.structs.replace(device, interval=device.interval + _SLOWER)
        pause = max(slower.interval, (error.retry_after or 0) if isinstance(error, ProviderUnavailable) else 0)
        secrets = msgspec.structs.replace(attempt.secrets, device=slower)
        await self._store.put_off_poll(
            msgspec.structs.replace(attempt, secrets=secrets), self._clock.now() + pause * SECOND
        )
        return True


def prompt_for(client: Client, attempt: Authorization) -> DevicePrompt:
    """What to show of an attempt."""
    device = _device(attempt)
    return DevicePrompt(
        provider=client.name,
        label=client.label,
        user_code=device.user_code,
        verification_uri=device.verification_uri,
        verification_uri_complete=device.verification_uri_complete,
        expires_at=attempt.expires_at,
        interval=device.interval,
    )


def _device(attempt: Authorization) -> DeviceCode:
    assert attempt.secrets.device is not None
    return attempt.secrets.device


def ended(label: str, code: str | None, retry_url: str) -> AuthorizationFailed | None:
    """What the end of a device authorization means for its person (RFC 8628 §3.5); None: it is another error."""
    if code == "expired_token":
        return AuthorizationFailed(
            "expired",
            "That took too long",
            f"The code for {label} is no longer good. Nothing was connected. Please try again.",
            retry_url=retry_url,
        )
    if code == "access_denied":
        return AuthorizationFailed(
            "denied",
            "You did not allow the connection",
            f"{label} told us that access was declined. Nothing was connected or changed.",
            retry_url=retry_url,
            status=200,
        )
    return None
