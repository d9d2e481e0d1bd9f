"""The edge: every request passes here once. Routes it, maps errors, writes the log line.

Ours rather than a framework's because it is the hot path: on the same server a framework's handler
took nearly all the time that a whole token read may take (docs/architecture.md).
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from grantkeeper import logs
from grantkeeper.clock import Clock
from grantkeeper.errors import (
    AuthorizationFailed,
    CallerError,
    GrantkeeperError,
    MethodNotAllowed,
    NotFound,
    Unavailable,
)
from grantkeeper.model import Scope
from grantkeeper.web.http import Header, Receive, Reply, Request, Send
from grantkeeper.web.http import Scope as AsgiScope

Endpoint = Callable[[Request], Awaitable[Reply]]
Kind = Literal["api", "page"]
Access = Literal["public", "token", "session", "metrics"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")


class Parameter(msgspec.Struct, frozen=True):
    """What the API description says of a query parameter; one that is an array is a list with commas."""

    description: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})


class Documentation(msgspec.Struct, frozen=True, kw_only=True):
    """What the API description says of a route."""

    summary: str
    description: str = ""
    query: Mapping[str, Parameter] = {}
    body: Any = None
    answers: Mapping[int, Any] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path. `access` says what the caller must bring, `scope` what a token must allow.

    A GET that is not `safe` (RFC 9110 §9.2.1) changes something here, as an authorization must: it has no HEAD.
    """

    method: str
    path: str
    endpoint: Endpoint
    kind: Kind
    access: Access
    scope: Scope | None = None
    safe: bool = True
    documentation: Documentation | None = None


class Renderer(Protocol):
    """Turns an error into an answer of the route's kind."""

    def error(self, error: GrantkeeperError, request: Request, kind: Kind) -> Reply:
        """The answer for an error of ours."""
        ...

    def crash(self, request: Request, kind: Kind) -> Reply:
        """The answer for an error that nobody foresaw: says nothing of it."""
        ...


class _Node:
    __slots__ = ("children", "routes", "wildcard")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.wildcard: tuple[str, _Node] | None = None
        self.routes: dict[str, Route] = {}


class Router:
    """Finds the route of a request: a tree of path segments, `{name}` matching any one."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                node = self._step(node, segment)
            node.routes[route.method] = route

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its path parameters, or NotFound or MethodNotAllowed."""
        node, parameters = self._root, {}
        for segment in path.split("/")[1:]:
            child = node.children.get(segment)
            if child is None:
                if node.wildcard is None or not segment:
                    raise NotFound
                name, child = node.wildcard
                parameters[name] = segment
            node = child
        if not node.routes:
            raise NotFound
        get = node.routes.get("GET")
        head = get if get is not None and get.safe else None
        route = head if method == "HEAD" else node.routes.get(method)
        if route is None:
            raise MethodNotAllowed(sorted({*node.routes, "HEAD"} if head else node.routes))
        return route, parameters

    @staticmethod
    def _step(node: _Node, segment: str) -> _Node:
        if segment.startswith("{"):
            if node.wildcard is None:
                node.wildcard = (segment[1:-1], _Node())
            return node.wildcard[1]
        return node.children.setdefault(segment, _Node())


class Edge:
    """The ASGI application; it knows no lifespan. `mounts`: whole applications under a prefix (the demo provider)."""

    def __init__(
        self,
        routes: Sequence[Route],
        renderer: Renderer,
        clock: Clock,
        mounts: Mapping[str, Callable[..., Awaitable[None]]] | None = None,
    ) -> None:
        self.routes = tuple(routes)
        self._router = Router(routes)
        self._renderer = renderer
        self._clock = clock
        self._mounts = dict(mounts or {})
        # Random once, then counted: asking for randomness at every request costs more than routing it.
        self._process_id = secrets.token_hex(6)
        self._requests = itertools.count(1)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        for prefix, application in self._mounts.items():
            if scope["path"] == prefix or scope["path"].startswith(prefix + "/"):
                await application({**scope, "root_path": prefix}, receive, send)
                return
        await self._answer(scope, receive, send)

    async def _answer(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        began = self._clock.monotonic()
        request = Request(scope, receive, _given_id(scope) or self._fresh_id())
        route, reply = await self._reply(request)
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": _headers(request, reply)})
            await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else reply.body})
        finally:
            if logs.enabled(logs.INFO):
                logs.event(
                    "request",
                    method=request.method,
                    route=route.path if route else None,
                    status=reply.status,
                    ms=round((self._clock.monotonic() - began) * 1000, 2),
                    request_id=request.id,
                    account=request.account_uuid,
                )

    def _fresh_id(self) -> str:
        return f"{self._process_id}-{next(self._requests):x}"

    async def _reply(self, request: Request) -> tuple[Route | None, Reply]:
        route: Route | None = None
        try:
            route, request.parameters = self._router.match(request.method, request.path)
            return route, await route.endpoint(request)
        except GrantkeeperError as error:
            if not isinstance(error, CallerError | AuthorizationFailed | Unavailable):
                # The caller learns no more than that it cannot be answered: the operator reads the rest here.
                kind, reason = type(error).__name__, error.message
                logs.event("request.failed", level=logs.ERROR, request_id=request.id, error=kind, reason=reason)
            return route, self._renderer.error(error, request, _kind(route, request))
        except Exception as error:
            logs.crash("request.crashed", error, request_id=request.id)
            return route, self._renderer.crash(request, _kind(route, request))


def _headers(request: Request, reply: Reply) -> list[Header]:
    """The answer's own headers, and what every answer carries."""
    headers = [*reply.headers, (b"x-request-id", request.id.encode())]
    if reply.status not in (204, 304):  # RFC 9110 §8.6: these say nothing of a length
        headers.append((b"content-length", b"%d" % len(reply.body)))
    if (limit := request.rate_limit) is not None:
        headers.append((b"x-ratelimit-limit", b"%d" % limit.limit))
        headers.append((b"x-ratelimit-remaining", b"%d" % limit.remaining))
    return headers


def _given_id(scope: AsgiScope) -> str | None:
    """The caller's own `X-Request-ID`, where it is a plain word."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(text := value.decode("latin-1")):
            return str(text)
    return None


def _kind(route: Route | None, request: Request) -> Kind:
    if route is not None:
        return route.kind
    return "api" if request.path.startswith("/api/") else "page"
