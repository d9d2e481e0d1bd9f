"""Grants that need no person: what asks for them, at first and each time again."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from grantkeeper.clock import SECOND
from grantkeeper.errors import ClientRejected
from grantkeeper.model import Renewal
from grantkeeper.oauth.client import AssertionPolicy, Client, ExchangePolicy
from grantkeeper.oauth.grants import client_credentials_call, token_exchange_call
from grantkeeper.oauth.message import Call
from grantkeeper.oauth.renewals import renewal_call
from grantkeeper.oauth.token import may_have_spent
from grantkeeper.terms import GrantType, SigningAlgorithm
from tests.oauth.clients import NOW, shop
from tests.oauth.keys import BY_ALGORITHM, OurKey, opened
from tests.support.sender import HeldKeys

ISSUER = "https://shop.example"
EXCHANGE = ExchangePolicy(source="bank", subject_token_type="urn:ietf:params:oauth:token-type:access_token")
KEYS = HeldKeys(OurKey("ES256"), OurKey("RS256"))

Personless = Literal["client_credentials", "jwt_bearer", "token_exchange"]


def client_with(grant: GrantType, **habits: Any) -> Client:
    """A client of that grant, at a provider with an issuer."""
    return shop(**({"grant": grant, "issuer": ISSUER, "scopes": ("read",), "exchange": EXCHANGE} | habits))


async def asked(client: Client, subject: str | None = None, source_token: str | None = None) -> Call:
    """What asks for the grant that this client is for."""
    grant: Any = client.grant
    return await renewal_call(client, Renewal(grant=grant, subject=subject), KEYS, NOW, source_token)


async def assertion_of(client: Client, subject: str | None = None, algorithm: SigningAlgorithm = "ES256") -> Any:
    """Header and claims of a JWT bearer assertion, its signature found good."""
    call = await asked(client, subject)
    assertion = call.parameters["assertion"]
    assert isinstance(assertion, str)
    return opened(assertion, BY_ALGORITHM[algorithm], algorithm)


async def test_client_credentials_are_asked_for_again() -> None:
    """The same request as the first (RFC 6749 §4.4.2)."""
    client = client_with("client_credentials")

    assert await asked(client) == client_credentials_call(client)


async def test_the_source_of_an_exchange_is_asked_anew() -> None:
    """With the access token that the source connection has now (RFC 8693 §2.1)."""
    client = client_with("token_exchange")

    assert await asked(client, source_token="at-7") == token_exchange_call(client, "at-7")


async def test_an_assertion_speaks_for_us() -> None:
    """RFC 7523 §3: issuer and subject are the client, the audience is the provider, good for five minutes."""
    header, claims = await assertion_of(client_with("jwt_bearer"))
    seconds = NOW // SECOND

    assert (header["alg"], header["kid"]) == ("ES256", "ec")
    assert claims.pop("jti")
    assert claims == {"iss": "id-1", "sub": "id-1", "aud": ISSUER, "iat": seconds, "exp": seconds + 300}


async def test_an_assertion_speaks_for_whom_it_was_asked() -> None:
    """A domain-wide delegation names the person; the issuer stays the client."""
    client = client_with("jwt_bearer", assertion=AssertionPolicy(subject="asked"))
    _, claims = await assertion_of(client, "ada@example.com")

    assert (claims["iss"], claims["sub"]) == ("id-1", "ada@example.com")


@pytest.mark.parametrize(
    ("habits", "audience"),
    [
        ({}, ISSUER),
        ({"assertion_audience": "token_endpoint"}, "https://shop.example/token"),
        ({"issuer": None}, "https://shop.example/token"),
        ({"assertion": AssertionPolicy(audience="https://login.example")}, "https://login.example"),
    ],
)
async def test_an_assertion_is_for_one_audience(habits: dict[str, Any], audience: str) -> None:
    """The definition's own, or as for the client's authentication."""
    _, claims = await assertion_of(client_with("jwt_bearer", **habits))

    assert claims["aud"] == audience


async def test_a_definition_adds_claims_and_replaces_none() -> None:
    """Google wants `scope` in the assertion; what the standard says stays as it is."""
    policy = AssertionPolicy(claims={"scope": "calendar", "iss": "eve", "exp": "never"})
    _, claims = await assertion_of(client_with("jwt_bearer", assertion=policy))

    assert (claims["scope"], claims["iss"]) == ("calendar", "id-1")
    assert claims["exp"] == NOW // SECOND + 300


async def test_the_definitions_algorithm_signs() -> None:
    """Google and Salesforce take RS256 only."""
    header, _ = await assertion_of(client_with("jwt_bearer", signing_algorithm="RS256"), algorithm="RS256")

    assert header["kid"] == "rsa"


async def test_each_assertion_is_another() -> None:
    """RFC 7523 §3: a provider may refuse a `jti` that it has seen."""
    client = client_with("jwt_bearer")
    _, first = await assertion_of(client)
    _, second = await assertion_of(client)

    assert first["jti"] != second["jti"]


@pytest.mark.parametrize("came_by", ["client_credentials", "jwt_bearer", "token_exchange"])
@pytest.mark.parametrize("now", ["client_credentials", "jwt_bearer", "token_exchange", "authorization_code"])
async def test_a_definition_that_means_another_grant_now_is_the_operators_matter(
    came_by: Personless, now: GrantType
) -> None:
    """Nothing is sent that would bring another kind of grant into the connection; nobody is condemned."""
    if came_by == now:
        return
    with pytest.raises(ClientRejected, match=f"'{now}'.*'{came_by}'.*restore the definition") as failure:
        await renewal_call(client_with(now), Renewal(grant=came_by), KEYS, NOW, "at-1")

    assert not failure.value.sent
    assert not may_have_spent(failure.value, None)


async def test_without_a_key_nothing_can_be_stated() -> None:
    """The keys say what is missing."""
    with pytest.raises(ClientRejected, match="no key for EdDSA") as failure:
        await asked(client_with("jwt_bearer", signing_algorithm="EdDSA"))

    assert not failure.value.sent


async def test_what_is_asked_does_not_show() -> None:
    """Neither the assertion nor the token to exchange is in a repr."""
    for client in (client_with("jwt_bearer"), client_with("token_exchange")):
        assert repr(await asked(client, source_token="secret")) == "Call(POST https://shop.example/token)"
