"""What `doctor` looks at on the providers' side: whether they are set up, and whether they can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import urlsplit

from grantkeeper.catalogue.load import Catalogue, load_catalogue
from grantkeeper.cli.checks import Finding, failed, ok, warned
from grantkeeper.clients import Clients
from grantkeeper.clock import SystemClock
from grantkeeper.config import Settings
from grantkeeper.errors import ConfigError, ProviderError
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request


async def check_providers(settings: Settings, name: str | None = None) -> list[Finding]:
    """Every provider that the settings name, or the one that is asked for; empty where that is unknown."""
    try:
        catalogue = load_catalogue(settings.providers_dir)
    except ConfigError as error:
        return [failed("catalogue", problem, "correct the file; see docs/providers.md") for problem in error.problems]
    clients = Clients(catalogue, settings.clients, settings.public_url)
    if name is not None:
        known = name in catalogue or name in clients.configured()
        return await _check_all(clients, settings, [name]) if known else []
    found = await _check_all(clients, settings, clients.configured())
    return [*found, _not_set_up(catalogue, clients)]


async def _check_all(clients: Clients, settings: Settings, names: Iterable[str]) -> list[Finding]:
    http = ProviderHttp(SystemClock(), settings.provider_timeout)
    try:
        found = await asyncio.gather(*(_check(clients, http, name) for name in names))
    finally:
        await http.close()
    return [finding for findings in found for finding in findings]


async def _check(clients: Clients, http: ProviderHttp, name: str) -> list[Finding]:
    if problems := clients.problems(name):
        advice = f"complete [clients.{name}]; until then it is not offered"
        return [failed(name, problem, advice) for problem in problems]
    client = clients.offered(name)
    return list(await asyncio.gather(*(_reach(http, name, what, url) for what, url in _endpoints(client))))


def _endpoints(client: Client) -> list[tuple[str, str]]:
    """One endpoint of each host, the token endpoint first; a look at two on one host tells nothing more."""
    urls = {
        "token": client.token_url,
        "authorization": client.authorization_url,
        "refresh": client.refresh_url,
        "revocation": client.revocation_url,
        "identity": client.identity.url,
    }
    hosts: dict[str, tuple[str, str]] = {}
    for what, url in urls.items():
        if url:
            hosts.setdefault(urlsplit(url).netloc, (what, url))
    return list(hosts.values())


async def _reach(http: ProviderHttp, name: str, what: str, url: str) -> Finding:
    """Any HTTP answer to a plain GET proves the name, the way there and the certificate."""
    try:
        response = await http.send(Request(method="GET", url=url, headers={}))
    except ProviderError as error:
        advice = "check the name, DNS, the firewall, and that this machine trusts its certificate"
        return failed(name, f"{what} endpoint {url}: {error.message}", advice)
    if response.status >= 500:
        return warned(name, f"{what} endpoint {url} answers HTTP {response.status}", "look again later")
    return ok(name, f"{what} endpoint {urlsplit(url).netloc} answers")


def _not_set_up(catalogue: Catalogue, clients: Clients) -> Finding:
    without = [name for name in catalogue if name not in clients.configured()]
    offered = [name for name, _ in clients.offers()]
    if not offered:
        advice = "put the client id and secret of a provider into the settings; see `grantkeeper providers list`"
        return warned("providers", "none can be connected here", advice)
    return ok("providers", f"{len(offered)} offered; not set up, so not offered: {', '.join(without) or 'none'}")
