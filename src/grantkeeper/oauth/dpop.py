"""Proof of possession: what binds a token to a key (DPoP, RFC 9449)."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import InvalidValue
from grantkeeper.oauth.signed import registry

DpopAlgorithm = Literal["ES256", "EdDSA"]
"""What signs proofs (RFC 7518 §3.4, RFC 8037 §3.1)."""

_REGISTRY = registry(("ES256", "EdDSA"))
# Reading a key takes longer than signing with it. Whoever could read this cache could read the keys in use anyway.
_KEYS_AT_HAND = 512
_CURVES = {"P-256": "ES256", "Ed25519": "EdDSA"}
_DEFAULT_PORTS = {"https": 443, "http": 80}
_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_SHA256 = re.compile(r"[A-Za-z0-9_-]{43}")
# A scheme, or a name with its value (RFC 9110 §11.6.1).
_CHALLENGE_PART = re.compile(r"""([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*))?""")
_LONGEST_CHALLENGE = 4096
_NONCE_WANTED = "use_dpop_nonce"


class _Key(NamedTuple):
    key: ECKey | OKPKey
    header: dict[str, Any]


def new_key(algorithm: DpopAlgorithm = "ES256") -> str:
    """A fresh key: a private JWK as JSON text, to be sealed."""
    key = ECKey.generate_key("P-256") if algorithm == "ES256" else OKPKey.generate_key("Ed25519")
    return json.dumps(key.as_dict(private=True), separators=(",", ":"))


def check_key(text: str) -> None:
    """InvalidValue unless this is a private JWK as JSON text, on the curve P-256 or Ed25519."""
    _key(text)


def thumbprint(key_text: str) -> str:
    """What names the key: `jkt`, and the parameter `dpop_jkt` (RFC 7638; RFC 9449 §6.1 and §10)."""
    return _key(key_text).key.thumbprint()


def token_hash(access_token: str) -> str:
    """How a proof names the access token that it goes with: `ath` (RFC 9449 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()).rstrip(b"=").decode()


def proof(
    key_text: str,
    method: str,
    url: str,
    now: Instant,
    *,
    nonce: str | None = None,
    access_token: str | None = None,
    access_token_hash: str | None = None,
) -> str:
    """A proof for one request: the value of its `DPoP` header (RFC 9449 §4.2).

    `nonce`: the one that this server gave last. `access_token`, or its hash (`token_hash`): for a request with
    that token.
    InvalidValue where method, URL, hash or key is none.
    """
    claims: dict[str, Any] = {"jti": secrets.token_urlsafe(16), "htm": _method(method), "htu": target(url)}
    claims["iat"] = now // SECOND
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = token_hash(access_token)
    elif access_token_hash is not None:
        claims["ath"] = _checked_hash(access_token_hash)
    key, header = _key(key_text)
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, registry=_REGISTRY)


def nonce_wanted(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the request is to be repeated with the nonce in the answer's `dpop-nonce` header.

    `headers` in lower case. An authorization server says so in the body (RFC 9449 §8), a resource server in
    `www-authenticate` (§9).
    """
    if status not in (400, 401) or not headers.get("dpop-nonce"):
        return False
    return _challenged(headers.get("www-authenticate", "")) or _error_in(body) == _NONCE_WANTED


def target(url: str) -> str:
    """The URL without query and fragment, as a proof names it: `htu` (RFC 9449 §4.2), or InvalidValue.

    Normalised where that changes no octet that is sent to the server (RFC 3986 §6.2.2.1, §6.2.2.3, §6.2.3): scheme
    and host in lower case, no default port, no dot segments, `/` for no path. Percent-encodings stay as they are: a
    server that compares without normalising sees them so.
    """
    try:
        parts = urlsplit(url)
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError:
        raise _bad_url() from None
    if parts.scheme not in _DEFAULT_PORTS or not host or "\\" in url or not url.isprintable() or " " in url:
        raise _bad_url()
    authority = host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    return f"{parts.scheme}://{authority}{_path(parts.path)}"


@functools.lru_cache(maxsize=_KEYS_AT_HAND)
def _key(text: str) -> _Key:
    try:
        key = _imported(json.loads(text))
        header = {"typ": "dpop+jwt", "alg": _CURVES[key.curve_name], "jwk": key.as_dict(private=False)}
    except (JoseError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        problem = "The DPoP key must be a private JWK on the curve P-256 or Ed25519."
        raise InvalidValue({"dpop_key": [problem]}) from None
    return _Key(key, header)


def _imported(jwk: dict[str, Any]) -> ECKey | OKPKey:
    """The private key with members of its own making only, so that no other reaches the header of a proof."""
    if "d" not in jwk or jwk["kty"] not in ("EC", "OKP"):
        raise ValueError("no private key of a curve")
    if jwk["kty"] == "EC":
        return ECKey.import_key(ECKey.import_key(jwk).raw_value)
    return OKPKey.import_key(OKPKey.import_key(jwk).raw_value)


def _method(method: str) -> str:
    if not _METHOD.fullmatch(method):
        raise InvalidValue({"method": ["The method must be an HTTP method."]})
    return method.upper()


def _checked_hash(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise InvalidValue({"access_token_hash": ["The access_token_hash must be a SHA-256 hash in base64url."]})
    return text


def _host(hostname: str) -> str:
    host = hostname if hostname.isascii() else hostname.encode("idna").decode()
    if not _HOST.fullmatch(host):
        raise ValueError("not a host")
    return f"[{host}]" if ":" in host else host


def _path(path: str) -> str:
    kept: list[str] = []
    segments = [_dots(segment) for segment in path.split("/")[1:]]
    for segment in segments:
        if segment == "..":
            kept[-1:] = []
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + quote("/".join(kept), safe="/%:@!$&'()*+,;=~")


def _dots(segment: str) -> str:
    """A segment of dots as dots, however they are spelled."""
    plain = re.sub("%2e", ".", segment, flags=re.IGNORECASE)
    return plain if plain in (".", "..") else segment


def _bad_url() -> InvalidValue:
    return InvalidValue({"url": ["The url must be a whole http or https URL."]})


def _challenged(header: str) -> bool:
    """Whether a challenge of the scheme DPoP has this error, whatever other challenges stand beside it."""
    scheme = ""
    for name, value in _CHALLENGE_PART.findall(header[:_LONGEST_CHALLENGE]):
        if not value:
            scheme = name.lower()
        elif scheme == "dpop" and name.lower() == "error" and value.strip('"') == _NONCE_WANTED:
            return True
    return False


def _error_in(body: bytes) -> object:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document.get("error") if isinstance(document, dict) else None
