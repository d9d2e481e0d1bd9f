"""The API's description of itself: valid, complete, and what the answers are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from grantkeeper.model import ALL_SCOPES, Status
from tests.api.builders import INDEX, TOKENS, add_connection, client_of
from tests.api.description import ApiDescription
from tests.support.world import PASSWORD, PUBLIC_URL, World

Document = dict[str, Any]
CALLS = {
    ("get", INDEX): {200},
    ("get", f"{INDEX}/{{uuid}}"): {200},
    ("put", f"{INDEX}/{{uuid}}"): {200, 415},
    ("delete", f"{INDEX}/{{uuid}}"): {204},
    ("get", f"{INDEX}/{{uuid}}/token"): {200, 409},
    ("post", f"{INDEX}/{{uuid}}/token"): {200, 409, 415},
    ("post", f"{INDEX}/{{uuid}}/proof"): {200, 415},
    ("get", "/api/v1/oauth/providers"): {200},
    ("get", "/api/v1/logins"): {200},
    ("post", TOKENS): {201, 415},
}
ALWAYS = {400, 401, 403, 404, 405, 422, 429, 503}


@pytest.fixture
def document(description: ApiDescription) -> Document:
    """The OpenAPI document as it is served."""
    return description.document


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Method, path and description of every call."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def parameters(document: Document, path: str) -> dict[str, Document]:
    """The query parameters of a GET, by name."""
    found = document["paths"][path]["get"]["parameters"]
    return {parameter["name"]: parameter for parameter in found if parameter["in"] == "query"}


async def test_served_to_anybody(world: World) -> None:
    """JSON, without a token, and a page for people beside it."""
    answer = await client_of(world, None).get("/api/v1/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["openapi"] == "3.1.0"
    assert answer.json()["servers"] == [{"url": PUBLIC_URL}]
    page = await client_of(world, None).get("/api/docs")
    assert page.status_code == 200
    for path in answer.json()["paths"]:
        assert path in page.text


def test_valid(document: Document) -> None:
    """A validator of OpenAPI 3.1 finds nothing; every schema is one, and none is left unused."""
    validate(document, cls=OpenAPIV31SpecValidator)
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert used == set(schemas)


def test_every_route_is_described(world: World, document: Document) -> None:
    """Every route that takes a token, and no other."""
    served = {(route.method.lower(), route.path) for route in world.application.routes if route.access == "token"}
    assert {(method, path) for method, path, _ in operations(document)} == served == set(CALLS)


def test_every_status_is_described(document: Document) -> None:
    """What each call answers when all is well, and what every call answers when it is not, with its body."""
    for method, path, operation in operations(document):
        statuses = {int(status) for status in operation["responses"]}
        assert statuses == CALLS[method, path] | ALWAYS, f"{method} {path}"
        for status, answer in operation["responses"].items():
            assert answer["description"]
            schema = answer.get("content", {}).get("application/json", {}).get("schema")
            if status == "204":
                assert schema is None
            elif status == "409":
                assert schema == {"$ref": "#/components/schemas/ReauthorizationBody"}
            elif status >= "400":
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}
            else:
                assert schema is not None


def test_security(world: World, document: Document) -> None:
    """A bearer token for every call, and the scope that it needs in words."""
    assert document["security"] == [{"bearer": []}]
    scheme = document["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for scope in ALL_SCOPES:
        assert scope in scheme["description"]
    for route in world.application.routes:
        if route.access == "token":
            operation = document["paths"][route.path][route.method.lower()]
            assert "security" not in operation, "the document's own holds"
            assert f"`{route.scope}`" in operation["description"]


def test_operations_can_be_generated_from(document: Document) -> None:
    """Names that a generator can use, each once; every parameter of a path is declared."""
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    for _, path, operation in operations(document):
        declared = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert "X-Account-UUID" in {parameter["name"] for parameter in operation["parameters"]}


def test_keys_of_a_connection(document: Document) -> None:
    """Eight keys are always there, four when they are asked for; the status is one of the words."""
    schema = document["components"]["schemas"]["ConnectionBody"]
    assert schema["required"] == [
        "uuid",
        "label",
        "provider",
        "created_at",
        "updated_at",
        "access_token_expires_at",
        "refresh_token_expires_at",
        "refresh_authorization_url",
    ]
    assert list(schema["properties"])[8:] == ["status", "scopes", "identity", "health"]
    assert schema["properties"]["status"]["enum"] == list(Status)


async def test_what_parameters_say_is_so(world: World, document: Document) -> None:
    """Each default is what is done without it, each limit is kept, each value of an enumeration is taken."""
    connection = await world.connect()
    token = f"{INDEX}/{connection.uuid}/token"
    described = {INDEX: parameters(document, INDEX), token: parameters(document, f"{INDEX}/{{uuid}}/token")}
    for path, found in described.items():
        for name, parameter in found.items():
            schema = parameter["schema"]
            choices = schema.get("items", schema).get("enum", [])
            limits = [schema[key] for key in ("minimum", "maximum", "default") if key in schema]
            for good in (*choices, *limits):
                answer = await world.client.get(path, params={name: good})
                assert answer.status_code == 200, (name, good)
            past = [schema["minimum"] - 1, schema["maximum"] + 1] if "minimum" in schema else []
            for bad in (*past, *(["other"] if choices else [])):
                answer = await world.client.get(path, params={name: bad})
                assert (answer.status_code, list(answer.json()["errors"])) == (422, [name]), (name, bad)
    assert set(described[INDEX]) == {
        "per_page",
        "cursor",
        "sort",
        "include",
        "filter[uuid]",
        "filter[provider]",
        "filter[status]",
        "filter[label]",
    }


async def test_bodies_that_fit_are_taken(world: World, document: Document) -> None:
    """What the description allows in a request is taken, what it forbids is not."""
    connection = await add_connection(world)
    schemas = document["components"]["schemas"]
    update = Draft202012Validator(schemas["ConnectionUpdate"])
    labels: list[Document] = [{"label": label} for label in ("x", "x" * 255, "", "x" * 256, None)]
    for body in [{}, *labels]:
        answer = await world.client.put(f"{INDEX}/{connection.uuid}", json=body)
        assert (answer.status_code == 200) == update.is_valid(body), body
    new = Draft202012Validator(schemas["NewToken"])
    good: Document = {"name": "x", "password": PASSWORD, "account_uuid": world.account_uuid}
    for body in (
        good,
        good | {"scopes": None, "expires_at": None},
        good | {"scopes": ["admin"], "expires_at": "2027-01-01T00:00:00Z"},
        good | {"scopes": []},
        good | {"scopes": ["root"]},
        {"name": "x", "password": PASSWORD},
    ):
        answer = await world.client.post(TOKENS, json=body)
        assert (answer.status_code == 201) == new.is_valid(body), body
    connection = await world.connect()
    refused = Draft202012Validator(schemas["RefusedToken"])
    for digits in ("0" * 64, "aF" * 32, "0" * 63, "0" * 65, "g" * 64, " " + "0" * 64, 7, None):
        body = {"refused_token_sha256": digits}
        answer = await world.client.post(f"{INDEX}/{connection.uuid}/token", json=body)
        assert (answer.status_code == 200) == refused.is_valid(body), body
    assert document["paths"][TOKENS]["post"]["requestBody"]["required"] is True
    assert document["paths"][f"{INDEX}/{{uuid}}/token"]["post"]["requestBody"]["required"] is True
    assert document["paths"][f"{INDEX}/{{uuid}}"]["put"]["requestBody"]["required"] is False


async def test_answers_are_held_to_it(world: World, document: Document) -> None:
    """The comparison that every test of the API makes does find what is not described."""
    answer = await world.client.get(INDEX)
    await ApiDescription(document).check(answer)
    changed = {**document, "paths": {**document["paths"], INDEX: {"get": {"responses": {}}}}}
    with pytest.raises(AssertionError, match="answers 200, which is not described"):
        await ApiDescription(changed).check(answer)
    await add_connection(world)
    answer = await world.client.get(INDEX, params={"include": "status"})
    schema = document["components"]["schemas"]["ConnectionBody"]
    properties = {name: kind for name, kind in schema["properties"].items() if name != "status"}
    schemas = document["components"]["schemas"] | {"ConnectionBody": schema | {"properties": properties}}
    with pytest.raises(AssertionError, match="'status' was unexpected"):
        await ApiDescription({**document, "components": {"schemas": schemas}}).check(answer)
