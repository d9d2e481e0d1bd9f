"""Our registrations: what the catalogue says of a provider, joined with what the operator settled for it."""

from __future__ import annotations

from collections.abc import Mapping

from grantkeeper.catalogue.endpoints import endpoint_problems, resolve_endpoints
from grantkeeper.catalogue.load import Catalogue
from grantkeeper.catalogue.schema import Provider, Refresh
from grantkeeper.catalogue.schema import TokenResponsePaths as Paths
from grantkeeper.config import ClientSettings
from grantkeeper.errors import ClientRejected, NotFound
from grantkeeper.model import Connection
from grantkeeper.oauth.client import Client, IdentitySource, TokenResponsePaths
from grantkeeper.schedule import RefreshPolicy


class Clients:
    """One client for each provider that is fully settled; the others are not offered."""

    def __init__(self, catalogue: Catalogue, settings: Mapping[str, ClientSettings], public_url: str) -> None:
        self.catalogue = catalogue
        self._public_url = public_url
        self._labels = {provider.name: provider.label for provider in catalogue.values()}
        self._clients: dict[str, Client] = {}
        self._problems: dict[str, list[str]] = {}
        for name, given in settings.items():
            self._problems[name] = self._settle(name, given)

    def offered(self, name: str) -> Client:
        """The client of a provider that can be connected here, or NotFound."""
        client = self._clients.get(name)
        if client is None:
            raise NotFound("This provider cannot be connected here.")
        return client

    def registered(self, name: str, client_id: str) -> Client:
        """The client a grant was given to, or ClientRejected: a grant is never used with another client."""
        client = self._clients.get(name)
        if client is None:
            raise ClientRejected(
                f"the provider {name} is no longer set up here; restore clients.{name} in the settings"
            )
        if client.client_id != client_id:
            raise ClientRejected(
                f"the grant belongs to another client than clients.{name}.client_id; restore the client it was given to"
            )
        return client

    def of(self, connection: Connection) -> Client:
        """The client of a connection, or ClientRejected."""
        return self.registered(connection.provider, connection.client_id)

    def policy(self, name: str) -> RefreshPolicy:
        """How a provider's refreshes are to go; the default for one that is not set up here any more."""
        client = self._clients.get(name)
        return client.refresh_policy if client is not None else RefreshPolicy()

    def offers(self) -> list[tuple[str, str]]:
        """Name and label of every provider that can be connected here, by label."""
        return [(name, provider.label) for name, provider in self.catalogue.items() if name in self._clients]

    def label(self, name: str) -> str:
        """What people call a provider, also one that is no longer known."""
        return self._labels.get(name, name)

    def problems(self, name: str) -> list[str]:
        """Why a provider is not offered, and what to do; empty: it is."""
        if name in self._problems:
            return self._problems[name]
        return [f"clients.{name}: is not set up; it needs client_id and client_secret"]

    def configured(self) -> list[str]:
        """The providers that the settings name."""
        return list(self._problems)

    def refresh_authorization_url(self, connection: Connection) -> str:
        """Where a browser reauthorizes this connection in place."""
        return f"{self._public_url}/oauth/{connection.provider}/authorize/{connection.uuid}"

    def _settle(self, name: str, given: ClientSettings) -> list[str]:
        provider = self.catalogue.get(name)
        if provider is None:
            return [f"clients.{name}: the catalogue has no such provider; see `grantkeeper providers list`"]
        problems = endpoint_problems(provider, parameters=given.parameters, supplied=_supplied(given))
        if not given.client_id:
            problems.append(f"clients.{name}.client_id: is missing")
        if not given.client_secret and provider.token.client_authentication != "none":
            problems.append(f"clients.{name}.client_secret: is missing")
        if not problems:
            self._clients[name] = _client(provider, given, f"{self._public_url}/oauth/{name}/callback")
        return problems


def _supplied(given: ClientSettings) -> dict[str, str | None]:
    return {
        "authorization_url": given.authorization_url,
        "token_url": given.token_url,
        "revocation_url": given.revocation_url,
        "userinfo_url": given.userinfo_url,
    }


def _client(provider: Provider, given: ClientSettings, redirect_uri: str) -> Client:
    client_id = given.client_id or ""
    endpoints = resolve_endpoints(provider, client_id=client_id, parameters=given.parameters, supplied=_supplied(given))
    supplied_revocation = given.revocation_url is not None and provider.revocation.style == "none"
    identity = provider.identity
    return Client(
        name=provider.name,
        label=provider.label,
        client_id=client_id,
        client_secret=given.client_secret.get_secret_value() if given.client_secret else None,
        redirect_uri=redirect_uri,
        authorization_url=endpoints.authorization_url,
        authorization_parameters=provider.authorization.parameters,
        pkce=provider.authorization.pkce == "S256",
        scope_parameter=provider.authorization.scope_parameter,
        scopes=provider.scopes.requested(given.scopes),
        scope_separator=provider.scopes.separator,
        offline_scopes=provider.scopes.offline,
        issuer=endpoints.issuer,
        issuer_in_response=provider.authorization.issuer_in_response,
        token_url=endpoints.token_url,
        authentication=provider.token.client_authentication,
        json_body=provider.token.encoding == "json",
        token_parameters=provider.token.parameters,
        token_headers=provider.token.headers,
        response=_paths(provider.token.response, provider.response_scope_separator),
        refresh_response=_paths(provider.refresh_response, provider.response_scope_separator),
        refresh_url=endpoints.refresh_url,
        refresh_supported=provider.refresh.supported,
        refresh_sends_scope=provider.refresh.send_scope,
        refresh_policy=_policy(provider.refresh),
        error_meanings=dict(provider.refresh.errors),
        error_description_meanings=dict(provider.refresh.error_descriptions),
        revocation_url=endpoints.revocation_url,
        # An operator who supplies a revocation endpoint means the standard's.
        revocation_style="rfc7009" if supplied_revocation else provider.revocation.style,
        revocation_token=provider.revocation.token,
        revocation_authentication=provider.revocation_authentication,
        identity=IdentitySource(
            source="userinfo" if given.userinfo_url and identity.source == "none" else identity.source,
            url=endpoints.identity_url,
            subject=identity.subject,
            label=identity.label,
            headers=identity.headers,
        ),
    )


def _policy(refresh: Refresh) -> RefreshPolicy:
    return RefreshPolicy(
        ahead=refresh.when == "ahead",
        keep_alive=refresh.keep_alive,
        idle_lifetime=refresh.idle_lifetime,
        concurrency=refresh.concurrency,
        per_minute=refresh.per_minute,
    )


def _paths(paths: Paths, scope_separator: str) -> TokenResponsePaths:
    return TokenResponsePaths(
        access_token=paths.access_token,
        refresh_token=paths.refresh_token,
        token_type=paths.token_type,
        expires_in=paths.expires_in,
        refresh_expires_in=paths.refresh_lifetime,
        scope=paths.scope,
        error=paths.error,
        ok=paths.ok,
        default_lifetime=paths.default_lifetime,
        refresh_default_lifetime=paths.refresh_default_lifetime,
        scope_separator=scope_separator,
    )
