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
# Every call may answer these, whatever else it answers.
_ALWAYS: dict[int, Any] = {401: ErrorBody, 403: ErrorBody, 405: ErrorBody, 422: ErrorBody, 429: ErrorBody, 503: ErrorBody}
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
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in path_parameters
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in documentation.query.items()
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
    response: dict[str, Any] = {"description": _STATUS[status]}
    if kind is not None:
        response["content"] = {"application/json": {"schema": references[kind]}}
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    if status < 300:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "integer"}}
            for name, text in (
                ("X-RateLimit-Limit", "Requests a minute for this user."),
                ("X-RateLimit-Remaining", "Requests left in this minute."),
            )
        }
    return response
