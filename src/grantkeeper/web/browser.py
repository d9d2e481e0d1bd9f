"""The browser's way through an authorization: off to the provider, back at the callback, and a held grant's fate."""

from __future__ import annotations

import secrets
from urllib.parse import urlencode, urlsplit, urlunsplit

from grantkeeper.authorize import Authorizations, Completed, OtherIdentity
from grantkeeper.clock import Clock
from grantkeeper.connections import Connections
from grantkeeper.errors import (
    AuthorizationFailed,
    CallerError,
    GrantkeeperError,
    InvalidValue,
    NotFound,
    Unavailable,
)
from grantkeeper.model import Connection, Record
from grantkeeper.storage.connections import Page
from grantkeeper.web.asked import Field, fields, given_values, wrong
from grantkeeper.web.edge import Route
from grantkeeper.web.html import Html
from grantkeeper.web.http import Reply, Request
from grantkeeper.web.index_query import LARGEST_PAGE
from grantkeeper.web.relative_time import machine_time, relative_time
from grantkeeper.web.session import HOME, Sessions, Visit

# No parameter of a definition can have such a name, nor one that begins so.
_FROM_PAGE = "from-page"
_PREFIX = "value."


class _Asked(Record, frozen=True):
    """A direct connection as it is asked for, on a page that comes again with all that was filled in."""

    provider: str
    connection: Connection | None = None
    redirect_to: str | None = None
    subject: str = ""
    source: str = ""
    values: dict[str, str] = {}

    @property
    def again(self) -> str:
        """The page that asks, from elsewhere."""
        begin = f"/oauth/{self.provider}/authorize" + (f"/{self.connection.uuid}" if self.connection else "")
        query = ({"redirect_to": self.redirect_to} if self.redirect_to else {}) | self.values
        return f"{begin}?{urlencode(query)}" if query else begin


class Browser:
    """The routes under `/oauth/`."""

    def __init__(
        self, html: Html, sessions: Sessions, connections: Connections, authorizations: Authorizations, clock: Clock
    ) -> None:
        self._html = html
        self._sessions = sessions
        self._connections = connections
        self._authorizations = authorizations
        self._clock = clock

    def routes(self) -> list[Route]:
        """Every route of an authorization."""
        begin = "/oauth/{provider}/authorize"
        callback = "/oauth/{provider}/callback"
        return [
            self._sessions.route("GET", begin, self.authorize, safe=False),
            self._sessions.route("GET", begin + "/{uuid}", self.reauthorize, safe=False),
            self._sessions.route("GET", "/oauth/{provider}/device/{handle}", self.device, safe=False),
            self._sessions.route("POST", "/oauth/{provider}/direct", self.connect_directly),
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
        return await self._start(visit, await self._own(visit, visit.request.parameters["uuid"]))

    async def device(self, visit: Visit) -> Reply:
        """The code to type in elsewhere (RFC 8628 §3.3); the page looks by itself whether that has been done."""
        parameters = visit.request.parameters
        found = await self._authorizations.poll_device(
            parameters["provider"], parameters["handle"], self._html.browser(visit.request), visit.request.id
        )
        if isinstance(found, Completed):
            return self._html.redirect(_destination(found))
        return await self._sessions.page(
            visit,
            "device.html",
            prompt=found,
            code=_grouped(found.user_code),
            ends=machine_time(found.expires_at),
            ends_in=relative_time(found.expires_at, self._clock.now()),
        )

    async def connect_directly(self, visit: Visit) -> Reply:
        """A connection by a grant that needs no person at the provider."""
        form, provider = visit.form, visit.request.parameters["provider"]
        await self._authorizations.grant_of(provider)
        asked = _Asked(
            provider=provider,
            connection=await self._own(visit, form["connection"]) if form.get("connection") else None,
            redirect_to=self._authorizations.target(form.get("redirect_to")),
            subject=form.get("subject", ""),
            source=form.get("source", ""),
            values=given_values(self._authorizations.asked(provider), form, _PREFIX),
        )
        try:
            completed = await self._authorizations.connect_directly(
                visit.caller,
                asked.provider,
                visit.request.id,
                connection_uuid=asked.connection.uuid if asked.connection else None,
                subject=asked.subject,
                source_uuid=asked.source,
                redirect_to=asked.redirect_to,
                parameters=asked.values,
            )
        except (AuthorizationFailed, CallerError, Unavailable) as error:
            if isinstance(error, OtherIdentity | NotFound) or _is_gone(error):
                raise
            return await self._direct(visit, asked, error)
        if completed.redirect_to is None:
            return self._html.redirect(_destination(completed))
        return self._html.onward(visit.request, _destination(completed))

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

    async def _own(self, visit: Visit, uuid: str) -> Connection:
        """A connection that is to be renewed at the provider of this address, or NotFound."""
        connection = await self._connections.get(visit.caller, uuid)
        if connection.provider != visit.request.parameters["provider"]:
            raise NotFound("There is no such connection.")
        return connection

    async def _start(self, visit: Visit, connection: Connection | None) -> Reply:
        """Off to the provider, to the code that is typed in elsewhere, or to a question that comes before."""
        provider, query = visit.request.parameters["provider"], dict(visit.request.query)
        grant, redirect_to = await self._authorizations.grant_of(provider), query.get("redirect_to")
        if grant not in ("authorization_code", "device_code"):
            return await self._ask(visit, provider, connection, redirect_to)
        asked = self._authorizations.asked(provider)
        given = given_values(asked, query)
        if asked and not given and connection is None:
            return await self._ask_values(visit, None, fields(asked, {}))
        known = self._html.browser(visit.request)
        browser = known or secrets.token_urlsafe(32)
        try:
            url = await self._begin(visit, grant, connection, browser, given)
        except InvalidValue as error:
            if error.errors.keys().isdisjoint(one.name for one in asked):
                raise
            shown = fields(asked, given, error, renewed=connection is not None)
            return await self._ask_values(visit, connection, shown)
        cookies = [] if known else [self._html.browser_header(browser)]
        if _FROM_PAGE in query and grant == "authorization_code":
            return self._html.onward(visit.request, url, *cookies)
        return self._html.redirect(url, *cookies)

    async def _begin(
        self, visit: Visit, grant: str, connection: Connection | None, browser: str, given: dict[str, str]
    ) -> str:
        """Where the browser goes now; what is kept with a connection, no address can change."""
        if connection is None:
            return await self._begun(visit, grant, None, browser, given)
        try:
            return await self._begun(visit, grant, connection.uuid, browser, {})
        except InvalidValue as error:
            lacking = {name: value for name, value in given.items() if name in error.errors}
            if not lacking:
                raise
        return await self._begun(visit, grant, connection.uuid, browser, lacking)

    async def _begun(
        self, visit: Visit, grant: str, connection_uuid: str | None, browser: str, values: dict[str, str]
    ) -> str:
        provider, query = visit.request.parameters["provider"], dict(visit.request.query)
        begun, redirect_to = self._authorizations, query.get("redirect_to")
        if grant == "device_code":
            handle = await begun.start_device(visit.caller, provider, browser, connection_uuid, redirect_to, values)
            return f"/oauth/{provider}/device/{handle}"
        hint = query.get("login_hint")
        return await begun.start(visit.caller, provider, browser, connection_uuid, redirect_to, hint, values)

    async def _ask_values(self, visit: Visit, connection: Connection | None, shown: list[Field]) -> Reply:
        """What the provider's definition asks the user for, in a form that leads on by the same address."""
        provider, query = visit.request.parameters["provider"], dict(visit.request.query)
        # Told before anything is filled in.
        self._authorizations.target(query.get("redirect_to"))
        return await self._sessions.page(
            visit,
            "parameters.html",
            422 if wrong(shown) else 200,
            label=self._authorizations.needs(provider).label,
            image=f"/imgs/{provider}.svg",
            connection=connection,
            fields=shown,
            focused=wrong(shown) or shown[0],
            kept={name: query[name] for name in ("redirect_to", "login_hint") if name in query},
            marker=_FROM_PAGE,
        )

    async def _ask(self, visit: Visit, provider: str, connection: Connection | None, redirect_to: str | None) -> Reply:
        """Whether to connect without a person at the provider, and what has to be known for it."""
        query, wanted = dict(visit.request.query), self._authorizations.asked(provider)
        asked = _Asked(
            provider=provider,
            connection=connection,
            redirect_to=self._authorizations.target(redirect_to),
            subject=(connection.identity or connection.subject or "") if connection is not None else "",
            # Whoever connected the source first comes back from there with its UUID.
            source=query.get("connection", ""),
            values=given_values(wanted, query) if connection is None else {},
        )
        return await self._direct(visit, asked, None)

    async def _direct(self, visit: Visit, asked: _Asked, error: GrantkeeperError | None) -> Reply:
        needs = self._authorizations.needs(asked.provider)
        sources = []
        if needs.source is not None:
            page = Page(limit=LARGEST_PAGE, provider=needs.source)
            sources = await self._connections.list_page(visit.caller, page)
        first = f"/oauth/{needs.source}/authorize?{urlencode({'redirect_to': asked.again})}"
        wanted, renewed = self._authorizations.asked(asked.provider), asked.connection is not None
        shown = fields(wanted, asked.values, error, renewed=renewed, prefix=_PREFIX)
        return await self._sessions.page(
            visit,
            "direct.html",
            _status(error),
            needs=needs,
            asked=asked,
            sources=sources,
            source_first=first if needs.source_offered else None,
            fields=shown,
            focused=wrong(shown),
            problem=None if wrong(shown) else _problem(error),
        )


def _is_gone(error: GrantkeeperError) -> bool:
    return isinstance(error, AuthorizationFailed) and error.reason == "connection_gone"


def _status(error: GrantkeeperError | None) -> int:
    if isinstance(error, AuthorizationFailed | CallerError):
        return error.status
    return 200 if error is None else 503


def _problem(error: GrantkeeperError | None) -> str | None:
    if isinstance(error, AuthorizationFailed):
        return f"{error.title}. {error.message}"
    return error.message if error is not None else None


def _grouped(user_code: str) -> str:
    """A code as it is easily read out: in fours, where it has no groups of its own (RFC 8628 §6.1)."""
    if not user_code.isalnum() or len(user_code) != 8:
        return user_code
    return f"{user_code[:4]}-{user_code[4:]}"


def _destination(completed: Completed) -> str:
    """Where the person was going, told of the outcome; else the list of connections."""
    outcome = "connected" if completed.created else "reauthorized"
    told_of = {"connection": completed.connection.uuid, "further": [one.uuid for one in completed.further]}
    if completed.redirect_to is None:
        return f"{HOME}?{urlencode({'done': outcome, **told_of}, doseq=True)}"
    parts = urlsplit(completed.redirect_to)
    told = urlencode({**told_of, "status": outcome}, doseq=True)
    return urlunsplit(parts._replace(query=f"{parts.query}&{told}" if parts.query else told))
