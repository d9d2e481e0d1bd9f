"""Refreshing, as the database sees it: leases, what a refresh stores, providers' states, history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from grantkeeper.clock import MINUTE, SECOND, Instant
from grantkeeper.model import (
    Blocked,
    Claim,
    Connection,
    Grant,
    Lease,
    MustAct,
    Record,
    Refresh,
    Status,
    TokenSet,
)
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.storage.connections import MUST_ACT, ConnectionStore, connection_of
from grantkeeper.storage.database import Database, Row, Statements
from grantkeeper.storage.inspection import timeline_of
from grantkeeper.storage.vault import Vault

_AHEAD = 10 * SECOND
"""A provider's rate limit may be used this far ahead, so that what is due can be claimed in batches."""

Saved = Literal["refreshed", "reconciled", "known", "superseded", "gone"]
"""What became of a token set. `refreshed`: it is the next generation. `reconciled`: kept, current or previous,
beside another that was stored meanwhile. `known`: stored before. `superseded`: not kept, as the grant it belongs
to has been replaced or has gone on. `gone`: the connection is."""


class Given(Record, frozen=True):
    """What a provider gave, and when it was asked: its identity, and its place among the others of a connection."""

    grant: Grant
    asked_at: Instant


class ProviderDue(Record, frozen=True):
    """When the earliest connection of a provider falls due, and until when the provider is blocked."""

    provider: str
    due_at: Instant | None
    blocked_until: Instant | None


class ProviderState(Record, frozen=True):
    """What is known of a provider beside its definition; `blocked_at` None: it is refreshed as usual."""

    provider: str
    blocked_at: Instant | None
    blocked_until: Instant | None
    probes: int
    reason: str | None
    must_act: MustAct


class Footing(Record, frozen=True):
    """What the engine knows of a connection beside what every reader sees.

    `unsettled_at`: an attempt ended without word, so that its outcome is unknown. `previous_issued_at`: since when
    the previous token set dates, where one is kept; `previous_spare`: it is not known to have been spent. `used_at`:
    when a token was last read, give or take a day.
    """

    unsettled_at: Instant | None
    unsettled_owner: str | None
    previous_issued_at: Instant | None
    previous_spare: bool
    used_at: Instant


class RefreshStore:
    """Leases on connections, and what comes of them. Tokens are sealed on the way in."""

    def __init__(self, database: Database, vault: Vault, connections: ConnectionStore) -> None:
        self._database = database
        self._vault = vault
        self._connections = connections

    @property
    def interruptions(self) -> int:
        """How often the database was lost so far; one that came back may be a copy that lacks the last moments."""
        return self._database.interruptions

    async def timeline(self) -> str | None:
        """What changes when such a copy has taken over."""
        return await timeline_of(self._database)

    async def claim(
        self, connection_uuid: str, generation: int, owner: str, now: Instant, until: Instant
    ) -> Claim | None:
        """The lease of one connection, if it is free and nobody has refreshed it since that generation."""
        return await _claim_one(self._database, connection_uuid, generation, owner, now, until)

    async def claim_within(
        self, policy: RefreshPolicy, connection: Connection, owner: str, now: Instant, until: Instant
    ) -> Claim | Blocked | None:
        """The same within what its provider may be asked; None also where there is no room at the moment."""
        async with self._database.transaction() as statements:
            room = await _room(statements, connection.provider, policy.concurrency, policy, now)
            if isinstance(room, Blocked):
                return room
            if room.places < 1:
                return None
            claim = await _claim_one(statements, connection.uuid, connection.generation, owner, now, until)
            if claim is None:
                return None
            await _use(statements, connection.provider, room, 1, policy, now, until)
        return msgspec.structs.replace(claim, probes=room.probes)

    async def claim_due(
        self, provider: str, policy: RefreshPolicy, owner: str, now: Instant, until: Instant, most: int
    ) -> list[Claim]:
        """The leases of up to `most` connections of a provider that are due, those due longest first.

        A quarter of what the provider may be asked at one time is left to readers.
        """
        async with self._database.transaction() as statements:
            share = policy.concurrency - policy.concurrency // 4
            room = await _room(statements, provider, share, policy, now)
            if isinstance(room, Blocked) or room.places < 1:
                return []
            rows = await statements.fetch_all(
                "claim_due", provider=provider, owner=owner, now=now, until=until, most=min(most, room.places)
            )
            if rows:
                await _use(statements, provider, room, len(rows), policy, now, until)
        claims = [_claim(row, owner, until, probes=room.probes) for row in rows]
        # RETURNING promises no order.
        return sorted(claims, key=lambda claim: claim.connection.next_refresh_at or 0)

    async def provider_dues(self) -> list[ProviderDue]:
        """Every provider that has connections. Costs an index look-up for each provider."""
        return [
            ProviderDue(provider=row[0], due_at=row[1], blocked_until=row[2])
            for row in await self._database.fetch_all("list_provider_dues")
        ]

    async def count_due(self, provider: str, now: Instant) -> int:
        """How many connections of a provider are due. Costs their number."""
        row = await self._database.fetch_one("count_due", provider=provider, now=now)
        return row[0] if row else 0

    async def renew_lease(self, lease: Lease, until: Instant) -> bool:
        """False where the lease is no longer ours."""
        return (
            await self._database.execute(
                "renew_lease", uuid=lease.connection_uuid, owner=lease.owner, fence=lease.fence, until=until
            )
            == 1
        )

    async def release_lease(self, lease: Lease) -> None:
        """Give the lease back unused; nothing where it is no longer ours."""
        await self._database.execute("release_lease", uuid=lease.connection_uuid, owner=lease.owner, fence=lease.fence)

    async def begin_asking(self, lease: Lease) -> bool:
        """Wait for no earlier attempt any more; False where the lease is no longer ours."""
        uuid, owner, fence = lease.connection_uuid, lease.owner, lease.fence
        return await self._database.execute("begin_asking", uuid=uuid, owner=owner, fence=fence) == 1

    async def waited_for(self, uuid: str) -> str | None:
        """The owner of an earlier attempt that may yet be answered."""
        row = await self._database.fetch_one("get_unsettled_owner", uuid=uuid)
        return row[0] if row else None

    async def waits_for(self, owner: str) -> list[str]:
        """The connections for whose refresh somebody waits for that owner."""
        return [row[0] for row in await self._database.fetch_all("list_waited_for", owner=owner)]

    async def stand_down(self, uuid: str, owner: str) -> None:
        """Nothing more will come of that owner's attempt."""
        await self._database.execute("stand_down", uuid=uuid, owner=owner)

    async def lapse_leases(self, owner: str, now: Instant) -> int:
        """End the leases of an owner that is known to be dead; answers how many. Their outcome stays unknown."""
        return await self._database.execute("lapse_leases", owner=owner, now=now)

    async def save_refresh(self, claim: Claim, given: Given, next_refresh_at: Instant | None, now: Instant) -> Saved:
        """The next generation, and the end of the lease. What lost its fence is reconciled."""
        connection = claim.connection
        values = await self._values(connection.account_uuid, connection.uuid, given, next_refresh_at, now)
        row = await self._database.fetch_one(
            "save_refresh",
            owner=claim.lease.owner,
            fence=claim.lease.fence,
            generation=connection.generation,
            **values,
        )
        if row:
            return "refreshed"
        saved = await self._reconcile(connection.generation, values)
        # It may be ours still: a late refresh of another moves the generation, not the lease.
        await self.release_lease(claim.lease)
        return saved

    async def reconcile(
        self, account_uuid: str, uuid: str, generation: int, given: Given, next_refresh_at: Instant | None, now: Instant
    ) -> Saved:
        """Keep a grant that was given for `generation`, whoever has the lease now: the newest is current.

        Newest is what was asked for last; the other is kept as the previous one. Safe to repeat.
        """
        return await self._reconcile(generation, await self._values(account_uuid, uuid, given, next_refresh_at, now))

    async def _reconcile(self, generation: int, values: dict[str, Any]) -> Saved:
        # Each statement is atomic and asks for all it relies on, so that rivals may stand between them.
        if await self._database.fetch_one("reconcile_as_next", generation=generation, **values):
            return "refreshed"
        for way in ("reconcile_as_newest", "reconcile_as_previous"):
            if await self._database.fetch_one(way, generation=generation, **values):
                return "reconciled"
        row = await self._database.fetch_one("get_issued_at", uuid=values["uuid"])
        if row is None:
            return "gone"
        return "known" if values["issued_at"] in (row[0], row[1]) else "superseded"

    async def issued_at(self, uuid: str) -> Instant | None:
        """When the stored token set was asked for; None where the connection is gone."""
        row = await self._database.fetch_one("get_issued_at", uuid=uuid)
        return row[0] if row else None

    async def footing(self, uuid: str) -> Footing | None:
        """How a connection stands with the engine, for the operator; None where it is gone."""
        row = await self._database.fetch_one("get_footing", uuid=uuid)
        if row is None:
            return None
        return Footing(
            unsettled_at=row[0],
            unsettled_owner=row[1],
            previous_issued_at=row[2],
            previous_spare=bool(row[3]),
            used_at=row[4],
        )

    async def save_failure(
        self,
        claim: Claim,
        status: Status,
        must_act: MustAct,
        failure: str,
        next_refresh_at: Instant | None,
        now: Instant,
        *,
        unsettled: bool = False,
        line: Refresh | None = None,
    ) -> Connection | None:
        """A refresh that failed; None where the lease or the generation is no longer the claim's.

        `unsettled`: the provider may have spent the refresh token all the same. `line` is what history tells of
        it, written with it or not at all.
        """
        values = {
            "uuid": claim.connection.uuid,
            "owner": claim.lease.owner,
            "fence": claim.lease.fence,
            "generation": claim.connection.generation,
            "status": status.value,
            "must_act": must_act.value,
            "failure": failure,
            "next_refresh_at": next_refresh_at,
            "unsettled": int(unsettled),
            "now": now,
        }
        if line is None:
            row = await self._database.fetch_one("save_failure", **values)
        else:
            async with self._database.transaction() as statements:
                row = await statements.fetch_one("save_failure", **values)
                if row is not None:
                    await statements.execute("add_refresh", **msgspec.structs.asdict(line))
        return connection_of(row) if row else None

    async def mark_unsettled(self, claim: Claim, now: Instant) -> None:
        """The provider may have ended a grant that has been refreshed since that claim, and it was our doing."""
        uuid, generation = claim.connection.uuid, claim.connection.generation
        await self._database.execute("mark_unsettled", uuid=uuid, generation=generation, now=now)

    async def open_previous(self, claim: Claim) -> TokenSet | None:
        """The previous token set, or SealError; None where there is none."""
        if claim.sealed_previous is None:
            return None
        return await self._connections.open_tokens(claim.connection, claim.sealed_previous)

    async def block_provider(
        self, provider: str, until: Instant, reason: str, must_act: MustAct, now: Instant, *, probe: bool
    ) -> bool:
        """Leave a provider alone until `until`; False where it is blocked already and this was no probe."""
        changed = await self._database.execute(
            "block_provider",
            provider=provider,
            until=until,
            reason=reason,
            must_act=must_act.value,
            now=now,
            probe=int(probe),
        )
        return changed == 1

    async def unblock_provider(self, provider: str) -> bool:
        """It answers again; False where it was not blocked."""
        return await self._database.execute("unblock_provider", provider=provider) == 1

    async def probe_now(self, provider: str, now: Instant) -> bool:
        """Have the next refresh of a blocked provider try it at once; False where it waits for nothing."""
        return await self._database.execute("probe_provider_now", provider=provider, now=now) == 1

    async def provider_states(self) -> list[ProviderState]:
        """Every provider that was ever refreshed, by name."""
        return await read_provider_states(self._database)

    async def add_history(self, lines: Sequence[Refresh]) -> None:
        """Write lines of history, all or none."""
        await self._database.execute_many("add_refresh", [msgspec.structs.asdict(line) for line in lines])

    async def history(self, connection_uuid: str, limit: int) -> list[Refresh]:
        """The last refreshes of a connection, the newest first."""
        rows = await self._database.fetch_all("list_refreshes", connection_uuid=connection_uuid, limit=limit)
        return [
            Refresh(
                connection_uuid=row[0],
                account_uuid=row[1],
                provider=row[2],
                at=row[3],
                duration=row[4],
                outcome=row[5],
                generation=row[6],
                owner=row[7],
                must_act=MUST_ACT[row[8]],
                reason=row[9],
            )
            for row in rows
        ]

    async def purge_history(self, before: Instant, most: int = 5_000) -> None:
        """Forget refreshes that were tried before that, in statements of `most` lines: none holds others up."""
        while await self._database.execute("purge_refreshes", before=before, most=most) == most:
            pass

    async def touch(self, used: dict[str, Instant]) -> None:
        """Note when tokens of these connections were last read."""
        # In one order, so that two processes never wait for each other.
        await self._database.execute_many(
            "touch_connection", [{"uuid": uuid, "now": used[uuid]} for uuid in sorted(used)]
        )

    async def _values(
        self, account_uuid: str, uuid: str, given: Given, next_refresh_at: Instant | None, now: Instant
    ) -> dict[str, Any]:
        return {
            **await self._connections.token_values(account_uuid, uuid, given.grant.tokens),
            "uuid": uuid,
            "scopes": " ".join(given.grant.scopes),
            "issued_at": given.asked_at,
            "next_refresh_at": next_refresh_at,
            "now": now,
        }


async def read_provider_states(database: Statements) -> list[ProviderState]:
    """Every provider that was ever refreshed, by name; for who has the database, but not its keys."""
    return [
        ProviderState(
            provider=row[0],
            blocked_at=row[1],
            blocked_until=row[2],
            probes=row[3],
            reason=row[4],
            must_act=MUST_ACT[row[5]],
        )
        for row in await database.fetch_all("list_provider_states")
    ]


class _Room(Record, frozen=True):
    """How many refreshes a provider has room for.

    `slot_at` is where its rate limit stands; `probes` is set where the provider is blocked and one may try.
    """

    places: int
    slot_at: Instant
    probes: int | None


async def _room(
    statements: Statements, provider: str, concurrency: int, policy: RefreshPolicy, now: Instant
) -> _Room | Blocked:
    """What a provider may be asked now. Locks its state, so that no two processes give the same room away."""
    row = await statements.fetch_one("lock_provider", provider=provider)
    assert row is not None
    blocked_until, probes, reason, must_act, slot_at = row
    if blocked_until is not None and now < blocked_until:
        return Blocked(until=blocked_until, must_act=MUST_ACT[must_act], reason=reason or "", probes=probes)
    leased = await statements.fetch_one("count_leases", provider=provider, now=now)
    places = concurrency - (leased[0] if leased else 0)
    if policy.per_minute is not None:
        interval = MINUTE // policy.per_minute
        ahead = max(_AHEAD, interval)
        # Neither an idle hour nor a clock that once was wrong is carried along. What is just beyond may be a
        # replica's whose clock is ahead of ours: that one's slots count.
        slot_at = now if slot_at > now + ahead + MINUTE else max(slot_at, now)
        places = min(places, (now + ahead - slot_at) // interval)
    probe = blocked_until is not None
    return _Room(places=min(places, 1) if probe else places, slot_at=slot_at, probes=probes if probe else None)


async def _use(
    statements: Statements, provider: str, room: _Room, count: int, policy: RefreshPolicy, now: Instant, until: Instant
) -> None:
    """Take the room that claims have taken."""
    if policy.per_minute is not None:
        slot_at = room.slot_at + count * (MINUTE // policy.per_minute)
        await statements.execute("use_slots", provider=provider, next_slot_at=slot_at)
    if room.probes is not None:
        # Others wait for what this one finds out, but not longer than its lease.
        await statements.execute("begin_probe", provider=provider, until=until)


async def _claim_one(
    statements: Statements, uuid: str, generation: int, owner: str, now: Instant, until: Instant
) -> Claim | None:
    row = await statements.fetch_one("claim", uuid=uuid, generation=generation, owner=owner, now=now, until=until)
    return _claim(row, owner, until) if row else None


def _claim(row: Row, owner: str, until: Instant, *, probes: int | None = None) -> Claim:
    connection = connection_of(row)
    fence, sealed, previous, spare, unsettled_at, unsettled_owner, used_at, issued_at = row[22:30]
    return Claim(
        lease=Lease(connection_uuid=connection.uuid, owner=owner, fence=fence, expires_at=until),
        connection=connection,
        sealed_tokens=sealed,
        sealed_previous=previous,
        previous_spare=bool(spare),
        unsettled_at=unsettled_at,
        unsettled_owner=unsettled_owner,
        used_at=used_at,
        issued_at=issued_at,
        probes=probes,
    )
