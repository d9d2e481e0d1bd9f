"""The pages of signed-in people: their connections, and the providers they can connect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from grantkeeper.clients import Clients
from grantkeeper.clock import Clock
from grantkeeper.connections import Connections
from grantkeeper.errors import InvalidValue, NotFound
from grantkeeper.model import Connection, Record
from grantkeeper.web.connection_row import ConnectionRow, Rows
from grantkeeper.web.edge import Route
from grantkeeper.web.gallery import gallery
from grantkeeper.web.html import Html
from grantkeeper.web.http import Reply, Request
from grantkeeper.web.index_query import IndexQuery, next_cursor, parse_index
from grantkeeper.web.session import HOME, Sessions, Visit

# What a page may say on arrival; the address chooses the word, never the text.
_NOTICES = {
    "connected": ("{label} is connected.", "The new connection is ready."),
    "reauthorized": ("{label} is connected again.", "The connection works again."),
    "renamed": ("Renamed to {label}.", "The connection has its new name."),
    "disconnected": ("The connection was disconnected.",) * 2,
    "discarded": ("Nothing was added; the access that was given is being withdrawn.",) * 2,
    "switched": ("You are now working in another account.",) * 2,
}


_MOST_TOLD = 5
"""Further connections of one consent that a notice names."""


class _Refused(Record, frozen=True):
    """A label that was not taken: of which connection, what was typed, what is wrong with it."""

    uuid: str
    label: str
    problem: str


class Pages:
    """The list of connections and what can be done with each, and the gallery of providers."""

    def __init__(
        self,
        html: Html,
        sessions: Sessions,
        connections: Connections,
        clients: Clients,
        clock: Clock,
        timezone: str,
    ) -> None:
        self._html = html
        self._sessions = sessions
        self._connections = connections
        self._clients = clients
        self._clock = clock
        self._zone = ZoneInfo(timezone)

    def routes(self) -> list[Route]:
        """Every page but those of an authorization and of signing in."""
        route = self._sessions.route
        return [
            Route(method="GET", path="/", endpoint=self.home, kind="page", access="public"),
            route("GET", HOME, self.list_connections),
            route("POST", HOME + "/{uuid}/label", self.rename),
            route("GET", HOME + "/{uuid}/disconnect", self.confirm_disconnect),
            route("POST", HOME + "/{uuid}/disconnect", self.disconnect),
            route("GET", "/connect", self.gallery),
        ]

    async def home(self, request: Request) -> Reply:
        """The front door leads to the connections."""
        return self._html.redirect(HOME)

    async def list_connections(self, visit: Visit) -> Reply:
        """The account's connections, and what was just done."""
        asked = dict(visit.request.query)
        further = [uuid for name, uuid in visit.request.query if name == "further"]
        changed = await self._changed(visit, asked, further[:_MOST_TOLD])
        return await self._list(
            visit,
            _index(asked.get("cursor")),
            notice=_notice(asked.get("done"), changed),
            fresh=frozenset(connection.uuid for connection in changed),
        )

    async def rename(self, visit: Visit) -> Reply:
        """Set a label; a bad one is shown again in its row, with what is wrong with it."""
        uuid, label, cursor = visit.request.parameters["uuid"], visit.form.get("label", ""), visit.form.get("cursor")
        try:
            connection = await self._connections.set_label(visit.caller, uuid, label, visit.request.id)
        except InvalidValue as error:
            refused = _Refused(uuid=uuid.lower(), label=label, problem=error.message)
            return await self._list(visit, _index(cursor), refused=refused)
        query = {"done": "renamed", "connection": connection.uuid, **({"cursor": cursor} if cursor else {})}
        return self._html.redirect(f"{HOME}?{urlencode(query)}")

    async def confirm_disconnect(self, visit: Visit) -> Reply:
        """Ask before disconnecting."""
        connection = await self._connections.get(visit.caller, visit.request.parameters["uuid"])
        return await self._sessions.page(
            visit,
            "disconnect.html",
            row=self._rows().row(connection),
            withdraws=self._withdraws(connection),
        )

    async def disconnect(self, visit: Visit) -> Reply:
        """Disconnect, once confirmed."""
        await self._connections.disconnect(visit.caller, visit.request.parameters["uuid"], visit.request.id)
        return self._html.redirect(f"{HOME}?done=disconnected")

    async def gallery(self, visit: Visit) -> Reply:
        """The providers that can be connected, and what each will be asked for."""
        search = dict(visit.request.query).get("search", "")
        return await self._sessions.page(visit, "connect.html", gallery=gallery(self._clients, search))

    async def _list(
        self,
        visit: Visit,
        index: IndexQuery,
        *,
        notice: str | None = None,
        fresh: frozenset[str] = frozenset(),
        refused: _Refused | None = None,
    ) -> Reply:
        found = await self._connections.list_page(visit.caller, index.page)
        shown = found[: index.per_page]
        rows = self._rows()
        more = next_cursor(index.page, shown[-1]) if len(found) > len(shown) else None
        return await self._sessions.page(
            visit,
            "connections.html",
            422 if refused else 200,
            rows=[_corrected(rows.row(one, fresh=one.uuid in fresh), refused) for one in shown],
            notice=notice,
            problem=f"The label was not saved. {refused.problem}" if refused else None,
            cursor=visit.form.get("cursor") or dict(visit.request.query).get("cursor"),
            next_page=f"{HOME}?{urlencode({'cursor': more})}" if more else None,
        )

    async def _changed(self, visit: Visit, asked: Mapping[str, str], further: Iterable[str]) -> list[Connection]:
        """The connections that the address says were changed, as far as there are such."""
        if asked.get("done") not in _NOTICES or "connection" not in asked:
            return []
        found = []
        for uuid in (asked["connection"], *further):
            with suppress(NotFound):
                found.append(await self._connections.get(visit.caller, uuid))
        return found

    def _rows(self) -> Rows:
        return Rows(self._clients, self._zone, self._clock.now())

    def _withdraws(self, connection: Connection) -> bool:
        """Whether the provider can be told that the grant is over."""
        if connection.provider not in dict(self._clients.offers()):
            return False
        client = self._clients.offered(connection.provider)
        return client.revocation_url is not None and client.revocation_style != "none"


def _index(cursor: str | None) -> IndexQuery:
    """The page of the list that a cursor stands for, the first without one; InvalidValue: not one of ours."""
    return parse_index([("cursor", cursor)] if cursor else [])


def _notice(done: str | None, changed: Sequence[Connection]) -> str | None:
    if done not in _NOTICES:
        return None
    with_label, without = _NOTICES[done]
    if not changed:
        return without
    first, *others = (f"“{connection.label}”" for connection in changed)
    also = "".join(f", and so is {label}" for label in others)
    return with_label.format(label=first).removesuffix(".") + f"{also}."


def _corrected(row: ConnectionRow, refused: _Refused | None) -> ConnectionRow:
    """The row with what was typed and why it was refused, if it is that connection's."""
    if refused is None or row.uuid != refused.uuid:
        return row
    return msgspec.structs.replace(row, label=refused.label, label_problem=refused.problem)
