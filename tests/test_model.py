"""Domain types and pure decisions."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grantkeeper.errors import InvalidValue
from grantkeeper.model import (
    LABEL_LENGTH,
    Account,
    AttemptSecrets,
    Claim,
    DeviceCode,
    Grant,
    Lease,
    Login,
    TokenSet,
    User,
    clean_label,
)
from grantkeeper.testing import FakeClock
from tests.storage.stores import new_authorization, new_connection, new_held_grant

NOW = FakeClock().now()


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


def test_reprs_show_no_secret() -> None:
    """Neither alone nor inside another does a token, verifier or nonce show."""
    user = User(uuid="u", email="ada@example.com", name="Ada", created_at=NOW)
    account = Account(uuid="a", name="Analytical Engines", created_at=NOW)
    login = Login(uuid="l", user=user, account=account, created_at=NOW)
    grant = Grant(tokens=tokens(NOW), scopes=("read",))
    device = DeviceCode(device_code="secret-code", user_code="secret-word", verification_uri="https://p.example/go")
    secrets = AttemptSecrets(
        code_verifier="secret-verifier", nonce="secret-nonce", dpop_key="secret-key", device=device
    )
    attempt = new_authorization(login, secrets=secrets)
    held = new_held_grant(login, grant=grant)
    lease = Lease(connection_uuid="c", owner="o", fence=1, expires_at=NOW)
    claim = Claim(lease=lease, connection=new_connection("a"), sealed_tokens=b"secret-sealed")
    for value in (grant.tokens, grant, held, attempt, claim, [claim], {"x": held}):
        assert "secret" not in f"{value!r} {value}"


def test_records_are_frozen() -> None:
    """What was read from the database is not changed by accident."""
    with pytest.raises(AttributeError):
        tokens(NOW).access_token = "other"  # type: ignore[misc] # that is the point
