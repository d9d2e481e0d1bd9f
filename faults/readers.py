"""Two hundred readers and four workers on fifty connections whose tokens keep running out."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field

from faults.examine import examine
from faults.ground import Ground
from faults.ledger import digest, instant
from faults.report import Row, percentile
from tests.support.process import free_port

LIFETIME = 7
"""Seconds; the product hears six, and refreshes after two or three."""
MIN_TTLS = (1, 1, 1, 2, 2, 4, 5)
"""Seconds that readers ask for: those who want five refresh before the workers do."""
PAUSE = 0.5
"""Seconds between two reads of one reader, in the mean."""


@dataclass
class Readings:
    """What the readers saw. Instants and times in microseconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    waits: list[int] = field(default_factory=list)
    """How long those took whose token was made after they had asked."""
    times: list[int] = field(default_factory=list)
    expired: int = 0
    broken: int = 0


async def run(ground: Ground, row: Row, *, seconds: float, readers: int, connections: int) -> Row:
    """Serve, read and refresh; every refresh token must come to the provider exactly once."""
    ground.gateway.delay = lambda: ground.rng.uniform(0.02, 0.1)
    uuids = await ground.seed(connections)
    ports = []
    for _ in range(row.processes):
        ports.append(free_port())
        await ground.start(command=("serve",), PORT=str(ports[-1]), WORKER="in-process")
    await ground.started()
    readings, end = Readings(), instant() + int(seconds * 1_000_000)
    await asyncio.gather(
        *(_reader(ground, ports[number % len(ports)], uuids, readings, end) for number in range(readers))
    )
    stuck = await ground.settle()
    row.broken += await ground.stop()
    findings = await examine(ground, stuck)
    findings.fill(row)
    presented = Counter(spending.token for spending in ground.ledger.spendings)
    # Nobody is killed here and no answer lost: a second request with a refresh token has no excuse.
    row.double = sum(count - 1 for count in presented.values())
    row.refreshes = ground.ledger.refreshes
    row.expired = readings.expired
    total = sum(readings.statuses.values())
    row.events = f"{total:,} reads in {seconds:g} s"
    others = {status: count for status, count in readings.statuses.items() if status != 200}
    row.figures.append(
        f"requests for each generation: {min(presented.values(), default=0)} to {max(presented.values(), default=0)}"
    )
    if readings.waits:
        row.figures.append(
            f"{len(readings.waits):,} readers had to wait: median {percentile(readings.waits, 0.5) / 1000:.0f} ms, "
            f"p99 {percentile(readings.waits, 0.99) / 1000:.0f} ms"
        )
    row.figures.append(f"p99 of all {percentile(readings.times, 0.99) / 1000:.0f} ms")
    if others or readings.broken:
        row.broken.append(f"answers that were no token: {others}, connections cut: {readings.broken}")
    return row


async def _reader(ground: Ground, port: int, uuids: list[str], readings: Readings, end: int) -> None:
    """One keep-alive connection that reads tokens, now of this connection, now of that."""
    rng = ground.rng
    await asyncio.sleep(rng.uniform(0, PAUSE))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while instant() < end:
            path = f"/api/v1/oauth/connections/{rng.choice(uuids)}/token?min_ttl={rng.choice(MIN_TTLS)}"
            began = instant()
            writer.write(f"GET {path} HTTP/1.1\r\nhost: lab\r\nauthorization: Bearer {ground.token}\r\n\r\n".encode())
            async with asyncio.timeout(30):
                status, body = await _answer(reader)
            _note(ground, readings, began, status, body)
            await asyncio.sleep(rng.uniform(0, 2 * PAUSE))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        readings.broken += 1
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def _note(ground: Ground, readings: Readings, began: int, status: int, body: bytes) -> None:
    now = instant()
    readings.statuses[status] += 1
    readings.times.append(now - began)
    if status != 200:
        return
    token = digest(json.loads(body)["access_token"])
    if ground.ledger.access_tokens[token] <= now:
        readings.expired += 1
    if ground.ledger.issued.get(token, 0) >= began:
        readings.waits.append(now - began)
