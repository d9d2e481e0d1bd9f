"""The closed lists of words by which definitions and the protocol say how a provider wants it."""

from __future__ import annotations

from typing import Literal

ClientAuthentication = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
]
"""How the client proves itself (RFC 6749 §2.3.1, OpenID Connect Core §9, RFC 8705 §2; names of RFC 8414 §2)."""

SigningAlgorithm = Literal["RS256", "PS256", "ES256", "EdDSA"]
"""What signs our assertions and requests, and theirs (RFC 7518 §3.1, RFC 8037 §3.1)."""

ProofAlgorithm = Literal["ES256", "EdDSA"]
"""What signs DPoP proofs (RFC 9449 §4.2)."""

GrantType = Literal["authorization_code", "device_code", "client_credentials", "jwt_bearer", "token_exchange"]
"""How a connection is had: the grant types of RFC 6749, 8628, 7523 and 8693, by their short names."""

ErrorMeaning = Literal["grant", "client", "transient"]
"""Who must act after an error: `grant` the user, `client` the operator, `transient` nobody: it is retried."""

Expiry = Literal["seconds", "milliseconds", "at_seconds", "at_milliseconds", "at_iso"]
"""How an answer states when a token ends: how long it lives, or the moment (Unix time, or ISO 8601)."""

AssertionAudience = Literal["issuer", "token_endpoint"]
"""Whom our assertions are for (RFC 7523 §3)."""

AssertionIssuer = Literal["client_id", "redirect_host"]
"""Who our client assertions say speaks (RFC 7523 §3)."""

SenderConstraint = Literal["no", "dpop", "certificate"]
"""What tokens are bound to: nothing, a key of the connection (RFC 9449), our certificate (RFC 8705 §3)."""

LoginHint = Literal["none", "identity", "subject"]
"""What the server is told of who is expected (OpenID Connect Core §3.1.2.1)."""

TokenKind = Literal["refresh_token", "access_token"]
"""Which of a connection's two tokens."""

RevocationStyle = Literal["rfc7009", "json", "bearer", "delete_bearer", "delete_json", "none"]
"""How a grant is ended at the provider."""

IdentityOrigin = Literal["userinfo", "id_token", "token_response", "none"]
"""Where it is read whose grant it is."""

TokenPlace = Literal["header", "query"]
"""Where an access token goes in a request."""

ValueType = Literal["text", "subdomain", "host", "server", "url", "uuid", "number"]
"""What kind of value fills a placeholder; `urls` has what each looks like."""

AssertionSubject = Literal["client_id", "asked"]
"""Whose access a JWT bearer assertion asks for (RFC 7523 §2.1)."""
