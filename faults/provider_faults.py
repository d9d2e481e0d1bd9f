"""A provider on its bad days: each fault in a fifth of its answers, and one provider that is down."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable

from faults.examine import examine
from faults.gateway import Fault
from faults.ground import Ground
from faults.report import Row
from grantkeeper.schedule import retry_delay
from grantkeeper.testing import hostile
from grantkeeper.testing.hostile import Answer

CONNECTIONS = 5
"""At each provider."""
LIFETIME = 5
DOWN = "down"

REFUSED: dict[str, Callable[[], Answer]] = {
    "http-500": lambda: hostile.html(status=500),
    "http-502": lambda: hostile.html(status=502),
    "http-503": lambda: hostile.response(b"", status=503, headers={"retry-after": "1"}),
    "http-429": lambda: hostile.response(b"", status=429, headers={"retry-after": "1"}),
    "http-400-page": lambda: hostile.html(status=400),
    "http-403-page": lambda: hostile.html(status=403),
    "page": hostile.html,
    "empty": hostile.empty,
    "no-object": lambda: hostile.json_body([1, 2, 3]),
    "no-token": lambda: hostile.json_body({"token_type": "Bearer"}),
    "later": lambda: hostile.json_body({"error": "temporarily_unavailable"}, status=400),
    "later-200": lambda: hostile.json_body({"error": "server_error"}),
    "hang-up": hostile.hang_up,
    "reset": hostile.reset,
    "cut": hostile.cut,
    "never": hostile.never,
    "drip": hostile.drip,
    "too-big": lambda: hostile.big(2 * 1024 * 1024),
    "invalid-client": lambda: hostile.json_body({"error": "invalid_client"}, status=401),
}
"""Answers of a provider that did not do what it was asked."""

SPENT: dict[str, Callable[[], Answer]] = {
    "spent-500": lambda: hostile.html(status=500),
    "spent-page": hostile.html,
    "spent-hang-up": hostile.hang_up,
    "spent-reset": hostile.reset,
    "spent-cut": hostile.cut,
    "spent-never": hostile.never,
}
"""Answers of one that did: the refresh token is spent, and what came for it is lost. Only grace mends that."""


def kinds(mode: str) -> dict[str, Callable[[], Answer]]:
    """The faults that no grant needs to die of at a provider of that mode."""
    return SPENT if mode == "grace" else REFUSED


async def run(ground: Ground, row: Row, seconds: float) -> Row:
    """Let all providers misbehave at once, each in its own way; then they are well again."""
    faults = {kind: Fault(answer, commit=ground.mode == "grace") for kind, answer in kinds(ground.mode).items()}
    down = Fault(lambda: hostile.html(status=503), share=1.0)
    ground.gateway.faults = {**faults, DOWN: down} if DOWN in ground.kinds else dict(faults)
    for kind in ground.kinds:
        await ground.seed(CONNECTIONS, kind)
    # Some answers never come: they must not take the places of the others.
    await ground.start(row.processes, WORKER_CONCURRENCY="32")
    await asyncio.sleep(seconds)
    condemned = await ground.lost()
    row.figures += await _while_down(ground, row, seconds)
    ground.gateway.faults = {}
    stuck = await ground.settle()
    row.broken += await ground.stop()
    (await examine(ground, stuck)).fill(row)
    row.refreshes = ground.ledger.refreshes
    row.events = f"{sum(fault.made for fault in faults.values()):,} bad answers of {len(faults)} kinds"
    row.figures.insert(0, f"wrongly condemned {len(condemned)}")
    if unused := [kind for kind, fault in faults.items() if not fault.made]:
        row.broken.append(f"never happened: {', '.join(unused)}")
    return row


async def _while_down(ground: Ground, row: Row, seconds: float) -> list[str]:
    """Requests for each connection at the provider that was down, and what the backoff allows."""
    if DOWN not in ground.kinds:
        return []
    rows = await ground.ask("SELECT uuid FROM connections WHERE provider = 'down'")
    arrivals = defaultdict(list)
    for spending in ground.ledger.spendings:
        arrivals[spending.family].append(spending.arrived)
    asked = [arrivals[found[0]] for found in rows]
    counts = [len(times) for times in asked]
    pauses = [later - earlier for times in asked for earlier, later in itertools.pairwise(times)]
    allowed = most_requests(seconds)
    if max(counts) > allowed:
        row.broken.append(f"{max(counts)} requests for one connection while down, the backoff allows {allowed}")
    shortest = f"{min(pauses) / 1e6:.1f} s" if pauses else "none"
    return [
        f"while down {seconds:g} s: {min(counts)} to {max(counts)} requests for each connection "
        f"(the backoff allows {allowed}), shortest pause {shortest}"
    ]


def most_requests(seconds: float) -> int:
    """Requests that the least pauses of the backoff leave room for."""
    at, asked = 0, 0
    while at <= seconds * 1_000_000:
        at += retry_delay(asked, 0.0)
        asked += 1
    return asked
