"""What needs no sign-in: the API description and its page, logos, styles, health."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files

import msgspec

from grantkeeper.catalogue.logo import banner_svg
from grantkeeper.clients import Clients
from grantkeeper.errors import NotFound
from grantkeeper.keys import ClientKeyring
from grantkeeper.storage.database import Database
from grantkeeper.web.api_reference import read_document
from grantkeeper.web.edge import Route
from grantkeeper.web.html import Html
from grantkeeper.web.http import Reply, Request
from grantkeeper.web.openapi import describe

_TYPES = {"css": b"text/css; charset=utf-8", "js": b"text/javascript; charset=utf-8", "svg": b"image/svg+xml"}
_DAY = b"public, max-age=86400"
_FIVE_MINUTES = b"public, max-age=300"


class Public:
    """Routes that anyone may call; none of them says anything about an account."""

    def __init__(
        self,
        html: Html,
        clients: Clients,
        keys: ClientKeyring,
        database: Database,
        api: Sequence[Route],
        public_url: str,
    ) -> None:
        self._html = html
        self._clients = clients
        self._keys = keys
        self._database = database
        self._api = api
        self._public_url = public_url
        self._static = {
            entry.name: entry.read_bytes() for entry in files("grantkeeper.web").joinpath("static").iterdir()
        }

    def routes(self) -> list[Route]:
        """Every route that takes neither token nor session."""
        found = {
            "/api/v1/openapi.json": self.openapi,
            "/api/docs": self.documentation,
            "/imgs/{file}": self.logo,
            "/static/{file}": self.static,
            "/health": self.health,
            "/.well-known/jwks.json": self.jwks,
            "/oauth/{provider}/client.json": self.client_document,
        }
        return [
            Route(
                method="GET",
                path=path,
                endpoint=endpoint,
                kind="api" if path.endswith((".json", "health")) else "page",
                access="public",
            )
            for path, endpoint in found.items()
        ]

    async def openapi(self, request: Request) -> Reply:
        """The API description."""
        document = describe(self._api, self._public_url)
        return Reply(200, msgspec.json.encode(document), [(b"content-type", b"application/json")])

    async def documentation(self, request: Request) -> Reply:
        """The API description, for people."""
        return self._html.page("api.html", request, api=read_document(describe(self._api, self._public_url)))

    async def logo(self, request: Request) -> Reply:
        """A provider's banner, as its definition has it now."""
        name, dot, ending = request.parameters["file"].rpartition(".")
        provider = self._clients.catalogue.get(name)
        if provider is None or f"{dot}{ending}" != ".svg":
            raise NotFound
        return _cached(request, banner_svg(provider).encode(), _TYPES["svg"])

    async def static(self, request: Request) -> Reply:
        """A style sheet, a script or an image of the pages."""
        name = request.parameters["file"]
        body = self._static.get(name)
        if body is None:
            raise NotFound
        return _cached(request, body, _TYPES[name.rpartition(".")[2]])

    async def jwks(self, request: Request) -> Reply:
        """The public keys with which providers check what we sign (RFC 7517 §5)."""
        body = msgspec.json.encode(await self._keys.published())
        return _cached(request, body, b"application/json", _FIVE_MINUTES)

    async def client_document(self, request: Request) -> Reply:
        """What we say of ourselves to a provider that knows us by this document's URL.

        draft-ietf-oauth-client-id-metadata-document §4.
        """
        document = self._clients.identification(request.parameters["provider"])
        if document is None:
            raise NotFound
        return _cached(request, msgspec.json.encode(document), b"application/json", _FIVE_MINUTES)

    async def health(self, request: Request) -> Reply:
        """200 while the database answers; for load balancers."""
        await self._database.fetch_one("get_instance_value", name="health")
        return Reply(200, b'{"status":"ok"}', [(b"content-type", b"application/json")])


def _cached(request: Request, body: bytes, media_type: bytes, kept: bytes = _DAY) -> Reply:
    """A day in caches unless told otherwise, and no body where whoever asks has it already."""
    tag = b'"%s"' % hashlib.sha256(body).hexdigest()[:16].encode()
    headers = [
        (b"content-type", media_type),
        (b"cache-control", kept),
        (b"etag", tag),
        (b"x-content-type-options", b"nosniff"),
    ]
    if _has(request, tag.decode()):
        return Reply(304, b"", headers)
    # An SVG opened by itself could hold scripts: ours holds none, and may run none.
    headers.append((b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"))
    return Reply(200, body, headers)


def _has(request: Request, tag: str) -> bool:
    """Whether whoever asks has this already (RFC 9110 §13.1.2); what compresses answers on the way weakens tags."""
    known = (request.header(b"if-none-match") or "").split(",")
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in known)
