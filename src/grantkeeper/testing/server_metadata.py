"""What the fake provider says of itself (RFC 8414 §2, OpenID Connect Discovery §3): no more than is on."""

from __future__ import annotations

from grantkeeper.testing.features import Features
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.jwt_reading import ASYMMETRIC
from grantkeeper.testing.token_policy import bent

_SIGNATURES = [name for name in ASYMMETRIC if name != "Ed25519"]


def server_metadata(ground: Ground) -> dict[str, object]:
    """The metadata as it is now, bent as the policy says."""
    features, issuer = ground.features, ground.issuer
    methods = features.auth_methods()
    members: dict[str, object] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "scopes_supported": list(ground.scopes),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", *(["jwt", "query.jwt"] if features.jarm else [])],
        "grant_types_supported": features.grant_types(),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "authorization_response_iss_parameter_supported": True,
    }
    members |= _signing(features, issuer) | _requests(features, issuer) | _further(features, issuer)
    return bent(members, ground.policy.metadata)


def _signing(features: Features, issuer: str) -> dict[str, object]:
    members: dict[str, object] = {}
    if features.openid or features.jarm or features.jwt_access_tokens:
        members["jwks_uri"] = f"{issuer}/jwks"
    if features.openid:
        members |= {
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [features.signing_algorithm],
            "claims_supported": ["sub", "name", "email", "auth_time"],
        }
    if features.jarm:
        members["authorization_signing_alg_values_supported"] = [features.signing_algorithm]
    if features.client_assertions:
        algorithms = [*_SIGNATURES, "HS256"]
        members["token_endpoint_auth_signing_alg_values_supported"] = algorithms
        members["revocation_endpoint_auth_signing_alg_values_supported"] = algorithms
    if features.dpop != "off":
        members["dpop_signing_alg_values_supported"] = _SIGNATURES
    return members


def _requests(features: Features, issuer: str) -> dict[str, object]:
    members: dict[str, object] = {}
    if features.pushed_requests != "off":
        members["pushed_authorization_request_endpoint"] = f"{issuer}/par"
        members["require_pushed_authorization_requests"] = features.pushed_requests == "required"
    if features.request_objects != "off":
        members["request_parameter_supported"] = True
        members["request_object_signing_alg_values_supported"] = _SIGNATURES
        members["require_signed_request_object"] = features.request_objects == "required"
    if features.authorization_details:
        members["authorization_details_types_supported"] = sorted(features.authorization_details)
    return members


def _further(features: Features, issuer: str) -> dict[str, object]:
    members: dict[str, object] = {}
    if features.device_code:
        members["device_authorization_endpoint"] = f"{issuer}/device_authorization"
    if features.registration:
        members["registration_endpoint"] = f"{issuer}/register"
    if features.client_documents:
        members["client_id_metadata_document_supported"] = True
    if features.sample_resource:
        members["protected_resources"] = [f"{issuer}/mcp"]
    return members
