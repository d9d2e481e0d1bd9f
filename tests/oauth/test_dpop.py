"""DPoP: keys, proofs as a server checks them, and when a server wants its nonce in one."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from grantkeeper.clock import SECOND
from grantkeeper.errors import InvalidValue
from grantkeeper.oauth.dpop import (
    DpopAlgorithm,
    check_key,
    new_key,
    nonce_wanted,
    proof,
    target,
    thumbprint,
    token_hash,
)
from tests.oauth.clients import NOW

SECONDS = NOW // SECOND
URL = "https://as.example/token"
KEYS: dict[DpopAlgorithm, str] = {"ES256": new_key("ES256"), "EdDSA": new_key("EdDSA")}
both = pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])


def decoded(text: str) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def checked(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a proof whose signature holds under the key in its header; without any JOSE library."""
    signing_input, _, signature = token.rpartition(".")
    header, claims = (json.loads(decoded(part)) for part in signing_input.split("."))
    key, signed = header["jwk"], decoded(signature)
    if header["alg"] == "EdDSA":
        Ed25519PublicKey.from_public_bytes(decoded(key["x"])).verify(signed, signing_input.encode())
    else:
        x, y = (int.from_bytes(decoded(key[name])) for name in "xy")
        pair = encode_dss_signature(int.from_bytes(signed[:32]), int.from_bytes(signed[32:]))
        public = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
        public.verify(pair, signing_input.encode(), ECDSA(SHA256()))
    return header, claims


@both
def test_a_proof_is_what_the_standard_says(algorithm: DpopAlgorithm) -> None:
    """RFC 9449 §4.2: type, algorithm and public key in the header; id, method, URL and time; nothing private."""
    header, claims = checked(proof(KEYS[algorithm], "POST", URL, NOW))
    members = {"kty", "crv", "x", "y"} if algorithm == "ES256" else {"kty", "crv", "x"}

    assert (header["typ"], header["alg"], {*header}) == ("dpop+jwt", algorithm, {"typ", "alg", "jwk"})
    assert {*header["jwk"]} == members
    assert len(claims.pop("jti")) >= 16
    assert claims == {"htm": "POST", "htu": URL, "iat": SECONDS}


@both
def test_a_proof_names_nonce_and_access_token(algorithm: DpopAlgorithm) -> None:
    """RFC 9449 §4.2, `nonce` and `ath`; who holds no token can give its hash."""
    ath = base64.urlsafe_b64encode(hashlib.sha256(b"at-1").digest()).decode().rstrip("=")

    _, claims = checked(proof(KEYS[algorithm], "GET", URL, NOW, nonce="n-1", access_token="at-1"))
    _, other = checked(proof(KEYS[algorithm], "GET", URL, NOW, access_token_hash=token_hash("at-1")))

    assert (claims["nonce"], claims["ath"], claims["htm"]) == ("n-1", ath, "GET")
    assert (other["ath"], "nonce" in other) == (ath, False)


def test_the_example_of_the_standard_has_its_hash() -> None:
    """RFC 9449 §7.1: access token and `ath` of figure 12 and 13."""
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"

    assert token_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def test_no_two_proofs_have_one_jti() -> None:
    """RFC 9449 §4.2: servers that keep them would take the second for a replay."""
    assert len({checked(proof(KEYS["EdDSA"], "GET", URL, NOW))[1]["jti"] for _ in range(50)}) == 50


@both
def test_a_key_has_its_thumbprint(algorithm: DpopAlgorithm) -> None:
    """RFC 7638 §3, computed here by hand: what tokens are bound to."""
    jwk = checked(proof(KEYS[algorithm], "GET", URL, NOW))[0]["jwk"]
    canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
    by_hand = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).decode().rstrip("=")

    assert thumbprint(KEYS[algorithm]) == by_hand


def test_every_new_key_is_another() -> None:
    """ES256 unless told otherwise; a key of each kind passes the check."""
    assert len({thumbprint(new_key()) for _ in range(10)}) == 10
    for text in (new_key(), new_key("EdDSA")):
        check_key(text)
        assert "d" in json.loads(text)


def test_other_members_of_a_key_are_not_shown() -> None:
    """What an imported JWK holds beside the key stays out of the header, and its id changes no thumbprint."""
    jwk = json.loads(KEYS["ES256"]) | {"kid": "k", "use": "sig", "note": "private"}
    header, _ = checked(proof(json.dumps(jwk), "GET", URL, NOW))

    assert {*header["jwk"]} == {"kty", "crv", "x", "y"}
    assert thumbprint(json.dumps(jwk)) == thumbprint(KEYS["ES256"])


def test_a_public_part_that_is_another_keys_is_not_shown() -> None:
    """The header holds the key that signs, whatever an Ed25519 JWK claims."""
    jwk = json.loads(KEYS["EdDSA"]) | {"x": json.loads(new_key("EdDSA"))["x"]}

    header, _ = checked(proof(json.dumps(jwk), "GET", URL, NOW))

    assert header["jwk"]["x"] == json.loads(KEYS["EdDSA"])["x"]


EC_JWK = ECKey.generate_key("P-256").as_dict(private=True)


NO_PRIVATE_KEYS = {
    "public": ECKey.generate_key("P-256").as_dict(private=False),
    "public-ed25519": OKPKey.generate_key("Ed25519").as_dict(private=False),
    "p-384": ECKey.generate_key("P-384").as_dict(private=True),
    "secp256k1": ECKey.generate_key("secp256k1").as_dict(private=True),
    "ed448": OKPKey.generate_key("Ed448").as_dict(private=True),
    "x25519": OKPKey.generate_key("X25519").as_dict(private=True),
    "rsa": RSAKey.generate_key(2048).as_dict(private=True),
    "secret": OctKey.generate_key(256).as_dict(),
    "unknown-curve": {**EC_JWK, "crv": "P-9"},
    "list-of-curves": {**EC_JWK, "crv": ["P-256"]},
    "empty": {**EC_JWK, "d": ""},
    "number": {**EC_JWK, "d": 7},
    "long": {**EC_JWK, "d": "A" * 10_000},
    "off-the-curve": {**EC_JWK, "x": EC_JWK["y"]},
    "list-of-kinds": {**EC_JWK, "kty": ["EC"]},
    "nothing-in-it": {},
    "array": [],
    "integer": 7,
    "null": None,
}


@pytest.mark.parametrize("jwk", NO_PRIVATE_KEYS.values(), ids=NO_PRIVATE_KEYS)
def test_what_is_no_private_key_is_refused(jwk: object) -> None:
    """Public keys, other curves and kinds, broken ones; the message shows nothing of it."""
    with pytest.raises(InvalidValue, match="must be a private JWK") as caught:
        check_key(json.dumps(jwk))

    assert [*caught.value.errors] == ["dpop_key"]


@given(st.one_of(st.text(), st.dictionaries(st.sampled_from([*EC_JWK]), st.text()).map(json.dumps)))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    """No other error comes out of a key that was bent."""
    with pytest.raises(InvalidValue):
        check_key(text)


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        ("https://as.example/token", "https://as.example/token"),
        ("https://as.example/token?a=1&b=2#c", "https://as.example/token"),
        ("https://as.example/token#c?d", "https://as.example/token"),
        ("https://as.example", "https://as.example/"),
        ("https://as.example?a=1", "https://as.example/"),
        ("HTTPS://AS.Example:443/Token", "https://as.example/Token"),
        ("http://127.0.0.1:80/x", "http://127.0.0.1/x"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
        ("https://as.example:80/x", "https://as.example:80/x"),
        ("https://as.example:/x", "https://as.example/x"),
        ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("https://ada:secret@as.example/x", "https://as.example/x"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://as.example/a/./b/../c", "https://as.example/a/c"),
        ("https://as.example/../../a", "https://as.example/a"),
        ("https://as.example/a/b/..", "https://as.example/a/"),
        ("https://as.example/a/.", "https://as.example/a/"),
        ("https://as.example/a/%2E%2e/b", "https://as.example/b"),
        ("https://as.example//a//b/", "https://as.example//a//b/"),
        ("https://as.example/...", "https://as.example/..."),
        ("https://as.example/a%2fb%7Ec%20d", "https://as.example/a%2fb%7Ec%20d"),
        ("https://as.example/é;x=1,2", "https://as.example/%C3%A9;x=1,2"),
    ],
)
def test_a_proof_names_the_url_without_query_in_one_spelling(url: str, htu: str) -> None:
    """RFC 9449 §4.2 and §4.3 (9), RFC 3986 §6.2: equal for every server that compares, normalising or not."""
    assert checked(proof(KEYS["EdDSA"], "get", url, NOW))[1] | {"jti": ""} == {
        "jti": "",
        "htm": "GET",
        "htu": htu,
        "iat": SECONDS,
    }
    assert target(htu) == htu


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/token",
        "//as.example/token",
        "as.example/token",
        "https://",
        "https:///token",
        "https://:443/token",
        "ftp://as.example/token",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://as.example:x/",
        "https://as.example:99999/",
        "https://[::1/",
        "https://as.example\\@evil.example/",
        "https://as example/",
        "https://as.example/a b",
        "https://as.example/\nx",
        "https://as.example/\x00",
        "https://<script>/",
        "https://" + "ü" * 300 + "/",
    ],
    ids=lambda url: url[:24] or "empty",
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """A proof for something that no request can be sent to would be a proof for something else."""
    with pytest.raises(InvalidValue) as caught:
        proof(KEYS["EdDSA"], "GET", url, NOW)

    assert [*caught.value.errors] == ["url"]


@given(st.one_of(st.text(), st.text().map("https://as.example/".__add__), st.text().map("https://".__add__)))
def test_any_url_has_one_spelling_or_is_refused(url: str) -> None:
    """Normalising twice is normalising once; nothing but InvalidValue comes out of a bad one."""
    try:
        htu = target(url)
    except InvalidValue:
        return
    assert target(htu) == htu
    assert "?" not in htu
    assert "#" not in htu


@pytest.mark.parametrize("method", ["", "GET /", "G\nET", "GÉT", "x" * 33])
def test_what_is_no_method_is_refused(method: str) -> None:
    """RFC 9110 §9.1: a token."""
    with pytest.raises(InvalidValue) as caught:
        proof(KEYS["EdDSA"], method, URL, NOW)

    assert [*caught.value.errors] == ["method"]


@pytest.mark.parametrize("ath", ["", "x", "=" * 43, "A" * 44, "é" * 43])
def test_what_is_no_hash_is_refused(ath: str) -> None:
    """An access token that was given in place of its hash does not end up in a proof."""
    with pytest.raises(InvalidValue) as caught:
        proof(KEYS["EdDSA"], "GET", URL, NOW, access_token_hash=ath)

    assert [*caught.value.errors] == ["access_token_hash"]


WANTED = b'{"error": "use_dpop_nonce", "error_description": "x"}'


@pytest.mark.parametrize(
    ("status", "headers", "body", "wanted"),
    [
        (400, {"dpop-nonce": "n"}, WANTED, True),
        (401, {"dpop-nonce": "n"}, WANTED, True),
        (401, {"dpop-nonce": "n", "www-authenticate": 'DPoP error="use_dpop_nonce"'}, b"", True),
        (401, {"dpop-nonce": "n", "www-authenticate": "dpop error=use_dpop_nonce"}, b"<html>", True),
        (401, {"dpop-nonce": "n", "www-authenticate": 'Bearer realm="a, b", DPoP algs="ES256", '
               'error="use_dpop_nonce", error_description="give it"'}, b"", True),
        (401, {"dpop-nonce": "n", "www-authenticate": 'DPoP algs="ES256", Bearer error="use_dpop_nonce"'}, b"", False),
        (401, {"dpop-nonce": "n", "www-authenticate": r'DPoP x="\", error=\"use_dpop_nonce\""'}, b"", False),
        (401, {"dpop-nonce": "n", "www-authenticate": 'DPoP error="invalid_token"'}, b"", False),
        (401, {"www-authenticate": 'DPoP error="use_dpop_nonce"'}, b"", False),
        (400, {}, WANTED, False),
        (400, {"dpop-nonce": ""}, WANTED, False),
        (200, {"dpop-nonce": "n"}, WANTED, False),
        (403, {"dpop-nonce": "n"}, WANTED, False),
        (500, {"dpop-nonce": "n"}, WANTED, False),
        (400, {"dpop-nonce": "n"}, b'{"error": "invalid_dpop_proof"}', False),
        (400, {"dpop-nonce": "n"}, b'["use_dpop_nonce"]', False),
        (400, {"dpop-nonce": "n"}, b'{"error": ["use_dpop_nonce"]}', False),
        (400, {"dpop-nonce": "n"}, b"use_dpop_nonce", False),
        (400, {"dpop-nonce": "n"}, b"[" * 100_000, False),
        (400, {"dpop-nonce": "n"}, b"\xff", False),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_server_says_that_it_wants_its_nonce(status: int, headers: dict[str, str], body: bytes, wanted: bool) -> None:
    """RFC 9449 §8 and §9; without a nonce to send, repeating helps nobody."""
    assert nonce_wanted(status, headers, body) is wanted


@given(header=st.text(st.characters(codec="latin-1")), body=st.binary())
def test_any_answer_says_it_or_not(header: str, body: bytes) -> None:
    """No header and no body breaks the question."""
    assert nonce_wanted(401, {"dpop-nonce": "n", "www-authenticate": header}, body) is (
        "use_dpop_nonce" in header or b"use_dpop_nonce" in body
    )
