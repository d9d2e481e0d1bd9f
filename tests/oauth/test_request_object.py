"""Authorization requests as signed JWTs."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from grantkeeper.clock import SECOND
from grantkeeper.errors import InvalidValue
from grantkeeper.oauth.request_object import request_object
from grantkeeper.terms import SigningAlgorithm
from tests.oauth.clients import NOW
from tests.oauth.keys import OurKey, opened

SECONDS = NOW // SECOND
ISSUER = "https://as.example"


async def inside(parameters: dict[str, Any]) -> dict[str, Any]:
    """What the provider reads, without what stands in every request object."""
    ours = OurKey()
    _, claims = opened(await request_object(ours, "id-1", ISSUER, parameters, NOW), ours.key, "ES256")
    fixed = ("iss", "client_id", "aud", "jti", "iat", "nbf", "exp")
    assert [name for name in fixed if name not in claims] == []
    return {name: value for name, value in claims.items() if name not in fixed}


@pytest.mark.parametrize("algorithm", get_args(SigningAlgorithm))
async def test_the_request_is_signed_for_one_server_and_for_minutes(algorithm: SigningAlgorithm) -> None:
    """RFC 9101 §4 and FAPI 2.0 Message Signing: who, to whom, from when until when, and its type."""
    ours = OurKey(algorithm)
    header, claims = opened(await request_object(ours, "id-1", ISSUER, {}, NOW), ours.key, algorithm)

    assert header == {"alg": algorithm, "kid": ours.kid, "typ": "oauth-authz-req+jwt"}
    assert len(claims.pop("jti")) >= 22
    assert claims == {
        "iss": "id-1",
        "client_id": "id-1",
        "aud": ISSUER,
        "iat": SECONDS,
        "nbf": SECONDS,
        "exp": SECONDS + 300,
    }


async def test_the_parameters_stand_inside() -> None:
    """As text, several values as a list; None is left out."""
    parameters = {"response_type": "code", "state": "s", "scope": "a b", "resource": ["https://a", "https://b"]}

    assert await inside({**parameters, "nonce": None}) == parameters


async def test_json_is_json_inside() -> None:
    """OpenID Connect Core §6.1: objects, lists and numbers, whether they came as text or as values."""
    claims = {"id_token": {"acr": {"essential": True}}}
    details = [{"type": "payment"}]

    text = {"claims": '{"id_token": {"acr": {"essential": true}}}', "authorization_details": '[{"type":"payment"}]'}
    expected = {"claims": claims, "authorization_details": details, "max_age": 300}

    assert await inside({**text, "max_age": "300"}) == expected
    assert await inside({"claims": claims, "authorization_details": tuple(details), "max_age": 300}) == expected


async def test_some_things_are_never_inside() -> None:
    """RFC 9101 §4 and §10.8: no request in a request, no `sub` that makes an assertion of it, no secret."""
    bad = {"request": "x", "request_uri": "x", "sub": "id-1", "client_secret": "x", "client_assertion": "x"}

    assert await inside({**bad, "client_assertion_type": "x", "state": "s"}) == {"state": "s"}


async def test_no_parameter_replaces_what_protects_it() -> None:
    """A definition's own parameters change neither issuer nor audience nor times."""
    ours = OurKey()
    parameters = {"iss": "evil", "aud": "evil", "exp": "9", "nbf": "9", "iat": "9", "jti": "9", "client_id": "evil"}
    _, claims = opened(await request_object(ours, "id-1", ISSUER, parameters, NOW, lifetime=60), ours.key, "ES256")

    assert (claims["iss"], claims["client_id"], claims["aud"]) == ("id-1", "id-1", ISSUER)
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (SECONDS, SECONDS, SECONDS + 60)
    assert claims["jti"] != "9"


@pytest.mark.parametrize("name", ["claims", "authorization_details", "max_age"])
async def test_text_that_is_no_json_is_refused(name: str) -> None:
    """It names the parameter that is to be mended."""
    with pytest.raises(InvalidValue) as caught:
        await inside({name: "{"})

    assert [*caught.value.errors] == [name]
