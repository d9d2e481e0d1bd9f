"""What `doctor` looks at of the client keys: certificates that end, keys that have signed for long."""

from __future__ import annotations

from grantkeeper.cli.checks import Finding, failed, ok, warned
from grantkeeper.cli.keys import ENDS_SOON
from grantkeeper.cli.output import when
from grantkeeper.clock import DAY, Clock, Instant, SystemClock
from grantkeeper.config import Settings
from grantkeeper.errors import ConfigError, StorageError
from grantkeeper.keys.certificates import not_after
from grantkeeper.storage.client_keys import ClientKey, list_client_keys
from grantkeeper.storage.inspection import inspected
from grantkeeper.storage.migrate import check_revision, current_revision

SIGNS_FOR = 365 * DAY
"""A key that has signed for longer is worth replacing: nobody can say who had it by then."""


async def check_keys(settings: Settings, clock: Clock | None = None) -> list[Finding]:
    """The keys in use, and what is to be done about them; nothing where the database cannot be read."""
    now = (clock or SystemClock()).now()
    keys = await _stored(settings)
    found = [finding for key in keys if (finding := _look_at(key, keys, now)) is not None]
    used = sum(key.in_use(now) for key in keys)
    return [ok("keys", f"{used} in use"), *found] if used else found


async def _stored(settings: Settings) -> list[ClientKey]:
    """What another check has complained of already is none of this one's."""
    try:
        async with inspected(settings.database) as database:
            if database is None or not check_revision(await current_revision(database)):
                return []
            return await list_client_keys(database)
    except (ConfigError, StorageError):
        return []


def _look_at(key: ClientKey, keys: list[ClientKey], now: Instant) -> Finding | None:
    if not key.in_use(now) or any(other.replaces(key) and other.signs_from > key.signs_from for other in keys):
        return None
    if key.chain is not None:
        return _look_at_certificate(key, not_after(key.chain), now)
    if now - key.signs_from <= SIGNS_FOR:
        return None
    days = (now - key.signs_from) // DAY
    advice = f"replace it: grantkeeper keys create --algorithm {key.algorithm}"
    return warned("keys", f"{key.kid} ({key.algorithm}) has signed for {days} days", advice)


def _look_at_certificate(key: ClientKey, ends: Instant, now: Instant) -> Finding | None:
    advice = f"get the next one: grantkeeper keys import-certificate {key.name}"
    if ends <= now:
        return failed("keys", f"certificate {key.name} ended {when(ends)}", advice)
    if ends - now < ENDS_SOON:
        return warned("keys", f"certificate {key.name} ends {when(ends)}", advice)
    return None
