"""An authorization server to try the product with, and to test against: one ASGI application.

It does the authorization code flow with PKCE, refresh with rotation, revocation, /userinfo and metadata, and
can be made slow, wrong or forgetful. Not for anything real: whoever asks may be whoever they choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from grantkeeper.clock import Clock
from grantkeeper.testing.asgi import (
    Parameters,
    Receive,
    Request,
    RequestRefused,
    Response,
    Scope,
    Send,
    accept_lifespan,
    json_response,
    read_request,
)
from grantkeeper.testing.authorization_endpoint import AuthorizationEndpoint, PageRefusal
from grantkeeper.testing.client_authentication import auth_method
from grantkeeper.testing.pages import problem
from grantkeeper.testing.provider_store import ProviderStore
from grantkeeper.testing.scripted_endpoints import ScriptedEndpoints
from grantkeeper.testing.settings_page import SettingsPage
from grantkeeper.testing.token_endpoint import TokenEndpoint
from grantkeeper.testing.token_policy import TokenIssuer, TokenPolicy
from grantkeeper.testing.vocabulary import (
    DEMO_PEOPLE,
    DEMO_SCOPES,
    FakeClient,
    FakeGrant,
    IssuedTokens,
    OAuthError,
    Person,
    RotationMode,
    SeenRequest,
)

Handler = Callable[[Request], Response]

METADATA = "/.well-known/oauth-authorization-server"
_PAGES = ("authorize", "consent", "settings")
_SECRET_PARAMETERS = frozenset(
    {
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "refresh_token",
        "token",
        "state",
        "request",
        "form_code",
    }
)


class FakeProvider(ScriptedEndpoints):
    """An authorization server whose habits (`policy`), answers and clock a test decides.

    `issuer` is its base URL, with the prefix it is mounted under if any. Requests may come with that prefix
    on their path or without. With `path` its state is in that SQLite file and outlives the process.
    """

    def __init__(
        self,
        issuer: str,
        clients: Sequence[FakeClient],
        clock: Clock,
        *,
        path: Path | None = None,
        mode: RotationMode = "grace",
        grace_seconds: int = 30,
        access_token_lifetime: int = 3600,
        refresh_token_lifetime: int | None = None,
        people: Sequence[Person] = DEMO_PEOPLE,
        scopes: Mapping[str, str] = DEMO_SCOPES,
        settings_page: bool = False,
    ) -> None:
        super().__init__()
        self.issuer = issuer.rstrip("/")
        self._base = urlsplit(self.issuer).path
        self._clock = clock
        self._people = {person.subject: person for person in people}
        self._scopes = scopes
        self._clients = {client.client_id: client for client in clients}
        self._store = ProviderStore(path)
        self.policy = TokenPolicy(
            self._store,
            mode=mode,
            grace_seconds=grace_seconds,
            access_token_lifetime=access_token_lifetime,
            refresh_token_lifetime=refresh_token_lifetime,
        )
        self._issuer = TokenIssuer(self._store, self.policy, clock)
        self._tokens = TokenEndpoint(self._store, self.policy, self._issuer, clock, self._clients)
        self._authorization = AuthorizationEndpoint(self.issuer, self._store, clock, self._clients, people, scopes)
        self._routes = self._route_table()
        if settings_page:
            shown = SettingsPage(
                self._base,
                self._store,
                self.policy,
                clock,
                self._authorization.guard,
                self._clients,
                people,
            )
            self._routes |= {("GET", "/"): shown.show, ("POST", "/settings"): shown.save}

    def __repr__(self) -> str:
        return f"FakeProvider({self.issuer!r})"

    def close(self) -> None:
        """Close the store; also done when the provider is garbage."""
        self._store.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await accept_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the fake provider does not speak {scope['type']}")
        path = self._own_path(scope)
        try:
            request = await read_request(scope, receive, path)
            response = await self._respond(request)
        except RequestRefused as refusal:
            response = self._refusal(path, refusal)
        await response.send(send)

    # Registration and people

    def register(self, client: FakeClient) -> None:
        """Add a client, or replace the one of the same id."""
        self._clients[client.client_id] = client

    def rotate_client_secret(self, client_id: str, client_secret: str) -> None:
        """The old secret is `invalid_client` from now on."""
        known = self._clients[client_id]
        self.register(msgspec.structs.replace(known, client_secret=client_secret))

    # What a browser would do

    def approve(self, authorization_url: str, *, subject: str = DEMO_PEOPLE[0].subject) -> str:
        """Where the browser goes once this person clicks Allow; ValueError if no page would be shown."""
        return self._decide(authorization_url, subject)

    def deny(self, authorization_url: str) -> str:
        """Where the browser goes once somebody clicks Deny; ValueError if no page would be shown."""
        return self._decide(authorization_url, None)

    # Grants

    def grants(self) -> list[FakeGrant]:
        """Every grant, the oldest first."""
        return self._store.grants()

    def issue(
        self,
        client_id: str,
        *,
        subject: str = DEMO_PEOPLE[0].subject,
        scopes: Sequence[str] | None = None,
    ) -> IssuedTokens:
        """A new grant and its tokens, without a browser."""
        granted = tuple(self._scopes if scopes is None else scopes)
        with self._store.transaction():
            grant_id = self._store.add_grant(
                client_id=client_id, subject=subject, scopes=" ".join(granted), now=self._clock.now()
            )
            generation = None if "refresh_token" in self.policy.omit else 1
            return self._issuer.issue(grant_id, granted, generation=generation)

    def revoke_grants(self, grant_id: str | None = None) -> None:
        """The person, or the provider, ends a grant; without an id, every grant."""
        self._store.revoke_grants(self._clock.now(), grant_id)

    def expire_access_tokens(self, grant_id: str | None = None) -> None:
        """A grant's access tokens are over, whatever was said of their life; without an id, everybody's."""
        self._store.expire_access_tokens(self._clock.now(), grant_id)

    def expire_refresh_tokens(self, grant_id: str | None = None) -> None:
        """The same for refresh tokens."""
        self._store.expire_refresh_tokens(self._clock.now(), grant_id)

    def metadata(self) -> dict[str, object]:
        """What the server says of itself (RFC 8414 §2)."""
        methods = ["client_secret_basic", "client_secret_post"]
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "scopes_supported": list(self._scopes),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
            "authorization_response_iss_parameter_supported": True,
        }

    # Inside

    def _route_table(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", "/authorize"): self._authorization.authorize,
            ("POST", "/consent"): self._authorization.consent,
            ("POST", "/token"): self._tokens.token,
            ("POST", "/revoke"): self._tokens.revoke,
            ("GET", "/userinfo"): self._userinfo,
            ("GET", METADATA): self._show_metadata,
            ("GET", "/.well-known/openid-configuration"): self._show_metadata,
            # Where RFC 8414 §3.1 puts it for an issuer with a path; seen only when served at the root.
            ("GET", METADATA + self._base): self._show_metadata,
        }

    def _own_path(self, scope: Scope) -> str:
        """The path below the mount, whether the server took the prefix off or not."""
        path = str(scope["path"])
        for prefix in (scope.get("root_path", ""), self._base):
            if prefix and (path == prefix or path.startswith(f"{prefix}/")):
                return path[len(prefix) :] or "/"
        return path or "/"

    async def _respond(self, request: Request) -> Response:
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            return self._no_route(request)
        endpoint = request.path.strip("/")
        self._note(self._seen(endpoint, request))
        return await self._carry_out(endpoint, lambda: self._handled(handler, request))

    def _no_route(self, request: Request) -> Response:
        allowed = sorted(method for method, path in self._routes if path == request.path)
        if not allowed:
            return problem(404, "Not found", "There is no such page at the demo provider.")
        headers = (("allow", ", ".join(allowed)),)
        return problem(405, "Not that way", f"Use {' or '.join(allowed)} here.", headers)

    def _handled(self, handler: Handler, request: Request) -> Response:
        try:
            return handler(request)
        except RequestRefused as refusal:
            return self._refusal(request.path, refusal)
        except OAuthError as error:
            challenge = (("www-authenticate", 'Basic realm="demo provider"'),) if error.status == 401 else ()
            payload = {"error": error.error, "error_description": error.description}
            return json_response(error.status, payload, challenge)

    def _refusal(self, path: str, refusal: RequestRefused) -> Response:
        if path.strip("/") in _PAGES:
            return problem(refusal.status, "This request cannot be read", str(refusal))
        payload = {"error": "invalid_request", "error_description": str(refusal)}
        return json_response(refusal.status, payload)

    def _seen(self, endpoint: str, request: Request) -> SeenRequest:
        try:
            form = request.form() if request.method == "POST" else request.query
        except RequestRefused:
            form = Parameters("")
        presented = form.get("refresh_token") if endpoint == "token" else None
        row = self._store.refresh_token(presented) if presented else None
        parameters = {name: "…" if name in _SECRET_PARAMETERS else value for name, value in form.items().items()}
        return SeenRequest(
            endpoint=endpoint,
            method=request.method,
            parameters=parameters,
            auth_method=auth_method(request, form),
            grant_id=row.grant_id if row else None,
            generation=row.generation if row else None,
        )

    def _userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return json_response(401, {}, (("www-authenticate", 'Bearer realm="demo provider"'),))
        grant_id = self._store.live_access_token(token.strip(), self._clock.now())
        if grant_id is None:
            challenge = 'Bearer realm="demo provider", error="invalid_token"'
            return json_response(401, {"error": "invalid_token"}, (("www-authenticate", challenge),))
        subject = self._store.grants(grant_id)[0].subject
        person = self._people.get(subject)
        claims = {"name": person.name, "email": person.email} if person else {}
        return json_response(200, {"sub": subject, **claims})

    def _show_metadata(self, _request: Request) -> Response:
        return json_response(200, self.metadata())

    def _decide(self, authorization_url: str, subject: str | None) -> str:
        query = Parameters(urlsplit(authorization_url).query)
        try:
            return self._authorization.decide(self._authorization.read(query), subject)
        except (PageRefusal, OAuthError) as refusal:
            raise ValueError(str(refusal)) from refusal
