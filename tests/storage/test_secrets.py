"""Encryption at rest: nothing readable in any byte, nothing that opens in another place, one failure alone."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import tink
from tink import aead, json_proto_keyset_format, secret_key_access

from grantkeeper.crypto import RootKeyset
from grantkeeper.errors import ConfigError, SealError
from grantkeeper.model import Connection
from grantkeeper.storage.connections import Page
from grantkeeper.storage.schema import metadata
from grantkeeper.storage.vault import Vault
from tests.storage.stores import (
    AMPLE,
    LATER,
    NOW,
    Stores,
    new_authorization,
    new_evidence,
    new_given,
    new_grant,
    new_held_grant,
    new_tokens,
    open_stores,
)
from tests.support.postgres import PostgresServer

SECRETS = [
    *(f"{kind}-token-{number}" for kind in ("access", "refresh") for number in range(1, 8)),
    "code-verifier-1",
    "nonce-1",
]


def written(secret: str) -> list[bytes]:
    """The ways in which a secret might be written down."""
    plain = secret.encode()
    return [
        plain,
        secret.encode("utf-16-le"),
        plain.hex().encode(),
        *(base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)),
    ]


async def use_every_secret(stores: Stores) -> None:
    """Store each secret in each place where the product stores one, and leave some of them there."""
    login = await stores.new_login()
    account = login.account.uuid
    connection = await stores.connect(account)
    await stores.save(await stores.claimed(connection), new_given(2))
    evidence = new_evidence(account, "reauthorize", connection.uuid)
    await stores.connections.replace_grant(account, connection.uuid, "client-1", new_grant(3), NOW, NOW, evidence)
    kept = await stores.connect(account)
    await stores.save(await stores.claimed(kept), new_given(6))
    await stores.refreshes.reconcile(account, kept.uuid, 1, new_given(7), None, NOW)
    gone = await stores.connect(account)
    await stores.connections.delete(account, gone.uuid, str(uuid.uuid4()), NOW, evidence)
    await stores.connections.add_revocation(
        account, "c", "demo", "client-1", new_grant(4).tokens, str(uuid.uuid4()), NOW
    )
    await stores.authorizations.hold(new_held_grant(login, grant=new_grant(5)))
    taken, waiting = new_authorization(login), new_authorization(login)
    for attempt in (taken, waiting):
        await stores.authorizations.add(attempt)
    await stores.authorizations.take(taken, NOW)


async def test_no_byte_of_the_files_tells_a_secret(tmp_path: Path, root: RootKeyset) -> None:
    """Neither the database, its log nor its index holds a token, verifier or nonce; open or closed."""
    url = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_stores(url, root) as stores:
        await use_every_secret(stores)
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert set(files) == {f"grantkeeper.sqlite3{end}" for end in ("", "-wal", "-shm")}
        assert b"ada@example.com" in files["grantkeeper.sqlite3-wal"]
    files["closed"] = (tmp_path / "grantkeeper.sqlite3").read_bytes()
    assert b"ada@example.com" in files["closed"]
    for name, content in files.items():
        assert [s for s in SECRETS if any(way in content for way in written(s))] == [], name


@pytest.mark.postgres
async def test_no_row_of_postgres_tells_a_secret(postgres: PostgresServer, postgres_url: str, root: RootKeyset) -> None:
    """A dump of every table holds no token, verifier or nonce, in no column."""
    async with open_stores(postgres_url, root) as stores:
        await use_every_secret(stores)
    dump = b""
    for table in metadata.sorted_tables:
        for row in postgres.execute(f"SELECT * FROM {table.name}", database=postgres_url):
            dump += b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    assert b"ada@example.com" in dump
    assert [s for s in SECRETS if any(way in dump for way in written(s))] == []


async def three_connections(stores: Stores) -> tuple[Connection, Connection, Connection]:
    """Two of one account, one of another."""
    ours = (await stores.new_account()).uuid
    return await stores.connect(ours), await stores.connect(ours), await stores.connect()


async def test_a_token_set_opens_in_its_own_row_only(stores: Stores) -> None:
    """Copied to another row, of the same account or another, it is refused; every other row still opens."""
    one, two, other = await three_connections(stores)
    for target in (two, other):
        await stores.database.execute(
            "UPDATE connections SET sealed_tokens ="
            " (SELECT sealed_tokens FROM connections WHERE uuid = :source) WHERE uuid = :target",
            source=one.uuid,
            target=target.uuid,
        )
        with pytest.raises(SealError) as caught:
            await stores.tokens_of(target)
        assert target.uuid in str(caught.value)
    assert await stores.tokens_of(one)
    assert len(await stores.connections.list_page(one.account_uuid, Page(limit=5))) == 2
    assert await stores.connections.get(other.account_uuid, other.uuid) == other
    assert len(await stores.refreshes.claim_due("demo", AMPLE, "us", NOW, LATER, 5)) == 3


async def test_a_previous_token_set_opens_in_its_own_row_only(stores: Stores) -> None:
    """It is sealed as the current one is: in the row it was replaced in it opens, in another it is refused."""
    one, two, _ = await three_connections(stores)
    for connection in (one, two):
        await stores.save(await stores.claimed(connection), new_given(2))
    await stores.database.execute(
        "UPDATE connections SET sealed_previous ="
        " (SELECT sealed_previous FROM connections WHERE uuid = :source) WHERE uuid = :target",
        source=one.uuid,
        target=two.uuid,
    )
    ours, moved = await stores.claimed(await stores.stored(one)), await stores.claimed(await stores.stored(two))
    assert await stores.refreshes.open_previous(ours) == new_tokens(1)
    with pytest.raises(SealError):
        await stores.refreshes.open_previous(moved)


async def test_a_token_set_opens_in_its_own_table_only(stores: Stores) -> None:
    """A connection's token set copied to a revocation of the same UUID is refused."""
    connection = await stores.connect()
    await stores.connections.add_revocation(
        connection.account_uuid, "c", "demo", "client-1", new_grant().tokens, connection.uuid, NOW
    )
    await stores.database.execute("UPDATE revocations SET sealed_tokens = (SELECT sealed_tokens FROM connections)")
    (pending,) = await stores.connections.claim_revocations(NOW, LATER, 5)
    with pytest.raises(SealError):
        await stores.connections.open_revocation(pending)


async def test_an_accounts_keyset_opens_for_its_own_account_only(stores: Stores) -> None:
    """Another account's keyset put in its place opens nothing, and the other account's rows still open."""
    one, two, other = await three_connections(stores)
    await stores.database.execute(
        "UPDATE accounts SET wrapped_keyset = (SELECT wrapped_keyset FROM accounts WHERE uuid = :source)"
        " WHERE uuid = :target",
        source=other.account_uuid,
        target=one.account_uuid,
    )
    restarted = Stores(stores.url, stores.database, stores.root)
    for connection in (one, two):
        with pytest.raises(SealError, match="does not open"):
            await restarted.tokens_of(connection)
    assert await restarted.tokens_of(other)
    assert len(await restarted.connections.list_page(one.account_uuid, Page(limit=5))) == 2


async def test_an_account_that_is_not_there_has_no_keyset(stores: Stores) -> None:
    """Nothing can be sealed for it."""
    with pytest.raises(SealError, match="has no keyset"):
        await stores.vault.cipher(str(uuid.uuid4()))


def keyset(*keys: dict[str, Any], primary: dict[str, Any]) -> RootKeyset:
    """A root keyset of these keys."""
    return RootKeyset.parse(json.dumps({"primaryKeyId": primary["keyId"], "key": list(keys)}), "test")


@pytest.fixture
def old_key() -> dict[str, Any]:
    """A key, as a keyset file has it."""
    return new_key()


def new_key() -> dict[str, Any]:
    """A fresh key, as a keyset file has it."""
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    key: dict[str, Any] = json.loads(json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN))["key"][0]
    return key


async def test_the_root_keyset_is_proved_at_start(stores: Stores, old_key: dict[str, Any]) -> None:
    """The right one passes, on an empty database any does; a wrong one is told which key is missing."""
    await stores.vault.check()
    await Vault(stores.database, keyset(old_key, primary=old_key)).check()
    await stores.new_account()
    await stores.vault.check()
    (wanted,) = stores.root.key_ids
    with pytest.raises(ConfigError) as caught:
        await Vault(stores.database, keyset(old_key, primary=old_key)).check()
    (problem,) = caught.value.problems
    assert f"lacks key {wanted}" in problem
    assert f"it holds {old_key['keyId']}" in problem


async def test_a_key_of_the_same_id_is_not_the_same_key(stores: Stores) -> None:
    """A keyset with the right id but another key is found out at start."""
    await stores.new_account()
    impostor = new_key() | {"keyId": next(iter(stores.root.key_ids))}
    with pytest.raises(ConfigError, match="does not fit this database"):
        await Vault(stores.database, keyset(impostor, primary=impostor)).check()


async def test_root_keys_are_rotated_by_adding_one(stores: Stores, old_key: dict[str, Any]) -> None:
    """With old and new key everything opens; without the old one, or with it disabled, it is missed by name."""
    new, only_old = new_key(), keyset(old_key, primary=old_key)
    old_stores = Stores(stores.url, stores.database, only_old)
    before = await old_stores.connect()
    both = Stores(stores.url, stores.database, keyset(old_key, new, primary=new))
    after = await both.connect()
    await both.vault.check()
    assert await both.tokens_of(before)
    assert await both.tokens_of(after)
    disabled = old_key | {"status": "DISABLED"}
    for lacking in (keyset(new, primary=new), keyset(disabled, new, primary=new)):
        with pytest.raises(ConfigError, match=f"lacks key {old_key['keyId']}"):
            await Vault(stores.database, lacking).check()
        assert await Stores(stores.url, stores.database, lacking).tokens_of(after)
    with pytest.raises(ConfigError, match=f"lacks key {new['keyId']}"):
        await old_stores.vault.check()
