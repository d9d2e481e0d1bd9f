"""Encryption at rest: Tink AEAD keysets, a root one that wraps one data keyset for each account.

Every sealed value is bound by associated data to its account, table, row and column, so that a
ciphertext moved elsewhere fails to open. Nothing here knows a database.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import tink
from tink import KeysetHandle, aead, json_proto_keyset_format, secret_key_access
from tink.proto import tink_pb2

from grantkeeper.errors import ConfigError, SealError

aead.register()

_TEMPLATE = aead.aead_key_templates.AES256_GCM


class AccountCipher:
    """Seals and opens what belongs to one account."""

    def __init__(self, account_uuid: str, primitive: aead.Aead) -> None:
        self._account_uuid = account_uuid
        self._primitive = primitive

    def seal(self, plaintext: bytes, table: str, row: str, column: str) -> bytes:
        """Encrypt `plaintext`, bound to where it is stored."""
        sealed: bytes = self._primitive.encrypt(plaintext, self._place(table, row, column))
        return sealed

    def open(self, sealed: bytes, table: str, row: str, column: str) -> bytes:
        """Decrypt what was sealed for this very place, or raise SealError."""
        try:
            plaintext: bytes = self._primitive.decrypt(sealed, self._place(table, row, column))
        except tink.TinkError:
            raise SealError(f"{table}.{column} of {row} does not open with its account's key") from None
        return plaintext

    def _place(self, table: str, row: str, column: str) -> bytes:
        # No part can hold a NUL, so no two places share their associated data.
        return "\0".join((self._account_uuid, table, row, column)).encode()


class RootKeyset:
    """The keyset that wraps the accounts' keysets. Its `repr` shows key ids only."""

    def __init__(self, handle: KeysetHandle) -> None:
        self._primitive: aead.Aead = handle.primitive(aead.Aead)
        info = handle.keyset_info()
        # A disabled key opens nothing: it counts as missing.
        self.key_ids = frozenset(key.key_id for key in info.key_info if key.status == tink_pb2.ENABLED)
        self.primary_key_id: int = info.primary_key_id

    def __repr__(self) -> str:
        return f"RootKeyset(primary={self.primary_key_id}, keys={sorted(self.key_ids)})"

    @classmethod
    def parse(cls, text: str, source: str) -> RootKeyset:
        """Read a keyset in Tink's JSON format; `source` is what the error names, never the text."""
        try:
            return cls(json_proto_keyset_format.parse(text, secret_key_access.TOKEN))
        except tink.TinkError:
            problem = f"{source}: is not a Tink AEAD keyset in JSON; `grantkeeper init` creates one"
        raise ConfigError([problem])

    def new_account_keyset(self, account_uuid: str) -> bytes:
        """A fresh data keyset for an account, wrapped."""
        handle = tink.new_keyset_handle(_TEMPLATE)
        plain = json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
        wrapped: bytes = self._primitive.encrypt(plain.encode(), _keyset_place(account_uuid))
        return wrapped

    def open_account(self, account_uuid: str, wrapped: bytes) -> AccountCipher:
        """The cipher of an account whose wrapped keyset this is, or SealError."""
        try:
            plain = self._primitive.decrypt(wrapped, _keyset_place(account_uuid))
            handle = json_proto_keyset_format.parse(plain.decode(), secret_key_access.TOKEN)
            return AccountCipher(account_uuid, handle.primitive(aead.Aead))
        except tink.TinkError:
            wanted = wrapping_key_id(wrapped)
            problem = f"the keyset of account {account_uuid} does not open; it wants root key {wanted}"
        raise SealError(problem)

    def missing(self, wrapped: Iterable[bytes]) -> set[int]:
        """The ids of root keys that these wrapped keysets want and this root keyset lacks."""
        return {wrapping_key_id(value) for value in wrapped} - self.key_ids


def wrapping_key_id(wrapped: bytes) -> int:
    """The id of the root key that a wrapped keyset wants: Tink's prefix is one byte of type, four of id."""
    return int(struct.unpack(">BI", wrapped[:5])[1]) if len(wrapped) >= 5 else 0


def create_root_keyset(file: Path) -> None:
    """Write a new root keyset to `file`, mode 0600; an existing file is never overwritten."""
    handle = tink.new_keyset_handle(_TEMPLATE)
    text = json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def load_root_keyset(text: str | None, file: Path) -> RootKeyset:
    """The root keyset from `text` if given, else from `file`; ConfigError says what to do."""
    if text is not None:
        return RootKeyset.parse(text, "root_keyset")
    try:
        mode = file.stat().st_mode & 0o777
        if mode & 0o077:
            raise ConfigError([f"{file}: others may read the root keyset (mode {mode:04o}); run: chmod 600 {file}"])
        return RootKeyset.parse(file.read_text("utf-8"), str(file))
    except FileNotFoundError:
        problem = f"{file}: there is no root keyset; `grantkeeper init` creates one, or restore it from your backup"
    except OSError as error:
        problem = f"{file}: the root keyset cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = f"{file}: the root keyset cannot be read: not UTF-8"
    raise ConfigError([problem])


def _keyset_place(account_uuid: str) -> bytes:
    return f"account-keyset\0{account_uuid}".encode()
