"""The making of tokens for a grant, and the wording of the answer (RFC 6749 §5.1)."""

from __future__ import annotations

import secrets

from grantkeeper.clock import SECOND, Clock, Instant
from grantkeeper.testing.features import Features
from grantkeeper.testing.placing import nested
from grantkeeper.testing.provider_store import ProviderStore
from grantkeeper.testing.quirks import Quirks
from grantkeeper.testing.signed_tokens import SignedTokens
from grantkeeper.testing.token_policy import TokenPolicy
from grantkeeper.testing.vocabulary import IssuedTokens, TokenFacts


class TokenIssuer:
    """Makes access and refresh tokens, and an ID token where the scope `openid` was granted."""

    def __init__(
        self,
        store: ProviderStore,
        policy: TokenPolicy,
        clock: Clock,
        features: Features,
        quirks: Quirks,
        signed: SignedTokens,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._features = features
        self._quirks = quirks
        self._signed = signed

    def issue(
        self,
        grant_id: str,
        scopes: tuple[str, ...],
        *,
        generation: int | None,
        facts: TokenFacts | None = None,
        nonce: str | None = None,
        first: bool = False,
    ) -> IssuedTokens:
        """New tokens. `generation` is that of the new refresh token; None: none is made. `first`: a code gives them."""
        facts = facts or TokenFacts()
        now = self._clock.now()
        lifetime = self._quirks.first_lifetime if first else None
        expires_at = now + (lifetime or self._policy.access_token_lifetime) * SECOND
        refresh_token, refresh_expires_at = self._refresh_token(grant_id, generation, now)
        access_token = self._access_token(grant_id, scopes, facts, expires_at)
        return IssuedTokens(
            grant_id=grant_id,
            access_token=access_token,
            refresh_token=refresh_token,
            scopes=scopes,
            access_token_expires_at=expires_at,
            refresh_token_expires_at=refresh_expires_at,
            token_type="DPoP" if facts.jkt else "Bearer",
            further=self._further(grant_id, scopes, access_token, nonce) | self._quirky(grant_id, first=first),
        )

    def answer(self, tokens: IssuedTokens) -> dict[str, object]:
        """The JSON object that carries them, as the policy bends it."""
        now = self._clock.now()
        members: dict[str, object] = {
            "access_token": tokens.access_token,
            "token_type": tokens.token_type,
            "expires_in": (tokens.access_token_expires_at - now) // SECOND,
            "scope": " ".join(tokens.scopes),
            **tokens.further,
        }
        if tokens.refresh_token is not None:
            members["refresh_token"] = tokens.refresh_token
        if tokens.refresh_token_expires_at is not None:
            members["refresh_token_expires_in"] = (tokens.refresh_token_expires_at - now) // SECOND
        kept = {name: value for name, value in members.items() if name not in self._policy.omit}
        return kept | self._policy.override

    def _refresh_token(self, grant_id: str, generation: int | None, now: Instant) -> tuple[str | None, Instant | None]:
        if generation is None:
            return None, None
        lifetime = self._policy.refresh_token_lifetime
        expires_at = now + lifetime * SECOND if lifetime is not None else None
        idle = self._quirks.idle_lifetime
        dies_at = now + idle * SECOND if idle is not None else None
        ends = [end for end in (expires_at, dies_at) if end is not None]
        token = self._store.add_refresh_token(grant_id, generation, min(ends, default=None))
        if self._quirks.most_tokens is not None:
            self._store.end_oldest_refresh_tokens(grant_id, self._quirks.most_tokens, now)
        return token, expires_at

    def _access_token(self, grant_id: str, scopes: tuple[str, ...], facts: TokenFacts, expires_at: Instant) -> str:
        token = f"fake-access-{secrets.token_urlsafe(32)}"
        if self._features.jwt_access_tokens:
            token = self._signed.access_token(self._store.grants(grant_id)[0], scopes, facts, expires_at)
        self._store.add_access_token(token, grant_id, facts, self._clock.now(), expires_at)
        return token

    def _further(
        self, grant_id: str, scopes: tuple[str, ...], access_token: str, nonce: str | None
    ) -> dict[str, object]:
        further: dict[str, object] = {}
        if self._features.openid and "openid" in scopes:
            grant = self._store.grants(grant_id)[0]
            further["id_token"] = self._signed.id_token(grant, access_token, nonce)
        if self._features.authorization_details and (details := self._store.terms(grant_id).authorization_details):
            further["authorization_details"] = details
        return further

    def _quirky(self, grant_id: str, *, first: bool) -> dict[str, object]:
        """Where the API is, and whose the tokens are, at a provider that tells it with them."""
        further: dict[str, object] = {}
        if self._quirks.instance is not None:
            further["instance_url"] = f"{self._signed.issuer}/{self._quirks.instance}"
        if self._quirks.person_path is not None and first:
            person = self._signed.people[self._store.grants(grant_id)[0].subject]
            found = {"id": person.subject, "name": person.name, "organisation": "Analytical Engines"}
            further |= nested(self._quirks.person_path, found)
        return further
