"""Every kind of answer that the token endpoint may give."""

from __future__ import annotations

from typing import Any

import pytest

from grantkeeper.clock import SECOND
from grantkeeper.errors import (
    ClientRejected,
    GrantRejected,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailable,
)
from grantkeeper.model import Renewal, TokenSet
from grantkeeper.oauth.client import TokenResponsePaths
from grantkeeper.oauth.lifetime import LONGEST_LIFETIME, SHORTEST_LIFETIME
from grantkeeper.oauth.token import token_response
from tests.oauth.clients import NOW, SHOP, answer, before, good, shop

SLACK_CODE = TokenResponsePaths(
    access_token="authed_user.access_token",
    refresh_token="authed_user.refresh_token",
    expires_in="authed_user.expires_in",
    scope="authed_user.scope",
    token_type="",
    ok="ok",
    scope_separator=",",
)
SLACK_REFRESH = TokenResponsePaths(token_type="", ok="ok", scope_separator=",")


def tokens_of(body: object, **habits: Any) -> TokenSet:
    """The token set in an answer to a code."""
    return token_response(shop(**habits), answer(body), NOW).grant.tokens


def lifetime(tokens: TokenSet) -> int | None:
    """Seconds, exactly."""
    if tokens.access_token_expires_at is None:
        return None
    seconds, rest = divmod(tokens.access_token_expires_at - NOW, SECOND)
    assert rest == 0
    return seconds


def test_a_good_answer_becomes_a_grant() -> None:
    """Lifetimes count from when the request was sent, in microseconds."""
    grant = token_response(SHOP, answer(good()), NOW).grant

    assert grant.scopes == ("read", "write")
    assert grant.tokens == TokenSet(
        access_token="at-2",
        token_type="Bearer",
        refresh_token="rt-2",
        access_token_expires_at=NOW + 3600 * SECOND,
        refresh_token_expires_at=None,
        issued_at=NOW,
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (" 3600 ", 3600),
        (3599.9, 3599),
        ("3.6e3", 3600),
        (10**12, LONGEST_LIFETIME),
        (10**400, None),
        ("1" * 20, LONGEST_LIFETIME),
        (1, 1),
        (0, SHORTEST_LIFETIME),
        (-1, SHORTEST_LIFETIME),
        ("-3600", SHORTEST_LIFETIME),
        ("NaN", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (True, None),
        (False, None),
        (None, None),
        ([3600], None),
        ({"seconds": 3600}, None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_expires_in_is_seconds_or_nothing(value: object, seconds: int | None) -> None:
    """Numbers in strings count, what is over lasts a minute; nonsense is absent, nothing outlives ten years."""
    assert lifetime(tokens_of({**good(), "expires_in": value})) == seconds
    with_default = TokenResponsePaths(default_lifetime=7200)
    assert lifetime(tokens_of({**good(), "expires_in": value}, response=with_default)) == (seconds or 7200)


@pytest.mark.parametrize("value", [0, -1, "-3600"])
def test_what_cannot_be_refreshed_is_not_over_at_once(value: object) -> None:
    """Without a refresh token 0 means "never", or nobody could ever use the token."""
    assert lifetime(tokens_of({**good(refresh_token=None), "expires_in": value})) is None


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("Bearer", "Bearer"),
        ("bearer", "Bearer"),
        ("BEARER", "Bearer"),
        ("mac", "mac"),
        (None, "Bearer"),
        (7, "Bearer"),
        ("", "Bearer"),
        ("a b", "Bearer"),
        ("x\r\nSet-Cookie: y", "Bearer"),
        ("<b>", "Bearer"),
    ],
)
def test_a_token_type_is_a_word(value: object, kept: str) -> None:
    """A missing or unreadable one is `Bearer`; nothing that breaks a header gets through."""
    assert tokens_of({**good(), "token_type": value}).token_type == kept


@pytest.mark.parametrize(
    ("token_type", "key", "kept"),
    [
        ("DPoP", "secret-key", "DPoP"),
        ("dpop", "secret-key", "DPoP"),
        ("DPOP", "secret-key", "DPoP"),
        ("Bearer", "secret-key", None),
        (None, "secret-key", None),
        ("N_A", "secret-key", None),
        ("<b>", "secret-key", None),
        ("DPoP", None, None),
        ("dpop", None, None),
        ("Bearer", None, "Bearer"),
        ("mac", None, "mac"),
    ],
)
def test_a_first_token_is_of_the_kind_that_was_asked_for(
    token_type: str | None, key: str | None, kept: str | None
) -> None:
    """RFC 9449 §5: neither one that anybody could use, nor one bound to a key that we have not."""
    reply = answer({**good(), "token_type": token_type})
    if kept is not None:
        tokens = token_response(SHOP, reply, NOW, dpop_key=key).grant.tokens
        assert (tokens.token_type, tokens.dpop_key) == (kept, key)
        return
    with pytest.raises(ProviderProtocolError) as failure:
        token_response(SHOP, reply, NOW, dpop_key=key)
    assert failure.value.code == "token_type_mismatch"
    assert "secret" not in failure.value.message


@pytest.mark.parametrize(
    ("had", "key", "given", "kept"),
    [
        ("DPoP", "secret-key", None, "DPoP"),
        ("DPoP", "secret-key", "dpop", "DPoP"),
        ("DPoP", "secret-key", "Bearer", "Bearer"),
        ("Bearer", None, "DPoP", "DPoP"),
    ],
)
def test_what_a_refresh_gives_is_kept_whatever_its_kind(
    had: str, key: str | None, given: str | None, kept: str
) -> None:
    """The old refresh token may be spent: thrown away, the connection would be lost. The key stays either way."""
    old = before(token_type=had, dpop_key=key)
    # A refresh has no say in the key: the refresh token is bound to the one it came with (RFC 9449 §5).
    tokens = token_response(SHOP, answer({**good(), "token_type": given}), NOW, old, dpop_key="another").grant.tokens

    assert (tokens.access_token, tokens.token_type, tokens.dpop_key) == ("at-2", kept, key)


def test_how_a_grant_is_had_again_is_remembered() -> None:
    """A grant without a person comes without a refresh token, and is asked for again; also after the next answer."""
    renewal = Renewal(grant="jwt_bearer", subject="ada")
    first = token_response(SHOP, answer(good(refresh_token=None)), NOW, renewal=renewal).grant
    second = token_response(SHOP, answer(good(refresh_token=None)), NOW, first).grant

    assert first.tokens.refresh_token is None
    assert first.tokens.renewal == second.tokens.renewal == renewal
    assert second.tokens.renewable


@pytest.mark.parametrize("value", [0, -1])
def test_what_can_be_asked_for_again_may_be_over_at_once(value: int) -> None:
    """With such a grant 0 does not mean "never": like a refreshable token it lasts a minute."""
    reply = answer({**good(refresh_token=None), "expires_in": value})
    tokens = token_response(SHOP, reply, NOW, renewal=Renewal(grant="client_credentials")).grant.tokens

    assert lifetime(tokens) == SHORTEST_LIFETIME


@pytest.mark.parametrize("member", ["access_token", "refresh_token"])
@pytest.mark.parametrize("value", [7, True, ["at"], {"at": 1}, "a\nb", "a\r\nX: y", "a\x00b", "é", "a\tb"])
def test_what_is_no_token_is_refused(member: str, value: object) -> None:
    """Neither a header nor a form could carry it."""
    with pytest.raises(ProviderProtocolError, match=member):
        tokens_of({**good(), member: value})


def test_an_access_token_holds_no_space_but_a_refresh_token_may() -> None:
    """RFC 6750 §2.1 for the header; RFC 6749 appendix A.17 for what only travels in bodies."""
    with pytest.raises(ProviderProtocolError, match="access_token"):
        tokens_of(good(access_token="a b"))
    assert tokens_of(good(refresh_token="a b")).refresh_token == "a b"


@pytest.mark.parametrize("value", [None, ""])
def test_an_answer_without_access_token_is_refused(value: object) -> None:
    """Absent, null and empty are one."""
    with pytest.raises(ProviderProtocolError, match="without an access token"):
        tokens_of({**good(), "access_token": value})


@pytest.mark.parametrize("value", [None, ""])
def test_a_grant_may_come_without_a_refresh_token(value: object) -> None:
    """Absent, null and empty are one here too."""
    assert tokens_of({**good(), "refresh_token": value}).refresh_token is None


def test_where_refresh_tokens_do_not_exist_none_is_kept() -> None:
    """`refresh.supported = false`: nobody is to wait for a refresh that cannot be."""
    assert tokens_of(good(), refresh_supported=False).refresh_token is None


@pytest.mark.parametrize(
    ("scope", "separator", "scopes"),
    [
        ("read  write\n", " ", ("read", "write")),
        ("read,write", ",", ("read", "write")),
        ("read,write", " ", ("read,write",)),
        (["read", "write", 7, None], " ", ("read", "write")),
        (["read write"], " ", ("read", "write")),
        ("bad\x00one good", " ", ("good",)),
        (["bad\x00one", "good"], " ", ("good",)),
        ("", " ", ("asked",)),
        (None, " ", ("asked",)),
        (7, " ", ("asked",)),
        ({}, " ", ("asked",)),
    ],
)
def test_granted_scopes_are_words(scope: object, separator: str, scopes: tuple[str, ...]) -> None:
    """A text or a list; what no database can hold is left out; silence means what was asked for."""
    client = shop(scopes=("asked",), response=TokenResponsePaths(scope_separator=separator))

    assert token_response(client, answer({**good(), "scope": scope}), NOW).grant.scopes == scopes


def test_a_refresh_keeps_what_the_answer_leaves_out() -> None:
    """The old refresh token, its expiry, type, scopes and identity stay."""
    old = before(token_type="mac")
    grant = token_response(SHOP, answer({"access_token": "at-2"}), NOW, old).grant

    assert grant.tokens.access_token == "at-2"
    assert grant.tokens.refresh_token == "rt-1"
    assert grant.tokens.refresh_token_expires_at == old.tokens.refresh_token_expires_at
    assert grant.tokens.token_type == "mac"
    assert (grant.scopes, grant.subject, grant.identity) == (("read",), "s-1", "Ada")


@pytest.mark.parametrize(
    ("members", "paths", "seconds"),
    [
        ({"refresh_token": "rt-2"}, {}, None),
        ({"refresh_token": "rt-2", "r_exp": 60}, {"refresh_expires_in": "r_exp"}, 60),
        ({"refresh_token": "rt-2"}, {"refresh_default_lifetime": 90}, 90),
        ({"refresh_token": "rt-1", "r_exp": 60}, {"refresh_expires_in": "r_exp"}, 60),
        ({"refresh_token": "rt-1"}, {"refresh_default_lifetime": 90}, "kept"),
        ({}, {"refresh_default_lifetime": 90}, "kept"),
        ({"r_exp": "x"}, {"refresh_expires_in": "r_exp"}, "kept"),
    ],
)
def test_a_new_refresh_token_has_its_own_expiry(
    members: dict[str, object], paths: dict[str, Any], seconds: object
) -> None:
    """The old one's expiry holds only for the old one; what the answer states wins."""
    client = shop(refresh_response=TokenResponsePaths(**paths))
    tokens = token_response(client, answer({"access_token": "at-2", **members}), NOW, before()).grant.tokens

    expected = NOW + 77 if seconds == "kept" else NOW + seconds * SECOND if isinstance(seconds, int) else None
    assert tokens.refresh_token_expires_at == expected


def test_a_nested_answer_is_read_by_its_paths() -> None:
    """Slack nests the user's tokens in the answer to a code, and not in the answer to a refresh."""
    slack = shop(response=SLACK_CODE, refresh_response=SLACK_REFRESH)
    user = {
        "access_token": "xoxe-1",
        "refresh_token": "xoxr-1",
        "expires_in": 43_200,
        "scope": "a,b",
        "token_type": "user",
    }
    first = token_response(slack, answer({"ok": True, "authed_user": user, "access_token": "bot"}), NOW).grant
    second = token_response(slack, answer({"ok": True, "access_token": "xoxe-2", "token_type": "user"}), NOW, first)

    assert (first.tokens.access_token, first.tokens.refresh_token, first.scopes) == (
        "xoxe-1",
        "xoxr-1",
        ("a", "b"),
    )
    assert first.tokens.token_type == "Bearer"
    assert second.grant.tokens.access_token == "xoxe-2"
    assert second.grant.tokens.refresh_token == "xoxr-1"


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (401, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (401, {"error": "invalid_client"}, ClientRejected, "invalid_client"),
        (400, {"error": "unauthorized_client"}, ClientRejected, "unauthorized_client"),
        (400, {"error": "invalid_request"}, ClientRejected, "invalid_request"),
        (400, {"error": "invalid_scope"}, ClientRejected, "invalid_scope"),
        (400, {"error": "invalid_target"}, ClientRejected, "invalid_target"),
        (400, {"error": "invalid_dpop_proof"}, ClientRejected, "invalid_dpop_proof"),
        (400, {"error": "use_dpop_nonce"}, ProviderUnavailable, "use_dpop_nonce"),
        (400, {"error": "authorization_pending"}, ProviderProtocolError, "authorization_pending"),
        (400, {"error": "expired_token"}, ProviderProtocolError, "expired_token"),
        (400, {"error": "temporarily_unavailable"}, ProviderUnavailable, "temporarily_unavailable"),
        (400, {"error": "weird_one"}, ProviderProtocolError, "weird_one"),
        (200, {"error": "bad_refresh_token"}, GrantRejected, "bad_refresh_token"),
        (200, {"ok": False, "error": "token_revoked"}, GrantRejected, "token_revoked"),
        (200, {"ok": False}, ProviderProtocolError, None),
        (200, {**good(), "ok": False, "error": "token_revoked"}, GrantRejected, "token_revoked"),
        (200, {**good(), "error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (400, {"error": {"code": "invalid_grant", "message": "no"}}, GrantRejected, "invalid_grant"),
        (400, {"error": {"type": "invalid_client"}}, ClientRejected, "invalid_client"),
        (400, {"error": "<script>alert(1)</script>"}, ProviderProtocolError, None),
        (200, {"error": "<b>invalid_grant</b>"}, ProviderProtocolError, None),
        (400, {"error": ["invalid_grant"]}, ProviderProtocolError, None),
        (400, {"error": {"code": 7}}, ProviderProtocolError, "7"),
        (400, {}, ProviderProtocolError, None),
        (400, good(), ProviderProtocolError, None),
        (302, good(), ProviderProtocolError, "redirect"),
        (404, b"<h1>Not found</h1>", ProviderProtocolError, None),
        (429, {"error": "invalid_grant"}, ProviderUnavailable, None),
        (500, {"error": "invalid_grant"}, ProviderUnavailable, None),
        (503, b"<h1>Down</h1>", ProviderUnavailable, None),
        (599, good(), ProviderUnavailable, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_says_who_must_act(status: int, body: object, kind: type[ProviderError], code: str | None) -> None:
    """By its code, also with HTTP 200; an overloaded or broken server condemns nothing, whatever it says."""
    client = shop(
        response=TokenResponsePaths(ok="ok"),
        refresh_response=TokenResponsePaths(ok="ok"),
        error_meanings={"bad_refresh_token": "grant", "token_revoked": "grant"},
    )
    for grant in (None, before()):
        with pytest.raises(kind) as failure:
            token_response(client, answer(body, status), NOW, grant)
        assert failure.value.code == code
        assert type(failure.value) is kind
        assert not any(character in failure.value.message for character in "<>\n")


def test_a_definition_may_give_a_code_another_meaning() -> None:
    """What is `invalid_grant` elsewhere may be a hiccup here."""
    client = shop(error_meanings={"invalid_grant": "transient"})

    with pytest.raises(ProviderUnavailable):
        token_response(client, answer({"error": "invalid_grant"}, 400), NOW)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, b""),
        (503, b"<html>"),
        (400, {"error": "slow_down"}),
        (200, {"error": "temporarily_unavailable"}),
    ],
)
def test_retry_after_is_passed_on(status: int, body: object) -> None:
    """Who asks us to wait is waited for."""
    with pytest.raises(ProviderUnavailable) as failure:
        token_response(SHOP, answer(body, status, retry_after="42"), NOW)

    assert failure.value.retry_after == 42


def test_no_error_quotes_what_came_over_the_wire() -> None:
    """A provider that echoes tokens in its errors does not get them into our log."""
    echo = {
        "error": "invalid_grant",
        "error_description": "token secret-rt is dead",
        "access_token": "secret-at",
    }
    for body, status in ((echo, 400), (good(access_token="secret at"), 200), (b"secret-html", 200)):
        with pytest.raises(ProviderError) as failure:
            token_response(SHOP, answer(body, status), NOW)
        assert "secret" not in failure.value.message
        assert "secret" not in repr(failure.value)


def test_the_tokens_are_not_in_any_repr() -> None:
    """Neither the answer nor what is made of it shows a token."""
    response = token_response(SHOP, answer(good(access_token="secret-a", refresh_token="secret-r")), NOW)

    assert "secret" not in f"{response!r} {response.grant!r} {response.grant.tokens!r}"
    assert "secret" not in repr(before(dpop_key="secret-key"))
