"""The index: pages, cursors, filters and orders."""

from __future__ import annotations

from typing import Any

import pytest

from grantkeeper.clock import SECOND
from grantkeeper.errors import ProviderUnavailable
from grantkeeper.model import MustAct, Status
from grantkeeper.testing.clock import EPOCH
from tests.api.builders import INDEX, add_connection, bearer, other_client, raw_call
from tests.support.world import PUBLIC_URL, World


async def fill(world: World, *labels: str, same_instant: bool = False) -> list[str]:
    """Connections of these labels, each a second after the other; their UUIDs."""
    made = []
    for number, label in enumerate(labels):
        at = EPOCH + (0 if same_instant else number * SECOND)
        made.append((await add_connection(world, label, created_at=at)).uuid)
    return made


async def page(world: World, **query: Any) -> dict[str, Any]:
    """One page of the index."""
    answer = await world.client.get(INDEX, params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def labels(world: World, **query: Any) -> list[str]:
    """The labels of a whole index, in order."""
    return [row["label"] for row in (await page(world, **query))["data"]]


async def walk(world: World, **query: Any) -> list[str]:
    """The labels of every page, by following `links.next`."""
    document = await page(world, **query)
    found = [row["label"] for row in document["data"]]
    while url := document["links"]["next"]:
        assert url.startswith(f"{PUBLIC_URL}{INDEX}?")
        answer = await world.client.get(url)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert len(document["data"]) <= document["meta"]["per_page"]
        found += [row["label"] for row in document["data"]]
    return found


async def test_data_alone_while_that_is_all(either_world: World) -> None:
    """Without `per_page` and with no more to come there is `data` and nothing else."""
    await fill(either_world, "a", "b")
    assert list(await page(either_world)) == ["data"]


async def test_links_and_meta_where_per_page_was_given(either_world: World) -> None:
    """With `per_page` there are `links` and `meta`, null where there is no next page."""
    await fill(either_world, "a", "b", "c")
    document = await page(either_world, per_page=2)
    assert list(document) == ["data", "links", "meta"]
    cursor = document["meta"]["next_cursor"]
    assert document["meta"] == {"per_page": 2, "next_cursor": cursor}
    assert document["links"] == {"next": f"{PUBLIC_URL}{INDEX}?per_page=2&cursor={cursor}"}
    for query in ({"per_page": 2, "cursor": cursor}, {"per_page": 3}, {"per_page": 500}):
        document = await page(either_world, **query)
        assert document["links"] == {"next": None}
        assert document["meta"] == {"per_page": query["per_page"], "next_cursor": None}


async def test_500_rows_without_per_page(world: World) -> None:
    """Of 501 connections the first answer has 500 and tells where the last one is."""
    [first] = await fill(world, "number 0")
    columns = (
        "account_uuid, provider, client_id, label, label_key, status, updated_at, scopes, generation, token_type,"
        " refreshable, sealed_tokens, failures, must_act, lease_fence"
    )
    await world.services.database.execute(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500)"
        f" INSERT INTO connections (uuid, created_at, {columns})"
        f" SELECT printf('00000000-0000-4000-8000-%012d', n), created_at + n, {columns}"
        f" FROM numbers JOIN connections WHERE uuid = '{first}'"
    )
    document = await page(world)
    assert len(document["data"]) == 500
    assert list(document) == ["data", "links", "meta"]
    assert document["meta"]["per_page"] == 500
    rest = (await world.client.get(document["links"]["next"])).json()
    assert [row["uuid"] for row in rest["data"]] == ["00000000-0000-4000-8000-000000000500"]


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "updated_at", "-updated_at", "label", "-label"])
async def test_a_walk_sees_each_row_once(either_world: World, sort: str) -> None:
    """In every order and whatever the page's size, also where all rows are equal in what they are sorted by."""
    names = [f"name {number % 3}" for number in range(7)]
    uuids = await fill(either_world, *names, same_instant=True)
    whole = [row["uuid"] for row in (await page(either_world, sort=sort))["data"]]
    assert sorted(whole) == sorted(uuids)
    for per_page in (1, 2, 3, 7):
        document = await page(either_world, sort=sort, per_page=per_page)
        seen = [row["uuid"] for row in document["data"]]
        while url := document["links"]["next"]:
            document = (await either_world.client.get(url)).json()
            seen += [row["uuid"] for row in document["data"]]
        assert seen == whole


async def test_a_walk_is_stable_under_changes(either_world: World) -> None:
    """What is added or removed during a walk neither repeats nor hides a row that was there all the time."""
    world = either_world
    uuids = await fill(world, *"abcdef")
    document = await page(world, per_page=2)
    assert [row["label"] for row in document["data"]] == ["a", "b"]
    await add_connection(world, "before", created_at=EPOCH - SECOND)
    await add_connection(world, "after", created_at=EPOCH + 60 * SECOND)
    for gone in (uuids[1], uuids[2]):  # the row that the cursor stands on, and the one behind it
        assert (await world.client.delete(f"{INDEX}/{gone}")).status_code == 204
    found = []
    while url := document["links"]["next"]:
        document = (await world.client.get(url)).json()
        found += [row["label"] for row in document["data"]]
    assert found == ["d", "e", "f", "after"]


async def test_next_keeps_the_question(either_world: World) -> None:
    """Following `links.next` keeps filters, order and `include`."""
    await fill(either_world, "Öl 1", "Gas", "öl 2", "ÖL 3")
    asked = {"filter[label]": "ÖL", "sort": "-label", "include": "status,health", "per_page": 1}
    document = await page(either_world, **asked)
    found = list(document["data"])
    while url := document["links"]["next"]:
        document = (await either_world.client.get(url)).json()
        found += document["data"]
    assert [row["label"] for row in found] == ["ÖL 3", "öl 2", "Öl 1"]
    assert all({"status", "health"} <= set(row) for row in found)


async def test_orders(either_world: World) -> None:
    """Oldest first unless told otherwise; labels by code point without regard to capitals, on both engines."""
    world = either_world
    uuids = await fill(world, "b", "Z", "a", "Ä", "_", "ß", "SS!")
    world.clock.advance(3600)
    assert (await world.client.put(f"{INDEX}/{uuids[0]}", json={"label": "B"})).status_code == 200
    oldest = ["B", "Z", "a", "Ä", "_", "ß", "SS!"]
    assert await labels(world) == await labels(world, sort="created_at") == oldest
    assert await labels(world, sort="-created_at") == oldest[::-1]
    assert (await labels(world, sort="-updated_at"))[0] == "B"
    assert (await labels(world, sort="updated_at"))[-1] == "B"
    by_label = ["_", "a", "B", "ß", "SS!", "Z", "Ä"]
    assert await labels(world, sort="label") == by_label
    assert await labels(world, sort="-label") == by_label[::-1]
    assert await walk(world, sort="label", per_page=2) == by_label


async def test_filter_by_label(either_world: World) -> None:
    """Part of a label is enough, capitals do not matter, and no character is a wildcard."""
    await fill(either_world, "Savings 100%", "savings_old", "Straße", "C:\\x!", "Ελλάς")
    for asked, found in (
        ("SAVINGS", ["Savings 100%", "savings_old"]),
        ("%", ["Savings 100%"]),
        ("_", ["savings_old"]),
        ("!", ["C:\\x!"]),
        ("\\", ["C:\\x!"]),
        ("STRASSE", ["Straße"]),
        ("ελλάσ", ["Ελλάς"]),
        ("' OR 1=1 --", []),
        ("nothing", []),
    ):
        assert await labels(either_world, **{"filter[label]": asked}) == found, asked


async def test_filter_with_unencoded_letters(world: World) -> None:
    """A client that sends UTF-8 without percent-encoding finds the same."""
    await fill(world, "Öl")
    encoded = await world.client.get(f"{PUBLIC_URL}{INDEX}?filter%5Blabel%5D=%C3%B6l")
    assert [row["label"] for row in encoded.json()["data"]] == ["Öl"]
    raw = await raw_call(world.application, INDEX, query="filter[label]=öl".encode(), headers=[bearer(world.token)])
    assert raw.body == encoded.content


async def test_other_filters(either_world: World) -> None:
    """By UUID, provider and status; several filters must all fit."""
    world = either_world
    first, second = await fill(world, "one", "two")
    await add_connection(world, "three", provider="fundment")
    await fail(world, second)
    for asked, found in (
        ({"uuid": first}, ["one"]),
        ({"uuid": first.upper()}, ["one"]),
        ({"uuid": "00000000-0000-4000-8000-000000000000"}, []),
        ({"provider": "fundment"}, ["three"]),
        ({"provider": "FUNDMENT"}, []),
        ({"provider": "nobody"}, []),
        ({"status": "failing"}, ["two"]),
        ({"status": "active"}, ["three", "one"]),
        ({"status": "revoked"}, []),
        ({"provider": "demo", "status": "active", "label": "O"}, ["one"]),
    ):
        query = {f"filter[{name}]": value for name, value in asked.items()}
        assert sorted(await labels(world, **query)) == sorted(found), asked


async def fail(world: World, connection_uuid: str) -> None:
    """The provider did not answer the last refresh of that connection."""
    store, now = world.services.refreshes, world.clock.now()
    claim = await store.claim(connection_uuid, 1, "test", now, now + SECOND)
    assert claim is not None
    reason = ProviderUnavailable("the provider did not answer: timeout").message
    await store.save_failure(claim, Status.FAILING, MustAct.NOBODY, reason, now + SECOND, now)


async def test_what_include_tells(either_world: World) -> None:
    """Status, scopes, identity and health of a connection that fares well and of one that does not."""
    world = either_world
    good = await world.connect()
    bad = await add_connection(world, "bad")
    await fail(world, bad.uuid)
    shown = {row["uuid"]: row for row in (await page(world, include="status,scopes,identity,health"))["data"]}
    assert shown[good.uuid]["status"] == "active"
    assert shown[good.uuid]["scopes"] == ["profile", "email", "accounts.read"]
    assert shown[good.uuid]["identity"] == {"subject": "ada-lovelace", "label": "Ada Lovelace"}
    health = shown[good.uuid]["health"]
    assert health["generation"] == 1
    assert health["refreshed_at"] == "2026-01-16T13:10:23.951021Z"
    assert (health["failures"], health["failure"], health["must_act"]) == (0, None, "nobody")
    assert shown[bad.uuid]["status"] == "failing"
    assert shown[bad.uuid]["identity"] == {"subject": None, "label": None}
    assert shown[bad.uuid]["health"] == {
        "generation": 1,
        "refreshable": True,
        "refreshed_at": "2026-01-16T13:10:23.951021Z",
        "next_refresh_at": "2026-01-16T13:10:24.951021Z",
        "failures": 1,
        "failure": "the provider did not answer: timeout",
        "must_act": "nobody",
    }


async def test_others_connections_are_in_no_list(either_world: World) -> None:
    """Whatever is filtered, paged or sorted, another account's connections stay unseen."""
    login, eve = await other_client(either_world)
    mine = await add_connection(either_world, "mine")
    theirs = await add_connection(either_world, "theirs", login=login)
    cursor = (await page(either_world, per_page=1))["meta"]["next_cursor"]
    assert cursor is None
    for query in (
        {},
        {"filter[uuid]": mine.uuid},
        {"filter[label]": "e"},
        {"filter[provider]": "demo", "sort": "label"},
        {"per_page": 1},
    ):
        rows = (await eve.get(INDEX, params=query)).json()["data"]
        assert {row["uuid"] for row in rows} <= {theirs.uuid}
    # A cursor of one account, used in another, is a place in that other account's list and no more.
    await add_connection(either_world, "later", created_at=either_world.clock.now() + SECOND)
    cursor = (await page(either_world, per_page=1))["meta"]["next_cursor"]
    rows = (await eve.get(INDEX, params={"cursor": cursor})).json()["data"]
    assert {row["uuid"] for row in rows} <= {theirs.uuid}


async def test_logins_and_providers_come_in_pages_too(world: World) -> None:
    """`per_page` cuts them, the cursor leads on, and the last page says that it is the last."""
    for number in range(3):
        account = await world.services.people.add_account(f"00000000-0000-4000-8000-00000000000{number}", "A", 1)
        await world.services.people.add_login(
            f"10000000-0000-4000-8000-00000000000{number}", world.login.user.uuid, account.uuid, number
        )
    for path, total in (("/api/v1/logins", 4), ("/api/v1/oauth/providers", 1)):
        everything = (await world.client.get(path)).json()
        assert list(everything) == ["data"]
        assert len(everything["data"]) == total
        seen, url = [], f"{path}?per_page=1"
        while url:
            page = (await world.client.get(url)).json()
            assert len(page["data"]) == page["meta"]["per_page"] == 1
            seen += page["data"]
            url = page["links"]["next"]
        assert seen == everything["data"]
        for query in ("per_page=0", "per_page=501", "per_page=x", "cursor=nonsense"):
            assert (await world.client.get(f"{path}?{query}")).status_code == 422
