"""The table: one row a case and engine."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

COLUMNS = [
    *("case", "engine", "provider", "mode", "processes", "events", "refreshes", "lost", "unexplained"),
    *("double spends", "served expired", "other figures", "verdict"),
]


@dataclass
class Row:
    """What one case came to. `zeros` names the columns that must be zero; `broken` says what else failed."""

    case: str
    engine: str
    provider: str
    mode: str
    processes: int
    events: str
    refreshes: int = 0
    lost: int = 0
    unexplained: int = 0
    double: int = 0
    expired: int | None = None
    figures: list[str] = field(default_factory=list)
    zeros: Sequence[str] = ("lost", "unexplained", "double", "expired")
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything that must be zero is, and nothing broke."""
        return not self.broken and not any(getattr(self, name) for name in self.zeros)

    def cells(self) -> list[str]:
        """The row as words."""
        figures = "; ".join([*self.figures, *(f"**{problem}**" for problem in self.broken)])
        expired = "-" if self.expired is None else str(self.expired)
        counts = [str(self.refreshes), str(self.lost), str(self.unexplained), str(self.double), expired]
        names = [self.case, self.engine, self.provider, self.mode, str(self.processes), self.events]
        return [*names, *counts, figures or "-", "good" if self.good else "**FAILED**"]


def table(rows: Iterable[Row]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |"]
    lines.append("|---|---|---|---|---:|---|---:|---:|---:|---:|---:|---|---|")
    lines += [f"| {' | '.join(row.cells())} |" for row in rows]
    return "\n".join(lines)


def spread(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """Median, p99 and how many."""
    if not values:
        return "none measured"
    median, worst = statistics.median(values), percentile(values, 0.99)
    return f"median {median:,.{digits}f} {unit}, p99 {worst:,.{digits}f} {unit} of {len(values):,}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
