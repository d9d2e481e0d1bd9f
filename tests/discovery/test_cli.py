"""`grantkeeper providers`: what was found out is shown, and registrations are made and ended by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.discovery.servers import Server
from tests.support.command_line import Installation

POST, DELETE = "POST /register", "DELETE /register/client-1"


@pytest.fixture
def installation(tmp_path: Path, sqlite_url: str, server: Server, root_text: str) -> Installation:
    """An installation with one provider, by its issuer alone."""
    (tmp_path / "root-keyset.json").write_text(root_text)
    (tmp_path / "root-keyset.json").chmod(0o600)
    (tmp_path / "grantkeeper.toml").write_text(
        f'provider_networks = ["127.0.0.1"]\n[clients.acme]\nissuer = "{server.url}"\n'
    )
    return Installation(tmp_path)


async def listed(installation: Installation) -> dict[str, Any]:
    """The provider's row of `providers list`."""
    rows = json.loads((await installation.meanwhile("providers", "list", "--json")).stdout)
    return next(row for row in rows if row["name"] == "acme")


async def test_registering(installation: Installation, server: Server) -> None:
    """The id, never the secret; a second time the server is told what we are like now."""
    first = await installation.meanwhile("providers", "register", "acme")
    assert first.stdout == "client-1\n"
    assert "Registered; it proves itself by client_secret_basic" in first.stderr
    assert "secret-of" not in first.output
    again = await installation.meanwhile("providers", "register", "acme", "--json")
    assert json.loads(again.stdout) == {
        "name": "acme",
        "client_id": "client-1",
        "client_authentication": "client_secret_basic",
        "new": False,
    }
    assert server.counts[POST] == 1


async def test_what_was_found_is_shown(installation: Installation, server: Server) -> None:
    """Before: why it is not offered. After: the endpoints that the server named; and nobody is asked for it."""
    before = await listed(installation)
    assert before["offered"] is False
    assert "has not been found out yet" in before["problems"][0]
    await installation.meanwhile("providers", "register", "acme")
    server.status = 503
    after = await listed(installation)
    assert (after["offered"], after["problems"]) == (True, [])
    shown = json.loads((await installation.meanwhile("providers", "show", "acme", "--json")).stdout)
    assert shown["endpoints"]["token"] == f"{server.url}/token"


async def test_unregistering(installation: Installation, server: Server) -> None:
    """Asked first; the server is told; a second time there is nothing to end."""
    await installation.meanwhile("providers", "register", "acme")
    refused = await installation.meanwhile("providers", "unregister", "acme", typed="n\n", code=130)
    assert "cannot be refreshed" in refused.output
    assert server.counts[DELETE] == 0
    ended = await installation.meanwhile("providers", "unregister", "acme", "--yes")
    assert "the server has ended it too" in ended.stdout
    assert server.registered == {}
    await installation.meanwhile("providers", "unregister", "acme", "--yes", code=3)


async def test_what_cannot_be_registered(installation: Installation, server: Server) -> None:
    """A provider that is not set up, and a server that refuses: each its own message and exit code."""
    unknown = await installation.meanwhile("providers", "register", "nonsense", code=3)
    assert "no clients.nonsense" in unknown.stderr
    server.refuse_registration = (403, {})
    refused = await installation.meanwhile("providers", "register", "acme", code=1)
    assert "register by hand and set client_id" in refused.stderr
    server.status = 503
    away = await installation.meanwhile("providers", "register", "acme", code=69)
    assert "HTTP 503" in away.stderr
