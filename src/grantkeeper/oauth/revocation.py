"""Telling the provider that a grant is over (RFC 7009)."""

from __future__ import annotations

from typing import Literal

from grantkeeper.clock import Instant
from grantkeeper.errors import GrantRejected, ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import TokenSet
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Call, Response, at_path
from grantkeeper.oauth.token import error_code, error_for


def revocation_call(client: Client, tokens: TokenSet) -> Call | None:
    """Revoke the refresh token, or the access token where there is none; None: not supported there."""
    if client.revocation_url is None or client.revocation_style == "none":
        return None
    token, hint = tokens.access_token, "access_token"
    if client.revocation_token == "refresh_token" and tokens.refresh_token is not None:
        token, hint = tokens.refresh_token, "refresh_token"
    authentication = client.revocation_authentication
    if client.revocation_style in ("bearer", "delete_bearer"):
        return Call(
            url=client.revocation_url,
            parameters={},
            method="POST" if client.revocation_style == "bearer" else "DELETE",
            headers={"authorization": f"Bearer {token}"},
            authentication="none",
        )
    if client.revocation_style == "delete_json":
        return Call(
            url=client.revocation_url,
            parameters={"access_token": token},
            method="DELETE",
            encoding="json",
            authentication=authentication,
            renames=client.revocation_renames,
        )
    parameters: dict[str, str | list[str]] = {"token": token, "token_type_hint": hint}
    encoding: Literal["form", "json"] = "json" if client.revocation_style == "json" else "form"
    return Call(
        url=client.revocation_url,
        parameters=parameters,
        encoding=encoding,
        authentication=authentication,
        renames=client.revocation_renames,
    )


def revocation_response(client: Client, response: Response, now: Instant) -> None:
    """Nothing where the grant is over (an unknown token counts, RFC 7009 §2.2), else the ProviderError."""
    if response.status == 429 or response.status >= 500:
        raise ProviderUnavailable(
            f"{client.label} answered HTTP {response.status} to the revocation",
            retry_after=response.retry_after(now),
        )
    code, refused = _refusal(client, response)
    if not refused:
        return
    if code is None:
        raise ProviderProtocolError(f"{client.label} answered HTTP {response.status} to the revocation")
    error = error_for(client, code, response.status, response.retry_after(now))
    # The token was dead already: that is what was asked for, though RFC 7009 wants no error then.
    if code != "invalid_token" and not isinstance(error, GrantRejected):
        raise error


def _refusal(client: Client, response: Response) -> tuple[str | None, bool]:
    """The error code, and whether the provider refused; some do so with HTTP 200."""
    try:
        document = response.json_object()
    except ProviderProtocolError:
        document = {}
    code = error_code(at_path(document, client.response.error))
    told_no = client.response.ok is not None and at_path(document, client.response.ok) is False
    return code, response.status >= 300 or told_no or code is not None
