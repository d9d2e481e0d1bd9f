"""The JSON API of the contract: one function a call, one table of routes."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, UnsetType

from grantkeeper.access import TOKEN_LIFETIME, Access, Caller
from grantkeeper.clients import Clients
from grantkeeper.clock import Clock, Instant
from grantkeeper.connections import Connections
from grantkeeper.errors import InvalidValue
from grantkeeper.model import Connection, Scope, Status, Summary, TokenSet
from grantkeeper.sign_in import SignIn
from grantkeeper.storage.people import PeopleStore
from grantkeeper.web import representations as wire
from grantkeeper.web.edge import Documentation, Parameter, Route
from grantkeeper.web.http import Header, Reply, Request
from grantkeeper.web.index_query import (
    FILTERS,
    INCLUDES,
    LARGEST_PAGE,
    LONGEST_FILTER,
    PROVIDER_INCLUDES,
    SORTS,
    IndexQuery,
    Slice,
    next_cursor,
    parse_include,
    parse_index,
    parse_slice,
    parse_whole_number,
)
from grantkeeper.web.provider_definition import DefinitionBody, definition_body

DEFAULT_MIN_TTL = 60
LONGEST_MIN_TTL = 86_400

_EPOCH = datetime.fromtimestamp(0, UTC)
_JSON: Header = (b"content-type", b"application/json")
_NO_STORE: Header = (b"cache-control", b"no-store")
_encode = msgspec.json.Encoder().encode
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")

Call = Callable[[Request, Caller], Awaitable[Reply]]


class Api:
    """The calls of the contract, over the services."""

    def __init__(
        self,
        access: Access,
        sign_in: SignIn,
        people: PeopleStore,
        connections: Connections,
        clients: Clients,
        representations: wire.Representations,
        clock: Clock,
    ) -> None:
        self._access = access
        self._sign_in = sign_in
        self._people = people
        self._connections = connections
        self._clients = clients
        self._wire = representations
        self._clock = clock

    def routes(self) -> list[Route]:
        """Every route that takes an API token."""
        index = "/api/v1/oauth/connections"
        one = index + "/{uuid}"
        read, write = Scope.CONNECTIONS_READ, Scope.CONNECTIONS_WRITE
        return [
            self._route("GET", index, self.list_connections, read, _LIST),
            self._route("GET", one, self.get_connection, read, _GET),
            self._route("PUT", one, self.update_connection, write, _PUT),
            self._route("DELETE", one, self.delete_connection, write, _DELETE),
            self._route("GET", one + "/token", self.get_token, Scope.TOKENS_READ, _TOKEN),
            self._route("POST", one + "/token", self.replace_token, Scope.TOKENS_READ, _REFUSED),
            self._route("POST", one + "/proof", self.create_proof, Scope.TOKENS_READ, _PROOF),
            self._route("GET", "/api/v1/oauth/providers", self.list_providers, read, _PROVIDERS),
            self._route("GET", "/api/v1/logins", self.list_logins, read, _LOGINS),
            self._route("POST", "/api/v1/personal-access-tokens", self.create_token, Scope.ADMIN, _CREATE_TOKEN),
        ]

    async def list_connections(self, request: Request, caller: Caller) -> Reply:
        """The account's connections."""
        asked = parse_index(request.query)
        found: Sequence[Summary]
        if asked.include:
            found = await self._connections.list_page(caller, asked.page)
        else:
            found = await self._connections.list_summaries(caller, asked.page)
        data = [self._connection(connection, asked.include) for connection in found[: asked.per_page]]
        more = len(found) > asked.per_page
        cursor = next_cursor(asked.page, found[asked.per_page - 1]) if more else None
        return _json(wire.ConnectionList(data, *self._onward(request, asked, cursor)))

    async def get_connection(self, request: Request, caller: Caller) -> Reply:
        """One connection."""
        include = parse_include(request.query)
        connection = await self._connections.get(caller, request.parameters["uuid"])
        return _json(self._connection(connection, include))

    async def update_connection(self, request: Request, caller: Caller) -> Reply:
        """Rename a connection; without a label nothing changes."""
        include = parse_include(request.query)
        body = await request.json_object()
        uuid = request.parameters["uuid"]
        if "label" in body:
            connection = await self._connections.set_label(caller, uuid, body["label"], request.id)
        else:
            connection = await self._connections.unchanged(caller, uuid)
        return _json(self._connection(connection, include))

    async def delete_connection(self, request: Request, caller: Caller) -> Reply:
        """Disconnect: gone here at once, revoked at the provider."""
        await self._connections.disconnect(caller, request.parameters["uuid"], request.id)
        return Reply(204, b"", [_NO_STORE])

    async def get_token(self, request: Request, caller: Caller) -> Reply:
        """A usable access token."""
        min_ttl = parse_whole_number(request.query, "min_ttl", DEFAULT_MIN_TTL, 0, LONGEST_MIN_TTL)
        # Who asks for no time at all means one that is still good, and none that expires this very moment is.
        return _token(*await self._connections.token(caller, request.parameters["uuid"], max(1, min_ttl)))

    async def replace_token(self, request: Request, caller: Caller) -> Reply:
        """A usable access token in place of one that an API refused."""
        refused = _refused(await request.json_object())
        return _token(*await self._connections.token_instead_of(caller, request.parameters["uuid"], refused))

    async def create_proof(self, request: Request, caller: Caller) -> Reply:
        """A proof that goes with a key-bound access token in one request."""
        asked = _proof(await request.json_object())
        proof = await self._connections.proof(
            caller, request.parameters["uuid"], asked.method, asked.url, asked.nonce, asked.access_token_hash
        )
        return _json(wire.ProofBody(proof))

    async def list_providers(self, request: Request, caller: Caller) -> Reply:
        """The providers that can be connected here."""
        offers = self._clients.offers()
        asked = parse_slice(request.query, [name for name, _ in offers], PROVIDER_INCLUDES)
        tell = self._definition if "definition" in asked.include else lambda name: UNSET
        data = [self._wire.offered(name, label, tell(name)) for name, label in offers[asked.start : asked.stop]]
        return _json(wire.ProviderList(data, *self._onward(request, asked, asked.cursor)))

    async def list_logins(self, request: Request, caller: Caller) -> Reply:
        """The caller's memberships."""
        logins = await self._people.list_logins(caller.user_uuid)
        asked = parse_slice(request.query, [login.uuid for login in logins])
        data = [self._wire.login(login) for login in logins[asked.start : asked.stop]]
        return _json(wire.LoginList(data, *self._onward(request, asked, asked.cursor)))

    async def create_token(self, request: Request, caller: Caller) -> Reply:
        """Mint a personal access token, once the password has been given again."""
        body = await request.json_object()
        asked = self._read_new_token(body, caller)
        found = await self._people.get_user(caller.user_uuid)
        if found is None or not await self._sign_in.check_password(found[0].email, asked.password):
            raise InvalidValue({"password": ["The password is wrong."]})
        logins = await self._people.list_logins(caller.user_uuid)
        if all(login.account.uuid != asked.account_uuid for login in logins):
            raise InvalidValue({"account_uuid": ["You do not belong to such an account."]})
        token, record = await self._access.create_token(
            caller.user_uuid, asked.account_uuid, asked.name, asked.scopes, asked.expires_at
        )
        created = wire.CreatedToken(
            record.uuid,
            record.name,
            token,
            asked.account_uuid,
            sorted(record.scopes),
            self._wire.zoned(record.created_at),
            wire.utc_time(record.expires_at),
        )
        return _json(created, 201)

    def _route(self, method: str, path: str, call: Call, scope: Scope, documentation: Documentation) -> Route:
        async def endpoint(request: Request) -> Reply:
            header = request.header
            caller = await self._access.authenticate(header(b"authorization"))
            request.account_uuid = caller.account
            request.rate_limit = self._access.count(caller)
            request.rate_limit.require()
            caller.require(scope)
            if account := header(b"x-account-uuid") or header(b"x-plannr-account-uuid"):
                caller = await self._access.in_account(caller, account)
                request.account_uuid = caller.account
            return await call(request, caller)

        return Route(
            method=method,
            path=path,
            endpoint=endpoint,
            kind="api",
            access="token",
            scope=scope,
            documentation=documentation,
        )

    def _definition(self, name: str) -> DefinitionBody:
        clients = self._clients
        client = clients.offered(name)
        together = [other.name for other in clients.together(client)]
        return definition_body(clients.catalogue[name], client, together, clients.api(name))

    def _connection(self, connection: Summary, include: frozenset[str]) -> wire.ConnectionBody:
        return self._wire.connection(connection, self._clients.label(connection.provider), include)

    def _onward(
        self, request: Request, asked: IndexQuery | Slice, cursor: str | None
    ) -> tuple[wire.Links, wire.PageMeta] | tuple[UnsetType, UnsetType]:
        """`links` and `meta` of an index: where there is more, or where `per_page` was given."""
        if cursor is None and not asked.explicit:
            return UNSET, UNSET
        url = None
        if cursor is not None:
            kept = [(name, value) for name, value in request.query if name not in ("cursor", "per_page")]
            query = urlencode([*kept, ("per_page", str(asked.per_page)), ("cursor", cursor)])
            url = f"{self._wire.public_url}{request.path}?{query}"
        return wire.Links(url), wire.PageMeta(asked.per_page, cursor)

    def _read_new_token(self, body: dict[str, Any], caller: Caller) -> _NewToken:
        errors: dict[str, list[str]] = {}
        for field in ("name", "password", "account_uuid"):
            if not isinstance(body.get(field), str) or not body[field].strip():
                errors[field] = [f"The {field} is required."]
        scopes = _scopes(body.get("scopes"), caller, errors)
        expires_at = self._expiry(body.get("expires_at"), errors)
        if errors:
            raise InvalidValue(errors)
        return _NewToken(body["name"], body["password"], body["account_uuid"].lower(), scopes, expires_at)

    def _expiry(self, value: object, errors: dict[str, list[str]]) -> Instant:
        now = self._clock.now()
        if value is None:
            return now + TOKEN_LIFETIME
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
            if moment is not None and moment.tzinfo is not None:
                at = (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
                if at > now:
                    return at
        except (ValueError, OverflowError):  # no time, or one beyond the calendar
            pass
        errors["expires_at"] = ["expires_at must be an ISO 8601 time with an offset, in the future."]
        return now


class _NewToken(msgspec.Struct, frozen=True):
    name: str
    password: str
    account_uuid: str
    scopes: frozenset[Scope]
    expires_at: Instant

    def __repr__(self) -> str:
        return f"_NewToken({self.name!r})"


class _Proof(msgspec.Struct, frozen=True):
    method: str
    url: str
    nonce: str | None
    access_token_hash: str | None


def _proof(body: dict[str, Any]) -> _Proof:
    """What a proof is asked for; what a nonce may hold RFC 9449 §8.1 says."""
    errors: dict[str, list[str]] = {}
    for field in ("method", "url"):
        if not isinstance(body.get(field), str) or not body[field]:
            errors[field] = [f"The {field} is required."]
    nonce, digest = body.get("nonce"), body.get("access_token_sha256")
    if nonce is not None and not (isinstance(nonce, str) and _NONCE.fullmatch(nonce)):
        errors["nonce"] = ["The nonce must be the text that the API sent in DPoP-Nonce."]
    if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
        errors["access_token_sha256"] = ["access_token_sha256 must be a SHA-256 in 64 hexadecimal digits."]
    if errors:
        raise InvalidValue(errors)
    ath = base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode() if digest else None
    return _Proof(body["method"], body["url"], nonce, ath)


def _scopes(value: object, caller: Caller, errors: dict[str, list[str]]) -> frozenset[Scope]:
    """What the new token may do: no more than the one that asks for it."""
    if value is None:
        return caller.scopes
    if isinstance(value, list) and value and all(scope in list(Scope) for scope in value):
        scopes = frozenset(Scope(scope) for scope in value)
        if scopes <= caller.scopes:
            return scopes
        errors["scopes"] = ["A token cannot have scopes that the token asking for it lacks."]
    else:
        errors["scopes"] = [f"scopes must be a list of some of {', '.join(Scope)}."]
    return frozenset()


def _refused(body: dict[str, Any]) -> bytes:
    """The hash of the token that was refused. What stands in its place may be a token: no message repeats it."""
    name = "refused_token_sha256"
    if name not in body:
        raise InvalidValue({name: [f"The {name} is required."]})
    if not isinstance(body[name], str) or not _SHA256.fullmatch(body[name]):
        raise InvalidValue({name: [f"{name} must be the SHA-256 of the refused token in 64 hexadecimal digits."]})
    return bytes.fromhex(body[name])


def _token(connection: Connection, tokens: TokenSet) -> Reply:
    return _json(
        wire.TokenBody(
            tokens.access_token,
            tokens.token_type,
            wire.utc_time(tokens.access_token_expires_at),
            list(connection.scopes),
        )
    )


def _json(body: object, status: int = 200) -> Reply:
    return Reply(status, _encode(body), [_JSON, _NO_STORE])


_INCLUDE = {"include": Parameter("Extra keys.", {"type": "array", "items": {"type": "string", "enum": list(INCLUDES)}})}
_FILTER_SCHEMAS: dict[str, dict[str, Any]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "status": {"type": "string", "enum": list(Status)},
}
_FILTERS = {
    f"filter[{name}]": Parameter(
        "Only connections whose label contains this, in capitals or not."
        if name == "label"
        else f"Only connections of that {name}.",
        _FILTER_SCHEMAS.get(name, {"type": "string", "maxLength": LONGEST_FILTER}),
    )
    for name in FILTERS
}
_PAGES = {
    "per_page": Parameter(
        "Rows in one answer.",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": LARGEST_PAGE},
    ),
    "cursor": Parameter("Where to go on, from `meta.next_cursor`."),
}
_LIST = Documentation(
    summary="List connections",
    description="The account's connections, oldest first. `links` and `meta` appear when there is more, "
    "or when `per_page` was given.",
    query={
        **_PAGES,
        "sort": Parameter(
            "The order of the rows; `-` stands for descending.",
            {"type": "string", "enum": [*SORTS, *(f"-{name}" for name in SORTS)], "default": SORTS[0]},
        ),
        **_FILTERS,
        **_INCLUDE,
    },
    answers={200: wire.ConnectionList, 422: wire.ErrorBody},
)
_GET = Documentation(
    summary="Get a connection",
    query=_INCLUDE,
    answers={200: wire.ConnectionBody, 404: wire.ErrorBody, 422: wire.ErrorBody},
)
_PUT = Documentation(
    summary="Update a connection",
    description="Renames it. Without a label nothing changes.",
    query=_INCLUDE,
    body=wire.ConnectionUpdate,
    answers={
        200: wire.ConnectionBody,
        400: wire.ErrorBody,
        404: wire.ErrorBody,
        415: wire.ErrorBody,
        422: wire.ErrorBody,
    },
)
_DELETE = Documentation(
    summary="Disconnect",
    description="The connection is gone at once; its grant is revoked at the provider, tried for days if need be.",
    answers={204: None, 404: wire.ErrorBody},
)
_TOKEN = Documentation(
    summary="Read an access token",
    description="Refreshed first when fewer than `min_ttl` seconds are left.",
    query={
        "min_ttl": Parameter(
            "Seconds the token must still be good for, where the provider's tokens live that long.",
            {"type": "integer", "minimum": 0, "maximum": LONGEST_MIN_TTL, "default": DEFAULT_MIN_TTL},
        )
    },
    answers={200: wire.TokenBody, 404: wire.ErrorBody, 409: wire.ReauthorizationBody, 422: wire.ErrorBody},
)
_REFUSED = Documentation(
    summary="Report a refused access token",
    description="For when an API answers 401 to a token that was read here: the answer is the token to use instead. "
    "A token that is reported is refreshed once, whoever reports it and however often; where a newer one is stored "
    "already, that is the answer, without a request to the provider. A token that is younger than 10 seconds is not "
    "refreshed: its refusal has another reason, such as a missing scope, and the answer is 503 with `Retry-After`.",
    body=wire.RefusedToken,
    answers={
        200: wire.TokenBody,
        400: wire.ErrorBody,
        404: wire.ErrorBody,
        409: wire.ReauthorizationBody,
        415: wire.ErrorBody,
        422: wire.ErrorBody,
    },
)
_PROOF = Documentation(
    summary="Get a DPoP proof",
    description="For connections whose `token_type` is `DPoP`: their access token is worth something only together "
    "with a proof for the very request (RFC 9449). Send it as the `DPoP` header, and the token as "
    "`Authorization: DPoP …`. "
    "Each proof is for one request. Where the API answers 401 with `DPoP-Nonce`, ask for another with that `nonce`. "
    "The key never leaves this service, and signs nothing for the endpoints where the provider makes and ends tokens.",
    body=wire.ProofRequest,
    answers={200: wire.ProofBody, 400: wire.ErrorBody, 404: wire.ErrorBody, 415: wire.ErrorBody, 422: wire.ErrorBody},
)
_PROVIDERS = Documentation(
    summary="List providers that can be connected",
    description="`include=definition` adds what a front end has to know before it sends a user to "
    "`authorization_url`: above all `parameters`, the values to ask for, which go into its query under their names. "
    "Where all that are required are there and valid, the user goes straight on to the provider; where none is given, "
    "or one is missing or wrong, a page of this service asks. With `redirect_to`, an address on one of "
    "`redirect_origins`, the browser comes back there with `connection`, `status` (`connected` or `reauthorized`) and, "
    "where one consent made several connections, each of the others as `further`.",
    query={
        **_PAGES,
        "include": Parameter(
            "Extra keys.", {"type": "array", "items": {"type": "string", "enum": list(PROVIDER_INCLUDES)}}
        ),
    },
    answers={200: wire.ProviderList, 422: wire.ErrorBody},
)
_LOGINS = Documentation(summary="List your logins", query=_PAGES, answers={200: wire.LoginList, 422: wire.ErrorBody})
_CREATE_TOKEN = Documentation(
    summary="Create a personal access token",
    description="The token is shown once. It is for one of your accounts, and has no scope that the token asking "
    "for it lacks.",
    body=wire.NewToken,
    answers={201: wire.CreatedToken, 400: wire.ErrorBody, 415: wire.ErrorBody, 422: wire.ErrorBody},
)
