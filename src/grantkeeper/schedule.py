"""When to refresh: pure decisions, by what a provider's definition says of its refresh tokens.

Durations of a policy are seconds; instants, and the delays that are answered, are microseconds.
"""

from __future__ import annotations

from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND, Instant
from grantkeeper.model import Record, TokenSet

IN_USE = 7 * DAY
"""A connection whose token was read within this time is in use (microseconds)."""

_LOOKED_AFTER = 7 * DAY
"""How often an idle connection is refreshed where nothing is known of what its refresh token dies of."""

_SOON = 5 * MINUTE
"""A first access token that is still to be exchanged, and whose end nobody stated, is short-lived all the same."""


class RefreshPolicy(Record, frozen=True):
    """How the refreshes of one provider are to go. Durations are seconds.

    `ahead`: refresh before expiry while the connection is in use; else a reader's request does it.
    `idle_lifetime`: unused for this long, the refresh token dies (None: not known to). `keep_alive`:
    the age at which it is used so that it does not; None: computed from what is known of its death.
    `not_before`: the provider refuses a refresh while the access token has more seconds left (None: it does not).
    `concurrency` and `per_minute` (None: no limit) hold over all processes together.
    """

    ahead: bool = True
    keep_alive: int | None = None
    idle_lifetime: int | None = None
    not_before: int | None = None
    concurrency: int = 20
    per_minute: int | None = None

    @property
    def earliest(self) -> int | None:
        """How long before the access token's end we ask at the earliest (microseconds); None: at any time.

        A tenth of `not_before` is left alone, for our clock and theirs.
        """
        return None if self.not_before is None else self.not_before * SECOND * 9 // 10


def refresh_due_at(tokens: TokenSet, policy: RefreshPolicy, used_at: Instant, jitter: float) -> Instant | None:
    """When the worker should see to these tokens; None: never. `used_at`: when a reader last took one.

    - No refresh token, and no grant that is asked for again: when the access token expires, to be shown as such.
    - No refresh token, but such a grant: ahead while in use, else on demand, as there is nothing to keep alive; ahead
      always where the access token is exchanged for its successor, and soon where the first one has yet to be.
    - In use (a reader took a token within `IN_USE` of this set's issue), and refreshed ahead: before
      the last tenth of the access token's lifetime or its last five minutes, whichever is more, but
      not before half of it; and within the last `not_before` seconds, where that is said.
    - Idle, on demand, or with an access token that does not expire: when `keep_alive` is over. Without
      one: when two thirds of the refresh token's known life are over, and a day before its end.
    - Idle, and nothing known: after seven days, or when one in use would be due, whichever is later.
      On demand, or with an access token that does not expire: never.
    - In use, the refresh token is not left to die either: the earlier of both dates holds.

    A refresh token's known end is its stated expiry, or `idle_lifetime` after its issue if that is
    first; an expiry that was over at the issue counts as unknown, as the provider did not mind it. No
    date is less than a day before the end; of a life shorter than two and a half days two fifths are
    left instead. No date is before half of the access token's lifetime, unless the refresh token would
    not live to see it, and none for the refresh token's sake within a minute.

    `jitter` in [0, 1) pulls dates earlier, so that connections made together drift apart: by up to an
    eighth of the access token's lifetime, or a tenth of the wait until the refresh token must be used.
    """
    if not tokens.renewable:
        return tokens.access_token_expires_at
    if tokens.refresh_token is None:
        # An access token that is its own refresh token dies with itself, in use or not.
        renewal, expires_at = tokens.renewal, tokens.access_token_expires_at
        own = renewal is not None and renewal.grant == "access_token"
        in_use = own or (policy.ahead and tokens.issued_at - used_at <= IN_USE)
        if expires_at is None:
            return tokens.issued_at + _SOON if renewal is not None and renewal.first else None
        return _ahead_at(tokens.issued_at, expires_at, policy, jitter) if in_use else None
    alive = _kept_alive_at(tokens, policy, jitter)
    if tokens.access_token_expires_at is None:
        return alive
    ahead = _ahead_at(tokens.issued_at, tokens.access_token_expires_at, policy, jitter)
    if policy.ahead and tokens.issued_at - used_at <= IN_USE:
        return ahead if alive is None else min(ahead, alive)
    if alive is None and policy.ahead:
        return max(ahead, tokens.issued_at + _earlier(_LOOKED_AFTER, 0, jitter))
    return alive


def retry_delay(failures: int, jitter: float, retry_after: int | None = None) -> int:
    """Microseconds until the next attempt after `failures` failed ones.

    Exponential from 2 s to 5 min with full jitter (at least 1 s); never sooner than the provider's
    Retry-After (seconds), of which at most an hour is honoured.
    """
    ceiling = min(5 * MINUTE, 2 * SECOND * 2 ** min(failures, 20))
    delay = max(SECOND, int(ceiling * jitter))
    return max(delay, min((retry_after or 0) * SECOND, HOUR))


def fresh_enough(expires_at: Instant | None, now: Instant, min_ttl: int) -> bool:
    """Whether a token that expires at `expires_at` (None: never) is good for `min_ttl` more seconds."""
    return expires_at is None or expires_at - now >= min_ttl * SECOND


def _ahead_at(issued_at: Instant, expires_at: Instant, policy: RefreshPolicy, jitter: float) -> Instant:
    lifetime = max(0, expires_at - issued_at)
    # At most three eighths: the eighth that spreads them must fit in after half of the lifetime, or where
    # tokens live ten minutes, all connections made together would be due together for ever.
    margin = min(max(lifetime // 10, 5 * MINUTE), lifetime * 3 // 8)
    due = expires_at - margin - int(lifetime // 8 * jitter)
    if policy.not_before is None or policy.earliest is None:
        return due
    # The last half of that time is left for whatever goes wrong.
    latest = policy.not_before * SECOND // 2
    return max(due, expires_at - latest - int((policy.earliest - latest) * jitter))


def _kept_alive_at(tokens: TokenSet, policy: RefreshPolicy, jitter: float) -> Instant | None:
    """When the refresh token must be used so that it does not die; None: not that we know."""
    start = tokens.issued_at
    half = max(0, (tokens.access_token_expires_at or start) - start) // 2
    keep_alive = None if policy.keep_alive is None else policy.keep_alive * SECOND
    death = _known_death(tokens, policy)
    if death is None:
        return None if keep_alive is None else start + _earlier(max(keep_alive, half), half, jitter)
    span = death - start
    # Not within a minute, or a refresh token that no refresh replaces would be used ever faster to its end.
    soonest = min(span, MINUTE)
    floor = max(min(half, span // 2), soonest)
    latest = max(span - min(DAY, span * 2 // 5), soonest)
    wanted = span * 2 // 3 if keep_alive is None else keep_alive
    return start + _earlier(min(max(wanted, floor), latest), floor, jitter)


def _known_death(tokens: TokenSet, policy: RefreshPolicy) -> Instant | None:
    stated, idle = tokens.refresh_token_expires_at, policy.idle_lifetime
    if stated is not None and stated <= tokens.issued_at:
        # It was honoured after its end: whoever stated that was wrong.
        stated = None
    known = (stated, None if idle is None else tokens.issued_at + idle * SECOND)
    return min((death for death in known if death is not None), default=None)


def _earlier(wait: int, floor: int, jitter: float) -> int:
    """A wait shortened by up to a tenth, but to no less than `floor`."""
    return max(wait - int(wait // 10 * jitter), floor)
