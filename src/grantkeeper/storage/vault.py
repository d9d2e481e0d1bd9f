"""The accounts' ciphers: unwrapped once, then kept for this process."""

from __future__ import annotations

import msgspec

from grantkeeper.crypto import AccountCipher, RootKeyset
from grantkeeper.errors import ConfigError, SealError
from grantkeeper.model import Grant, TokenSet
from grantkeeper.storage.database import Database, Statements

_MOST_CIPHERS = 10_000

_encode = msgspec.json.Encoder().encode
_decode_tokens = msgspec.json.Decoder(TokenSet).decode
_decode_grant = msgspec.json.Decoder(Grant).decode


class Vault:
    """Seals and opens what the stores keep, each value bound to its account, table, row and column."""

    def __init__(self, database: Database, root: RootKeyset) -> None:
        self._database = database
        self._root = root
        self._ciphers: dict[str, AccountCipher] = {}

    async def check(self) -> None:
        """Prove that the root keyset fits the database, or raise ConfigError naming the missing keys."""
        wanted = {int(row[0]) for row in await self._database.fetch_all("list_root_key_ids")}
        if missing := sorted(wanted - self._root.key_ids):
            keys = ", ".join(str(key) for key in missing)
            raise ConfigError(
                [
                    f"the root keyset lacks key {keys}, with which this database was sealed "
                    f"(it holds {', '.join(str(key) for key in sorted(self._root.key_ids))}); restore the right keyset"
                ]
            )
        row = await self._database.fetch_one("get_any_account_keyset")
        if row is not None:
            try:
                self._root.open_account(row[0], bytes(row[1]))
            except SealError as error:
                raise ConfigError([f"the root keyset does not fit this database: {error}"]) from None

    def new_keyset(self, account_uuid: str) -> tuple[bytes, int]:
        """A fresh wrapped keyset for an account, and the id of the root key that wraps it."""
        return self._root.new_account_keyset(account_uuid), self._root.primary_key_id

    async def cipher(self, account_uuid: str, statements: Statements | None = None) -> AccountCipher:
        """The account's cipher, or SealError."""
        cipher = self._ciphers.get(account_uuid)
        if cipher is None:
            row = await (statements or self._database).fetch_one("get_account_keyset", uuid=account_uuid)
            if row is None:
                raise SealError(f"account {account_uuid} has no keyset")
            if len(self._ciphers) >= _MOST_CIPHERS:
                self._ciphers.clear()
            cipher = self._ciphers[account_uuid] = self._root.open_account(account_uuid, bytes(row[0]))
        return cipher

    async def seal(self, account_uuid: str, value: object, table: str, row: str, column: str) -> bytes:
        """Seal a token set, a grant or any other value as JSON."""
        return (await self.cipher(account_uuid)).seal(_encode(value), table, row, column)

    async def open_tokens(self, account_uuid: str, sealed: bytes, table: str, row: str) -> TokenSet:
        """The token set sealed in `table.sealed_tokens` of that row, or SealError."""
        return _decode_tokens((await self.cipher(account_uuid)).open(bytes(sealed), table, row, "sealed_tokens"))

    async def open_grant(self, account_uuid: str, sealed: bytes, row: str) -> Grant:
        """The grant held under that row of `held_grants`, or SealError."""
        return _decode_grant((await self.cipher(account_uuid)).open(bytes(sealed), "held_grants", row, "sealed_grant"))

    async def open_secrets(self, account_uuid: str, sealed: bytes, row: str) -> dict[str, str | None]:
        """The verifier and nonce of an authorization, or SealError."""
        plain = (await self.cipher(account_uuid)).open(bytes(sealed), "authorizations", row, "sealed_secrets")
        return msgspec.json.decode(plain, type=dict[str, str | None])
