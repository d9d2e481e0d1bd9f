"""Registering, changing and ending a registration (RFC 7591, RFC 7592), as pure messages."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.clock import SECOND
from grantkeeper.errors import ClientRejected, ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.message import Response
from grantkeeper.oauth.registration import (
    Application,
    Registration,
    client_metadata,
    delete_request,
    deletion_response,
    managed_response,
    metadata_document,
    read_request,
    registration_request,
    registration_response,
    update_request,
)

OURS = "https://gk.example/oauth/acme/callback"
APPLICATION = Application(
    name="Grantkeeper",
    public_url="https://gk.example",
    redirect_uri=OURS,
    grant="authorization_code",
    authentication="client_secret_basic",
    signing_algorithm="ES256",
    scopes=("read", "offline_access"),
)
ASKED = client_metadata(APPLICATION)
REGISTERED = Registration(
    client_id="id-1",
    authentication="client_secret_basic",
    client_secret="top-secret",
    access_token="rat-1",
    url="https://as.example/register/id-1",
)


def application(**changes: Any) -> dict[str, Any]:
    """What another application of ours says of itself."""
    return client_metadata(msgspec.structs.replace(APPLICATION, **changes))


def answer(status: int = 201, **members: Any) -> Response:
    """What a registration endpoint answers; None leaves a member out."""
    document = {"client_id": "id-1", "client_secret": "top-secret", "client_secret_expires_at": 0} | members
    body = json.dumps({name: value for name, value in document.items() if value is not None}).encode()
    return Response(status=status, headers={"content-type": "application/json"}, body=body)


def test_what_we_say_of_ourselves() -> None:
    """Only what applies: no keys for a client with a secret, no member without a value (RFC 7591 §2)."""
    assert ASKED == {
        "client_name": "Grantkeeper",
        "client_uri": "https://gk.example",
        "application_type": "web",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "redirect_uris": [OURS],
        "scope": "read offline_access",
    }


def test_what_a_bank_is_told() -> None:
    """Keys, bound tokens, pushed and signed requests are announced where the definition wants them."""
    said = application(
        authentication="private_key_jwt", dpop=True, pushed=True, signed_request=True, signed_response=True, scopes=()
    )
    assert said["jwks_uri"] == "https://gk.example/.well-known/jwks.json"
    assert said["token_endpoint_auth_signing_alg"] == said["request_object_signing_alg"] == "ES256"
    assert said["authorization_signed_response_alg"] == "ES256"
    assert said["dpop_bound_access_tokens"] is said["require_pushed_authorization_requests"] is True
    assert "scope" not in said


def test_a_client_without_a_browser() -> None:
    """Client credentials need neither redirect URI nor response type; the device grant has its long name."""
    said = application(grant="client_credentials", refreshes=False)
    assert (said["grant_types"], said["response_types"]) == (["client_credentials"], [])
    assert "redirect_uris" not in said
    device = application(grant="device_code")["grant_types"]
    assert device == ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]


def test_the_document_names_its_own_url() -> None:
    """A client ID metadata document's `client_id` is its URL, and there is no secret in it."""
    url = "https://gk.example/oauth/acme/client.json"
    document = metadata_document(url, application(authentication="none"))
    assert document["client_id"] == url
    assert document["token_endpoint_auth_method"] == "none"
    assert not any("secret" in name for name in document)


def test_the_request_is_json() -> None:
    """POST of the metadata as JSON (RFC 7591 §3.1)."""
    request = registration_request("https://as.example/register", ASKED)
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert msgspec.json.decode(request.body) == ASKED


def test_a_registration_is_read() -> None:
    """Id, secret and its end, and the way to manage it (RFC 7591 §3.2.1); neither `repr` shows a secret."""
    registration = registration_response(
        answer(
            client_secret_expires_at=1_800_000_000,
            registration_access_token="rat-1",
            registration_client_uri="https://as.example/register/id-1",
        ),
        ASKED,
    )
    assert registration == msgspec.structs.replace(REGISTERED, secret_expires_at=1_800_000_000 * SECOND)
    assert "top-secret" not in repr(registration)
    assert "rat-1" not in repr(registration)


def test_a_secret_that_never_ends() -> None:
    """0 stands for never; 200 is as good as 201; a public client keeps no secret that it was given."""
    assert registration_response(answer(status=200), ASKED).secret_expires_at is None
    public = registration_response(answer(), application(authentication="none"))
    assert (public.authentication, public.client_secret) == ("none", None)


@pytest.mark.parametrize("given", ["client_secret_post", "client_secret_jwt"])
def test_the_server_may_choose_another_way_with_the_secret(given: str) -> None:
    """How we prove ourselves is taken as the server says (RFC 7591 §3.2.1)."""
    assert registration_response(answer(token_endpoint_auth_method=given), ASKED).authentication == given


@pytest.mark.parametrize(
    ("asked", "members", "problem"),
    [
        ("client_secret_basic", {"client_id": None}, "client_id is missing"),
        ("client_secret_basic", {"client_id": 7}, "client_id is not a text"),
        ("client_secret_basic", {"client_id": ""}, "client_id is not a text"),
        ("client_secret_basic", {"client_id": "a\nb"}, "client_id is not a text"),
        ("client_secret_basic", {"client_secret": None}, "client_secret is missing"),
        ("client_secret_basic", {"client_secret_expires_at": "soon"}, "client_secret_expires_at is not a time"),
        ("client_secret_basic", {"client_secret_expires_at": -1}, "client_secret_expires_at is not a time"),
        ("client_secret_basic", {"redirect_uris": ["https://evil.example"]}, "redirect_uris lacks ours"),
        ("client_secret_basic", {"redirect_uris": "https://gk.example"}, "redirect_uris lacks ours"),
        ("client_secret_basic", {"registration_client_uri": "http://as.example/r"}, "registration_client_uri must"),
        ("client_secret_basic", {"token_endpoint_auth_method": "private_key_jwt"}, "not the one that was asked for"),
        ("private_key_jwt", {"token_endpoint_auth_method": "client_secret_basic"}, "weaker than private_key_jwt"),
        ("private_key_jwt", {"token_endpoint_auth_method": "none"}, "weaker than private_key_jwt"),
    ],
)
def test_an_answer_that_cannot_be_used(asked: Any, members: dict[str, Any], problem: str) -> None:
    """Each says what is wrong, and none shows the secret."""
    with pytest.raises(ProviderProtocolError, match=problem) as caught:
        registration_response(answer(**members), application(authentication=asked))
    assert "top-secret" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (400, {"error": "invalid_redirect_uri"}, ClientRejected, "invalid_redirect_uri"),
        (400, {"error": "<script>"}, ClientRejected, "no reason"),
        (400, {}, ClientRejected, "no reason"),
        (401, {}, ClientRejected, "register by hand and set client_id"),
        (403, {}, ClientRejected, "register by hand and set client_id"),
        (302, {}, ProviderProtocolError, "HTTP 302"),
        (429, {}, ProviderUnavailable, "HTTP 429"),
        (502, {}, ProviderUnavailable, "HTTP 502"),
    ],
)
def test_a_refusal_says_who_must_act(
    status: int, body: dict[str, str], error: type[ProviderError], message: str
) -> None:
    """4xx: the operator; 429 and 5xx: nobody."""
    with pytest.raises(error, match=message):
        registration_response(answer(status, client_id=None, client_secret=None, **body), ASKED)


def test_managing_needs_the_token_and_the_place() -> None:
    """Without registration_client_uri or its token there is no way (RFC 7592 §1)."""
    for lacking in ({"url": None}, {"access_token": None}):
        registration = msgspec.structs.replace(REGISTERED, **lacking)
        assert read_request(registration) is None
        assert update_request(registration, ASKED) is None
        assert delete_request(registration) is None


def test_requests_to_manage() -> None:
    """GET, PUT with everything and the present secret, DELETE, each with the registration's own token."""
    read, update, delete = read_request(REGISTERED), update_request(REGISTERED, ASKED), delete_request(REGISTERED)
    assert read is not None
    assert update is not None
    assert delete is not None
    assert [r.method for r in (read, update, delete)] == ["GET", "PUT", "DELETE"]
    assert {r.url for r in (read, update, delete)} == {REGISTERED.url}
    assert {r.headers["authorization"] for r in (read, update, delete)} == {"Bearer rat-1"}
    assert msgspec.json.decode(update.body) == {"client_id": "id-1", "client_secret": "top-secret", **ASKED}
    assert "rat-1" not in repr(update)


def test_a_change_may_bring_a_new_secret_and_token() -> None:
    """What the answer has replaces what we had; what it does not repeat stays (RFC 7592 §2.2)."""
    rotated = managed_response(answer(200, client_secret="new", registration_access_token="rat-2"), ASKED, REGISTERED)
    assert (rotated.client_secret, rotated.access_token, rotated.url) == ("new", "rat-2", REGISTERED.url)
    silent = managed_response(answer(200, client_secret=None), ASKED, REGISTERED)
    assert (silent.client_secret, silent.access_token) == ("top-secret", "rat-1")


def test_a_change_cannot_make_us_another_client() -> None:
    """Another client_id than before is refused; so is any answer but 200."""
    with pytest.raises(ProviderProtocolError, match="another one"):
        managed_response(answer(200, client_id="id-2"), ASKED, REGISTERED)
    with pytest.raises(ClientRejected):
        managed_response(answer(401), ASKED, REGISTERED)


@pytest.mark.parametrize("status", [200, 204, 401, 404])
def test_gone_is_gone(status: int) -> None:
    """Deleted, or unknown to the server anyway."""
    deletion_response(answer(status))


@pytest.mark.parametrize(
    ("status", "error"), [(405, ClientRejected), (503, ProviderUnavailable), (403, ClientRejected)]
)
def test_what_is_not_deleted_stays(status: int, error: type[ProviderError]) -> None:
    """A server that does not delete is an error, and we keep the registration."""
    with pytest.raises(error):
        deletion_response(answer(status))


@given(
    st.binary(max_size=200) | st.recursive(st.text(max_size=9), lambda x: st.dictionaries(st.text(), x)),
    st.integers(200, 599),
)
def test_no_answer_does_harm(body: bytes | Any, status: int) -> None:
    """Whatever comes back is a registration or a declared error."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with suppress(ProviderError):
        assert registration_response(Response(status=status, headers={}, body=content), ASKED).client_id
