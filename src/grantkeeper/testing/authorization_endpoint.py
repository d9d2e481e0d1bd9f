"""GET /authorize and POST /consent of the fake provider: the authorization code flow with PKCE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from grantkeeper.clock import SECOND
from grantkeeper.testing.asgi import Parameters, Request, Response, redirect
from grantkeeper.testing.asked import details_asked, resources_asked, scopes_asked
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.pages import FormGuard, page, problem
from grantkeeper.testing.provider_store import CodeRow
from grantkeeper.testing.pushed_requests import PushedRequests
from grantkeeper.testing.vocabulary import FakeClient, OAuthError, PageRefusal, Terms

CODE_LIFETIME = 60
"""Seconds."""

ANSWER_LIFETIME = 600
"""Seconds that a signed authorization response is good for (JARM §2.1)."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_THUMBPRINT = _CHALLENGE
_JWT_MODES = ("jwt", "query.jwt")


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be put before a person (RFC 6749 §4.1.1, RFC 7636 §4.3)."""

    client: FakeClient
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    code_challenge: str
    terms: Terms
    mode: Literal["query", "jwt"]

    def __repr__(self) -> str:
        return f"AuthorizationRequest(client_id={self.client.client_id!r}, scopes={self.scopes!r})"


class AuthorizationEndpoint:
    """Asks a person for consent and sends the browser back with a code or an error, always with `iss`."""

    def __init__(self, ground: Ground, pushed: PushedRequests) -> None:
        self._ground = ground
        self._pushed = pushed
        self.guard = FormGuard(ground.base, secure=ground.issuer.startswith("https:"))

    def authorize(self, request: Request) -> Response:
        """Show the consent page."""
        query = request.query
        try:
            query = self._pushed.resolve(query)
            return self._consent_page(request, query, self.read(query, request.tenant))
        except PageRefusal as refusal:
            return problem(400, "This request cannot be answered", str(refusal))
        except OAuthError as error:
            return self._refusal(query, error)

    def consent(self, request: Request) -> Response:
        """Take the person's decision."""
        form = request.form()
        carried = form.get("request") or ""
        if not self.guard.accepts(request, form.get("form_code"), carried):
            return problem(
                403,
                "This form was not shown to this browser",
                "Cookies may be off, or the page is too old. Go back to where you came from and start again.",
            )
        query = Parameters(carried)
        try:
            asked = self.read(query)
            subject = form.get("subject") if form.get("decision") == "allow" else None
            return redirect(self.decide(asked, subject))
        except PageRefusal as refusal:
            return problem(400, "This request cannot be answered", str(refusal))
        except OAuthError as error:
            return self._refusal(query, error)

    def read(self, query: Parameters, tenant: str | None = None) -> AuthorizationRequest:
        """Check a request: `PageRefusal` if its redirect URI cannot be trusted, else `OAuthError`."""
        client, redirect_uri = self._client(query)
        if query.repeated:
            raise OAuthError("invalid_request", "A parameter is repeated.")
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "Only response_type=code is known.")
        challenge = self._challenge(query)
        return AuthorizationRequest(
            client=client,
            redirect_uri=redirect_uri,
            state=query.get("state"),
            scopes=scopes_asked(self._ground, query),
            code_challenge=challenge,
            terms=self._terms(query, tenant),
            mode=self._mode(query),
        )

    def browse(self, request: Request) -> AuthorizationRequest:
        """What a browser's request asks for; `PageRefusal` or `OAuthError` if it is refused."""
        return self.read(self._pushed.resolve(request.query), request.tenant)

    def decide(self, asked: AuthorizationRequest, subject: str | None) -> str:
        """Where the browser goes once this person has allowed the request; None: somebody denied it."""
        if subject is None:
            return self._answer(asked.client, asked.redirect_uri, asked.mode, asked.state, {"error": "access_denied"})
        if subject not in self._ground.people:
            raise PageRefusal("Nobody of that name is here.")
        now = self._ground.clock.now()
        code = self._ground.store.add_code(
            CodeRow(
                client_id=asked.client.client_id,
                subject=subject,
                scopes=" ".join(asked.scopes),
                redirect_uri=asked.redirect_uri,
                code_challenge=asked.code_challenge,
                expires_at=now + CODE_LIFETIME * SECOND,
                terms=msgspec.structs.replace(asked.terms, auth_time=now // SECOND),
            )
        )
        answer = {self._ground.quirks.code_parameter: code, **self._ground.quirks.callback}
        return self._answer(asked.client, asked.redirect_uri, asked.mode, asked.state, answer)

    def _refusal(self, query: Parameters, error: OAuthError) -> Response:
        """To the client where its redirect URI is good, else to the person."""
        try:
            client, redirect_uri = self._client(query)
        except PageRefusal:
            return problem(400, "This request cannot be answered", str(error))
        state = None if "state" in query.repeated else query.get("state")
        answer = {"error": error.error, "error_description": error.description}
        jwt_mode = self._ground.features.jarm and query.get("response_mode") in _JWT_MODES
        return redirect(self._answer(client, redirect_uri, "jwt" if jwt_mode else "query", state, answer))

    def _client(self, query: Parameters) -> tuple[FakeClient, str]:
        if query.repeated & {"client_id", "redirect_uri"}:
            raise PageRefusal("The client or its redirect URI is named more than once.")
        client = self._ground.clients.get(query.get("client_id") or "")
        if client is None:
            raise PageRefusal("No client of that id is registered here.")
        redirect_uri = query.get("redirect_uri")
        if redirect_uri not in client.redirect_uris:
            raise PageRefusal(f"The redirect URI is not one that {client.name} has registered.")
        return client, redirect_uri

    def _challenge(self, query: Parameters) -> str:
        challenge, method = query.get("code_challenge") or "", query.get("code_challenge_method")
        if self._ground.quirks.pkce == "refused":
            if challenge or method:
                raise OAuthError("invalid_request", "code_challenge is not known here.")
        elif method != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise OAuthError("invalid_request", "PKCE with S256 is required.")
        return challenge

    def _offline(self, query: Parameters) -> bool:
        """Whether a refresh token is asked for, where that must be."""
        quirks = self._ground.quirks
        asked = all(query.get(name) == value for name, value in quirks.offline_parameters.items())
        named = quirks.offline_scope is None or quirks.offline_scope in scopes_asked(self._ground, query)
        return quirks.refresh_tokens and asked and named

    def _terms(self, query: Parameters, tenant: str | None) -> Terms:
        jkt = query.get("dpop_jkt") if self._ground.features.dpop != "off" else None
        if jkt is not None and not _THUMBPRINT.fullmatch(jkt):
            raise OAuthError("invalid_request", "The dpop_jkt is not a thumbprint.")
        return Terms(
            nonce=query.get("nonce"),
            dpop_jkt=jkt,
            resources=resources_asked(self._ground, query),
            authorization_details=details_asked(self._ground, query),
            offline=self._offline(query),
            tenant=tenant,
            team_scopes=query.get(self._ground.quirks.team_scope or "") or "",
        )

    def _mode(self, query: Parameters) -> Literal["query", "jwt"]:
        mode = query.get("response_mode")
        if mode in _JWT_MODES and self._ground.features.jarm:
            return "jwt"
        if mode not in (None, "query"):
            raise OAuthError("invalid_request", "The response_mode is not known here.")
        return "query"

    def _consent_page(self, request: Request, query: Parameters, asked: AuthorizationRequest) -> Response:
        carried = urlencode(query.pairs())
        key = self.guard.browser_key(request)
        return page(
            "consent.html",
            headers=self.guard.cookie(key),
            base=self._ground.base,
            client=asked.client.name,
            destination=urlsplit(asked.redirect_uri).netloc,
            scopes=[(scope, self._ground.scopes[scope]) for scope in asked.scopes],
            people=list(self._ground.people.values()),
            request=carried,
            form_code=self.guard.code(key, carried),
        )

    def _answer(
        self,
        client: FakeClient,
        redirect_uri: str,
        mode: Literal["query", "jwt"],
        state: str | None,
        answer: Mapping[str, str],
    ) -> str:
        """The redirect URI, its own query kept, with the answer, the state and `iss` (RFC 9207 §2); or all signed."""
        parameters = {**answer, **({"state": state} if state is not None else {}), "iss": self._ground.issuer}
        if mode == "jwt":
            expires = self._ground.clock.now() // SECOND + ANSWER_LIFETIME
            parameters = {"response": self._ground.keys.sign({**parameters, "aud": client.client_id, "exp": expires})}
        parts = urlsplit(redirect_uri)
        query = "&".join(filter(None, (parts.query, urlencode(parameters))))
        return urlunsplit(parts._replace(query=query))
