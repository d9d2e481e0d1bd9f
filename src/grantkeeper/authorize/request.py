"""The authorization request as the browser carries it: plain, signed, or pushed beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grantkeeper.clock import Clock
from grantkeeper.model import AttemptSecrets
from grantkeeper.oauth.authorization import authorization_parameters, front_channel_url, pushed_response
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.grants import pushed_call
from grantkeeper.oauth.request_object import request_object
from grantkeeper.oauth.sender import Sender


class AuthorizationRequests:
    """Writes authorization requests as the provider's definition wants them."""

    def __init__(self, sender: Sender, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock

    async def url(self, client: Client, state: str, secrets: AttemptSecrets, login_hint: str | None) -> str:
        """Where the browser is sent (RFC 6749 §4.1.1, RFC 9101 §5, RFC 9126 §4), or the ProviderError on the way."""
        parameters: Mapping[str, Any] = authorization_parameters(client, state, secrets, login_hint)
        if client.signed_request:
            signer = await self._sender.keys.signer(client.signing_algorithm)
            signed = await request_object(
                signer, client.client_id, client.issuer or client.token_url, parameters, self._clock.now()
            )
            parameters = {"client_id": client.client_id, "request": signed}
        if client.pushes:
            answer = await self._sender.call(client, pushed_call(client, parameters), secrets.dpop_key)
            request_uri = pushed_response(client, answer, self._clock.now())
            parameters = {"client_id": client.client_id, "request_uri": request_uri}
        return front_channel_url(client, parameters)
