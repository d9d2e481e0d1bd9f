"""Pages: templates, the cookies that pages live by, protection against forged forms, security headers."""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
import string
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2

from grantkeeper.authorize import OtherIdentity
from grantkeeper.errors import AuthorizationFailed, CallerError, Forbidden, GrantkeeperError, NotFound
from grantkeeper.web.http import Header, Reply, Request

_BROWSER_AGE = 30 * 86_400
_LOCATION = "".join(sorted(set(string.printable) - set(string.whitespace)))


class Html:
    """Renders templates. `secure`: browsers reach us by https, so cookies demand it and get `__Host-` names."""

    def __init__(self, secure: bool) -> None:
        self._secure = secure
        self._session_cookie = "__Host-gk_session" if secure else "gk_session"
        self._browser_cookie = "__Host-gk_browser" if secure else "gk_browser"
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("grantkeeper.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["static"] = _static_url
        self._headers = _security_headers(secure)

    def page(self, template: str, request: Request, status: int = 200, **context: Any) -> Reply:
        """A page. The template gets `csrf` for its forms; a browser without our cookie gets one."""
        browser = self.browser(request)
        fresh = browser or secrets.token_urlsafe(32)
        always = {"csrf": _csrf(fresh), "request_id": request.id, "status": status, "here": request.path}
        text = self._templates.get_template(template).render({"login": None, "logins": [], **always, **context})
        reply = Reply(status, text.encode(), [(b"content-type", b"text/html; charset=utf-8"), *self._headers])
        if browser is None:
            reply.headers.append(self.browser_header(fresh))
        return reply

    def redirect(self, location: str, *headers: Header) -> Reply:
        """303 See Other: the next request is a GET, whatever this one was."""
        # What a header cannot hold is encoded, never dropped: "/é/evil.example" must not become "//evil.example".
        target = quote(location, safe=_LOCATION).encode("ascii")
        return Reply(303, b"", [(b"location", target), *self._headers, *headers])

    def onward(self, request: Request, location: str, *headers: Header) -> Reply:
        """After a form, a page that goes on by itself to where our own pages end.

        Chromium holds every redirect after a form to `form-action`, however far the redirects lead, and nobody
        knows through which hosts a provider's sign-in goes.
        """
        reply = self.page("onward.html", request, location=location)
        reply.headers.extend(headers)
        return reply

    def error(self, error: GrantkeeperError, request: Request) -> Reply:
        """What happened, and what to do."""
        status, title, message, retry_url = _explain(error)
        handle = error.handle if isinstance(error, OtherIdentity) else None
        headers = error.headers() if isinstance(error, CallerError) else {}
        reply = self.page(
            "problem.html", request, status, title=title, message=message, retry_url=retry_url, handle=handle
        )
        reply.headers.extend((k.encode(), v.encode()) for k, v in headers.items())
        return reply

    def crash(self, request: Request) -> Reply:
        """Something that nobody foresaw; the request id leads the operator to the log."""
        message = "This is our fault, not yours, and nothing was changed that you cannot see. Try again; if it "
        message += f"happens again, tell the person who runs this service the number {request.id}."
        title = "Something went wrong here"
        return self.page("problem.html", request, 500, title=title, message=message, retry_url="/", handle=None)

    def session(self, request: Request) -> str | None:
        """The session token that the browser sent."""
        return request.cookie(self._session_cookie)

    def session_header(self, token: str, seconds: int) -> Header:
        """Sign the browser in for so long; an empty token and 0 sign it out."""
        return self._cookie(self._session_cookie, token, seconds)

    def browser(self, request: Request) -> str | None:
        """The secret that tells this browser from others: forms and authorizations are bound to it."""
        value = request.cookie(self._browser_cookie)
        return value if value and len(value) >= 32 else None

    def browser_header(self, value: str) -> Header:
        """Give the browser its secret."""
        return self._cookie(self._browser_cookie, value, _BROWSER_AGE)

    def check_csrf(self, request: Request, form: dict[str, str]) -> None:
        """Forbidden unless the form came from a page of ours in this very browser."""
        browser = self.browser(request)
        if browser is None or not hmac.compare_digest(_csrf(browser).encode(), form.get("csrf", "").encode()):
            raise Forbidden("This form is out of date. Go back, reload the page and try again.")

    def _cookie(self, name: str, value: str, seconds: int) -> Header:
        secure = "; Secure" if self._secure else ""
        text = f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        return b"set-cookie", text.encode("ascii")


def _csrf(browser: str) -> str:
    """Only who can read the cookie can compute it, and no script and no other site can."""
    return hashlib.sha256(f"csrf:{browser}".encode()).hexdigest()


@functools.cache
def _static_url(name: str) -> str:
    """The address of a static file; it changes with what is in it, so that no browser keeps an old one."""
    content = files("grantkeeper.web").joinpath("static", name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


def _security_headers(secure: bool) -> list[Header]:
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers: list[Header] = [
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        # The callback's address holds a code: it goes to nobody.
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"x-frame-options", b"DENY"),
    ]
    if secure:
        headers.append((b"strict-transport-security", b"max-age=31536000"))
    return headers


def _explain(error: GrantkeeperError) -> tuple[int, str, str, str | None]:
    """Status, title, message and where the button leads."""
    if isinstance(error, AuthorizationFailed):
        return error.status, error.title, error.message, error.retry_url
    if isinstance(error, NotFound):
        message = "It may have been disconnected, or it belongs to another account."
        return 404, "There is nothing here", message if error.message == "Not found." else error.message, "/"
    if isinstance(error, CallerError):
        return error.status, "That did not work", error.message, None
    message = "We cannot do this right now. Nothing was lost. Please try again in a moment."
    return 503, "Not available just now", message, "/"
