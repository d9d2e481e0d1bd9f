"""Personal access tokens: made, kept, used, ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from grantkeeper.access import TRUST, Access, new_api_token, well_formed
from grantkeeper.clock import DAY, SECOND, Instant
from grantkeeper.errors import Unauthenticated
from grantkeeper.model import ALL_SCOPES, PersonalAccessToken, Scope
from grantkeeper.storage.people import PeopleStore
from tests.api.builders import INDEX, TOKENS, UNKNOWN_UUID, client_of, client_with, other_client
from tests.support.world import PASSWORD, World

YEAR = 365 * DAY


async def create(world: World, client: httpx2.AsyncClient | None = None, **changes: Any) -> httpx2.Response:
    """Ask for a token; None leaves a member out."""
    body = {"name": "CI", "password": PASSWORD, "account_uuid": world.account_uuid} | changes
    kept = {name: value for name, value in body.items() if value is not None}
    return await (client or world.client).post(TOKENS, json=kept)


async def created(world: World, client: httpx2.AsyncClient | None = None, **changes: Any) -> dict[str, Any]:
    """A token that was made."""
    answer = await create(world, client, **changes)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def database_bytes(world: World) -> bytes:
    """Everything the database holds."""
    settings = world.services.settings
    if settings.database.startswith("sqlite:///"):
        file = Path(settings.database.removeprefix("sqlite:///"))
        return b"".join(path.read_bytes() for path in file.parent.glob(file.name + "*"))
    tables = await world.services.database.fetch_all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = b""
    for (table,) in tables:
        rows = await world.services.database.fetch_all(f"SELECT t::text FROM {table} t")
        found += "\n".join(row[0] for row in rows).encode()
    return found


async def test_shown_once_and_stored_hashed(either_world: World) -> None:
    """The database holds neither the token nor the password, in no spelling; and the token works."""
    document = await created(either_world, name="Nightly export")
    token = document["token"]
    assert (await client_of(either_world, token).get(INDEX)).status_code == 200
    stored = await database_bytes(either_world)
    assert b"Nightly export" in stored
    for secret in (token, token[3:43], either_world.token, PASSWORD):
        assert secret.encode() not in stored
        assert secret.encode().hex().encode() not in stored


async def test_what_is_missing(world: World) -> None:
    """Every missing or unusable member is named at once, before the password is looked at."""
    answer = await world.client.post(TOKENS)
    assert answer.status_code == 422
    assert answer.json()["errors"] == {
        "name": ["The name is required."],
        "password": ["The password is required."],
        "account_uuid": ["The account_uuid is required."],
    }
    wrong = {"name": 7, "password": ["x"], "account_uuid": None, "scopes": "admin", "expires_at": 0}
    answer = await world.client.post(TOKENS, json=wrong)
    assert set(answer.json()["errors"]) == {"name", "password", "account_uuid", "scopes", "expires_at"}


async def test_bad_names(either_world: World) -> None:
    """A name is like a label."""
    names: list[object] = ["", "  ", "x" * 256, "a\x00b", "a\nb", "\u202ex", 7, [], {}]
    for name in names:
        answer = await create(either_world, name=name)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["name"]), name
    assert (await created(either_world, name=" 😀 "))["name"] == "😀"


async def test_bad_accounts(either_world: World) -> None:
    """Only an account of the caller's: unknown, malformed and another's are told apart by nobody."""
    login, _ = await other_client(either_world)
    for account in (UNKNOWN_UUID, login.account.uuid, "x", "a\x00b", "\u0130"):
        answer = await create(either_world, account_uuid=account)
        assert answer.status_code == 422
        assert answer.json()["errors"] == {"account_uuid": ["You do not belong to such an account."]}
    assert (await create(either_world, account_uuid=either_world.account_uuid.upper())).status_code == 201


async def test_wrong_password(either_world: World) -> None:
    """422 on the field, as for a value that is wrong; nothing is made."""
    for password in ("wrong password", PASSWORD + " ", PASSWORD.upper(), "a\x00b", "x" * 5_000, "😀" * 300):
        answer = await create(either_world, password=password)
        assert answer.status_code == 422
        problem = "The password is wrong."
        assert answer.json() == {"message": problem, "errors": {"password": [problem]}}
    tokens = await either_world.services.people.list_tokens(either_world.login.user.uuid)
    assert [token.name for token in tokens] == ["test"]


async def test_too_many_passwords(either_world: World) -> None:
    """After ten tries in a quarter of an hour even the right password is 429, and `Retry-After` is honest."""
    world = either_world
    for _ in range(10):
        assert (await create(world, password="guess me if you can")).status_code == 422
    answer = await create(world)
    assert answer.status_code == 429
    wait = int(answer.headers["retry-after"])
    assert answer.json()["message"].startswith("Too many sign-in attempts for this address.")
    assert 0 < wait <= 15 * 60
    world.clock.advance(wait)
    assert (await create(world)).status_code == 201


async def test_scopes(world: World) -> None:
    """The scopes that were asked for, or all of the asker's; never more than the asker has."""
    few = (Scope.ADMIN, Scope.CONNECTIONS_READ)
    asker = await client_with(world, *few)
    assert (await created(world, asker))["scopes"] == ["admin", "connections:read"]
    document = await created(world, asker, scopes=["connections:read", "connections:read"])
    assert document["scopes"] == ["connections:read"]
    reader = client_of(world, document["token"])
    assert (await reader.get(INDEX)).status_code == 200
    assert (await create(world, reader)).status_code == 403
    for scopes in (["tokens:read"], ["admin", "connections:write"]):
        answer = await create(world, asker, scopes=scopes)
        assert answer.json()["errors"] == {"scopes": ["A token cannot have scopes that the token asking for it lacks."]}
    wrong: list[object] = [[], ["*"], ["ADMIN"], ["admin "], [None], [["admin"]], [{}], "admin", {"admin": 1}, 7]
    for bad in wrong:
        answer = await create(world, scopes=bad)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["scopes"]), bad


@pytest.mark.parametrize(
    ("asked", "expires_at"),
    [
        ("2026-01-16T13:10:23.951022Z", "2026-01-16T13:10:23.951022Z"),
        ("2026-06-30T12:00:00+02:00", "2026-06-30T10:00:00.000000Z"),
        ("2031-07-05T04:03:02.100001-11:30", "2031-07-05T15:33:02.100001Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
async def test_expiry_that_was_asked_for(world: World, asked: str, expires_at: str) -> None:
    """To the microsecond, whatever the offset, to the end of the calendar."""
    assert (await created(world, expires_at=asked))["expires_at"] == expires_at


async def test_bad_expiries(world: World) -> None:
    """Past, now, without an offset, beyond the calendar or no time at all: 422."""
    wrong: list[object] = [
        "2026-01-16T13:10:23.951021Z",
        "1969-12-31T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "2027-01-01T00:00:00",
        "2027-01-01",
        "2027-13-01T00:00:00Z",
        "2027-02-29T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "tomorrow",
        "",
        "\x00",
        "\uff12\uff10\uff12\uff17-01-01T00:00:00Z",
        1_800_000_000,
        10**400,
        True,
        [],
    ]
    for expires_at in wrong:
        answer = await create(world, expires_at=expires_at)
        assert answer.status_code == 422, expires_at
        assert answer.json()["errors"] == {
            "expires_at": ["expires_at must be an ISO 8601 time with an offset, in the future."]
        }
    tokens = await world.services.people.list_tokens(world.login.user.uuid)
    assert len(tokens) == 1, "a refusal makes no token"


async def test_it_expires_by_the_clock(either_world: World) -> None:
    """Good until its last microsecond, also for a token that was just found good; then 401."""
    world = either_world
    token = (await created(world, expires_at="2026-01-16T13:10:25.951021Z"))["token"]
    client = client_of(world, token)
    world.clock.advance(1.999999)
    assert (await client.get(INDEX)).status_code == 200
    world.clock.advance(0.000001)
    assert (await client.get(INDEX)).status_code == 401
    world.clock.advance(60)
    assert (await client.get(INDEX)).status_code == 401


async def test_it_lasts_a_year(world: World) -> None:
    """A year, and no longer."""
    client = client_of(world, (await created(world))["token"])
    world.clock.advance(YEAR / SECOND - 1)
    assert (await client.get(INDEX)).status_code == 200
    world.clock.advance(1)
    assert (await client.get(INDEX)).status_code == 401


def test_well_formed() -> None:
    """The checksum finds each wrong character and each swap of neighbours; two tokens are never the same."""
    token = new_api_token()
    assert well_formed(token)
    assert (len(token), token[:3]) == (49, "gk_")
    assert len({new_api_token() for _ in range(100)}) == 100
    for at in range(len(token)):
        wrong = token[:at] + ("a" if token[at] != "a" else "b") + token[at + 1 :]
        assert not well_formed(wrong)
        swapped = token[:at] + token[at : at + 2][::-1] + token[at + 2 :]
        assert swapped == token or not well_formed(swapped)
    for other in ("", "gk_", token[3:], token + "0", token[:-1], f" {token}", token.upper(), "gk_" + "é" * 46):
        assert not well_formed(other)


async def test_a_mistyped_token_costs_no_look_up(world: World) -> None:
    """It is 401 even while the database is away, when a token that could be one is 503."""
    await world.services.database.close()
    mistyped = world.token[:-1] + ("a" if world.token[-1] != "a" else "b")
    assert (await client_of(world, mistyped).get(INDEX)).status_code == 401
    answer = await client_of(world, new_api_token()).get(INDEX)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


async def test_revocation_is_immediate(either_world: World) -> None:
    """In the process that revoked it a token that was just found good is 401 at once."""
    world = either_world
    document = await created(world)
    client = client_of(world, document["token"])
    assert (await client.get(INDEX)).status_code == 200
    assert await world.services.access.revoke_token(document["uuid"])
    assert (await client.get(INDEX)).status_code == 401
    assert not await world.services.access.revoke_token(document["uuid"]), "it is dead already"
    assert (await world.client.get(INDEX)).status_code == 200, "others live on"


class SlowPeople(PeopleStore):
    """The real store, but what was read of a token is held up until `go` is set."""

    def __init__(self, people: PeopleStore) -> None:
        super().__init__(people._database, people._vault)
        self.read, self.go = asyncio.Event(), asyncio.Event()

    async def get_live_token(self, token_hash: bytes, now: Instant) -> PersonalAccessToken | None:
        found = await super().get_live_token(token_hash, now)
        self.read.set()
        await self.go.wait()
        return found


async def test_revocation_during_a_look_up(world: World) -> None:
    """A token that is revoked while it is being looked up is not trusted for a second more."""
    document = await created(world)
    people = SlowPeople(world.services.people)
    access = Access(people, world.clock, 500)
    header = f"Bearer {document['token']}"
    under_way = asyncio.create_task(access.authenticate(header))
    await people.read.wait()
    assert await access.revoke_token(document["uuid"])
    people.go.set()
    assert (await under_way).token_uuid == document["uuid"], "it was good when it was asked"
    with pytest.raises(Unauthenticated):
        await access.authenticate(header)


async def test_revocation_elsewhere(either_world: World) -> None:
    """What another process revokes is good here no longer than the second for which a token is trusted."""
    world = either_world
    document = await created(world)
    client = client_of(world, document["token"])
    assert (await client.get(INDEX)).status_code == 200
    # As another process does it: straight in the database, past this process's memory.
    await world.services.people.revoke_token(document["uuid"], world.clock.now())
    world.clock.advance(TRUST)
    assert (await client.get(INDEX)).status_code == 200
    world.clock.advance(0.001)
    assert (await client.get(INDEX)).status_code == 401


async def test_a_deleted_user(either_world: World) -> None:
    """Every token of a user who is deleted ends with the user."""
    world = either_world
    login, client = await other_client(world)
    assert (await client.get(INDEX)).status_code == 200
    await world.services.people.delete_user(login.user.uuid, world.clock.now())
    world.clock.advance(TRUST + 0.001)
    assert (await client.get(INDEX)).status_code == 401
    assert (await world.client.get(INDEX)).status_code == 200


async def last_use(world: World) -> Instant | None:
    """When the world's token was last used, as far as the database knows."""
    [token] = await world.services.people.list_tokens(world.login.user.uuid)
    return token.last_used_at


async def test_last_use(either_world: World) -> None:
    """Recorded within a second, outside the request, and never set back."""
    world = either_world
    assert await last_use(world) is None
    await world.client.get(INDEX)
    await world.services.access.settle()
    first = world.clock.now()
    assert await last_use(world) == first
    world.clock.advance(5)
    await world.services.access.settle()
    assert await last_use(world) == first, "nothing was asked since"
    await client_of(world, world.token).get(f"{INDEX}/{UNKNOWN_UUID}")
    await world.services.access.settle()
    assert await last_use(world) == first + 5 * SECOND, "a refused call is a use, too"
    [token] = await world.services.people.list_tokens(world.login.user.uuid)
    await world.services.people.touch_tokens([(token.uuid, first)])
    assert await last_use(world) == first + 5 * SECOND


async def test_it_is_the_askers(world: World) -> None:
    """Whose address it is: the caller's own, whatever else the body says."""
    login, eve = await other_client(world)
    body = {"name": "x", "password": PASSWORD, "account_uuid": login.account.uuid, "email": "ada@example.com"}
    answer = await eve.post(TOKENS, json=body)
    assert answer.status_code == 201
    [made] = [t for t in await world.services.people.list_tokens(login.user.uuid) if t.name == "x"]
    assert (made.user_uuid, made.scopes) == (login.user.uuid, ALL_SCOPES)
