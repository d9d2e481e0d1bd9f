"""A client out of a definition and settings: every value in the place where the protocol looks for it."""

from __future__ import annotations

from grantkeeper.catalogue.endpoints import Endpoints, operator_values, resolve_endpoints
from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import Refresh
from grantkeeper.catalogue.tables import TokenResponsePaths as Paths
from grantkeeper.config import ClientSettings
from grantkeeper.oauth.client import (
    Asked,
    AssertionPolicy,
    CalledBack,
    Client,
    ExchangePolicy,
    IdentitySource,
    RefreshRequest,
    TokenResponsePaths,
)
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.urls import fill

_SUPPLIED = (
    "authorization_url",
    "token_url",
    "revocation_url",
    "userinfo_url",
    "pushed_url",
    "device_url",
    "jwks_url",
    "issuer",
)


def supplied(given: ClientSettings) -> dict[str, str | None]:
    """What the operator gives in place of a definition's URLs, by the setting's name."""
    return {setting: getattr(given, setting) for setting in _SUPPLIED}


def client_of(
    provider: Provider, given: ClientSettings, client_id: str, client_secret: str | None, redirect_uri: str
) -> Client:
    """The client of a definition that is complete, with the settings and the credentials that belong to it."""
    endpoints = resolve_endpoints(provider, client_id=client_id, parameters=given.parameters, supplied=supplied(given))
    supplied_revocation = given.revocation_url is not None and provider.revocation.style == "none"
    identity, request, token = provider.identity, provider.authorization, provider.token
    values = operator_values(provider, given.parameters)
    return Client(
        name=provider.name,
        label=provider.label,
        grant=provider.grant,
        client_id=client_id,
        client_secret=client_secret,
        redirect_uri=fill(request.redirect_uri, values) if request.redirect_uri else redirect_uri,
        authorization_url=endpoints.authorization_url or "",
        together=provider.together,
        asked=_asked(provider, given),
        called_back=tuple(
            CalledBack(name=name, parameter=value.parameter or name, pattern=value.expression, required=value.required)
            for name, value in provider.callback.items()
        ),
        authorization_parameters={name: fill(value, values) for name, value in request.parameters.items()},
        authorization_renames=request.rename,
        pkce=request.pkce == "S256",
        scope_parameter=request.scope_parameter,
        code_parameter=request.code_parameter,
        scopes=provider.scopes.requested(given.scopes),
        scope_separator=provider.scopes.separator,
        offline_scopes=provider.scopes.offline,
        scope_aliases=provider.scopes.aliases,
        issuer=endpoints.issuer,
        issuer_in_response=request.issuer_in_response,
        pushed_url=endpoints.pushed_url if request.pushed else None,
        signed_request=request.signed_request,
        signed_response=request.signed_response,
        max_age=request.max_age,
        login_hint=request.login_hint,
        claims=request.claims,
        details=request.details,
        resources=provider.resources,
        device_url=endpoints.device_url,
        jwks_url=endpoints.jwks_url,
        signature_algorithms=provider.signatures.algorithms,
        token_url=endpoints.token_url or "",
        authentication=token.client_authentication,
        signing_algorithm=token.signing_algorithm,
        assertion_audience=token.assertion_audience,
        assertion_issuer=token.assertion_issuer,
        certificate=given.certificate,
        sender_constrained=token.sender_constrained,
        dpop_algorithm=token.dpop_algorithm,
        assertion=_assertion(provider),
        exchange=_exchange(provider),
        json_body=token.encoding == "json",
        token_method=token.method,
        token_renames=token.rename,
        token_parameters={name: fill(value, values) for name, value in token.parameters.items()},
        token_headers=token.headers,
        response=_paths(token.response, provider.response_scope_separator),
        refresh_response=_paths(
            provider.refresh_response, provider.refresh_response.scope_separator or provider.response_scope_separator
        ),
        refresh_supported=provider.refresh.supported,
        refresh_sends_scope=provider.refresh.send_scope,
        refresh_sends_redirect_uri=provider.refresh.send_redirect_uri,
        refresh_style=provider.refresh.style,
        refresh=_refresh(provider, endpoints),
        first_exchange=_first_exchange(provider, endpoints) if provider.refresh.at_once else None,
        refresh_parameters=provider.refresh.parameters,
        refresh_policy=_policy(provider.refresh),
        error_meanings=dict(provider.refresh.errors),
        error_description_meanings=dict(provider.refresh.error_descriptions),
        revocation_url=endpoints.revocation_url,
        # An operator who supplies a revocation endpoint means the standard's.
        revocation_style="rfc7009" if supplied_revocation else provider.revocation.style,
        revocation_token=provider.revocation.token,
        revocation_renames=provider.revocation.rename,
        revocation_authentication=provider.revocation_authentication,
        identity=IdentitySource(
            source="userinfo" if given.userinfo_url and identity.source == "none" else identity.source,
            url=endpoints.identity_url,
            subject=identity.subject,
            label=identity.label,
            tenant=identity.tenant,
            headers={name: fill(value, {"client_id": client_id}) for name, value in identity.headers.items()},
            method=identity.method,
            body=identity.body,
            token=identity.token,
        ),
        token_header=provider.api.header.lower(),
        token_scheme=provider.api.scheme,
    )


def _asked(provider: Provider, given: ClientSettings) -> tuple[Asked, ...]:
    """What the user says for each connection, unless the operator has said it for all."""
    return tuple(
        Asked(
            name=name,
            label=parameter.label,
            help=parameter.help,
            type=parameter.type,
            pattern=parameter.expression,
            choices=parameter.choices,
            default=parameter.default,
            example=parameter.example,
        )
        for name, parameter in provider.parameters.items()
        if parameter.ask == "connection" and name not in given.parameters
    )


def _assertion(provider: Provider) -> AssertionPolicy:
    stated = provider.assertion
    return AssertionPolicy(subject=stated.subject, audience=stated.audience, claims=stated.claims)


def _exchange(provider: Provider) -> ExchangePolicy | None:
    exchange = provider.exchange
    if exchange.source is None:
        return None
    return ExchangePolicy(
        source=exchange.source,
        audience=exchange.audience,
        subject_token_type=exchange.subject_token_type,
        requested_token_type=exchange.requested_token_type,
    )


def _refresh(provider: Provider, endpoints: Endpoints) -> RefreshRequest:
    stated = provider.refresh
    return RefreshRequest(
        url=endpoints.refresh_url,
        method=stated.method or provider.token.method,
        authentication=stated.client_authentication,
        grant_type=stated.grant_type,
        token_parameter=stated.token_parameter,
    )


def _first_exchange(provider: Provider, endpoints: Endpoints) -> RefreshRequest:
    first, later = provider.refresh.first, _refresh(provider, endpoints)
    return RefreshRequest(
        url=endpoints.first_exchange_url or later.url,
        method=later.method,
        authentication=first.client_authentication or later.authentication,
        grant_type=first.grant_type or later.grant_type,
        token_parameter=first.token_parameter or later.token_parameter,
    )


def _policy(refresh: Refresh) -> RefreshPolicy:
    return RefreshPolicy(
        ahead=refresh.when == "ahead",
        keep_alive=refresh.keep_alive,
        idle_lifetime=refresh.idle_lifetime,
        not_before=refresh.not_before,
        concurrency=refresh.concurrency,
        per_minute=refresh.per_minute,
    )


def _paths(paths: Paths, scope_separator: str) -> TokenResponsePaths:
    return TokenResponsePaths(
        access_token=paths.access_token,
        refresh_token=paths.refresh_token,
        token_type=paths.token_type,
        expires_in=paths.expires_in,
        expires=paths.expires,
        keep=paths.keep,
        refresh_expires_in=paths.refresh_lifetime,
        scope=paths.scope,
        error=paths.error,
        error_description=paths.error_description,
        ok=paths.ok,
        default_lifetime=paths.default_lifetime,
        refresh_default_lifetime=paths.refresh_default_lifetime,
        scope_separator=scope_separator,
    )
