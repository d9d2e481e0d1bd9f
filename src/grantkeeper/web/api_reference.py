"""The API description as its page shows it: operations, their parameters and answers, bodies, examples.

Reads OpenAPI 3.1 as `openapi` writes it; knows nothing of the routes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from grantkeeper.model import Record

_SCOPE = re.compile(r"\s*Needs the scope `([^`]+)`\.\s*")
_PLACEHOLDERS = {"uri": "https://…", "uuid": "0b96d72c-d9de-40fb-9beb-de30a48c0160"}
Schema = Mapping[str, Any]


class Kind(Record, frozen=True):
    """A type in words, such as `list of` and the schema it ends in, which the page links to.

    `limits`: the values that are taken, and which one is meant where none is given.
    """

    words: str
    schema: str | None = None
    nullable: bool = False
    limits: str = ""


class Field(Record, frozen=True):
    """A parameter or a member of a body; `where` is path, query, header or body."""

    name: str
    where: str
    kind: Kind
    required: bool
    description: str


class Answer(Record, frozen=True):
    """What one status means, and the schema of its body."""

    status: str
    description: str
    schema: str | None
    headers: list[str]
    example: str | None


class Operation(Record, frozen=True):
    """One method of one path."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    scope: str | None
    parameters: list[Field]
    body: str | None
    fields: list[Field]
    answers: list[Answer]
    curl: str


class Described(Record, frozen=True):
    """A schema of its own: a JSON object and its members."""

    name: str
    description: str
    fields: list[Field]


class Reference(Record, frozen=True):
    """Everything the page shows."""

    title: str
    version: str
    description: str
    server: str
    token: str
    operations: list[Operation]
    schemas: list[Described]


def read_document(document: Mapping[str, Any]) -> Reference:
    """The page's view of an OpenAPI document."""
    return _Reader(document).reference()


class _Reader:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._schemas: Mapping[str, Schema] = document["components"]["schemas"]

    def reference(self) -> Reference:
        info, paths = self._document["info"], self._document["paths"]
        return Reference(
            title=info["title"],
            version=info["version"],
            description=info["description"],
            server=self._document["servers"][0]["url"],
            token=self._document["components"]["securitySchemes"]["bearer"]["description"],
            operations=[
                self._operation(path, method, operation)
                for path, methods in paths.items()
                for method, operation in methods.items()
            ],
            schemas=[
                Described(name=name, description=schema.get("description", ""), fields=self._members(schema))
                for name, schema in self._schemas.items()
            ],
        )

    def _operation(self, path: str, method: str, operation: Mapping[str, Any]) -> Operation:
        description = operation.get("description", "")
        scope = _SCOPE.search(description)
        body = operation["requestBody"]["content"]["application/json"]["schema"] if "requestBody" in operation else None
        return Operation(
            anchor=operation["operationId"],
            method=method.upper(),
            path=path,
            summary=operation["summary"],
            description=_SCOPE.sub(" ", description).strip(),
            scope=scope[1] if scope else None,
            parameters=[self._parameter(parameter) for parameter in operation.get("parameters", ())],
            body=_name(body) if body else None,
            fields=self._members(self._resolved(body)) if body else [],
            answers=[self._answer(status, answer) for status, answer in operation["responses"].items()],
            curl=self._curl(path, method.upper(), body, public=operation.get("security") == []),
        )

    def _parameter(self, parameter: Mapping[str, Any]) -> Field:
        return Field(
            name=parameter["name"],
            where=parameter["in"],
            kind=self._kind(parameter["schema"]),
            required=parameter.get("required", False),
            description=parameter.get("description") or "",
        )

    def _members(self, schema: Schema) -> list[Field]:
        required = schema.get("required", ())
        return [
            Field(
                name=name,
                where="body",
                kind=self._kind(member),
                required=name in required,
                description=_description(member),
            )
            for name, member in schema.get("properties", {}).items()
        ]

    def _answer(self, status: str, answer: Mapping[str, Any]) -> Answer:
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        shown = schema is not None and status.startswith("2")
        return Answer(
            status=status,
            description=answer["description"],
            schema=_name(schema) if schema else None,
            headers=list(answer.get("headers", ())),
            example=_pretty(self._example(schema)) if shown else None,
        )

    def _kind(self, schema: Schema) -> Kind:
        if "anyOf" in schema:
            some = [option for option in schema["anyOf"] if option.get("type") != "null"]
            first = self._kind(some[0])
            return msgspec.structs.replace(first, nullable=len(some) < len(schema["anyOf"]))
        if name := _name(schema):
            return Kind(words="", schema=name)
        if schema.get("type") == "array":
            inner = self._kind(schema["items"])
            return Kind(words=f"list of {inner.words}".strip(), schema=inner.schema, limits=inner.limits)
        if isinstance(values := schema.get("additionalProperties"), Mapping):
            inner = self._kind(values)
            return Kind(words=f"object, each value a {inner.words}".strip(), schema=inner.schema)
        words = str(schema.get("type", "any value"))
        return Kind(words=f"{words} ({schema['format']})" if "format" in schema else words, limits=_limits(schema))

    def _example(self, schema: Schema) -> Any:
        """A value that fits; of an object what is required, or everything where nothing is."""
        schema = self._resolved(schema)
        if "examples" in schema or "enum" in schema:
            return (schema.get("examples") or schema["enum"])[0]
        if "anyOf" in schema:
            return self._example(schema["anyOf"][0])
        if schema.get("type") == "array":
            return [self._example(schema["items"])]
        if "properties" in schema:
            members = schema["properties"]
            return {name: self._example(members[name]) for name in schema.get("required") or members}
        if "format" in schema:
            return _PLACEHOLDERS.get(schema["format"], "…")
        return {"integer": 1, "boolean": True, "object": {}}.get(str(schema.get("type")), "…")

    def _curl(self, path: str, method: str, body: Schema | None, *, public: bool) -> str:
        url = self._document["servers"][0]["url"] + path.replace("{uuid}", _PLACEHOLDERS["uuid"])
        lines = [f"curl '{url}'"]
        if method != "GET":
            lines.append(f"-X {method}")
        if not public:
            lines.append('-H "Authorization: Bearer $GRANTKEEPER_TOKEN"')
        if body is not None:
            text = msgspec.json.encode(self._example(body)).decode()
            lines += ["-H 'Content-Type: application/json'", f"-d '{text}'"]
        return " \\\n  ".join(lines)

    def _resolved(self, schema: Schema) -> Schema:
        name = _name(schema)
        return self._schemas[name] if name else schema


def _name(schema: Schema) -> str | None:
    """The schema that a `$ref` points to."""
    return str(schema["$ref"]).rpartition("/")[2] if "$ref" in schema else None


def _limits(schema: Schema) -> str:
    found = []
    if "enum" in schema:
        found.append("one of " + ", ".join(f"`{value}`" for value in schema["enum"]))
    if "minimum" in schema and "maximum" in schema:
        found.append(f"{schema['minimum']} to {schema['maximum']}")
    if "maxLength" in schema:
        found.append(f"{schema.get('minLength', 0)} to {schema['maxLength']} characters")
    if schema.get("default") is not None:
        found.append(f"`{schema['default']}` by default")
    return "; ".join(found)


def _description(schema: Schema) -> str:
    options = (schema, *schema.get("anyOf", ()))
    return next((str(option["description"]) for option in options if "description" in option), "")


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
