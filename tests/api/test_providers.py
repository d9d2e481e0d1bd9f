"""What a front end is told of the providers: by name, and with their definitions."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.builders import INDEX, client_of
from tests.api.description import ApiDescription
from tests.support.person import somebody
from tests.support.shelf import client_settings, write_definition
from tests.support.world import World, open_world

PROVIDERS = "/api/v1/oauth/providers"
DESK = """
[parameters.shard]
label = "Shard"
pattern = '[a-z0-9]+'
default = "s1"
[parameters.subdomain]
label = "Subdomain"
help = "The part before `.example.com`."
type = "subdomain"
example = "acme"
ask = "connection"
[parameters.region]
label = "Region"
choices = { us = "United States", eu = "Europe" }
default = "eu"
ask = "connection"
[scopes]
default = ["read", "odd"]
offline = ["offline_access"]
[scopes.meaning]
read = "See tickets"
write = "Change tickets"
[api]
base_url = "https://{shard}.{subdomain}.example.com/{region}/v2"
hosts = ["{shard}.example.com", "*.example.com"]
header = "X-Token"
scheme = ""
expired = [401, 419]
docs_url = "https://desk.example.com/api"
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two providers that are set up; every answer is compared with the API description."""
    folder = tmp_path / "providers"
    write_definition(folder, "desk", "Desk", "support", "crm", rest=DESK)
    write_definition(folder, "box", "A box")
    file = folder / "desk.toml"
    file.write_text(file.read_text().replace("com/token", "com/{shard}/{subdomain}/{region}/token"))
    clients = client_settings(["desk", "box"])
    clients["desk"]["parameters"] = {"shard": "s7"}
    clients["desk"]["scopes"] = ["read", "odd"]
    database = f"sqlite:///{tmp_path / 'grantkeeper.sqlite3'}"
    async with open_world(tmp_path, database, providers_dir=folder, clients=clients) as world:
        document = (await world.client.get("/api/v1/openapi.json")).json()
        world.client.event_hooks = {"response": [ApiDescription(document).check]}
        yield world


async def definitions(world: World) -> dict[str, Any]:
    """Every definition by its provider's name."""
    answer = await world.client.get(PROVIDERS, params={"include": "definition"})
    assert answer.status_code == 200
    return {provider["name"]: provider["definition"] for provider in answer.json()["data"]}


async def test_without_include(world: World) -> None:
    """The four keys of the contract, and no other."""
    answer = await world.client.get(PROVIDERS)
    assert list(answer.json()) == ["data"]
    for provider in answer.json()["data"]:
        assert list(provider) == ["name", "label", "logo_url", "authorization_url"]
    assert [provider["label"] for provider in answer.json()["data"]] == ["A box", "Desk"]


async def test_definition(world: World) -> None:
    """All of it, with what the operator has said filled in, and what each connection has of its own left open."""
    assert (await definitions(world))["desk"] == {
        "category": ["support", "crm"],
        "docs_url": "https://desk.example.com/docs",
        "grant": "authorization_code",
        "together": [],
        "parameters": [
            {
                "name": "subdomain",
                "label": "Subdomain",
                "help": "The part before `.example.com`.",
                "type": "subdomain",
                "pattern": "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
                "choices": [],
                "default": None,
                "example": "acme",
                "required": True,
            },
            {
                "name": "region",
                "label": "Region",
                "help": None,
                "type": "text",
                "pattern": None,
                "choices": [{"value": "us", "label": "United States"}, {"value": "eu", "label": "Europe"}],
                "default": "eu",
                "example": None,
                "required": False,
            },
        ],
        "scopes": [
            {"name": "read", "meaning": "See tickets"},
            {"name": "odd", "meaning": None},
            {"name": "offline_access", "meaning": None},
        ],
        "api": {
            "base_url": "https://s7.{subdomain}.example.com/{region}/v2",
            "hosts": ["s7.example.com", "*.example.com"],
            "header": "X-Token",
            "scheme": "",
            "expired": [401, 419],
            "docs_url": "https://desk.example.com/api",
        },
        "verified": {"basis": "libraries", "page": None, "date": datetime.date(2026, 11, 22).isoformat()},
    }


async def test_definition_that_says_little(world: World) -> None:
    """Nothing to ask, nothing known of the API: the keys are there all the same."""
    found = (await definitions(world))["box"]
    assert (found["parameters"], found["scopes"], found["api"]["base_url"], found["api"]["hosts"]) == ([], [], None, [])
    assert (found["api"]["header"], found["api"]["scheme"], found["api"]["expired"]) == (
        "Authorization",
        "Bearer",
        [401],
    )


async def test_what_is_told_is_enough(world: World) -> None:
    """A front end that asks for the parameters and puts them into the address sends its user straight on."""
    [desk] = [p for p in (await _included(world)).json()["data"] if p["name"] == "desk"]
    values = {one["name"]: one["example"] for one in desk["definition"]["parameters"] if one["required"]}
    async with somebody(world) as person:
        await person.sign_in()
        await person.open(str(httpx2.URL(desk["authorization_url"], params=values)))
        assert person.location.startswith("https://desk.example.com/authorize?")


@pytest.mark.parametrize("include", ["status", "definition,status", "Definition", " definition", "definition\x00"])
async def test_an_unknown_include(world: World, include: str) -> None:
    """422 that names the key and what there is, as elsewhere."""
    answer = await world.client.get(PROVIDERS, params={"include": include})
    assert answer.status_code == 422
    assert answer.json()["errors"]["include"][0].startswith("include knows definition, not ")


@pytest.mark.parametrize("include", ["", ",", "definition,definition"])
async def test_an_include_that_is_no_more(world: World, include: str) -> None:
    """Empty is as good as none, twice as good as once."""
    answer = await world.client.get(PROVIDERS, params={"include": include})
    assert answer.status_code == 200
    assert ("definition" in answer.json()["data"][0]) == ("definition" in include)


async def test_every_problem_at_once(world: World) -> None:
    """A bad page size, cursor and include are told together."""
    answer = await world.client.get(PROVIDERS, params={"include": "x", "per_page": "0", "cursor": "x"})
    assert (answer.status_code, sorted(answer.json()["errors"])) == (422, ["cursor", "include", "per_page"])


async def test_pages_keep_it(world: World) -> None:
    """The next page includes what the first one did."""
    answer = await world.client.get(PROVIDERS, params={"include": "definition", "per_page": 1})
    following = await world.client.get(answer.json()["links"]["next"])
    assert following.json()["data"][0]["definition"]["category"] == ["support", "crm"]


async def test_connections_are_as_they_were(world: World) -> None:
    """The contract's connection knows nothing of definitions: neither by itself nor when asked for them."""
    document = (await client_of(world, None).get("/api/v1/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert schemas["ConnectionBody"]["properties"]["provider"] == {"$ref": "#/components/schemas/Provider"}
    assert list(schemas["Provider"]["properties"]) == ["name", "label", "logo_url", "authorization_url"]
    assert schemas["OfferedProvider"]["required"] == schemas["Provider"]["required"]
    answer = await world.client.get(INDEX, params={"include": "definition"})
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["include"])


async def test_described(world: World) -> None:
    """The description names the parameter, its one value, and what to do with what it brings."""
    call = (await client_of(world, None).get("/api/v1/openapi.json")).json()["paths"][PROVIDERS]["get"]
    [include] = [parameter for parameter in call["parameters"] if parameter["name"] == "include"]
    assert include["schema"]["items"]["enum"] == ["definition"]
    assert "authorization_url" in call["description"]


async def _included(world: World) -> httpx2.Response:
    return await world.client.get(PROVIDERS, params={"include": "definition"})
