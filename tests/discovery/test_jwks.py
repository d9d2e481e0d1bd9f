"""Which of a server's published keys may verify a signature (RFC 7517 §5)."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from grantkeeper.errors import ProviderProtocolError
from grantkeeper.oauth.jwks import MOST_KEYS, key_set


def public(key: Any, **members: str) -> dict[str, Any]:
    """A key as a server publishes it."""
    return {**key.as_dict(private=False), **members}


def test_every_public_kind_is_taken() -> None:
    """RSA, elliptic curves and Ed25519, by their ids."""
    keys = [RSAKey.generate_key(2048), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")]
    read = key_set({"keys": [public(key, kid=str(number)) for number, key in enumerate(keys)]})
    assert [key.kid for key in read] == ["0", "1", "2"]
    assert not any(key.is_private for key in read)


def test_keys_that_prove_nothing_are_passed_over() -> None:
    """Symmetric, for encryption, private, of unknown kind or broken: the rest still serves."""
    good = ECKey.generate_key("P-256")
    read = key_set(
        {
            "keys": [
                OctKey.generate_key(256).as_dict(private=True),
                public(ECKey.generate_key("P-256"), use="enc"),
                ECKey.generate_key("P-256").as_dict(private=True),
                {"kty": "PQ", "pub": "x"},
                {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
                {"kty": "RSA"},
                "text",
                public(good, kid="good", use="sig"),
            ]
        }
    )
    assert [key.kid for key in read] == ["good"]


@pytest.mark.parametrize(
    "document",
    [{}, {"keys": {}}, {"keys": []}, {"keys": [{"kty": "oct", "k": "AAAA"}]}, {"keys": [{}] * (MOST_KEYS + 1)}],
)
def test_a_set_without_a_usable_key_is_refused(document: dict[str, Any]) -> None:
    """Nothing to verify with is an error, not an empty set that a caller could take for none being needed."""
    with pytest.raises(ProviderProtocolError) as caught:
        key_set(document)
    assert caught.value.code == "jwks"
