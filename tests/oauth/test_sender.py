"""The one way out to a provider: the client proves itself, in each way there is, once for each request."""

from __future__ import annotations

import base64
import json
from typing import Any, get_args
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from grantkeeper.clock import SECOND
from grantkeeper.errors import ClientRejected, ProviderUnavailable
from grantkeeper.oauth import dpop
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Call, Request
from grantkeeper.oauth.sender import Sender
from grantkeeper.oauth.signing import ClientCertificate
from grantkeeper.oauth.token import may_have_spent
from grantkeeper.terms import ClientAuthentication, SigningAlgorithm
from grantkeeper.testing import FakeClock
from tests.oauth.clients import SHOP, answer, before, form, shop
from tests.oauth.keys import BY_ALGORITHM, OurKey, opened, public
from tests.support.sender import HeldKeys, Recorder, keyless, written_request

ISSUER = "https://shop.example"
TOKEN_URL = SHOP.token_url
METHODS: tuple[ClientAuthentication, ...] = get_args(ClientAuthentication)
ALGORITHMS: tuple[SigningAlgorithm, ...] = get_args(SigningAlgorithm)
BY_KEY = ("client_secret_jwt", "private_key_jwt")
BY_TLS = ("tls_client_auth", "self_signed_tls_client_auth")
SECRET = "secret-" + "1" * 32
CERTIFICATE = ClientCertificate(chain="secret-chain", private_key="secret-key", thumbprint="default")
OTHER = ClientCertificate(chain="secret-chain-2", private_key="secret-key-2", thumbprint="other")
PROVING = dpop.new_key()
CALL = Call(url=TOKEN_URL, parameters={"grant_type": "x y"})


def equipped(http: Recorder, clock: FakeClock | None = None) -> Sender:
    """A sender with a key of each algorithm, and two certificates."""
    keys = HeldKeys(
        *(OurKey(algorithm) for algorithm in ALGORITHMS), certificates={"default": CERTIFICATE, "other": OTHER}
    )
    return Sender(http, keys, clock or FakeClock())


def by(method: str, **habits: Any) -> Client:
    """A client that proves itself so."""
    return shop(**({"authentication": method, "issuer": ISSUER, "client_secret": SECRET} | habits))


async def sent(client: Client, call: Call = CALL) -> tuple[Request, ClientCertificate | None]:
    """The one request that the call makes, and the certificate shown with it."""
    http = Recorder()
    await equipped(http).call(client, call)
    assert len(http.requests) == 1
    return http.requests[0], http.certificates[0]


async def basic_pair(client: Client) -> tuple[str, str]:
    """Id and secret in the Authorization header, as a server decodes them (RFC 6749 §2.3.1)."""
    header = (await written_request(client, CALL)).headers["authorization"]
    pair = base64.b64decode(header.removeprefix("Basic ")).decode("ascii")
    assert pair.count(":") == 1
    client_id, secret = pair.split(":")
    return unquote_plus(client_id), unquote_plus(secret)


def assertion_in(fields: dict[str, str], algorithm: str) -> dict[str, Any]:
    """The claims of the client assertion, verified as the provider does (RFC 7523 §3)."""
    assert fields["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    if algorithm == "HS256":
        key: Any = OctKey.import_key(SECRET)
    else:
        key = public(BY_ALGORITHM[algorithm]).keys[0]
        assert not key.is_private
    header, claims = opened(fields["client_assertion"], key, algorithm)
    assert header["alg"] == algorithm
    return claims


# With a secret


@pytest.mark.parametrize("secret", ["plain", "a:b", "a b+c%20", "é€😀", "/?&=#", '"\\', "%", "  ", "~-._"])
async def test_odd_secrets_survive_basic_authentication(secret: str) -> None:
    """Both halves are form-encoded first, so that a colon or an umlaut does not break them."""
    client = shop(client_id=f"id {secret}", client_secret=secret)

    assert await basic_pair(client) == (f"id {secret}", secret)


@given(client_id=st.text(min_size=1), secret=st.text(min_size=1))
async def test_any_secret_survives_basic_authentication(client_id: str, secret: str) -> None:
    """No id or secret that settings can hold is bent on its way."""
    assert await basic_pair(shop(client_id=client_id, client_secret=secret)) == (client_id, secret)


async def test_with_basic_the_body_holds_no_client() -> None:
    """RFC 6749 §2.3: one way of authentication a request."""
    request, certificate = await sent(by("client_secret_basic"))

    assert form(request) == {"grant_type": "x y"}
    assert certificate is None


async def test_post_authentication_puts_both_into_the_body() -> None:
    """`client_secret_post` sends no Authorization header."""
    request, certificate = await sent(by("client_secret_post"))

    assert form(request) == {"grant_type": "x y", "client_id": "id-1", "client_secret": SECRET}
    assert "authorization" not in request.headers
    assert certificate is None


async def test_a_public_client_names_itself_only() -> None:
    """`none` sends the id, and never a secret that happens to be configured."""
    request, certificate = await sent(by("none"))

    assert form(request) == {"grant_type": "x y", "client_id": "id-1"}
    assert "authorization" not in request.headers
    assert certificate is None


# With a key


async def test_a_secret_may_sign_instead_of_travelling() -> None:
    """`client_secret_jwt` (OpenID Connect Core §9): an HMAC, and no secret anywhere."""
    request, _ = await sent(by("client_secret_jwt"))
    fields, seconds = form(request), FakeClock().now() // SECOND
    claims = assertion_in(fields, "HS256")

    assert fields.keys() == {"grant_type", "client_id", "client_assertion", "client_assertion_type"}
    assert claims.pop("jti")
    assert claims == {"iss": "id-1", "sub": "id-1", "aud": ISSUER, "iat": seconds, "exp": seconds + 60}
    assert "authorization" not in request.headers
    assert SECRET.encode() not in request.body


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_key_of_ours_signs(algorithm: SigningAlgorithm) -> None:
    """`private_key_jwt` by each algorithm (RFC 7523 §2.2); a secret that happens to be there is not sent."""
    request, certificate = await sent(by("private_key_jwt", signing_algorithm=algorithm))
    fields, seconds = form(request), FakeClock().now() // SECOND
    claims = assertion_in(fields, algorithm)

    assert fields.keys() == {"grant_type", "client_id", "client_assertion", "client_assertion_type"}
    assert claims.pop("jti")
    assert claims == {"iss": "id-1", "sub": "id-1", "aud": ISSUER, "iat": seconds, "exp": seconds + 60}
    assert "authorization" not in request.headers
    assert certificate is None


@pytest.mark.parametrize("method", BY_KEY)
@pytest.mark.parametrize(
    ("habits", "audience"),
    [
        ({}, ISSUER),
        ({"assertion_audience": "token_endpoint"}, TOKEN_URL),
        ({"issuer": None}, TOKEN_URL),
    ],
)
async def test_an_assertion_is_for_one_audience(method: str, habits: dict[str, Any], audience: str) -> None:
    """FAPI 2.0 wants the issuer as one text, at every endpoint; some want the token endpoint, and say so."""
    for url in (TOKEN_URL, "https://shop.example/par"):
        request, _ = await sent(by(method, **habits), Call(url=url, parameters={}))
        claims = assertion_in(form(request), "HS256" if method == "client_secret_jwt" else "ES256")
        assert claims["aud"] == audience


@pytest.mark.parametrize("method", BY_KEY)
async def test_an_assertion_is_good_for_one_request(method: str) -> None:
    """RFC 7523 §3: each has its own `jti`, also where a request is repeated for the server's nonce."""
    http = Recorder(answer({"error": "use_dpop_nonce"}, 400, dpop_nonce="n-1"))
    sender, client = equipped(http), by(method)
    await sender.call(client, CALL, dpop_key=PROVING)
    await sender.call(client, CALL, dpop_key=PROVING)
    algorithm = "HS256" if method == "client_secret_jwt" else "ES256"
    seen = [assertion_in(form(request), algorithm)["jti"] for request in http.requests]

    assert len(seen) == len(set(seen)) == 3


@pytest.mark.parametrize("method", BY_KEY)
async def test_an_assertion_is_of_now(method: str) -> None:
    """By the clock of the moment it is sent."""
    clock, http = FakeClock(), Recorder()
    sender = equipped(http, clock)
    clock.advance(86_400)
    await sender.call(by(method), CALL)
    claims = assertion_in(form(http.requests[0]), "HS256" if method == "client_secret_jwt" else "ES256")

    assert claims["iat"] == clock.now() // SECOND


# With a certificate


@pytest.mark.parametrize("method", BY_TLS)
async def test_tls_proves_the_client(method: str) -> None:
    """RFC 8705 §2: the certificate, and the id in the body so that the server knows whose it should be."""
    request, certificate = await sent(by(method))

    assert form(request) == {"grant_type": "x y", "client_id": "id-1"}
    assert "authorization" not in request.headers
    assert certificate == CERTIFICATE


@pytest.mark.parametrize(
    ("habits", "shown"),
    [
        *(({"authentication": method}, method in BY_TLS) for method in METHODS),
        *(({"authentication": method, "sender_constrained": "certificate"}, True) for method in METHODS),
        *(({"authentication": method, "sender_constrained": "dpop"}, method in BY_TLS) for method in METHODS),
    ],
)
async def test_a_certificate_is_shown_where_the_client_shows_one(habits: dict[str, Any], shown: bool) -> None:
    """To prove the client or to bind the tokens (RFC 8705 §3), at every endpoint and resource; never elsewhere."""
    client, http = by("none", **habits), Recorder()
    sender = equipped(http)
    await sender.call(client, CALL)
    await sender.protected(client, Request(method="GET", url="https://shop.example/me", headers={}), before().tokens)
    await sender.plain(Request(method="GET", url="https://shop.example/jwks", headers={}))

    expected = CERTIFICATE if shown else None
    assert http.certificates == [expected, expected, None]


async def test_the_clients_own_certificate_is_shown() -> None:
    """Settings name it, where several have been imported."""
    _, certificate = await sent(by("tls_client_auth", certificate="other"))

    assert certificate == OTHER


# In every way


@pytest.mark.parametrize("method", METHODS)
async def test_a_client_proves_itself_in_one_way(method: ClientAuthentication) -> None:
    """RFC 6749 §2.3, in a form as in JSON: header, secret, assertion and certificate exclude each other."""
    in_form, certificate = await sent(by(method))
    in_json, _ = await sent(by(method), Call(url=TOKEN_URL, parameters={"code": "c"}, encoding="json"))

    for request, members in ((in_form, form(in_form)), (in_json, json.loads(in_json.body))):
        ways = {
            "client_secret_basic": "authorization" in request.headers,
            "client_secret_post": "client_secret" in members,
            "jwt": "client_assertion" in members,
            "tls": certificate is not None,
        }
        named = {"client_secret_jwt": "jwt", "private_key_jwt": "jwt", **dict.fromkeys(BY_TLS, "tls")}
        assert [way for way, used in ways.items() if used] == [named.get(method, method)] * (method != "none")
        assert ("client_id" in members) == (method != "client_secret_basic")


@pytest.mark.parametrize("method", METHODS)
async def test_an_endpoint_may_want_another_proof(method: ClientAuthentication) -> None:
    """Revocation at some: the call's own way counts before the client's."""
    usual: ClientAuthentication = "client_secret_post" if method == "none" else "none"
    call = Call(url="https://shop.example/revoke", parameters={"token": "t"}, authentication=method)
    request, certificate = await sent(by(usual), call)
    expected, shown = await sent(by(method), Call(url=call.url, parameters=call.parameters))

    assert certificate == shown
    assert ("authorization" in request.headers) == ("authorization" in expected.headers)
    assert form(request).keys() == form(expected).keys()
    assert form(request).get("client_secret") == form(expected).get("client_secret")


@pytest.mark.parametrize("method", METHODS)
async def test_a_token_that_speaks_for_itself_goes_alone(method: ClientAuthentication) -> None:
    """A revocation by the token as its own authorization is not mixed with the client's proof."""
    call = Call(url="https://shop.example/revoke", parameters={}, headers={"Authorization": "Bearer at-1"})
    request, _ = await sent(by(method), call)

    assert request.headers["authorization"] == "Bearer at-1"
    assert "Authorization" not in request.headers
    assert request.body == b""


async def test_a_definitions_header_replaces_ours_whatever_its_case() -> None:
    """`Accept` and `accept` are one header, sent once; what kind of body it is stays ours to say."""
    headers = {"Accept": "text/x", "X-Version": "2", "Content-Type": "text/plain"}
    request, _ = await sent(SHOP, Call(url=TOKEN_URL, parameters={}, headers=headers))
    plain, _ = await sent(SHOP)

    assert request.headers.pop("authorization")
    assert request.headers == {
        "accept": "text/x",
        "x-version": "2",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert plain.headers["accept"] == "application/json"


async def test_a_call_is_left_as_it_was() -> None:
    """It may be sent again: what proves the client is not added to it."""
    await sent(by("client_secret_post"))

    assert Call(url=TOKEN_URL, parameters={"grant_type": "x y"}) == CALL


# What is missing


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (by("private_key_jwt"), "no key for ES256"),
        (by("tls_client_auth"), "no certificate default"),
        (by("self_signed_tls_client_auth", certificate="bank"), "no certificate bank"),
        (by("none", sender_constrained="certificate"), "no certificate default"),
        (by("client_secret_jwt", client_secret=None), "clients.shop.client_secret is missing"),
        (by("client_secret_jwt", client_secret="secret-short"), "at least 32 bytes"),
    ],
)
async def test_without_a_key_nothing_is_sent(client: Client, says: str) -> None:
    """The operator must act, and reads what to do; the refresh token of the call is as good as before."""
    http = Recorder()
    with pytest.raises(ClientRejected, match=says) as failure:
        await keyless(http, FakeClock()).call(client, CALL)

    assert http.requests == []
    assert not failure.value.sent
    assert not may_have_spent(failure.value, None)
    assert "secret-" not in failure.value.message


async def test_without_a_certificate_no_token_is_shown() -> None:
    """A resource that wants a certificate gets no token without one."""
    http = Recorder()
    client, request = by("tls_client_auth"), Request(method="GET", url="https://shop.example/me", headers={})
    with pytest.raises(ClientRejected):
        await keyless(http, FakeClock()).protected(client, request, before().tokens)

    assert http.requests == []


async def test_who_does_not_answer_is_unavailable() -> None:
    """As the socket says it, with whether the request had left; nothing is repeated."""
    http = Recorder(ProviderUnavailable("no connection", sent=False))
    with pytest.raises(ProviderUnavailable) as failure:
        await equipped(http).call(SHOP, CALL)

    assert not failure.value.sent
    assert len(http.requests) == 1
    assert equipped(http).timeout == http.timeout


@pytest.mark.parametrize("method", METHODS)
async def test_nothing_shows_a_secret(method: ClientAuthentication) -> None:
    """Neither request, nor call, client, certificate or sender has one in its repr."""
    http = Recorder()
    sender, client = equipped(http), by(method)
    call = Call(url=f"{TOKEN_URL}?key=secret-0", parameters={"code": "secret-1"}, headers={"x": "secret-2"})
    await sender.call(client, call, dpop_key=PROVING)
    shown = f"{call!r} {client!r} {http.requests!r} {http.certificates!r} {sender!r}"

    assert "secret" not in shown
    assert "eyJ" not in shown
