"""Asking for metadata: from a resource to its authorization server, and from its issuer to the endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from grantkeeper.clients import Found, Wanted
from grantkeeper.clock import Clock
from grantkeeper.errors import ProviderError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.oauth.message import Request, Response
from grantkeeper.oauth.metadata import (
    ResourceMetadata,
    challenge,
    document_of,
    metadata_request,
    metadata_urls,
    resource_metadata,
    resource_metadata_urls,
    server_metadata,
)
from grantkeeper.storage.provider_metadata import KeptMetadata
from grantkeeper.urls import url_problem

_Read = TypeVar("_Read")


class Plain(Protocol):
    """What sends a request that needs no proof of who we are: `oauth.sender.Sender`."""

    async def plain(self, request: Request) -> Response:
        """The answer, or ProviderUnavailable."""
        ...


class Finder:
    """Fetches metadata, and reads what was kept of them."""

    def __init__(self, http: Plain, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    async def find(self, wanted: Wanted, pinned: str | None) -> KeptMetadata:
        """The documents as the servers give them now, checked; or ProviderError naming what is wrong.

        `pinned`: the issuer that the resource named before. One that it no longer names is not given up silently: our
        grants are that issuer's.
        """
        resource: dict[str, Any] | None = None
        scope, issuer = None, wanted.issuer
        if wanted.resource is not None:
            resource, stated, scope = await self._resource(wanted.resource, needed=issuer is None)
            issuer = issuer or _chosen(stated, wanted.resource, pinned)
        assert issuer is not None
        document = await self._server(issuer)
        return KeptMetadata(
            issuer=issuer,
            document=_text(document),
            fetched_at=self._clock.now(),
            resource=wanted.resource,
            resource_document=_text(resource) if resource is not None else None,
            resource_scope=scope,
        )

    async def _server(self, issuer: str) -> dict[str, Any]:
        document, _ = await self._first(metadata_urls(issuer), lambda _, read: server_metadata(read, issuer))
        return document

    async def _resource(
        self, resource: str, *, needed: bool
    ) -> tuple[dict[str, Any] | None, ResourceMetadata | None, str | None]:
        """What the resource says of itself, where it says it (RFC 9728 §5), and the scope that it asks for."""
        answer = await self._http.plain(metadata_request(resource))
        asks = challenge(answer)
        named = asks.resource_metadata if answer.status == 401 else None
        if named is not None and (problem := url_problem(named)):
            raise ProviderProtocolError(f"{resource}: resource_metadata {problem}", code="metadata_url")
        urls = (named,) if named is not None else resource_metadata_urls(resource)
        root = resource_metadata_urls(resource)[-1]

        def read(url: str, document: Mapping[str, Any]) -> ResourceMetadata:
            return resource_metadata(document, _names(resource, at_root=url == root and named is None))

        try:
            document, stated = await self._first(urls, read)
        except ProviderProtocolError as error:
            if needed or error.code is not None:
                raise
            return None, None, None
        return document, stated, asks.scope if answer.status == 401 else None

    async def _first(
        self, urls: Sequence[str], read: Callable[[str, Mapping[str, Any]], _Read]
    ) -> tuple[dict[str, Any], _Read]:
        """The first document that is there and is what it should be; else the error that tells most."""
        errors: list[ProviderError] = []
        for url in urls:
            try:
                document = document_of(await self._http.plain(metadata_request(url)), url)
                return document, read(url, document)
            except (ProviderProtocolError, ProviderUnavailable) as error:
                errors.append(error)
        raise max(errors, key=_telling)


def found_in(kept: KeptMetadata, wanted: Wanted) -> Found | None:
    """What kept documents say; None where they are about another issuer or resource, or cannot be read any more."""
    if kept.resource != wanted.resource or wanted.issuer not in (None, kept.issuer):
        return None
    try:
        metadata = server_metadata(msgspec.json.decode(kept.document), kept.issuer)
        resource = None
        if kept.resource is not None and kept.resource_document is not None:
            document = msgspec.json.decode(kept.resource_document)
            resource = resource_metadata(document, _names(kept.resource, at_root=True))
    except (ProviderProtocolError, msgspec.DecodeError):
        return None
    return Found(metadata=metadata, resource=resource, scope=kept.resource_scope)


def _names(resource: str, *, at_root: bool) -> tuple[str, ...]:
    """What a document may name: the resource itself; at the root of its host also that host (RFC 9728 §3.3)."""
    parts = urlsplit(resource)
    origin = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    return (resource, origin, f"{origin}/") if at_root else (resource,)


def _chosen(stated: ResourceMetadata | None, resource: str, pinned: str | None) -> str:
    """The authorization server to use: the one that was used before, else the first (RFC 9728 §7.6)."""
    servers = stated.authorization_servers if stated is not None else ()
    if not servers:
        raise ProviderProtocolError(
            f"{resource} names no authorization server: give its issuer", code="metadata_issuer"
        )
    if pinned is None:
        return servers[0]
    if pinned not in servers:
        raise ProviderProtocolError(
            f"{resource} no longer names {pinned} as its authorization server; if that is meant, run "
            "`grantkeeper providers unregister` for it, and connect anew",
            code="metadata_issuer",
        )
    return pinned


def _telling(error: ProviderError) -> int:
    """A document that is there and wrong says more than none, and no answer more than a plain 404."""
    if error.code is not None:
        return 2
    return 1 if isinstance(error, ProviderUnavailable) else 0


def _text(document: Mapping[str, Any]) -> str:
    return msgspec.json.encode(document).decode()
