"""Providers that want to be asked in their own way; each case is named by the key that says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tests.engine.quirky import SCOPES, Case, Document
from tests.support.world import REDIRECT_URI

AUTHORIZATION = {
    "authorization.rename": Case(
        definition={"authorization": {"rename": {"client_id": "client_key"}}},
        quirks={"authorization_names": {"client_id": "client_key"}},
        breaks="consent",
    ),
    "authorization.rename-dropped": Case(
        definition={"authorization": {"rename": {"response_type": ""}}},
        quirks={"authorization_names": {"response_type": ""}},
        breaks="consent",
    ),
    "authorization.scope_parameter": Case(
        definition={"authorization": {"scope_parameter": "user_scope"}},
        quirks={"authorization_names": {"scope": "user_scope"}},
        breaks="consent",
    ),
    "authorization.parameters": Case(
        definition={"authorization": {"parameters": {"approval": "auto"}}},
        quirks={"authorization_parameters": {"approval": "auto"}},
        breaks="consent",
    ),
    "authorization.parameters-offline": Case(
        definition={"authorization": {"parameters": {"access_type": "offline", "prompt": "consent"}}},
        quirks={"offline_parameters": {"access_type": "offline", "prompt": "consent"}},
        breaks="connected",
    ),
    "authorization.parameters-of-the-connection": Case(
        definition={
            "parameters": {"shop": {"label": "Shop", "ask": "connection", "pattern": ".+"}},
            "authorization": {"parameters": {"shop": "{shop}"}},
            "token": {"parameters": {"shop": "{shop}"}},
        },
        quirks={"authorization_parameters": {"shop": "Ä & ö/.."}, "token_parameters": {"shop": "Ä & ö/.."}},
        given={"shop": "Ä & ö/.."},
        breaks="consent",
    ),
    "authorization.code_parameter": Case(
        definition={"authorization": {"code_parameter": "authorization_code"}},
        quirks={"code_parameter": "authorization_code"},
        breaks="callback",
    ),
    "authorization.redirect_uri": Case(
        definition={"authorization": {"redirect_uri": "Our_Registered-Name"}},
        quirks={"redirect_names": {"Our_Registered-Name": REDIRECT_URI}},
        breaks="consent",
    ),
    "authorization.pkce": Case(
        definition={"authorization": {"pkce": "none"}}, quirks={"pkce": "refused"}, breaks="consent"
    ),
    "scopes.default": Case(definition={"scopes": {"default": ["profile"]}}, scopes=("profile",), breaks="connected"),
    "scopes.separator": Case(
        definition={"scopes": {"separator": ","}},
        quirks={"scope_separator": ",", "answer_scope_separator": ","},
        breaks="consent",
    ),
    "scopes.separator-semicolon": Case(
        definition={"scopes": {"separator": ";"}},
        quirks={"scope_separator": ";", "answer_scope_separator": ";"},
        breaks="consent",
    ),
    "scopes.offline": Case(
        definition={"scopes": {"offline": ["offline"]}},
        quirks={"offline_scope": "offline"},
        scopes=(*SCOPES, "offline"),
        breaks="connected",
    ),
    "scopes.aliases": Case(
        definition={"scopes": {"aliases": {"email": "mail.read"}}},
        quirks={"scope_names": {"email": "mail.read"}},
        scopes=("profile", "mail.read", "accounts.read"),
        breaks="connected",
    ),
}

TOKEN_REQUESTS = {
    "token.client_authentication": Case(
        definition={"token": {"client_authentication": "client_secret_post"}},
        auth_methods=frozenset({"client_secret_post"}),
        breaks="callback",
    ),
    "token.assertion_issuer": Case(
        definition={
            "token": {
                "client_authentication": "client_secret_jwt",
                "assertion_audience": "token_endpoint",
                "assertion_issuer": "redirect_host",
            },
            "revocation": {"client_authentication": "client_secret_basic"},
        },
        quirks={"assertion_issuer": urlsplit(REDIRECT_URI).hostname},
        features={"client_assertions": True},
        auth_methods=frozenset({"client_secret_jwt", "client_secret_basic"}),
        without={
            "token": {"client_authentication": "client_secret_jwt", "assertion_audience": "token_endpoint"},
            "revocation": {"client_authentication": "client_secret_basic"},
        },
        breaks="callback",
    ),
    "token.encoding": Case(
        definition={"token": {"encoding": "json"}}, quirks={"token_encoding": "json"}, breaks="callback"
    ),
    "token.method": Case(definition={"token": {"method": "GET"}}, quirks={"token_method": "GET"}, breaks="callback"),
    "token.rename": Case(
        definition={
            "token": {
                "client_authentication": "client_secret_post",
                "rename": {"client_id": "client_key", "client_secret": "key_secret", "refresh_token": "renewal"},
            }
        },
        quirks={"token_names": {"client_id": "client_key", "client_secret": "key_secret", "refresh_token": "renewal"}},
        without={"token": {"client_authentication": "client_secret_post"}},
        breaks="callback",
    ),
    "token.rename-dropped": Case(
        definition={"token": {"rename": {"redirect_uri": "", "grant_type": ""}}},
        quirks={"token_names": {"redirect_uri": "", "grant_type": ""}},
        breaks="callback",
    ),
    "token.parameters": Case(
        definition={"token": {"parameters": {"api_version": "7"}}},
        quirks={"token_parameters": {"api_version": "7"}},
        breaks="callback",
    ),
    "token.headers": Case(
        definition={"token": {"headers": {"Api-Version": "2026-11-22"}}},
        quirks={"token_headers": {"Api-Version": "2026-11-22"}},
        breaks="callback",
    ),
}

REVOCATION_NAMES: Document = {"client_id": "client_key", "token": "open_token"}

REVOCATION = {
    "revocation.style-bearer": Case(
        definition={"revocation": {"style": "bearer"}}, quirks={"revocation": "bearer"}, breaks="disconnect"
    ),
    "revocation.style-delete_bearer": Case(
        definition={"revocation": {"style": "delete_bearer"}},
        quirks={"revocation": "delete_bearer"},
        breaks="disconnect",
    ),
    "revocation.style-json": Case(
        definition={"revocation": {"style": "json"}}, quirks={"revocation": "json"}, breaks="disconnect"
    ),
    "revocation.style-delete_json": Case(
        definition={"revocation": {"style": "delete_json", "token": "access_token"}},
        quirks={"revocation": "delete_json"},
        without={"revocation": {"token": "access_token"}},
        breaks="disconnect",
    ),
    "revocation.style-none": Case(
        definition={}, without={"revocation": {"style": "none", "url": None}}, breaks="disconnect"
    ),
    "revocation.token": Case(
        definition={"revocation": {"style": "delete_json", "token": "access_token"}},
        quirks={"revocation": "delete_json"},
        without={"revocation": {"style": "delete_json"}},
        breaks="disconnect",
    ),
    "revocation.rename": Case(
        definition={"revocation": {"client_authentication": "client_secret_post", "rename": REVOCATION_NAMES}},
        quirks={"revocation_names": REVOCATION_NAMES},
        without={"revocation": {"client_authentication": "client_secret_post"}},
        breaks="disconnect",
    ),
    "revocation.rename-json": Case(
        definition={
            "revocation": {"style": "json", "client_authentication": "client_secret_post", "rename": REVOCATION_NAMES}
        },
        quirks={"revocation": "json", "revocation_names": REVOCATION_NAMES},
        without={"revocation": {"style": "json", "client_authentication": "client_secret_post"}},
        breaks="disconnect",
    ),
    "revocation.client_authentication": Case(
        definition={
            "token": {"client_authentication": "client_secret_basic"},
            "revocation": {"client_authentication": "client_secret_post"},
        },
        quirks={"revocation_methods": frozenset({"client_secret_post"})},
        breaks="disconnect",
    ),
}

SHOPS: Document = {
    "parameters": {"shop": {"label": "Shop", "ask": "connection", "pattern": "[a-z]+", "example": "acme"}},
    "authorization": {"url": "{base_url}/{shop}/authorize"},
    "token": {"url": "{base_url}/{shop}/token"},
    "revocation": {"url": "{base_url}/{shop}/revoke"},
    "identity": {"url": "{base_url}/{shop}/userinfo"},
}


def shops(**changes: Any) -> Document:
    """A definition that asks for a shop, whose parameter is declared so."""
    declared = {key: value for key, value in (SHOPS["parameters"]["shop"] | changes).items() if value is not None}
    return SHOPS | {"parameters": {"shop": declared}}


CONNECTION_VALUES = {
    "parameters.NAME.ask": Case(
        definition=SHOPS,
        quirks={"tenants": frozenset({"acme", "globex"})},
        given={"shop": "acme"},
        without=shops(ask="operator"),
        breaks="start",
    ),
    "parameters.NAME.pattern": Case(
        definition=shops(pattern=None),
        quirks={"tenants": frozenset({"acme-2.eu"})},
        given={"shop": "acme-2.eu"},
        without=SHOPS,
        breaks="start",
    ),
    "parameters.NAME.type": Case(
        definition=shops(pattern=None, type="server", example="acme.example/de"),
        quirks={"tenants": frozenset({"acme.example"})},
        given={"shop": "https://acme.example/"},
        without=shops(pattern=None),
        breaks="start",
    ),
    "parameters.NAME.choices": Case(
        definition=shops(pattern=None, choices={"eu": "Europe", "us": "United States"}, example="eu"),
        quirks={"tenants": frozenset({"eu"})},
        given={"shop": "eu"},
        without=shops(pattern=None, choices={"us": "United States"}, example="us"),
        breaks="start",
    ),
    "parameters.NAME.default": Case(
        definition=shops(default="acme"), quirks={"tenants": frozenset({"acme"})}, without=SHOPS, breaks="start"
    ),
    "callback.NAME": Case(
        definition={
            "callback": {"company": {"pattern": "[0-9]+"}},
            "identity": {"url": "{base_url}/{company}/userinfo"},
            "revocation": {"url": "{base_url}/{company}/revoke"},
        },
        quirks={"callback": {"company": "12345"}, "instance": "12345"},
        breaks="connected",
    ),
    "callback.NAME-in-the-token-request": Case(
        definition={
            "callback": {"company": {"pattern": "[0-9]+"}},
            "token": {"parameters": {"context": "{company}"}},
        },
        quirks={"callback": {"company": "12345"}, "token_parameters": {"context": "12345"}},
        breaks="callback",
    ),
    "callback.NAME.parameter": Case(
        definition={
            "callback": {"realm_id": {"pattern": "[0-9]+", "parameter": "realmId"}},
            "identity": {"url": "{base_url}/{realm_id}/userinfo"},
            "revocation": {"url": "{base_url}/{realm_id}/revoke"},
        },
        quirks={"callback": {"realmId": "12345"}, "instance": "12345"},
        without={"callback": {"realm_id": {"pattern": "[0-9]+"}}},
        breaks="callback",
    ),
    "callback.NAME.pattern": Case(
        definition={"callback": {"company": {"pattern": "[0-9a-f]+"}}},
        quirks={"callback": {"company": "c0ffee"}},
        without={"callback": {"company": {"pattern": "[0-9]+"}}},
        breaks="callback",
    ),
    "callback.NAME.required": Case(
        definition={"callback": {"company": {"pattern": "[0-9]+", "required": False}}},
        without={"callback": {"company": {"pattern": "[0-9]+"}}},
        breaks="callback",
    ),
}
