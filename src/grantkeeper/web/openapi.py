"""The API description, OpenAPI 3.1, generated from the route table and the body types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from grantkeeper import __version__
from grantkeeper.web.edge import Documentation, Route
from grantkeeper.web.representations import ErrorBody

_STATUS = {
    200: "OK",
    201: "Created",
    204: "Done; no body.",
    400: "The request cannot be read.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "The token lacks the scope.",
    404: "Unknown, or another account's.",
    405: "This path has other methods.",
    409: "The provider no longer honours the grant; its user must authorize again.",
    415: "The body is not JSON.",
    422: "A bad value; `errors` names the fields.",
    429: "Past the rate limit; try again after `Retry-After` seconds.",
    503: "Cannot be answered now; try again after `Retry-After` seconds.",
}
# Every call may answer these, whatever else it answers: 400 where the query has no end, 404 where the account
# header names none of the caller's, 422 where it is missing.
_ALWAYS: dict[int, Any] = {status: ErrorBody for status in (400, 401, 403, 404, 405, 422, 429, 503)}
_HEADERS = {
    "Allow": ("The methods of this path.", {"type": "string"}),
    "Retry-After": ("Seconds to wait.", {"type": "integer"}),
    "WWW-Authenticate": ("`Bearer`.", {"type": "string"}),
    "X-RateLimit-Limit": ("Requests a minute for this user.", {"type": "integer"}),
    "X-RateLimit-Remaining": ("Requests left in this minute.", {"type": "integer"}),
}
_PATH_SCHEMAS = {"uuid": {"type": "string", "format": "uuid"}}
_RATE = ["X-RateLimit-Limit", "X-RateLimit-Remaining"]
_HEADERS_OF = {401: ["WWW-Authenticate"], 405: ["Allow"], 429: ["Retry-After", *_RATE], 503: ["Retry-After", *_RATE]}
_ACCOUNT = {
    "name": "X-Account-UUID",
    "in": "header",
    "required": False,
    "description": "Which of your accounts is meant, where the token is not made for one. "
    "`X-PLANNR-ACCOUNT-UUID` is read as well.",
    "schema": {"type": "string", "format": "uuid"},
}


def describe(routes: Sequence[Route], public_url: str) -> dict[str, Any]:
    """The whole document."""
    documented = [(route, route.documentation) for route in routes if route.documentation is not None]
    types = {kind for _, doc in documented for kind in (*doc.answers.values(), doc.body) if kind is not None}
    ordered = sorted(types | {ErrorBody}, key=lambda kind: str(kind.__name__))
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    references = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route, documentation in documented:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, documentation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Grantkeeper",
            "version": __version__,
            "description": "OAuth2 connections: list, label, reauthorize, read a valid access token, disconnect.",
        },
        "servers": [{"url": public_url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A personal access token, `gk_…`. Scopes: connections:read, connections:write, "
                    "tokens:read, admin.",
                }
            },
        },
    }


def _operation(route: Route, documentation: Documentation, references: dict[Any, Any]) -> dict[str, Any]:
    path_parameters = [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS.get(name, {"type": "string"})}
        for name in path_parameters
    ]
    parameters += [
        {"name": name, "in": "query", "description": told.description, "schema": told.schema, "explode": False}
        for name, told in documentation.query.items()
    ]
    answers = {**_ALWAYS, **documentation.answers} if route.access == "token" else dict(documentation.answers)
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": documentation.summary,
        "description": _description(route, documentation),
        "parameters": [*parameters, _ACCOUNT] if route.access == "token" else parameters,
        "responses": {str(status): _response(status, answers[status], references) for status in sorted(answers)},
    }
    if route.access != "token":
        operation["security"] = []
    if documentation.body is not None:
        operation["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(documentation.body)),
            "content": {"application/json": {"schema": references[documentation.body]}},
        }
    return operation


def _description(route: Route, documentation: Documentation) -> str:
    scope = f"Needs the scope `{route.scope}`." if route.scope else ""
    return " ".join(part for part in (documentation.description, scope) if part)


def _operation_id(route: Route) -> str:
    words = [part.strip("{}").replace("-", "_") for part in route.path.split("/") if part not in ("", "api", "v1")]
    return "_".join([route.method.lower(), *words])


def _response(status: int, kind: Any, references: dict[Any, Any]) -> dict[str, Any]:
    headers = {name: _HEADERS[name] for name in _HEADERS_OF.get(status, _RATE)}
    response: dict[str, Any] = {
        "description": _STATUS[status],
        "headers": {name: {"description": text, "schema": schema} for name, (text, schema) in headers.items()},
    }
    if kind is not None:
        response["content"] = {"application/json": {"schema": references[kind]}}
    return response
