"""Telling a provider that a grant is over, and what its answer means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grantkeeper.errors import ClientRejected, ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import TokenSet
from grantkeeper.oauth.client import Client, TokenResponsePaths
from grantkeeper.oauth.message import Request
from grantkeeper.oauth.revocation import revocation_call, revocation_response
from tests.oauth.clients import NOW, SHOP, answer, before, form, shop
from tests.support.sender import written_request

TOKENS = before().tokens


async def revocation(client: Client, tokens: TokenSet = TOKENS) -> Request:
    """The request as it goes out."""
    call = revocation_call(client, tokens)
    assert call is not None
    return await written_request(client, call)


@pytest.mark.parametrize(
    ("habits", "tokens", "fields"),
    [
        ({}, TOKENS, {"token": "rt-1", "token_type_hint": "refresh_token"}),
        ({"revocation_token": "access_token"}, TOKENS, {"token": "at-1", "token_type_hint": "access_token"}),
        ({}, before(refresh_token=None).tokens, {"token": "at-1", "token_type_hint": "access_token"}),
        (
            {"revocation_authentication": "none"},
            TOKENS,
            {"token": "rt-1", "token_type_hint": "refresh_token", "client_id": "id-1"},
        ),
        (
            {"revocation_authentication": "client_secret_post"},
            TOKENS,
            {
                "token": "rt-1",
                "token_type_hint": "refresh_token",
                "client_id": "id-1",
                "client_secret": "secret-1",
            },
        ),
    ],
)
async def test_the_request_is_that_of_rfc_7009(
    habits: dict[str, Any], tokens: TokenSet, fields: dict[str, str]
) -> None:
    """The refresh token unless there is none, as a form, with the client's authentication there."""
    request = await revocation(shop(**habits), tokens)

    assert (request.method, request.url) == ("POST", "https://shop.example/revoke")
    assert form(request) == fields
    assert ("authorization" in request.headers) == ("client_id" not in fields)


async def test_the_token_endpoints_habits_are_not_those_of_the_revocation() -> None:
    """A client that sends JSON to the token endpoint, and more parameters, sends RFC 7009's form here."""
    request = await revocation(shop(json_body=True, token_parameters={"audience": "api"}, token_headers={"x-v": "1"}))

    assert form(request) == {"token": "rt-1", "token_type_hint": "refresh_token"}
    assert "x-v" not in request.headers


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_a_token_may_revoke_itself(method: str) -> None:
    """Style `bearer`: the token is the authorization, however the client proves itself elsewhere."""
    client = shop(revocation_style="bearer", revocation_token="access_token", authentication=method)
    request = await revocation(client)

    assert (request.method, request.headers["authorization"], request.body) == ("POST", "Bearer at-1", b"")


async def test_a_token_may_be_deleted() -> None:
    """Style `delete_json`, as GitHub has it: DELETE with the client's authentication."""
    client = shop(revocation_style="delete_json", revocation_token="access_token")
    request = await revocation(client)

    assert request.method == "DELETE"
    assert request.headers["authorization"].startswith("Basic ")
    assert json.loads(request.body) == {"access_token": "at-1"}


@pytest.mark.parametrize("habits", [{"revocation_style": "none"}, {"revocation_url": None}])
def test_where_it_cannot_be_done_nothing_is_sent(habits: dict[str, Any]) -> None:
    """The outcome is then `not_supported`."""
    assert revocation_call(shop(**habits), TOKENS) is None


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
