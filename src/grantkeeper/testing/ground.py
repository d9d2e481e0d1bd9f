"""What the endpoints of one fake provider share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from joserfc.jwk import KeySet

from grantkeeper.clock import Clock
from grantkeeper.testing.client_authentication import ClientAuthentication
from grantkeeper.testing.client_directory import ClientDirectory, Fetch
from grantkeeper.testing.dpop_proofs import DpopProofs
from grantkeeper.testing.features import Features
from grantkeeper.testing.provider_store import ProviderStore
from grantkeeper.testing.quirks import Quirks
from grantkeeper.testing.signed_tokens import SignedTokens
from grantkeeper.testing.signing_keys import SigningKeys
from grantkeeper.testing.token_issuer import TokenIssuer
from grantkeeper.testing.token_policy import TokenPolicy
from grantkeeper.testing.vocabulary import FakeClient, Person, RotationMode


class Ground(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The parts that endpoints are made of."""

    issuer: str
    base: str
    """The path of the issuer, which everything here is below."""
    clock: Clock
    store: ProviderStore
    policy: TokenPolicy
    features: Features
    quirks: Quirks
    clients: ClientDirectory
    people: Mapping[str, Person]
    base_scopes: Mapping[str, str]
    keys: SigningKeys
    proofs: DpopProofs
    authentication: ClientAuthentication
    tokens: TokenIssuer
    trusted_issuers: dict[str, KeySet]
    """Whose JWTs are grants (RFC 7523 §2.1), by issuer."""

    def __repr__(self) -> str:
        return f"Ground({self.issuer!r})"

    @property
    def scopes(self) -> dict[str, str]:
        """The scopes that may be asked for, each with the words of the consent page."""
        openid = {"openid": "Know who you are"} if self.features.openid else {}
        offline = self.quirks.offline_scope
        return {**self.base_scopes, **openid, **({offline: "Stay connected"} if offline is not None else {})}


def lay_ground(
    issuer: str,
    clock: Clock,
    clients: Sequence[FakeClient],
    *,
    path: Path | None,
    mode: RotationMode,
    grace_seconds: int,
    access_token_lifetime: int,
    refresh_token_lifetime: int | None,
    people: Sequence[Person],
    scopes: Mapping[str, str],
    features: Features,
    quirks: Quirks,
    fetch: Fetch | None,
) -> Ground:
    """The parts of one provider, put together."""
    store = ProviderStore(path)
    policy = TokenPolicy(
        store,
        mode=mode,
        grace_seconds=grace_seconds,
        access_token_lifetime=access_token_lifetime,
        refresh_token_lifetime=refresh_token_lifetime,
    )
    directory, keys = ClientDirectory(clients, features, fetch), SigningKeys(features)
    known_people = {person.subject: person for person in people}
    signed = SignedTokens(issuer, store, policy, clock, keys, known_people)
    return Ground(
        issuer=issuer,
        base=urlsplit(issuer).path,
        clock=clock,
        store=store,
        policy=policy,
        features=features,
        quirks=quirks,
        clients=directory,
        people=known_people,
        base_scopes=scopes,
        keys=keys,
        proofs=DpopProofs(issuer, clock, features),
        authentication=ClientAuthentication(issuer, directory, clock, features, quirks),
        tokens=TokenIssuer(store, policy, clock, features, quirks, signed),
        trusted_issuers={},
    )
