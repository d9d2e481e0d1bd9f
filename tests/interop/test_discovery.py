"""Providers of which next to nothing is written down: the real oidc-provider says the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.bank import DPOP, FAPI, HEAD, LIFETIME, SECRET, Bank, Profile, client_id_in, open_bank
from tests.support.oidc_provider import OidcProvider

pytestmark = pytest.mark.interop

CERTIFIED = {
    **FAPI,
    "token_endpoint_auth_method": "tls_client_auth",
    "tls_client_certificate_bound_access_tokens": True,
}
TOKEN = '\n[token]\nclient_authentication = "tls_client_auth"\nsender_constrained = "certificate"\n'
USERINFO = '[scopes]\ndefault = ["openid"]\noffline = ["offline_access"]\n[identity]\nsource = "userinfo"\n'
CONSENT = '[authorization.parameters]\nprompt = "consent"\n'


async def works(run: Bank) -> None:
    """Connect, read, refresh, authorize again, and disconnect."""
    connection = await run.connect()
    assert (connection.subject, connection.refreshable) == ("ada", True)
    assert await run.whose(connection, await run.read(connection)) == "ada"
    run.advance(LIFETIME)
    assert await run.whose(connection, await run.read(connection)) == "ada"
    assert (await run.connect(connection)).uuid == connection.uuid
    last, proof = await run.read(connection), await run.proof(connection)
    await run.disconnect(connection)
    assert (await run.ask(last, proof)).status_code == 401


async def test_an_issuer_and_a_client_are_enough(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """No definition at all: two lines of settings, and the secret."""
    client = {"issuer": bank_server.issuer, "client_id": client_id_in(tmp_path), "client_secret": SECRET}
    async with open_bank(tmp_path, sqlite_url, bank_server, Profile(None, {}, SECRET), client) as run:
        await works(run)


async def test_an_issuer_alone_is_enough(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """The product registers itself there (RFC 7591), and unregisters when it is told to (RFC 7592)."""
    async with open_bank(tmp_path, sqlite_url, bank_server, Profile(), {"issuer": bank_server.issuer}) as run:
        await works(run)
        discovery = run.world.services.discovery
        _, new = await discovery.register("bank")
        assert not new
        assert await discovery.unregister("bank") is True
        assert await discovery.unregister("bank") is None


async def test_fapi_by_discovery(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """A definition that names the issuer and the profile: the endpoints are the server's business."""
    text = HEAD.replace("TOP", 'profile = "fapi2"\ndiscovery = true') + CONSENT + USERINFO
    async with open_bank(tmp_path, sqlite_url, bank_server, Profile(text, {**FAPI, **DPOP})) as run:
        before = bank_server.counts().pushed
        await works(run)
        assert bank_server.counts().pushed == before + 2


async def test_certificates_go_where_the_server_wants_them(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider
) -> None:
    """RFC 8705 §5: a client that shows a certificate uses the aliases, which have another host."""
    text = HEAD.replace("TOP", 'profile = "fapi2"\ndiscovery = true') + CONSENT + USERINFO + TOKEN
    async with open_bank(tmp_path, sqlite_url, bank_server, Profile(text, CERTIFIED)) as run:
        await works(run)
        client = run.world.services.clients.offered("bank")
        aliases = bank_server.metadata["mtls_endpoint_aliases"]
        assert client.token_url == aliases["token_endpoint"]
        assert client.pushed_url == aliases["pushed_authorization_request_endpoint"]
