"""Grants that need no person, and are asked for again where others are refreshed: one function for both."""

from __future__ import annotations

from grantkeeper.clock import Instant
from grantkeeper.errors import ClientRejected
from grantkeeper.model import Renewal
from grantkeeper.oauth.assertion import jwt_bearer_assertion
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.grants import client_credentials_call, jwt_bearer_call, refresh_call, token_exchange_call
from grantkeeper.oauth.message import Call
from grantkeeper.oauth.signing import ClientKeys


async def renewal_call(
    client: Client, renewal: Renewal, keys: ClientKeys, now: Instant, source_token: str | None
) -> Call:
    """What asks for that grant (RFC 6749 §4.4, RFC 7523 §2.1, RFC 8693 §2.1).

    `source_token`: the access token to exchange, another connection's or the connection's own. ClientRejected where the
    provider's definition has changed so that it no longer means this grant, or a key is missing.
    """
    if renewal.grant == "access_token" and client.refresh_style == "access_token":
        return refresh_call(client, source_token or "", (), first=renewal.first)
    if renewal.grant != client.grant:
        raise ClientRejected(
            f"{client.name} is defined with grant = '{client.grant}' now, but this connection came by "
            f"'{renewal.grant}'; restore the definition, or connect again"
        )
    if renewal.grant == "client_credentials":
        return client_credentials_call(client)
    if renewal.grant == "token_exchange":
        return token_exchange_call(client, source_token or "")
    policy = client.assertion
    assertion = await jwt_bearer_assertion(
        await keys.signer(client.signing_algorithm),
        client.client_id,
        renewal.subject or client.client_id,
        policy.audience or client.audience,
        now,
        policy.claims,
    )
    return jwt_bearer_call(client, assertion)
