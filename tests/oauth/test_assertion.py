"""Assertions of ours: what they say, and that their signatures hold."""

from __future__ import annotations

from typing import get_args

import pytest
from joserfc.jwk import OctKey

from grantkeeper.clock import SECOND
from grantkeeper.errors import ClientRejected
from grantkeeper.oauth.assertion import (
    client_assertion_claims,
    client_secret_jwt,
    jwt_bearer_assertion,
    private_key_jwt,
)
from grantkeeper.terms import SigningAlgorithm
from tests.oauth.clients import NOW
from tests.oauth.keys import EC, RSA, OurKey, opened

SECONDS = NOW // SECOND
ISSUER = "https://as.example"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SECRET = "s" * 32


def test_a_client_says_who_it_is_to_one_server_for_a_minute() -> None:
    """RFC 7523 §3: all that is required, the audience as one string, and times in whole seconds."""
    claims = client_assertion_claims("id-1", ISSUER, NOW)
    jti = claims.pop("jti")

    assert claims == {"iss": "id-1", "sub": "id-1", "aud": ISSUER, "iat": SECONDS, "exp": SECONDS + 60}
    assert len(jti) >= 22
    assert client_assertion_claims("id-1", ISSUER, NOW, lifetime=10)["exp"] == SECONDS + 10


def test_no_two_have_one_jti() -> None:
    """RFC 7523 §3 (7): a server that keeps them must never see one twice."""
    assert len({client_assertion_claims("id-1", ISSUER, NOW)["jti"] for _ in range(100)}) == 100


@pytest.mark.parametrize("algorithm", get_args(SigningAlgorithm))
async def test_a_client_proves_itself_by_its_key(algorithm: SigningAlgorithm) -> None:
    """`private_key_jwt` with each algorithm: the two parameters, and a signature that holds."""
    ours = OurKey(algorithm)
    parameters = await private_key_jwt(ours, "id-1", ISSUER, NOW)
    header, claims = opened(parameters.pop("client_assertion"), ours.key, algorithm)

    assert parameters == {"client_assertion_type": ASSERTION_TYPE}
    assert header == {"alg": algorithm, "kid": ours.kid, "typ": "JWT"}
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("id-1", "id-1", ISSUER)


@pytest.mark.parametrize("secret", [SECRET, "s" * 31 + "é", "a b+c/d=" * 8, "\x00" * 32])
def test_a_client_proves_itself_by_its_secret(secret: str) -> None:
    """`client_secret_jwt`: HS256 with the octets of the secret, which is not sent."""
    parameters = client_secret_jwt(secret, "id-1", ISSUER, NOW)
    header, claims = opened(parameters["client_assertion"], OctKey.import_key(secret.encode()), "HS256")

    assert parameters["client_assertion_type"] == ASSERTION_TYPE
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("id-1", 60)
    assert secret not in str(parameters)


@pytest.mark.parametrize("secret", ["", "short-1", "s" * 31, RSA.as_pem().decode(), EC.as_pem().decode()])
def test_a_secret_that_proves_nothing_is_refused(secret: str) -> None:
    """RFC 7518 §3.2: 256 bits at least; a public key is no secret. The message says what to do, not the secret."""
    with pytest.raises(ClientRejected, match="client_secret_jwt") as caught:
        client_secret_jwt(secret, "id-1", ISSUER, NOW)

    assert not secret or secret not in caught.value.message


async def test_an_assertion_stands_in_for_a_person() -> None:
    """RFC 7523 §2.1: who speaks, for whom, to whom, and what else the provider wants to be told."""
    ours = OurKey("RS256")
    extra = {"scope": "read", "iss": "evil", "exp": 9**12, "aud": ["x"]}
    token = await jwt_bearer_assertion(ours, "robot@x", "ada@x", "https://as.example/token", NOW, extra)
    header, claims = opened(token, ours.key, "RS256")

    assert header["kid"] == "rsa"
    assert claims.pop("jti")
    assert claims == {
        "iss": "robot@x",
        "sub": "ada@x",
        "aud": "https://as.example/token",
        "scope": "read",
        "iat": SECONDS,
        "exp": SECONDS + 300,
    }
