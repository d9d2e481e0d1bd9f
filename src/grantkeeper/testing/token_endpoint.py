"""POST /token (RFC 6749 §3.2) and POST /revoke (RFC 7009) of the fake provider."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

import msgspec

from grantkeeper.clock import SECOND, Instant
from grantkeeper.testing.asgi import Parameters, Request, Response, json_response
from grantkeeper.testing.asked import required, resources_asked
from grantkeeper.testing.client_authentication import auth_method
from grantkeeper.testing.features import CODE, JWT_BEARER, REFRESH
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.provider_store import CodeRow, RefreshRow, digest
from grantkeeper.testing.vocabulary import FakeClient, FakeGrant, IssuedTokens, OAuthError, Terms, TokenFacts
from grantkeeper.testing.wording import s256

Outcome = IssuedTokens | OAuthError
"""A refusal is returned, not raised: what it revokes must be committed."""


class TokenRequest(msgspec.Struct, frozen=True):
    """A request whose client is known, and its proof of possession checked."""

    client: FakeClient
    form: Parameters
    jkt: str | None
    """The thumbprint of the key the request was proved with."""
    tenant: str | None = None

    def __repr__(self) -> str:
        return f"TokenRequest(client_id={self.client.client_id!r})"


GrantHandler = Callable[[TokenRequest], Outcome]


class TokenEndpoint:
    """Turns codes, refresh tokens and whatever `grants` adds into tokens, and ends them."""

    def __init__(self, ground: Ground, grants: Mapping[str, GrantHandler]) -> None:
        self._ground = ground
        self._store = ground.store
        self._policy = ground.policy
        self._grants = {CODE: self._exchange, REFRESH: self._refresh, **grants}
        self._first: set[bytes] = set()
        """Digests of the access tokens that codes gave."""

    def token(self, request: Request) -> Response:
        """Answer a token request, or raise `OAuthError`."""
        asked = self._read(request)
        grant_type = required(asked.form, "grant_type")
        self._check_refreshing_client(request, asked.form, grant_type)
        handle = self._handler(grant_type)
        allowed = asked.client.grant_types
        if allowed is not None and grant_type not in allowed:
            raise OAuthError("unauthorized_client", "This client must not use that grant_type.")
        with self._store.transaction():
            outcome = handle(asked)
        if isinstance(outcome, OAuthError):
            raise outcome
        return json_response(200, self._ground.tokens.answer(outcome))

    def revoke(self, request: Request) -> Response:
        """End a token; a refresh token takes its grant along. An unknown one is fine (RFC 7009 §2.2)."""
        client: FakeClient | None = None
        if self._ground.quirks.revocation in ("bearer", "delete_bearer"):
            token = _bearer(request)
        else:
            form, client = self._ground.authentication.request(request)
            _require_method(request, form, self._ground.quirks.revocation_methods)
            token = required(form, "token")
        refresh_token = self._store.refresh_token(token)
        if refresh_token is not None and self._ground.quirks.revocation == "delete_json":
            raise OAuthError("invalid_request", "That is no access token.")
        grant_id = refresh_token.grant_id if refresh_token else self._store.access_token_grant(token)
        if grant_id is not None:
            if client is not None:
                self._require_own(client, grant_id)
            if self._store.terms(grant_id).tenant != request.tenant:
                raise OAuthError("invalid_grant", "The token is another tenant's.")
            if refresh_token is None and self._ground.quirks.revocation in ("rfc7009", "json"):
                self._store.revoke_access_token(token)
            else:
                self._store.revoke_grants(self._ground.clock.now(), grant_id)
        return Response(status=200, headers=(("cache-control", "no-store"),))

    def _handler(self, grant_type: str) -> GrantHandler:
        quirks = self._ground.quirks
        if grant_type in (quirks.exchange_grant, quirks.first_exchange_grant):
            return self._exchange_access_token
        if grant_type not in self._ground.features.grant_types():
            raise OAuthError("unsupported_grant_type", "This grant_type is not known here.")
        return self._grants[grant_type]

    def _check_refreshing_client(self, request: Request, form: Parameters, grant_type: str) -> None:
        """Refuse another way of client authentication than refreshes are asked for with."""
        quirks = self._ground.quirks
        methods = quirks.refresh_client_methods if grant_type in (REFRESH, quirks.exchange_grant) else None
        if grant_type == quirks.first_exchange_grant:
            methods = quirks.first_exchange_client_methods
        _require_method(request, form, methods)

    def _read(self, request: Request) -> TokenRequest:
        form = request.form()
        if form.get("grant_type") == JWT_BEARER and not form.repeated and _is_anonymous(request, form):
            client = FakeClient(client_id="", grant_types=None)  # the assertion says who asks (RFC 7521 §4.1)
        else:
            form, client = self._ground.authentication.request(request)
        thumbprint = self._ground.proofs.presented(request)
        if thumbprint is None and (self._ground.features.dpop == "required" or client.dpop_bound):
            raise OAuthError("invalid_dpop_proof", "A DPoP proof is required.")
        return TokenRequest(client, form, thumbprint, request.tenant)

    def _require_own(self, client: FakeClient, grant_id: str) -> None:
        if any(grant.client_id != client.client_id for grant in self._store.grants(grant_id)):
            raise OAuthError("invalid_grant", "The token belongs to another client.")

    def _exchange(self, asked: TokenRequest) -> Outcome:
        code = required(asked.form, "code")
        row = self._store.code(code)
        now = self._ground.clock.now()
        if row is None or row.client_id != asked.client.client_id:
            return OAuthError("invalid_grant", "The code is unknown.")
        if row.spent:
            if row.grant_id is not None:  # RFC 6749 §4.1.2: what a replayed code gave is revoked
                self._store.revoke_grants(now, row.grant_id)
            return OAuthError("invalid_grant", "The code has been used before.")
        refusal = self._code_refusal(row, asked, now) or self._target_refusal(asked, row.terms)
        if refusal is not None:
            self._store.spend_code(code, None)
            return refusal
        grant_id = self._store.add_grant(
            client_id=row.client_id,
            subject=row.subject,
            scopes=row.scopes,
            now=now,
            terms=self._terms_kept(asked, row.terms),
        )
        self._store.spend_code(code, grant_id)
        tokens = self._ground.tokens.issue(
            grant_id,
            tuple(row.scopes.split()),
            generation=None if "refresh_token" in self._policy.omit or not row.terms.offline else 1,
            facts=self._facts(asked, row.terms),
            nonce=row.terms.nonce,
            first=True,
        )
        self._first.add(digest(tokens.access_token))
        return self._with_team(row, tokens)

    def _with_team(self, row: CodeRow, tokens: IssuedTokens) -> IssuedTokens:
        """A second token set beside the first, where one was asked for: a grant of its own."""
        if not row.terms.team_scopes:
            return tokens
        grant_id = self._store.add_grant(
            client_id=row.client_id,
            subject=self._ground.quirks.team_subject,
            scopes=row.terms.team_scopes,
            now=self._ground.clock.now(),
            terms=Terms(tenant=row.terms.tenant),
        )
        team = self._ground.tokens.issue(grant_id, tuple(row.terms.team_scopes.split()), generation=1)
        return msgspec.structs.replace(tokens, further={**tokens.further, "team": self._ground.tokens.answer(team)})

    def _code_refusal(self, row: CodeRow, asked: TokenRequest, now: Instant) -> OAuthError | None:
        if row.expires_at <= now:
            return OAuthError("invalid_grant", "The code has expired.")
        if asked.form.get("redirect_uri") != row.redirect_uri:
            return OAuthError("invalid_grant", "The redirect_uri is not the one the code was asked for with.")
        verifier = asked.form.get("code_verifier") or ""
        challenge = s256(verifier) if verifier or row.code_challenge else ""
        if self._ground.quirks.pkce == "refused" and verifier:
            return OAuthError("invalid_request", "code_verifier is not known here.")
        if row.terms.tenant != asked.tenant:
            return OAuthError("invalid_grant", "The code is another tenant's.")
        if self._policy.checks_pkce and not hmac.compare_digest(challenge, row.code_challenge):
            return OAuthError("invalid_grant", "The code_verifier does not fit the code_challenge.")
        if row.terms.dpop_jkt not in (None, asked.jkt):
            return OAuthError("invalid_dpop_proof", "The code is bound to another key.")
        return None

    def _refresh(self, asked: TokenRequest) -> Outcome:
        token = required(asked.form, "refresh_token")
        row = self._store.refresh_token(token)
        grant = next(iter(self._store.grants(row.grant_id)), None) if row else None
        if row is None or grant is None or grant.client_id != asked.client.client_id:
            return OAuthError("invalid_grant", "The refresh token is unknown.")
        terms = self._store.terms(row.grant_id)
        refusal = self._refresh_refusal(asked, row, grant, terms)
        if refusal is not None:
            return refusal
        scopes = tuple((asked.form.get("scope") or " ".join(grant.scopes)).split())
        facts, generation = self._facts(asked, terms), None
        if self._policy.rotates:
            self._store.spend_refresh_token(token, self._ground.clock.now())
            generation = row.generation + 1
        elif (idle := self._ground.quirks.idle_lifetime) is not None:
            self._store.extend_refresh_token(token, self._ground.clock.now() + idle * SECOND)
        return self._ground.tokens.issue(row.grant_id, scopes, generation=generation, facts=facts)

    def _exchange_access_token(self, asked: TokenRequest) -> Outcome:
        """An access token for one that lives longer, as some do in place of refresh tokens."""
        quirks = self._ground.quirks
        first = asked.form.get("grant_type") == quirks.first_exchange_grant
        token = required(asked.form, quirks.first_exchange_parameter if first else quirks.exchange_parameter)
        if quirks.first_exchange_grant is not None and (digest(token) in self._first) != first:
            return OAuthError("invalid_grant", "Such an access token is exchanged in another way.")
        grant_id = self._store.live_access_token(token, self._ground.clock.now())
        if grant_id is None:
            return OAuthError("invalid_grant", "The access token is not good any more.")
        self._require_own(asked.client, grant_id)
        grant = self._store.grants(grant_id)[0]
        return self._ground.tokens.issue(grant_id, grant.scopes, generation=None)

    def _refresh_refusal(
        self, asked: TokenRequest, row: RefreshRow, grant: FakeGrant, terms: Terms
    ) -> OAuthError | None:
        now = self._ground.clock.now()
        if grant.revoked_at is not None:
            return OAuthError("invalid_grant", "The grant has been revoked.")
        if terms.tenant != asked.tenant:
            return OAuthError("invalid_grant", "The refresh token is another tenant's.")
        if row.expires_at is not None and row.expires_at <= now:
            return OAuthError("invalid_grant", "The refresh token has expired.")
        if terms.dpop_jkt not in (None, asked.jkt):
            return OAuthError("invalid_grant", "The refresh token is bound to another key.")
        early = self._ground.quirks.refresh_not_before
        if early is not None and self._store.access_token_end(row.grant_id) - now > early * SECOND:
            return OAuthError("invalid_request", "The access token is still good.")
        if not self._honoured(row, now):
            self._store.revoke_grants(now, row.grant_id)
            return OAuthError("invalid_grant", "The refresh token has been used before.")
        if not set((asked.form.get("scope") or "").split()) <= set(grant.scopes):
            return OAuthError("invalid_scope", "More was asked for than had been granted.")
        return self._target_refusal(asked, terms)

    def _honoured(self, row: RefreshRow, now: Instant) -> bool:
        if row.spent_at is None:
            return True
        grace = self._policy.grace_seconds if self._policy.mode == "grace" else 0
        return now < row.spent_at + grace * SECOND

    def _terms_kept(self, asked: TokenRequest, terms: Terms) -> Terms:
        """A public client's refresh tokens are bound to its key, a confidential one's are not (RFC 9449 §5)."""
        public = "none" in asked.client.auth_methods
        return msgspec.structs.replace(terms, nonce=None, dpop_jkt=asked.jkt if public else None)

    def _facts(self, asked: TokenRequest, terms: Terms) -> TokenFacts:
        """The token is for the resources named now, else for all that were allowed (RFC 8707 §2.2)."""
        return TokenFacts(jkt=asked.jkt, audience=resources_asked(self._ground, asked.form) or terms.resources)

    def _target_refusal(self, asked: TokenRequest, terms: Terms) -> OAuthError | None:
        if not set(resources_asked(self._ground, asked.form)) <= set(terms.resources):
            return OAuthError("invalid_target", "A resource is named that was not allowed.")
        return None


def _require_method(request: Request, form: Parameters, methods: frozenset[str] | None) -> None:
    """Refuse another way of client authentication than these; None: any will do."""
    if methods is not None and auth_method(request, form) not in methods:
        raise OAuthError("invalid_client", "This way of client authentication is not known here.", status=401)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise OAuthError("invalid_token", "Show the token that is to end as a bearer token.", status=401)
    return token


def _is_anonymous(request: Request, form: Parameters) -> bool:
    shown = (form.get("client_id"), form.get("client_secret"), form.get("client_assertion"))
    return "authorization" not in request.headers and not any(shown)
