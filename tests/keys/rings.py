"""What tests of client keys work with: a keyring and all that is below it, and how a provider checks a signature."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet

from grantkeeper.crypto import RootKeyset
from grantkeeper.keys import ClientKeyring
from grantkeeper.keys.software import ALGORITHMS
from grantkeeper.oauth.signed import registry
from grantkeeper.storage.client_keys import ClientKeyStore
from grantkeeper.storage.database import Database
from grantkeeper.storage.migrate import open_database
from grantkeeper.storage.vault import Vault
from grantkeeper.terms import SigningAlgorithm
from grantkeeper.testing import FakeClock

CLAIMS = {"iss": "client-1", "aud": "https://provider.example.com"}
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
"""What a JWK of a private key has besides (RFC 7518 §6)."""


class Ring:
    """A keyring over one open database."""

    def __init__(self, database: Database, root: RootKeyset, clock: FakeClock) -> None:
        self.database = database
        self.clock = clock
        self.store = ClientKeyStore(database, Vault(database, root))
        self.keys = ClientKeyring(self.store, clock)

    def another(self) -> ClientKeyring:
        """The keyring of another process."""
        return ClientKeyring(self.store, self.clock)

    async def signed(self, algorithm: SigningAlgorithm = "ES256", typ: str = "JWT") -> jwt.Token:
        """A JWT that was signed now, found good by whoever knows no more than what is published now."""
        text = await (await self.keys.signer(algorithm)).sign(CLAIMS, typ)
        return checked(text, await self.keys.published())


@asynccontextmanager
async def open_ring(url: str, root: RootKeyset, clock: FakeClock) -> AsyncIterator[Ring]:
    """A keyring over the database at `url`."""
    database = await open_database(url, 2)
    try:
        yield Ring(database, root, clock)
    finally:
        await database.close()


def checked(text: str, published: Any) -> jwt.Token:
    """The JWT as a provider reads it that fetched this JWKS; JoseError where it is refused."""
    keys = KeySet.import_key_set(json.loads(json.dumps(published)))
    return jwt.decode(text, keys, registry=registry(ALGORITHMS))
