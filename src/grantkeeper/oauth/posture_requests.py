"""The part of a posture that is about authorization requests and responses; other grants have none."""

from __future__ import annotations

from grantkeeper.oauth.aspect import (
    NOT_ANNOUNCED,
    SIGNING,
    STRENGTH,
    Aspect,
    Look,
    announced_or_not,
    missing,
    none_accepted,
    wanted_or_missing,
    words,
    yes_or_no,
)
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.metadata import ServerMetadata


def _pkce(client: Client, metadata: ServerMetadata) -> Aspect:
    announced = metadata.code_challenge_methods_supported
    unused = not client.pkce and "S256" in (announced or ())
    return Aspect(
        topic="PKCE",
        supported=words(announced),
        used="S256" if client.pkce else "no",
        rfc="RFC 7636, RFC 9700 §2.1.1",
        safer='authorization.pkce = "S256"' if unused else None,
        conflict=missing(announced, ["S256"]) if client.pkce else None,
    )


def _pushed(client: Client, metadata: ServerMetadata) -> Aspect:
    url, required = metadata.pushed_authorization_request_endpoint, metadata.require_pushed_authorization_requests
    setting = f'authorization.pushed = true, authorization.pushed_url = "{url}"'
    return Aspect(
        topic="pushed requests (PAR)",
        supported="required" if required else "yes" if url else NOT_ANNOUNCED,
        used=yes_or_no(client.pushes),
        rfc="RFC 9126",
        safer=setting if url and not client.pushes else None,
        conflict=wanted_or_missing(client.pushes, required, url is not None),
    )


def _signed_request(client: Client, metadata: ServerMetadata) -> Aspect:
    required, algorithms = metadata.require_signed_request_object, metadata.request_object_signing_alg_values_supported
    usable = [one for one in (*SIGNING, "RS256") if one in (algorithms or ())]
    # Without a word on algorithms RS256 can be expected at most (OpenID Connect Discovery §3): no advice is given.
    supported = required or bool(usable) or (metadata.request_parameter_supported and algorithms is None)
    conflict = wanted_or_missing(client.signed_request, required, supported)
    if client.signed_request and conflict is None:
        conflict = missing(algorithms, [client.signing_algorithm])
    return Aspect(
        topic="signed requests (JAR)",
        supported="required" if required else words(algorithms) if algorithms else announced_or_not(supported),
        used=yes_or_no(client.signed_request),
        rfc="RFC 9101",
        safer="authorization.signed_request = true" if usable and not client.signed_request else None,
        conflict=conflict,
    )


def _signed_response(client: Client, metadata: ServerMetadata) -> Aspect:
    supported = bool({"jwt", "query.jwt"} & set(metadata.response_modes_supported or ()))
    conflict = wanted_or_missing(client.signed_response, False, supported)
    if client.signed_response and conflict is None:
        conflict = none_accepted(client, metadata.authorization_signing_alg_values_supported)
    return Aspect(
        topic="signed responses (JARM)",
        supported=announced_or_not(supported),
        used=yes_or_no(client.signed_response),
        rfc="JARM §2",
        safer="authorization.signed_response = true" if supported and not client.signed_response else None,
        conflict=conflict,
    )


def _issuer(client: Client, metadata: ServerMetadata) -> Aspect:
    supported = metadata.authorization_response_iss_parameter_supported
    checked = client.issuer_in_response or client.signed_response
    return Aspect(
        topic="issuer in responses",
        supported=announced_or_not(supported),
        used="required" if checked else "compared where it comes",
        rfc="RFC 9207",
        safer="authorization.issuer_in_response = true" if supported and not checked else None,
        conflict=wanted_or_missing(client.issuer_in_response, False, supported),
    )


def _details(client: Client, metadata: ServerMetadata) -> Aspect:
    announced, used = metadata.authorization_details_types_supported, [str(one.get("type")) for one in client.details]
    return Aspect(
        topic="authorization details",
        supported=words(announced),
        used=words(used or None, "none"),
        rfc="RFC 9396 §10",
        conflict=missing(announced, used),
    )


def _profile(client: Client, metadata: ServerMetadata) -> Aspect:
    """Whether one line would do for all of it."""
    methods, algorithms = metadata.token_endpoint_auth_methods_supported, metadata.dpop_signing_alg_values_supported
    supported = (
        metadata.pushed_authorization_request_endpoint is not None
        and metadata.authorization_response_iss_parameter_supported
        and "S256" in (metadata.code_challenge_methods_supported or ())
        and any(STRENGTH.get(method) == 3 for method in STRENGTH if method in (methods or ()))
        and bool(algorithms or metadata.tls_client_certificate_bound_access_tokens)
    )
    named = client.issuer_in_response or client.signed_response
    strong = STRENGTH[client.authentication] == 3 and client.sender_constrained != "no"
    used = client.pushes and client.pkce and named and strong
    return Aspect(
        topic="FAPI 2.0",
        supported="all that it asks for is announced" if supported else NOT_ANNOUNCED,
        used=yes_or_no(used),
        rfc="FAPI 2.0 Security Profile §5.3",
        safer='profile = "fapi2"' if supported and not used else None,
    )


IN_A_BROWSER: tuple[Look, ...] = (
    _pkce,
    _pushed,
    _signed_request,
    _signed_response,
    _issuer,
    _details,
    _profile,
)
