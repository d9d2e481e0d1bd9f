"""When to refresh: by expiry, by what a refresh token dies of, and without everybody at once."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND, Instant
from grantkeeper.model import Renewal, TokenSet
from grantkeeper.schedule import IN_USE, RefreshPolicy, fresh_enough, refresh_due_at, retry_delay
from grantkeeper.testing import FakeClock

NOW = FakeClock().now()
LONG_AGO = NOW - IN_USE - 1
AHEAD = RefreshPolicy()
ON_DEMAND = RefreshPolicy(ahead=False)
AGAIN = Renewal(grant="client_credentials")

jitters = st.floats(0, 1, exclude_max=True)
lifetimes = st.integers(0, 400 * DAY)
spans = st.integers(0, 800 * DAY)
seconds = st.integers(1, 800 * 86_400)
uses = st.integers(0, 60 * DAY).map(lambda ago: NOW - ago)
policies = st.builds(
    RefreshPolicy, ahead=st.booleans(), keep_alive=st.none() | seconds, idle_lifetime=st.none() | seconds
)


def tokens(
    lifetime: int | None = HOUR,
    *,
    issued_at: Instant = NOW,
    refresh_token: str | None = "secret-refresh",
    refresh_life: int | None = None,
    renewal: Renewal | None = None,
) -> TokenSet:
    """A token set whose tokens live so long from its issue; None: for ever, or nobody knows how long."""
    return TokenSet(
        access_token="secret-access",
        token_type="Bearer",
        refresh_token=refresh_token,
        renewal=renewal,
        issued_at=issued_at,
        access_token_expires_at=None if lifetime is None else issued_at + lifetime,
        refresh_token_expires_at=None if refresh_life is None else issued_at + refresh_life,
    )


any_tokens = st.builds(
    tokens,
    st.none() | lifetimes,
    refresh_token=st.sampled_from(["secret-refresh", None]),
    refresh_life=st.none() | spans,
    renewal=st.sampled_from([None, AGAIN]),
)


def known_end(held: TokenSet, policy: RefreshPolicy) -> Instant | None:
    """When the refresh token dies as far as anybody knows."""
    idle = None if policy.idle_lifetime is None else held.issued_at + policy.idle_lifetime * SECOND
    ends = (held.refresh_token_expires_at, idle)
    return min((end for end in ends if end is not None and end > held.issued_at), default=None)


# In use


@given(lifetime=lifetimes, jitter=jitters)
@example(lifetime=0, jitter=0.0)
@example(lifetime=5 * SECOND, jitter=0.99)
@example(lifetime=HOUR, jitter=0.0)
def test_in_use_a_refresh_comes_ahead_of_expiry(lifetime: int, jitter: float) -> None:
    """Before the last tenth and the last five minutes where half the lifetime allows, never before half of it."""
    due = refresh_due_at(tokens(lifetime), AHEAD, NOW, jitter)
    assert due is not None
    left = NOW + lifetime - due
    margin = max(lifetime // 10, 5 * MINUTE)
    assert left >= min(margin, lifetime * 3 // 8)
    assert due >= NOW + lifetime // 2


@pytest.mark.parametrize(
    ("lifetime", "latest", "spread"),
    [
        (90 * DAY, 9 * DAY, 11.25 * DAY),
        (4 * HOUR, 24 * MINUTE, 30 * MINUTE),
        (HOUR, 6 * MINUTE, 7.5 * MINUTE),
        (30 * MINUTE, 5 * MINUTE, 3.75 * MINUTE),
        (8 * MINUTE, 3 * MINUTE, MINUTE),
    ],
)
def test_the_margin_by_example(lifetime: int, latest: int, spread: float) -> None:
    """Four hours: the last tenth. Half an hour: five minutes. Eight minutes: three eighths. Then the spread."""
    assert refresh_due_at(tokens(lifetime), AHEAD, NOW, 0.0) == NOW + lifetime - latest
    earliest = refresh_due_at(tokens(lifetime), AHEAD, NOW, 0.9999999999)
    assert earliest is not None
    assert abs(earliest - (NOW + lifetime - latest - spread)) < SECOND


def test_a_week_without_readers_ends_the_use() -> None:
    """Seven days to the microsecond: from then on the connection is kept alive, and no more."""
    still, over = NOW - IN_USE, NOW - IN_USE - 1
    assert refresh_due_at(tokens(HOUR), AHEAD, still, 0.0) == NOW + 54 * MINUTE
    assert refresh_due_at(tokens(HOUR), AHEAD, over, 0.0) == NOW + 7 * DAY


def test_a_reader_after_the_issue_is_use() -> None:
    """The mark is a day coarse, and may be newer than the token set."""
    assert refresh_due_at(tokens(HOUR), AHEAD, NOW + DAY, 0.0) == NOW + 54 * MINUTE


def test_in_use_the_refresh_token_is_not_left_to_die() -> None:
    """An access token of 90 days and a refresh token of 30, by its age or by disuse: the shorter life counts."""
    by_age = refresh_due_at(tokens(90 * DAY, refresh_life=30 * DAY), AHEAD, NOW, 0.0)
    by_disuse = refresh_due_at(tokens(90 * DAY), RefreshPolicy(idle_lifetime=30 * 86_400), NOW, 0.0)

    assert by_age == by_disuse == NOW + 20 * DAY


@given(lifetime=lifetimes, span=spans, jitter=jitters)
def test_in_use_both_dates_hold(lifetime: int, span: int, jitter: float) -> None:
    """What is due ahead of expiry alone, or for the refresh token alone, is not later for both together."""
    both = refresh_due_at(tokens(lifetime, refresh_life=span), AHEAD, NOW, jitter)
    access = refresh_due_at(tokens(lifetime), AHEAD, NOW, jitter)
    refresh = refresh_due_at(tokens(lifetime, refresh_life=span), AHEAD, LONG_AGO, jitter)
    assert access is not None
    assert refresh is not None
    assert both == min(access, refresh)


# Idle, or on demand


@pytest.mark.parametrize(
    ("policy", "refresh_life", "expected"),
    [
        (RefreshPolicy(idle_lifetime=60 * 86_400), None, 40 * DAY),
        (RefreshPolicy(idle_lifetime=60 * 86_400), 30 * DAY, 20 * DAY),
        (RefreshPolicy(idle_lifetime=30 * 86_400), 60 * DAY, 20 * DAY),
        (AHEAD, 60 * DAY, 40 * DAY),
        (AHEAD, 66 * HOUR, 42 * HOUR),
        (AHEAD, 60 * HOUR, 36 * HOUR),
        (AHEAD, 10 * HOUR, 6 * HOUR),
        (AHEAD, 80 * SECOND, MINUTE),
        (AHEAD, 30 * SECOND, 30 * SECOND),
        (AHEAD, 0, 7 * DAY),
        (AHEAD, -DAY, 7 * DAY),
        (ON_DEMAND, -DAY, None),
        (RefreshPolicy(idle_lifetime=30 * 86_400), -DAY, 20 * DAY),
        (AHEAD, None, 7 * DAY),
        (ON_DEMAND, 60 * DAY, 40 * DAY),
        (ON_DEMAND, None, None),
        (RefreshPolicy(keep_alive=86_400), None, DAY),
        (RefreshPolicy(keep_alive=86_400, ahead=False), None, DAY),
        (RefreshPolicy(keep_alive=86_400, idle_lifetime=60 * 86_400), 30 * DAY, DAY),
        (RefreshPolicy(keep_alive=50 * 86_400, idle_lifetime=60 * 86_400), None, 50 * DAY),
        (RefreshPolicy(keep_alive=50 * 86_400), 30 * DAY, 29 * DAY),
        (RefreshPolicy(keep_alive=60), None, 30 * MINUTE),
        (RefreshPolicy(keep_alive=60, idle_lifetime=86_400), None, 30 * MINUTE),
    ],
)
def test_an_idle_connection_by_example(policy: RefreshPolicy, refresh_life: int | None, expected: int | None) -> None:
    """Two thirds of the shorter life, a day before its end, or when the definition says; a week if nobody knows."""
    due = refresh_due_at(tokens(HOUR, refresh_life=refresh_life), policy, LONG_AGO, 0.0)

    assert due == (None if expected is None else NOW + expected)


def test_on_demand_nobody_is_refreshed_ahead() -> None:
    """Readers or not, expiry is no reason; the refresh token's end is."""
    assert refresh_due_at(tokens(HOUR), ON_DEMAND, NOW, 0.0) is None
    assert refresh_due_at(tokens(HOUR, refresh_life=30 * DAY), ON_DEMAND, NOW, 0.0) == NOW + 20 * DAY


def test_an_idle_connection_is_never_due_before_one_in_use() -> None:
    """An access token of 60 days is not refreshed after a week because nobody reads it."""
    idle = refresh_due_at(tokens(60 * DAY), AHEAD, LONG_AGO, 0.3)

    assert idle == refresh_due_at(tokens(60 * DAY), AHEAD, NOW, 0.3)


def test_what_does_not_expire() -> None:
    """Without a known end of either token there is nothing to do; the refresh token's alone is enough."""
    for used_at in (NOW, LONG_AGO):
        assert refresh_due_at(tokens(None), AHEAD, used_at, 0.5) is None
        assert refresh_due_at(tokens(None), ON_DEMAND, used_at, 0.5) is None
        assert refresh_due_at(tokens(None, refresh_life=30 * DAY), AHEAD, used_at, 0.0) == NOW + 20 * DAY
        assert refresh_due_at(tokens(None), RefreshPolicy(keep_alive=86_400), used_at, 0.0) == NOW + DAY


@given(lifetime=st.none() | lifetimes, policy=policies, used_at=uses, jitter=jitters, span=st.none() | spans)
def test_without_a_refresh_token_the_end_is_shown(
    lifetime: int | None, policy: RefreshPolicy, used_at: Instant, jitter: float, span: int | None
) -> None:
    """Looked at when the access token expires, whatever the policy; never where it does not."""
    held = tokens(lifetime, refresh_token=None, refresh_life=span)
    assert refresh_due_at(held, policy, used_at, jitter) == held.access_token_expires_at


# No refresh token, but a grant that is asked for again


@given(lifetime=st.none() | lifetimes, policy=policies, used_at=uses, jitter=jitters, span=st.none() | spans)
def test_what_can_be_asked_for_again_is_refreshed_ahead_while_in_use(
    lifetime: int | None, policy: RefreshPolicy, used_at: Instant, jitter: float, span: int | None
) -> None:
    """As with a refresh token, and for readers' sake only: left alone, it has nothing that could die."""
    held = tokens(lifetime, refresh_token=None, refresh_life=span, renewal=AGAIN)
    due = refresh_due_at(held, policy, used_at, jitter)
    if lifetime is None or not policy.ahead or NOW - used_at > IN_USE:
        assert due is None
    else:
        assert due == refresh_due_at(tokens(lifetime), AHEAD, NOW, jitter)


def test_a_grant_without_a_person_by_example() -> None:
    """An hour's token: six minutes before its end while it is read; on demand, or a week after, when it is wanted."""
    held = tokens(HOUR, refresh_token=None, renewal=Renewal(grant="token_exchange", source_uuid="u"))

    assert refresh_due_at(held, AHEAD, NOW, 0.0) == NOW + 54 * MINUTE
    assert refresh_due_at(held, AHEAD, LONG_AGO, 0.0) is None
    assert refresh_due_at(held, ON_DEMAND, NOW, 0.0) is None


@given(held=any_tokens.filter(lambda held: held.refresh_token is not None), policy=policies, used_at=uses)
def test_a_refresh_token_counts_first(held: TokenSet, policy: RefreshPolicy, used_at: Instant) -> None:
    """Where a grant that needs no person brought one all the same, it is kept alive like any other."""
    either = {
        refresh_due_at(msgspec.structs.replace(held, renewal=renewal), policy, used_at, 0.5)
        for renewal in (None, AGAIN)
    }
    assert len(either) == 1


# Always


@given(held=any_tokens, policy=policies, used_at=uses, jitter=jitters)
def test_a_known_end_is_never_missed(held: TokenSet, policy: RefreshPolicy, used_at: Instant, jitter: float) -> None:
    """There is a date, a day before any refresh token's end; two fifths of its life where that is short."""
    end = known_end(held, policy)
    if held.refresh_token is None or end is None:
        return
    due = refresh_due_at(held, policy, used_at, jitter)
    assert due is not None
    life = end - held.issued_at
    assert due <= max(end - min(DAY, life * 2 // 5), min(end, held.issued_at + MINUTE))


@given(held=any_tokens, policy=policies, used_at=uses, jitter=jitters)
def test_no_token_is_refreshed_young(held: TokenSet, policy: RefreshPolicy, used_at: Instant, jitter: float) -> None:
    """Not before half of the access token's lifetime, or half of a refresh token's life that is shorter."""
    due = refresh_due_at(held, policy, used_at, jitter)
    if due is None or held.access_token_expires_at is None:
        return
    end = known_end(held, policy) if held.refresh_token else None
    shorter = min(held.access_token_expires_at, end) if end is not None else held.access_token_expires_at
    assert due >= held.issued_at + (shorter - held.issued_at) // 2


@given(held=any_tokens, policy=policies, used_at=uses, few=jitters, many=jitters)
def test_more_jitter_means_sooner(
    held: TokenSet, policy: RefreshPolicy, used_at: Instant, few: float, many: float
) -> None:
    """Each date is spread to before the one it would have had, by a tenth of the wait or an eighth of the lifetime."""
    few, many = sorted((few, many))
    plain = refresh_due_at(held, policy, used_at, 0.0)
    later, sooner = (refresh_due_at(held, policy, used_at, jitter) for jitter in (few, many))
    if plain is None:
        assert later is sooner is None
        return
    assert later is not None
    assert sooner is not None
    assert sooner <= later <= plain
    lifetime = (held.access_token_expires_at or held.issued_at) - held.issued_at
    assert plain - sooner <= max(lifetime // 8, (plain - held.issued_at) // 10)


@given(held=any_tokens, policy=policies, jitter=jitters)
def test_being_read_never_delays(held: TokenSet, policy: RefreshPolicy, jitter: float) -> None:
    """A connection in use is due no later than the same one left alone."""
    used, idle = (refresh_due_at(held, policy, used_at, jitter) for used_at in (NOW, LONG_AGO))
    assert idle is None or (used is not None and used <= idle)


@given(held=any_tokens, policy=policies, used_at=uses, jitter=jitters, shift=st.integers(-DAY, 400 * DAY))
def test_only_spans_count(held: TokenSet, policy: RefreshPolicy, used_at: Instant, jitter: float, shift: int) -> None:
    """The same tokens a while later are due that while later."""

    def moved(instant: Instant | None) -> Instant | None:
        return None if instant is None else instant + shift

    later = TokenSet(
        access_token=held.access_token,
        token_type=held.token_type,
        refresh_token=held.refresh_token,
        renewal=held.renewal,
        issued_at=held.issued_at + shift,
        access_token_expires_at=moved(held.access_token_expires_at),
        refresh_token_expires_at=moved(held.refresh_token_expires_at),
    )
    assert refresh_due_at(later, policy, used_at + shift, jitter) == moved(
        refresh_due_at(held, policy, used_at, jitter)
    )


def test_an_access_token_that_was_over_when_it_came_is_due_at_once() -> None:
    """A date in the past is answered as a date in the past."""
    assert refresh_due_at(tokens(-HOUR), AHEAD, NOW, 0.5) == NOW - HOUR


@pytest.mark.parametrize("policy", [AHEAD, ON_DEMAND, RefreshPolicy(keep_alive=86_400)])
@pytest.mark.parametrize("lifetime", [HOUR, None])
def test_a_refresh_token_that_nothing_replaces_is_not_hurried_to_its_end(
    policy: RefreshPolicy, lifetime: int | None
) -> None:
    """It dies on a fixed day whatever we do: a few refreshes more than idle life needs, none within a minute."""
    end, at, refreshes = NOW + 30 * DAY, NOW, 0
    while at < end:
        held = tokens(lifetime, issued_at=at, refresh_life=end - at)
        due = refresh_due_at(held, policy, LONG_AGO, 0.0)
        assert due is not None
        assert at + min(MINUTE, end - at) <= due <= end
        at, refreshes = due, refreshes + 1
    if policy.keep_alive is None:
        assert refreshes < 20


def test_an_expiry_that_the_provider_does_not_mind_is_forgotten() -> None:
    """Taken by its word, it would have the connection refreshed without pause from that day on."""
    held = tokens(HOUR, refresh_life=-DAY)

    assert refresh_due_at(held, AHEAD, NOW, 0.0) == NOW + 54 * MINUTE


# Ten thousand at once


def crowd(lifetime: int, cycles: int) -> list[list[Instant]]:
    """When ten thousand connections made within one minute are due, cycle by cycle."""
    chance = random.Random(5)
    at = [NOW + int(chance.random() * MINUTE) for _ in range(10_000)]
    rounds = []
    for _ in range(cycles):
        due = [refresh_due_at(tokens(lifetime, issued_at=each), AHEAD, each, chance.random()) for each in at]
        at = [each for each in due if each is not None]
        assert len(at) == 10_000
        rounds.append(at)
    return rounds


def fullest_minute(due: list[Instant]) -> float:
    """The share of the connections that are due in the minute that holds most, wherever it begins."""
    ordered = sorted(due)
    most, first = 0, 0
    for last, instant in enumerate(ordered):
        while instant - ordered[first] >= MINUTE:
            first += 1
        most = max(most, last - first + 1)
    return most / len(ordered)


def test_connections_made_together_drift_apart() -> None:
    """Ten thousand of one minute, tokens of an hour: a quarter at most at once, and an eighth after twelve rounds."""
    rounds = crowd(HOUR, 12)

    assert fullest_minute(rounds[0]) <= 1 / 4
    assert fullest_minute(rounds[11]) <= 1 / 8
    assert fullest_minute(rounds[11]) < fullest_minute(rounds[3]) < fullest_minute(rounds[0])


@pytest.mark.parametrize("lifetime", [5 * MINUTE, 10 * MINUTE, 30 * MINUTE])
def test_short_lived_tokens_drift_apart_too(lifetime: int) -> None:
    """Where half of the lifetime is less than the five minutes, they are not held together by it."""
    rounds = crowd(lifetime, 16)
    occupied = Counter(instant // SECOND for instant in rounds[-1])

    assert fullest_minute(rounds[-1]) < fullest_minute(rounds[0])
    assert max(occupied.values()) / 10_000 < 1 / 60


def test_idle_connections_drift_apart_too() -> None:
    """Imported in one minute and read by nobody: the day they are due on is spread over hours."""
    chance = random.Random(7)
    due = [
        refresh_due_at(tokens(HOUR, issued_at=NOW + each), AHEAD, LONG_AGO - DAY, chance.random())
        for each in range(1_000)
    ]

    assert fullest_minute([each for each in due if each is not None]) < 1 / 50


# Delays, and freshness


@given(failures=st.integers(0, 10**6), jitter=jitters, retry_after=st.none() | st.integers(-(10**12), 10**12))
def test_a_retry_waits_within_bounds(failures: int, jitter: float, retry_after: int | None) -> None:
    """At least a second, at most five minutes or the hour a provider may ask for; never sooner than it asked."""
    delay = retry_delay(failures, jitter, retry_after)
    asked = min(max(retry_after or 0, 0) * SECOND, HOUR)
    assert isinstance(delay, int)
    assert max(SECOND, asked) <= delay <= max(5 * MINUTE, asked)


@given(failures=st.integers(0, 100), jitter=jitters)
def test_more_failures_never_mean_a_shorter_wait(failures: int, jitter: float) -> None:
    """The wait grows with the failures, up to its ceiling."""
    assert retry_delay(failures, jitter) <= retry_delay(failures + 1, jitter)


def test_the_wait_doubles() -> None:
    """At the most jitter: 2, 4, 8 … seconds, then five minutes."""
    waits = [round(retry_delay(failures, 0.9999999) / SECOND) for failures in range(10)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(
    expires_at=st.integers(NOW, NOW + 400 * DAY),
    now=st.integers(NOW, NOW + 400 * DAY),
    min_ttl=st.integers(0, 10**7),
)
def test_fresh_enough_means_so_many_seconds(expires_at: int, now: int, min_ttl: int) -> None:
    """Good exactly as long as `min_ttl` whole seconds are left; what never expires is always good."""
    assert fresh_enough(expires_at, now, min_ttl) == (now + min_ttl * SECOND <= expires_at)
    assert fresh_enough(None, now, min_ttl)
