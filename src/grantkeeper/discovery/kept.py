"""What is stored about providers, handed to their clients; nobody is asked."""

from __future__ import annotations

import msgspec

from grantkeeper.clients import Clients, Found
from grantkeeper.clock import Instant
from grantkeeper.discovery.finder import found_in
from grantkeeper.errors import ClientRejected, ProviderError, SealError
from grantkeeper.oauth.registration import Registration
from grantkeeper.storage.provider_metadata import ProviderMetadataStore

_decode = msgspec.json.Decoder(Registration).decode


async def learn_all_kept(store: ProviderMetadataStore, clients: Clients) -> dict[str, Instant]:
    """Complete every client as far as it can be; when the metadata of each were fetched."""
    fetched: dict[str, Instant] = {}
    for name in clients.configured():
        try:
            if (fetched_at := await learn_kept(store, clients, name)) is not None:
                fetched[name] = fetched_at
        except ProviderError as error:
            clients.learn(name, Found(trouble=error.message))
    return fetched


async def learn_kept(store: ProviderMetadataStore, clients: Clients, name: str) -> Instant | None:
    """Complete one client; when its metadata were fetched, None where none are stored that it can use.

    ClientRejected where it has a registration that it cannot use.
    """
    wanted = clients.wanted(name)
    if wanted is None or (kept := await store.metadata(name)) is None or (found := found_in(kept, wanted)) is None:
        return None
    registration = await kept_registration(store, name, kept.issuer) if wanted.client else None
    if registration is None and clients.found(name).registration is not None:
        # Another process has ended it.
        clients.forget(name)
    clients.learn(name, msgspec.structs.replace(found, registration=registration))
    return kept.fetched_at


async def kept_registration(store: ProviderMetadataStore, name: str, issuer: str) -> Registration | None:
    """Our registration at that issuer; ClientRejected where it is another's, or does not open."""
    try:
        kept = await store.registration(name)
    except SealError as error:
        raise ClientRejected(f"its registration cannot be read: {error.message}") from None
    if kept is None:
        return None
    if kept.issuer != issuer:
        raise ClientRejected(
            f"is registered at {kept.issuer}, not at {issuer}; `grantkeeper providers unregister {name}` ends that"
        )
    return _decode(kept.content)
