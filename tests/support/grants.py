"""The product beside one provider that is connected in every way: each way is a definition of its own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from grantkeeper.clock import Clock
from grantkeeper.testing import FakeClient, FakeClock, FakeProvider, Features
from grantkeeper.testing.server import ProviderServer
from tests.support.person import Page, Person
from tests.support.world import CLIENT_ID, CLIENT_SECRET, PUBLIC_URL, World, open_world

_HEAD = """
schema = 1
name = "{name}"
label = "{label}"
category = ["other"]
colour = "#336699"
{top}
[verified]
basis = "operator"
date = 2026-11-22
[parameters.base_url]
label = "Base URL"
pattern = 'http://127\\.0\\.0\\.1:[0-9]+'
"""
_BY_BROWSER = """
[authorization]
url = "{base_url}/authorize"
issuer = "{base_url}"
"""
_REVOKED = """
[revocation]
style = "rfc7009"
url = "{base_url}/revoke"
"""
_USERINFO = """
[identity]
source = "userinfo"
url = "{base_url}/userinfo"
label = "name"
"""
_TOKEN = """
[token]
url = "{base_url}/token"
"""
_SCOPES = """
[scopes]
default = ["profile", "accounts.read"]
[scopes.meaning]
profile = "See a name"
"""

_DEVICE = """
[device]
url = "{base_url}/device_authorization"
"""
_ASKED = """
[parameters.tenant]
label = "Tenant"
help = "The part before `.example.com`."
pattern = '[a-z0-9-]+'
example = "acme"
ask = "connection"
[parameters.region]
label = "Region"
choices = { eu = "Europe", us = "United States" }
default = "eu"
ask = "connection"
"""
_BY_TENANT = _TOKEN.replace("/token", "/token?of={tenant}.{region}")
DEFINITIONS = {
    "shop": (
        "Shop",
        "",
        _ASKED
        + _BY_BROWSER.replace("/authorize", "/authorize?of={tenant}.{region}")
        + _SCOPES
        + _BY_TENANT
        + _USERINFO,
    ),
    "kiosk": ("Kiosk", 'grant = "device_code"', _ASKED + _SCOPES + _BY_TENANT + _DEVICE),
    "depot": ("Depot", 'grant = "client_credentials"', _ASKED + _SCOPES + _BY_TENANT),
    "telly": ("Telly", 'grant = "device_code"', _SCOPES + _TOKEN + _REVOKED + _USERINFO + _DEVICE),
    "robot": ("Robot", 'grant = "client_credentials"', _SCOPES + _TOKEN),
    "desk": (
        "Desk",
        'grant = "jwt_bearer"',
        '[authorization]\nissuer = "{base_url}"\n' + _SCOPES + _TOKEN + '[assertion]\nsubject = "asked"\n',
    ),
    "swap": (
        "Swap",
        'grant = "token_exchange"',
        '[scopes]\ndefault = ["profile"]\n' + _TOKEN + '[exchange]\nsource = "demo"\n',
    ),
    "vault": ("Vault", "", _BY_BROWSER + _SCOPES + _TOKEN + 'sender_constrained = "dpop"\n' + _REVOKED + _USERINFO),
    "sso": (
        "Single Sign-On",
        "",
        _BY_BROWSER
        + '[scopes]\ndefault = ["openid", "email"]\n'
        + _TOKEN
        + '[signatures]\njwks_url = "{base_url}/jwks"\n[identity]\nsource = "id_token"\nlabel = "email"\n',
    ),
}
"""What each provider is called, by which grant it is connected, and the rest of its definition."""

FEATURES = Features(
    openid=True,
    client_credentials=True,
    device_code=True,
    jwt_bearer=True,
    token_exchange=True,
    dpop="offered",
)
SCOPES = {"profile": "Name", "email": "E-mail", "accounts.read": "Accounts"}


@asynccontextmanager
async def open_grants(
    folder: Path, *names: str, public_url: str = PUBLIC_URL, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[World]:
    """The product with these providers set up, all of them `world.provider`; `demo` is there always."""
    _write_definitions(folder / "providers", names)
    still = FakeClock()
    clock = clock or still
    async with ProviderServer() as server:
        callbacks = tuple(f"{public_url}/oauth/{name}/callback" for name in ("demo", *names))
        client = FakeClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uris=callbacks)
        provider = FakeProvider(server.url, [client], clock, features=msgspec.structs.replace(FEATURES), scopes=SCOPES)
        server.app = provider
        async with open_world(
            folder,
            settings.pop("database_url", f"sqlite:///{folder / 'grantkeeper.sqlite3'}"),
            clock=clock,
            public_url=public_url,
            providers_dir=folder / "providers",
            clients=client_settings(server.url, *names),
            **settings,
        ) as world:
            world.provider, world.clock = provider, still
            if "desk" in names:
                await world.services.keys.create("ES256")
                keys = await world.services.keys.published()
                provider.register(msgspec.structs.replace(client, jwks=dict(keys)))
            yield world
        provider.close()


def client_settings(base_url: str, *names: str) -> dict[str, Any]:
    """Settings of a client at each."""
    given = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "parameters": {"base_url": base_url}}
    return {name: given for name in ("demo", *names)}


def _write_definitions(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir()
    for name in names:
        label, top, rest = DEFINITIONS[name]
        head = _HEAD.replace("{name}", name).replace("{label}", label).replace("{top}", top)
        (folder / f"{name}.toml").write_text(head + rest, "utf-8")


def code_on(page: Page) -> str:
    """The code that a page tells its reader to type in."""
    found = re.search(r"\b[A-Z]{4}-[A-Z]{4}\b", page.text)
    assert found, page.text
    return found[0]


async def show_code(person: Person, path: str = "/oauth/telly/authorize") -> str:
    """Begins a device authorization; the address of the page with the code, which is shown."""
    await person.open(path)
    waiting = person.location
    assert re.fullmatch(r"/oauth/telly/device/[A-Za-z0-9_-]{43}", waiting)
    await person.follow()
    return waiting
