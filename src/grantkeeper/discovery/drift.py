"""Where a provider's definition and what its server announces no longer agree: for `grantkeeper providers check`.

Pure: a client as it was put together, and its server's metadata.
"""

from __future__ import annotations

from collections.abc import Iterator

from grantkeeper.model import Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.metadata import ServerMetadata
from grantkeeper.oauth.posture import posture

NOTHING = "nothing"
"""What stands for a key that is left out, or a member that is not announced."""

_KEYS = {
    "client authentication": "token.client_authentication",
    "signature of our assertions": "token.signing_algorithm",
    "sender-constrained tokens": "token.sender_constrained",
    "grant": "grant",
    "scopes": "scopes",
    "resource indicators": "resources",
    "ID token": "signatures.algorithms",
    "PKCE": "authorization.pkce",
    "pushed requests (PAR)": "authorization.pushed",
    "signed requests (JAR)": "authorization.signed_request",
    "signed responses (JARM)": "authorization.signed_response",
    "issuer in responses": "authorization.issuer_in_response",
    "authorization details": "authorization.details",
}
"""The key of a definition that a topic is about."""
_MAY_BE_SO = frozenset(("scopes", "resources", "authorization.details"))
"""Servers know more of these than they announce."""
_WORTH_A_WORD = frozenset(("authorization.pkce", "authorization.issuer_in_response"))
"""Announced and not used: the definition may be older than the announcement."""


class Difference(Record, frozen=True):
    """One key: what the definition says, and the server. `wrong`: what we do will not work, or not for long."""

    key: str
    ours: str
    theirs: str
    wrong: bool


def drift(client: Client, metadata: ServerMetadata) -> list[Difference]:
    """Every difference, endpoints first."""
    return [*_endpoints(client, metadata), *_habits(client, metadata)]


def _endpoints(client: Client, metadata: ServerMetadata) -> Iterator[Difference]:
    for key, ours, member in (
        ("authorization.url", client.authorization_url or None, "authorization_endpoint"),
        ("authorization.pushed_url", client.pushed_url, "pushed_authorization_request_endpoint"),
        ("device.url", client.device_url, "device_authorization_endpoint"),
        ("token.url", client.token_url or None, "token_endpoint"),
        ("signatures.jwks_url", client.jwks_url, "jwks_uri"),
        ("revocation.url", client.revocation_url, "revocation_endpoint"),
    ):
        theirs = getattr(metadata, member)
        if ours is not None and theirs is not None:
            if ours not in (theirs, metadata.mtls_endpoint_aliases.get(member)):
                yield Difference(key=key, ours=ours, theirs=theirs, wrong=True)
        elif ours is not None or (theirs is not None and key == "revocation.url"):
            yield Difference(key=key, ours=ours or NOTHING, theirs=theirs or NOTHING, wrong=False)
    # Not wrong: who somebody is can be asked of the API as well, and some definitions do so on purpose.
    if client.identity.source == "userinfo" and metadata.userinfo_endpoint not in (None, client.identity.url):
        ours, theirs = client.identity.url or NOTHING, metadata.userinfo_endpoint or NOTHING
        yield Difference(key="identity.url", ours=ours, theirs=theirs, wrong=False)


def _habits(client: Client, metadata: ServerMetadata) -> Iterator[Difference]:
    for aspect in posture(client, metadata):
        key = _KEYS.get(aspect.topic)
        if key is None:
            continue
        if aspect.conflict is not None:
            yield Difference(key=key, ours=aspect.used, theirs=aspect.supported, wrong=key not in _MAY_BE_SO)
        elif aspect.safer is not None and key in _WORTH_A_WORD:
            yield Difference(key=key, ours=aspect.used, theirs=aspect.supported, wrong=False)
