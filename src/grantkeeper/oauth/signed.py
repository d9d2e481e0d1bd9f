"""JWTs that a provider signed: taken apart strictly, checked against its keys (RFC 7515, RFC 7519, RFC 8725)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key, KeySet, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from grantkeeper.clock import SECOND, Instant
from grantkeeper.errors import ProviderProtocolError
from grantkeeper.model import Record

LEEWAY = 120 * SECOND
"""How far a provider's clock may be from ours, in microseconds."""

LONGEST = 65_536
"""The longest JWT that is looked at, in characters."""

_SHORTEST_RSA_KEY = 2048
_UNREADABLE = (JoseError, ValueError, TypeError, RecursionError)


class _Registry(jws.JWSRegistry):
    """joserfc's rules with our limits, and without its warning that RFC 9864 renames EdDSA: providers do not yet."""

    # Some providers put their certificate chain into the header.
    max_header_length = 16_384
    max_payload_length = LONGEST
    max_signature_length = 2048

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in (self.allowed or ()) or name not in self.algorithms:
            raise UnsupportedAlgorithmError(f"'{name}' is not allowed")
        return self.algorithms[name]


def registry(algorithms: Collection[str]) -> jws.JWSRegistry:
    """What joserfc is to sign or verify with: these algorithms and no other.

    Unknown header parameters are ignored (RFC 7515 §4).
    """
    return _Registry(algorithms=algorithms, strict_check_header=False)


class Kind(Record, frozen=True):
    """What a JWT is for: its name in messages, and how the codes of its errors begin."""

    name: str
    code: str

    def refused(self, reason: str, message: str) -> ProviderProtocolError:
        """The error for such a JWT; `message` completes “the provider's … is refused:”."""
        return ProviderProtocolError(f"the provider's {self.name} is refused: {message}", code=f"{self.code}_{reason}")


class Jwt(Record, frozen=True):
    """A JWT taken apart; nothing is proven before `verify`. Its `repr` shows neither claims nor text.

    Every check raises ProviderProtocolError with a `code` of its own: the kind's, and what was wrong.
    """

    kind: Kind
    header: dict[str, Any]
    claims: dict[str, Any]
    signature: jws.CompactSignature

    def __repr__(self) -> str:
        return f"Jwt({self.kind.name}, alg={self.header['alg']!r})"

    @property
    def kid(self) -> str | None:
        """The id of the key that is said to have signed it (RFC 7515 §4.1.4)."""
        return self.header.get("kid")

    def verify(self, keys: KeySet | None, algorithms: Collection[str]) -> None:
        """Refuse another algorithm than these, and a signature by none of these keys (RFC 8725 §3.1).

        Without keys, only the algorithm is looked at.
        """
        algorithm = self.header["alg"]
        if algorithm not in algorithms:
            raise self.kind.refused("alg", "its algorithm is not among those allowed for this provider")
        if keys is None or algorithm == "none":
            return
        fitting = [key for key in keys if self.kid in (None, key.kid) and _fits(key, algorithm)]
        if not fitting:
            raise self.kind.refused("key", "no key that the provider publishes fits it")
        if not any(self._signed_by(key, algorithm) for key in fitting):
            raise self.kind.refused("signature", "its signature is wrong")

    def _signed_by(self, key: Key, algorithm: str) -> bool:
        try:
            return jws.validate_compact(self.signature, key, registry=registry([algorithm]))
        except _UNREADABLE:
            return False

    def check_issuer(self, issuer: str) -> None:
        """Refuse another issuer's (RFC 7519 §4.1.1)."""
        if self.claims.get("iss") != issuer:
            raise self.kind.refused("iss", "`iss` is not the provider's issuer; compare it with the definition's")

    def check_audience(self, client_id: str, trusted: Iterable[str] = ()) -> None:
        """Refuse one that is not for us, or also for somebody who is not trusted (RFC 7519 §4.1.3)."""
        audience = self.claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if client_id not in named:
            raise self.kind.refused("aud", "`aud` does not name our client id")
        known = {client_id, *trusted}
        if not all(isinstance(name, str) and name in known for name in named):
            raise self.kind.refused("aud", "`aud` names others than us; list them as trusted if they are")

    def check_expiry(self, now: Instant) -> None:
        """Refuse an expired one, and one that is not valid yet (RFC 7519 §4.1.4 and §4.1.5)."""
        if self.seconds("exp") * SECOND + LEEWAY <= now:
            raise self.kind.refused("exp", "`exp` has passed; if all are refused, compare the clocks")
        if self.claims.get("nbf") is not None:
            self.check_past("nbf", now)

    def check_past(self, claim: str, now: Instant) -> float:
        """The claim's time in seconds since the epoch, which must be there and not lie in the future."""
        seconds = self.seconds(claim)
        if seconds * SECOND > now + LEEWAY:
            raise self.kind.refused(claim, f"`{claim}` lies in the future; if all are refused, compare the clocks")
        return seconds

    def seconds(self, claim: str) -> float:
        """A NumericDate that must be there (RFC 7519 §2)."""
        value = self.claims.get(claim)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self.kind.refused(claim, f"`{claim}` is missing or not a time")
        return value


def read(text: str, kind: Kind) -> Jwt:
    """Take a signed JWT apart, or ProviderProtocolError: none, encrypted, too long, or with anything ambiguous.

    Members that come twice (RFC 8725 §2.4), critical extensions (RFC 7515 §4.1.11: we know none) and JWTs
    that say to be of another type (RFC 8725 §3.11) are refused.
    """
    if len(text) > LONGEST:
        raise kind.refused("too_large", f"it is longer than {LONGEST} characters")
    if text.count(".") == 4:
        raise kind.refused("encrypted", "it is encrypted; have the provider sign only")
    try:
        header = _json_object(urlsafe_b64decode(text.partition(".")[0].encode("ascii")))
        _check_header(header, kind)
        signature = jws.extract_compact(text.encode("ascii"), registry=registry(()))
        claims = _json_object(signature.payload)
    except _Repeated:
        raise kind.refused("duplicate", "a member comes twice in it") from None
    except _UNREADABLE:
        raise kind.refused("malformed", "it is not a signed JWT") from None
    return Jwt(kind=kind, header=header, claims=claims, signature=signature)


def _check_header(header: dict[str, Any], kind: Kind) -> None:
    if "crit" in header or "b64" in header:
        raise kind.refused("crit", "its header demands an extension of JWS that is not supported")
    if not isinstance(header.get("alg"), str) or not isinstance(header.get("kid", ""), str):
        raise kind.refused("malformed", "`alg` or `kid` is missing in its header, or not a string")
    if str(header.get("cty", "")).upper() == "JWT":
        raise kind.refused("nested", "it holds another JWT; have the provider sign the claims themselves")
    media_type = str(header.get("typ", "")).lower().removeprefix("application/")
    if media_type.endswith("+jwt") and media_type != "id_token+jwt":
        raise kind.refused("typ", "its header says that it is another kind of JWT")


def _fits(key: Key, algorithm: str) -> bool:
    """Whether the key may have made such a signature: its type, use and curve (RFC 7517 §4), and its length.

    An RSA key shorter than 2048 bits proves nothing (RFC 7518 §3.3); EdDSA is Ed25519 here.
    """
    try:
        registry([algorithm]).get_alg(algorithm).check_key(key)
    except JoseError:
        return False
    if isinstance(key, RSAKey):
        return key.raw_value.key_size >= _SHORTEST_RSA_KEY
    return not isinstance(key, OKPKey) or key.curve_name == "Ed25519"


class _Repeated(ValueError):
    """A member's name comes twice in one JSON object."""


def _json_object(data: bytes) -> dict[str, Any]:
    value = msgspec.json.decode(data, type=dict[str, Any])
    # msgspec takes the last of two members; whoever takes the first would read something else.
    json.loads(data, object_pairs_hook=_refuse_repeated)
    return value


def _refuse_repeated(members: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in members}) != len(members):
        raise _Repeated
