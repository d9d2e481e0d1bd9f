"""Index calls: every sort, filter and cursor gives the same rows in the same order on both engines."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from grantkeeper.crypto import RootKeyset
from grantkeeper.model import Connection, MustAct, Status, Summary
from grantkeeper.storage.connections import Page
from grantkeeper.storage.migrate import migrate
from tests.storage.stores import LATER, NOW, Stores, new_evidence, open_stores, seconds
from tests.support.postgres import PostgresServer

LABELS = [
    "alpha",
    "Alpha",
    "ALPHA 2",
    "beta",
    "Éclair",
    "eclair",
    "éclair",
    "zulu",
    "Ölpreis",
    "straße",
    "STRASSE",
    "100 %",
    "100 x",
    "a_b",
    "aXb",
    "wow!",
    "wow!%_",
    "🦊 fox",
    "🐙 octopus",
    "\ue000 private use",
    "İstanbul",
    "istanbul",
    "\u017fharp",
    "back\\slash",
    "'quoted\"",
    "  x".strip(),
    "日本",
    "-dash",
    "_under",
    "~tilde",
]
SORTS: dict[str, Callable[[Connection], tuple[Any, str]]] = {
    "created_at": lambda connection: (connection.created_at, connection.uuid),
    "updated_at": lambda connection: (connection.updated_at, connection.uuid),
    "label": lambda connection: (connection.label.casefold(), connection.uuid),
}


async def fill(stores: Stores) -> list[Connection]:
    """One account's connections, with many equal dates, and as many of another account."""
    dice = random.Random(7)
    ours, theirs = (await stores.new_account()).uuid, (await stores.new_account()).uuid
    stored = []
    for label, account in itertools.product(LABELS, (ours, theirs)):
        connection = await stores.connect(
            account,
            uuid=str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            label=label,
            provider=dice.choice(["demo", "xero"]),
            created_at=seconds(dice.randrange(5)),
        )
        if account == ours:
            stored.append(await _moved(stores, connection, dice))
    return stored


async def _moved(stores: Stores, connection: Connection, dice: random.Random) -> Connection:
    """The connection failing, or changed later, or as it was."""
    choice = dice.randrange(3)
    if choice == 0:
        claim = await stores.refreshes.claim(connection.uuid, 1, "us", NOW, LATER)
        assert claim is not None
        at = seconds(10 + dice.randrange(3))
        failed = await stores.refreshes.save_failure(claim, Status.FAILING, MustAct.NOBODY, "503", None, at)
        assert failed is not None
        return failed
    if choice == 1:
        evidence = new_evidence(connection.account_uuid, "relabel")
        renamed = await stores.connections.set_label(
            connection.account_uuid, connection.uuid, connection.label, seconds(20), evidence
        )
        assert renamed is not None
        return renamed
    return connection


def expected(stored: list[Connection], page: Page) -> list[Connection]:
    """What a page without a cursor selects, all of it, by the plainest reading of the contract."""
    matching = [
        connection
        for connection in stored
        if page.uuid in (None, connection.uuid)
        and page.provider in (None, connection.provider)
        and page.status in (None, connection.status)
        and (page.label is None or page.label.casefold() in connection.label.casefold())
    ]
    return sorted(matching, key=SORTS[page.sort], reverse=page.descending)


def summary_of(connection: Connection) -> Summary:
    """What a list shows of a connection."""
    return Summary(**{name: getattr(connection, name) for name in Summary.__struct_fields__})


async def walked(stores: Stores, account_uuid: str, page: Page) -> list[Connection]:
    """All rows of a page and those after it, a few at a time, by cursor."""
    rows: list[Connection] = []
    while batch := await stores.connections.list_page(account_uuid, page):
        assert len(batch) <= page.limit
        assert await stores.connections.list_summaries(account_uuid, page) == [summary_of(row) for row in batch]
        rows += batch
        page = msgspec.structs.replace(page, after=SORTS[page.sort](batch[-1]))
    return rows


def every_order(**filters: Any) -> list[Page]:
    """A page for each sort and direction."""
    return [
        Page(limit=7, sort=sort, descending=descending, **filters)
        for sort, descending in itertools.product(SORTS, (False, True))
    ]


async def test_every_sort_filter_and_cursor(stores: Stores) -> None:
    """Walking by cursor, in every order and with every filter, gives what plain reading gives."""
    stored = await fill(stores)
    filters: list[dict[str, str]] = [
        {},
        {"provider": "xero"},
        {"provider": "unknown"},
        {"status": "failing"},
        {"uuid": stored[3].uuid},
        {"uuid": stored[3].uuid, "provider": "demo", "status": "active"},
        *({"label": text} for text in ("ALPHA", "é", "ss", "%", "_", "!", "!%_", "0 %", "a_b", "🦊", "", "\\")),
        {"label": "a", "provider": "demo", "status": "active"},
    ]
    for page in itertools.chain.from_iterable(every_order(**chosen) for chosen in filters):
        found = await walked(stores, stored[0].account_uuid, page)
        assert found == expected(stored, page), page


async def test_the_filter_on_labels_takes_no_wildcards(stores: Stores) -> None:
    """%, _, ! and \\ stand for themselves."""
    account = (await stores.new_account()).uuid
    for label in ("100 %", "100 x", "a_b", "aXb", "wow!", "wow", "back\\slash"):
        await stores.connect(account, label=label)

    async def found(text: str) -> set[str]:
        return {c.label for c in await stores.connections.list_page(account, Page(limit=9, label=text))}

    assert await found("%") == {"100 %"}
    assert await found("A_B") == {"a_b"}
    assert await found("W!") == {"wow!"}
    assert await found("!_") == set()
    assert await found("\\S") == {"back\\slash"}


async def test_a_filter_longer_than_any_label_finds_nothing(stores: Stores) -> None:
    """Neither engine stumbles over 100,000 characters."""
    connection = await stores.connect()
    for text in ("x" * 100_000, "%" * 60_000):
        assert await stores.connections.list_page(connection.account_uuid, Page(limit=5, label=text)) == []


async def test_a_list_tells_no_token(stores: Stores) -> None:
    """A list works where nothing can be decrypted: it does not try."""
    connection = await stores.connect()
    await stores.database.execute("UPDATE connections SET sealed_tokens = :rubbish", rubbish=b"rubbish")
    assert await stores.connections.list_page(connection.account_uuid, Page(limit=5)) == [connection]


async def test_a_row_that_leaves_meanwhile_does_not_shift_the_pages(stores: Stores) -> None:
    """The cursor names a place, not a number: after a deletion no row is skipped or repeated."""
    account = (await stores.new_account()).uuid
    rows = [await stores.connect(account, created_at=seconds(number)) for number in range(6)]
    first = await stores.connections.list_page(account, Page(limit=3))
    await stores.connections.delete(account, first[1].uuid, "r", NOW, new_evidence(account, "delete"))
    after = (first[-1].created_at, first[-1].uuid)
    second = await stores.connections.list_page(account, Page(limit=3, after=after))
    assert [*first, *second] == rows


@pytest.mark.postgres
async def test_the_order_does_not_depend_on_the_locale(postgres: PostgresServer, root: RootKeyset) -> None:
    """A PostgreSQL database with English sorting rules orders and filters as SQLite does."""
    postgres.execute(
        "CREATE DATABASE english TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
    )
    url = postgres.url.rpartition("/")[0] + "/english"
    await asyncio.to_thread(migrate, url)
    async with open_stores(url, root) as stores:
        stored = await fill(stores)
        for page in every_order() + every_order(label="é") + every_order(label="_"):
            assert await walked(stores, stored[0].account_uuid, page) == expected(stored, page), page
    postgres.drop_database("english")
