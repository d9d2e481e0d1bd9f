"""Domain types and pure decisions."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grantkeeper.clock import DAY, HOUR, MINUTE, SECOND
from grantkeeper.errors import InvalidValue
from grantkeeper.model import (
    LABEL_LENGTH,
    Account,
    Claim,
    Grant,
    Lease,
    Login,
    TokenSet,
    User,
    clean_label,
    fresh_enough,
    refresh_due_at,
    retry_delay,
)
from grantkeeper.testing import FakeClock
from tests.storage.stores import new_authorization, new_connection, new_held_grant

NOW = FakeClock().now()

instants = st.integers(NOW, NOW + 400 * DAY)
lifetimes = st.integers(0, 400 * DAY)
jitters = st.floats(0, 1, exclude_max=True)


def tokens(expires_at: int | None, *, issued_at: int = NOW, refresh_token: str | None = "secret-refresh") -> TokenSet:
    """A token set with these dates."""
    return TokenSet(
        access_token="secret-access",
        token_type="Bearer",
        refresh_token=refresh_token,
        access_token_expires_at=expires_at,
        issued_at=issued_at,
    )


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("My Fundment Account 1", "My Fundment Account 1"),
        ("  spaces around \n", "spaces around"),
        ("\u3000ideographic\u00a0", "ideographic"),
        ("two  spaces", "two  spaces"),
        ("🦊", "🦊"),
        ("👩\u200d👩\u200d👧\ufe0f family", "👩\u200d👩\u200d👧\ufe0f family"),
        ("שלום عربى", "שלום عربى"),
        ("क\u094d\u200cष", "क\u094d\u200cष"),
        ("a<b>&\"'%_!\\", "a<b>&\"'%_!\\"),
        ("x" * 255, "x" * 255),
        ("🦊" * 255, "🦊" * 255),
        (" " * 300 + "x", "x"),
    ],
)
def test_a_good_label_is_stripped_and_kept(value: str, stored: str) -> None:
    """Letters of any script, emoji with joiners, 255 characters however many bytes."""
    assert clean_label(value) == stored


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "must be a string"),
        (7, "must be a string"),
        (["x"], "must be a string"),
        ({"label": "x"}, "must be a string"),
        ("", "must not be empty"),
        (" \t\r\n ", "must not be empty"),
        ("\u2028\u3000", "must not be empty"),
        ("\u200b", "must not be empty"),
        ("\ufeff \u200d\u2060", "must not be empty"),
        ("x" * 256, "longer than 255"),
        ("🦊" * 256, "longer than 255"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
        ("a\tb", "control characters"),
        ("a\x7fb", "control characters"),
        ("a\x9bb", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\u2029b", "control characters"),
        ("a\u202eb", "control characters"),
        ("a\u2066b\u2069", "control characters"),
        ("a\ud800b", "control characters"),
    ],
)
def test_a_bad_label_is_explained(value: object, problem: str) -> None:
    """Each problem has its sentence, under the field's name, without the value."""
    with pytest.raises(InvalidValue) as caught:
        clean_label(value)
    ((message,),) = caught.value.fields().values()
    assert problem in message
    assert message.startswith("The label ")
    assert set(caught.value.fields()) == {"label"}


def test_a_label_can_have_another_name() -> None:
    """The field and the sentence carry it."""
    with pytest.raises(InvalidValue) as caught:
        clean_label("", "name")
    assert caught.value.fields() == {"name": ["The name must not be empty."]}


@given(st.text(max_size=300))
@example("\u200b")
@example("\u2028")
def test_a_label_that_passes_is_one_visible_line(value: str) -> None:
    """Whatever passes is short, printable on one line, and stays as it is when cleaned again."""
    try:
        label = clean_label(value)
    except InvalidValue:
        return
    assert 0 < len(label) <= LABEL_LENGTH
    assert len(label.splitlines()) == 1
    assert not {unicodedata.category(character) for character in label} & {"Cc", "Cs", "Zl", "Zp"}
    assert clean_label(label) == label
    label.encode()


@given(expires_at=instants, now=instants, min_ttl=st.integers(0, 10**7))
def test_fresh_enough_means_so_many_seconds(expires_at: int, now: int, min_ttl: int) -> None:
    """Good exactly as long as `min_ttl` whole seconds are left; what never expires is always good."""
    assert fresh_enough(expires_at, now, min_ttl) == (now + min_ttl * SECOND <= expires_at)
    assert fresh_enough(None, now, min_ttl)


@given(lifetime=lifetimes, jitter=jitters)
@example(lifetime=0, jitter=0.0)
@example(lifetime=5 * SECOND, jitter=0.99)
@example(lifetime=HOUR, jitter=0.0)
def test_a_refresh_is_due_in_time(lifetime: int, jitter: float) -> None:
    """Before the last tenth and the last five minutes, unless that is more than half the lifetime."""
    due = refresh_due_at(tokens(NOW + lifetime), jitter)
    assert due is not None
    ahead = NOW + lifetime - due
    margin = min(max(lifetime // 10, 5 * MINUTE), lifetime // 2)
    assert margin <= ahead <= margin * 3 / 2
    assert NOW + lifetime // 4 <= due <= NOW + lifetime


@given(lifetime=lifetimes)
def test_without_jitter_a_refresh_is_not_due_before_half(lifetime: int) -> None:
    """A short-lived token is not refreshed over and over."""
    due = refresh_due_at(tokens(NOW + lifetime), 0.0)
    assert due is not None
    assert due >= NOW + lifetime // 2


@given(lifetime=st.integers(MINUTE, 400 * DAY), few=jitters, many=jitters)
def test_more_jitter_means_sooner(lifetime: int, few: float, many: float) -> None:
    """Connections made together are spread, each before the date it would have had."""
    few, many = sorted((few, many))
    sooner, later = refresh_due_at(tokens(NOW + lifetime), many), refresh_due_at(tokens(NOW + lifetime), few)
    assert sooner is not None
    assert later is not None
    assert sooner <= later


@pytest.mark.parametrize(
    ("lifetime", "ahead"),
    [(4 * HOUR, 24 * MINUTE), (HOUR, 6 * MINUTE), (30 * MINUTE, 5 * MINUTE), (8 * MINUTE, 4 * MINUTE)],
)
def test_the_margin_by_example(lifetime: int, ahead: int) -> None:
    """Four hours: the last tenth. Half an hour: five minutes. Eight minutes: half."""
    assert refresh_due_at(tokens(NOW + lifetime), 0.0) == NOW + lifetime - ahead


def test_what_cannot_or_need_not_be_refreshed() -> None:
    """Never where nothing expires; at its end where there is no refresh token; at once where it is over."""
    assert refresh_due_at(tokens(None), 0.5) is None
    assert refresh_due_at(tokens(None, refresh_token=None), 0.5) is None
    assert refresh_due_at(tokens(NOW + HOUR, refresh_token=None), 0.5) == NOW + HOUR
    assert refresh_due_at(tokens(NOW - HOUR), 0.5) == NOW - HOUR


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


def test_reprs_show_no_secret() -> None:
    """Neither alone nor inside another does a token, verifier or nonce show."""
    user = User(uuid="u", email="ada@example.com", name="Ada", created_at=NOW)
    account = Account(uuid="a", name="Analytical Engines", created_at=NOW)
    login = Login(uuid="l", user=user, account=account, created_at=NOW)
    grant = Grant(tokens=tokens(NOW), scopes=("read",))
    attempt = new_authorization(login, code_verifier="secret-verifier", nonce="secret-nonce")
    held = new_held_grant(login, grant=grant)
    lease = Lease(connection_uuid="c", owner="o", fence=1, expires_at=NOW)
    claim = Claim(lease=lease, connection=new_connection("a"), sealed_tokens=b"secret-sealed")
    for value in (grant.tokens, grant, held, attempt, claim, [claim], {"x": held}):
        assert "secret" not in f"{value!r} {value}"


def test_records_are_frozen() -> None:
    """What was read from the database is not changed by accident."""
    with pytest.raises(AttributeError):
        tokens(NOW).access_token = "other"  # type: ignore[misc] # that is the point
