"""An authorization server to try the product with, and to test against: one ASGI application.

It does the authorization code flow with PKCE, refresh with rotation, revocation, /userinfo and metadata, and
can be made slow, wrong or forgetful. Not for anything real: whoever asks may be whoever they choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from grantkeeper.testing.client_authentication import auth_method, named_client
from grantkeeper.testing.client_directory import Fetch
from grantkeeper.testing.client_metadata import key_set
from grantkeeper.testing.dialect import Dialect
from grantkeeper.testing.endpoints import PROVED, Endpoints, Handler
from grantkeeper.testing.features import Features
from grantkeeper.testing.ground import lay_ground
from grantkeeper.testing.pages import problem
from grantkeeper.testing.quirks import Quirks
from grantkeeper.testing.scripted_endpoints import ScriptedEndpoints
from grantkeeper.testing.server_metadata import server_metadata
from grantkeeper.testing.vocabulary import (
    DEMO_PEOPLE,
    DEMO_SCOPES,
    FakeClient,
    FakeGrant,
    IssuedTokens,
    OAuthError,
    PageRefusal,
    Person,
    RotationMode,
    SeenRequest,
    TokenFacts,
)

_PAGES = ("/authorize", "/consent", "/settings", "/device")
_SECRET_PARAMETERS = frozenset(
    {
        "access_token",
        "actor_token",
        "assertion",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "device_code",
        "form_code",
        "refresh_token",
        "request",
        "state",
        "subject_token",
        "token",
        "user_code",
    }
)


class FakeProvider(ScriptedEndpoints):
    """An authorization server whose habits (`policy`), answers and clock a test decides.

    `issuer` is its base URL, with the prefix it is mounted under if any. Requests may come with that prefix
    on their path or without. With `path` its state is in that SQLite file and outlives the process; keys, pushed
    requests and dynamic registrations are in memory always. `fetch` gets what clients publish by URL.
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
        features: Features | None = None,
        quirks: Quirks | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        super().__init__()
        self.issuer = issuer.rstrip("/")
        self._ground = lay_ground(
            self.issuer,
            clock,
            clients,
            path=path,
            mode=mode,
            grace_seconds=grace_seconds,
            access_token_lifetime=access_token_lifetime,
            refresh_token_lifetime=refresh_token_lifetime,
            people=people,
            scopes=scopes,
            features=features or Features(),
            quirks=quirks or Quirks(),
            fetch=fetch,
        )
        self._endpoints = Endpoints(self._ground, settings_page=settings_page)
        self._dialect = Dialect(self._ground)
        self.policy = self._ground.policy
        """Its habits with tokens, and how it bends its answers."""
        self.features = self._ground.features
        """What it can do."""
        self.quirks = self._ground.quirks
        """How it differs from the standards."""
        self.keys = self._ground.keys
        """Its own keys: a test that attacks may sign with them."""

    def __repr__(self) -> str:
        return f"FakeProvider({self.issuer!r})"

    def close(self) -> None:
        """Close the store; also done when the provider is garbage."""
        self._ground.store.close()

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
        self._ground.clients.add(client)

    def client(self, client_id: str) -> FakeClient:
        """What is registered under that id; KeyError where nothing is."""
        return self._ground.clients[client_id]

    def rotate_client_secret(self, client_id: str, client_secret: str) -> None:
        """The old secret is `invalid_client` from now on."""
        known = self._ground.clients[client_id]
        self.register(msgspec.structs.replace(known, client_secret=client_secret))

    async def fetch_client(self, client_id: str) -> None:
        """Fetch what a client publishes by URL; done anyway for requests that name it, but not in `approve`."""
        await self._ground.clients.fetch(client_id)

    def trust_issuer(self, issuer: str, jwks: Mapping[str, Any]) -> None:
        """JWTs of that issuer, signed with one of these keys, are grants (RFC 7523 §2.1)."""
        self._ground.trusted_issuers[issuer] = key_set(dict(jwks))

    def rotate_keys(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on; the old ones stay in /jwks unless told otherwise."""
        self.keys.rotate(keep_old=keep_old)

    def rotate_dpop_nonce(self) -> None:
        """Proofs must carry another nonce from now on."""
        self._ground.proofs.rotate_nonce()

    # What a browser would do

    def approve(self, authorization_url: str, *, subject: str = DEMO_PEOPLE[0].subject) -> str:
        """Where the browser goes once this person clicks Allow; ValueError if no page would be shown."""
        return self._decide(authorization_url, subject)

    def deny(self, authorization_url: str) -> str:
        """Where the browser goes once somebody clicks Deny; ValueError if no page would be shown."""
        return self._decide(authorization_url, None)

    def approve_device(self, user_code: str, *, subject: str = DEMO_PEOPLE[0].subject) -> None:
        """This person types the code at /device and clicks Allow; ValueError if no device waits with it."""
        self._endpoints.device.decide(user_code, subject)

    def deny_device(self, user_code: str) -> None:
        """Somebody types the code and clicks Deny."""
        self._endpoints.device.decide(user_code, None)

    # Grants

    def grants(self) -> list[FakeGrant]:
        """Every grant, the oldest first."""
        return self._ground.store.grants()

    def issue(
        self,
        client_id: str,
        *,
        subject: str = DEMO_PEOPLE[0].subject,
        scopes: Sequence[str] | None = None,
    ) -> IssuedTokens:
        """A new grant and its tokens, without a browser."""
        granted = tuple(self._ground.base_scopes if scopes is None else scopes)
        with self._ground.store.transaction():
            grant_id = self._ground.store.add_grant(
                client_id=client_id, subject=subject, scopes=" ".join(granted), now=self._ground.clock.now()
            )
            generation = None if "refresh_token" in self.policy.omit else 1
            return self._ground.tokens.issue(grant_id, granted, generation=generation)

    def revoke_grants(self, grant_id: str | None = None) -> None:
        """The person, or the provider, ends a grant; without an id, every grant."""
        self._ground.store.revoke_grants(self._ground.clock.now(), grant_id)

    def expire_access_tokens(self, grant_id: str | None = None) -> None:
        """A grant's access tokens are over, whatever was said of their life; without an id, everybody's."""
        self._ground.store.expire_access_tokens(self._ground.clock.now(), grant_id)

    def expire_refresh_tokens(self, grant_id: str | None = None) -> None:
        """The same for refresh tokens."""
        self._ground.store.expire_refresh_tokens(self._ground.clock.now(), grant_id)

    def is_good(self, access_token: str) -> bool:
        """Whether an access token opens anything now."""
        return self._ground.store.live_access_token(access_token, self._ground.clock.now()) is not None

    def token_facts(self, access_token: str) -> TokenFacts:
        """Whom an access token is for, and what key it is bound to."""
        return self._ground.store.token_facts(access_token)

    def metadata(self) -> dict[str, object]:
        """What the server says of itself (RFC 8414 §2)."""
        return server_metadata(self._ground)

    # Inside

    def _own_path(self, scope: Scope) -> str:
        """The path below the mount, whether the server took the prefix off or not."""
        path = str(scope["path"])
        for prefix in (scope.get("root_path", ""), self._ground.base):
            if prefix and (path == prefix or path.startswith(f"{prefix}/")):
                return path[len(prefix) :] or "/"
        return path or "/"

    async def _respond(self, request: Request) -> Response:
        request = self._dialect.placed(request)
        handler = self._endpoints.handler(request)
        if handler is None:
            return self._no_route(request)
        endpoint = self._endpoints.place(request.path).removesuffix("/…").strip("/")
        heard = self._dialect.overheard(request)
        form = _parameters(heard)
        self._note(self._seen(endpoint, heard, form))
        if (named := named_client(request, form)) is not None:
            await self._ground.clients.fetch(named)
        return await self._carry_out(endpoint, lambda: self._handled(handler, request))

    def _no_route(self, request: Request) -> Response:
        allowed = self._endpoints.methods(request.path)
        if not allowed:
            return problem(404, "Not found", "There is no such page at the demo provider.")
        headers = (("allow", ", ".join(allowed)),)
        return problem(405, "Not that way", f"Use {' or '.join(allowed)} here.", headers)

    def _handled(self, handler: Handler, request: Request) -> Response:
        try:
            response = handler(self._dialect.understood(request))
        except RequestRefused as refusal:
            response = self._refusal(request.path, refusal)
        except OAuthError as error:
            challenge = (("www-authenticate", 'Basic realm="demo provider"'),) if error.status == 401 else ()
            payload = {"error": error.error, "error_description": error.description}
            response = json_response(error.status, payload, challenge)
        response = self._dialect.worded(request, response)
        nonce = self._ground.proofs.headers() if request.path in PROVED else ()
        return msgspec.structs.replace(response, headers=(*response.headers, *nonce)) if nonce else response

    def _refusal(self, path: str, refusal: RequestRefused) -> Response:
        if path in _PAGES:
            return problem(refusal.status, "This request cannot be read", str(refusal))
        payload = {"error": "invalid_request", "error_description": str(refusal)}
        return json_response(refusal.status, payload)

    def _seen(self, endpoint: str, request: Request, form: Parameters) -> SeenRequest:
        presented = form.get("refresh_token") if endpoint == "token" else None
        row = self._ground.store.refresh_token(presented) if presented else None
        secret = _SECRET_PARAMETERS | {self.quirks.exchange_parameter, self.quirks.first_exchange_parameter}
        parameters = {name: "…" if name in secret else value for name, value in form.items().items()}
        return SeenRequest(
            endpoint=endpoint,
            method=request.method,
            parameters=parameters,
            auth_method=auth_method(request, form),
            grant_id=row.grant_id if row else None,
            generation=row.generation if row else None,
        )

    def _decide(self, authorization_url: str, subject: str | None) -> str:
        try:
            asked = self._endpoints.authorization.browse(self._dialect.browsed(authorization_url))
            return self._endpoints.authorization.decide(asked, subject)
        except (PageRefusal, OAuthError, RequestRefused) as refusal:
            raise ValueError(str(refusal)) from refusal


def _parameters(request: Request) -> Parameters:
    """The form or query, empty where it cannot be read."""
    try:
        return request.form() if request.method == "POST" else request.query
    except RequestRefused:
        return Parameters("")
