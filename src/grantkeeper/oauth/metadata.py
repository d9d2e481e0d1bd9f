"""What servers say of themselves: where that is found, and how it is read.

Authorization servers by RFC 8414 and OpenID Connect Discovery, protected resources by RFC 9728. A document counts only
if it names the very issuer, or resource, that it was asked for: otherwise anyone could speak for anybody (mix-up).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from grantkeeper.errors import ProviderProtocolError, ProviderUnavailable
from grantkeeper.model import Record
from grantkeeper.oauth.message import Request, Response
from grantkeeper.urls import issuer_problem, url_problem

LARGEST_DOCUMENT = 256 * 1024
"""Bytes of a document; the longest known have some 10 KB."""

_OAUTH, _OPENID, _RESOURCE = "oauth-authorization-server", "openid-configuration", "oauth-protected-resource"
# One parameter of a challenge (RFC 9110 §11.2); a quoted text is taken whole, so that none is found inside another.
_AUTH_PARAMETER = re.compile(r"([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))|\"(?:[^\"\\]|\\.)*\"")

Words = tuple[str, ...] | None
"""A list of the document; None where it says nothing, which is not the same as an empty one."""


class ServerMetadata(Record, frozen=True):
    """An authorization server's metadata (RFC 8414 §2 and the RFCs that add to it); members by their own names.

    `others`: every further member as it came, for people who look.
    """

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    jwks_uri: str | None = None
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    pushed_authorization_request_endpoint: str | None = None
    mtls_endpoint_aliases: dict[str, str] = {}
    scopes_supported: Words = None
    response_types_supported: Words = None
    response_modes_supported: Words = None
    grant_types_supported: Words = None
    code_challenge_methods_supported: Words = None
    token_endpoint_auth_methods_supported: Words = None
    token_endpoint_auth_signing_alg_values_supported: Words = None
    revocation_endpoint_auth_methods_supported: Words = None
    id_token_signing_alg_values_supported: Words = None
    request_object_signing_alg_values_supported: Words = None
    authorization_signing_alg_values_supported: Words = None
    dpop_signing_alg_values_supported: Words = None
    authorization_details_types_supported: Words = None
    prompt_values_supported: Words = None
    require_pushed_authorization_requests: bool = False
    authorization_response_iss_parameter_supported: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
    client_id_metadata_document_supported: bool = False
    request_parameter_supported: bool = False
    request_uri_parameter_supported: bool | None = None
    require_request_uri_registration: bool = False
    require_signed_request_object: bool = False
    others: dict[str, Any] = {}

    def endpoints(self) -> Iterator[tuple[str, str]]:
        """Every URL that we would ask or send a browser to, by its member's name."""
        for name in _ENDPOINTS:
            if (url := getattr(self, name)) is not None:
                yield name, url
        for name, url in self.mtls_endpoint_aliases.items():
            yield f"mtls_endpoint_aliases.{name}", url

    def offers_grant(self, grant_type: str) -> bool:
        """Whether a grant type is supported, by what holds where the document is silent (RFC 8414 §2)."""
        supported = self.grant_types_supported
        return grant_type in (("authorization_code", "implicit") if supported is None else supported)

    def aliased(self, name: str) -> str | None:
        """An endpoint for requests that show a certificate (RFC 8705 §5): its alias, or the usual one."""
        return self.mtls_endpoint_aliases.get(name) or getattr(self, name)


class ResourceMetadata(Record, frozen=True):
    """A protected resource's metadata (RFC 9728 §2); members by their own names, the further ones in `others`."""

    resource: str
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: Words = None
    bearer_methods_supported: Words = None
    resource_name: str | None = None
    dpop_bound_access_tokens_required: bool = False
    dpop_signing_alg_values_supported: Words = None
    tls_client_certificate_bound_access_tokens: bool = False
    authorization_details_types_supported: Words = None
    others: dict[str, Any] = {}


class Challenge(Record, frozen=True):
    """What a resource says to a request without a token (RFC 9728 §5.1, RFC 6750 §3)."""

    resource_metadata: str | None = None
    scope: str | None = None


_ENDPOINTS = tuple(name for name in ServerMetadata.__struct_fields__ if name.endswith(("_endpoint", "jwks_uri")))
_Document = TypeVar("_Document", ServerMetadata, ResourceMetadata)


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where an issuer's metadata may be, in the order in which to try.

    RFC 8414 §3.1 puts the well-known part between host and path, OpenID Connect Discovery §4 puts it behind both; each
    is in use with the other's name too. Any slash at the end goes first.
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    paths = [f"/.well-known/{name}{path}" for name in (_OAUTH, _OPENID)]
    paths += [f"{path}/.well-known/{name}" for name in (_OPENID, _OAUTH)]
    return tuple(urlunsplit((parts.scheme, parts.netloc, found, "", "")) for found in dict.fromkeys(paths))


def resource_metadata_urls(resource: str) -> tuple[str, ...]:
    """Where a resource's metadata may be, in the order in which to try.

    RFC 9728 §3.1 puts the well-known part between host and path; MCP servers may have it at the root of their host.
    """
    parts = urlsplit(resource)
    path = "" if parts.path == "/" else parts.path
    inserted = urlunsplit((parts.scheme, parts.netloc, f"/.well-known/{_RESOURCE}{path}", parts.query, ""))
    root = urlunsplit((parts.scheme, parts.netloc, f"/.well-known/{_RESOURCE}", "", ""))
    return tuple(dict.fromkeys((inserted, root)))


def metadata_request(url: str) -> Request:
    """A request for a document."""
    return Request(method="GET", url=url, headers={"accept": "application/json"})


def challenge(response: Response) -> Challenge:
    """What the `WWW-Authenticate` of an answer says; nothing, where it has none."""
    found: dict[str, str] = {}
    for match in _AUTH_PARAMETER.finditer(response.headers.get("www-authenticate", "")):
        name, quoted, plain = match.groups()
        if name is not None:
            found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain)
    return Challenge(resource_metadata=found.get("resource_metadata"), scope=found.get("scope"))


def document_of(response: Response, what: str) -> dict[str, Any]:
    """The JSON object of an answer, or ProviderUnavailable or ProviderProtocolError naming what is wrong.

    A redirect is not followed: the document is where it must be, or it is not that server's.
    """
    status = response.status
    if status == 429 or status >= 500:
        raise ProviderUnavailable(f"{what}: HTTP {status}")
    if status != 200:
        hint = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        raise ProviderProtocolError(f"{what}: HTTP {status}{hint}")
    if len(response.body) > LARGEST_DOCUMENT:
        raise ProviderProtocolError(f"{what}: more than {LARGEST_DOCUMENT // 1024} KB")
    try:
        document = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ProviderProtocolError(f"{what}: not a JSON object")
    return document


def server_metadata(document: Mapping[str, Any], issuer: str) -> ServerMetadata:
    """The metadata of that issuer, or ProviderProtocolError naming the member that is wrong.

    `issuer` must be equal to the letter (RFC 8414 §3.3), and every URL https, or http on this machine.
    """
    what = f"the metadata of {issuer}"
    _same(document.get("issuer"), (issuer,), f"{what}: issuer")
    metadata = _read(document, ServerMetadata, what)
    for name, url in metadata.endpoints():
        if problem := _url_problem(url):
            raise ProviderProtocolError(f"{what}: {name} {problem}", code="metadata_url")
    return metadata


def resource_metadata(document: Mapping[str, Any], asked: Sequence[str]) -> ResourceMetadata:
    """The metadata of one of the resources asked for, or ProviderProtocolError naming the member that is wrong.

    `resource` must be equal to the letter (RFC 9728 §3.3).
    """
    what = f"the resource metadata of {asked[0]}"
    _same(document.get("resource"), asked, f"{what}: resource")
    metadata = _read(document, ResourceMetadata, what)
    for issuer in metadata.authorization_servers:
        if problem := issuer_problem(issuer) or _url_problem(issuer):
            raise ProviderProtocolError(f"{what}: authorization_servers: one {problem}", code="metadata_url")
    return metadata


def _url_problem(url: str) -> str | None:
    # In a definition's URL a brace begins a placeholder; in no URL does it stand for itself (RFC 3986 §2).
    return url_problem(url) or ("must not contain braces" if "{" in url or "}" in url else None)


def _same(named: object, asked: Sequence[str], what: str) -> None:
    if not isinstance(named, str) or not named:
        raise ProviderProtocolError(f"{what} is missing", code="metadata_mismatch")
    if named not in asked:
        shown = "".join(c for c in named[:200] if c.isprintable())
        raise ProviderProtocolError(f"{what} is {shown!r}, not what was asked for", code="metadata_mismatch")


def _read(document: Mapping[str, Any], kind: type[_Document], what: str) -> _Document:
    """The document's members; null stands for a member that is left out, as some servers write it."""
    known = set(kind.__struct_fields__) - {"others"}
    members = {name: value for name, value in document.items() if name in known and value is not None}
    others = {name: value for name, value in document.items() if name not in known}
    try:
        return msgspec.convert({**members, "others": others}, kind)
    except msgspec.ValidationError as error:
        # Names types and the member, never a value.
        raise ProviderProtocolError(f"{what}: {error}", code="metadata_member") from None
