"""ID tokens: every check of OpenID Connect Core §3.1.3.7, and every known way to get past them."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from grantkeeper.clock import SECOND
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.oauth.id_token import id_token_claims, id_token_kid
from tests.oauth.clients import NOW
from tests.oauth.keys import ALGORITHMS, BY_ALGORITHM, PUBLISHED, RSA, SECRET, by_hand, public, signed

SECONDS = NOW // SECOND
ISSUER = "https://shop.example"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "ada",
    "aud": "id-1",
    "iat": SECONDS,
    "exp": SECONDS + 60,
    "nonce": "n-1",
}


def claims_of(token: str, **changes: Any) -> dict[str, Any]:
    """The claims, by the checks as they usually are."""
    usual: dict[str, Any] = {
        "client_id": "id-1",
        "issuer": ISSUER,
        "keys": PUBLISHED,
        "algorithms": ALGORITHMS,
        "nonce": "n-1",
        "now": NOW,
    }
    return id_token_claims(token, **(usual | changes))


def refusal(token: str, **changes: Any) -> str:
    """Why it is refused; the message tells no value of it."""
    with pytest.raises(ProviderProtocolError) as caught:
        claims_of(token, **changes)
    assert "n-1" not in caught.value.message
    return (caught.value.code or "").removeprefix("id_token_")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_one_is_read(algorithm: str) -> None:
    """Signed by each algorithm with the key that `kid` names, or with any that fits."""
    assert claims_of(signed(CLAIMS, algorithm)) == CLAIMS
    assert claims_of(signed(CLAIMS, algorithm, kid=None)) == CLAIMS
    assert id_token_kid(signed(CLAIMS, algorithm)) == BY_ALGORITHM[algorithm].kid
    assert id_token_kid(signed(CLAIMS, algorithm, kid=None)) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_one_is_refused(algorithm: str) -> None:
    """Other claims under a good signature."""
    header, _, signature = signed(CLAIMS, algorithm).split(".")
    _, claims, _ = signed({**CLAIMS, "sub": "eve"}, algorithm).split(".")

    assert refusal(f"{header}.{claims}.{signature}") == "signature"
    assert refusal(f"{header}.{claims}.") == "signature"


def test_of_several_keys_without_a_name_each_is_tried() -> None:
    """Some providers name no key, and roll over with two of one kind."""
    other = RSAKey.generate_key(2048, {"kid": "other"})

    assert claims_of(signed(CLAIMS, key=other, kid=None), keys=public(RSA, other)) == CLAIMS


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "application/jwt", "id_token+jwt", "application/id_token+jwt"])
def test_usual_types_and_unknown_parameters_are_accepted(typ: str | None) -> None:
    """RFC 7515 §4: what is not understood is ignored, where it is not critical."""
    assert claims_of(signed(CLAIMS, typ=typ, x5c=["M" * 4000], ver="2.0")) == CLAIMS


def test_without_keys_tls_stands_for_the_signature() -> None:
    """OpenID Connect Core §3.1.3.7 (6); the algorithm is looked at all the same."""
    header, claims, _ = signed(CLAIMS).split(".")

    assert claims_of(f"{header}.{claims}.AAAA", keys=None) == CLAIMS
    assert refusal(signed(CLAIMS), keys=None, algorithms=["ES256"]) == "alg"
    assert refusal(by_hand({"alg": "none"}, CLAIMS), keys=None) == "alg"


def test_none_and_hmac_only_where_they_are_listed() -> None:
    """OpenID Connect Core §3.1.3.7 (7 and 8): what the client registered, and nothing else."""
    unsigned, secret = by_hand({"alg": "none"}, CLAIMS), signed(CLAIMS, "HS256", SECRET)

    assert claims_of(unsigned, keys=None, algorithms=["none"]) == CLAIMS
    assert claims_of(secret, keys=KeySet([SECRET]), algorithms=["HS256"]) == CLAIMS
    assert refusal(unsigned) == "alg"
    assert refusal(secret, keys=KeySet([SECRET, *PUBLISHED])) == "alg"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS256", "RS256 ", "rs256", "dir"])
def test_no_other_algorithm_gets_in(name: str) -> None:
    """RFC 8725 §2.1: `none` in any spelling, and whatever else is not listed."""
    assert refusal(by_hand({"alg": name}, CLAIMS)) == "alg"
    assert refusal(by_hand({"alg": name, "kid": "rsa"}, CLAIMS, b"x")) == "alg"


@pytest.mark.parametrize("listed", [False, True])
def test_a_public_key_is_no_hmac_secret(listed: bool) -> None:
    """Algorithm confusion (RFC 8725 §2.1): neither PEM nor DER nor JWK of a public key signs anything."""
    algorithms = [*ALGORITHMS, "HS256"] if listed else ALGORITHMS
    for secret in (RSA.as_pem(), RSA.as_pem().strip(), RSA.as_der(), json.dumps(RSA.as_dict(private=False)).encode()):
        for kid in ({"kid": "rsa"}, {}):
            forged = by_hand({"alg": "HS256", **kid}, CLAIMS, secret)
            assert refusal(forged, algorithms=algorithms) == ("key" if listed else "alg")


def test_a_key_signs_only_what_it_is_for() -> None:
    """RFC 7517 §4.2 and §4.4: another key's name, another use, another algorithm, another curve."""
    stranger = RSAKey.generate_key(2048, {"kid": "rsa"})
    encrypts = RSAKey.import_key(RSA.as_dict(private=False, use="enc"))
    only_pss = RSAKey.import_key(RSA.as_dict(private=False, alg="PS256"))

    assert refusal(signed(CLAIMS, key=stranger)) == "signature"
    assert refusal(signed(CLAIMS, kid="ec")) == "key"
    assert refusal(signed(CLAIMS, kid="unknown")) == "key"
    assert refusal(signed(CLAIMS), keys=KeySet([])) == "key"
    assert refusal(signed(CLAIMS), keys=KeySet([encrypts])) == "key"
    assert refusal(signed(CLAIMS), keys=KeySet([only_pss])) == "key"
    assert refusal(signed(CLAIMS, "ES384", kid="ec")) == "key"
    assert refusal(signed(CLAIMS, "EdDSA"), keys=public(OKPKey.generate_key("Ed448", {"kid": "ed"}))) == "key"
    assert refusal(signed(CLAIMS, "EdDSA"), keys=public(OKPKey.generate_key("X25519", {"kid": "ed"}))) == "key"


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_a_short_key_proves_nothing() -> None:
    """RFC 7518 §3.3: RSA of at least 2048 bits."""
    short = RSAKey.generate_key(1024, {"kid": "short"})

    assert refusal(signed(CLAIMS, key=short), keys=KeySet([short])) == "key"


def test_a_key_in_the_header_is_not_used() -> None:
    """RFC 8725 §3.10: neither `jwk` nor `jku` nor `x5u` says whom to trust."""
    own = ECKey.generate_key("P-256", {"kid": "ec"})
    token = signed(CLAIMS, "ES256", own, jwk=own.as_dict(private=False), jku="https://evil.example/jwks")

    assert refusal(token) == "signature"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"crit": ["exp"], "exp": 1}, "crit"),
        ({"crit": []}, "crit"),
        ({"crit": 5}, "crit"),
        ({"b64": False, "crit": ["b64"]}, "crit"),
        ({"b64": False}, "crit"),
        ({"b64": True}, "crit"),
        ({"cty": "JWT"}, "nested"),
        ({"cty": "jwt"}, "nested"),
        ({"typ": "at+jwt"}, "typ"),
        ({"typ": "application/logout+JWT"}, "typ"),
        ({"typ": "dpop+jwt"}, "typ"),
        ({"alg": None}, "malformed"),
        ({"alg": ["RS256"]}, "malformed"),
        ({"kid": 7}, "malformed"),
    ],
    ids=str,
)
def test_a_header_that_asks_for_more_is_refused(header: dict[str, Any], reason: str) -> None:
    """Extensions of JWS, JWTs within JWTs, and JWTs of another kind."""
    assert refusal(by_hand({"alg": "RS256", "kid": "rsa", **header}, CLAIMS)) == reason


def test_members_that_come_twice_are_refused() -> None:
    """RFC 8725 §2.4: what two readers read differently is not read at all; in depth neither."""
    text = json.dumps(CLAIMS).encode()

    assert refusal(signed(text[:-1] + b', "sub": "eve"}')) == "duplicate"
    assert refusal(signed(text[:-1] + b', "\\u0073ub": "eve"}')) == "duplicate"
    assert refusal(signed(text[:-1] + b', "a": [{"b": 1, "b": 2}]}')) == "duplicate"
    assert refusal(by_hand(b'{"alg": "none", "alg": "RS256"}', CLAIMS)) == "duplicate"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": ISSUER + "/"}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": {"id-1": 1}}, "aud"),
        ({"aud": ["id-1", "other"], "azp": "id-1"}, "aud"),
        ({"aud": ["id-1", 7]}, "aud"),
        ({"aud": ["id-1", ["id-1"]]}, "aud"),
        ({"azp": "other"}, "azp"),
        ({"azp": ["id-1"]}, "azp"),
        ({"exp": SECONDS - 121}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": -1}, "exp"),
        ({"nbf": SECONDS + 121}, "nbf"),
        ({"nbf": "now"}, "nbf"),
        ({"iat": SECONDS + 121}, "iat"),
        ({"iat": None}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": str(SECONDS)}, "iat"),
        ({"nonce": "n-2"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ["n-1"]}, "nonce"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "s" * 256}, "sub"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_claims_of_another_are_refused_each_by_its_name(change: dict[str, Any], reason: str) -> None:
    """Well signed, but not for us, not of now, or of nobody."""
    assert refusal(signed({**CLAIMS, **change})) == reason


def test_clocks_may_differ_and_lists_may_be_ours() -> None:
    """Two minutes of leeway; an audience as a list; `azp` where it is us."""
    late = {**CLAIMS, "exp": SECONDS - 119, "iat": SECONDS + 119, "nbf": SECONDS + 119, "aud": ["id-1"], "azp": "id-1"}

    assert claims_of(signed(late)) == late
    assert claims_of(signed({**CLAIMS, "sub": "s" * 255, "exp": SECONDS + 0.5}))["sub"] == "s" * 255


def test_other_audiences_must_be_trusted_and_then_azp_must_be_us() -> None:
    """OpenID Connect Core §3.1.3.7 (3 to 5)."""
    both = {**CLAIMS, "aud": ["project", "id-1"]}

    assert refusal(signed(both)) == "aud"
    assert refusal(signed(both), trusted_audiences=["project"]) == "azp"
    assert refusal(signed({**both, "azp": "project"}), trusted_audiences=["project"]) == "azp"
    assert claims_of(signed({**both, "azp": "id-1"}), trusted_audiences=["project"])["sub"] == "ada"


def test_what_was_not_asked_for_is_not_compared() -> None:
    """No issuer known, no nonce sent, no `max_age`: a refresh, or a plain provider."""
    token = signed({**CLAIMS, "iss": "https://other.example", "nonce": "x", "auth_time": 5, "at_hash": "x"})

    assert claims_of(token, issuer=None, nonce=None)["auth_time"] == 5


@pytest.mark.parametrize(
    ("auth_time", "good"),
    [(0, True), (-300, True), (-419, True), (-421, False), (119, True), (121, False), (None, False), ("x", False)],
)
def test_the_sign_in_is_as_fresh_as_was_asked_for(auth_time: object, good: bool) -> None:
    """`max_age` makes `auth_time` necessary (OpenID Connect Core §2), with the usual leeway."""
    time = SECONDS + auth_time if isinstance(auth_time, int) else auth_time
    token = signed({**CLAIMS, "auth_time": time})

    if good:
        assert claims_of(token, max_age=300)["auth_time"] == time
    else:
        assert refusal(token, max_age=300) == "auth_time"


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("RS256", "sha256"),
        ("PS384", "sha384"),
        ("ES512", "sha512"),
        ("ES256", "sha256"),
        ("EdDSA", "sha512"),
        ("Ed25519", "sha512"),
    ],
)
def test_the_access_token_is_the_one_that_came_with_it(algorithm: str, digest: str) -> None:
    """`at_hash` (OpenID Connect Core §3.1.3.8): the left half of the algorithm's hash."""
    half = hashlib.new(digest, b"at-1").digest()
    at_hash = base64.urlsafe_b64encode(half[: len(half) // 2]).decode().rstrip("=")
    token = signed({**CLAIMS, "at_hash": at_hash}, algorithm)

    assert claims_of(token, access_token="at-1", at_hash_required=True)["at_hash"] == at_hash
    assert refusal(token, access_token="at-2") == "at_hash"


def test_at_hash_may_be_missing_unless_it_is_required() -> None:
    """It is optional in the code flow (OpenID Connect Core §3.1.3.6); one that is no text is wrong."""
    assert claims_of(signed(CLAIMS), access_token="at-1") == CLAIMS
    assert refusal(signed(CLAIMS), access_token="at-1", at_hash_required=True) == "at_hash"
    assert refusal(signed({**CLAIMS, "at_hash": 7}), access_token="at-1") == "at_hash"


def test_the_example_of_openid_connect_has_its_hash() -> None:
    """OpenID Connect Core, appendix A.3: access token and `at_hash` of the specification."""
    token = signed({**CLAIMS, "at_hash": "77QmUPtjPfzWtF2AnpK9RQ"})

    assert claims_of(token, access_token="jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y")["sub"] == "ada"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "malformed"),
        ("x", "malformed"),
        ("..", "malformed"),
        ("a.b.c", "malformed"),
        ("é.é.é", "malformed"),
        ("\ud800.a.b", "malformed"),
        (signed(CLAIMS) + ".more", "malformed"),
        (signed(CLAIMS) + "=", "signature"),
        (signed(CLAIMS) + "\n", "signature"),
        ("a.b.c.d.e", "encrypted"),
        ("x" * 65_537, "too_large"),
        (signed(b"x"), "malformed"),
        (signed(signed(CLAIMS).encode()), "malformed"),
        (signed([]), "malformed"),
        (signed(b"[" * 20_000), "malformed"),
        (signed(b'{"sub": NaN}'), "malformed"),
        (signed(b'{"sub": "\\ud800"}'), "malformed"),
        (signed(b'{"sub": "\xff"}'), "malformed"),
        (signed(json.dumps(CLAIMS).encode("utf-16")), "malformed"),
        (signed(b'{"exp": ' + b"9" * 10_000 + b"}"), "malformed"),
        (by_hand([], CLAIMS), "malformed"),
        (by_hand(["alg"], CLAIMS), "malformed"),
        (by_hand("alg", CLAIMS), "malformed"),
        (by_hand(b"[" * 8_000, CLAIMS), "malformed"),
    ],
    ids=lambda value: value[:20] or "empty",
)
def test_what_is_no_signed_jwt_is_refused(token: str, reason: str) -> None:
    """Garbage, encrypted, too long, without end, in another encoding: one clear error each."""
    assert refusal(token) == reason


some_claims = st.dictionaries(
    st.sampled_from([*CLAIMS, "azp", "nbf", "auth_time", "at_hash"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.text())),
)
some_header = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "cty", "crit", "b64", "jwk", "jku", "x5c"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()), st.sampled_from(ALGORITHMS)),
)
tokens = st.one_of(
    st.text(),
    st.text("ab.-_=Ae0"),
    st.binary().map(lambda data: signed(data, "EdDSA")),
    some_claims.map(lambda some: signed({**CLAIMS, **some}, "EdDSA")),
    st.builds(by_hand, some_header, some_claims, st.binary()),
    st.builds(by_hand, st.binary(), st.binary(), st.none()),
)


@given(token=tokens, keys=st.sampled_from([None, PUBLISHED]))
def test_any_text_is_read_or_refused(token: str, keys: KeySet | None) -> None:
    """Nothing but the declared error, always with its code, comes out of a bad one; and nothing bad gets in."""
    found: dict[str, Any] = {}
    code: str | None = None
    try:
        found = claims_of(token, keys=keys, access_token="at-1", max_age=60)
    except ProviderProtocolError as error:
        code = error.code
    assert (code or "").startswith("id_token_") or (found["iss"], found["nonce"]) == (ISSUER, "n-1")


@given(tokens)
def test_the_kid_of_any_text_is_a_text_or_nothing(token: str) -> None:
    """So that looking for keys breaks nothing either."""
    try:
        kid = id_token_kid(token)
    except ProviderProtocolError:
        return
    assert kid is None or isinstance(kid, str)


def test_neither_claims_nor_keys_show_in_an_error() -> None:
    """What is refused is not quoted."""
    token = signed({**CLAIMS, "sub": "ada-secret", "aud": "other-secret"})
    with pytest.raises(ProviderProtocolError) as caught:
        claims_of(token)

    assert "secret" not in repr(caught.value)
