"""What a definition asks for arrives at the real oidc-provider as it should, pushed and signed or in the clear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grantkeeper.authorize import OtherIdentity
from tests.interop.bank import DPOP, FAPI, HEAD, LIFETIME, SECRET, Profile, open_bank
from tests.support.oidc_provider import OidcProvider

pytestmark = pytest.mark.interop

RICH = """
url = "{issuer}/auth"
issuer_in_response = true
max_age = 3600
login_hint = "subject"
AUTHORIZATION
[authorization.parameters]
prompt = "consent"
[authorization.claims.id_token]
email = {}
[[authorization.details]]
type = "account_information"
actions = ["list", "read"]
[scopes]
default = ["openid", "profile", "read"]
offline = ["offline_access"]
[token]
url = "{issuer}/token"
TOKEN
[revocation]
style = "rfc7009"
url = "{issuer}/token/revocation"
[signatures]
jwks_url = "{issuer}/jwks"
[identity]
source = "id_token"
label = "email"
"""
SIGNED = """
pushed = true
pushed_url = "{issuer}/request"
signed_request = true
signed_response = true
"""
DETAIL = {"type": "account_information", "actions": ["list", "read"]}


def rich(provider: OidcProvider, *, signed: bool) -> Profile:
    """A definition that asks for an API, in detail; of a bank, or of anybody."""
    token = 'client_authentication = "private_key_jwt"\nsender_constrained = "dpop"' if signed else ""
    text = HEAD.replace("TOP", f'resources = ["{provider.api}"]') + RICH
    text = text.replace("AUTHORIZATION", SIGNED if signed else "").replace("TOKEN", token)
    known = {"authorization_details_types": ["account_information"]}
    if not signed:
        return Profile(text, known, SECRET)
    must = {"require_signed_request_object": True, "authorization_signed_response_alg": "EdDSA"}
    return Profile(text, {**FAPI, **DPOP, **known, **must})


@pytest.mark.parametrize("signed", [False, True], ids=["clear", "signed"])
async def test_everything_a_definition_asks_for(
    tmp_path: Path, sqlite_url: str, bank_server: OidcProvider, signed: bool
) -> None:
    """Resource, details, claims, max_age, nonce and hint are what the server saw, and what the token holds."""
    async with open_bank(tmp_path, sqlite_url, bank_server, rich(bank_server, signed=signed)) as run:
        connection = await run.connect()
        assert (connection.subject, connection.identity) == ("ada", "ada@example.com")
        seen = bank_server.last_request()
        assert seen["resource"] in (bank_server.api, [bank_server.api])
        assert int(seen["max_age"]) == 3600
        assert json.loads(seen["authorization_details"]) == [DETAIL]
        assert json.loads(seen["claims"])["id_token"].keys() == {"email"}
        assert seen["nonce"]
        assert "login_hint" not in seen

        for _ in range(2):
            token = await run.read(connection)
            answer = await run.ask(token, await run.proof(connection, url=bank_server.api), url=bank_server.api)
            told = answer.json()
            assert (told["sub"], told["aud"], told["scope"]) == ("ada", bank_server.api, "read")
            assert told["authorization_details"] == [DETAIL]
            run.advance(LIFETIME)

        again = await run.connect(connection, login=None)
        assert (again.uuid, bank_server.last_request()["login_hint"]) == (connection.uuid, "ada")


async def test_a_silent_swap_is_held(tmp_path: Path, sqlite_url: str, bank_server: OidcProvider) -> None:
    """Somebody else signs in when a connection is authorized again: nothing changes until its user chooses."""
    async with open_bank(tmp_path, sqlite_url, bank_server, rich(bank_server, signed=True)) as run:
        connection = await run.connect()
        token = await run.read(connection)
        with pytest.raises(OtherIdentity):
            await run.connect(connection, login="grace")
        assert await run.read(connection) == token
