"""What the keys of one definition must be to each other, beyond what each must be alone."""

from __future__ import annotations

from collections.abc import Iterator

from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.template import placeholders

CLIENT_ID = "client_id"
"""The placeholder that the revocation URL may hold besides the definition's own parameters."""


def inconsistencies(provider: Provider) -> list[str]:
    """Every contradiction in a definition, as `key: what is wrong`."""
    return [
        *_endpoints(provider),
        *_placeholders(provider),
        *_parameters(provider),
        *_issuer(provider),
        *_authentication(provider),
        *_authorization(provider),
        *_grant(provider),
        *_profile(provider),
        *_revocation(provider),
        *_identity(provider),
        *_refresh(provider),
    ]


def _endpoints(provider: Provider) -> Iterator[str]:
    for key, url, needed in (
        ("authorization.url", provider.authorization.url, provider.grant == "authorization_code"),
        ("token.url", provider.token.url, True),
        ("device.url", provider.device.url, provider.grant == "device_code"),
        ("authorization.pushed_url", provider.authorization.pushed_url, provider.authorization.pushed),
    ):
        if provider.operator_supplied and url is not None:
            yield f"{key}: must be left out, as operator_supplied says that the operator gives it"
        if needed and url is None and not (provider.operator_supplied or provider.discovery):
            yield f"{key}: is required (or set operator_supplied = true, or discovery = true)"


def _placeholders(provider: Provider) -> Iterator[str]:
    used = set()
    known = _known_by(provider)
    for key, url in provider.urls().items():
        for name in placeholders(url):
            used.add(name)
            if name not in known[key] and (key, name) != ("revocation.url", CLIENT_ID):
                yield f"{key}: holds {{{name}}}, but there is no [parameters.{name}]"
    if CLIENT_ID in provider.parameters:
        yield f"parameters.{CLIENT_ID}: is taken: it stands for the client id in revocation.url"
    for text, later in _texts(provider):
        for name in placeholders(text):
            used.add(name)
            if name not in provider.parameters.keys() | later:
                yield f"parameters.{name}: is missing, and {text} holds it"
    for name in provider.parameters.keys() - used - {CLIENT_ID}:
        yield f"parameters.{name}: is used by no URL"
    twice = (provider.parameters.keys() & provider.callback.keys()) | (provider.parameters.keys() & provider.kept)
    for name in twice | (provider.callback.keys() & provider.kept):
        yield f"parameters.{name}: the same name stands for two values"


def _texts(provider: Provider) -> Iterator[tuple[str, set[str]]]:
    """What may hold placeholders besides URLs, with those that have a value by then besides the parameters."""
    called_back = set(provider.callback)
    for host in provider.api.hosts:
        yield host, called_back | provider.kept
    for value in provider.token.parameters.values():
        yield value, called_back
    for value in (*provider.authorization.parameters.values(), provider.authorization.redirect_uri or ""):
        yield value, set()


_TAKEN = ("connection", "csrf", "login_hint", "redirect_to", "search", "source", "subject")
"""What the page that asks for parameters calls its own fields."""


def _parameters(provider: Provider) -> Iterator[str]:
    if provider.callback and provider.grant != "authorization_code":
        yield "callback: is used with grant = 'authorization_code' only"
    asked = {name for name, parameter in provider.parameters.items() if parameter.ask == "connection"}
    if provider.authorization.signed_response and asked & set(placeholders(provider.signatures.jwks_url or "")):
        yield "signatures.jwks_url: must not hold what the user gives: it is needed before we know whose answer it is"
    for name, parameter in provider.parameters.items():
        if name in _TAKEN:
            yield f"parameters.{name}: is taken: the page that asks for it has a field of that name"
        for key in ("pattern", "type"):
            if parameter.choices and key in parameter.model_fields_set:
                yield f"parameters.{name}.{key}: says nothing beside choices"


_BEFORE_THE_CALLBACK = ("authorization.url", "authorization.issuer", "authorization.pushed_url", "device.url")
_BEFORE_THE_ANSWER = (*_BEFORE_THE_CALLBACK, "token.url", "signatures.jwks_url")


def _known_by(provider: Provider) -> dict[str, set[str]]:
    """The placeholders that have a value when a URL is used."""
    asked, called_back = set(provider.parameters), set(provider.callback)
    return {
        key: asked
        | (set() if key in _BEFORE_THE_CALLBACK else called_back)
        | (set() if key in _BEFORE_THE_ANSWER else set(provider.kept))
        for key in provider.urls()
    }


def issuer_needs(provider: Provider) -> list[str]:
    """The keys of a definition that mean nothing without an issuer."""
    token, request = provider.token, provider.authorization
    signs = token.client_authentication in ("private_key_jwt", "client_secret_jwt")
    states = provider.grant == "jwt_bearer" and provider.assertion.audience is None
    needs = {
        "authorization.issuer_in_response": request.issuer_in_response,
        "authorization.signed_request": request.signed_request,
        "authorization.signed_response": request.signed_response,
        "token.assertion_audience = 'issuer'": (signs or states) and token.assertion_audience == "issuer",
        "discovery": provider.discovery,
    }
    return [key for key, needed in needs.items() if needed]


def _issuer(provider: Provider) -> Iterator[str]:
    if provider.authorization.issuer is None and not provider.operator_supplied:
        for key in issuer_needs(provider):
            yield f"authorization.issuer: is required with {key}"


def _authentication(provider: Provider) -> Iterator[str]:
    method, request = provider.token.client_authentication, provider.authorization
    asserts = method in ("private_key_jwt", "client_secret_jwt")
    if provider.token.assertion_issuer != "client_id" and not asserts:
        yield "token.assertion_issuer: is used with private_key_jwt and client_secret_jwt only"
    if method == "none" and provider.grant == "client_credentials":
        yield "token.client_authentication: must not be 'none' with grant = 'client_credentials' (RFC 6749 §4.4)"
    if method == "none" and provider.grant == "authorization_code" and request.pkce != "S256":
        yield "authorization.pkce: must be 'S256' with token.client_authentication = 'none' (RFC 9700 §2.1.1)"


def _authorization(provider: Provider) -> Iterator[str]:
    request = provider.authorization
    keys_found_elsewhere = provider.discovery or provider.operator_supplied
    if request.signed_response and provider.signatures.jwks_url is None and not keys_found_elsewhere:
        yield "signatures.jwks_url: is required with authorization.signed_response (or set discovery = true)"
    if request.pushed_url is not None and not request.pushed and provider.profile == "oauth2":
        yield "authorization.pushed: must be true with authorization.pushed_url"
    if request.max_age is not None and "openid" not in provider.scopes.requested():
        yield "scopes.default: must hold 'openid' with authorization.max_age: the ID token tells the time"
    if request.login_hint != "none" and provider.identity.source == "none" and not keys_found_elsewhere:
        yield f"identity.source: is required with authorization.login_hint = '{request.login_hint}'"
    elif request.login_hint == "identity" and provider.identity.label is None and not keys_found_elsewhere:
        yield "identity.label: is required with authorization.login_hint = 'identity'"


_BROWSER_ONLY = (
    "pushed",
    "pushed_url",
    "signed_request",
    "signed_response",
    "issuer_in_response",
    "max_age",
    "login_hint",
    "claims",
    "details",
)
"""What an author would believe to be in force, where no authorization request is sent."""


def _grant(provider: Provider) -> Iterator[str]:
    if provider.grant != "authorization_code":
        if provider.profile != "oauth2":
            yield f"profile: must be 'oauth2' with grant = '{provider.grant}', which sends no authorization request"
            return
        for key in _BROWSER_ONLY:
            if key in provider.authorization.model_fields_set:
                yield f"authorization.{key}: is used with grant = 'authorization_code' only"
    if provider.together and provider.grant != "authorization_code":
        yield "together: is used with grant = 'authorization_code' only"
    if provider.name in provider.together:
        yield "together: must name other definitions"
    for table, grant in (("device", "device_code"), ("assertion", "jwt_bearer"), ("exchange", "token_exchange")):
        if provider.grant != grant and getattr(provider, table).model_fields_set:
            yield f"{table}: is used with grant = '{grant}' only"
    if provider.grant == "token_exchange":
        yield from _exchange(provider)


def _exchange(provider: Provider) -> Iterator[str]:
    exchange = provider.exchange
    if exchange.source is None:
        yield "exchange.source: is required with grant = 'token_exchange'"
    if exchange.source == provider.name:
        yield "exchange.source: must be another provider: its tokens are exchanged for this one's"
    if exchange.audience is not None and "audience" in provider.token.parameters:
        yield "token.parameters: must not set audience: exchange.audience does"


ASYMMETRIC = ("private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth")
"""Client authentication without a secret that both sides hold (FAPI 2.0 Security Profile §5.3.2.1)."""


def _profile(provider: Provider) -> Iterator[str]:
    """What a profile refuses (FAPI 2.0 Security Profile §5.3 and §5.4, Message Signing §5)."""
    if provider.profile == "oauth2" or provider.grant != "authorization_code":
        return
    token, request = provider.token, provider.authorization
    methods = ", ".join(ASYMMETRIC)
    short = {
        "authorization.pushed: must be true": not request.pushed,
        "authorization.pkce: must be 'S256'": request.pkce != "S256",
        "authorization.issuer_in_response: must be true": not (request.issuer_in_response or request.signed_response),
        f"token.client_authentication: must be one of {methods}": token.client_authentication not in ASYMMETRIC,
        f"revocation.client_authentication: must be one of {methods}": (
            provider.revocation_authentication not in ASYMMETRIC and token.client_authentication in ASYMMETRIC
        ),
        "token.signing_algorithm: must not be 'RS256'": token.signing_algorithm == "RS256",
        "token.assertion_audience: must be 'issuer'": token.assertion_audience != "issuer",
        "token.assertion_issuer: must be 'client_id'": token.assertion_issuer != "client_id",
        f"refresh.client_authentication: must be one of {methods}": (
            provider.refresh.client_authentication not in (None, *ASYMMETRIC)
        ),
        "token.sender_constrained: must be 'dpop' or 'certificate'": token.sender_constrained == "no",
        "signatures.algorithms: must not hold 'RS256'": "RS256" in provider.signatures.algorithms,
    }
    if provider.profile == "fapi2_message_signing":
        short["authorization.signed_request: must be true"] = not request.signed_request
        short["authorization.signed_response: must be true"] = not request.signed_response
    for problem, falls_short in short.items():
        if falls_short:
            yield f"{problem} with profile = '{provider.profile}'"


def _revocation(provider: Provider) -> Iterator[str]:
    style, url = provider.revocation.style, provider.revocation.url
    if style == "none" and url is not None:
        yield "revocation.style: is required with url: rfc7009, bearer or delete_json"
    if provider.revocation.rename and style not in ("rfc7009", "json", "delete_json"):
        yield f"revocation.rename: there are no parameters with style = '{style}'"
    if style != "none" and url is None and not (provider.operator_supplied or provider.discovery):
        yield f"revocation.url: is required with style = '{style}'"


def _identity(provider: Provider) -> Iterator[str]:
    source, url = provider.identity.source, provider.identity.url
    if source == "userinfo" and url is None and not (provider.operator_supplied or provider.discovery):
        yield "identity.url: is required with source = 'userinfo'"
    if source != "userinfo" and url is not None:
        yield f"identity.url: is not asked with source = '{source}'"
    identity = provider.identity
    if source != "userinfo" and (identity.body is not None or identity.method == "POST" or identity.token == "query"):
        yield f"identity: method, body and token are about a request, which source = '{source}' does not make"
    if identity.body is not None and identity.method != "POST":
        yield "identity.method: must be 'POST' with body"
    if source == "token_response" and "subject" not in provider.identity.model_fields_set:
        yield "identity.subject: is required with source = 'token_response'"
    if source == "id_token" and "openid" not in provider.scopes.requested():
        yield "scopes.default: must hold 'openid' with identity.source = 'id_token'"


def _refresh(provider: Provider) -> Iterator[str]:
    refresh = provider.refresh
    if not refresh.supported and provider.scopes.offline:
        yield "scopes.offline: asks for a refresh token, but refresh.supported is false"
    if not refresh.supported and refresh.keep_alive is not None:
        yield "refresh.keep_alive: keeps a refresh token alive, but refresh.supported is false"
    by_access_token = refresh.style == "access_token"
    for key in ("grant_type", "token_parameter", "at_once", "first"):
        if not by_access_token and key in refresh.model_fields_set:
            yield f"refresh.{key}: is used with style = 'access_token' only"
    if by_access_token and not {"grant_type", "token_parameter"} <= refresh.model_fields_set:
        yield "refresh.grant_type: is required with style = 'access_token', and so is token_parameter"
    if by_access_token and refresh.first.model_fields_set and not refresh.at_once:
        yield "refresh.at_once: must be true with [refresh.first], which says how the first token is exchanged"
    if by_access_token and (refresh.keep_alive is not None or refresh.idle_lifetime is not None):
        yield "refresh.keep_alive: there is no refresh token to keep alive with style = 'access_token'"
    if refresh.keep_alive and refresh.idle_lifetime and refresh.keep_alive >= refresh.idle_lifetime:
        yield "refresh.keep_alive: must be less than refresh.idle_lifetime, or it comes too late"
