"""Where metadata are, and what of them is believed (RFC 8414, OpenID Connect Discovery, RFC 9728)."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.errors import ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.message import Response
from grantkeeper.oauth.metadata import (
    LARGEST_DOCUMENT,
    Challenge,
    challenge,
    document_of,
    metadata_urls,
    resource_metadata,
    resource_metadata_urls,
    server_metadata,
)
from grantkeeper.urls import issuer_problem

ISSUER = "https://as.example.com"


def document(**changes: object) -> dict[str, Any]:
    """The metadata of ISSUER; None leaves a member out."""
    members: dict[str, object] = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "response_types_supported": ["code"],
    }
    return {name: value for name, value in (members | changes).items() if value is not None}


def answer(body: bytes | dict[str, Any] = b"", status: int = 200, **headers: str) -> Response:
    """An answer to a request for metadata."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers={"content-type": "application/json"} | named, body=content)


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (
            "https://as.example.com",
            [
                "https://as.example.com/.well-known/oauth-authorization-server",
                "https://as.example.com/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example.com/",
            [
                "https://as.example.com/.well-known/oauth-authorization-server",
                "https://as.example.com/.well-known/openid-configuration",
            ],
        ),
        (
            "https://example.com/issuer1",
            [
                "https://example.com/.well-known/oauth-authorization-server/issuer1",
                "https://example.com/.well-known/openid-configuration/issuer1",
                "https://example.com/issuer1/.well-known/openid-configuration",
                "https://example.com/issuer1/.well-known/oauth-authorization-server",
            ],
        ),
        (
            "https://example.com:8443/a/b/",
            [
                "https://example.com:8443/.well-known/oauth-authorization-server/a/b",
                "https://example.com:8443/.well-known/openid-configuration/a/b",
                "https://example.com:8443/a/b/.well-known/openid-configuration",
                "https://example.com:8443/a/b/.well-known/oauth-authorization-server",
            ],
        ),
    ],
)
def test_where_an_issuer_s_metadata_are(issuer: str, urls: list[str]) -> None:
    """The part is inserted before the path (RFC 8414 §3.1), or put behind it (OIDC Discovery §4); a last slash goes."""
    assert list(metadata_urls(issuer)) == urls


@pytest.mark.parametrize(
    ("resource", "urls"),
    [
        ("https://mcp.example.com", ["https://mcp.example.com/.well-known/oauth-protected-resource"]),
        ("https://mcp.example.com/", ["https://mcp.example.com/.well-known/oauth-protected-resource"]),
        (
            "https://example.com/resource1",
            [
                "https://example.com/.well-known/oauth-protected-resource/resource1",
                "https://example.com/.well-known/oauth-protected-resource",
            ],
        ),
        (
            "https://example.com/api/?tenant=7",
            [
                "https://example.com/.well-known/oauth-protected-resource/api/?tenant=7",
                "https://example.com/.well-known/oauth-protected-resource",
            ],
        ),
    ],
)
def test_where_a_resource_s_metadata_are(resource: str, urls: list[str]) -> None:
    """Inserted before path and query (RFC 9728 §3.1), then at the root of the host."""
    assert list(resource_metadata_urls(resource)) == urls


def test_what_a_server_says_is_read() -> None:
    """Every kind of member arrives; what we do not know is kept for people who look; null is as good as left out."""
    read = server_metadata(
        document(
            jwks_uri=f"{ISSUER}/jwks",
            pushed_authorization_request_endpoint=f"{ISSUER}/par",
            require_pushed_authorization_requests=True,
            authorization_response_iss_parameter_supported=True,
            code_challenge_methods_supported=["S256"],
            mtls_endpoint_aliases={"token_endpoint": "https://mtls.example.com/token"},
            colours=["red"],
        )
        | {"userinfo_endpoint": None},
        ISSUER,
    )
    assert (read.token_endpoint, read.jwks_uri) == (f"{ISSUER}/token", f"{ISSUER}/jwks")
    assert read.pushed_authorization_request_endpoint == f"{ISSUER}/par"
    assert read.require_pushed_authorization_requests
    assert read.authorization_response_iss_parameter_supported
    assert read.code_challenge_methods_supported == ("S256",)
    assert (read.userinfo_endpoint, read.scopes_supported) == (None, None)
    assert read.aliased("token_endpoint") == "https://mtls.example.com/token"
    assert read.aliased("revocation_endpoint") is None
    assert read.others == {"colours": ["red"]}
    assert dict(read.endpoints())["mtls_endpoint_aliases.token_endpoint"] == "https://mtls.example.com/token"


def test_grants_that_are_not_named() -> None:
    """Silence about grant types means the code and implicit grants (RFC 8414 §2)."""
    silent, speaking = server_metadata(document(), ISSUER), document(grant_types_supported=["client_credentials"])
    assert silent.offers_grant("authorization_code")
    assert not silent.offers_grant("client_credentials")
    assert not server_metadata(speaking, ISSUER).offers_grant("authorization_code")


@pytest.mark.parametrize(
    "named",
    [
        "https://evil.example.com",
        "https://as.example.com/",
        "https://AS.example.com",
        "http://as.example.com",
        "https://as.example.com:443",
        "https://as.example.com/tenant",
    ],
)
def test_another_issuer_is_refused(named: str) -> None:
    """`issuer` is equal to the letter or not at all (RFC 8414 §3.3): a slash or a capital makes another one."""
    with pytest.raises(ProviderProtocolError, match=r"issuer is '.*', not what was asked for") as caught:
        server_metadata(document(issuer=named), ISSUER)
    assert caught.value.code == "metadata_mismatch"


@pytest.mark.parametrize("named", [None, 7, "", ["https://as.example.com"]])
def test_no_issuer_is_refused(named: object) -> None:
    """A document that does not say whose it is, is nobody's."""
    with pytest.raises(ProviderProtocolError, match="issuer is missing"):
        server_metadata(document(issuer=named), ISSUER)


def test_a_hostile_issuer_s_name_is_shown_safely() -> None:
    """What the document names stands in the message without controls, and cut."""
    with pytest.raises(ProviderProtocolError) as caught:
        server_metadata(document(issuer="https://x\x1b[31m\n" + "y" * 5000), ISSUER)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("token_endpoint", "http://as.example.com/token", "must start with https"),
        ("token_endpoint", "ftp://as.example.com/token", "must start with https"),
        ("authorization_endpoint", "javascript:alert(1)", "must start with https"),
        ("jwks_uri", "https://as.example.com/jwks#key", "must not contain a fragment"),
        ("jwks_uri", "https://user:pw@as.example.com/jwks", "must not contain a fragment, a user"),
        ("revocation_endpoint", "https://as.example.com/a b", "must not contain spaces"),
        ("registration_endpoint", "/register", "must start with https"),
        ("device_authorization_endpoint", "https://", "has no host"),
        ("userinfo_endpoint", "https://as.example.com/{tenant}/me", "must not contain braces"),
        ("mtls_endpoint_aliases", {"token_endpoint": "http://as.example.com/token"}, "must start with https"),
    ],
)
def test_an_endpoint_must_be_https(member: str, value: object, problem: str) -> None:
    """One URL that is none refuses the document, and the error names the member."""
    with pytest.raises(ProviderProtocolError, match=f"{member}.*{problem}") as caught:
        server_metadata(document(**{member: value}), ISSUER)
    assert caught.value.code == "metadata_url"


def test_plain_http_on_this_machine() -> None:
    """Loopback needs no TLS (RFC 8252 §8.3), as in definitions."""
    local = "http://127.0.0.1:9000"
    assert server_metadata({"issuer": local, "token_endpoint": f"{local}/token"}, local).issuer == local


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("token_endpoint", 7),
        ("scopes_supported", "openid profile"),
        ("scopes_supported", ["openid", 3]),
        ("require_pushed_authorization_requests", "true"),
        ("mtls_endpoint_aliases", ["https://as.example.com"]),
    ],
)
def test_a_member_of_another_type_is_refused(member: str, value: object) -> None:
    """The error names the member, not the value."""
    with pytest.raises(ProviderProtocolError, match=member) as caught:
        server_metadata(document(**{member: value}), ISSUER)
    assert caught.value.code == "metadata_member"


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (answer(status=404), ProviderProtocolError, "HTTP 404"),
        (answer(status=302, location="https://evil.example.com"), ProviderProtocolError, "redirect, which is not"),
        (answer(status=307), ProviderProtocolError, "redirect"),
        (answer({"a": 1}, status=201), ProviderProtocolError, "HTTP 201"),
        (answer(status=503), ProviderUnavailable, "HTTP 503"),
        (answer(status=429), ProviderUnavailable, "HTTP 429"),
        (answer(b"<html>"), ProviderProtocolError, "not a JSON object"),
        (answer(b"[]"), ProviderProtocolError, "not a JSON object"),
        (answer(b""), ProviderProtocolError, "not a JSON object"),
        (answer(b"[" * 100_000), ProviderProtocolError, "not a JSON object"),
        (answer(b'{"issuer": "\xff"}'), ProviderProtocolError, "not a JSON object"),
        (answer(b'{"a": "' + b"x" * LARGEST_DOCUMENT + b'"}'), ProviderProtocolError, "more than 256 KB"),
    ],
)
def test_answers_that_are_no_document(response: Response, error: type[ProviderError], message: str) -> None:
    """Redirects are not followed, nothing huge is read, and what is not there for now is told apart."""
    with pytest.raises(error, match=message):
        document_of(response, "https://as.example.com/.well-known/oauth-authorization-server")


def test_a_document_that_comes_as_a_form_is_none() -> None:
    """Whatever the media type, metadata are JSON."""
    response = Response(
        status=200, headers={"content-type": "application/x-www-form-urlencoded"}, body=b"issuer=https://as.example.com"
    )
    with pytest.raises(ProviderProtocolError, match="not a JSON object"):
        document_of(response, "metadata")


RESOURCE = "https://mcp.example.com/mcp"


def test_what_a_resource_says_is_read() -> None:
    """The authorization servers and scopes of a resource (RFC 9728 §2)."""
    read = resource_metadata(
        {
            "resource": RESOURCE,
            "authorization_servers": [ISSUER, f"{ISSUER}/two"],
            "scopes_supported": ["read"],
            "dpop_bound_access_tokens_required": True,
            "resource_name": "Files",
        },
        (RESOURCE,),
    )
    assert read.authorization_servers == (ISSUER, f"{ISSUER}/two")
    assert read.scopes_supported == ("read",)
    assert read.dpop_bound_access_tokens_required


@pytest.mark.parametrize(
    "named",
    ["https://evil.example.com/mcp", f"{RESOURCE}/", "https://mcp.example.com", "https://MCP.example.com/mcp", None],
)
def test_another_resource_is_refused(named: str | None) -> None:
    """`resource` is equal to the letter (RFC 9728 §3.3): else a resource could have tokens for another made."""
    with pytest.raises(ProviderProtocolError, match="resource is") as caught:
        resource_metadata({"resource": named, "authorization_servers": [ISSUER]}, (RESOURCE,))
    assert caught.value.code == "metadata_mismatch"


@pytest.mark.parametrize(
    "server", ["http://as.example.com", "https://as.example.com/?a=1", "x", "https://a.example/{b}"]
)
def test_an_authorization_server_must_be_an_issuer(server: str) -> None:
    """A resource can send us to https only."""
    with pytest.raises(ProviderProtocolError, match="authorization_servers"):
        resource_metadata({"resource": RESOURCE, "authorization_servers": [server]}, (RESOURCE,))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer resource_metadata="https://m.example/x"', Challenge(resource_metadata="https://m.example/x")),
        (
            'Bearer error="invalid_token", error_description="No, \\"sir\\", resource_metadata=\\"https://evil\\"",'
            ' resource_metadata="https://m.example/x", scope="read write"',
            Challenge(resource_metadata="https://m.example/x", scope="read write"),
        ),
        (
            'Basic realm="a", DPoP algs="ES256", Bearer Resource_Metadata = https://m.example/x',
            Challenge(resource_metadata="https://m.example/x"),
        ),
        ('Bearer realm="resource_metadata=https://evil"', Challenge()),
        ("Bearer", Challenge()),
        ("", Challenge()),
    ],
)
def test_a_challenge_says_where_the_metadata_are(header: str, expected: Challenge) -> None:
    """`resource_metadata` and `scope` of WWW-Authenticate (RFC 9728 §5.1); none is read out of another's text."""
    assert challenge(answer(status=401, www_authenticate=header)) == expected


@pytest.mark.parametrize(
    ("issuer", "sound"),
    [
        ("https://as.example.com", True),
        ("https://as.example.com/tenant/", True),
        ("http://127.0.0.1:9000/tenant", True),
        ("http://as.example.com", False),
        ("https://as.example.com?a=b", False),
        ("https://as.example.com#", False),
        ("as.example.com", False),
    ],
)
def test_what_an_issuer_is(issuer: str, sound: bool) -> None:
    """https without query and fragment (RFC 8414 §2)."""
    assert (issuer_problem(issuer) is None) is sound


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(["issuer", "token_endpoint", "jwks_uri", "mtls_endpoint_aliases", "scopes_supported", "x"])


@given(st.dictionaries(MEMBERS, JSON), st.booleans())
def test_no_document_does_harm(members: dict[str, Any], with_issuer: bool) -> None:
    """Whatever a server sends is read, or refused by the one error that is declared."""
    if with_issuer:
        members["issuer"] = ISSUER
    with suppress(ProviderProtocolError):
        assert server_metadata(members, ISSUER).issuer == ISSUER


@given(st.text(max_size=200))
def test_no_challenge_does_harm(header: str) -> None:
    """Whatever stands in WWW-Authenticate, nothing is raised."""
    assert isinstance(challenge(answer(status=401, www_authenticate=header)), Challenge)
