"""What a server supports, what we use of it, and what safer option is left unused: for `grantkeeper doctor PROVIDER`.

Pure: a client and its server's metadata in, words out. The names of keys are those of a provider's definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grantkeeper.oauth.aspect import (
    NO_METADATA,
    NOT_ANNOUNCED,
    SIGNING,
    STRENGTH,
    Aspect,
    Look,
    missing,
    none_accepted,
    words,
)
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.metadata import ServerMetadata
from grantkeeper.oauth.posture_requests import IN_A_BROWSER
from grantkeeper.oauth.registration import GRANT_TYPES
from grantkeeper.terms import ClientAuthentication


def posture(client: Client, metadata: ServerMetadata | None) -> list[Aspect]:
    """Every topic that this client's grant is concerned with; without metadata, what we use."""
    looks = (*_ALWAYS, *(IN_A_BROWSER if client.grant == "authorization_code" else ()))
    if metadata is None:
        silent = (look(client, ServerMetadata(issuer="")) for look in looks)
        return [Aspect(topic=a.topic, supported=NO_METADATA, used=a.used, rfc=a.rfc) for a in silent]
    return [look(client, metadata) for look in looks]


def _authentication(client: Client, metadata: ServerMetadata) -> Aspect:
    announced, used = metadata.token_endpoint_auth_methods_supported, client.authentication
    stronger = [method for method in STRENGTH if method in (announced or ()) and STRENGTH[method] > STRENGTH[used]]
    return Aspect(
        topic="client authentication",
        supported=words(announced),
        used=used,
        rfc="RFC 6749 §2.3, RFC 7523 §2.2, RFC 8705 §2",
        safer=_to_authenticate(stronger[0], metadata) if stronger else None,
        conflict=missing(announced, [used]),
    )


def _to_authenticate(method: ClientAuthentication, metadata: ServerMetadata) -> str:
    announced = metadata.token_endpoint_auth_signing_alg_values_supported
    wanted = f'token.client_authentication = "{method}"'
    if method != "private_key_jwt" or announced is None or SIGNING[0] in announced:
        return wanted
    other = next((algorithm for algorithm in (*SIGNING, "RS256") if algorithm in announced), None)
    return f'{wanted}, token.signing_algorithm = "{other}"' if other else wanted


def _assertion_signature(client: Client, metadata: ServerMetadata) -> Aspect:
    announced = metadata.token_endpoint_auth_signing_alg_values_supported
    signs = client.authentication == "private_key_jwt"
    better = next((one for one in SIGNING if one in (announced or ())), None)
    return Aspect(
        topic="signature of our assertions",
        supported=words(announced),
        used=client.signing_algorithm if signs else "none is sent",
        rfc="RFC 7523 §3, RFC 7518 §3.1",
        safer=f'token.signing_algorithm = "{better}"'
        if signs and better and client.signing_algorithm == "RS256"
        else None,
        conflict=missing(announced, [client.signing_algorithm]) if signs else None,
    )


def _sender_constraint(client: Client, metadata: ServerMetadata) -> Aspect:
    used, algorithms = client.sender_constrained, metadata.dpop_signing_alg_values_supported
    bound = metadata.tls_client_certificate_bound_access_tokens
    announced = [*(["dpop"] if algorithms else []), *(["certificate"] if bound else [])]
    conflict = missing(announced, [used]) if used != "no" else None
    if used == "dpop" and conflict is None:
        conflict = missing(algorithms, [client.dpop_algorithm])
    return Aspect(
        topic="sender-constrained tokens",
        supported=words(announced or None),
        used=used,
        rfc="RFC 9449, RFC 8705 §3",
        safer=_to_bind(client, algorithms, bound) if used == "no" else None,
        conflict=conflict,
    )


def _to_bind(client: Client, algorithms: Sequence[str] | None, by_certificate: bool) -> str | None:
    if by_certificate and client.shows_certificate:
        return 'token.sender_constrained = "certificate"'
    usable = next((one for one in ("ES256", "EdDSA") if one in (algorithms or ())), None)
    if usable is None:
        return 'token.sender_constrained = "certificate"' if by_certificate else None
    also = "" if usable == "ES256" else f', token.dpop_algorithm = "{usable}"'
    return f'token.sender_constrained = "dpop"{also}'


def _id_token(client: Client, metadata: ServerMetadata) -> Aspect:
    announced = metadata.id_token_signing_alg_values_supported
    keys = metadata.jwks_uri if client.openid and client.jwks_url is None else None
    used = "the signature is checked" if client.jwks_url else "the token endpoint's TLS stands for the signature"
    return Aspect(
        topic="ID token",
        supported=words(announced),
        used=f"{used} ({', '.join(client.signature_algorithms)})" if client.openid else "none is asked for",
        rfc="OpenID Connect Core §3.1.3.7",
        safer=f'signatures.jwks_url = "{keys}"' if keys else None,
        conflict=none_accepted(client, announced) if client.openid else None,
    )


def _refresh(client: Client, metadata: ServerMetadata) -> Aspect:
    announced = metadata.grant_types_supported
    offered = NOT_ANNOUNCED if announced is None else "yes" if "refresh_token" in announced else "no"
    return Aspect(
        topic="refresh tokens and their rotation",
        supported=f"refresh tokens: {offered}; no metadata tell of rotation",
        used="refreshed; a new refresh token replaces the old one" if client.refresh_supported else "not refreshed",
        rfc="RFC 6749 §6, RFC 9700 §4.14.2",
    )


def _revocation(client: Client, metadata: ServerMetadata) -> Aspect:
    url = metadata.revocation_endpoint
    unused = client.revocation_style == "none" and url is not None
    return Aspect(
        topic="revocation",
        supported="yes" if url else NOT_ANNOUNCED,
        used="no" if client.revocation_style == "none" else client.revocation_style,
        rfc="RFC 7009",
        safer=f'revocation.style = "rfc7009", revocation.url = "{url}"' if unused else None,
    )


def _grant(client: Client, metadata: ServerMetadata) -> Aspect:
    announced = metadata.grant_types_supported
    return Aspect(
        topic="grant",
        supported=words(announced),
        used=client.grant,
        rfc="RFC 6749 §1.3, RFC 8414 §2",
        conflict=missing(announced, [GRANT_TYPES[client.grant]]),
    )


def _scopes(client: Client, metadata: ServerMetadata) -> Aspect:
    conflict = missing(metadata.scopes_supported, client.scopes)
    return Aspect(
        topic="scopes",
        supported=words(metadata.scopes_supported),
        used=words(client.scopes or None, "none"),
        rfc="RFC 6749 §3.3, RFC 8414 §2",
        conflict=f"{conflict}; it may know more than it announces" if conflict else None,
    )


def _aliases(client: Client, metadata: ServerMetadata) -> Aspect:
    """A server may ask for certificates at other endpoints than the usual ones."""
    alias = metadata.mtls_endpoint_aliases.get("token_endpoint")
    elsewhere = alias if client.shows_certificate and alias not in (None, client.token_url) else None
    return Aspect(
        topic="endpoints for certificates",
        supported=words(tuple(metadata.mtls_endpoint_aliases) or None),
        used="a certificate is shown" if client.shows_certificate else "no certificate is shown",
        rfc="RFC 8705 §5",
        conflict=f'certificates are asked for elsewhere: token.url = "{elsewhere}"' if elsewhere else None,
    )


def _endpoints(client: Client, metadata: ServerMetadata) -> Aspect:
    return Aspect(
        topic="endpoints",
        supported="announced" if metadata.token_endpoint else NOT_ANNOUNCED,
        used=client.token_url,
        rfc="RFC 8414 §2",
        conflict="; ".join(_differing(client, metadata)) or None,
    )


def _differing(client: Client, metadata: ServerMetadata) -> Iterator[str]:
    """What is announced at another place than where we go."""
    for key, ours, name in (
        ("authorization.url", client.authorization_url, "authorization_endpoint"),
        ("authorization.pushed_url", client.pushed_url, "pushed_authorization_request_endpoint"),
        ("device.url", client.device_url, "device_authorization_endpoint"),
        ("token.url", client.token_url, "token_endpoint"),
        ("signatures.jwks_url", client.jwks_url, "jwks_uri"),
    ):
        announced = getattr(metadata, name)
        if ours and announced and ours not in (announced, metadata.mtls_endpoint_aliases.get(name)):
            yield f"{key} is {ours}, announced is {announced}"


def _resources(client: Client, metadata: ServerMetadata) -> Aspect:
    stated = metadata.others.get("protected_resources")
    announced = [one for one in stated if isinstance(one, str)] if isinstance(stated, list) else None
    return Aspect(
        topic="resource indicators",
        supported=words(announced),
        used=words(client.resources or None, "none"),
        rfc="RFC 8707, RFC 9728 §4",
        conflict=missing(announced, client.resources),
    )


_ALWAYS: tuple[Look, ...] = (
    _authentication,
    _assertion_signature,
    _sender_constraint,
    _grant,
    _scopes,
    _resources,
    _id_token,
    _refresh,
    _revocation,
    _aliases,
    _endpoints,
)
