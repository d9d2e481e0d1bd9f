"""The certified `oidc-provider` on loopback: a real authorization server that the tests did not write."""

import base64
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
import msgspec
from playwright.async_api import Page

from tests.support.process import HarnessError, PartMissing, Process, clean_environment

INTEROP = Path(__file__).parent.parent / "interop"
SCOPE = "openid offline_access profile"
OLDEST_NODE = 22
MOST_REDIRECTS = 20


class RequestCounts(msgspec.Struct, frozen=True):
    """What the provider was asked since it started.

    `token`: requests at the token endpoint by grant type, the refused ones included; `token_errors`: the
    refused ones by error code; `revocation`: requests at the revocation endpoint.
    """

    token: dict[str, int]
    token_errors: dict[str, int]
    revocation: int


class OidcProvider:
    """A provider with one confidential client (`client_secret_basic`); whoever gives a login is a user.

    PKCE is required, refresh tokens rotate, and a spent one ends its whole grant. A refresh token is issued
    only for the scope `offline_access` asked with `prompt=consent`: without that prompt the scope is dropped
    without a word (OpenID Connect Core, section 11). A person who authorizes the client twice with the same
    cookies has one grant for both, so that revoking a token of the one ends the other too. Lifetimes are
    seconds.
    """

    def __init__(
        self,
        redirect_uris: Sequence[str],
        *,
        access_token_ttl: int = 5,
        refresh_token_ttl: int = 14 * 24 * 3600,
        interop: Path = INTEROP,
    ) -> None:
        self.redirect_uris = tuple(redirect_uris)
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
        """How often the token and revocation endpoints were asked."""
        return msgspec.convert(self._get("/__count"), RequestCounts)

    async def consent(
        self,
        client: httpx2.AsyncClient,
        authorization_url: str,
        login: str = "ada",
        *,
        allow: bool = True,
    ) -> str:
        """Logs in and consents (or declines) as a person would; the callback URL, which is not opened.

        The cookies stay in `client`: with the same client, a second authorization needs no login.
        """
        response = await client.get(authorization_url, follow_redirects=False)
        for _ in range(MOST_REDIRECTS):
            if "location" in response.headers:
                target = urljoin(str(response.url), response.headers["location"])
                if self._is_callback(target):
                    return target
                response = await client.get(target, follow_redirects=False)
            else:
                form = _form(response)
                answers = {"decision": "allow" if allow else "deny"}
                if "login" in form.fields:
                    answers["login"] = login
                response = await client.post(form.action, data=answers, follow_redirects=False)
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
        }

    def _get(self, path: str) -> Any:
        response = httpx2.get(f"{self.issuer}{path}", timeout=10.0, trust_env=False)
        return response.raise_for_status().json()


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
        sent = {name: value for name, value in parameters.items() if value}
        self.url = f"{provider.authorization_endpoint}?{urlencode(sent)}"


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


@dataclass(frozen=True)
class _Form:
    action: str
    fields: frozenset[str]


class _FormParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form":
            self.action = attributes.get("action") or ""
        elif tag == "input":
            self.fields.add(attributes.get("name") or "")


def _form(response: httpx2.Response) -> _Form:
    parser = _FormParser()
    parser.feed(response.text)
    if parser.action is None:
        words = " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", response.text, flags=re.DOTALL).split())
        raise HarnessError(f"oidc-provider answered {response.status_code}: {words[:500]}")
    return _Form(urljoin(str(response.url), parser.action), frozenset(parser.fields))
