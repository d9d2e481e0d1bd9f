"""The tree of errors: what happened, and who must act.

GrantkeeperError
├── CallerError                 the caller of the API or page; carries its HTTP status
│   ├── Unauthenticated         401
│   ├── Forbidden               403  the token lacks the scope
│   ├── NotFound                404  unknown, or another account's
│   ├── MethodNotAllowed        405
│   ├── NeedsReauthorization    409  the user must sign in at the provider again
│   ├── UnsupportedMediaType    415
│   ├── MalformedRequest        400  not JSON, a body that is too large, …
│   ├── InvalidValue            422  carries the fields
│   └── TooManyRequests         429  carries Retry-After
├── Unavailable                 503  nobody must act: try again; carries Retry-After
├── AuthorizationFailed         a page for the browser, with what to do
├── ProviderError               what a provider answered, or failed to
│   ├── ProviderUnavailable     nobody: we retry
│   ├── ProviderProtocolError   nobody at first: an answer that is not OAuth 2; we retry
│   ├── GrantRejected           the user (invalid_grant)
│   └── ClientRejected          the operator (invalid_client and its family)
│       └── AddressRefused      the operator: the provider's address is not a public one
├── StorageError                the database
│   └── StorageUnavailable      nobody: locked, restarting, full; we retry
├── SealError                   a sealed value does not open
└── ConfigError                 the operator; carries every problem found

No message of any of these may hold a token, a secret, a code or a password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class GrantkeeperError(Exception):
    """The root of every error that Grantkeeper raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CallerError(GrantkeeperError):
    """The request cannot be answered as it stands; `status` is its HTTP status code."""

    status = 400

    def fields(self) -> Mapping[str, Sequence[str]] | None:
        """What is wrong with which field, for a 422."""
        return None

    def extra(self) -> Mapping[str, str]:
        """Further members of the JSON body."""
        return {}

    def headers(self) -> Mapping[str, str]:
        """Headers that belong to this answer."""
        return {}


class MalformedRequest(CallerError):
    """The request is not what HTTP or JSON allow (400)."""


class Unauthenticated(CallerError):
    """No token, or one that is unknown, expired or revoked (401, RFC 6750 §3.1)."""

    status = 401

    def __init__(self) -> None:
        super().__init__("Unauthenticated.")

    def headers(self) -> Mapping[str, str]:
        return {"www-authenticate": "Bearer"}


class Forbidden(CallerError):
    """The token lacks the scope that this call needs (403, RFC 6750 §3.1)."""

    status = 403


class NotFound(CallerError):
    """Unknown, or another account's: the two are told apart by nobody (404)."""

    status = 404

    def __init__(self, message: str = "Not found.") -> None:
        super().__init__(message)


class MethodNotAllowed(CallerError):
    """The path exists, the method does not (405)."""

    status = 405

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"Method not allowed. Allowed here: {', '.join(allowed)}.")
        self._allowed = allowed

    def headers(self) -> Mapping[str, str]:
        return {"allow": ", ".join(self._allowed)}


class NeedsReauthorization(CallerError):
    """The provider no longer honours the grant: its user must authorize again (409)."""

    status = 409

    def __init__(self, message: str, refresh_authorization_url: str = "") -> None:
        super().__init__(message)
        self.refresh_authorization_url = refresh_authorization_url

    def extra(self) -> Mapping[str, str]:
        return {"refresh_authorization_url": self.refresh_authorization_url}


class UnsupportedMediaType(CallerError):
    """The body is not of the type this call reads (415)."""

    status = 415


class InvalidValue(CallerError):
    """A well-formed request with a bad value (422); `errors` maps each field to its problems."""

    status = 422

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        first = next(iter(errors.values()))[0]
        super().__init__(first)
        self.errors = errors

    def fields(self) -> Mapping[str, Sequence[str]]:
        return self.errors


class TooManyRequests(CallerError):
    """Past the rate limit (429); `retry_after` in seconds."""

    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def headers(self) -> Mapping[str, str]:
        return {"retry-after": str(self.retry_after)}


class Unavailable(GrantkeeperError):
    """Cannot be answered now, and nobody must act but to try again (503); `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)


class AuthorizationFailed(GrantkeeperError):
    """A browser authorization ended without a connection.

    `reason` is a stable word for logs and tests, `title` and `message` are what the person reads,
    `retry_url` is where the page's button leads. `code`: of the ProviderError behind it, where there is one.
    """

    def __init__(
        self,
        reason: str,
        title: str,
        message: str,
        *,
        retry_url: str | None = None,
        status: int = 400,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.title = title
        self.retry_url = retry_url
        self.status = status
        self.code = code


class ProviderError(GrantkeeperError):
    """What a provider answered, or failed to; `code` is its OAuth error code where it gave one."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class ProviderUnavailable(ProviderError):
    """Timeout, reset, 5xx, 429: retry, after `retry_after` seconds where the provider said so.

    `sent` is false only where the request certainly did not reach the provider, so that a refresh token in it
    cannot have been spent: no address, no connection, no TLS, no time left to begin.
    """

    def __init__(
        self, message: str, *, retry_after: int | None = None, code: str | None = None, sent: bool = True
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
        self.sent = sent


class ProviderProtocolError(ProviderError):
    """An answer that OAuth 2 does not know: HTML, an array, no access token. Retried."""


class GrantRejected(ProviderError):
    """`invalid_grant` (RFC 6749 §5.2): the user must authorize again."""


class ClientRejected(ProviderError):
    """`invalid_client` and its family (RFC 6749 §5.2): the operator must act; no connection is condemned.

    Raised without an answer, something of ours was missing: nothing was sent.
    """

    sent = False


class AddressRefused(ClientRejected):
    """The provider's address is not one of the public Internet, nor allowed by the operator: nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="address_refused")


class StorageError(GrantkeeperError):
    """The database refused or broke a statement."""


class StorageUnavailable(StorageError):
    """The database is locked, restarting, full or away: worth another try."""


class SealError(GrantkeeperError):
    """A sealed value does not open: wrong key, or moved from where it was sealed."""


class ConfigError(GrantkeeperError):
    """The operator must act; `problems` lists everything that was found, not only the first."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
