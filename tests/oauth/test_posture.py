"""What a server supports, what we use, and the safer option that is left unused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.oauth.aspect import NO_METADATA, NOT_ANNOUNCED, Aspect
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.metadata import ServerMetadata
from grantkeeper.oauth.posture import posture
from tests.oauth.clients import SHOP, shop

ISSUER = "https://shop.example"
AUTHENTICATION = "client authentication"
BOUND = "sender-constrained tokens"
PUSHED = "pushed requests (PAR)"
SIGNED = "signed requests (JAR)"
JARM = "signed responses (JARM)"
BROWSER_TOPICS = {PUSHED, SIGNED, JARM, "PKCE", "issuer in responses", "authorization details", "FAPI 2.0"}
ALL_OF_FAPI: dict[str, Any] = {
    "token_endpoint_auth_methods_supported": ("client_secret_basic", "private_key_jwt"),
    "code_challenge_methods_supported": ("S256",),
    "pushed_authorization_request_endpoint": f"{ISSUER}/par",
    "require_pushed_authorization_requests": True,
    "authorization_response_iss_parameter_supported": True,
    "dpop_signing_alg_values_supported": ("ES256",),
    "response_modes_supported": ("query", "jwt"),
    "request_object_signing_alg_values_supported": ("ES256",),
    "revocation_endpoint": f"{ISSUER}/revoke",
    "token_endpoint": f"{ISSUER}/token",
    "authorization_endpoint": f"{ISSUER}/authorize",
}
FAPI = shop(
    authentication="private_key_jwt",
    pushed_url=f"{ISSUER}/par",
    issuer=ISSUER,
    issuer_in_response=True,
    sender_constrained="dpop",
    signed_request=True,
    signed_response=True,
)


def metadata(**members: Any) -> ServerMetadata:
    """What the shop says of itself: nothing but its issuer and these members."""
    return ServerMetadata(issuer=ISSUER, **members)


def look(topic: str, client: Client = SHOP, **members: Any) -> Aspect:
    """One topic of a client."""
    [found] = [aspect for aspect in posture(client, metadata(**members)) if aspect.topic == topic]
    return found


@pytest.mark.parametrize(
    ("topic", "habits", "members", "safer"),
    [
        (
            AUTHENTICATION,
            {},
            {"token_endpoint_auth_methods_supported": ("client_secret_basic", "tls_client_auth", "private_key_jwt")},
            'token.client_authentication = "private_key_jwt"',
        ),
        (
            AUTHENTICATION,
            {"authentication": "client_secret_jwt"},
            {"token_endpoint_auth_methods_supported": ("client_secret_jwt", "tls_client_auth")},
            'token.client_authentication = "tls_client_auth"',
        ),
        (
            AUTHENTICATION,
            {"authentication": "client_secret_post"},
            {"token_endpoint_auth_methods_supported": ("client_secret_post", "client_secret_jwt")},
            'token.client_authentication = "client_secret_jwt"',
        ),
        (
            AUTHENTICATION,
            {"authentication": "none"},
            {"token_endpoint_auth_methods_supported": ("none", "client_secret_basic")},
            'token.client_authentication = "client_secret_basic"',
        ),
        (
            AUTHENTICATION,
            {},
            {
                "token_endpoint_auth_methods_supported": ("client_secret_basic", "private_key_jwt"),
                "token_endpoint_auth_signing_alg_values_supported": ("RS256", "PS256"),
            },
            'token.client_authentication = "private_key_jwt", token.signing_algorithm = "PS256"',
        ),
        (
            "signature of our assertions",
            {"authentication": "private_key_jwt", "signing_algorithm": "RS256"},
            {"token_endpoint_auth_signing_alg_values_supported": ("RS256", "EdDSA")},
            'token.signing_algorithm = "EdDSA"',
        ),
        (
            BOUND,
            {},
            {"dpop_signing_alg_values_supported": ("ES256",), "tls_client_certificate_bound_access_tokens": True},
            'token.sender_constrained = "dpop"',
        ),
        (
            BOUND,
            {},
            {"dpop_signing_alg_values_supported": ("EdDSA", "RS256")},
            'token.sender_constrained = "dpop", token.dpop_algorithm = "EdDSA"',
        ),
        (
            BOUND,
            {"authentication": "tls_client_auth"},
            {"dpop_signing_alg_values_supported": ("ES256",), "tls_client_certificate_bound_access_tokens": True},
            'token.sender_constrained = "certificate"',
        ),
        (
            BOUND,
            {},
            {"tls_client_certificate_bound_access_tokens": True},
            'token.sender_constrained = "certificate"',
        ),
        ("PKCE", {"pkce": False}, {"code_challenge_methods_supported": ("S256",)}, 'authorization.pkce = "S256"'),
        (
            PUSHED,
            {},
            {"pushed_authorization_request_endpoint": f"{ISSUER}/par"},
            f'authorization.pushed = true, authorization.pushed_url = "{ISSUER}/par"',
        ),
        (
            SIGNED,
            {},
            {"request_object_signing_alg_values_supported": ("none", "ES256")},
            "authorization.signed_request = true",
        ),
        (JARM, {}, {"response_modes_supported": ("query", "query.jwt")}, "authorization.signed_response = true"),
        (
            "issuer in responses",
            {"issuer": ISSUER},
            {"authorization_response_iss_parameter_supported": True},
            "authorization.issuer_in_response = true",
        ),
        (
            "ID token",
            {"scopes": ("openid",)},
            {"jwks_uri": f"{ISSUER}/jwks", "id_token_signing_alg_values_supported": ("ES256",)},
            f'signatures.jwks_url = "{ISSUER}/jwks"',
        ),
        (
            "revocation",
            {"revocation_style": "none"},
            {"revocation_endpoint": f"{ISSUER}/revoke"},
            f'revocation.style = "rfc7009", revocation.url = "{ISSUER}/revoke"',
        ),
        ("FAPI 2.0", {}, ALL_OF_FAPI, 'profile = "fapi2"'),
    ],
)
def test_safer_option_left_unused(topic: str, habits: dict[str, Any], members: dict[str, Any], safer: str) -> None:
    """Each is named with the key to set, and only where the server announces it."""
    client = shop(**habits)
    assert look(topic, client, **members).safer == safer
    assert look(topic, client).safer is None


@pytest.mark.parametrize(
    ("topic", "habits", "members", "conflict"),
    [
        (
            AUTHENTICATION,
            {},
            {"token_endpoint_auth_methods_supported": ("client_secret_post",)},
            "the server does not announce client_secret_basic",
        ),
        (
            "signature of our assertions",
            {"authentication": "private_key_jwt"},
            {"token_endpoint_auth_signing_alg_values_supported": ("PS256",)},
            "the server does not announce ES256",
        ),
        (BOUND, {"sender_constrained": "certificate"}, {}, "the server does not announce certificate"),
        (BOUND, {"sender_constrained": "dpop"}, {}, "the server does not announce dpop"),
        (
            BOUND,
            {"sender_constrained": "dpop", "dpop_algorithm": "EdDSA"},
            {"dpop_signing_alg_values_supported": ("ES256",)},
            "the server does not announce EdDSA",
        ),
        ("PKCE", {}, {"code_challenge_methods_supported": ("plain",)}, "the server does not announce S256"),
        (PUSHED, {}, {"require_pushed_authorization_requests": True}, "the server requires it"),
        (PUSHED, {"pushed_url": f"{ISSUER}/par"}, {}, "the server does not announce it"),
        (SIGNED, {}, {"require_signed_request_object": True}, "the server requires it"),
        (SIGNED, {"signed_request": True}, {}, "the server does not announce it"),
        (
            SIGNED,
            {"signed_request": True},
            {"require_signed_request_object": True, "request_object_signing_alg_values_supported": ("PS256",)},
            "the server does not announce ES256",
        ),
        (JARM, {"signed_response": True}, {"response_modes_supported": ("query",)}, "the server does not announce it"),
        (
            JARM,
            {"signed_response": True, "signature_algorithms": ("ES256",)},
            {"response_modes_supported": ("jwt",), "authorization_signing_alg_values_supported": ("RS256",)},
            "no announced algorithm is among signatures.algorithms",
        ),
        ("issuer in responses", {"issuer_in_response": True}, {}, "the server does not announce it"),
        (
            "ID token",
            {"scopes": ("openid",), "signature_algorithms": ("ES256",), "jwks_url": f"{ISSUER}/jwks"},
            {"id_token_signing_alg_values_supported": ("RS256", "none")},
            "no announced algorithm is among signatures.algorithms",
        ),
        ("grant", {}, {"grant_types_supported": ("refresh_token",)}, "the server does not announce authorization_code"),
        (
            "grant",
            {"grant": "device_code"},
            {"grant_types_supported": ("authorization_code",)},
            "the server does not announce urn:ietf:params:oauth:grant-type:device_code",
        ),
        (
            "scopes",
            {"scopes": ("read", "write", "admin")},
            {"scopes_supported": ("read",)},
            "the server does not announce write, admin; it may know more than it announces",
        ),
        (
            "resource indicators",
            {"resources": ("https://api.example",)},
            {"others": {"protected_resources": ["https://other.example", 7]}},
            "the server does not announce https://api.example",
        ),
        (
            "authorization details",
            {"details": ({"type": "payment"}, {"type": "accounts"})},
            {"authorization_details_types_supported": ("accounts",)},
            "the server does not announce payment",
        ),
        (
            "endpoints for certificates",
            {"authentication": "tls_client_auth"},
            {"mtls_endpoint_aliases": {"token_endpoint": "https://mtls.shop.example/token"}},
            'certificates are asked for elsewhere: token.url = "https://mtls.shop.example/token"',
        ),
        (
            "endpoints",
            {"jwks_url": f"{ISSUER}/jwks"},
            {"token_endpoint": f"{ISSUER}/v2/token", "jwks_uri": f"{ISSUER}/keys"},
            f"token.url is {ISSUER}/token, announced is {ISSUER}/v2/token; "
            f"signatures.jwks_url is {ISSUER}/jwks, announced is {ISSUER}/keys",
        ),
    ],
)
def test_conflict_with_what_is_announced(
    topic: str, habits: dict[str, Any], members: dict[str, Any], conflict: str
) -> None:
    """What we do though the server does not announce it, or demands otherwise, is said."""
    assert look(topic, shop(**habits), **members).conflict == conflict


@pytest.mark.parametrize(
    ("topic", "members", "supported"),
    [
        (AUTHENTICATION, {"token_endpoint_auth_methods_supported": ("a", "b")}, "a, b"),
        (BOUND, {"dpop_signing_alg_values_supported": ("ES256",)}, "dpop"),
        (PUSHED, {"pushed_authorization_request_endpoint": "https://x.example"}, "yes"),
        (PUSHED, {"require_pushed_authorization_requests": True}, "required"),
        (SIGNED, {"request_parameter_supported": True}, "yes"),
        (SIGNED, {"request_object_signing_alg_values_supported": ("RS256",)}, "RS256"),
        (SIGNED, {"require_signed_request_object": True}, "required"),
        ("scopes", {"scopes_supported": ()}, "none"),
        ("resource indicators", {"others": {"protected_resources": "all"}}, NOT_ANNOUNCED),
        ("scopes", {"scopes_supported": tuple(map(str, range(14)))}, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"),
        (
            "refresh tokens and their rotation",
            {"grant_types_supported": ("refresh_token",)},
            "refresh tokens: yes; no metadata tell of rotation",
        ),
        (
            "refresh tokens and their rotation",
            {"grant_types_supported": ("implicit",)},
            "refresh tokens: no; no metadata tell of rotation",
        ),
        ("FAPI 2.0", ALL_OF_FAPI, "all that it asks for is announced"),
    ],
)
def test_what_is_supported_is_said_in_words(topic: str, members: dict[str, Any], supported: str) -> None:
    """As the metadata have it, and never at more length than a line."""
    assert look(topic, **members).supported == supported


def test_silent_server() -> None:
    """Where the metadata say nothing, that is said, and nothing is called safer, or wrong, for it."""
    for aspect in posture(SHOP, metadata()):
        assert NOT_ANNOUNCED in aspect.supported, aspect.topic
        assert (aspect.safer, aspect.conflict) == (None, None), aspect.topic


@pytest.mark.parametrize("client", [SHOP, FAPI])
def test_no_metadata(client: Client) -> None:
    """Without metadata what we use is still told, and no judgement is made."""
    found = posture(client, None)
    assert {aspect.supported for aspect in found} == {NO_METADATA}
    assert {(aspect.safer, aspect.conflict) for aspect in found} == {(None, None)}
    assert [aspect.used for aspect in found] == [aspect.used for aspect in posture(client, metadata())]


def test_nothing_is_left_unused_by_a_client_of_the_whole_profile() -> None:
    """One that does all that its server announces has nothing to look at."""
    for aspect in posture(FAPI, metadata(**ALL_OF_FAPI)):
        assert (aspect.safer, aspect.conflict) == (None, None), aspect.topic


def test_a_weaker_option_is_never_called_safer() -> None:
    """A certificate is not given up for an assertion, nor an assertion for a secret."""
    for used in ("private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"):
        methods = ("none", "client_secret_basic", "client_secret_jwt", "private_key_jwt", "tls_client_auth", used)
        found = look(AUTHENTICATION, shop(authentication=used), token_endpoint_auth_methods_supported=methods)
        assert found.safer is None


def test_an_alias_is_no_conflict() -> None:
    """A client that shows a certificate goes where certificates are asked for (RFC 8705 §5)."""
    alias = "https://mtls.shop.example/token"
    client = shop(authentication="tls_client_auth", token_url=alias)
    members = {"token_endpoint": f"{ISSUER}/token", "mtls_endpoint_aliases": {"token_endpoint": alias}}
    for topic in ("endpoints", "endpoints for certificates"):
        assert look(topic, client, **members).conflict is None


@pytest.mark.parametrize("grant", ["device_code", "client_credentials", "jwt_bearer", "token_exchange"])
def test_grants_without_an_authorization_request(grant: str) -> None:
    """What is about authorization requests is left out where none is sent."""
    browser = {aspect.topic for aspect in posture(SHOP, metadata())}
    other = {aspect.topic for aspect in posture(shop(grant=grant), metadata())}
    assert browser - other == BROWSER_TOPICS
    assert other < browser


def test_every_aspect_names_its_standard() -> None:
    """Each can be looked up, and no topic comes twice."""
    found = posture(SHOP, metadata())
    assert len({aspect.topic for aspect in found}) == len(found)
    assert all(aspect.rfc.startswith(("RFC ", "OpenID ", "JARM ", "FAPI ")) for aspect in found)


def test_no_secret_is_told() -> None:
    """The client's secret stands in none of it."""
    client = shop(client_secret="hush-hush")
    assert "hush-hush" not in repr(posture(client, metadata(**ALL_OF_FAPI)))


words = st.none() | st.lists(st.sampled_from(["ES256", "RS256", "none", "S256", "plain", "jwt", "x"]), max_size=4).map(
    tuple
)
lists = [name for name in ServerMetadata.__struct_fields__ if name.endswith("_supported")]


@given(
    st.fixed_dictionaries({}, optional={name: words for name in lists if "values" in name or "methods" in name}),
    st.sampled_from([SHOP, FAPI, shop(grant="client_credentials", authentication="none")]),
)
def test_any_metadata_can_be_compared(members: dict[str, Any], client: Client) -> None:
    """Whatever is announced, every topic has words for it; what is used is told as it is without any metadata."""
    found = posture(client, metadata(**members))
    assert all(aspect.supported and aspect.used for aspect in found)
    assert [aspect.used for aspect in found] == [aspect.used for aspect in posture(client, None)]
