"""The browser's way through an authorization: off to the provider, back at the callback, and a held grant's fate."""

from __future__ import annotations

import secrets
from urllib.parse import urlencode, urlsplit, urlunsplit

from grantkeeper.authorize import Authorizations, Completed
from grantkeeper.connections import Connections
from grantkeeper.web.edge import Route
from grantkeeper.web.html import Html
from grantkeeper.web.http import Reply, Request
from grantkeeper.web.session import HOME, Sessions, Visit


class Browser:
    """The routes under `/oauth/`."""

    def __init__(
        self, html: Html, sessions: Sessions, connections: Connections, authorizations: Authorizations
    ) -> None:
        self._html = html
        self._sessions = sessions
        self._connections = connections
        self._authorizations = authorizations

    def routes(self) -> list[Route]:
        """Every route of an authorization."""
        begin = "/oauth/{provider}/authorize"
        callback = "/oauth/{provider}/callback"
        return [
            self._sessions.route("GET", begin, self.authorize, safe=False),
            self._sessions.route("GET", begin + "/{uuid}", self.reauthorize, safe=False),
            # Needs no session: the browser's own cookie tells that it is the one that began.
            Route(method="GET", path=callback, endpoint=self.callback, kind="page", access="public", safe=False),
            self._sessions.route("POST", "/oauth/held/keep", self.keep),
            self._sessions.route("POST", "/oauth/held/discard", self.discard),
        ]

    async def authorize(self, visit: Visit) -> Reply:
        """Off to the provider, for a new connection."""
        return await self._start(visit, None)

    async def reauthorize(self, visit: Visit) -> Reply:
        """Off to the provider, for a connection that stays what it is."""
        connection = await self._connections.get(visit.caller, visit.request.parameters["uuid"])
        return await self._start(visit, connection.uuid)

    async def callback(self, request: Request) -> Reply:
        """Back from the provider (RFC 6749 §4.1.2)."""
        completed = await self._authorizations.complete(
            request.parameters["provider"], request.query, self._html.browser(request), request.id
        )
        request.account_uuid = completed.connection.account_uuid
        return self._html.redirect(_destination(completed))

    async def keep(self, visit: Visit) -> Reply:
        """Another person's grant becomes a connection of its own."""
        completed = await self._authorizations.keep_held(visit.caller, visit.form.get("handle", ""), visit.request.id)
        if completed.redirect_to is None:
            return self._html.redirect(_destination(completed))
        return self._html.onward(visit.request, _destination(completed))

    async def discard(self, visit: Visit) -> Reply:
        """Another person's grant is given back."""
        await self._authorizations.discard_held(visit.caller, visit.form.get("handle", ""))
        return self._html.redirect(f"{HOME}?done=discarded")

    async def _start(self, visit: Visit, connection_uuid: str | None) -> Reply:
        known = self._html.browser(visit.request)
        browser = known or secrets.token_urlsafe(32)
        url = await self._authorizations.start(
            visit.caller,
            visit.request.parameters["provider"],
            browser,
            connection_uuid,
            dict(visit.request.query).get("redirect_to"),
        )
        return self._html.redirect(url, *([] if known else [self._html.browser_header(browser)]))


def _destination(completed: Completed) -> str:
    """Where the person was going, told of the outcome; else the list of connections."""
    outcome = "connected" if completed.created else "reauthorized"
    uuid = completed.connection.uuid
    if completed.redirect_to is None:
        return f"{HOME}?{urlencode({'done': outcome, 'connection': uuid})}"
    parts = urlsplit(completed.redirect_to)
    told = urlencode({"connection": uuid, "status": outcome})
    return urlunsplit(parts._replace(query=f"{parts.query}&{told}" if parts.query else told))
