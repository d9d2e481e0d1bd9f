"""One topic of a posture, and the words that all topics share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grantkeeper.model import Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.metadata import ServerMetadata
from grantkeeper.terms import ClientAuthentication

NOT_ANNOUNCED = "not announced"
NO_METADATA = "publishes no metadata"
"""What stands for the server's words where it has none."""

STRENGTH: dict[ClientAuthentication, int] = {
    "private_key_jwt": 3,
    "tls_client_auth": 3,
    "self_signed_tls_client_auth": 3,
    "client_secret_jwt": 2,
    "client_secret_basic": 1,
    "client_secret_post": 1,
    "none": 0,
}
"""The strongest need no secret that the server holds too; of equals the first is the easiest to set up."""
SIGNING = ("ES256", "PS256", "EdDSA")
"""Algorithms that FAPI 2.0 lets us sign with (Security Profile §5.4.1), the default first."""
_SHOWN = 12


class Aspect(Record, frozen=True):
    """One topic. `supported`: what the server's metadata say; `used`: what we do.

    `safer`: what to set in the definition for the safer option that is left unused; `conflict`: what we do though the
    server does not announce it, or demands otherwise; None: nothing.
    """

    topic: str
    supported: str
    used: str
    rfc: str
    safer: str | None = None
    conflict: str | None = None


Look = Callable[[Client, ServerMetadata], Aspect]
"""What makes the aspect of one topic."""


def words(values: Sequence[str] | None, silent: str = NOT_ANNOUNCED) -> str:
    """A list for people; a server may announce hundreds of scopes."""
    if values is None:
        return silent
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more if values else "none"


def missing(announced: Sequence[str] | None, used: Sequence[str]) -> str | None:
    """What we use that is not in a list; a list that is not there says nothing."""
    absent = [one for one in used if announced is not None and one not in announced]
    return f"the server does not announce {words(absent)}" if absent else None


def none_accepted(client: Client, announced: Sequence[str] | None) -> str | None:
    """That the server signs with nothing that we accept."""
    if announced is None or set(announced) & set(client.signature_algorithms):
        return None
    return "no announced algorithm is among signatures.algorithms"


def wanted_or_missing(used: bool, required: bool, supported: bool) -> str | None:
    """That we leave out what is required, or do what is not supported."""
    if required and not used:
        return "the server requires it"
    return "the server does not announce it" if used and not (supported or required) else None


def announced_or_not(supported: bool) -> str:
    """In words; a server that does not support a thing says nothing of it."""
    return "yes" if supported else NOT_ANNOUNCED


def yes_or_no(used: bool) -> str:
    """In words."""
    return "yes" if used else "no"
