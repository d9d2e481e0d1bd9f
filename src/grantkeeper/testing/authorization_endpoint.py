"""GET /authorize and POST /consent of the fake provider: the authorization code flow with PKCE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from grantkeeper.clock import SECOND, Clock
from grantkeeper.testing.asgi import Parameters, Request, Response, redirect
from grantkeeper.testing.pages import FormGuard, page, problem
from grantkeeper.testing.provider_store import CodeRow, ProviderStore
from grantkeeper.testing.vocabulary import FakeClient, OAuthError, Person

CODE_LIFETIME = 60
"""Seconds."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_CARRIED = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)


class PageRefusal(Exception):
    """The request must not be answered by redirect: whom it would go to is not known."""


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be put before a person (RFC 6749 §4.1.1, RFC 7636 §4.3)."""

    client: FakeClient
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    code_challenge: str

    def __repr__(self) -> str:
        return f"AuthorizationRequest(client_id={self.client.client_id!r}, scopes={self.scopes!r})"


class AuthorizationEndpoint:
    """Asks a person for consent and sends the browser back with a code or an error, always with `iss`."""

    def __init__(
        self,
        issuer: str,
        store: ProviderStore,
        clock: Clock,
        clients: Mapping[str, FakeClient],
        people: Sequence[Person],
        scopes: Mapping[str, str],
    ) -> None:
        self._issuer = issuer
        self._base = urlsplit(issuer).path.rstrip("/")
        self._store = store
        self._clock = clock
        self._clients = clients
        self._people = people
        self._scopes = scopes
        self.guard = FormGuard(self._base, secure=issuer.startswith("https:"))

    def authorize(self, request: Request) -> Response:
        """Show the consent page."""
        try:
            return self._consent_page(request, self.read(request.query))
        except PageRefusal as refusal:
            return problem(400, "This request cannot be answered", str(refusal))
        except OAuthError as error:
            return redirect(self._refused(request.query, error))

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
            return redirect(self._refused(query, error))

    def read(self, query: Parameters) -> AuthorizationRequest:
        """Check a request: `PageRefusal` if its redirect URI cannot be trusted, else `OAuthError`."""
        client, redirect_uri = self._client(query)
        if query.repeated:
            raise OAuthError("invalid_request", "A parameter is repeated.")
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "Only response_type=code is known.")
        challenge = query.get("code_challenge") or ""
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise OAuthError("invalid_request", "PKCE with S256 is required.")
        scopes = tuple(dict.fromkeys((query.get("scope") or " ".join(self._scopes)).split()))
        if not set(scopes) <= set(self._scopes):
            raise OAuthError("invalid_scope", "A scope is not known here.")
        return AuthorizationRequest(
            client=client,
            redirect_uri=redirect_uri,
            state=query.get("state"),
            scopes=scopes,
            code_challenge=challenge,
        )

    def decide(self, asked: AuthorizationRequest, subject: str | None) -> str:
        """Where the browser goes once this person has allowed the request; None: somebody denied it."""
        if subject is None:
            return self._answer(asked.redirect_uri, asked.state, {"error": "access_denied"})
        if all(person.subject != subject for person in self._people):
            raise PageRefusal("Nobody of that name is here.")
        code = self._store.add_code(
            CodeRow(
                client_id=asked.client.client_id,
                subject=subject,
                scopes=" ".join(asked.scopes),
                redirect_uri=asked.redirect_uri,
                code_challenge=asked.code_challenge,
                expires_at=self._clock.now() + CODE_LIFETIME * SECOND,
            )
        )
        return self._answer(asked.redirect_uri, asked.state, {"code": code})

    def _client(self, query: Parameters) -> tuple[FakeClient, str]:
        if query.repeated & {"client_id", "redirect_uri"}:
            raise PageRefusal("The client or its redirect URI is named more than once.")
        client = self._clients.get(query.get("client_id") or "")
        if client is None:
            raise PageRefusal("No client of that id is registered here.")
        redirect_uri = query.get("redirect_uri")
        if redirect_uri not in client.redirect_uris:
            raise PageRefusal(f"The redirect URI is not one that {client.name} has registered.")
        return client, redirect_uri

    def _consent_page(self, request: Request, asked: AuthorizationRequest) -> Response:
        carried = urlencode({name: value for name in _CARRIED if (value := request.query.get(name)) is not None})
        key = self.guard.browser_key(request)
        return page(
            "consent.html",
            headers=self.guard.cookie(key),
            base=self._base,
            client=asked.client.name,
            destination=urlsplit(asked.redirect_uri).netloc,
            scopes=[(scope, self._scopes[scope]) for scope in asked.scopes],
            people=self._people,
            request=carried,
            form_code=self.guard.code(key, carried),
        )

    def _refused(self, query: Parameters, error: OAuthError) -> str:
        redirect_uri = query.get("redirect_uri") or ""
        state = None if "state" in query.repeated else query.get("state")
        return self._answer(redirect_uri, state, {"error": error.error, "error_description": error.description})

    def _answer(self, redirect_uri: str, state: str | None, answer: Mapping[str, str]) -> str:
        """The redirect URI, its own query kept, with the answer, the state and `iss` (RFC 9207 §2)."""
        parameters = {**answer, **({"state": state} if state is not None else {}), "iss": self._issuer}
        parts = urlsplit(redirect_uri)
        query = "&".join(filter(None, (parts.query, urlencode(parameters))))
        return urlunsplit(parts._replace(query=query))
