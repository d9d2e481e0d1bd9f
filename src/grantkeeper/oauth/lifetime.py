"""When a token ends: what answers say of it, in whichever form, and what a JWT says of itself."""

from __future__ import annotations

import base64
import math
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from grantkeeper.clock import SECOND, Instant
from grantkeeper.oauth.client import TokenResponsePaths

LONGEST_LIFETIME = 10 * 365 * 86_400
"""Seconds; a provider that promises more is taken at this."""

SHORTEST_LIFETIME = 60
"""Seconds; a token that is over already, as its provider says, is taken at this."""

_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")


class _Claims(msgspec.Struct):
    """What we look at in an access token that is a JWT."""

    exp: int | float


def stated(paths: TokenResponsePaths, value: Any, now: Instant) -> Any:
    """What an answer states as a token's end, as seconds from now; what cannot be that stays as it is."""
    if paths.expires == "seconds" or value is None:
        return value
    if paths.expires == "at_iso":
        return _until(value, now)
    number = _number(value)
    if number is None:
        return value
    in_seconds = number / 1000 if paths.expires.endswith("milliseconds") else number
    return in_seconds - now / SECOND if paths.expires.startswith("at_") else in_seconds


def _until(value: Any, now: Instant) -> Any:
    """Seconds until a moment in ISO 8601; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now / SECOND
    except (TypeError, ValueError, OverflowError):
        return value


def lifetime(value: Any) -> int | None:
    """The lifetime of an access token that can be refreshed. One said to be over counts as SHORTEST_LIFETIME.

    As absent it would never be refreshed, as over it would be refreshed without pause. Where there is no
    refresh token, 0 is some providers' word for "never".
    """
    number = _number(value)
    return SHORTEST_LIFETIME if number is not None and number < 1 else seconds(value)


def seconds(value: Any) -> int | None:
    """A lifetime in seconds; nonsense (negative, zero, words) counts as absent."""
    number = _number(value)
    return None if number is None or number < 1 else int(min(number, LONGEST_LIFETIME))


def _number(value: Any) -> float | None:
    """A finite number, also in a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def after(instant: Instant, wait: int | None) -> Instant | None:
    """That many seconds later; None stays None."""
    return None if wait is None else instant + wait * SECOND


def jwt_expiry(access_token: str, now: Instant) -> Instant | None:
    """When an access token that is a JWT says that it expires (RFC 9068 §2.2, RFC 7519 §4.1.4).

    A hint for our own schedule, so nobody looks at the signature. One that is over already, or further
    off than LONGEST_LIFETIME, counts as absent: it would be a clock's mistake, or no time at all.
    """
    found = _JWT.fullmatch(access_token)
    if found is None:
        return None
    payload = found[1]
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (ValueError, RecursionError):
        return None
    if not now < claims.exp * SECOND <= now + LONGEST_LIFETIME * SECOND:
        return None
    return int(claims.exp * SECOND)
