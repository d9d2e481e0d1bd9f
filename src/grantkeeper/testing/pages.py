"""The fake provider's pages: small HTML that works without JavaScript, under a strict policy."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from grantkeeper.clock import SECOND, Instant
from grantkeeper.testing.asgi import Headers, Request, Response

_TEMPLATES = Path(__file__).parent / "templates"


def _date_and_time(instant: Instant) -> str:
    return datetime.fromtimestamp(instant / SECOND, UTC).strftime("%d %B %Y, %H:%M UTC")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["date_and_time"] = _date_and_time
    return environment


_ENVIRONMENT = _environment()
_STYLE = _ENVIRONMENT.get_template("style.css").render()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

# `form-action` is checked on every redirect that follows a form, and where a client sends the browser after
# its callback is the client's business: naming its origin here would break that. So any page of the web, but
# no scheme that runs something.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{_STYLE_HASH}'",
        "img-src data:",
        "form-action 'self' http: https:",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS: Headers = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)


def page(template: str, *, status: int = 200, headers: Headers = (), **values: object) -> Response:
    """A page from a template."""
    body = _ENVIRONMENT.get_template(template).render(**values)
    return Response(status=status, headers=(*_HEADERS, *headers), body=body.encode())


def problem(status: int, title: str, explanation: str, headers: Headers = ()) -> Response:
    """A page that says what went wrong, for errors that must not be sent to a client (RFC 6749 §4.1.2.1)."""
    return page("problem.html", status=status, headers=headers, title=title, explanation=explanation)


class FormGuard:
    """Ties every form to the browser it was shown to, without keeping anything on the server.

    The browser holds a random key in a cookie that no script reads; a form carries a code made with that key
    over what the form is about, which another site can neither read nor make.
    """

    COOKIE = "fake_provider_browser"

    def __init__(self, path: str, *, secure: bool) -> None:
        self._attributes = f"Path={path or '/'}; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def browser_key(self, request: Request) -> str:
        """The browser's key, or a new one; several tabs share it."""
        known = request.cookie(self.COOKIE)
        return known if known and len(known) >= 43 else secrets.token_urlsafe(32)

    def cookie(self, key: str) -> Headers:
        """The header that gives the browser its key."""
        return (("set-cookie", f"{self.COOKIE}={key}; {self._attributes}"),)

    def code(self, key: str, subject_matter: str) -> str:
        """What a form about `subject_matter` must carry."""
        made = hmac.new(key.encode(), subject_matter.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    def accepts(self, request: Request, code: str | None, subject_matter: str) -> bool:
        """Whether this form was shown to this browser."""
        key = request.cookie(self.COOKIE)
        if not key or not code:
            return False
        return hmac.compare_digest(self.code(key, subject_matter).encode(), code.encode())
