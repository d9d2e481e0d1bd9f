"""What was lost, why, and who spent what twice: the provider's book held against what the product kept and said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from faults.ground import TIMEOUT, Ground
from faults.ledger import Spending
from faults.processes import Child
from faults.report import Row, spread

JOURNALLED = "refresh.journalled"


@dataclass
class Findings:
    """The result of one ground.

    `windows`: microseconds from just before the provider's commit to our journal's fsync, for each answer that
    was journalled; `own`: the part of it since the answer's last byte had been sent. `gaps`: from the commit to
    the kill, for each connection that was lost to one; negative where the request was still on its way, of which
    there were `on_the_way`. `again`: from a request whose answer nobody can have to the next with its refresh token.
    """

    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    on_the_way: int = 0

    def window(self) -> str:
        """How long a grant is at the mercy of one process."""
        return f"commit to journal: {spread(self.windows, 'µs')}; since the answer was sent: {spread(self.own, 'µs')}"

    def fill(self, row: Row) -> None:
        """Put the counts into a row."""
        row.lost = len(self.lost)
        row.unexplained = len(self.unexplained)
        row.double = len(self.double)
        if self.stuck:
            row.broken.append(f"{len(self.stuck)} connections stand still, such as {self.stuck[0]}")
        row.broken += [f"unexplained: {words}" for words in self.unexplained[:3]]
        row.broken += [f"double spend: {words}" for words in self.double[:3]]


async def examine(ground: Ground, stuck: list[str]) -> Findings:
    """Everything there is to say once a case has settled; `stuck` are the connections that did not."""
    findings = Findings(stuck=stuck)
    journalled = _journalled(ground, findings)
    children = {child.serial: child for child in ground.forked}
    lost, told = await ground.lost(), await ground.told()
    for connection, failure in lost.items():
        findings.lost.append(connection)
        head = _head(ground, connection)
        reason = _excuse(head, children, journalled) if head else None
        outcomes = [outcome for outcome, _ in told.get(connection, [])]
        short = connection[:8]
        if head is None or reason is None:
            findings.unexplained.append(f"{short} lost without a cause that the provider's book knows ({failure})")
        elif "lost" not in outcomes or not failure:
            findings.unexplained.append(f"{short} lost ({reason}), but its history says {outcomes[-1:]} ({failure})")
        elif head.committed is not None and (killed := children[head.serial].killed_at) is not None:
            findings.gaps.append(killed - head.committed)
            findings.on_the_way += killed < head.committed
    for earlier, later in ground.ledger.presented_again():
        ago = later.arrived - earlier.arrived
        if _excuse(earlier, children, journalled) is not None:
            findings.again.append(ago)
        elif not _second_step(ground, later):
            said = f"{later.family[:8]} by process {later.serial}, {ago / 1e6:.1f} s after process {earlier.serial}"
            findings.double.append(said + (" had journalled it" if id(earlier) in journalled else ""))
    return findings


def _journalled(ground: Ground, findings: Findings) -> dict[int, int]:
    """When the answer to each request was safe on our disk, by the identity of the request in the book."""
    found: dict[int, int] = {}
    for child in ground.forked:
        for event in child.events():
            if event.get("event") == JOURNALLED:
                spending = _answered_by(ground, child.serial, event, found)
                if spending is not None and spending.committed is not None:
                    found[id(spending)] = event["at"]
                    findings.windows.append(event["at"] - spending.committed)
                    if spending.answered is not None:
                        findings.own.append(event["at"] - spending.answered)
    return found


def _answered_by(ground: Ground, serial: int, event: dict[str, Any], found: dict[int, int]) -> Spending | None:
    """The request whose answer a process journalled: by time, and where its clock was bent, by order."""
    own = [
        spending
        for spending in ground.ledger.by_family.get(event["connection"], ())
        if spending.serial == serial and spending.committed is not None and id(spending) not in found
    ]
    if "clock" in ground.injections:
        return own[0] if own else None
    earlier = [spending for spending in own if (spending.committed or 0) <= event["at"]]
    return earlier[-1] if earlier else None


def _head(ground: Ground, connection: str) -> Spending | None:
    """The request that got the newest tokens of a connection."""
    carried_out = [spending for spending in ground.ledger.by_family[connection] if spending.committed is not None]
    return carried_out[-1] if carried_out else None


def _excuse(spending: Spending, children: dict[int, Child], journalled: dict[int, int]) -> str | None:
    """Why nobody could know the answer to a request; None where we had it, or should have."""
    if spending.withheld:
        # Perhaps something else was journalled in its place.
        return "the answer was withheld by the lab"
    if id(spending) in journalled or spending.committed is None:
        return None
    child = children.get(spending.serial)
    if child is not None and child.killed_at is not None:
        gap = child.killed_at - spending.committed
        if gap < 0:
            return "killed with its request on the way"
        # One that lived on had time for its journal.
        if gap < TIMEOUT * 1_000_000:
            return f"killed {gap:,} µs after the commit"
    if spending.answered is None or spending.answered - spending.arrived > TIMEOUT * 1_000_000:
        return "the answer came later than a provider may take"
    return None


def _second_step(ground: Ground, later: Spending) -> bool:
    """Whether the product tried the previous token only because the provider had refused the stored one."""
    family = ground.ledger.by_family[later.family]
    before = family[: next(place for place, spending in enumerate(family) if spending is later)]
    return bool(before) and before[-1].serial == later.serial and before[-1].refused == "invalid_grant"
