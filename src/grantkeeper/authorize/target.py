"""Where a browser may go after an authorization, and where it may begin one again."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlencode, urlsplit

from grantkeeper.errors import InvalidValue
from grantkeeper.model import Authorization


def allowed_target(redirect_to: str | None, origins: Collection[str]) -> str | None:
    """Where a browser may go after connecting: a path of ours, or an address on one of `origins`.

    InvalidValue for any other; None for none.
    """
    if not redirect_to:
        return None
    # A URL is ASCII (RFC 3986 §2): what is not would be read differently by different readers.
    if redirect_to.isascii() and redirect_to.isprintable() and "\\" not in redirect_to:
        if redirect_to.startswith("/") and not redirect_to.startswith("//"):
            return redirect_to
        try:
            parts = urlsplit(redirect_to)
            if not parts.username and f"{parts.scheme}://{parts.netloc}".lower() in origins:
                return redirect_to
        except ValueError:
            pass
    raise InvalidValue(
        {"redirect_to": ["The address in redirect_to is not allowed here; add its origin to redirect_origins."]}
    )


def retry_url(attempt: Authorization) -> str:
    """The same attempt again, which ends where this one would have ended.

    With what the user had said, where that has been opened; what belongs to a connection is kept with it anyway.
    """
    begin = f"/oauth/{attempt.provider}/authorize"
    begin += f"/{attempt.connection_uuid}" if attempt.connection_uuid else ""
    query = {} if attempt.connection_uuid else dict(attempt.secrets.parameters)
    if attempt.redirect_to:
        query["redirect_to"] = attempt.redirect_to
    return f"{begin}?{urlencode(query)}" if query else begin
