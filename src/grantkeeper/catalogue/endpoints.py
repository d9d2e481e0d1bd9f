"""A provider's endpoints for one client: placeholders filled, the operator's own put in."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import msgspec

from grantkeeper.catalogue.rules import CLIENT_ID, issuer_needs
from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.template import fill, placeholders, template_problem, url_problem
from grantkeeper.errors import ConfigError
from grantkeeper.urls import issuer_problem

_SUPPLIED = {
    "authorization_url": "authorization.url",
    "token_url": "token.url",
    "revocation_url": "revocation.url",
    "userinfo_url": "identity.url",
    "pushed_url": "authorization.pushed_url",
    "device_url": "device.url",
    "jwks_url": "signatures.jwks_url",
    "issuer": "authorization.issuer",
}
"""Names of endpoints in settings, and the keys of a definition that they stand in for."""


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where one client finds a provider; None: there is no such endpoint, or discovery has yet to find it.

    `refresh_url` is the token endpoint where there is no other.
    """

    authorization_url: str | None
    token_url: str | None
    refresh_url: str | None
    first_exchange_url: str | None
    revocation_url: str | None
    identity_url: str | None
    pushed_url: str | None
    device_url: str | None
    jwks_url: str | None
    issuer: str | None


def resolve_endpoints(
    provider: Provider,
    *,
    client_id: str,
    parameters: Mapping[str, str],
    supplied: Mapping[str, str | None],
) -> Endpoints:
    """The endpoints that a client of this provider uses.

    `parameters` fills the placeholders; `supplied` maps settings such as `authorization_url` and `token_url`
    to what the operator gives. Raises ConfigError with everything that `endpoint_problems` finds.
    """
    if problems := endpoint_problems(provider, parameters=parameters, supplied=supplied):
        raise ConfigError(problems)
    urls = _filled(provider, client_id, parameters) | {
        key: url for setting, key in _SUPPLIED.items() if (url := supplied.get(setting)) is not None
    }
    return Endpoints(
        authorization_url=urls.get("authorization.url"),
        token_url=urls.get("token.url"),
        refresh_url=urls.get("refresh.url", urls.get("token.url")),
        first_exchange_url=urls.get("refresh.first.url"),
        revocation_url=urls.get("revocation.url"),
        identity_url=urls.get("identity.url"),
        pushed_url=urls.get("authorization.pushed_url"),
        device_url=urls.get("device.url"),
        jwks_url=urls.get("signatures.jwks_url"),
        issuer=urls.get("authorization.issuer"),
    )


def endpoint_problems(
    provider: Provider, *, parameters: Mapping[str, str], supplied: Mapping[str, str | None]
) -> list[str]:
    """What the operator must still do, as `clients.NAME.SETTING: …`; empty: the endpoints are complete."""
    given = {setting: url for setting, url in supplied.items() if url is not None}
    found = [*_parameter_problems(provider, parameters), *_supplied_problems(provider, given)]
    if not found:
        found = list(_url_problems(provider, parameters))
    return [f"clients.{provider.name}.{problem}" for problem in found]


def operator_values(provider: Provider, parameters: Mapping[str, str]) -> dict[str, str]:
    """What the operator gives for placeholders, or the definition in its place."""
    defaults = {
        name: parameter.default
        for name, parameter in provider.parameters.items()
        if parameter.default is not None and parameter.ask == "operator"
    }
    return defaults | dict(parameters)


def _filled(provider: Provider, client_id: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """The URLs with all that the operator knows; what is kept with connections fills the rest later."""
    values = operator_values(provider, parameters) | {CLIENT_ID: client_id}
    return {key: fill(url, values) for key, url in provider.urls().items()}


def _parameter_problems(provider: Provider, parameters: Mapping[str, str]) -> Iterator[str]:
    for name, parameter in provider.parameters.items():
        if parameter.ask == "connection" and name not in parameters:
            continue
        value = parameters.get(name, parameter.default)
        example = f", for example {parameter.example}" if parameter.example else ""
        if value is None:
            yield f"parameters.{name}: is missing: {parameter.label}{example}"
        elif not parameter.accepts(value):
            words = f" ({parameter.wanted})" if parameter.wanted else ""
            yield f"parameters.{name}: is not a valid value: {parameter.label}{words}{example}"
    for name in parameters.keys() - provider.parameters.keys():
        near = difflib.get_close_matches(name, provider.parameters, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        yield f"parameters.{name}: {provider.label} has no such parameter{hint}"


def _supplied_problems(provider: Provider, given: Mapping[str, str]) -> Iterator[str]:
    for setting in _wanted(provider):
        if provider.operator_supplied and setting not in given and not provider.discovery:
            yield f"{setting}: is missing: {provider.label} publishes no endpoints, ask it for them"
    for setting, url in given.items():
        if setting not in _SUPPLIED:
            raise ValueError(f"not an endpoint that can be supplied: {setting}")
        if not provider.operator_supplied:
            yield f"{setting}: is in {provider.label}'s definition; to change it, put yours in providers_dir"
        elif problem := (issuer_problem if setting == "issuer" else url_problem)(url):
            yield f"{setting}: {problem}"


def _wanted(provider: Provider) -> list[str]:
    """The endpoints without which nothing works."""
    request = provider.authorization
    wanted = {
        "authorization_url": provider.grant == "authorization_code",
        "device_url": provider.grant == "device_code",
        "token_url": True,
        "pushed_url": request.pushed,
        "jwks_url": request.signed_response and provider.signatures.jwks_url is None,
        "issuer": bool(issuer_needs(provider)) and request.issuer is None,
    }
    return [setting for setting, needed in wanted.items() if needed]


def _url_problems(provider: Provider, parameters: Mapping[str, str]) -> Iterator[str]:
    """Filled URLs that are none; the parameters are to blame, as the templates were checked on loading."""
    filled = _filled(provider, "client-id", parameters)
    for key, template in provider.urls().items():
        if problem := template_problem(filled[key]):
            yield f"parameters.{placeholders(template)[0]}: {key} {problem}"
