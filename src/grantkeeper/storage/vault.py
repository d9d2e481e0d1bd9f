"""The accounts' ciphers, and the installation's: unwrapped once, then kept for this process."""

from __future__ import annotations

import msgspec

from grantkeeper.crypto import AccountCipher, RootKeyset, wrapping_key_id
from grantkeeper.errors import ConfigError, SealError
from grantkeeper.model import AttemptSecrets, Grant, TokenSet
from grantkeeper.storage.database import Database, Statements

_MOST_CIPHERS = 10_000
_INSTALLATION = "installation"
_INSTALLATION_KEYSET = "installation_keyset"

_encode = msgspec.json.Encoder().encode
_decode_tokens = msgspec.json.Decoder(TokenSet).decode
_decode_grant = msgspec.json.Decoder(Grant).decode


class Vault:
    """Seals and opens what the stores keep, each value bound to its account, table, row and column."""

    def __init__(self, database: Database, root: RootKeyset) -> None:
        self._database = database
        self._root = root
        self._ciphers: dict[str, AccountCipher] = {}
        self._installation: AccountCipher | None = None

    async def check(self) -> None:
        """Prove that the root keyset fits the database, or raise ConfigError naming the missing keys."""
        wanted = {int(row[0]) for row in await self._database.fetch_all("list_root_key_ids")}
        installation = await self._database.fetch_one("get_instance_value", name=_INSTALLATION_KEYSET)
        if installation is not None:
            wanted.add(wrapping_key_id(bytes(installation[0])))
        if missing := sorted(wanted - self._root.key_ids):
            keys = ", ".join(str(key) for key in missing)
            raise ConfigError(
                [
                    f"the root keyset lacks key {keys}, with which this database was sealed "
                    f"(it holds {', '.join(str(key) for key in sorted(self._root.key_ids))}); restore the right keyset"
                ]
            )
        account = await self._database.fetch_one("get_any_account_keyset")
        try:
            if account is not None:
                self._root.open_account(account[0], bytes(account[1]))
            if installation is not None:
                self._root.open_account(_INSTALLATION, bytes(installation[0]))
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

    async def installation(self) -> AccountCipher:
        """The cipher of what belongs to no account, or SealError. Its keyset is made up once, by whoever asks first."""
        if self._installation is None:
            row = await self._database.fetch_one("get_instance_value", name=_INSTALLATION_KEYSET)
            if row is None:
                fresh = self._root.new_account_keyset(_INSTALLATION)
                await self._database.execute("put_instance_value", name=_INSTALLATION_KEYSET, value=fresh)
                row = await self._database.fetch_one("get_instance_value", name=_INSTALLATION_KEYSET)
                assert row is not None
            self._installation = self._root.open_account(_INSTALLATION, bytes(row[0]))
        return self._installation

    async def seal(self, account_uuid: str, value: object, table: str, row: str, column: str) -> bytes:
        """Seal a token set, a grant or any other value as JSON."""
        return (await self.cipher(account_uuid)).seal(_encode(value), table, row, column)

    async def open_tokens(self, account_uuid: str, sealed: bytes, table: str, row: str) -> TokenSet:
        """The token set sealed in `table.sealed_tokens` of that row, or SealError."""
        return _decode_tokens((await self.cipher(account_uuid)).open(bytes(sealed), table, row, "sealed_tokens"))

    async def open_grant(self, account_uuid: str, sealed: bytes, row: str) -> Grant:
        """The grant held under that row of `held_grants`, or SealError."""
        return _decode_grant((await self.cipher(account_uuid)).open(bytes(sealed), "held_grants", row, "sealed_grant"))

    async def open_secrets(self, account_uuid: str, sealed: bytes, row: str) -> AttemptSecrets:
        """What only we know of an authorization, or SealError."""
        plain = (await self.cipher(account_uuid)).open(bytes(sealed), "authorizations", row, "sealed_secrets")
        return msgspec.json.decode(plain, type=AttemptSecrets)
