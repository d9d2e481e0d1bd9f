"""What `doctor` looks at on the providers' side: are they set up, do they answer, what safer option is left unused."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from grantkeeper.catalogue.load import Catalogue, load_catalogue
from grantkeeper.cli.checks import OK, WARN, Finding, Level, failed, ok, warned
from grantkeeper.clients import Clients, Found, Wanted
from grantkeeper.clock import SystemClock
from grantkeeper.config import Settings
from grantkeeper.discovery.finder import Finder, found_in
from grantkeeper.errors import AddressRefused, ConfigError, ProviderError, ProviderProtocolError
from grantkeeper.model import Record
from grantkeeper.oauth.aspect import Aspect
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request, Response
from grantkeeper.oauth.metadata import ServerMetadata
from grantkeeper.oauth.posture import posture
from grantkeeper.oauth.registration import Registration

_INSIDE = "if the name is right, see “Providers inside your network” in docs/operations.md"
_UNREACHED = "check the name, DNS, the firewall, and that this machine trusts its certificate"


class Report(Record, frozen=True):
    """What was found. `aspects`: of one provider that was asked for, how what it supports and what we use compare.

    `key_place`: where the keys stand that the aspects name.
    """

    findings: list[Finding]
    aspects: list[Aspect] = []
    key_place: str = ""


def level_of(aspect: Aspect) -> Level:
    """Whether somebody should look at it."""
    return WARN if aspect.safer or aspect.conflict else OK


def advice_of(aspect: Aspect) -> str:
    """What to do about it; empty: nothing."""
    safer = f"safer option left unused: set {aspect.safer}" if aspect.safer else None
    return "; ".join(filter(None, (aspect.conflict, safer)))


async def check_providers(settings: Settings, name: str | None = None) -> Report:
    """Every provider that the settings name, or the one that is asked for; no findings where that is unknown."""
    try:
        catalogue = load_catalogue(settings.providers_dir)
    except ConfigError as error:
        advice = "correct the file; see docs/providers.md"
        return Report(findings=[failed("catalogue", problem, advice) for problem in error.problems])
    clients = Clients(catalogue, settings.clients, settings.public_url)
    if name is not None and name not in catalogue and name not in clients.configured():
        return Report(findings=[])
    try:
        http = ProviderHttp(
            settings.provider_timeout, allowed=settings.provider_networks, ca_file=settings.provider_ca_file
        )
    except ConfigError as error:
        advice = "name a file with certificates in PEM, or none"
        return Report(findings=[failed("settings", problem, advice) for problem in error.problems])
    try:
        return await _looked_at(catalogue, clients, http, name)
    finally:
        await http.close()


async def _looked_at(catalogue: Catalogue, clients: Clients, http: ProviderHttp, name: str | None) -> Report:
    look = _Look(clients, http)
    if name is None:
        found = await asyncio.gather(*(look.reach(name) for name in clients.configured()))
        return Report(findings=[*(one for each in found for one in each), _not_set_up(catalogue, clients)])
    findings = await look.reach(name)
    if clients.problems(name):
        return Report(findings=findings)
    compared, aspects = await look.compare(name)
    place = (
        "its definition, or a changed copy of it" if name in catalogue else "a definition of its own, which it lacks,"
    )
    return Report(findings=[*findings, *compared], aspects=aspects, key_place=f"{place} in providers_dir")


class _Look:
    """Looks at providers from outside, as a client that has no connections yet. Nothing is kept."""

    def __init__(self, clients: Clients, http: ProviderHttp) -> None:
        self._clients = clients
        self._http = http
        self._finder = Finder(self, SystemClock())

    async def plain(self, request: Request) -> Response:
        """The answer to a request that needs no proof."""
        return await self._http.send(request)

    async def reach(self, name: str) -> list[Finding]:
        """Whether a provider is set up, and its endpoints answer."""
        if (trouble := await self._discover(name)) is not None:
            return [trouble]
        if problems := self._clients.problems(name):
            advice = f"complete [clients.{name}]; until then it is not offered"
            return [failed(name, problem, advice) for problem in problems]
        client = self._clients.offered(name)
        return list(await asyncio.gather(*(self._reach(name, what, url) for what, url in _endpoints(client))))

    async def compare(self, name: str) -> tuple[list[Finding], list[Aspect]]:
        """What its server announces, beside what we use."""
        client = self._clients.offered(name)
        metadata = self._clients.found(name).metadata
        if metadata is None and client.issuer is None:
            return [ok(name, "has no authorization.issuer: nothing can be compared with what its server announces")], []
        try:
            metadata = metadata or await self._metadata(Wanted(issuer=client.issuer, resource=None))
        except ProviderProtocolError as error:
            if error.code is None:
                return [ok(name, f"{client.issuer} publishes no metadata: nothing can be compared")], posture(
                    client, None
                )
            return [warned(name, error.message, "see that authorization.issuer in its definition is right")], []
        except ProviderError as error:
            return [warned(name, f"metadata: {error.message}", _advice(error))], []
        return [ok(name, f"{metadata.issuer} publishes metadata")], posture(client, metadata)

    async def _discover(self, name: str) -> Finding | None:
        """Complete a client whose definition leaves it to discovery; what keeps it from that."""
        if (wanted := self._clients.wanted(name)) is None:
            return None
        try:
            kept = await self._finder.find(wanted, None)
        except ProviderError as error:
            advice = f"{_advice(error)}; what was found out before stays in use"
            return failed(name, f"metadata: {error.message}", advice)
        self._clients.learn(name, found_in(kept, wanted) or Found())
        if self._clients.registers(name):
            # Registering would change something. What we use does not depend on the credentials that come of it.
            method = self._clients.application(name)["token_endpoint_auth_method"]
            stand_in = Registration(client_id="registered-when-needed", authentication=method, client_secret="unknown")
            self._clients.learn(name, Found(registration=stand_in))
        return None

    async def _metadata(self, wanted: Wanted) -> ServerMetadata:
        found = found_in(await self._finder.find(wanted, None), wanted)
        assert found is not None
        assert found.metadata is not None
        return found.metadata

    async def _reach(self, name: str, what: str, url: str) -> Finding:
        """Any HTTP answer to a plain GET proves the name, the way there and the certificate."""
        try:
            response = await self.plain(Request(method="GET", url=url, headers={}))
        except ProviderError as error:
            return failed(name, f"{what} endpoint {url}: {error.message}", _advice(error))
        if response.status >= 500:
            return warned(name, f"{what} endpoint {url} answers HTTP {response.status}", "look again later")
        return ok(name, f"{what} endpoint {urlsplit(url).netloc} answers")


def _advice(error: ProviderError) -> str:
    if isinstance(error, ProviderProtocolError):
        return "see that the issuer is right, and ask the provider where its metadata are"
    return _INSIDE if isinstance(error, AddressRefused) else _UNREACHED


def _endpoints(client: Client) -> list[tuple[str, str]]:
    """One endpoint of each host, the token endpoint first; a look at two on one host tells nothing more."""
    urls = {
        "token": client.token_url,
        "authorization": client.authorization_url,
        "pushed request": client.pushed_url,
        "device authorization": client.device_url,
        "key": client.jwks_url,
        "refresh": client.refresh.url,
        "revocation": client.revocation_url,
        "identity": client.identity.url,
    }
    hosts: dict[str, tuple[str, str]] = {}
    for what, url in urls.items():
        # What is kept with connections stands in some: there is no host to look at without one.
        if url and "{" not in url:
            hosts.setdefault(urlsplit(url).netloc, (what, url))
    return list(hosts.values())


def _not_set_up(catalogue: Catalogue, clients: Clients) -> Finding:
    without = len(catalogue.names.difference(clients.configured()))
    offered = [name for name, _ in clients.offers()]
    if not offered:
        advice = "put the client id and secret of a provider into the settings; see `grantkeeper providers list`"
        return warned("providers", "none can be connected here", advice)
    return ok("providers", f"{len(offered)} offered; {without} more are known, and not set up")
