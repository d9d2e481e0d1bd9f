"""Telling a provider that a grant is over, and what its answer means."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from grantkeeper.errors import ClientRejected, ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.client import TokenResponsePaths
from grantkeeper.oauth.revocation import revocation_request, revocation_response
from tests.oauth.clients import NOW, SHOP, answer, before, shop

TOKENS = before().tokens


@pytest.mark.parametrize(
    ("habits", "tokens", "form"),
    [
        ({}, TOKENS, {"token": "rt-1", "token_type_hint": "refresh_token"}),
        ({"revocation_token": "access_token"}, TOKENS, {"token": "at-1", "token_type_hint": "access_token"}),
        ({}, before(refresh_token=None).tokens, {"token": "at-1", "token_type_hint": "access_token"}),
        (
            {"revocation_authentication": "none"},
            TOKENS,
            {"token": "rt-1", "token_type_hint": "refresh_token", "client_id": "id-1"},
        ),
    ],
)
def test_the_request_is_that_of_rfc_7009(habits: dict[str, Any], tokens: Any, form: dict[str, str]) -> None:
    """The refresh token unless there is none, as a form, with the client's authentication there."""
    request = revocation_request(shop(**habits), tokens)

    assert request is not None
    assert (request.method, request.url) == ("POST", "https://shop.example/revoke")
    assert dict(parse_qsl(request.body.decode())) == form
    assert ("authorization" in request.headers) == ("client_id" not in form)


def test_a_token_may_revoke_itself() -> None:
    """Style `bearer`: the token is the authorization."""
    client = shop(revocation_style="bearer", revocation_token="access_token")
    request = revocation_request(client, TOKENS)

    assert request is not None
    assert (request.headers["authorization"], request.body) == ("Bearer at-1", b"")


def test_a_token_may_be_deleted() -> None:
    """Style `delete_json`, as GitHub has it: DELETE with the client's authentication."""
    client = shop(revocation_style="delete_json", revocation_token="access_token")
    request = revocation_request(client, TOKENS)

    assert request is not None
    assert request.method == "DELETE"
    assert request.headers["authorization"].startswith("Basic ")
    assert json.loads(request.body) == {"access_token": "at-1"}


@pytest.mark.parametrize("habits", [{"revocation_style": "none"}, {"revocation_url": None}])
def test_where_it_cannot_be_done_nothing_is_sent(habits: dict[str, Any]) -> None:
    """The outcome is then `not_supported`."""
    assert revocation_request(shop(**habits), TOKENS) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<h1>Revoked</h1>"),
        (200, {}),
        (200, {"ok": True, "revoked": True}),
        (204, b""),
        (400, {"error": "invalid_token"}),
        (400, {"error": "invalid_grant"}),
        (200, {"ok": False, "error": "token_revoked"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_grant_that_is_over_counts_as_revoked(status: int, body: object) -> None:
    """Also where it was dead already, and the provider calls that an error."""
    client = shop(response=TokenResponsePaths(ok="ok"), error_meanings={"token_revoked": "grant"})

    revocation_response(client, answer(body, status), NOW)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"", ProviderUnavailable),
        (429, b"", ProviderUnavailable),
        (400, b"<html>", ProviderProtocolError),
        (404, {}, ProviderProtocolError),
        (302, {}, ProviderProtocolError),
        (401, {"error": "invalid_client"}, ClientRejected),
        (400, {"error": "unsupported_token_type"}, ProviderProtocolError),
        (200, {"ok": False}, ProviderProtocolError),
        (200, {"ok": False, "error": "ratelimited"}, ProviderUnavailable),
        (200, {"error": "unsupported_token_type"}, ProviderProtocolError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_is_never_taken_for_success(status: int, body: object, kind: type[ProviderError]) -> None:
    """Not even with HTTP 200, where Slack puts its errors."""
    client = shop(response=TokenResponsePaths(ok="ok"), error_meanings={"ratelimited": "transient"})

    with pytest.raises(kind):
        revocation_response(client, answer(body, status), NOW)


def test_retry_after_is_passed_on() -> None:
    """Who asks us to wait is waited for."""
    with pytest.raises(ProviderUnavailable) as failure:
        revocation_response(SHOP, answer(b"", 429, retry_after="30"), NOW)

    assert failure.value.retry_after == 30
