"""The clients the fake provider knows, and their public keys, fetched where they publish them by URL."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from joserfc.jwk import KeySet

from grantkeeper.testing.asgi import BODY_LIMIT
from grantkeeper.testing.client_metadata import SECRET_METHODS, client_from_metadata, key_set
from grantkeeper.testing.features import Features
from grantkeeper.testing.vocabulary import FakeClient, OAuthError

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets the document at a URL; OSError or ValueError if it cannot."""

_PATIENCE = 5.0
"""Seconds that a client's document may take."""


class ClientDirectory(Mapping[str, FakeClient]):
    """Registrations by client id."""

    def __init__(self, clients: Sequence[FakeClient], features: Features, fetch: Fetch | None) -> None:
        self._clients = {client.client_id: client for client in clients}
        self._features = features
        self._fetch = fetch or fetch_over_http
        self._fetched: dict[str, KeySet] = {}

    def __getitem__(self, client_id: str) -> FakeClient:
        return self._clients[client_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: FakeClient) -> None:
        """Add a client, or replace the one of the same id."""
        self._clients[client.client_id] = client
        self._fetched.pop(client.client_id, None)

    def remove(self, client_id: str) -> None:
        """Forget a client."""
        self._clients.pop(client_id, None)
        self._fetched.pop(client_id, None)

    def public_keys(self, client: FakeClient) -> KeySet:
        """Those it gave at registration, or those fetched last."""
        return self._fetched.get(client.client_id) or key_set(client.jwks)

    async def fetch(self, client_id: str) -> None:
        """Fetch what a client publishes by URL: its metadata document, its keys. What fails stays unknown."""
        try:
            if client_id not in self and self._features.client_documents and client_id.startswith(("https:", "http:")):
                self.add(self._described(client_id, await self._document(client_id)))
            client = self._clients.get(client_id)
            if client is not None and client.jwks_uri is not None:
                self._fetched[client_id] = key_set(await self._document(client.jwks_uri))
        except (OSError, ValueError, OAuthError):
            return

    def _described(self, client_id: str, document: dict[str, Any]) -> FakeClient:
        """A document must name the URL it is at, and such a client can hold no secret."""
        if document.get("client_id") != client_id:
            raise ValueError("The document is that of another client.")
        known = set(self._features.auth_methods()) - SECRET_METHODS
        return client_from_metadata(client_id, "", {"token_endpoint_auth_method": "none", **document}, sorted(known))

    async def _document(self, url: str) -> dict[str, Any]:
        return msgspec.json.decode(await self._fetch(url), type=dict[str, Any])


async def fetch_over_http(url: str) -> bytes:
    """GET, in a thread, past any proxy. Only for a provider that pretends: it goes wherever it is told."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("only http and https are fetched")
    return await asyncio.to_thread(_get, url)


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=_PATIENCE) as response:
        body: bytes = response.read(BODY_LIMIT)
    return body
