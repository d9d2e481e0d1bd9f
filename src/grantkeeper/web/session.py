"""Who is signed in: the pages to sign in and out, and the wrapper of every page that wants a session."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from grantkeeper.access import Caller, browser_caller
from grantkeeper.clock import SECOND
from grantkeeper.errors import TooManyRequests
from grantkeeper.model import Login, User
from grantkeeper.sign_in import SignIn
from grantkeeper.storage.people import PeopleStore
from grantkeeper.web.edge import Route
from grantkeeper.web.html import Html
from grantkeeper.web.http import Header, Reply, Request

HOME = "/connections"
"""Where a person lands who was going nowhere in particular."""

_WRONG = "The e-mail address or the password is wrong."
_NO_ACCOUNT = (
    "Your password is right, but you do not belong to any account here. "
    "Please ask the person who runs this service to add you to one."
)


class Visit(msgspec.Struct, frozen=True):
    """A request of somebody who is signed in; its form has been checked. Its `repr` shows no secret."""

    request: Request
    login: Login
    session: str
    form: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Visit({self.request!r})"

    @property
    def caller(self) -> Caller:
        """Who acts, and in which account."""
        return browser_caller(self.login)


Call = Callable[[Visit], Awaitable[Reply]]


class Sessions:
    """The one place that asks for a session and checks forms."""

    def __init__(self, html: Html, sign_in: SignIn, people: PeopleStore) -> None:
        self._html = html
        self._sign_in = sign_in
        self._people = people

    def routes(self) -> list[Route]:
        """Signing in and out, and changing the account."""
        return [
            Route(method="GET", path="/sign-in", endpoint=self.show_sign_in, kind="page", access="public"),
            Route(method="POST", path="/sign-in", endpoint=self.sign_in, kind="page", access="public"),
            self.route("POST", "/sign-out", self.sign_out),
            self.route("POST", "/account", self.switch_account),
        ]

    def route(self, method: str, path: str, call: Call, *, safe: bool = True) -> Route:
        """A page for signed-in people: others are sent to sign in first, forged forms are refused."""

        async def endpoint(request: Request) -> Reply:
            session = self._html.session(request)
            login = await self._sign_in.login_of(session)
            if session is None or login is None:
                return self._html.redirect(_sign_in_path(request))
            request.account_uuid = login.account.uuid
            form: dict[str, str] = {}
            if request.method == "POST":
                form = await request.form()
                self._html.check_csrf(request, form)
            return await call(Visit(request, login, session, form))

        return Route(method=method, path=path, endpoint=endpoint, kind="page", access="session", safe=safe)

    async def page(self, visit: Visit, template: str, status: int = 200, **context: Any) -> Reply:
        """A page that shows who is signed in, and in which of their accounts."""
        logins = await self._people.list_logins(visit.login.user.uuid)
        return self._html.page(template, visit.request, status, login=visit.login, logins=logins, **context)

    async def show_sign_in(self, request: Request) -> Reply:
        """The form; who is signed in already goes on at once."""
        asked = dict(request.query)
        onward = local_path(asked.get("next"))
        if await self._sign_in.login_of(self._html.session(request)):
            return self._html.redirect(onward)
        return self._form(request, onward, notice="You are signed out." if asked.get("done") == "signed-out" else None)

    async def sign_in(self, request: Request) -> Reply:
        """Check the password and begin a session under a new token."""
        form = await request.form()
        self._html.check_csrf(request, form)
        email, onward = form.get("email", ""), local_path(form.get("next"))
        try:
            user = await self._sign_in.check_password(email, form.get("password", ""))
        except TooManyRequests as error:
            reply = self._form(request, onward, 429, email=email, problem=error.message)
            reply.headers.extend((name.encode(), value.encode()) for name, value in error.headers().items())
            return reply
        if user is None:
            return self._form(request, onward, 401, email=email, problem=_WRONG)
        headers = await self._begin(request, user)
        if headers is None:
            return self._form(request, onward, 403, email=email, problem=_NO_ACCOUNT)
        if onward.startswith("/oauth/"):
            return self._html.onward(request, onward, *headers)
        return self._html.redirect(onward, *headers)

    async def sign_out(self, visit: Visit) -> Reply:
        """End the session. The browser's secret changes too: what was begun here, nobody else finishes."""
        await self._sign_in.end_session(visit.session)
        return self._html.redirect(
            "/sign-in?done=signed-out",
            self._html.session_header("", 0),
            self._html.browser_header(secrets.token_urlsafe(32)),
        )

    async def switch_account(self, visit: Visit) -> Reply:
        """Work in another of the user's accounts from now on."""
        await self._sign_in.switch_account(visit.session, visit.login, visit.form.get("account_uuid", ""))
        return self._html.redirect(f"{HOME}?done=switched")

    async def _begin(self, request: Request, user: User) -> list[Header] | None:
        """The cookie of a new session, the browser's old one ended; None: the user belongs to no account."""
        token = await self._sign_in.begin_session(user)
        if token is None:
            return None
        if before := self._html.session(request):
            await self._sign_in.end_session(before)
        return [self._html.session_header(token, self._sign_in.session_lifetime // SECOND)]

    def _form(
        self,
        request: Request,
        onward: str,
        status: int = 200,
        *,
        email: str = "",
        problem: str | None = None,
        notice: str | None = None,
    ) -> Reply:
        return self._html.page(
            "sign_in.html", request, status, next=onward, home=HOME, email=email, problem=problem, notice=notice
        )


def local_path(value: str | None) -> str:
    """`value` if it is a path of this very site, else the connections.

    Browsers drop tabs and line ends and read a backslash as a slash: such a path could lead elsewhere.
    """
    if (
        value is None
        or not value.startswith("/")
        or value.startswith("//")
        or "\\" in value
        or not (value.isascii() and value.isprintable())
    ):
        return HOME
    return value


def _sign_in_path(request: Request) -> str:
    """Where to sign in, and then come back; a form that was posted is not sent again."""
    if request.method == "POST":
        return "/sign-in"
    query = request.scope["query_string"].decode("latin-1")
    onward = quote(request.path) + (f"?{query}" if query else "")
    return f"/sign-in?{urlencode({'next': onward})}"
