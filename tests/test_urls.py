"""What people mean who paste an address, and what values of each type look like."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from grantkeeper.terms import ValueType
from grantkeeper.urls import VALUE_PATTERNS, VALUE_WORDS, meant

TEMPLATES = ("https://login.example.com/{shop}", "https://{shop}.myshopify.example/admin/oauth", "https://{shop}/api")


@pytest.mark.parametrize(
    ("kind", "pasted", "understood"),
    [
        ("text", "  acme  ", "acme"),
        ("text", "https://acme.example.com/", "https://acme.example.com/"),
        ("host", "acme.example.com", "acme.example.com"),
        ("host", "HTTPS://acme.example.com/login?next=/", "acme.example.com"),
        ("host", "acme.example.com/", "acme.example.com"),
        ("host", "acme.example.com?next=1", "acme.example.com"),
        ("server", "https://sso.example.com:8443/auth/", "sso.example.com:8443/auth"),
        ("server", "http://localhost:8080", "localhost:8080"),
        ("subdomain", "acme", "acme"),
        ("subdomain", "https://acme.myshopify.example/admin", "acme"),
        ("subdomain", "acme.myshopify.example", "acme"),
        ("subdomain", "https://acme.elsewhere.example/", "https://acme.elsewhere.example/"),
        ("subdomain", ".myshopify.example", ""),
        ("url", "https://acme.example.com/ ", "https://acme.example.com/"),
        ("number", " 12 ", "12"),
    ],
)
def test_what_is_meant(kind: ValueType, pasted: str, understood: str) -> None:
    """The part that is wanted is taken out of a whole address; what is none of the provider's stays, to be refused."""
    assert meant(kind, "shop", pasted, TEMPLATES) == understood


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("text", ["a", "acme-2.eu_x"], ["", "-a", "a/b", "a b"]),
        ("subdomain", ["a", "acme-2"], ["", "acme.com", "-acme", "acme-", "a_b"]),
        ("host", ["acme.example.com", "1.2.3.4"], ["acme", "acme.", ".com", "a..b", "acme.com/x", "acme.com:1"]),
        ("server", ["acme", "acme.com", "acme.com:1/auth/x"], ["acme.com/", "acme.com:", "..", "https://acme.com"]),
        ("url", ["https://acme.com", "http://localhost:1/a"], ["acme.com", "https://acme.com/", "https://a?b"]),
        ("uuid", ["32c4c2bc-fe0d-461b-b51c-f3885afff2f0"], ["32c4c2bcfe0d461bb51cf3885afff2f0", ""]),
        ("number", ["0", "123"], ["", "-1", "1.0"]),
    ],
)
def test_types(kind: ValueType, good: list[str], bad: list[str]) -> None:
    """Each type takes what it is meant for, and nothing that would lead elsewhere."""
    assert all(re.fullmatch(VALUE_PATTERNS[kind], value) for value in good)
    assert not any(re.fullmatch(VALUE_PATTERNS[kind], value) for value in bad)


def test_each_type_is_known() -> None:
    """A type without pattern or words would fail where it is used."""
    assert set(get_args(ValueType)) == set(VALUE_PATTERNS) == set(VALUE_WORDS)
