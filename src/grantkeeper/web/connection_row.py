"""A connection as the list shows it: its status and its expiry in words, and what its person can do."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from grantkeeper.clients import Clients
from grantkeeper.clock import DAY, Instant
from grantkeeper.model import Connection, MustAct, Record, Status
from grantkeeper.web.relative_time import calendar_time, machine_time, relative_time

REMIND = 14 * DAY
"""How long before the refresh token dies the list says so."""


class Moment(Record, frozen=True):
    """An instant for a `<time>` element: for machines, by the calendar, and seen from now."""

    machine: str
    calendar: str
    relative: str


class Fact(Record, frozen=True):
    """A short statement around a moment, such as `Access renews` … ."""

    words: str
    moment: Moment | None = None


class Standing(Record, frozen=True):
    """The status in words. `tone`: good, waiting or bad; `advice`: what it means, and who must do what.

    `user_acts`: reconnecting is what helps.
    """

    tone: str
    words: str
    advice: str = ""
    user_acts: bool = False


class ConnectionRow(Record, frozen=True):
    """What the template needs of one connection. `logo` and `reconnect` are paths, None where there is none.

    `not_granted`: what is asked for here and was not allowed, in words. `asks_person`: somebody consents at the
    provider, and may consent again; unknown providers count as such.
    """

    uuid: str
    label: str
    label_problem: str | None
    provider: str
    logo: str | None
    identity: str | None
    standing: Standing
    failure: str | None
    facts: list[Fact]
    not_granted: list[str]
    ends: Moment | None
    reconnect: str | None
    fresh: bool
    asks_person: bool = True


class Rows:
    """Turns connections into rows, all seen from one instant."""

    def __init__(self, clients: Clients, zone: ZoneInfo, now: Instant) -> None:
        self._clients = clients
        self._zone = zone
        self._now = now
        self._offered = {name for name, _ in clients.offers()}

    def row(self, connection: Connection, *, fresh: bool = False) -> ConnectionRow:
        """One connection; `fresh` marks the one that was just changed."""
        name = connection.provider
        label, asks_person = self._clients.label(name), self._asks_person(name)
        return ConnectionRow(
            uuid=connection.uuid,
            label=connection.label,
            label_problem=None,
            provider=label,
            logo=f"/imgs/{name}.svg" if name in self._clients.catalogue else None,
            # Better a name that only the provider understands than two connections that nobody can tell apart.
            identity=connection.identity or connection.subject,
            standing=standing(connection, label, self._now, asks_person=asks_person, source=self._source(name)),
            failure=connection.failure if connection.status is Status.FAILING else None,
            facts=self._facts(connection),
            not_granted=self._not_granted(connection),
            ends=self._ends(connection),
            reconnect=f"/oauth/{name}/authorize/{connection.uuid}" if name in self._offered else None,
            fresh=fresh,
            asks_person=asks_person,
        )

    def _asks_person(self, name: str) -> bool:
        return name not in self._offered or self._clients.offered(name).asks_person

    def _source(self, name: str) -> str | None:
        """The provider, as people call it, whose connections this one's live on."""
        exchange = self._clients.offered(name).exchange if name in self._offered else None
        return self._clients.label(exchange.source) if exchange is not None else None

    def _facts(self, connection: Connection) -> list[Fact]:
        if connection.status is Status.ACTIVE and not _over(connection, self._now):
            facts = [self._access(connection)]
            sign_in = connection.refresh_token_expires_at
            if connection.refreshable and sign_in is not None and sign_in - self._now < REMIND:
                facts.append(Fact(words="Sign-in ends", moment=self._moment(sign_in)))
            return facts
        if connection.status is Status.FAILING:
            return self._failing_facts(connection)
        return []

    def _not_granted(self, connection: Connection) -> list[str]:
        """What is asked for here and was not allowed, in plain words where there are any."""
        name = connection.provider
        if name not in self._offered or connection.status is not Status.ACTIVE:
            return []
        meaning = self._clients.catalogue[name].scopes.meaning if name in self._clients.catalogue else {}
        missing = self._clients.offered(name).not_granted(connection.scopes)
        return [meaning.get(scope, scope) for scope in missing]

    def _access(self, connection: Connection) -> Fact:
        """What becomes of the access token of a connection that works."""
        expires_at, due = connection.access_token_expires_at, connection.next_refresh_at
        if expires_at is None:
            return Fact(words="Access does not expire")
        if not connection.refreshable:
            return Fact(words="Access expires", moment=self._moment(expires_at))
        if expires_at <= self._now:
            return Fact(words="Access renews when it is next used")
        renews_at = due if due is not None and due > self._now else expires_at
        return Fact(words="Access renews", moment=self._moment(renews_at))

    def _failing_facts(self, connection: Connection) -> list[Fact]:
        facts = []
        expires_at, due = connection.access_token_expires_at, connection.next_refresh_at
        if expires_at is not None:
            words = "Access expires" if expires_at > self._now else "Access expired"
            facts.append(Fact(words=words, moment=self._moment(expires_at)))
        if due is not None and due > self._now:
            facts.append(Fact(words="Next try", moment=self._moment(due)))
        return facts

    def _ends(self, connection: Connection) -> Moment | None:
        """When a connection that works stops working, because it came without a refresh token."""
        expires_at = connection.access_token_expires_at
        if connection.refreshable or expires_at is None or connection.status is not Status.ACTIVE:
            return None
        return self._moment(expires_at) if expires_at > self._now else None

    def _moment(self, instant: Instant) -> Moment:
        return Moment(
            machine=machine_time(instant),
            calendar=calendar_time(instant, self._zone),
            relative=relative_time(instant, self._now),
        )


def standing(
    connection: Connection, provider: str, now: Instant, *, asks_person: bool = True, source: str | None = None
) -> Standing:
    """What to say of a connection's status.

    `provider` is the provider's label, `source` that of the one whose access is exchanged; `asks_person` as of a row.
    """
    if connection.status is Status.FAILING:
        if connection.must_act is MustAct.OPERATOR:
            advice = "It cannot be mended from here: please tell the person who runs this service."
            return Standing(tone="bad", words="Needs the operator", advice=advice)
        if source is not None:
            advice = f"It lives on a connection to {source}: see whether that one works. We keep trying."
            return Standing(tone="waiting", words="Trying again", advice=advice)
        advice = f"{provider} is not answering as it should. We keep trying; there is nothing you need to do."
        return Standing(tone="waiting", words="Trying again", advice=advice)
    if connection.status is Status.REVOKED:
        return Standing(tone="bad", words="Ended", advice="Reconnect if you want it back.", user_acts=True)
    if connection.status is Status.NEEDS_REAUTHORIZATION and not asks_person:
        advice = f"{provider} no longer gives this access. Reconnect to ask for it again."
        return Standing(tone="bad", words="Needs you to reconnect", advice=advice, user_acts=True)
    if connection.status is Status.NEEDS_REAUTHORIZATION or _over(connection, now):
        reason = (
            f"{provider} no longer honours the earlier sign-in."
            if connection.refreshable
            else f"Its access has expired, and {provider} gave no way to renew it."
        )
        return Standing(
            tone="bad", words="Needs you to sign in again", advice=f"{reason} Reconnect to go on.", user_acts=True
        )
    return Standing(tone="good", words="Working")


def _over(connection: Connection, now: Instant) -> bool:
    """Whether the access has ended and nothing can renew it, known to the worker or not yet."""
    expires_at = connection.access_token_expires_at
    return not connection.refreshable and expires_at is not None and expires_at <= now
