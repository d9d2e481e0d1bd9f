"""Metrics for Prometheus at `/metrics`: what this process has counted, and how the engine stands now."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from grantkeeper.clock import SECOND, Clock
from grantkeeper.errors import StorageError, Unauthenticated
from grantkeeper.model import MustAct, Refresh
from grantkeeper.storage.refreshes import RefreshStore
from grantkeeper.web.edge import Route
from grantkeeper.web.http import Reply, Request

# From a provider nearby to the longest that one may take.
_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 120.0)
_OUTCOMES = (
    "refreshed",
    "failing",
    "rejected",
    "lost",
    "superseded",
    "gone",
    "recovered",
    "reconciled",
    "retired",
    "handed_over",
)
_NOT_ASKED = frozenset(("recovered", "reconciled", "retired", "handed_over"))
"""Outcomes of refreshes that took no request to a provider, or one whose time nobody measured."""


class _Registry(CollectorRegistry):
    """One for each application, without the time at which each counter began: nobody here asks for it."""

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class Metrics:
    """Counts refreshes from now on; `unsettled` answers how many journalled answers wait for the database.

    `providers` are those that begin with zeros, so that the first loss of a grant is seen as an increase;
    `token` is what a scraper must send.
    """

    def __init__(
        self, store: RefreshStore, unsettled: Callable[[], int], providers: Iterable[str], clock: Clock, token: str
    ) -> None:
        self._store = store
        self._unsettled = unsettled
        self._clock = clock
        self._token = token.encode()
        self.registry: CollectorRegistry = _Registry()
        registry = self.registry
        self._refreshes = Counter(
            "grantkeeper_refreshes_total",
            "Refreshes that this process ended, by outcome.",
            ("provider", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "grantkeeper_refresh_seconds",
            "Seconds that a refresh took, from the provider's request to the stored token.",
            ("provider",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._waiting = Gauge(
            "grantkeeper_journal_unsettled",
            "Answers of providers in this process's journal that the database does not have yet.",
            registry=registry,
        )
        self._database = Gauge(
            "grantkeeper_database_up", "1 where the database answered this scrape, else 0.", registry=registry
        )
        self._blocked = Gauge(
            "grantkeeper_provider_blocked",
            "1 while a provider is left alone, by who must act before it is refreshed again.",
            ("provider", "must_act"),
            registry=registry,
        )
        self._lag = Gauge(
            "grantkeeper_refresh_lag_seconds",
            "Seconds for which the provider's connection that is due longest has been due.",
            ("provider",),
            registry=registry,
        )

        for provider in providers:
            for outcome in _OUTCOMES:
                self._refreshes.labels(provider, outcome)

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route(method="GET", path="/metrics", endpoint=self.scrape, kind="api", access="metrics")]

    def count(self, line: Refresh) -> None:
        """One refresh has ended; to be subscribed to the history."""
        self._refreshes.labels(line.provider, line.outcome).inc()
        if line.outcome not in _NOT_ASKED:
            self._seconds.labels(line.provider).observe(line.duration / SECOND)

    async def scrape(self, request: Request) -> Reply:
        """Everything, in the format that the scraper prefers; Unauthenticated without the token."""
        scheme, _, given = (request.header(b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._token):
            raise Unauthenticated
        await self._look()
        encode, media_type = choose_encoder(request.header(b"accept") or "")
        headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store")]
        return Reply(200, encode(self.registry), headers)

    async def _look(self) -> None:
        """Set what stands in the database; while it is away that is not told, rather than told wrongly."""
        try:
            states, dues = await self._store.provider_states(), await self._store.provider_dues()
        except StorageError:
            states, dues, up = [], [], 0
        else:
            up = 1
        now = self._clock.now()
        # From here on nothing is awaited, so that no other scrape comes between.
        self._waiting.set(self._unsettled())
        self._database.set(up)
        self._blocked.clear()
        self._lag.clear()
        for state in states:
            for who in (MustAct.NOBODY, MustAct.OPERATOR):
                blocked = state.blocked_at is not None and state.must_act is who
                self._blocked.labels(state.provider, who.value).set(blocked)
        for due in dues:
            lag = 0 if due.due_at is None else max(0, now - due.due_at)
            self._lag.labels(due.provider).set(lag / SECOND)
