"""What fills the URLs of one connection: said by its user, brought by the callback, told with the tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantkeeper.access import browser_caller
from grantkeeper.authorize import Completed
from grantkeeper.authorize.device import DevicePrompt
from grantkeeper.errors import AuthorizationFailed, InvalidValue
from grantkeeper.model import Status
from grantkeeper.urls import fill, fits
from tests.engine.quirk_requests import SHOPS, shops
from tests.engine.quirky import Case, Document, Flow, behave, odd_world
from tests.engine.scenes import connections_of, token_set
from tests.support.world import BROWSER, World

LAX = shops(pattern=".*", example=None)
"""A definition whose author has not thought of what people may type."""

REALMS: Document = {
    "callback": {"realm_id": {"pattern": "[0-9]+", "parameter": "realmId"}},
    "identity": {"url": "{base_url}/{realm_id}/userinfo"},
    "revocation": {"url": "{base_url}/{realm_id}/revoke"},
}
INSTANCES: Document = {
    "token": {"response": {"keep": {"instance_url": "instance_url"}}},
    "refresh": {"url": "{instance_url}/renew"},
    "identity": {"url": "{instance_url}/userinfo"},
    "revocation": {"url": "{instance_url}/revoke"},
}

HOSTILE = {
    "slash": "acme/../globex",
    "dots": "..",
    "encoded": "acme%2f..%2fglobex",
    "query": "acme?x=",
    "fragment": "acme#",
    "user": "acme@evil.example/",
    "backslash": "acme\\globex",
    "other-host": "https://evil.example/acme",
    "scheme-relative": "//evil.example",
    "unicode-digits": "\uff11\uff12\uff13",
    "unicode-slash": "acme\uff0fglobex",
    "bidi": "acme\u202eglobex",
    "newline": "acme\r\nX-Evil: 1",
    "nul": "acme\x00",
    "space": "ac me",
    "braces": "{base_url}",
    "long": "1" * 10_000,
}


def case(definition: Document, **quirks: Any) -> Case:
    """A provider with these quirks, and a definition that says so."""
    return Case(definition=definition, quirks=quirks, breaks=None)


async def untouched(world: World) -> None:
    """Nothing is stored, and the provider was asked for nothing."""
    assert await connections_of(world) == []
    assert not world.provider.counts


@pytest.mark.parametrize("definition", [SHOPS, LAX], ids=["narrow", "lax"])
async def test_what_a_user_types_stays_in_its_place(
    tmp_path: Path, sqlite_url: str, definition: Document, subtests: pytest.Subtests
) -> None:
    """Refused before any URL is made of it, also where the definition's own pattern would let it pass."""
    shop = case(definition, tenants=frozenset({"acme", "globex"}))
    async with odd_world(tmp_path, sqlite_url, shop) as world:
        for name, value in HOSTILE.items():
            with subtests.test(name):
                with pytest.raises(InvalidValue) as refused:
                    await Flow(world, shop).connect({"shop": value})
                assert list(refused.value.errors) == ["shop"]
                assert value not in str(refused.value.errors)
        await untouched(world)


async def test_what_is_missing_is_said(tmp_path: Path, sqlite_url: str) -> None:
    """The message names the value by its label, with the example."""
    shop = case(SHOPS, tenants=frozenset({"acme"}))
    async with odd_world(tmp_path, sqlite_url, shop) as world:
        with pytest.raises(InvalidValue) as refused:
            await Flow(world, shop).connect()
        assert refused.value.errors == {"shop": ["Say the Shop of your account at Demo Provider, such as acme."]}


async def test_two_connections_each_at_its_own_place(tmp_path: Path, database_url: str) -> None:
    """A code and a refresh token of one tenant are never sent to the other, where they would be refused."""
    shop = case(SHOPS, tenants=frozenset({"acme", "globex"}))
    async with odd_world(tmp_path, database_url, shop) as world:
        flow = Flow(world, shop)
        both = [await flow.connect({"shop": name}) for name in ("acme", "globex")]
        for connection, name in zip(both, ("acme", "globex"), strict=True):
            assert (await token_set(world, connection)).parameters == {"shop": name}
        world.clock.advance(3600)
        for connection in both:
            assert (await world.read_token(connection)).status_code == 200
        for connection in both:
            await flow.disconnect(connection, (await token_set(world, connection)).access_token)


async def test_reauthorizing_keeps_what_was_said(tmp_path: Path, database_url: str) -> None:
    """The user is sent to the same tenant without saying it again, and to another where they say another."""
    shop = case(SHOPS, tenants=frozenset({"acme", "globex"}))
    async with odd_world(tmp_path, database_url, shop) as world:
        flow = Flow(world, shop)
        connection = await flow.connect({"shop": "acme"})
        await flow.completed(connection)
        assert (await token_set(world, connection)).parameters == {"shop": "acme"}
        with pytest.raises(InvalidValue):
            await flow.completed(connection, {"shop": "acme/.."})
        await flow.completed(connection, {"shop": "globex"})
        assert (await token_set(world, connection)).parameters == {"shop": "globex"}
        world.clock.advance(3600)
        assert (await world.read_token(connection)).status_code == 200


async def test_a_connection_that_cannot_be_read_is_authorized_again(tmp_path: Path, sqlite_url: str) -> None:
    """What its user said is sealed with its tokens: where that cannot be opened, they say it again."""
    shop = case(SHOPS, tenants=frozenset({"acme"}))
    async with odd_world(tmp_path, sqlite_url, shop) as world:
        flow = Flow(world, shop)
        connection = await flow.connect({"shop": "acme"})
        await world.services.database.execute("UPDATE connections SET sealed_tokens = :junk", junk=b"junk")
        with pytest.raises(InvalidValue):
            await flow.completed(connection)
        again = (await flow.completed(connection, {"shop": "acme"})).connection
        assert (again.uuid, again.status) == (connection.uuid, Status.ACTIVE)


@pytest.mark.parametrize("pattern", ["[0-9]+", ".*", r"\d+"], ids=["narrow", "lax", "digits"])
async def test_a_callback_value_that_is_not_as_it_must_be(
    tmp_path: Path, sqlite_url: str, pattern: str, subtests: pytest.Subtests
) -> None:
    """Its own error, nothing stored, and the code is not even redeemed; not where the pattern is lax either."""
    realm = case({**REALMS, "callback": {"realm_id": {"pattern": pattern, "parameter": "realmId"}}}, instance="12345")
    async with odd_world(tmp_path, sqlite_url, realm) as world:
        for name, value in (HOSTILE | {"empty": ""}).items():
            world.provider.quirks.callback = {"realmId": value}
            with subtests.test(name):
                with pytest.raises(AuthorizationFailed) as failure:
                    await Flow(world, realm).connect()
                assert failure.value.reason == "callback_value"
                assert failure.value.retry_url == "/oauth/demo/authorize"
                assert "realmId" in failure.value.message
                assert not value or value not in failure.value.message
        await untouched(world)


@pytest.mark.parametrize("brought", [[], ["12345", "12345"], ["12345", "666"]], ids=["missing", "twice", "two"])
async def test_a_callback_value_comes_once(tmp_path: Path, sqlite_url: str, brought: list[str]) -> None:
    """Neither missing nor twice: the one that counts would be anybody's guess (RFC 6749 §3.1)."""
    realm = case(REALMS, instance="12345")
    async with odd_world(tmp_path, sqlite_url, realm) as world:
        flow = Flow(world, realm)
        callback = httpx2.URL(world.provider.approve(await flow.begin()))
        query = [*callback.params.multi_items(), *(("realmId", value) for value in brought)]
        with pytest.raises(AuthorizationFailed) as failure:
            await world.services.authorizations.complete("demo", query, BROWSER, "test")
        assert failure.value.reason == "callback_value"
        await untouched(world)


async def test_a_denial_brings_no_values(tmp_path: Path, sqlite_url: str) -> None:
    """Whoever says no at the provider is told so, not that something is missing."""
    realm = case(REALMS, instance="12345")
    async with odd_world(tmp_path, sqlite_url, realm) as world:
        flow = Flow(world, realm)
        query = list(httpx2.URL(world.provider.deny(await flow.begin())).params.multi_items())
        with pytest.raises(AuthorizationFailed) as failure:
            await world.services.authorizations.complete("demo", query, BROWSER, "test")
        assert failure.value.reason == "denied"


async def test_a_callback_value_is_brought_anew(tmp_path: Path, sqlite_url: str) -> None:
    """Authorized again, the newer value counts; a wrong one leaves the connection as it was."""
    realm = case(REALMS, instance="12345", callback={"realmId": "12345"})
    async with odd_world(tmp_path, sqlite_url, realm) as world:
        flow = Flow(world, realm)
        connection = await flow.connect()
        before = await world.stored(connection)
        world.provider.quirks.callback = {"realmId": "12/345"}
        with pytest.raises(AuthorizationFailed):
            await flow.completed(connection)
        assert await world.stored(connection) == before
        behave(world, case({}, instance="678", callback={"realmId": "678"}))
        await flow.reauthorize(connection)
        assert (await token_set(world, connection)).parameters == {"realm_id": "678"}


async def test_an_optional_callback_value_stays_until_another_comes(tmp_path: Path, sqlite_url: str) -> None:
    """A provider that names the organisation at the first consent only does not lose it."""
    definition = {"callback": {"realm_id": {"pattern": "[0-9]+", "required": False}}}
    realm = case(definition, callback={"realm_id": "1"})
    async with odd_world(tmp_path, sqlite_url, realm) as world:
        flow = Flow(world, realm)
        connection = await flow.connect()
        world.provider.quirks.callback = {}
        await flow.reauthorize(connection)
        assert (await token_set(world, connection)).parameters == {"realm_id": "1"}
        world.provider.quirks.callback = {"realm_id": "2"}
        await flow.reauthorize(connection)
        assert (await token_set(world, connection)).parameters == {"realm_id": "2"}


@pytest.mark.parametrize("grant", ["device_code", "client_credentials"])
async def test_other_grants_ask_too(tmp_path: Path, sqlite_url: str, grant: str) -> None:
    """A device, and a service of its own, get their tokens at the tenant that was said, now and at each refresh."""
    definition = {key: table for key, table in SHOPS.items() if key != "authorization"} | {
        "grant": grant,
        "authorization": None,
        "device": {"url": "{base_url}/{shop}/device_authorization"} if grant == "device_code" else None,
        "identity": {"source": "none", "url": None, "label": None},
    }
    shop = case(definition, tenants=frozenset({"acme", "globex"}))
    async with odd_world(tmp_path, sqlite_url, shop) as world:
        authorizations, caller = world.services.authorizations, browser_caller(world.login)
        setattr(world.provider.features, grant, True)
        given = {"shop": "globex"}
        if grant == "client_credentials":
            with pytest.raises(InvalidValue):
                await authorizations.connect_directly(caller, "demo", "test", parameters={"shop": "glob/ex"})
            completed = await authorizations.connect_directly(caller, "demo", "test", parameters=given)
        else:
            with pytest.raises(InvalidValue):
                await authorizations.start_device(caller, "demo", BROWSER, None, None)
            handle = await authorizations.start_device(caller, "demo", BROWSER, None, None, given)
            world.clock.advance(5)
            prompt = await authorizations.poll_device("demo", handle, BROWSER, "test")
            assert isinstance(prompt, DevicePrompt)
            world.provider.approve_device(prompt.user_code)
            world.clock.advance(5)
            found = await authorizations.poll_device("demo", handle, BROWSER, "test")
            assert isinstance(found, Completed)
            completed = found
        connection = completed.connection
        for _ in range(2):
            world.clock.advance(3600)
            token = (await world.read_token(connection)).json()["access_token"]
            assert world.provider.is_good(token)
        assert (await token_set(world, connection)).parameters == given
        await Flow(world, shop).disconnect(connection, token)


class TestInstances:
    """What is told with the tokens."""

    async def test_newer_values_replace_older_ones(self, tmp_path: Path, database_url: str) -> None:
        """The customer moves to another instance: after the next refresh, calls go there."""
        moving = case(INSTANCES, instance="na1", refresh_path="/na1/renew")
        async with odd_world(tmp_path, database_url, moving) as world:
            flow = Flow(world, moving)
            connection = await flow.connect()
            base = world.provider.issuer
            assert (await token_set(world, connection)).parameters == {"instance_url": f"{base}/na1"}
            world.provider.quirks.instance = "eu9"
            world.clock.advance(3600)
            assert (await world.read_token(connection)).status_code == 200
            assert (await token_set(world, connection)).parameters == {"instance_url": f"{base}/eu9"}
            world.provider.quirks.refresh_path = "/eu9/renew"
            world.clock.advance(3600)
            token = (await world.read_token(connection)).json()["access_token"]
            await flow.disconnect(connection, token)

    async def test_the_answer_to_a_refresh_may_have_it_elsewhere(self, tmp_path: Path, sqlite_url: str) -> None:
        """`refresh.response.keep` says where; without it the older value stays."""
        for told, expected in ((True, "eu9"), (False, "na1")):
            kept = {"keep": {"instance_url": "home.url"}} if told else {"keep": {}}
            definition = INSTANCES | {"refresh": {"response": kept}}
            moving = case(definition, instance="na1", refresh_paths={"instance_url": "home.url"})
            directory = tmp_path / str(told)
            directory.mkdir()
            async with odd_world(directory, f"sqlite:///{directory / 'grantkeeper.sqlite3'}", moving) as world:
                connection = await Flow(world, moving).connect()
                world.provider.quirks.instance = "eu9"
                world.clock.advance(3600)
                assert (await world.read_token(connection)).status_code == 200
                parameters = (await token_set(world, connection)).parameters
                assert parameters == {"instance_url": f"{world.provider.issuer}/{expected}"}

    async def test_reauthorizing_takes_the_newer_one(self, tmp_path: Path, sqlite_url: str) -> None:
        """The same where the user authorizes again."""
        moving = case(INSTANCES, instance="na1")
        async with odd_world(tmp_path, sqlite_url, moving) as world:
            flow = Flow(world, moving)
            connection = await flow.connect()
            world.provider.quirks.instance = "eu9"
            await flow.reauthorize(connection)
            expected = {"instance_url": f"{world.provider.issuer}/eu9"}
            assert (await token_set(world, connection)).parameters == expected

    async def test_a_value_that_is_no_address(self, tmp_path: Path, sqlite_url: str, subtests: pytest.Subtests) -> None:
        """At the first answer the connection is refused; at a later one the address that works is kept."""
        # An address elsewhere is what an instance is.
        words = [value for name, value in HOSTILE.items() if name != "other-host"]
        odd = case(INSTANCES | {"refresh": {}}, instance="na1")
        async with odd_world(tmp_path, sqlite_url, odd) as world:
            flow = Flow(world, odd)
            connection = await flow.connect()
            before = (await token_set(world, connection)).parameters
            odd_values: list[object] = [*words, 7, True, None, [], {}]
            for value in odd_values:
                world.provider.policy.override = {"instance_url": value}
                world.clock.advance(3600)
                with subtests.test(str(value)[:20]):
                    assert (await world.read_token(connection)).status_code == 200
                    assert (await token_set(world, connection)).parameters == before
                    with pytest.raises(AuthorizationFailed) as failure:
                        await flow.connect()
                    assert failure.value.reason == "kept_value"
            assert len(await connections_of(world)) == 1

    async def test_a_word_that_would_lead_elsewhere(
        self, tmp_path: Path, sqlite_url: str, subtests: pytest.Subtests
    ) -> None:
        """A word within a URL keeps to its place there, whoever says it."""
        definition: Document = {
            "token": {"response": {"keep": {"cell": "cell"}}},
            "identity": {"url": "{base_url}/{cell}/userinfo"},
        }
        odd = case(definition)
        async with odd_world(tmp_path, sqlite_url, odd) as world:
            for name, value in HOSTILE.items():
                world.provider.policy.override = {"cell": value}
                with subtests.test(name):
                    with pytest.raises(AuthorizationFailed) as failure:
                        await Flow(world, odd).connect()
                    assert failure.value.reason == "kept_value"
            assert world.provider.counts["userinfo"] == 0
            assert await connections_of(world) == []


async def test_a_secret_goes_to_no_host_that_a_value_names(tmp_path: Path, sqlite_url: str) -> None:
    """The worst that a lax definition could do: the client's secret and a code at a stranger's server."""
    definition = {
        "parameters": {"shop": {"label": "Shop", "ask": "connection", "pattern": ".+"}},
        "token": {"url": "https://{shop}.example.com/token"},
    }
    lax = case(definition)
    async with odd_world(tmp_path, sqlite_url, lax) as world:
        for value in ("evil.example/", "evil.example/token?", "evil.example#", "x@evil.example/", "evil.example\\"):
            with pytest.raises(InvalidValue):
                await Flow(world, lax).connect({"shop": value})
        await untouched(world)


@given(
    st.one_of(st.text(), st.text("abcXYZ019.-_~:@/\\?#%&=", max_size=30)),
    st.sampled_from(["https://{x}.example.com/token", "https://{x}/token", "https://a.example/{x}/token?y={x}"]),
)
def test_whatever_fits_keeps_to_its_place(value: str, template: str) -> None:
    """The URL that it fills has one host, of the template's domain, and the template's path around it."""
    if not fits(template, "x", value):
        return
    plain, filled = urlsplit(fill(template, {"x": "x"})), urlsplit(fill(template, {"x": value}))
    assert (filled.scheme, filled.fragment, filled.username) == ("https", "", None)
    assert (filled.path.count("/"), filled.query.count("=")) == (plain.path.count("/"), plain.query.count("="))
    assert not {".", ".."} & set(filled.path.split("/"))
    if template.startswith("https://{x}."):
        assert filled.netloc.endswith(".example.com")
    if template.startswith("https://a.example/"):
        assert filled.netloc == "a.example"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("https://{x}.example.com/token", "acme"),
        ("https://{x}.example.com/token", "a-c.me"),
        ("https://{x}/token", "id.example.com:8443"),
        ("https://a.example/{x}/token", "contoso.onmicrosoft.com"),
        ("https://a.example/{x}/token", "me@example.com"),
        ("https://a.example/token", "anything / at all"),
        ("{x}/token", "https://na1.example.com"),
        ("{x}/token", "http://127.0.0.1:8080/demo"),
    ],
)
def test_what_people_have_fits(template: str, value: str) -> None:
    """Shops, hosts, tenants and whole addresses."""
    assert fits(template, "x", value)
