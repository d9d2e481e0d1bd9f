"""What a provider's definition asks the user for: in a form, in an address, and never twice for one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from grantkeeper.catalogue import Provider
from tests.support.grants import code_on, open_grants
from tests.support.person import Page, Person, somebody
from tests.support.world import World

APP = "https://app.example.com"
SHOP = "/oauth/shop/authorize"
HOSTILE = ("a/b", "evil.example/?", "a b", "é", "{tenant}", "a\u2024b", "x" * 300 + "/", "", "   ", "<b>")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A provider that asks for a tenant and a region, connected in three ways."""
    async with open_grants(tmp_path, "shop", "kiosk", "depot", redirect_origins=[APP]) as world:
        yield world


@pytest.fixture
async def person(world: World) -> AsyncIterator[Person]:
    """Somebody who is signed in."""
    async with somebody(world) as person:
        await person.sign_in()
        yield person


def address(path: str, **query: str) -> str:
    """A path with a query."""
    return str(httpx2.URL(path, params=query))


def onward(page: Page) -> str:
    """Where a page goes on to by itself."""
    [refresh] = page.tagged("meta", **{"http-equiv": "refresh"})
    return refresh["content"].removeprefix("0; url=")


async def send(person: Person, action: str, **fields: str) -> Page:
    """Send a form that asks by GET, as browsers do."""
    return await person.open(address(action, **(person.page.forms[action] | fields)))


async def kept(person: Person, uuid: str) -> dict[str, str]:
    """What was said for a connection."""
    services = person.world.services
    connection = await services.store.find(uuid)
    assert connection is not None
    return dict(await services.store.parameters(connection))


def without_tenant(shop: Provider) -> Provider:
    """The definition as it was before it asked for the tenant."""
    token = shop.token.model_copy(update={"url": (shop.token.url or "").replace("{tenant}", "all")})
    url = (shop.authorization.url or "").replace("{tenant}", "all")
    changes = {
        "parameters": {name: one for name, one in shop.parameters.items() if name != "tenant"},
        "authorization": shop.authorization.model_copy(update={"url": url}),
        "token": token,
    }
    return shop.model_copy(update=changes)


async def connect(person: Person, **values: str) -> str:
    """A new connection with those values in the address; its UUID."""
    await person.authorize(address(SHOP, **values))
    return httpx2.URL(person.location).params["connection"]


class TestTheForm:
    """GET without values."""

    async def test_it_asks_first(self, person: Person) -> None:
        """Label, help, example, choices with the default chosen; the provider has heard nothing yet."""
        page = await person.open(SHOP)
        assert person.response.status_code == 200
        assert "say which account at Shop is meant" in page.text
        assert "The part before .example.com. For example acme." in page.text
        assert page.tagged("code")
        [field] = page.tagged("input", id="tenant")
        assert (field["name"], field["value"], field["aria-describedby"]) == ("tenant", "", "tenant-hint")
        assert {"required", "autofocus"} <= field.keys()
        assert page.tagged("select", id="region")
        assert [option["value"] for option in page.tagged("option")] == ["eu", "us"]
        assert [option["value"] for option in page.tagged("option", selected="")] == ["eu"]
        assert {label["for"] for label in page.tagged("label")} >= {"tenant", "region"}
        assert not page.tagged("p", role="alert")
        assert page.link("Cancel") == "/connect"

    async def test_it_leads_on(self, person: Person) -> None:
        """By a page of ours, as browsers hold what follows a form to our own site; then it is connected."""
        await person.open(SHOP)
        page = await send(person, SHOP, tenant=" acme ", region="us")
        there = onward(page)
        assert "of=acme.us" in there
        await person.open(person.world.provider.approve(there))
        await person.follow()
        assert "“My Shop Account 1” is connected." in person.page.text
        assert await kept(person, await connect(person, tenant="other")) == {"tenant": "other", "region": "eu"}

    async def test_trying_again_keeps_what_was_said(self, person: Person) -> None:
        """Refused at the provider: the next attempt begins there, with the same tenant and the same end."""
        await person.open(address(SHOP, redirect_to=f"{APP}/done"))
        there = onward(await send(person, SHOP, tenant="acme", region="us"))
        await person.open(person.world.provider.deny(there))
        assert person.page.link("Try again") == address(SHOP, tenant="acme", region="us", redirect_to=f"{APP}/done")
        await person.open(person.page.link("Try again"))
        assert person.response.status_code == 303
        assert "of=acme.us" in person.location

    async def test_where_the_user_was_going_stays_known(self, person: Person) -> None:
        """redirect_to and login_hint go along through the form, and through an error in it."""
        await person.open(address(SHOP, redirect_to=f"{APP}/done?a=b&c", login_hint="ada@example.com"))
        await send(person, SHOP, tenant="a/b", region="us")
        form = person.page.forms[SHOP]
        assert (form["redirect_to"], form["login_hint"]) == (f"{APP}/done?a=b&c", "ada@example.com")
        page = await send(person, SHOP, tenant="acme", region="us")
        await person.open(person.world.provider.approve(onward(page)))
        assert person.location.startswith(f"{APP}/done?a=b&c")

    async def test_a_target_that_is_not_allowed(self, person: Person) -> None:
        """Refused before anything is filled in."""
        await person.open(address(SHOP, redirect_to="https://evil.example/"))
        assert person.response.status_code == 422
        assert "redirect_origins" in person.page.text

    @pytest.mark.parametrize("value", HOSTILE)
    async def test_a_value_that_does_not_fit(self, person: Person, value: str) -> None:
        """422 with the problem at its field, what was given kept, and nothing of it sent anywhere."""
        page = await person.open(address(SHOP, tenant=value, region="us"))
        assert person.response.status_code == 422
        [field] = page.tagged("input", id="tenant")
        assert (field["value"], field["aria-invalid"]) == (value[:255], "true")
        assert field["aria-describedby"] == "tenant-problem tenant-hint"
        assert "autofocus" in field
        assert "Say the Tenant of your account at Shop, such as acme." in page.text
        assert page.tagged("p", role="alert")
        assert [option["value"] for option in page.tagged("option", selected="")] == ["us"]
        assert not page.tagged("b")
        assert not page.tagged("meta", **{"http-equiv": "refresh"})

    async def test_a_choice_that_there_is_not(self, person: Person) -> None:
        """The problem stands at the choices, and none of them is chosen."""
        page = await person.open(address(SHOP, tenant="acme", region="mars"))
        assert person.response.status_code == 422
        assert page.tagged("select", id="region", **{"aria-invalid": "true"})
        assert [option["value"] for option in page.tagged("option")] == ["", "eu", "us"]
        assert not page.tagged("option", selected="")

    async def test_what_is_still_missing_is_not_wrong(self, person: Person) -> None:
        """Who brings one value of two is asked for the other, without a reproach."""
        page = await person.open(address(SHOP, region="us"))
        assert person.response.status_code == 200
        assert not page.tagged("p", role="alert")
        assert [option["value"] for option in page.tagged("option", selected="")] == ["us"]


class TestFrontEnds:
    """Values in the address."""

    async def test_straight_on(self, person: Person) -> None:
        """To the provider at once, with what was left out at its default."""
        there = await person.leave(address(SHOP, tenant="acme"))
        assert "of=acme.eu" in there
        await person.open(person.world.provider.approve(there))
        assert httpx2.URL(person.location).params["done"] == "connected"

    async def test_through_the_sign_in(self, world: World) -> None:
        """They survive it."""
        async with somebody(world) as person:
            await person.open(address(SHOP, tenant="acme", region="us"))
            asked = httpx2.URL(person.location).params["next"]
            await person.sign_in(onward=asked)
            assert "of=acme.us" in await person.leave(onward(person.page))

    async def test_a_provider_that_asks_nothing(self, person: Person) -> None:
        """The same words in its address mean nothing."""
        assert "acme" not in await person.leave(address("/oauth/demo/authorize", tenant="acme"))


class TestReauthorizing:
    """A connection that stays what it is."""

    async def test_nothing_is_asked_again(self, person: Person) -> None:
        """Straight to the provider, with what is kept."""
        uuid = await connect(person, tenant="acme", region="us")
        assert "of=acme.us" in await person.leave(f"{SHOP}/{uuid}")
        await person.authorize(f"{SHOP}/{uuid}")
        assert await kept(person, uuid) == {"tenant": "acme", "region": "us"}

    async def test_no_address_can_change_it(self, person: Person) -> None:
        """A link that names another tenant leads to the connection's own."""
        uuid = await connect(person, tenant="acme", region="us")
        assert "of=acme.us" in await person.leave(address(f"{SHOP}/{uuid}", tenant="evil", region="eu"))

    async def test_what_is_lacking_is_asked(self, person: Person) -> None:
        """A connection from before the definition asked is asked then, and for no more than that."""
        clients = person.world.services.clients
        now = clients.catalogue
        clients.use(now.beside({"shop": without_tenant(now["shop"])}))
        uuid = await connect(person, region="us")
        clients.use(now)
        page = await person.open(f"{SHOP}/{uuid}")
        assert "Reconnect “My Shop Account 1”" in page.text
        assert [field["id"] for field in page.tagged("input", id="tenant")] == ["tenant"]
        assert not page.tagged("select", id="region")
        assert page.link("Cancel") == "/connections"
        action = f"{SHOP}/{uuid}"
        page = await send(person, action, tenant="/")
        assert person.response.status_code == 422
        page = await send(person, action, tenant="acme")
        await person.open(person.world.provider.approve(onward(page)))
        assert await kept(person, uuid) == {"tenant": "acme", "region": "us"}


class TestOtherGrants:
    """Devices, and grants without a person."""

    async def test_a_device(self, person: Person) -> None:
        """Asked before there is a code; then the code, and what was said is kept."""
        action = "/oauth/kiosk/authorize"
        page = await person.open(action)
        assert page.tagged("input", id="tenant")
        assert person.world.provider.counts["device_authorization"] == 0
        await send(person, action, tenant="a/b")
        assert person.response.status_code == 422
        await send(person, action, tenant="acme")
        waiting = person.location
        await person.follow()
        person.world.provider.approve_device(code_on(person.page))
        person.world.clock.advance(10)
        await person.open(waiting)
        uuid = httpx2.URL(person.location).params["connection"]
        assert await kept(person, uuid) == {"tenant": "acme", "region": "eu"}

    async def test_without_a_person(self, person: Person) -> None:
        """Asked on the page that asks whether to connect; reconnecting asks no more."""
        page = await person.open(address("/oauth/depot/authorize", region="us"))
        assert page.forms["/oauth/depot/direct"]["value.tenant"] == ""
        assert [option["value"] for option in page.tagged("option", selected="")] == ["us"]
        page = await person.submit("/oauth/depot/direct", **{"value.tenant": "a/b", "value.region": "us"})
        assert person.response.status_code == 422
        [field] = page.tagged("input", id="value.tenant")
        assert (field["value"], field["aria-invalid"]) == ("a/b", "true")
        assert "Say the Tenant of your account at Depot" in page.text
        assert [option["value"] for option in page.tagged("option", selected="")] == ["us"]
        assert person.world.provider.counts["token"] == 0
        await person.submit("/oauth/depot/direct", **{"value.tenant": "acme", "value.region": "us"})
        uuid = httpx2.URL(person.location).params["connection"]
        assert await kept(person, uuid) == {"tenant": "acme", "region": "us"}
        page = await person.open(address(f"/oauth/depot/authorize/{uuid}", tenant="evil"))
        assert not page.tagged("input", id="value.tenant")
        await person.submit("/oauth/depot/direct")
        assert httpx2.URL(person.location).params["done"] == "reauthorized"
        assert await kept(person, uuid) == {"tenant": "acme", "region": "us"}
