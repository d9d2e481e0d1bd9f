"""The clients of one installation, each put together anew when something is found out about its provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from grantkeeper.catalogue.catalogue import Catalogue, by_label
from grantkeeper.catalogue.endpoints import endpoint_problems, operator_values, resolve_endpoints
from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import Api
from grantkeeper.clients.client import client_of, supplied
from grantkeeper.clients.completion import completed, shortcomings
from grantkeeper.clients.found import Found, Wanted
from grantkeeper.clients.generic import generic_definition, is_generic
from grantkeeper.config import ClientSettings
from grantkeeper.errors import ClientRejected, NotFound, ProviderUnavailable, Unavailable
from grantkeeper.model import Connection, Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.registration import Application, client_metadata, metadata_document
from grantkeeper.schedule import RefreshPolicy
from grantkeeper.urls import fill

APPLICATION = "Grantkeeper"
"""Our name at servers where nobody registered us by hand."""

_BY_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")


class _Standing(Record, frozen=True):
    """What a client has come to. `pending`: it lacks what is still to be found out.

    A client with problems is offered to nobody, but what was granted to it is still refreshed and revoked.
    """

    client: Client | None = None
    problems: tuple[str, ...] = ()
    pending: bool = False
    registers: bool = False
    identifies: bool = False


class Clients:
    """One client for each provider that is fully settled; the others are not offered."""

    def __init__(self, catalogue: Catalogue, settings: Mapping[str, ClientSettings], public_url: str) -> None:
        self._settings = dict(settings)
        self._public_url = public_url
        self._generic: set[str] = set()
        self._found: dict[str, Found] = {}
        self._standing = dict.fromkeys(settings, _Standing())
        self.catalogue = self._with_generic(catalogue)
        self._wanted = {name: self._where_to_look(name) for name in settings}
        for name in settings:
            self._settle(name)

    def use(self, catalogue: Catalogue) -> None:
        """Go on with other definitions; all clients change at once, or none where one of them cannot be had.

        What was found about a provider stays known where the new definition looks for it at the same place.
        """
        fresh = Clients(catalogue, self._settings, self._public_url)
        for name, found in self._found.items():
            if fresh.wanted(name) == self.wanted(name):
                fresh.learn(name, found)
        self._generic, self._found, self._standing = fresh._generic, fresh._found, fresh._standing
        self.catalogue, self._wanted = fresh.catalogue, fresh._wanted

    def offered(self, name: str) -> Client:
        """The client of a provider that can be connected here, or NotFound; Unavailable while it is found out about."""
        standing = self._standing.get(name)
        if standing is not None and standing.pending:
            raise Unavailable("This provider has not told yet how it is connected. Try again in a minute.", 60)
        if standing is None or standing.client is None or standing.problems:
            raise NotFound("This provider cannot be connected here.")
        return standing.client

    def registered(self, name: str, client_id: str) -> Client:
        """The client a grant was given to, or ClientRejected: a grant is never used with another client.

        ProviderUnavailable, not sent, while its metadata are not known.
        """
        standing = self._standing.get(name)
        if standing is not None and standing.pending:
            raise ProviderUnavailable(standing.problems[0], sent=False)
        if standing is None or standing.client is None:
            raise ClientRejected(
                f"the provider {name} is no longer set up here; restore clients.{name} in the settings"
            )
        if standing.client.client_id != client_id:
            raise ClientRejected(
                f"the grant belongs to another client than clients.{name}.client_id; restore the client it was given to"
            )
        return standing.client

    def current(self, name: str) -> Client | None:
        """The client as it is now, also one that is offered to nobody any more; None where there is none."""
        standing = self._standing.get(name)
        return standing.client if standing is not None else None

    def of(self, connection: Connection) -> Client:
        """The client of a connection, or ClientRejected or ProviderUnavailable."""
        return self.registered(connection.provider, connection.client_id)

    def together(self, client: Client) -> list[Client]:
        """Those whose token sets come with this client's: they are offered, and registered as the same client."""
        others = (self._standing.get(name) for name in client.together)
        found = [other.client for other in others if other is not None and not other.problems and not other.pending]
        same = (client.client_id, client.token_url)
        return [other for other in found if other is not None and (other.client_id, other.token_url) == same]

    def policy(self, name: str) -> RefreshPolicy:
        """How a provider's refreshes are to go; the default for one that is not set up here any more."""
        standing = self._standing.get(name)
        return standing.client.refresh_policy if standing is not None and standing.client else RefreshPolicy()

    def offers(self) -> list[tuple[str, str]]:
        """Name and label of every provider that can be connected here, by label."""
        offered = [self.catalogue[name] for name in self._standing if self._is_offered(name)]
        return [(provider.name, provider.label) for provider in sorted(offered, key=by_label)]

    def label(self, name: str) -> str:
        """What people call a provider, also one that is no longer known."""
        return self.catalogue[name].label if name in self.catalogue else name

    def problems(self, name: str) -> list[str]:
        """Why a provider is not offered, and what to do; empty: it is."""
        if name in self._standing:
            return list(self._standing[name].problems)
        return [f"clients.{name}: is not set up; it needs client_id and client_secret"]

    def configured(self) -> list[str]:
        """The providers that the settings name."""
        return list(self._standing)

    def refresh_authorization_url(self, connection: Connection) -> str:
        """Where a browser reauthorizes this connection in place."""
        return f"{self._public_url}/oauth/{connection.provider}/authorize/{connection.uuid}"

    def wanted(self, name: str) -> Wanted | None:
        """Where to find out about a provider; None where nothing is left to discovery, or the settings are wrong."""
        return self._wanted.get(name)

    def pending(self, name: str) -> bool:
        """Whether a provider cannot be connected only because something of it is still to be found out."""
        standing = self._standing.get(name)
        return standing is not None and standing.pending

    def learn(self, name: str, found: Found) -> None:
        """Put a client together with what was found; what is known already and was not found again stays.

        What another issuer says is not taken: it was asked before the definition changed (`use`).
        """
        wanted = self.wanted(name)
        if found.metadata is not None and wanted is not None and wanted.issuer not in (None, found.metadata.issuer):
            return
        before = self._found.get(name, Found())
        self._found[name] = Found(
            metadata=found.metadata or before.metadata,
            resource=found.resource or before.resource,
            scope=found.scope if found.metadata is not None else before.scope,
            registration=found.registration or before.registration,
            trouble=found.trouble,
        )
        self._settle(name)

    def forget(self, name: str) -> None:
        """Unlearn all that was found about a provider."""
        self._found.pop(name, None)
        self._settle(name)

    def found(self, name: str) -> Found:
        """What is known of a provider besides its definition."""
        return self._found.get(name, Found())

    def registers(self, name: str) -> bool:
        """Whether nothing is missing but to register at the server (RFC 7591)."""
        standing = self._standing.get(name)
        return standing is not None and standing.registers

    def api(self, name: str) -> Api:
        """The API of a provider that is set up here; what each connection has of its own is left as `{name}`."""
        provider = self.catalogue[name]
        values, api = operator_values(provider, self._settings[name].parameters), provider.api
        base_url = fill(api.base_url, values) if api.base_url is not None else None
        return api.model_copy(update={"base_url": base_url, "hosts": tuple(fill(host, values) for host in api.hosts)})

    def application(self, name: str) -> dict[str, Any]:
        """What we say of ourselves to that provider when we register (RFC 7591 §2)."""
        provider, given = self.catalogue[name], self._settings[name]
        complete = self._completed(provider, given, by_document=False)
        return client_metadata(self._application(complete, given))

    def identification(self, name: str) -> dict[str, Any] | None:
        """The document at the URL that is our client id for that provider; None where it knows us otherwise."""
        standing = self._standing.get(name)
        if standing is None or not standing.identifies or standing.client is None:
            return None
        provider, given = self.catalogue[name], self._settings[name]
        complete = self._completed(provider, given, by_document=True)
        return metadata_document(standing.client.client_id, client_metadata(self._application(complete, given)))

    def _with_generic(self, catalogue: Catalogue) -> Catalogue:
        """The catalogue, and a definition for each provider that the settings alone say how to find."""
        known: dict[str, Provider] = {}
        for name, given in self._settings.items():
            if name in catalogue:
                continue
            provider, problems = generic_definition(name, given)
            if provider is not None:
                known[name] = provider
                self._generic.add(name)
            self._standing[name] = _Standing(problems=tuple(problems))
        return catalogue.beside(known) if known else catalogue

    def _where_to_look(self, name: str) -> Wanted | None:
        provider, given = self.catalogue.get(name), self._settings.get(name)
        if provider is None or given is None or not _discovers(provider, given):
            return None
        if self._settings_problems(provider, given):
            return None
        return Wanted(issuer=_issuer(provider, given), resource=given.resource, client=given.client_id is None)

    def _is_offered(self, name: str) -> bool:
        standing = self._standing.get(name)
        return standing is not None and standing.client is not None and not standing.problems

    def _settle(self, name: str) -> None:
        provider, given = self.catalogue.get(name), self._settings.get(name)
        if provider is None or given is None:
            return
        if problems := self._settings_problems(provider, given):
            self._standing[name] = _Standing(problems=tuple(problems))
        elif not _discovers(provider, given):
            self._standing[name] = self._with_credentials(provider, given)
        elif self.found(name).metadata is None:
            reason = self.found(name).trouble or "how it is connected has not been found out yet"
            self._standing[name] = _Standing(problems=(f"clients.{name}: {reason}",), pending=True)
        else:
            self._standing[name] = self._discovered(provider, given)

    def _discovered(self, provider: Provider, given: ClientSettings) -> _Standing:
        """What becomes of a client whose server's metadata are known."""
        name, found = provider.name, self.found(provider.name)
        by_document = self._by_document(provider, given)
        complete = self._completed(provider, given, by_document=by_document)
        short = tuple(f"clients.{name}.{problem}" for problem in shortcomings(complete, given, found))
        assert found.metadata is not None
        if given.client_id is None and not by_document and found.registration is None:
            if found.metadata.registration_endpoint is None:
                problem = (
                    f"clients.{name}.client_id: is missing, and {found.metadata.issuer} registers nobody by itself"
                )
                return _Standing(problems=(problem, *short))
            if short:
                return _Standing(problems=short)
            reason = found.trouble or f"is not registered at {found.metadata.issuer} yet"
            return _Standing(problems=(f"clients.{name}: {reason}",), pending=True, registers=True)
        standing = self._with_credentials(complete, given, by_document=by_document)
        return msgspec.structs.replace(standing, problems=(*standing.problems, *short))

    def _with_credentials(self, provider: Provider, given: ClientSettings, *, by_document: bool = False) -> _Standing:
        """The client, where the credentials that its way to prove itself needs are there."""
        name, registration = provider.name, self.found(provider.name).registration
        client_id = given.client_id
        secret = given.client_secret.get_secret_value() if given.client_secret else None
        if by_document:
            client_id = self._document_url(name)
        elif client_id is None and registration is not None:
            client_id, secret = registration.client_id, registration.client_secret
        problems = [] if client_id else [f"clients.{name}.client_id: is missing"]
        if not secret and provider.token.client_authentication in _BY_SECRET:
            problems.append(f"clients.{name}.client_secret: is missing")
        if problems or client_id is None:
            return _Standing(problems=tuple(problems))
        client = client_of(provider, given, client_id, secret, self._redirect_uri(name))
        return _Standing(client=client, identifies=by_document)

    def _settings_problems(self, provider: Provider, given: ClientSettings) -> list[str]:
        """What is wrong with the settings, whatever the server says."""
        name = provider.name
        if name not in self._generic:
            for setting, value in (
                ("resource", given.resource),
                ("client_authentication", given.client_authentication),
            ):
                if value is not None:
                    return [
                        f"clients.{name}.{setting}: is for providers that the catalogue does not have; "
                        f"{provider.label}'s definition says it"
                    ]
        if _discovers(provider, given):
            provider = provider.model_copy(update={"discovery": True})
        return endpoint_problems(provider, parameters=given.parameters, supplied=supplied(given))

    def _completed(self, provider: Provider, given: ClientSettings, *, by_document: bool) -> Provider:
        generic, found = provider.name in self._generic, self.found(provider.name)
        return completed(provider, given, found, generic=generic, by_document=by_document)

    def _by_document(self, provider: Provider, given: ClientSettings) -> bool:
        """Whether the URL of a document is our client id: the server fetches it by https, and it holds no secret."""
        found = self.found(provider.name)
        if given.client_id is not None or found.registration is not None or found.metadata is None:
            return False
        token = provider.token
        by_secret = "client_authentication" in token.model_fields_set and token.client_authentication in _BY_SECRET
        reachable = self._public_url.startswith("https://")
        return found.metadata.client_id_metadata_document_supported and reachable and not by_secret

    def _application(self, provider: Provider, given: ClientSettings) -> Application:
        token, request = provider.token, provider.authorization
        return Application(
            name=APPLICATION,
            public_url=self._public_url,
            redirect_uri=self._redirect_uri(provider.name),
            grant=provider.grant,
            authentication=token.client_authentication,
            signing_algorithm=token.signing_algorithm,
            scopes=provider.scopes.requested(given.scopes),
            refreshes=provider.refresh.supported,
            dpop=token.sender_constrained == "dpop",
            certificate_bound=token.sender_constrained == "certificate",
            pushed=request.pushed,
            signed_request=request.signed_request,
            signed_response=request.signed_response,
        )

    def _redirect_uri(self, name: str) -> str:
        return f"{self._public_url}/oauth/{name}/callback"

    def _document_url(self, name: str) -> str:
        return f"{self._public_url}/oauth/{name}/client.json"


def _discovers(provider: Provider, given: ClientSettings) -> bool:
    """Whether the server's metadata are needed; an operator may name the issuer in place of all endpoints."""
    return provider.discovery or (provider.operator_supplied and is_generic(given) and given.token_url is None)


def _issuer(provider: Provider, given: ClientSettings) -> str | None:
    """The issuer that is pinned."""
    open_ = provider.model_copy(update={"discovery": True})
    return resolve_endpoints(
        open_, client_id=given.client_id or "", parameters=given.parameters, supplied=supplied(given)
    ).issuer
