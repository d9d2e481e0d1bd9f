"""The certified `oidc-provider` on loopback: a real authorization server that the tests did not write."""

import base64
import hashlib
import os
import re
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
import msgspec
from playwright.async_api import Page

from tests.support.certificates import Authority, Pair
from tests.support.forms import form_of, words_of
from tests.support.process import HarnessError, PartMissing, Process, clean_environment

INTEROP = Path(__file__).parent.parent / "interop"
SCOPE = "openid offline_access profile"
OLDEST_NODE = 22
MOST_REDIRECTS = 20


class RequestCounts(msgspec.Struct, frozen=True):
    """What the provider was asked since it started.

    `token`: requests at the token endpoint by grant type, the refused ones included; `token_errors`: the
    refused ones by error code; `token_types` and `authentication`: the others by the type of the token given and by
    how the client proved itself; `revocation`: requests at the revocation endpoint. `pushed` authorization requests
    and `request_objects` are those that were taken; `signed_responses` are JARM answers given.
    """

    token: dict[str, int]
    token_errors: dict[str, int]
    revocation: int
    token_types: dict[str, int]
    authentication: dict[str, int]
    pushed: int
    request_objects: int
    signed_responses: int


class OidcProvider:
    """A provider with one confidential client (`client_secret_basic`); whoever gives a login is a user.

    PKCE is required, refresh tokens rotate, and a spent one ends its whole grant. A refresh token is issued
    only for the scope `offline_access` asked with `prompt=consent`: without that prompt the scope is dropped
    without a word (OpenID Connect Core, section 11). A person who authorizes the client twice with the same
    cookies has one grant for both, so that revoking a token of the one ends the other too. Lifetimes are
    seconds.

    Every profile is there at once: `register` adds clients, whose metadata say what each must do. DPoP proofs need
    the server's nonce. With an `authority` it speaks https, and asks clients for certificates of that authority; the
    methods of RFC 8705 exist only then. `require` holds for every client: "par", "jar". `device_interval`: seconds
    between two polls of a device. Its time is the machine's, until `advance` moves it.
    """

    def __init__(
        self,
        redirect_uris: Sequence[str],
        *,
        access_token_ttl: int = 5,
        refresh_token_ttl: int = 14 * 24 * 3600,
        authority: Authority | None = None,
        require: Sequence[str] = (),
        device_interval: int = 5,
        initial_access_token: str | None = None,
        interop: Path = INTEROP,
    ) -> None:
        self.redirect_uris = tuple(redirect_uris)
        self.ahead = 0.0
        self._authority = authority
        self._extras = {"OIDC_REQUIRE": " ".join(require), "OIDC_DEVICE_INTERVAL": str(device_interval)}
        if initial_access_token is not None:
            self._extras["OIDC_INITIAL_ACCESS_TOKEN"] = initial_access_token
        self.client_id = "grantkeeper-interop"
        self.client_secret = secrets.token_urlsafe(24)
        self.issuer = ""
        self.metadata: Mapping[str, Any] = {}
        self._ttls = (access_token_ttl, refresh_token_ttl)
        self._interop = interop
        self._folder: Path | None = None
        self._process: Process | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def authorization_endpoint(self) -> str:
        """Where the browser goes."""
        return str(self.metadata["authorization_endpoint"])

    @property
    def token_endpoint(self) -> str:
        """Where codes and refresh tokens are exchanged."""
        return str(self.metadata["token_endpoint"])

    @property
    def revocation_endpoint(self) -> str:
        """Where tokens are revoked (RFC 7009)."""
        return str(self.metadata["revocation_endpoint"])

    @property
    def userinfo_endpoint(self) -> str:
        """Who the person is: `sub`, and with the scope `profile` also `name` and `preferred_username`."""
        return str(self.metadata["userinfo_endpoint"])

    @property
    def api(self) -> str:
        """A protected resource, as in `resource` (RFC 8707): says what the access token made for it holds."""
        return f"{self.issuer}/api"

    @property
    def now(self) -> int:
        """Microseconds since the epoch, by its clock."""
        return time.time_ns() // 1000 + round(self.ahead * 1_000_000)

    def start(self) -> None:
        """Starts it on a free port, waits until it serves, and reads its discovery document."""
        node = find_node(self._interop)
        self._folder = Path(tempfile.mkdtemp(prefix="gk-oidc-"))
        server = self._interop / "server.mjs"
        self._process = Process(
            [node, str(server)], directory=self._folder, env=self._environment(), name="oidc-provider"
        ).start()
        self.issuer = self._process.wait_for_line(r'"ready":true,"issuer":"([^"]+)"').group(1)
        self.metadata = self._get("/.well-known/openid-configuration")

    def close(self) -> None:
        """Stops it and forgets what it knew."""
        if self._process is not None:
            self._process.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
        self._folder = self._process = None

    def counts(self) -> RequestCounts:
        """How often it was asked for what."""
        return msgspec.convert(self._get("/__count"), RequestCounts)

    def last_request(self) -> dict[str, Any]:
        """The parameters of the newest authorization request that it took, pushed and signed ones unpacked."""
        parameters: dict[str, Any] = self._get("/__last")
        return parameters

    def register(self, client_id: str, **metadata: Any) -> None:
        """Adds a client, or replaces it: metadata of RFC 7591, and `fapi_profile="2.0"`. HarnessError: not taken."""
        known = {"redirect_uris": self.redirect_uris, "grant_types": ["authorization_code", "refresh_token"]}
        answer = self._post("/__clients", {"client_id": client_id} | known | metadata)
        if answer.status_code != 204:
            raise HarnessError(f"oidc-provider does not take that client: {answer.text}")

    def advance(self, seconds: float) -> None:
        """Moves its clock: what expires, expires."""
        self.ahead = float(self._post("/__advance", {"seconds": seconds}).json()["ahead"])

    def browser(self, certificate: Pair | None = None) -> httpx2.AsyncClient:
        """A client with cookies of its own that trusts this provider, and shows it a certificate where asked."""
        return httpx2.AsyncClient(trust_env=False, timeout=10.0, verify=self._tls(certificate))

    async def consent(
        self,
        client: httpx2.AsyncClient,
        authorization_url: str,
        login: str | None = "ada",
        *,
        allow: bool = True,
    ) -> str:
        """Logs in and consents (or declines) as a person would; the callback URL, which is not opened.

        The cookies stay in `client`: with the same client, a second authorization needs no login. `login`: None
        takes what the form suggests.
        """
        end = await self._walk(client, authorization_url, _answers(login, allow))
        if isinstance(end, str):
            return end
        raise HarnessError(f"oidc-provider answered {end.status_code}: {words_of(end)}")

    async def connect_device(
        self, client: httpx2.AsyncClient, verification_uri_complete: str, login: str = "ada", *, allow: bool = True
    ) -> None:
        """Confirms the code that a device shows, logs in, and consents or declines."""
        end = await self._walk(client, verification_uri_complete, _answers(login, allow))
        if isinstance(end, str) or ("Connected" in end.text) is not allow:
            raise HarnessError(f"oidc-provider did not end the device flow as it should: {end}")

    async def _walk(self, client: httpx2.AsyncClient, url: str, answers: Mapping[str, str]) -> str | httpx2.Response:
        """Follows redirects and fills in forms, up to a callback's URL, or a page that has no form."""
        response = await client.get(url, follow_redirects=False)
        for _ in range(MOST_REDIRECTS):
            if "location" in response.headers:
                target = urljoin(str(response.url), response.headers["location"])
                if self._is_callback(target):
                    return target
                response = await client.get(target, follow_redirects=False)
                continue
            form = form_of(response)
            if form is None:
                return response
            filled = form.fields | {name: value for name, value in answers.items() if name in form.fields}
            response = await client.post(form.action, data=filled, follow_redirects=False)
        raise HarnessError(f"oidc-provider sent the browser on more than {MOST_REDIRECTS} times")

    async def consent_in_browser(self, page: Page, login: str = "ada", *, allow: bool = True) -> None:
        """The same on a page that stands at the provider; ends where the browser is back at the client."""
        while page.url.startswith(f"{self.issuer}/"):
            field = page.get_by_label("Login")
            if await field.count():
                await field.fill(login)
            async with page.expect_navigation():
                await page.locator(f"button[value={'allow' if allow else 'deny'}]").click()

    def _is_callback(self, url: str) -> bool:
        return url.partition("?")[0] in self.redirect_uris

    def _environment(self) -> dict[str, str]:
        access_token_ttl, refresh_token_ttl = self._ttls
        return {
            **clean_environment(),
            "NODE_ENV": "production",
            "OIDC_CLIENT_ID": self.client_id,
            "OIDC_CLIENT_SECRET": self.client_secret,
            "OIDC_REDIRECT_URIS": " ".join(self.redirect_uris),
            "OIDC_ACCESS_TOKEN_TTL": str(access_token_ttl),
            "OIDC_REFRESH_TOKEN_TTL": str(refresh_token_ttl),
            **self._extras,
            **self._tls_files(),
        }

    def _tls_files(self) -> dict[str, str]:
        if self._authority is None:
            return {}
        assert self._folder is not None
        pair = self._authority.server("127.0.0.1", "localhost")
        texts = {"KEY": pair.private_key, "CERTIFICATE": pair.certificate, "AUTHORITY": self._authority.certificate}
        for name, text in texts.items():
            (self._folder / f"{name}.pem").write_text(text)
        return {f"OIDC_TLS_{name}": str(self._folder / f"{name}.pem") for name in texts}

    def _tls(self, certificate: Pair | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._authority is not None:
            context.load_verify_locations(cadata=self._authority.certificate)
        if certificate is not None:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(certificate.private_key + certificate.certificate)
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def _get(self, path: str) -> Any:
        return self._request("GET", path).raise_for_status().json()

    def _post(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        return self._request("POST", path, json=body)

    def _request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        with httpx2.Client(trust_env=False, timeout=10.0, verify=self._tls(None)) as client:
            return client.request(method, f"{self.issuer}{path}", **options)


class AuthorizationRequest:
    """One authorization request with PKCE S256, `prompt=consent` and all three scopes, as a client makes it.

    `changes` replace parameters; an empty value leaves the parameter out.
    """

    def __init__(self, provider: OidcProvider, redirect_uri: str, **changes: str) -> None:
        self.code_verifier = secrets.token_urlsafe(32)
        self.state = secrets.token_urlsafe(16)
        digest = hashlib.sha256(self.code_verifier.encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "prompt": "consent",
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        } | changes
        self.parameters = {name: value for name, value in parameters.items() if value}
        self.url = f"{provider.authorization_endpoint}?{urlencode(self.parameters)}"


def callback_parameters(url: str) -> dict[str, str]:
    """What a callback URL says: `code`, `state`, `iss`, or `error`."""
    return dict(parse_qsl(urlsplit(url).query))


def find_node(interop: Path = INTEROP) -> str:
    """Node 22 or later: the one that `npm ci` brought, else the machine's."""
    if not (interop / "node_modules" / "oidc-provider").is_dir():
        raise PartMissing(
            "oidc-provider is missing: run `make test`, or `npm ci --no-audit --no-fund` in tests/interop"
        )
    for node in (interop / "node_modules" / ".bin" / "node", shutil.which("node")):
        if node is not None and os.access(node, os.X_OK) and _node_version(str(node)) >= OLDEST_NODE:
            return str(node)
    raise PartMissing(f"oidc-provider wants Node {OLDEST_NODE} or later, and no such `node` is in PATH")


def _node_version(node: str) -> int:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"v(\d+)", told)
    return int(match.group(1)) if match else 0


def _answers(login: str | None, allow: bool) -> dict[str, str]:
    return {"decision": "allow" if allow else "deny"} | ({} if login is None else {"login": login})
