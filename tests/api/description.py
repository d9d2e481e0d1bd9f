"""Holds every answer of the API to the API's own description."""

from __future__ import annotations

from typing import Any

import httpx2
from jsonschema import Draft202012Validator

UNDESCRIBED = ("/api/v1/openapi.json",)


class ApiDescription:
    """An OpenAPI document that answers are compared with."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str, int]] = set()
        """Method, path and status of every answer that was compared."""
        self._validators: dict[tuple[str, str, int], Draft202012Validator | None] = {}

    async def check(self, response: httpx2.Response) -> None:
        """An event hook: AssertionError unless status, headers and body are as described."""
        path = response.request.url.path
        if not path.startswith("/api/v1/") or path in UNDESCRIBED:
            return
        found = self._find(path)
        if found is None:
            assert response.status_code == 404, f"{path} is served, but not described"
            return
        method = response.request.method.lower()
        method = {"head": "get"}.get(method, method)
        if method not in self.document["paths"][found]:
            assert response.status_code == 405, f"{method} {found} is served, but not described"
            method = next(iter(self.document["paths"][found]))
        await response.aread()
        self._compare(found, method, response)

    def _compare(self, path: str, method: str, response: httpx2.Response) -> None:
        status, key = response.status_code, (method, path, response.status_code)
        described = self.document["paths"][path][method]["responses"].get(str(status))
        assert described is not None, f"{method} {path} answers {status}, which is not described"
        told = {name.lower() for name in described["headers"]}
        sent = {n for n in response.headers if n in ("allow", "retry-after", "www-authenticate")}
        sent |= {name for name in response.headers if name.startswith("x-ratelimit-")}
        assert sent <= told, f"{method} {path} {status} sends {sent - told}, which is not described"
        self.seen.add(key)
        if key not in self._validators:
            self._validators[key] = self._validator(described)
        validator = self._validators[key]
        if response.request.method == "HEAD" or validator is None:
            assert response.content == b""
            return
        assert response.headers["content-type"] == "application/json"
        problems = [error.message for error in validator.iter_errors(response.json())]
        assert not problems, f"{method} {path} {status}: {problems}"

    def _validator(self, described: dict[str, Any]) -> Draft202012Validator | None:
        if "content" not in described:
            return None
        schema = described["content"]["application/json"]["schema"]
        # Whatever is sent must be described: in answers there is no room for more.
        components = {
            name: component | ({"additionalProperties": False} if "properties" in component else {})
            for name, component in self.document["components"]["schemas"].items()
        }
        return Draft202012Validator(
            {**schema, "components": {"schemas": components}},
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )

    def _find(self, path: str) -> str | None:
        parts = path.split("/")
        for template in self.document["paths"]:
            wanted = template.split("/")
            if len(wanted) == len(parts) and all(
                part and (want == part or want.startswith("{"))
                for want, part in zip(wanted[1:], parts[1:], strict=True)
            ):
                return str(template)
        return None
