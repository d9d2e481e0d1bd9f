"""The steps that every grant shares: ask the token endpoint, read its answer, learn whose grant it is."""

from __future__ import annotations

from typing import Any

import msgspec

from grantkeeper import logs
from grantkeeper.clock import Clock, Instant
from grantkeeper.discovery import Discovery
from grantkeeper.errors import ProviderError, ProviderProtocolError
from grantkeeper.model import AttemptSecrets, Grant, Record, Renewal
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.id_token import id_token_claims, id_token_kid
from grantkeeper.oauth.identity import (
    Identity,
    identity_in_token_response,
    userinfo_request,
    userinfo_response,
)
from grantkeeper.oauth.message import Call, Response
from grantkeeper.oauth.renewals import renewal_call
from grantkeeper.oauth.sender import Sender
from grantkeeper.oauth.token import TokenResponse, token_response

_IDENTITY_TRIES = 2


class Redeemed(Record, frozen=True):
    """What a provider gave for a grant, and to whom; `identity` None: it cannot or does not say.

    `answer`: all that it answered, at `requested_at`; other token sets may be in it.
    """

    grant: Grant
    identity: Identity | None
    answer: Response
    requested_at: Instant


class Redeemer:
    """Redeems grants of every type. One way in, so that no grant can forget a check."""

    def __init__(self, sender: Sender, discovery: Discovery, clock: Clock) -> None:
        self._sender = sender
        self._discovery = discovery
        self._clock = clock

    async def redeem(
        self, client: Client, call: Call, secrets: AttemptSecrets, renewal: Renewal | None = None
    ) -> Redeemed:
        """The grant that the token endpoint gives for `call`; ProviderError where it gives none, or one not for us.

        What came with a refused ID token is not revoked: at some providers that would end the person's other
        connections.
        """
        requested_at = self._clock.now()
        answer = await self._sender.call(client, call, secrets.dpop_key)
        return await self._read(client, answer, requested_at, secrets, renewal)

    async def further(self, client: Client, redeemed: Redeemed, secrets: AttemptSecrets) -> Redeemed | None:
        """Another client's token set in the same answer; None where there is none, or none that is good."""
        try:
            return await self._read(client, redeemed.answer, redeemed.requested_at, secrets, None)
        except ProviderError as error:
            logs.event("authorization.set_missing", provider=client.name, reason=error.message)
            return None

    async def _read(
        self, client: Client, answer: Response, requested_at: Instant, secrets: AttemptSecrets, renewal: Renewal | None
    ) -> Redeemed:
        redeemed = token_response(
            client,
            answer,
            requested_at,
            dpop_key=secrets.dpop_key,
            renewal=renewal,
            parameters=secrets.parameters,
        )
        # From here on with what this answer has told, such as the host of this customer.
        client = client.filled(redeemed.grant.tokens.parameters)
        redeemed = await self._long_lived(client, redeemed)
        identity = await self._identity(client, redeemed, await self._claims(client, redeemed, secrets.nonce))
        if identity is None and renewal is not None and renewal.subject is not None:
            identity = Identity(subject=renewal.subject, label=renewal.subject)
        grant = redeemed.grant
        if identity is not None:
            grant = msgspec.structs.replace(grant, subject=identity.subject, identity=identity.label)
        return Redeemed(grant=grant, identity=identity, answer=answer, requested_at=requested_at)

    async def _long_lived(self, client: Client, redeemed: TokenResponse) -> TokenResponse:
        """The token that the first one is exchanged for, where that one does not live long."""
        tokens = redeemed.grant.tokens
        if client.first_exchange is None or tokens.renewal is None:
            return redeemed
        requested_at = self._clock.now()
        call = await renewal_call(client, tokens.renewal, self._sender.keys, requested_at, tokens.access_token)
        try:
            answer = await self._sender.call(client, call, tokens.dpop_key)
            later = token_response(client, answer, requested_at, redeemed.grant)
        except ProviderError as error:
            # The first one works as yet; the worker tries again before it ends.
            logs.event("authorization.short_lived", provider=client.name, reason=error.message)
            return redeemed
        return TokenResponse(grant=later.grant, document=redeemed.document)

    async def _claims(self, client: Client, redeemed: TokenResponse, nonce: str | None) -> dict[str, Any] | None:
        """The claims of the ID token, checked (OpenID Connect Core §3.1.3.7); None where none came or was asked for."""
        id_token = redeemed.document.get("id_token")
        if not client.openid or not isinstance(id_token, str):
            if nonce is not None and client.id_token_required:
                raise ProviderProtocolError(f"{client.label} sent no ID token", code="id_token_missing")
            return None
        return id_token_claims(
            id_token,
            client_id=client.client_id,
            issuer=client.issuer,
            keys=await self._discovery.key_set(client, id_token_kid(id_token)),
            algorithms=client.signature_algorithms,
            nonce=nonce,
            now=self._clock.now(),
            access_token=redeemed.grant.tokens.access_token,
            max_age=client.max_age,
        )

    async def _identity(
        self, client: Client, redeemed: TokenResponse, claims: dict[str, Any] | None
    ) -> Identity | None:
        """Who consented; ProviderProtocolError where the provider contradicts itself."""
        given = identity_in_token_response(client, redeemed.document, claims)
        request = userinfo_request(client)
        if given is not None or request is None:
            return given
        subject = claims["sub"] if claims is not None else None
        for _ in range(_IDENTITY_TRIES):
            try:
                answer = await self._sender.protected(client, request, redeemed.grant.tokens)
                return userinfo_response(client, answer, subject)
            except ProviderError as error:
                if error.code == "userinfo_subject":
                    raise
                logs.event("authorization.identity_unknown", provider=client.name, reason=error.message)
        return Identity(subject=subject) if subject is not None and client.identity.subject == "sub" else None
