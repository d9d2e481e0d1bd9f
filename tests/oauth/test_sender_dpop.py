"""DPoP at the one way out: a proof on each request, the server's nonces, and one repeat for their sake (RFC 9449)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey

from grantkeeper.clock import SECOND
from grantkeeper.errors import ProviderUnavailable
from grantkeeper.model import TokenSet
from grantkeeper.oauth import dpop
from grantkeeper.oauth.message import Call, Request, Response
from grantkeeper.testing import FakeClock
from tests.oauth.clients import SHOP, answer, before, form
from tests.oauth.keys import opened
from tests.support.sender import Recorder, keyless

KEY = dpop.new_key()
CALL = Call(url="https://shop.example/token?tenant=one", parameters={"code": "c"})
ME = Request(method="GET", url="https://shop.example/me?x=1#y", headers={"accept": "application/json"})
BOUND = before(token_type="DPoP", dpop_key=KEY).tokens


def proof_in(request: Request, key: str = KEY) -> dict[str, Any]:
    """The claims of the proof, verified as the server does (RFC 9449 §4.3)."""
    token = request.headers["dpop"]
    header, claims = opened(token, ECKey.import_key(json.loads(key)), "ES256")
    assert header["typ"] == "dpop+jwt"
    assert header["jwk"] == ECKey.import_key(json.loads(key)).as_dict(private=False)
    assert ECKey.import_key(header["jwk"]).thumbprint() == dpop.thumbprint(key)
    return claims


def nonces(http: Recorder) -> list[str | None]:
    """The server's nonce in each proof that went out."""
    return [proof_in(request).get("nonce") for request in http.requests]


def wanting(nonce: str | None, status: int = 400, **members: str) -> Response:
    """An authorization server's demand for a nonce (RFC 9449 §8)."""
    headers = {} if nonce is None else {"dpop_nonce": nonce}
    return answer({"error": "use_dpop_nonce", **members}, status, **headers)


def challenge(nonce: str | None, scheme: str = "DPoP", error: str = "use_dpop_nonce") -> Response:
    """A resource's demand (RFC 9449 §9)."""
    headers = {} if nonce is None else {"dpop_nonce": nonce}
    return answer(b"", 401, www_authenticate=f'{scheme} error="{error}", algs="ES256"', **headers)


# Proofs


async def test_a_call_proves_the_key() -> None:
    """Method and URL without its query, of now; no access token is there yet (§5)."""
    http = Recorder()
    await keyless(http, FakeClock()).call(SHOP, CALL, dpop_key=KEY)
    claims = proof_in(http.requests[0])

    assert claims.pop("jti")
    assert claims == {
        "htm": "POST",
        "htu": "https://shop.example/token",
        "iat": FakeClock().now() // SECOND,
    }
    assert http.requests[0].headers["authorization"].startswith("Basic ")


async def test_the_calls_own_method_is_proved() -> None:
    """Some endpoints want another than POST."""
    http = Recorder()
    call = Call(url="https://shop.example/revoke", parameters={}, method="DELETE")
    await keyless(http, FakeClock()).call(SHOP, call, dpop_key=KEY)

    assert proof_in(http.requests[0])["htm"] == "DELETE"


async def test_each_request_has_its_own_proof() -> None:
    """A proof is good once (§11.1), and of its moment."""
    http, clock = Recorder(), FakeClock()
    sender = keyless(http, clock)
    for _ in range(3):
        await sender.call(SHOP, CALL, dpop_key=KEY)
        clock.advance(10)
    claims = [proof_in(request) for request in http.requests]

    assert len({each["jti"] for each in claims}) == 3
    assert claims[2]["iat"] - claims[0]["iat"] == 20


async def test_each_connection_has_its_own_key() -> None:
    """The proof is by the key that is given, though the sender is one for all."""
    http, other = Recorder(), dpop.new_key()
    sender = keyless(http, FakeClock())
    await sender.call(SHOP, CALL, dpop_key=KEY)
    await sender.call(SHOP, CALL, dpop_key=other)

    assert proof_in(http.requests[0], KEY)["jti"] != proof_in(http.requests[1], other)["jti"]


async def test_a_definitions_header_is_not_the_proof() -> None:
    """Whatever its case, ours is sent and sent once."""
    http = Recorder()
    call = Call(url=CALL.url, parameters={}, headers={"DPoP": "theirs"})
    await keyless(http, FakeClock()).call(SHOP, call, dpop_key=KEY)

    assert proof_in(http.requests[0])["htm"] == "POST"
    assert [name for name in http.requests[0].headers if name.lower() == "dpop"] == ["dpop"]


async def test_a_bound_token_goes_with_its_proof() -> None:
    """RFC 9449 §7.1: the scheme DPoP, and the token's hash in the proof."""
    http = Recorder()
    request = Request(method="GET", url=ME.url, headers={"Accept": "text/x", "Authorization": "Basic x", "DPoP": "x"})
    await keyless(http, FakeClock()).protected(SHOP, request, BOUND)
    claims = proof_in(http.requests[0])

    assert http.requests[0].headers.keys() == {"accept", "authorization", "dpop"}
    assert http.requests[0].headers["authorization"] == "DPoP at-1"
    assert (claims["htm"], claims["htu"]) == ("GET", "https://shop.example/me")
    assert claims["ath"] == dpop.token_hash("at-1")


@pytest.mark.parametrize(
    "tokens",
    [before().tokens, before(dpop_key=KEY).tokens, before(token_type="DPoP").tokens],
    ids=["bearer", "bearer though a key is there", "no key"],
)
async def test_another_token_goes_alone(tokens: TokenSet) -> None:
    """RFC 6750 §2.1: what nobody bound needs no proof, and what we have no key for gets none."""
    http = Recorder()
    await keyless(http, FakeClock()).protected(SHOP, ME, tokens)

    assert http.requests[0].headers == {"accept": "application/json", "authorization": "Bearer at-1"}


# Nonces


@pytest.mark.parametrize(
    "response",
    [
        answer({}, dpop_nonce="n-1"),
        answer({}, 201, dpop_nonce="n-1"),
        answer({"error": "invalid_grant"}, 400, dpop_nonce="n-1"),
        answer(b"<h1>Down</h1>", 503, dpop_nonce="n-1"),
    ],
    ids=["good", "created", "refusal", "broken"],
)
async def test_a_nonce_is_learned_from_any_answer(response: Response) -> None:
    """§8.2: also from a good one; it is in every later proof for that server, of whatever connection."""
    http = Recorder(response)
    sender = keyless(http, FakeClock())
    await sender.call(SHOP, CALL, dpop_key=KEY)
    await sender.call(SHOP, Call(url="https://shop.example/par", parameters={}), dpop_key=KEY)
    await sender.protected(SHOP, ME, BOUND)

    assert nonces(http) == [None, "n-1", "n-1"]


async def test_the_last_nonce_counts() -> None:
    """Servers change them as they like; an answer without one changes nothing."""
    http = Recorder(answer({}, dpop_nonce="n-1"), answer({}, dpop_nonce="n-2"), answer({}), answer({}, dpop_nonce=""))
    sender = keyless(http, FakeClock())
    for _ in range(5):
        await sender.call(SHOP, CALL, dpop_key=KEY)

    assert nonces(http) == [None, "n-1", "n-2", "n-2", "n-2"]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.shop.example/token",
        "https://shop.example:8443/token",
        "http://shop.example/token",
        "https://shop.example.evil.example/token",
    ],
)
async def test_a_nonce_is_for_the_server_that_gave_it(url: str) -> None:
    """§9: another host, port or scheme is another server, and does not learn it."""
    http = Recorder(answer({}, dpop_nonce="n-1"))
    sender = keyless(http, FakeClock())
    await sender.call(SHOP, CALL, dpop_key=KEY)
    await sender.call(SHOP, Call(url=url, parameters={}), dpop_key=KEY)

    assert nonces(http) == [None, None]


@pytest.mark.parametrize("nonce", ['a"b\\c', "é", "x" * 4000, "<script>"])
async def test_an_odd_nonce_breaks_nothing(nonce: str) -> None:
    """Whatever a server calls a nonce goes back to it as it came."""
    http = Recorder(wanting(nonce))
    response = await keyless(http, FakeClock()).call(SHOP, CALL, dpop_key=KEY)

    assert response.status == 200
    assert nonces(http) == [None, nonce]


# One repeat


async def test_the_token_endpoint_may_want_a_nonce() -> None:
    """§8: the same request once more, with the nonce and another proof."""
    http = Recorder(wanting("n-1"), answer({"access_token": "at-1"}))
    response = await keyless(http, FakeClock()).call(SHOP, CALL, dpop_key=KEY)
    first, second = http.requests

    assert response.json_object() == {"access_token": "at-1"}
    assert nonces(http) == [None, "n-1"]
    assert proof_in(first)["jti"] != proof_in(second)["jti"]
    assert (first.method, first.url, form(first)) == (second.method, second.url, form(second))


async def test_a_resource_may_want_a_nonce() -> None:
    """§9: it says so in a challenge; the token's hash is in both proofs."""
    http = Recorder(challenge("n-1"), answer({"sub": "ada"}))
    response = await keyless(http, FakeClock()).protected(SHOP, ME, BOUND)

    assert response.json_object() == {"sub": "ada"}
    assert nonces(http) == [None, "n-1"]
    assert {proof_in(request)["ath"] for request in http.requests} == {dpop.token_hash("at-1")}
    assert {request.headers["authorization"] for request in http.requests} == {"DPoP at-1"}


async def test_a_nonce_that_was_good_may_run_out() -> None:
    """§8.2: the server names another, and the request is repeated with that."""
    http = Recorder(answer({}, dpop_nonce="n-1"), wanting("n-2"), answer({}))
    sender = keyless(http, FakeClock())
    await sender.call(SHOP, CALL, dpop_key=KEY)
    await sender.call(SHOP, CALL, dpop_key=KEY)

    assert nonces(http) == [None, "n-1", "n-2"]


async def test_a_server_that_is_never_content_is_asked_twice() -> None:
    """A new demand with every answer does not keep us busy: the second is the answer, and its nonce is kept."""
    http = Recorder(wanting("n-1"), wanting("n-2"))
    sender = keyless(http, FakeClock())
    response = await sender.call(SHOP, CALL, dpop_key=KEY)

    assert (response.status, len(http.requests)) == (400, 2)
    await sender.call(SHOP, CALL, dpop_key=KEY)
    assert nonces(http) == [None, "n-1", "n-2"]


async def test_a_resource_that_is_never_content_is_asked_twice() -> None:
    """The same there."""
    http = Recorder(challenge("n-1"), challenge("n-2"), challenge("n-3"))
    response = await keyless(http, FakeClock()).protected(SHOP, ME, BOUND)

    assert (response.status, len(http.requests)) == (401, 2)


@pytest.mark.parametrize(
    "response",
    [
        wanting(None),
        wanting(""),
        wanting("n-1", 200),
        wanting("n-1", 403),
        wanting("n-1", 500),
        answer({"error": "invalid_dpop_proof"}, 400, dpop_nonce="n-1"),
        answer({"error": "invalid_grant"}, 400, dpop_nonce="n-1"),
        answer(b"use_dpop_nonce", 400, dpop_nonce="n-1"),
        answer(b"", 401, dpop_nonce="n-1"),
    ],
    ids=["no nonce", "empty", "200", "403", "500", "bad proof", "bad grant", "no JSON", "no error"],
)
async def test_nothing_else_is_repeated(response: Response) -> None:
    """A code or a refresh token that was refused for another reason does not go out a second time."""
    http = Recorder(response)

    assert await keyless(http, FakeClock()).call(SHOP, CALL, dpop_key=KEY) == response
    assert len(http.requests) == 1


@pytest.mark.parametrize(
    "response", [challenge(None), challenge("n-1", scheme="Bearer"), challenge("n-1", error="invalid_token")]
)
async def test_no_other_challenge_is_answered(response: Response) -> None:
    """Nor is a token shown twice to who refuses it for another reason."""
    http = Recorder(response)

    assert await keyless(http, FakeClock()).protected(SHOP, ME, BOUND) == response
    assert len(http.requests) == 1


async def test_without_a_key_no_server_gets_its_way() -> None:
    """A client whose tokens are not bound neither proves nor repeats, nor remembers the nonce."""
    http = Recorder(wanting("n-1"), challenge("n-2"), challenge("n-3"))
    sender = keyless(http, FakeClock())
    assert (await sender.call(SHOP, CALL)).status == 400
    assert (await sender.protected(SHOP, ME, before().tokens)).status == 401
    assert (await sender.protected(SHOP, ME, before(dpop_key=KEY).tokens)).status == 401

    assert len(http.requests) == 3
    assert not any("dpop" in request.headers for request in http.requests)
    await sender.call(SHOP, CALL, dpop_key=KEY)
    assert "nonce" not in proof_in(http.requests[3])


@pytest.mark.parametrize("sent", [True, False])
async def test_the_repeat_may_find_nobody(sent: bool) -> None:
    """What the second try ends in is what happened: the first was refused before anything was spent."""
    at_token, at_resource = (
        Recorder(demand, ProviderUnavailable("gone", sent=sent)) for demand in (wanting("n-1"), challenge("n-1"))
    )
    with pytest.raises(ProviderUnavailable, match="gone") as failure:
        await keyless(at_token, FakeClock()).call(SHOP, CALL, dpop_key=KEY)
    assert failure.value.sent is sent
    with pytest.raises(ProviderUnavailable, match="gone") as failure:
        await keyless(at_resource, FakeClock()).protected(SHOP, ME, BOUND)
    assert failure.value.sent is sent

    assert (len(at_token.requests), len(at_resource.requests)) == (2, 2)
