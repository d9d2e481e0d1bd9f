"""Between a provider with quirks and endpoints that know the standards only: requests in, answers out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from grantkeeper.clock import SECOND
from grantkeeper.testing.asgi import Parameters, Request, RequestRefused, Response, json_response
from grantkeeper.testing.features import CODE, REFRESH
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.placing import put, spread
from grantkeeper.testing.vocabulary import OAuthError

Pairs = list[tuple[str, str]]

_LIFETIMES = ("expires_in", "refresh_token_expires_in")
_AT_INSTANCE = ("/userinfo", "/revoke")
_FORM = "application/x-www-form-urlencoded"


class Dialect:
    """Speaks as the provider's quirks have it. Without any, it changes nothing."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._quirks = ground.quirks

    def placed(self, request: Request) -> Request:
        """The request as the endpoints know its path, method and body; refused where it is not as it must be."""
        path, tenant = self._path(request.path)
        method = self._quirks.token_method
        if path in (self._quirks.refresh_path, self._quirks.first_exchange_path):
            path, method = "/token", self._quirks.refresh_method or method
        request = msgspec.structs.replace(request, path=path, tenant=tenant, came_to=request.path)
        if path == "/token":
            return self._token_request(request, method)
        if path == "/revoke":
            return self._revocation(request)
        if path == "/userinfo":
            if self._quirks.person_path is not None:
                raise RequestRefused(404, "There is no such place.")
            self._check_identity_request(request)
        return request

    def understood(self, request: Request) -> Request:
        """The request in the standards' words, or `OAuthError`."""
        if request.path == "/authorize":
            return msgspec.structs.replace(request, query=self._authorization(request.query))
        if request.path == "/token":
            return _with_form(request, self._token_form(request))
        if request.path == "/revoke" and self._quirks.revocation_names:
            return _with_form(request, _standard(request.form().pairs(), self._quirks.revocation_names))
        return request

    def overheard(self, request: Request) -> Request:
        """The same, for whoever only looks on: as it is, where it cannot be understood."""
        try:
            return self.understood(request)
        except (OAuthError, RequestRefused):
            return request

    def browsed(self, url: str) -> Request:
        """What a browser would bring to this URL of the authorization endpoint."""
        parts = urlsplit(url)
        path = parts.path.removeprefix(self._ground.base)
        query = Parameters(parts.query)
        request = self.placed(Request(method="GET", path=path, query=query, headers={}, body=b""))
        if self._quirks.tenants and request.path != "/authorize":
            raise RequestRefused(404, "There is no such page.")
        return self.understood(msgspec.structs.replace(request, path="/authorize"))

    def worded(self, request: Request, response: Response) -> Response:
        """The answer in the provider's own words."""
        if request.path != "/token":
            return response
        members: dict[str, object] = msgspec.json.decode(response.body)
        form = self.overheard(request).form()
        paths = self._quirks.paths
        if form.get("grant_type") in self._refreshes and self._quirks.refresh_paths is not None:
            paths = self._quirks.refresh_paths
        good = response.status == 200
        body, headers = spread(self._good(members) if good else self._bad(members), paths)
        if self._quirks.ok_path is not None:
            put(body, self._quirks.ok_path, good)
        kept = tuple(field for field in response.headers if field[0] == "www-authenticate")
        status = 200 if self._quirks.errors_with_200 else response.status
        answer = json_response(status, body, (*kept, *headers))
        # Where everything went into headers, there is nothing to say.
        return answer if body else msgspec.structs.replace(answer, body=b"")

    # Inside

    @property
    def _refreshes(self) -> tuple[str | None, ...]:
        return REFRESH, self._quirks.exchange_grant, self._quirks.first_exchange_grant

    def _path(self, path: str) -> tuple[str, str | None]:
        """The path below the tenant and the instance; nowhere where it must be below either and is not."""
        tenant: str | None = None
        if self._quirks.tenants and path != "/jwks":
            tenant, rest = _first_segment(path)
            if tenant not in self._quirks.tenants:
                return "", None
            path = rest
        if self._quirks.instance is not None:
            instance, rest = _first_segment(path)
            if rest in _AT_INSTANCE or path in _AT_INSTANCE:
                path = rest if instance == self._quirks.instance else ""
        return path, tenant

    def _token_request(self, request: Request, method: str) -> Request:
        if method == "GET":
            if request.method != "GET":
                raise RequestRefused(405, "Use GET here.")
            return _with_form(request, request.query.pairs())
        if request.method != "POST":
            return request
        return _with_form(request, _json_pairs(request)) if self._quirks.token_encoding == "json" else request

    def _revocation(self, request: Request) -> Request:
        style = self._quirks.revocation
        if style.startswith("delete") and request.method != "DELETE":
            raise RequestRefused(405, "Use DELETE here.")
        if style == "delete_bearer":
            return msgspec.structs.replace(request, method="POST")
        if style == "json":
            return _with_form(request, _json_pairs(request))
        if style != "delete_json":
            return request
        pairs = [("token" if name == "access_token" else name, value) for name, value in _json_pairs(request)]
        return _with_form(request, pairs)

    def _check_identity_request(self, request: Request) -> None:
        """Refuse a question that is not asked as it must be."""
        body = self._quirks.identity_body
        if body is not None and (
            request.method != "POST" or msgspec.json.decode(request.body or b"null") != _json(body)
        ):
            raise RequestRefused(400, "That question is not understood here.")
        for name, value in self._quirks.identity_headers.items():
            if request.headers.get(name.lower()) != value:
                raise RequestRefused(400, f"The header {name} is missing.")

    def _authorization(self, query: Parameters) -> Parameters:
        try:
            pairs = _standard(query.pairs(), self._quirks.authorization_names)
            given = dict(pairs)
            _require(given, self._quirks.authorization_parameters)
            if self._quirks.authorization_names.get("response_type") == "":
                pairs.append(("response_type", "code"))
            return Parameters(urlencode(self._with_redirect(self._with_scopes(pairs))))
        except OAuthError as error:
            raise RequestRefused(400, error.description) from error

    def _token_form(self, request: Request) -> Pairs:
        quirks = self._quirks
        pairs = _standard(request.form().pairs(), quirks.token_names)
        given = dict(pairs)
        for name, value in quirks.token_headers.items():
            if request.headers.get(name.lower()) != value:
                raise OAuthError("invalid_request", f"The header {name} is missing.")
        _require(given, quirks.token_parameters)
        if quirks.token_names.get("grant_type") == "":
            pairs.append(("grant_type", CODE if "code" in given else REFRESH))
        if quirks.token_names.get("redirect_uri") == "" and (row := self._ground.store.code(given.get("code", ""))):
            pairs.append(("redirect_uri", row.redirect_uri))
        grant_type = dict(pairs).get("grant_type")
        self._check_place(request, grant_type)
        if grant_type == REFRESH:
            self._check_refresh(given)
        return self._with_redirect(self._with_scopes(pairs))

    def _check_place(self, request: Request, grant_type: str | None) -> None:
        quirks = self._quirks
        first = grant_type is not None and grant_type == quirks.first_exchange_grant
        path = quirks.first_exchange_path if first else quirks.refresh_path
        if grant_type in self._refreshes and path is not None and not request.came_to.endswith(path):
            raise OAuthError("unsupported_grant_type", "Tokens are refreshed elsewhere.")

    def _check_refresh(self, given: Mapping[str, str]) -> None:
        quirks = self._quirks
        _require(given, quirks.refresh_parameters)
        if quirks.refresh_redirect_uri and not given.get("redirect_uri"):
            raise OAuthError("invalid_request", "The redirect_uri must be repeated.")
        if quirks.refresh_scope == "required" and not given.get("scope"):
            raise OAuthError("invalid_scope", "The scopes must be repeated.")
        if quirks.refresh_scope == "refused" and given.get("scope"):
            raise OAuthError("invalid_scope", "Scopes cannot be named again.")

    def _with_redirect(self, pairs: Pairs) -> Pairs:
        names = self._quirks.redirect_names
        if not names:
            return pairs
        return [(name, names.get(value, "") if name == "redirect_uri" else value) for name, value in pairs]

    def _with_scopes(self, pairs: Pairs) -> Pairs:
        separator = self._quirks.scope_separator
        if separator == " ":
            return pairs
        if any(name == "scope" and " " in value for name, value in pairs):
            raise OAuthError("invalid_scope", "That scope is not known here.")
        return [(name, value.replace(separator, " ") if name == "scope" else value) for name, value in pairs]

    def _good(self, members: Mapping[str, object]) -> dict[str, object]:
        quirks, said = self._quirks, dict(members)
        for name in _LIFETIMES:
            if isinstance(lifetime := said.get(name), int):
                said[name] = self._stated(lifetime)
        if isinstance(scope := said.get("scope"), str):
            names = [quirks.scope_names.get(word, word) for word in scope.split()]
            said["scope"] = quirks.answer_scope_separator.join(names)
        return said

    def _stated(self, lifetime: int) -> object:
        end = self._ground.clock.now() + lifetime * SECOND
        match self._quirks.expiry:
            case "milliseconds":
                return lifetime * 1000
            case "at_seconds":
                return end // SECOND
            case "at_milliseconds":
                return end * 1000 // SECOND
            case "at_iso":
                return datetime.fromtimestamp(end / SECOND, UTC).isoformat()
            case _:
                return lifetime

    def _bad(self, members: Mapping[str, object]) -> dict[str, object]:
        code = str(members.get("error"))
        return {**members, "error": self._quirks.error_codes.get(code, code)}


def _first_segment(path: str) -> tuple[str, str]:
    first, slash, rest = path.removeprefix("/").partition("/")
    return first, slash + rest


def _with_form(request: Request, pairs: Iterable[tuple[str, str]]) -> Request:
    headers = {**request.headers, "content-type": _FORM}
    return msgspec.structs.replace(request, method="POST", headers=headers, body=urlencode(list(pairs)).encode())


def _json_pairs(request: Request) -> Pairs:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RequestRefused(415, "The body must be application/json.")
    try:
        found = msgspec.json.decode(request.body, type=dict[str, str])
    except msgspec.DecodeError:
        raise RequestRefused(400, "The body must be a JSON object of texts.") from None
    return list(found.items())


def _json(text: str) -> Any:
    return msgspec.json.decode(text.encode())


def _standard(pairs: Pairs, names: Mapping[str, str]) -> Pairs:
    """The parameters by their standard names; `invalid_request` for one that is not called so here."""
    standard = {here: name for name, here in names.items() if here}
    for name, _ in pairs:
        if name in names and name not in standard:
            raise OAuthError("invalid_request", f"There is no parameter {name} here.")
    return [(standard.get(name, name), value) for name, value in pairs]


def _require(given: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for name, value in wanted.items():
        if given.get(name) != value:
            raise OAuthError("invalid_request", f"The parameter {name} is missing or is not what it must be.")
