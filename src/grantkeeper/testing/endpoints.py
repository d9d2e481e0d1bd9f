"""Which endpoint of the fake provider answers what, as far as it is switched on."""

from __future__ import annotations

from collections.abc import Callable

from grantkeeper.testing.asgi import Request, Response, json_response
from grantkeeper.testing.authorization_endpoint import AuthorizationEndpoint
from grantkeeper.testing.device_endpoint import DeviceEndpoint
from grantkeeper.testing.features import DEVICE_CODE, Features
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.other_grants import OtherGrants
from grantkeeper.testing.pushed_requests import PushedRequests
from grantkeeper.testing.registration_endpoint import REGISTER, RegistrationEndpoint
from grantkeeper.testing.resources import RESOURCE_METADATA, SAMPLE, Resources
from grantkeeper.testing.server_metadata import server_metadata
from grantkeeper.testing.settings_page import SettingsPage
from grantkeeper.testing.token_endpoint import TokenEndpoint

Handler = Callable[[Request], Response]
Routes = dict[tuple[str, str], Handler]

METADATA = "/.well-known/oauth-authorization-server"
OPENID_METADATA = "/.well-known/openid-configuration"

PROVED = frozenset(("/token", "/par", "/userinfo", SAMPLE))
"""Endpoints that read proofs of possession, and give nonces for them."""

_SWITCHES: dict[str, Callable[[Features], bool]] = {
    "/jwks": lambda features: features.openid or features.jarm or features.jwt_access_tokens,
    "/par": lambda features: features.pushed_requests != "off",
    "/device_authorization": lambda features: features.device_code,
    "/device": lambda features: features.device_code,
    REGISTER: lambda features: features.registration,
    SAMPLE: lambda features: features.sample_resource,
    RESOURCE_METADATA: lambda features: features.sample_resource,
}


class Endpoints:
    """The endpoints, and the way from a request to its handler."""

    def __init__(self, ground: Ground, *, settings_page: bool) -> None:
        self._ground = ground
        self._pushed = PushedRequests(ground)
        self.authorization = AuthorizationEndpoint(ground, self._pushed)
        self.device = DeviceEndpoint(ground, self.authorization.guard)
        grants = {DEVICE_CODE: self.device.poll, **OtherGrants(ground).handlers()}
        self._tokens = TokenEndpoint(ground, grants)
        self._resources = Resources(ground)
        self._registration = RegistrationEndpoint(ground)
        self._routes = self._always() | self._switched()
        if settings_page:
            shown = SettingsPage(ground, self.authorization.guard)
            self._routes |= {("GET", "/"): shown.show, ("POST", "/settings"): shown.save}

    def handler(self, request: Request) -> Handler | None:
        """Who answers this request, if anybody."""
        method = request.method
        if request.path == "/userinfo" and self._ground.quirks.identity_body is not None and method == "POST":
            method = "GET"
        return self._routes.get((method, self.place(request.path)))

    def methods(self, path: str) -> list[str]:
        """The methods a path answers to."""
        return sorted(method for method, known in self._routes if known == self.place(path))

    def place(self, path: str) -> str:
        """The path as it stands in the table: a registration's own place under one name; nowhere if switched off."""
        for prefix, is_on in _SWITCHES.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                known = f"{REGISTER}/…" if path.startswith(f"{REGISTER}/") else path
                return known if is_on(self._ground.features) else ""
        return path

    def _always(self) -> Routes:
        return {
            ("GET", "/authorize"): self.authorization.authorize,
            ("POST", "/consent"): self.authorization.consent,
            ("POST", "/token"): self._tokens.token,
            ("POST", "/revoke"): self._tokens.revoke,
            ("GET", "/userinfo"): self._resources.userinfo,
            # Also where RFC 8414 §3.1 puts it for an issuer with a path; seen only when served at the root.
            **{
                ("GET", f"{place}{suffix}"): self._show_metadata
                for place in (METADATA, OPENID_METADATA)
                for suffix in ("", self._ground.base)
            },
        }

    def _switched(self) -> Routes:
        managed = f"{REGISTER}/…"
        return {
            ("GET", "/jwks"): lambda _request: json_response(200, self._ground.keys.published()),
            ("POST", "/par"): lambda request: self._pushed.push(request, self.authorization.read),
            ("POST", "/device_authorization"): self.device.start,
            ("GET", "/device"): self.device.show,
            ("POST", "/device"): self.device.save,
            ("POST", REGISTER): self._registration.register,
            ("GET", managed): self._registration.manage,
            ("PUT", managed): self._registration.manage,
            ("DELETE", managed): self._registration.manage,
            ("GET", SAMPLE): self._resources.sample,
            ("POST", SAMPLE): self._resources.sample,
            ("GET", f"{RESOURCE_METADATA}{SAMPLE}"): self._resources.metadata,
            ("GET", f"{RESOURCE_METADATA}{self._ground.base}{SAMPLE}"): self._resources.metadata,
        }

    def _show_metadata(self, _request: Request) -> Response:
        return json_response(200, server_metadata(self._ground))
