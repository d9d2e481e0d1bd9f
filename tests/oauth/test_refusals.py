"""What a failed refresh means beyond its error: who pauses, whether the refresh token is spent, how long to wait."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from grantkeeper.clock import SECOND
from grantkeeper.errors import (
    ClientRejected,
    GrantRejected,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailable,
)
from grantkeeper.oauth.client import Client, TokenResponsePaths
from grantkeeper.oauth.token import PAUSING, may_have_spent, pauses, token_response
from tests.oauth.clients import NOW, SHOP, answer, before, good, shop

ODD = shop(
    refresh_response=TokenResponsePaths(ok="ok"),
    error_meanings={
        "bad_secret": "client",
        "invalid_request": "client",
        "dead": "grant",
        "busy": "transient",
        "invalid_client": "transient",
    },
    error_description_meanings={
        "already being processed": "transient",
        "Contract Ended": "client",
        "user is gone": "grant",
    },
)


def failure(client: Client, body: object, status: int = 400, **headers: str) -> ProviderError:
    """The error that this answer to a refresh means."""
    with pytest.raises(ProviderError) as caught:
        token_response(client, answer(body, status, **headers), NOW, before())
    return caught.value


# Pausing


@pytest.mark.parametrize(
    ("client", "code", "paused"),
    [
        *((SHOP, code, True) for code in sorted(PAUSING)),
        (SHOP, "invalid_request", False),
        (SHOP, "unsupported_grant_type", False),
        (SHOP, "invalid_grant", False),
        (SHOP, "temporarily_unavailable", False),
        (SHOP, "never_heard_of", False),
        (ODD, "bad_secret", True),
        (ODD, "invalid_request", True),
        (ODD, "unsupported_grant_type", False),
        (ODD, "invalid_client", False),
        (ODD, "dead", False),
        (ODD, "busy", False),
    ],
)
def test_only_the_operators_errors_pause_a_provider(client: Client, code: str, paused: bool) -> None:
    """Those that no connection's refresh can get past; a malformed request may be one connection's alone."""
    assert pauses(failure(client, {"error": code}), client) is paused


def test_what_we_refuse_ourselves_pauses_nothing() -> None:
    """A connection of another client than the one that is set up: the provider has said nothing."""
    assert not pauses(ClientRejected("the grant belongs to another client"), SHOP)


def test_the_pausing_codes_are_refusals_of_the_client() -> None:
    """Each of them is a ClientRejected wherever a definition says nothing else."""
    for code in PAUSING:
        assert type(failure(SHOP, {"error": code})) is ClientRejected


# Descriptions


@pytest.mark.parametrize(
    ("description", "kind", "paused"),
    [
        ("token request is already being processed", ProviderUnavailable, False),
        ("Token Request Is ALREADY BEING PROCESSED.", ProviderUnavailable, False),
        ("contract ended yesterday", ClientRejected, True),
        ("expired access/refresh token", GrantRejected, False),
        ("", GrantRejected, False),
        (None, GrantRejected, False),
        (7, GrantRejected, False),
        (["already being processed"], GrantRejected, False),
    ],
)
def test_a_description_may_tell_more_than_the_code(
    description: object, kind: type[ProviderError], paused: bool
) -> None:
    """Where the definition knows the text; it is never shown, and the code stays what it was."""
    error = failure(ODD, {"error": "invalid_grant", "error_description": description})

    assert type(error) is kind
    assert error.code == "invalid_grant"
    assert pauses(error, ODD) is paused
    assert not description or str(description) not in error.message


def test_a_description_counts_before_the_code() -> None:
    """Also where the definition knows both."""
    assert type(failure(ODD, {"error": "busy", "error_description": "The user is gone"})) is GrantRejected


def test_salesforce_still_working_on_an_earlier_request_condemns_nothing() -> None:
    """It says `invalid_grant` then: the refresh token may be spent by that request, and is not dead."""
    salesforce = shop(error_description_meanings={"token request is already being processed": "transient"})
    error = failure(
        salesforce, {"error": "invalid_grant", "error_description": "token request is already being processed"}
    )

    assert isinstance(error, ProviderUnavailable)
    assert may_have_spent(error, 400)


# Spent or not


@pytest.mark.parametrize(
    ("status", "body", "spent"),
    [
        (400, {"error": "invalid_grant"}, False),
        (401, {"error": "invalid_client"}, False),
        (400, {"error": "invalid_request"}, False),
        (400, {"error": "temporarily_unavailable"}, False),
        (400, {"error": "slow_down"}, False),
        (403, {"error": "never_heard_of"}, False),
        (400, {"error": "server_error"}, True),
        (429, {"error": "slow_down"}, False),
        (429, b"<h1>Too many</h1>", False),
        (400, {}, True),
        (404, b"<h1>Not found</h1>", True),
        (408, b"", True),
        (302, b"", True),
        (302, {"error": "invalid_grant"}, True),
        (304, good(), True),
        (500, {"error": "invalid_grant"}, True),
        (502, b"<h1>Bad gateway</h1>", True),
        (503, {"error": "temporarily_unavailable"}, True),
        (504, b"", True),
        (200, b"", True),
        (200, b'{"access_token": "at-2", "refresh_tok', True),
        (200, b"<h1>Welcome</h1>", True),
        (200, b"[]", True),
        (200, {"token_type": "Bearer"}, True),
        (200, {**good(), "access_token": "a b"}, True),
        (200, {"ok": False}, True),
        (200, {"error": "dead"}, False),
        (200, {"error": "invalid_grant"}, False),
        (200, {"error": "bad_secret"}, False),
        (200, {"ok": False, "error": "busy"}, True),
        (200, {"ok": False, "error": "never_heard_of"}, True),
    ],
    ids=lambda value: str(value)[:40],
)
def test_only_a_plain_refusal_says_that_nothing_was_spent(status: int, body: object, spent: bool) -> None:
    """A refresh token is taken for spent wherever the provider may have acted before it failed."""
    assert may_have_spent(failure(ODD, body, status), status) is spent


def test_without_an_answer_it_is_whether_the_request_left() -> None:
    """No connection, nothing spent; a connection that broke may have broken after the request was read."""
    assert not may_have_spent(ProviderUnavailable("no connection", sent=False), None)
    assert may_have_spent(ProviderUnavailable("reset"), None)


def test_an_error_that_knows_nothing_of_it_counts_as_sent() -> None:
    """Better to look for the answer once too often."""
    assert may_have_spent(ProviderProtocolError("no answer"), None)


# Waiting


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("42", 42),
        ("999999999", 86_400),
        (formatdate(NOW // SECOND + 91, usegmt=True), 90),
        (formatdate(NOW // SECOND - 60, usegmt=True), 0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_how_long_a_provider_asks_to_be_left_alone(status: int, value: str, seconds: int | None) -> None:
    """Seconds or an HTTP date (RFC 9110 §10.2.3), counted from when the request was sent; at most a day."""
    error = failure(SHOP, b"<h1>Later</h1>", status, retry_after=value)

    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after == seconds


def test_a_provider_may_ask_nothing() -> None:
    """No header, no wait of its own."""
    error = failure(SHOP, b"", 503)

    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after is None
