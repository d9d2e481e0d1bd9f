"""How the fake provider gives tokens, and how it bends its answers."""

from __future__ import annotations

from collections.abc import Mapping

from grantkeeper.testing.provider_store import ProviderStore
from grantkeeper.testing.vocabulary import RotationMode

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
        self.checks_pkce = True
        """Whether codes are bound to their challenge; a server that forgets to is what a nonce is for."""
        self.id_token_claims: dict[str, object] = {}
        """Claims of ID tokens put in or replaced before they are signed; None leaves a claim out."""
        self.userinfo_claims: dict[str, object] = {}
        """The same for /userinfo."""
        self.metadata: dict[str, object] = {}
        """The same for the metadata."""
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


def bent(members: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """The members as a policy bends them: put in, replaced, or left out where the change is None."""
    return {name: value for name, value in (dict(members) | dict(changes)).items() if value is not None}
