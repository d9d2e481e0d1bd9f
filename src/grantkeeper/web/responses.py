"""Errors as HTTP: the only place where one becomes a status and a body."""

from __future__ import annotations

import msgspec

from grantkeeper.errors import CallerError, GrantkeeperError, StorageUnavailable, Unavailable
from grantkeeper.web.edge import Kind
from grantkeeper.web.html import Html
from grantkeeper.web.http import Header, Reply, Request

_JSON: Header = (b"content-type", b"application/json")
_NO_STORE: Header = (b"cache-control", b"no-store")
_RETRY_SECONDS = 2


class Responses:
    """Renders errors: JSON for the API, a page for people."""

    def __init__(self, html: Html) -> None:
        self._html = html

    def error(self, error: GrantkeeperError, request: Request, kind: Kind) -> Reply:
        """The answer for an error of ours; its message is for the caller only if it is a caller's error."""
        if kind == "page":
            return self._html.error(error, request)
        status, body, headers = api_error(error)
        return Reply(status, msgspec.json.encode(body), [_JSON, _NO_STORE, *headers])

    def crash(self, request: Request, kind: Kind) -> Reply:
        """The answer for an error that nobody foresaw; the request id leads the operator to the log."""
        if kind == "page":
            return self._html.crash(request)
        body = {"message": f"Something went wrong here. Tell the operator the request id {request.id}."}
        return Reply(500, msgspec.json.encode(body), [_JSON, _NO_STORE])


def api_error(error: GrantkeeperError) -> tuple[int, dict[str, object], list[Header]]:
    """Status, body and headers of an error (the contract's table of errors)."""
    if isinstance(error, CallerError):
        body: dict[str, object] = {"message": error.message, **error.extra()}
        if fields := error.fields():
            body["errors"] = fields
        return error.status, body, [(k.encode(), v.encode()) for k, v in error.headers().items()]
    if isinstance(error, Unavailable):
        return 503, {"message": error.message}, [(b"retry-after", b"%d" % error.retry_after)]
    if isinstance(error, StorageUnavailable):
        message = "The database cannot be used now; nothing was lost. Try again."
        return 503, {"message": message}, [(b"retry-after", b"%d" % _RETRY_SECONDS)]
    message = "This cannot be answered now; the operator finds the reason in the log."
    return 503, {"message": message}, [(b"retry-after", b"60")]
