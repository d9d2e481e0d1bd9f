"""A shipped definition as an operator with example values has it, and as its requests are written."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from grantkeeper.catalogue import Provider, load_catalogue
from grantkeeper.clients import Clients, Found
from grantkeeper.config import ClientSettings
from grantkeeper.oauth.client import Client
from grantkeeper.oauth.message import Call, Request
from grantkeeper.oauth.metadata import server_metadata
from grantkeeper.oauth.signing import ClientCertificate
from grantkeeper.urls import fill
from tests.discovery.servers import metadata
from tests.oauth.keys import OurKey
from tests.support.sender import HeldKeys, written_request

CLIENT_ID, CLIENT_SECRET = "our-client", "our-secret"
CATALOGUE = load_catalogue()
KEPT = {
    "accounts_server": "https://accounts.zoho.eu",
    "api_base_url": "https://acme.api.gong.io",
    "api_domain": "https://acme.api.example",
    "api_server": "https://api01.iq.questrade.com/",
    "apicp": "sharefile.com",
    "business_id": "0f9f1d2e-3c4b-5a69-8877-665544332211",
    "context": "stores/abc123",
    "domain_prefix": "acme",
    "endpoint": "https://acme.eu.deputy.com",
    "geolocation": "https://emea.api.concursolutions.com",
    "host": "app-eu.wrike.com",
    "member_id": "a1b2c3",
    "merchant_id": "ABCDEFGHJKLM1",
    "profile_id": "12345",
    "realm_id": "9130347798120106",
    "store_id": "1003",
    "subdomain": "acme",
}
"""What callbacks and token responses might bring for a placeholder, by its name."""
_CERTIFICATE = ClientCertificate(chain="-", private_key="-", thumbprint="-")
_KEYS = HeldKeys(OurKey("RS256"), OurKey("PS256"), OurKey("ES256"), certificates={"default": _CERTIFICATE})


def examples(provider: Provider) -> dict[str, str]:
    """A value for each parameter, as its definition shows one."""
    return {
        name: parameter.example or next(iter(parameter.choices), None) or parameter.default or ""
        for name, parameter in provider.parameters.items()
    }


@functools.cache
def connected(name: str) -> Client:
    """The client of one connection: everything given that the definition asks for, or leaves to the operator."""
    provider = CATALOGUE[name]
    clients = Clients(CATALOGUE, {name: _settings(provider)}, "https://gk.example")
    if provider.discovery:
        clients.learn(name, _found(provider))
    assert clients.problems(name) == []
    brought = {key: KEPT[key] for key in (*provider.callback, *provider.kept)}
    return clients.offered(name).filled(examples(provider) | brought)


def _settings(provider: Provider) -> ClientSettings:
    supplied = {}
    if provider.operator_supplied:
        supplied = {key: f"https://operator.example/{key}" for key in ("authorization_url", "token_url", "issuer")}
    asked = {name for name, parameter in provider.parameters.items() if parameter.ask == "connection"}
    operators = {name: value for name, value in examples(provider).items() if name not in asked}
    return ClientSettings(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET), parameters=operators, **supplied)


def _found(provider: Provider) -> Found:
    """What the server of a definition that leaves something to discovery might say of itself."""
    issuer = fill(provider.authorization.issuer or "", examples(provider))
    return Found(metadata=server_metadata(metadata(issuer), issuer))


async def sent(client: Client, call: Call) -> tuple[Request, list[tuple[str, str]]]:
    """The request as it goes over the wire, and the parameters in its URL and its body, in their order."""
    request = await written_request(client, call, _KEYS)
    query = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    if request.headers.get("content-type") == "application/json":
        return request, query + list(json.loads(request.body).items())
    return request, query + parse_qsl(request.body.decode(), keep_blank_values=True)


def by_its_name(parameters: Mapping[str, str], rename: Mapping[str, str]) -> dict[str, str]:
    """Parameters as the provider calls them; without those that it wants left out."""
    return {rename.get(name, name): value for name, value in parameters.items() if rename.get(name, name)}
