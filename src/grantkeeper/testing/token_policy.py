"""How the fake provider gives tokens, and the giving of them."""

from __future__ import annotations

from grantkeeper.clock import SECOND, Clock
from grantkeeper.testing.provider_store import ProviderStore
from grantkeeper.testing.vocabulary import IssuedTokens, RotationMode

_LIFETIME = "access_token_lifetime"


class TokenPolicy:
    """The provider's habits. Every attribute may be changed at any time; durations are seconds."""

    def __init__(
        self,
        store: ProviderStore,
        *,
        mode: RotationMode,
        grace_seconds: int,
        access_token_lifetime: int,
        refresh_token_lifetime: int | None,
    ) -> None:
        self._store = store
        self.mode = mode
        self.grace_seconds = grace_seconds
        """How long a spent refresh token is honoured in mode `grace`."""
        self.refresh_token_lifetime = refresh_token_lifetime
        """None: refresh tokens do not expire and `refresh_token_expires_in` is not sent."""
        self.omit: set[str] = set()
        """Members left out of token answers. `refresh_token`: none is made, and an old one stays good."""
        self.override: dict[str, object] = {}
        """Members of token answers put in or replaced, any JSON value."""
        if store.setting(_LIFETIME) is None:
            self.access_token_lifetime = access_token_lifetime

    @property
    def access_token_lifetime(self) -> int:
        """Of access tokens given from now on. Kept with the state, so that a demo remembers it."""
        return self._store.setting(_LIFETIME) or 0

    @access_token_lifetime.setter
    def access_token_lifetime(self, seconds: int) -> None:
        self._store.set_setting(_LIFETIME, seconds)

    @property
    def rotates(self) -> bool:
        """Whether a refresh gives a new refresh token."""
        return self.mode != "off" and "refresh_token" not in self.omit


class TokenIssuer:
    """Makes tokens for a grant and words the answer (RFC 6749 §5.1)."""

    def __init__(self, store: ProviderStore, policy: TokenPolicy, clock: Clock) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock

    def issue(self, grant_id: str, scopes: tuple[str, ...], *, generation: int | None) -> IssuedTokens:
        """New tokens. `generation` is that of the new refresh token; None: no refresh token is made."""
        now = self._clock.now()
        expires_at = now + self._policy.access_token_lifetime * SECOND
        lifetime = self._policy.refresh_token_lifetime
        refresh_expires_at = now + lifetime * SECOND if lifetime is not None else None
        refresh_token = None
        if generation is not None:
            refresh_token = self._store.add_refresh_token(grant_id, generation, refresh_expires_at)
        return IssuedTokens(
            grant_id=grant_id,
            access_token=self._store.add_access_token(grant_id, now, expires_at),
            refresh_token=refresh_token,
            scopes=scopes,
            access_token_expires_at=expires_at,
            refresh_token_expires_at=refresh_expires_at if refresh_token else None,
        )

    def answer(self, tokens: IssuedTokens) -> dict[str, object]:
        """The JSON object that carries them, as the policy bends it."""
        now = self._clock.now()
        members: dict[str, object] = {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": (tokens.access_token_expires_at - now) // SECOND,
            "scope": " ".join(tokens.scopes),
        }
        if tokens.refresh_token is not None:
            members["refresh_token"] = tokens.refresh_token
        if tokens.refresh_token_expires_at is not None:
            members["refresh_token_expires_in"] = (tokens.refresh_token_expires_at - now) // SECOND
        kept = {name: value for name, value in members.items() if name not in self._policy.omit}
        return kept | self._policy.override
