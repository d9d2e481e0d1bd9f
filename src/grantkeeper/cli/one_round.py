"""`grantkeeper worker --once`: one round of the worker, for a person at a terminal or for cron."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from grantkeeper import logs
from grantkeeper.cli import provider_states
from grantkeeper.cli.output import shown
from grantkeeper.model import Record, Refresh

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.clock import Instant
    from grantkeeper.config import Settings
    from grantkeeper.storage.refreshes import ProviderState

Progress = Callable[[int, int], None]


class StaysDue(Record, frozen=True):
    """What a round left for later at one provider."""

    provider: str
    count: int
    state: ProviderState | None


class Round(Record, frozen=True):
    """How a round ended; `outcomes` says of how many refreshes, the most frequent first, by the words of history."""

    tried: int
    outcomes: dict[str, int]
    stay_due: Sequence[StaysDue]
    at: Instant


async def one_round(settings: Settings) -> Round:
    """Refresh what is due now, with a progress bar where standard error is a terminal; what came of it."""
    from grantkeeper.app import open_services

    async with open_services(settings) as services:
        outcomes: Counter[str] = Counter()

        def count(line: Refresh) -> None:
            outcomes[line.outcome] += 1

        services.refresher.history.subscribe(count)
        await services.discovery.round()
        with _bar(settings) as progress:
            tried = await services.worker.run_once(progress)
        return Round(
            tried=tried,
            outcomes=dict(sorted(outcomes.items(), key=lambda one: (-one[1], one[0]))),
            stay_due=await _stay_due(services),
            at=services.clock.now(),
        )


def report(round_: Round) -> Iterator[str]:
    """The lines that tell of it."""
    ended = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in round_.outcomes.items())
    tried = f"{round_.tried} {'refresh' if round_.tried == 1 else 'refreshes'} tried"
    yield f"{tried}: {ended}." if ended else f"{tried}."
    for left in round_.stay_due:
        stays = f"{left.count} {'stays' if left.count == 1 else 'stay'} due at {left.provider}"
        if left.state is None:
            yield f"{stays}: its limits allow no more at the moment, or another process is at it."
        else:
            yield f"{stays}. {shown(provider_states.sentence(left.state, round_.at))}"


async def _stay_due(services: Services) -> list[StaysDue]:
    now = services.clock.now()
    states = {state.provider: state for state in await services.refreshes.provider_states() if state.blocked_at}
    found = []
    for due in await services.refreshes.provider_dues():
        if due.due_at is not None and due.due_at <= now:
            count = await services.refreshes.count_due(due.provider, now)
            found.append(StaysDue(provider=due.provider, count=count, state=states.get(due.provider)))
    return found


@contextmanager
def _bar(settings: Settings) -> Iterator[Progress | None]:
    """A progress bar on standard error; None where nobody watches: counting what is due costs time."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = sys.stderr
    columns = (TextColumn("Refreshing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        # Through the bar's own stream, so that a line comes above it. The bar says what each good one would.
        logs.configure(settings.log_level if "log_level" in settings.model_fields_set else "warning", sys.stderr)
        task = progress.add_task("refresh", total=None)
        try:
            yield lambda done, total: progress.update(task, completed=done, total=total)
        finally:
            logs.configure(settings.log_level, screen)
