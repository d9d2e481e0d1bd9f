"""What the fake provider signs: ID tokens (OpenID Connect Core §2) and JWT access tokens (RFC 9068)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from grantkeeper.clock import SECOND, Clock, Instant
from grantkeeper.testing.provider_store import ProviderStore
from grantkeeper.testing.signing_keys import SigningKeys
from grantkeeper.testing.token_policy import TokenPolicy, bent
from grantkeeper.testing.vocabulary import FakeGrant, Person, TokenFacts
from grantkeeper.testing.wording import left_half

ID_TOKEN_LIFETIME = 3600
"""Seconds."""


class SignedTokens:
    """Words and signs them."""

    def __init__(
        self,
        issuer: str,
        store: ProviderStore,
        policy: TokenPolicy,
        clock: Clock,
        keys: SigningKeys,
        people: Mapping[str, Person],
    ) -> None:
        self.issuer = issuer
        self._store = store
        self._policy = policy
        self._clock = clock
        self._keys = keys
        self.people = people

    def id_token(self, grant: FakeGrant, access_token: str, nonce: str | None) -> str:
        """Says who the person is, to the client; one from a refresh has no nonce (§12.2)."""
        now = self._clock.now() // SECOND
        person = self.people.get(grant.subject)
        claims: dict[str, object] = {
            "iss": self.issuer,
            "sub": grant.subject,
            "aud": grant.client_id,
            "iat": now,
            "exp": now + ID_TOKEN_LIFETIME,
            "at_hash": left_half(access_token),
            "auth_time": self._store.terms(grant.grant_id).auth_time,
            "nonce": nonce,
            "name": person.name if person and "profile" in grant.scopes else None,
            "email": person.email if person and "email" in grant.scopes else None,
        }
        return self._keys.sign(bent(claims, self._policy.id_token_claims))

    def access_token(self, grant: FakeGrant, scopes: tuple[str, ...], facts: TokenFacts, expires_at: Instant) -> str:
        """Says the same of itself to resource servers as the opaque kind's record does here (§2.2)."""
        audience = list(facts.audience) or [self.issuer]
        claims: dict[str, object] = {
            "iss": self.issuer,
            "sub": grant.subject,
            "aud": audience[0] if len(audience) == 1 else audience,
            "client_id": grant.client_id,
            "scope": " ".join(scopes),
            "iat": self._clock.now() // SECOND,
            "exp": expires_at // SECOND,
            "jti": secrets.token_urlsafe(16),
            "cnf": {"jkt": facts.jkt} if facts.jkt else None,
            "act": {"sub": facts.actor} if facts.actor else None,
        }
        return self._keys.sign(bent(claims, {}), typ="at+jwt")
