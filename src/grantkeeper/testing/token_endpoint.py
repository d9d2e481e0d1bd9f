"""POST /token (RFC 6749 §3.2) and POST /revoke (RFC 7009) of the fake provider."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from grantkeeper.clock import SECOND, Clock
from grantkeeper.testing.asgi import Parameters, Request, Response, json_response
from grantkeeper.testing.client_authentication import authenticate_client
from grantkeeper.testing.provider_store import CodeRow, ProviderStore, RefreshRow
from grantkeeper.testing.token_policy import TokenIssuer, TokenPolicy
from grantkeeper.testing.vocabulary import FakeClient, IssuedTokens, OAuthError

Outcome = IssuedTokens | OAuthError
"""A refusal is returned, not raised: what it revokes must be committed."""


class TokenEndpoint:
    """Turns codes and refresh tokens into tokens, and ends them."""

    def __init__(
        self,
        store: ProviderStore,
        policy: TokenPolicy,
        issuer: TokenIssuer,
        clock: Clock,
        clients: Mapping[str, FakeClient],
    ) -> None:
        self._store = store
        self._policy = policy
        self._issuer = issuer
        self._clock = clock
        self._clients = clients

    def token(self, request: Request) -> Response:
        """Answer a token request, or raise `OAuthError`."""
        form, client = self._client_request(request)
        grant_type = _required(form, "grant_type")
        grants = {"authorization_code": self._exchange, "refresh_token": self._refresh}
        grant = grants.get(grant_type)
        if grant is None:
            raise OAuthError("unsupported_grant_type", "Only authorization_code and refresh_token are known.")
        with self._store.transaction():
            outcome = grant(client, form)
        if isinstance(outcome, OAuthError):
            raise outcome
        return json_response(200, self._issuer.answer(outcome))

    def revoke(self, request: Request) -> Response:
        """End a token; a refresh token takes its grant along. An unknown one is fine (RFC 7009 §2.2)."""
        form, client = self._client_request(request)
        token = _required(form, "token")
        refresh_token = self._store.refresh_token(token)
        grant_id = refresh_token.grant_id if refresh_token else self._store.access_token_grant(token)
        if grant_id is not None:
            self._require_own(client, grant_id)
            if refresh_token is None:
                self._store.revoke_access_token(token)
            else:
                self._store.revoke_grants(self._clock.now(), grant_id)
        return Response(status=200, headers=(("cache-control", "no-store"),))

    def _client_request(self, request: Request) -> tuple[Parameters, FakeClient]:
        form = request.form()
        if form.repeated:
            raise OAuthError("invalid_request", "A parameter is repeated.")
        return form, authenticate_client(request, form, self._clients)

    def _require_own(self, client: FakeClient, grant_id: str) -> None:
        if any(grant.client_id != client.client_id for grant in self._store.grants(grant_id)):
            raise OAuthError("invalid_grant", "The token belongs to another client.")

    def _exchange(self, client: FakeClient, form: Parameters) -> Outcome:
        code = _required(form, "code")
        row = self._store.code(code)
        now = self._clock.now()
        if row is None or row.client_id != client.client_id:
            return OAuthError("invalid_grant", "The code is unknown.")
        if row.spent:
            if row.grant_id is not None:  # RFC 6749 §4.1.2: what a replayed code gave is revoked
                self._store.revoke_grants(now, row.grant_id)
            return OAuthError("invalid_grant", "The code has been used before.")
        refusal = _code_refusal(row, form, now)
        if refusal is not None:
            self._store.spend_code(code, None)
            return refusal
        grant_id = self._store.add_grant(client_id=client.client_id, subject=row.subject, scopes=row.scopes, now=now)
        self._store.spend_code(code, grant_id)
        generation = None if "refresh_token" in self._policy.omit else 1
        return self._issuer.issue(grant_id, tuple(row.scopes.split()), generation=generation)

    def _refresh(self, client: FakeClient, form: Parameters) -> Outcome:
        token = _required(form, "refresh_token")
        row = self._store.refresh_token(token)
        grant = next(iter(self._store.grants(row.grant_id)), None) if row else None
        if row is None or grant is None or grant.client_id != client.client_id:
            return OAuthError("invalid_grant", "The refresh token is unknown.")
        now = self._clock.now()
        if grant.revoked_at is not None:
            return OAuthError("invalid_grant", "The grant has been revoked.")
        if row.expires_at is not None and row.expires_at <= now:
            return OAuthError("invalid_grant", "The refresh token has expired.")
        if not self._honoured(row, now):
            self._store.revoke_grants(now, row.grant_id)
            return OAuthError("invalid_grant", "The refresh token has been used before.")
        scopes = tuple((form.get("scope") or " ".join(grant.scopes)).split())
        if not set(scopes) <= set(grant.scopes):
            return OAuthError("invalid_scope", "More was asked for than had been granted.")
        if not self._policy.rotates:
            return self._issuer.issue(row.grant_id, scopes, generation=None)
        self._store.spend_refresh_token(token, now)
        return self._issuer.issue(row.grant_id, scopes, generation=row.generation + 1)

    def _honoured(self, row: RefreshRow, now: int) -> bool:
        if row.spent_at is None:
            return True
        grace = self._policy.grace_seconds if self._policy.mode == "grace" else 0
        return now < row.spent_at + grace * SECOND


def _code_refusal(row: CodeRow, form: Parameters, now: int) -> OAuthError | None:
    if row.expires_at <= now:
        return OAuthError("invalid_grant", "The code has expired.")
    if form.get("redirect_uri") != row.redirect_uri:
        return OAuthError("invalid_grant", "The redirect_uri is not the one the code was asked for with.")
    challenge = s256(form.get("code_verifier") or "")
    if not hmac.compare_digest(challenge, row.code_challenge):
        return OAuthError("invalid_grant", "The code_verifier does not fit the code_challenge.")
    return None


def s256(code_verifier: str) -> str:
    """The code challenge of a verifier (RFC 7636 §4.2)."""
    hashed = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()


def _required(form: Parameters, name: str) -> str:
    value = form.get(name)
    if value is None:
        raise OAuthError("invalid_request", f"The parameter {name} is missing.")
    return value
