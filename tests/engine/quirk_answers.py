"""Providers that answer in their own way; each case is named by the key that says so."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.engine.quirky import SCOPES, Case, Document, Step, merged


def response(**keys: Any) -> Document:
    """The table [token.response]."""
    return {"token": {"response": keys}}


FORMS = ("milliseconds", "at_seconds", "at_milliseconds", "at_iso")

TOKEN_ANSWERS = {
    "token.response.access_token": Case(
        definition=response(access_token="data.tokens.access"),
        quirks={"paths": {"access_token": "data.tokens.access"}},
        breaks="callback",
    ),
    "token.response.access_token-header": Case(
        definition=response(access_token="@header.x-access-token"),
        quirks={"paths": {"access_token": "@header.x-access-token"}},
        breaks="callback",
    ),
    "token.response.access_token-no-body": Case(
        definition=response(
            access_token="@header.x-access-token",
            refresh_token="@header.x-refresh-token",
            expires_in="@header.x-expires-in",
        ),
        quirks={
            "paths": {
                "access_token": "@header.x-access-token",
                "refresh_token": "@header.x-refresh-token",
                "expires_in": "@header.x-expires-in",
                "scope": "",
                "token_type": "",
            }
        },
        breaks="callback",
    ),
    "token.response.refresh_token": Case(
        definition=response(refresh_token="data.renewal"),
        quirks={"paths": {"refresh_token": "data.renewal"}},
        breaks="connected",
    ),
    "token.response.expires_in": Case(
        definition=response(expires_in="data.ttl"), quirks={"paths": {"expires_in": "data.ttl"}}, breaks="connected"
    ),
    "token.response.scope": Case(
        definition=response(scope="data.granted") | {"scopes": {"aliases": {"email": "mail.read"}}},
        quirks={"paths": {"scope": "data.granted"}, "scope_names": {"email": "mail.read"}},
        without={"scopes": {"aliases": {"email": "mail.read"}}},
        scopes=("profile", "mail.read", "accounts.read"),
        breaks="connected",
    ),
    "token.response.scope_separator": Case(
        definition=response(scope_separator=","), quirks={"answer_scope_separator": ","}, breaks="connected"
    ),
    "token.response.token_type": Case(
        definition=response(token_type=""), policy={"override": {"token_type": "user"}}, breaks="connected"
    ),
    "token.response.token_type-elsewhere": Case(
        definition=response(token_type="kind"),
        quirks={"paths": {"token_type": "kind"}},
        policy={"override": {"token_type": "bearer"}},
        breaks=None,
    ),
    "token.response.error": Case(
        definition=response(error="failure.kind"), quirks={"paths": {"error": "failure.kind"}}, breaks="withdrawn"
    ),
    "token.response.error-200": Case(
        definition=response(error="failure.kind", ok="ok"),
        quirks={"paths": {"error": "failure.kind"}, "errors_with_200": True, "ok_path": "ok"},
        breaks="withdrawn",
    ),
    "token.response.error-integer": Case(
        definition=response(error="errcode", ok="success") | {"refresh": {"errors": {"40030": "grant"}}},
        quirks={
            "paths": {"error": "errcode", "error_description": "errmsg"},
            "errors_with_200": True,
            "error_codes": {"invalid_grant": 40030},
            "ok_path": "success",
        },
        without=response(ok="success") | {"refresh": {"errors": {"40030": "grant"}}},
        breaks="withdrawn",
    ),
    "token.response.error_description": Case(
        definition=response(error="status", error_description="error")
        | {"refresh": {"error_descriptions": {"grant has been revoked": "grant"}}},
        quirks={
            "paths": {"error": "status", "error_description": "error"},
            "error_codes": {"invalid_grant": 503},
            "errors_with_200": True,
        },
        without=response(error="status") | {"refresh": {"error_descriptions": {"grant has been revoked": "grant"}}},
        breaks="withdrawn",
    ),
    "token.response.ok": Case(
        definition=response(ok="ok"),
        quirks={"ok_path": "ok", "errors_with_200": True},
        refused_revocations=(b'{"ok": false, "error": "server_error"}', b'{"ok": false}'),
        without={},
        breaks="disconnect",
    ),
    **{
        f"token.response.expires-{form}": Case(
            definition=response(expires=form, refresh_lifetime="refresh_token_expires_in"),
            quirks={"expiry": form},
            policy={"refresh_token_lifetime": 864_000},
            refresh_lives=864_000,
            without=response(refresh_lifetime="refresh_token_expires_in"),
            breaks="connected",
        )
        for form in FORMS
    },
    "token.response.default_lifetime": Case(
        definition=response(default_lifetime=3600), quirks={"paths": {"expires_in": ""}}, breaks="connected"
    ),
    "no-expiry-but-a-jwt": Case(
        definition={}, quirks={"paths": {"expires_in": ""}}, features={"jwt_access_tokens": True}, breaks=None
    ),
    "token.response.refresh_lifetime": Case(
        definition=response(refresh_lifetime="refresh_token_expires_in"),
        policy={"refresh_token_lifetime": 864_000},
        refresh_lives=864_000,
        breaks="connected",
    ),
    "token.response.refresh_default_lifetime": Case(
        definition=response(refresh_default_lifetime=864_000), refresh_lives=864_000, breaks="connected"
    ),
    "token.response.keep": Case(
        definition={
            "token": {"response": {"keep": {"instance_url": "instance_url"}}},
            "identity": {"url": "{instance_url}/userinfo"},
            "revocation": {"url": "{instance_url}/revoke"},
        },
        quirks={"instance": "na1"},
        breaks="connected",
    ),
}

EXCHANGE: Document = {
    "style": "access_token",
    "grant_type": "fb_exchange_token",
    "token_parameter": "fb_exchange_token",
    "at_once": True,
}
LONG_LIVED: Document = {
    "refresh_tokens": False,
    "exchange_grant": "fb_exchange_token",
    "exchange_parameter": "fb_exchange_token",
    "first_lifetime": 600,
}


def long_lived(**otherwise: Any) -> Case:
    """The long-lived exchange, and a definition that says one thing of it otherwise."""
    return Case(
        definition={"refresh": EXCHANGE},
        quirks=LONG_LIVED,
        without={"refresh": EXCHANGE | otherwise},
        breaks="connected",
    )


FIRST: Document = {
    "url": "{base_url}/access_token",
    "grant_type": "th_exchange_token",
    "token_parameter": "short_token",
    "client_authentication": "client_secret_post",
}
TWO_STEPS: Document = {
    "style": "access_token",
    "url": "{base_url}/refresh_access_token",
    "method": "GET",
    "grant_type": "th_refresh_token",
    "token_parameter": "access_token",
    "client_authentication": "client_secret_basic",
    "at_once": True,
    "first": FIRST,
}


def two_steps(broken: Step = "connected", first: Document = FIRST, **otherwise: Any) -> Case:
    """A first exchange in one way and later ones in another, and a definition that says one thing of it otherwise."""
    return Case(
        definition={"refresh": TWO_STEPS},
        quirks={
            "refresh_tokens": False,
            "exchange_grant": "th_refresh_token",
            "refresh_path": "/refresh_access_token",
            "refresh_method": "GET",
            "refresh_client_methods": frozenset({"client_secret_basic"}),
            "first_exchange_grant": "th_exchange_token",
            "first_exchange_parameter": "short_token",
            "first_exchange_path": "/access_token",
            "first_exchange_client_methods": frozenset({"client_secret_post"}),
            "first_lifetime": 600,
        },
        without={"refresh": TWO_STEPS | {"first": first} | otherwise},
        breaks=broken,
    )


REFRESH = {
    "refresh.not_before": Case(
        definition={"refresh": {"not_before": 30}}, quirks={"refresh_not_before": 30}, breaks="worker"
    ),
    "refresh.method": two_steps(method="POST"),
    "refresh.client_authentication": two_steps("refresh", client_authentication="client_secret_post"),
    "refresh.first.url": two_steps(first=FIRST | {"url": "{base_url}/refresh_access_token"}),
    "refresh.first.grant_type": two_steps(first=FIRST | {"grant_type": "th_refresh_token"}),
    "refresh.first.token_parameter": two_steps(first=FIRST | {"token_parameter": "access_token"}),
    "refresh.first.client_authentication": two_steps(first=FIRST | {"client_authentication": "client_secret_basic"}),
    "refresh.supported": Case(
        definition={"refresh": {"supported": False}},
        policy={"override": {"refresh_token": "good-for-nothing"}},
        refreshable=False,
        breaks="connected",
    ),
    "no-refresh-tokens": Case(definition={}, quirks={"refresh_tokens": False}, refreshable=False, breaks=None),
    "refresh.send_redirect_uri": Case(
        definition={"refresh": {"send_redirect_uri": True}}, quirks={"refresh_redirect_uri": True}, breaks="refresh"
    ),
    "refresh.send_scope": Case(
        definition={"refresh": {"send_scope": True}}, quirks={"refresh_scope": "required"}, breaks="refresh"
    ),
    "refresh.send_scope-refused": Case(
        definition={},
        quirks={"refresh_scope": "refused"},
        without={"refresh": {"send_scope": True}},
        breaks="refresh",
    ),
    "refresh.send_scope-commas": Case(
        definition={"refresh": {"send_scope": True}, "scopes": {"separator": ","}},
        quirks={"refresh_scope": "required", "scope_separator": ",", "answer_scope_separator": ","},
        without={"scopes": {"separator": ","}},
        breaks="refresh",
    ),
    "refresh.url": Case(
        definition={"refresh": {"url": "{base_url}/renew"}}, quirks={"refresh_path": "/renew"}, breaks="refresh"
    ),
    "refresh.response": Case(
        definition={
            "refresh": {
                "url": "{base_url}/renew",
                "response": {"access_token": "result.token", "expires_in": "result.ttl", "expires": "seconds"},
            },
            "token": {"response": {"access_token": "authed_user.access_token"}},
        },
        quirks={
            "refresh_path": "/renew",
            "paths": {"access_token": "authed_user.access_token"},
            "refresh_paths": {"access_token": "result.token", "expires_in": "result.ttl"},
        },
        without={
            "refresh": {"url": "{base_url}/renew"},
            "token": {"response": {"access_token": "authed_user.access_token"}},
        },
        breaks="refresh",
    ),
    "refresh.parameters": Case(
        definition={"refresh": {"parameters": {"reason": "expired"}}},
        quirks={"refresh_parameters": {"reason": "expired"}},
        breaks="refresh",
    ),
    "refresh.grant_type": long_lived(grant_type="another"),
    "refresh.token_parameter": long_lived(token_parameter="another"),
    "refresh.at_once": long_lived(at_once=False),
    "refresh.style": Case(definition={"refresh": EXCHANGE}, quirks=LONG_LIVED, without={}, breaks="connected"),
    "refresh.style-only-later": Case(
        definition={"refresh": EXCHANGE | {"at_once": False}},
        quirks=LONG_LIVED | {"first_lifetime": None},
        breaks="connected",
    ),
    "refresh.errors": Case(
        definition={"refresh": {"errors": {"token_inactive": "grant"}}},
        quirks={"error_codes": {"invalid_grant": "token_inactive"}},
        breaks="withdrawn",
    ),
    "refresh.error_descriptions": Case(
        definition={"refresh": {"error_descriptions": {"grant has been revoked": "grant"}}},
        quirks={"error_codes": {"invalid_grant": "invalid_request"}},
        breaks="withdrawn",
    ),
}

DEFAULTS: Document = {"access_token": "access_token"}
"""A table [refresh.response] that says nothing but what holds anyway; it stands in for [token.response] as a whole."""


def later(name: str, breaks: Step, **changes: Any) -> Case:
    """A case of [token.response], in which the answers to refreshes are read as the standards have them."""
    case = TOKEN_ANSWERS[name]
    paths = case.definition["token"]["response"]
    definition = merged(case.definition, {"refresh": {"response": paths | changes}})
    without = merged(case.definition, {"refresh": {"response": DEFAULTS | changes}})
    return msgspec.structs.replace(case, definition=definition, without=without, breaks=breaks)


LATER_ANSWERS = {
    "refresh.response.access_token": later("token.response.access_token", "refresh"),
    "refresh.response.access_token-header": later("token.response.access_token-header", "refresh"),
    "refresh.response.refresh_token": later("token.response.refresh_token", "worker"),
    "refresh.response.expires_in": later("token.response.expires_in", "refresh"),
    "refresh.response.scope": Case(
        definition={"refresh": {"response": {"scope": "data.granted"}}},
        quirks={"paths": {"scope": ""}, "refresh_paths": {"scope": "data.granted"}, "scope_names": {"email": "mail"}},
        scopes_later=("profile", "mail", "accounts.read"),
        breaks="refresh",
    ),
    "refresh.response.scope_separator": Case(
        definition={"refresh": {"response": {"scope_separator": ","}}},
        quirks={"paths": {"scope": ""}, "refresh_paths": {}, "answer_scope_separator": ","},
        breaks="refresh",
    ),
    "refresh.response.token_type": later("token.response.token_type", "refresh"),
    "refresh.response.error": later("token.response.error", "withdrawn"),
    "refresh.response.error_description": later("token.response.error_description", "withdrawn", error="status"),
    **{
        f"refresh.response.expires-{form}": later(
            f"token.response.expires-{form}", "refresh", refresh_lifetime="refresh_token_expires_in"
        )
        for form in FORMS
    },
    "refresh.response.default_lifetime": later("token.response.default_lifetime", "refresh"),
    "refresh.response.refresh_lifetime": later("token.response.refresh_lifetime", "refresh"),
    "refresh.response.refresh_default_lifetime": later("token.response.refresh_default_lifetime", "refresh"),
}

IDENTITY = {
    "identity.source": Case(
        definition={"identity": {"source": "token_response", "url": None, "subject": "user.id", "label": "user.name"}},
        quirks={"person_path": "user"},
        breaks="connected",
    ),
    "identity.source-id_token": Case(
        definition={"identity": {"source": "id_token", "url": None}, "scopes": {"default": [*SCOPES, "openid"]}},
        quirks={"person_path": "user"},
        features={"openid": True},
        scopes=(*SCOPES, "openid"),
        without={"scopes": {"default": [*SCOPES, "openid"]}},
        breaks="connected",
    ),
    "identity.tenant": Case(
        definition={
            "identity": {
                "source": "token_response",
                "url": None,
                "subject": "user.id",
                "label": "user.name",
                "tenant": "user.organisation",
            }
        },
        quirks={"person_path": "user"},
        identity="Ada Lovelace (Analytical Engines)",
        without={
            "identity": {"source": "token_response", "url": None, "subject": "user.id", "label": "user.name"},
        },
        breaks="connected",
    ),
    "identity.method": Case(
        definition={"identity": {"method": "POST", "body": '{"query": "{ me { id name } }"}'}},
        quirks={"identity_body": '{"query": "{ me { id name } }"}'},
        without={"identity": {"method": "GET"}},
        breaks="connected",
    ),
    "identity.body": Case(
        definition={"identity": {"method": "POST", "body": '{"query": "{ me { id name } }"}'}},
        quirks={"identity_body": '{"query": "{ me { id name } }"}'},
        without={"identity": {"method": "POST"}},
        breaks="connected",
    ),
    "identity.token": Case(
        definition={"identity": {"token": "query"}}, quirks={"identity_token": "query"}, breaks="connected"
    ),
    "api.header": Case(
        definition={"api": {"header": "X-Api-Token", "scheme": ""}},
        quirks={"identity_header": "x-api-token", "identity_scheme": ""},
        without={"api": {"scheme": ""}},
        breaks="connected",
    ),
    "api.scheme": Case(
        definition={"api": {"scheme": "OAuth"}}, quirks={"identity_scheme": "OAuth"}, breaks="connected"
    ),
    "identity.headers": Case(
        definition={"identity": {"headers": {"Api-Version": "2026-11-22"}}},
        quirks={"identity_headers": {"Api-Version": "2026-11-22"}},
        breaks="connected",
    ),
    "identity.subject": Case(
        definition={"identity": {"subject": "data.viewer.sub", "label": "data.viewer.name"}},
        quirks={"identity_path": "data.viewer"},
        without={"identity": {"label": "data.viewer.name"}},
        breaks="connected",
    ),
    "identity.label": Case(
        definition={"identity": {"subject": "data.viewer.sub", "label": "data.viewer.name"}},
        quirks={"identity_path": "data.viewer"},
        without={"identity": {"subject": "data.viewer.sub"}},
        breaks="connected",
    ),
}
