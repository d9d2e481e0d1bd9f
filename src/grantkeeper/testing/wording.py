"""Small codings that several endpoints share."""

from __future__ import annotations

import base64
import hashlib


def base64url(value: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def s256(text: str) -> str:
    """SHA-256 in base64url: a code challenge (RFC 7636 §4.2), or `ath` of a token (RFC 9449 §4.2)."""
    return base64url(hashlib.sha256(text.encode()).digest())


def left_half(text: str) -> str:
    """`at_hash` for RS256 and ES256 (OpenID Connect Core §3.1.3.6)."""
    return base64url(hashlib.sha256(text.encode()).digest()[:16])
