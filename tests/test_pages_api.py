"""The API's own page: everything that the description says, readable without scripts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from grantkeeper.web.api_reference import read_document
from tests.support.person import Page
from tests.support.world import World


@pytest.fixture
async def document(world: World) -> dict[str, Any]:
    """The description as it is served."""
    found: dict[str, Any] = (await world.client.get("/api/v1/openapi.json")).json()
    return found


@pytest.fixture
async def page(world: World) -> Page:
    """The page as it is served."""
    answer = await world.client.get("/api/docs")
    assert answer.status_code == 200
    return Page(answer)


async def test_every_operation_is_there(document: dict[str, Any], page: Page) -> None:
    """Each with an anchor, its parameters, its statuses and what they mean."""
    for path, methods in document["paths"].items():
        assert path in page.text
        for operation in methods.values():
            assert page.tagged("section", id=operation["operationId"])
            assert page.links[f"#{operation['operationId']}"]
            assert operation["summary"] in page.text
            for parameter in operation["parameters"]:
                assert parameter["name"] in page.text
            for status, answer in operation["responses"].items():
                assert status in page.text
                assert answer["description"].replace("`", "") in page.text


async def test_every_link_leads_somewhere(page: Page) -> None:
    """No anchor without its target."""
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link[1:] for link in page.links if link.startswith("#")} <= targets


async def test_every_schema_is_there(document: dict[str, Any], page: Page) -> None:
    """Each with all its members."""
    for name, schema in document["components"]["schemas"].items():
        assert page.tagged("section", id=f"schema-{name}")
        for member in schema.get("properties", {}):
            assert member in page.text


async def test_scopes_and_examples(document: dict[str, Any], page: Page) -> None:
    """Each call says which scope it needs, and how to make it with curl."""
    reference = read_document(document)
    scopes = {operation.scope for operation in reference.operations}
    assert {"connections:read", "connections:write", "tokens:read", "admin"} <= scopes
    rename = next(operation for operation in reference.operations if operation.method == "PUT")
    assert rename.curl.startswith("curl 'http://127.0.0.1:8080/api/v1/oauth/connections/0b96d72c-")
    assert "-X PUT" in rename.curl
    assert '-H "Authorization: Bearer $GRANTKEEPER_TOKEN"' in rename.curl
    assert '-d \'{"label":' in rename.curl
    for operation in reference.operations:
        assert operation.curl.split(" \\")[0] in page.text


async def test_example_answers_fit(document: dict[str, Any]) -> None:
    """What is shown as an answer has what the schema requires, in its order."""
    reference = read_document(document)
    listed = next(operation for operation in reference.operations if operation.summary == "List connections")
    example = next(answer.example for answer in listed.answers if answer.status == "200")
    assert example is not None
    shown = msgspec.json.decode(example)["data"][0]
    assert list(shown) == document["components"]["schemas"]["ConnectionBody"]["required"]


async def test_nothing_comes_from_elsewhere(page: Page) -> None:
    """Styles and images are our own."""
    for attributes in (*page.tagged("link"), *page.tagged("img"), *page.tagged("script")):
        address = attributes.get("href") or attributes["src"]
        assert address.startswith("/static/")
