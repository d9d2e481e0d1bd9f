"""Grants without a browser: client credentials, JWT bearer (RFC 7523), token exchange (RFC 8693)."""

from __future__ import annotations

import msgspec
from joserfc.jwk import KeySet

from grantkeeper.testing.asked import required, resources_asked, scopes_asked
from grantkeeper.testing.features import CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.jwt_reading import BadJwt, Claims, SeenIds, check_claims, read_jwt, unverified
from grantkeeper.testing.token_endpoint import GrantHandler, Outcome, TokenRequest
from grantkeeper.testing.vocabulary import FakeGrant, IssuedTokens, OAuthError, Terms, TokenFacts

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT_TOKEN = "urn:ietf:params:oauth:token-type:jwt"


class OtherGrants:
    """None of them gives a refresh token: what was shown can be shown again."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._used = SeenIds()

    def handlers(self) -> dict[str, GrantHandler]:
        """By `grant_type`."""
        return {
            CLIENT_CREDENTIALS: self._client_credentials,
            JWT_BEARER: self._jwt_bearer,
            TOKEN_EXCHANGE: self._token_exchange,
        }

    def _client_credentials(self, asked: TokenRequest) -> Outcome:
        """The client acts for itself (RFC 6749 §4.4)."""
        if "none" in asked.client.auth_methods:
            return OAuthError("unauthorized_client", "A client that cannot prove who it is has no tokens of its own.")
        return self._new_grant(asked, asked.client.client_id, asked.client.client_id)

    def _jwt_bearer(self, asked: TokenRequest) -> Outcome:
        """A trusted issuer says for whom the client may act (RFC 7523 §3)."""
        assertion = required(asked.form, "assertion")
        try:
            issuer = str(unverified(assertion)[1].get("iss"))
            claims = read_jwt(assertion, self._keys_of(issuer))[1]
            subject = self._checked(claims, issuer)
        except BadJwt as reason:
            return OAuthError("invalid_grant", f"The assertion is not good. {reason}")
        return self._new_grant(asked, asked.client.client_id or issuer, subject)

    def _token_exchange(self, asked: TokenRequest) -> Outcome:
        """A token of ours for another, for somewhere else (RFC 8693 §2)."""
        subject = self._exchanged(asked, "subject_token")
        actor = self._exchanged(asked, "actor_token") if asked.form.get("actor_token") else None
        if asked.form.get("requested_token_type") not in (None, ACCESS_TOKEN, JWT_TOKEN):
            return OAuthError("invalid_request", "Only access tokens are given.")
        scopes = tuple((asked.form.get("scope") or " ".join(subject.scopes)).split())
        if not set(scopes) <= set(subject.scopes):
            return OAuthError("invalid_scope", "More was asked for than the subject token has.")
        tokens = self._new_grant(
            asked,
            asked.client.client_id,
            subject.subject,
            scopes=scopes,
            audience=asked.form.all("audience"),
            actor=actor.subject if actor else None,
        )
        return msgspec.structs.replace(tokens, further={**tokens.further, "issued_token_type": ACCESS_TOKEN})

    def _keys_of(self, issuer: str) -> KeySet:
        """A trusted issuer's keys, or those of the client that speaks for itself."""
        client = self._ground.clients.get(issuer)
        if issuer in self._ground.trusted_issuers:
            return self._ground.trusted_issuers[issuer]
        if client is None:
            raise BadJwt("Its issuer is not trusted here.")
        return self._ground.clients.public_keys(client)

    def _checked(self, claims: Claims, issuer: str) -> str:
        """The subject of an assertion that is good; each is good once where it has a `jti`."""
        now = self._ground.clock.now()
        check_claims(claims, audiences={self._ground.issuer, f"{self._ground.issuer}/token"}, now=now)
        if "jti" in claims:
            self._used.use(issuer, claims["jti"], now, lifetime=3600)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise BadJwt("It names no subject.")
        return subject

    def _exchanged(self, asked: TokenRequest, name: str) -> FakeGrant:
        """The grant behind a token that was shown; it must be one of ours, and live."""
        token = required(asked.form, name)
        if required(asked.form, f"{name}_type") not in (ACCESS_TOKEN, JWT_TOKEN):
            raise OAuthError("invalid_request", "Only access tokens are exchanged.")
        grant_id = self._ground.store.live_access_token(token, self._ground.clock.now())
        if grant_id is None:
            raise OAuthError("invalid_request", f"The {name} is not one of ours, or no longer good (RFC 8693 §2.2.2).")
        return self._ground.store.grants(grant_id)[0]

    def _new_grant(
        self,
        asked: TokenRequest,
        client_id: str,
        subject: str,
        *,
        scopes: tuple[str, ...] | None = None,
        audience: tuple[str, ...] = (),
        actor: str | None = None,
    ) -> IssuedTokens:
        scopes = scopes_asked(self._ground, asked.form) if scopes is None else scopes
        facts = TokenFacts(jkt=asked.jkt, audience=(*audience, *resources_asked(self._ground, asked.form)), actor=actor)
        grant_id = self._ground.store.add_grant(
            client_id=client_id,
            subject=subject,
            scopes=" ".join(scopes),
            now=self._ground.clock.now(),
            terms=Terms(tenant=asked.tenant),
        )
        return self._ground.tokens.issue(grant_id, scopes, generation=None, facts=facts)
