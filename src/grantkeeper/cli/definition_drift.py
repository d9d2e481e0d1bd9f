"""Asking the servers of definitions what they announce, for `providers check --online`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from pydantic import SecretStr

from grantkeeper.catalogue.catalogue import Catalogue
from grantkeeper.catalogue.schema import Provider
from grantkeeper.clients import Clients, Wanted
from grantkeeper.clock import SystemClock
from grantkeeper.config import ClientSettings, Settings
from grantkeeper.discovery.drift import Difference, drift
from grantkeeper.discovery.finder import Finder, found_in
from grantkeeper.errors import ProviderError, ProviderProtocolError
from grantkeeper.model import Record
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request, Response
from grantkeeper.urls import fill, placeholders

_AT_ONE_TIME = 8
_STAND_IN = "checked"


class Compared(Record, frozen=True):
    """What became of one definition: the differences, or why there is nothing to compare with.

    `wrong`: the definition is the reason, and not the network.
    """

    differences: list[Difference] = []
    reason: str | None = None
    wrong: bool = False

    @property
    def bad(self) -> bool:
        """Whether somebody should correct the definition."""
        return self.wrong or any(found.wrong for found in self.differences)


class _Plain:
    """Sends what needs no proof, and remembers nothing."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http

    async def plain(self, request: Request) -> Response:
        """The answer, or ProviderUnavailable."""
        return await self._http.send(request)


async def compare_all(settings: Settings, catalogue: Catalogue, names: Sequence[str]) -> dict[str, Compared]:
    """Each definition beside its server's metadata; a few servers are asked at one time. ConfigError."""
    http = ProviderHttp(
        settings.provider_timeout, allowed=settings.provider_networks, ca_file=settings.provider_ca_file
    )
    given = {name: _settings(catalogue[name], settings.clients.get(name)) for name in names}
    look = _Look(catalogue, Clients(catalogue, given, settings.public_url), Finder(_Plain(http), SystemClock()))
    places = asyncio.Semaphore(_AT_ONE_TIME)

    async def one(name: str) -> Compared:
        async with places:
            return await look.at(name, given[name].parameters)

    try:
        return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
    finally:
        await http.close()


class _Look:
    def __init__(self, catalogue: Catalogue, clients: Clients, finder: Finder) -> None:
        self._catalogue = catalogue
        self._clients = clients
        self._finder = finder

    async def at(self, name: str, parameters: Mapping[str, str]) -> Compared:
        """One definition."""
        wanted = self._clients.wanted(name)
        if wanted is None:
            client = self._clients.current(name)
            if client is None:
                return Compared(reason="; ".join(self._clients.problems(name)))
            if client.issuer is None:
                return Compared(reason="authorization.issuer is not given: there is nothing to ask")
            wanted = Wanted(issuer=_filled(client.issuer, self._catalogue[name], parameters), resource=None)
        if missing := placeholders(wanted.issuer or ""):
            return Compared(reason=f"parameters.{missing[0]} has neither default nor example to ask with")
        return await self._asked(name, wanted, parameters)

    async def _asked(self, name: str, wanted: Wanted, parameters: Mapping[str, str]) -> Compared:
        discovers = self._clients.wanted(name) is not None
        try:
            found = found_in(await self._finder.find(wanted, None), wanted)
        except ProviderProtocolError as error:
            # Without a code there is no document, which only matters where it is relied on.
            return Compared(reason=error.message, wrong=discovers or error.code is not None)
        except ProviderError as error:
            return Compared(reason=error.message)
        assert found is not None
        assert found.metadata is not None
        if discovers:
            self._clients.learn(name, found)
        client = self._clients.current(name)
        if client is None:
            return Compared(reason="; ".join(self._clients.problems(name)), wrong=discovers)
        problems = self._clients.problems(name)
        differences = drift(_complete(client, self._catalogue[name], parameters), found.metadata)
        return Compared(differences=differences, reason="; ".join(problems) or None, wrong=bool(problems))


def _settings(provider: Provider, given: ClientSettings | None) -> ClientSettings:
    """The operator's settings, and where there are none, examples: nothing of it is ever sent."""
    given = given or ClientSettings()
    examples = {name: value for name in provider.parameters if (value := _example(provider, name)) is not None}
    stand_in = SecretStr(_STAND_IN)
    return given.model_copy(
        update={
            "client_id": given.client_id or _STAND_IN,
            "client_secret": given.client_secret or stand_in,
            "parameters": examples | dict(given.parameters),
        }
    )


def _example(provider: Provider, name: str) -> str | None:
    parameter = provider.parameters[name]
    return parameter.default or parameter.example or next(iter(parameter.choices), None)


def _filled(url: str, provider: Provider, parameters: Mapping[str, str]) -> str:
    """What is asked of the user for each connection stands open in a client's URLs."""
    return fill(url, {name: value for name, value in parameters.items() if name in provider.parameters})


def _complete(client: Client, provider: Provider, parameters: Mapping[str, str]) -> Client:
    names = ("authorization_url", "token_url", "pushed_url", "device_url", "jwks_url", "revocation_url", "issuer")
    urls = {name: url for name in names if (url := getattr(client, name))}
    return msgspec.structs.replace(client, **{name: _filled(url, provider, parameters) for name, url in urls.items()})
