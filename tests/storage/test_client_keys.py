"""Client keys: sealed, replaced without a gap, and one change at a time, on both engines."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import pytest

from grantkeeper.clock import DAY, HOUR, Instant
from grantkeeper.crypto import RootKeyset, create_root_keyset
from grantkeeper.errors import ConfigError, SealError
from grantkeeper.storage.client_keys import PUBLISHED_ON, ClientKey
from grantkeeper.storage.vault import Vault
from tests.storage.rivals import add_client_key_in_process, meet_at
from tests.storage.stores import NOW, Stores, new_client_key, open_stores

PROCESSES = 2


async def added(stores: Stores, kid: str, at: Instant = NOW, overlap: int = DAY, **changes: object) -> ClientKey:
    """A key that was added at that time."""
    key = new_client_key(kid, **{"created_at": at, "signs_from": at, **changes})
    stored = await stores.client_keys.add(key, f"private key of {kid}".encode(), overlap)
    assert stored is not None
    return stored


async def used(stores: Stores, now: Instant) -> list[str]:
    """The keys in use at that time."""
    return [key.kid for key in await stores.client_keys.list_keys() if key.in_use(now)]


async def key_of(stores: Stores, kid: str) -> ClientKey:
    """A key as it is now."""
    return next(key for key in await stores.client_keys.list_keys() if key.kid == kid)


async def test_what_is_added_is_read(stores: Stores) -> None:
    """Every field comes back, and the private key opens; a `kid` that is known is refused and changes nothing."""
    key = await added(stores, "one", chain="chain", kms_key="arn")
    assert await stores.client_keys.list_keys() == [key]
    assert await stores.client_keys.open_private_key(key) == b"private key of one"
    assert await stores.client_keys.add(new_client_key("one"), b"another", 0) is None
    assert await stores.client_keys.list_keys() == [key]
    assert await stores.client_keys.open_private_key(new_client_key("in a KMS")) is None


async def test_the_first_is_used_at_once_and_the_next_after_the_overlap(stores: Stores) -> None:
    """The older one retires when the newer begins, and stays published for a day more."""
    await added(stores, "old")
    new = await added(stores, "new", NOW + HOUR)
    begins = NOW + HOUR + DAY
    assert new.signs_from == begins
    assert await used(stores, begins - 1) == ["old"]
    assert await used(stores, begins) == ["new"]
    old = await key_of(stores, "old")
    assert (old.retired_at, old.withdrawn_at) == (begins, begins + PUBLISHED_ON)
    assert old.published(begins + PUBLISHED_ON - 1)
    assert not old.published(begins + PUBLISHED_ON)
    assert (await key_of(stores, "new")).retired_at is None


async def test_purposes_are_apart(stores: Stores) -> None:
    """A key of another algorithm and a certificate of another name replace nothing and begin at once."""
    await added(stores, "one")
    await added(stores, "two", algorithm="PS256")
    await added(stores, "three", kind="certificate", algorithm=None, name="bank")
    await added(stores, "four", kind="certificate", algorithm=None, name="other-bank")
    assert sorted(await used(stores, NOW)) == ["four", "one", "three", "two"]
    renewed = await added(stores, "five", NOW + HOUR, 0, kind="certificate", algorithm=None, name="bank")
    assert renewed.signs_from == NOW + HOUR
    assert sorted(await used(stores, NOW + HOUR)) == ["five", "four", "one", "two"]


async def test_one_that_waits_is_overtaken(stores: Stores) -> None:
    """One that begins at once takes the place of one that is in use and of one that was to begin later."""
    await added(stores, "old")
    await added(stores, "waits")
    await added(stores, "urgent", NOW + HOUR, overlap=0)
    assert await used(stores, NOW + HOUR) == ["urgent"]
    assert await used(stores, NOW + 2 * DAY) == ["urgent"]


async def test_retiring_ends_at_once_and_deletes_the_private_key(stores: Stores) -> None:
    """The one that waits begins at once; what is retired stays published for a day unless it is withdrawn."""
    await added(stores, "old")
    await added(stores, "new")
    assert await stores.client_keys.retire("old", NOW + HOUR) == "retired"
    assert await used(stores, NOW + HOUR) == ["new"]
    old = await key_of(stores, "old")
    assert (old.sealed_key, old.published(NOW + HOUR)) == (None, True)
    assert old.withdrawn_at == NOW + HOUR + PUBLISHED_ON
    assert await stores.client_keys.retire("old", NOW + 2 * HOUR, withdraw=True) == "retired"
    old = await key_of(stores, "old")
    assert (old.retired_at, old.published(NOW + 2 * HOUR)) == (NOW + HOUR, False)


async def test_the_last_one_is_not_retired_by_accident(stores: Stores) -> None:
    """It stays as it is unless forced; one that is not there is told apart."""
    key = await added(stores, "only")
    await added(stores, "other", algorithm="PS256")
    assert await stores.client_keys.retire("only", NOW) == "last"
    assert await key_of(stores, "only") == key
    assert await stores.client_keys.retire("only", NOW, force=True) == "retired"
    assert await used(stores, NOW) == ["other"]
    assert await stores.client_keys.retire("nobody", NOW, force=True) == "unknown"


async def test_one_that_waits_may_be_given_up(stores: Stores) -> None:
    """What was to end when it began goes on: until the next one begins, or for good."""
    await added(stores, "old")
    await added(stores, "waits")
    await added(stores, "last", NOW + HOUR)
    assert await stores.client_keys.retire("waits", NOW + HOUR) == "retired"
    assert [await used(stores, NOW + HOUR + passed) for passed in (0, DAY - 1, DAY)] == [["old"], ["old"], ["last"]]
    assert await stores.client_keys.retire("last", NOW + HOUR) == "retired"
    old = await key_of(stores, "old")
    assert (old.retired_at, old.withdrawn_at, old.in_use(NOW + 9 * DAY)) == (None, None, True)


async def test_what_has_no_use_is_forgotten(stores: Stores) -> None:
    """The next change deletes the private key of what is retired, and the row of what is withdrawn."""
    await added(stores, "old")
    new = await added(stores, "new")
    assert (await key_of(stores, "old")).sealed_key is not None
    await added(stores, "newer", new.signs_from)
    assert (await key_of(stores, "old")).sealed_key is None
    await added(stores, "newest", new.signs_from + PUBLISHED_ON)
    assert {key.kid for key in await stores.client_keys.list_keys()} == {"new", "newer", "newest"}


async def test_a_private_key_opens_in_its_own_row_only(stores: Stores) -> None:
    """Moved to another row it does not open, and the error names the row, not the key."""
    await added(stores, "one")
    await added(stores, "two", algorithm="PS256")
    await stores.database.execute(
        "UPDATE client_keys SET sealed_key = (SELECT sealed_key FROM client_keys WHERE kid = 'one') WHERE kid = 'two'"
    )
    with pytest.raises(SealError, match=r"client_keys\.sealed_key of two does not open"):
        await stores.client_keys.open_private_key(await key_of(stores, "two"))
    assert await stores.client_keys.open_private_key(await key_of(stores, "one")) == b"private key of one"


async def test_no_private_key_is_readable(stores: Stores) -> None:
    """Neither in the row nor in a `repr`."""
    key = await added(stores, "one", chain="chain of one")
    row = await stores.database.fetch_one("SELECT * FROM client_keys")
    assert row is not None
    assert b"private key" not in b"".join(value for value in row if isinstance(value, bytes))
    assert repr(key) == "ClientKey(kid='one', kind='signing')"


async def test_another_root_keyset_is_refused(stores: Stores, tmp_path: Path) -> None:
    """Before anything else is done, though no account is there yet; the error names the key that is missing."""
    await added(stores, "one")
    create_root_keyset(tmp_path / "other.json")
    other = RootKeyset.parse((tmp_path / "other.json").read_text("utf-8"), "other")
    with pytest.raises(ConfigError, match=f"lacks key {stores.root.primary_key_id}"):
        await Vault(stores.database, other).check()
    await Vault(stores.database, stores.root).check()


async def test_a_damaged_keyset_is_noticed(stores: Stores) -> None:
    """One that wants the right root key and yet does not open."""
    await added(stores, "one")
    keyset = await stores.database.fetch_one("get_instance_value", name="installation_keyset")
    assert keyset is not None
    damaged = bytes(keyset[0])[:-1] + bytes([bytes(keyset[0])[-1] ^ 1])
    await stores.database.execute("DELETE FROM instance WHERE name = 'installation_keyset'")
    await stores.database.execute("put_instance_value", name="installation_keyset", value=damaged)
    with pytest.raises(ConfigError, match="the root keyset does not fit this database"):
        await Vault(stores.database, stores.root).check()


async def test_each_process_uses_the_same_keyset(stores: Stores) -> None:
    """What one seals another opens, each having unwrapped the keyset itself."""
    key = await added(stores, "one")
    async with open_stores(stores.url, stores.root) as others:
        assert await others.client_keys.open_private_key(key) == b"private key of one"


@pytest.fixture
def processes() -> Iterator[Executor]:
    """Worker processes that begin together."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, meet_at, (context.Barrier(PROCESSES),)) as executor:
        yield executor


def test_two_processes_make_the_first_key_at_once(database_url: str, root_text: str, processes: Executor) -> None:
    """One signs at once and retires when the other begins; both agree on the keyset that seals them."""
    kids = ["one", "two"]
    answers = list(processes.map(add_client_key_in_process, [database_url] * PROCESSES, [root_text] * PROCESSES, kids))
    assert sorted(begins for begins, _ in answers) == [NOW, NOW + DAY]
    assert [set(opened) for _, opened in answers] == [{b"one", b"two"}] * PROCESSES
