"""Signed authorization responses: their parameters come out, forged ones do not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from grantkeeper.clock import SECOND
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.oauth.authorization import read_callback
from grantkeeper.oauth.jarm import jwt_kid, response_parameters
from tests.oauth.clients import NOW
from tests.oauth.keys import ALGORITHMS, BY_ALGORITHM, PUBLISHED, RSA, by_hand, signed

SECONDS = NOW // SECOND
ISSUER = "https://shop.example"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "id-1",
    "exp": SECONDS + 600,
    "state": "state-1",
    "code": "code-1",
}


def parameters_of(jwt: str, **changes: Any) -> list[tuple[str, str]]:
    """The parameters, by the checks as they usually are."""
    usual: dict[str, Any] = {
        "client_id": "id-1",
        "issuer": ISSUER,
        "keys": PUBLISHED,
        "algorithms": ALGORITHMS,
        "now": NOW,
    }
    return response_parameters(jwt, **(usual | changes))


def refusal(jwt: str, **changes: Any) -> str:
    """Why it is refused; what the person reads holds no code and no state."""
    with pytest.raises(AuthorizationFailed) as caught:
        parameters_of(jwt, **changes)
    assert "code-1" not in caught.value.message
    assert "state-1" not in caught.value.message
    assert caught.value.title
    return caught.value.reason.removeprefix("jarm_")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_parameters_come_out(algorithm: str) -> None:
    """JARM §2.1: state, code and issuer; what belongs to the JWT alone stays behind."""
    jwt = signed({**CLAIMS, "iat": SECONDS, "nbf": SECONDS, "jti": "x", "sub": "x"}, algorithm)

    assert sorted(parameters_of(jwt)) == [("code", "code-1"), ("iss", ISSUER), ("state", "state-1")]
    assert jwt_kid(jwt) == BY_ALGORITHM[algorithm].kid


def test_they_are_read_like_those_of_a_query() -> None:
    """An error response comes signed too (JARM §2.1)."""
    denied = {name: value for name, value in CLAIMS.items() if name != "code"} | {"error": "access_denied"}

    good, bad = read_callback(parameters_of(signed(CLAIMS))), read_callback(parameters_of(signed(denied)))

    assert (good.state, good.code, good.error, good.issuer) == ("state-1", "code-1", None, ISSUER)
    assert (bad.state, bad.code, bad.error, bad.issuer) == ("state-1", None, "access_denied", ISSUER)


def test_only_what_is_text_or_a_number_comes_out() -> None:
    """Extensions of other shapes are not parameters."""
    jwt = signed({**CLAIMS, "expires_in": 3600, "a": [1], "b": {"c": 1}, "d": None, "e": True, "session_state": "s"})

    assert {name for name, _ in parameters_of(jwt)} == {"iss", "state", "code", "expires_in", "session_state"}
    assert ("expires_in", "3600") in parameters_of(jwt)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": ["id-1", "other"]}, "aud"),
        ({"exp": SECONDS - 121}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "later"}, "exp"),
        ({"nbf": SECONDS + 121}, "nbf"),
        ({"state": 7}, "malformed"),
        ({"code": ["code-1"]}, "malformed"),
        ({"error": None}, "malformed"),
    ],
    ids=str,
)
def test_a_response_for_another_is_refused(change: dict[str, Any], reason: str) -> None:
    """JARM §2.4 (2 to 4): mix-up, another client's response, an old one."""
    assert refusal(signed({**CLAIMS, **change})) == reason


@pytest.mark.parametrize("name", ["none", "None", "HS256"])
def test_an_unsigned_one_is_refused_whatever_is_allowed(name: str) -> None:
    """JARM §2.4 (5): `none` never, not even where it is listed for ID tokens."""
    assert refusal(by_hand({"alg": name}, CLAIMS)) == "alg"
    assert refusal(by_hand({"alg": "none"}, CLAIMS), algorithms=["RS256", "none"]) == "alg"


def test_a_forged_signature_is_refused() -> None:
    """Another key, another key's name, an HMAC with the public key, changed claims."""
    stranger = RSAKey.generate_key(2048, {"kid": "rsa"})
    header, _, signature = signed(CLAIMS).split(".")
    _, claims, _ = signed({**CLAIMS, "code": "code-2"}).split(".")

    assert refusal(signed(CLAIMS, key=stranger)) == "signature"
    assert refusal(signed(CLAIMS, key=stranger, kid="x")) == "key"
    assert refusal(by_hand({"alg": "HS256"}, CLAIMS, RSA.as_pem())) == "alg"
    assert refusal(by_hand({"alg": "HS256"}, CLAIMS, RSA.as_pem()), algorithms=["HS256"]) == "key"
    assert refusal(f"{header}.{claims}.{signature}") == "signature"


@pytest.mark.parametrize(
    ("jwt", "reason"),
    [
        ("", "malformed"),
        ("a.b.c", "malformed"),
        ("a.b.c.d.e", "encrypted"),
        ("x" * 70_000, "too_large"),
        (by_hand({"alg": "RS256", "crit": ["exp"]}, CLAIMS), "crit"),
        (by_hand({"alg": "RS256", "b64": False, "crit": ["b64"]}, CLAIMS), "crit"),
        (by_hand({"alg": "RS256", "cty": "JWT"}, CLAIMS), "nested"),
        (by_hand({"alg": "RS256", "typ": "at+jwt"}, CLAIMS), "typ"),
        (signed(b'{"code": "a", "code": "b"}'), "duplicate"),
    ],
    ids=lambda value: value[:20] or "empty",
)
def test_what_is_no_signed_jwt_is_refused(jwt: str, reason: str) -> None:
    """The same for the look at its `kid` as for its parameters."""
    assert refusal(jwt) == reason
    with pytest.raises(AuthorizationFailed) as caught:
        jwt_kid(jwt)
    assert caught.value.reason == f"jarm_{reason}"


@given(
    st.one_of(
        st.text(),
        st.binary().map(lambda data: signed(data, "EdDSA")),
        st.dictionaries(st.sampled_from(sorted(CLAIMS)), st.one_of(st.none(), st.text(), st.integers())).map(
            lambda some: signed({**CLAIMS, **some}, "EdDSA")
        ),
    )
)
def test_any_text_is_read_or_refused(jwt: str) -> None:
    """Nothing but AuthorizationFailed ever comes out of a bad one."""
    found: list[tuple[str, str]] = []
    reason = ""
    try:
        found = parameters_of(jwt)
    except AuthorizationFailed as error:
        reason = error.reason
    assert reason.startswith("jarm_") or ("iss", ISSUER) in found
    assert all(isinstance(value, str) for _, value in found)
