"""What access tokens open: /userinfo, and the sample resource /mcp with its metadata (RFC 9728)."""

from __future__ import annotations

from grantkeeper.testing.asgi import Headers, Request, Response, json_response
from grantkeeper.testing.ground import Ground
from grantkeeper.testing.placing import nested
from grantkeeper.testing.token_policy import bent
from grantkeeper.testing.vocabulary import FakeGrant, OAuthError, TokenFacts

RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
SAMPLE = "/mcp"
_REALM = 'realm="demo provider"'


class _Refused(Exception):
    """The token is missing or not good; `code` is None where none was shown (RFC 6750 §3.1)."""

    def __init__(self, scheme: str, code: str | None) -> None:
        super().__init__(code)
        self.scheme = scheme
        self.code = code


class Resources:
    """Answers requests that carry an access token."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.sample_url = ground.issuer + SAMPLE

    def userinfo(self, request: Request) -> Response:
        """Who the token's person is (OpenID Connect Core §5.3)."""
        try:
            grant, _ = self._admitted(request)
        except _Refused as refused:
            return self._challenge(refused)
        person = self._ground.people.get(grant.subject)
        claims = {"name": person.name, "email": person.email} if person else {}
        told = bent({"sub": grant.subject, **claims}, self._ground.policy.userinfo_claims)
        return json_response(200, nested(self._ground.quirks.identity_path, told))

    def sample(self, request: Request) -> Response:
        """Opens to tokens that are for this resource only; tells others where its metadata is (RFC 9728 §5.1)."""
        where = f'resource_metadata="{self.metadata_url()}"'
        try:
            grant, facts = self._admitted(request)
            if self.sample_url not in facts.audience:
                raise _Refused("DPoP" if facts.jkt else "Bearer", "invalid_token")
        except _Refused as refused:
            return self._challenge(refused, where)
        return json_response(200, {"resource": self.sample_url, "sub": grant.subject, "scopes": grant.scopes})

    def metadata_url(self) -> str:
        """Where RFC 9728 §3.1 puts the sample resource's metadata."""
        origin = self._ground.issuer.removesuffix(self._ground.base)
        return f"{origin}{RESOURCE_METADATA}{self._ground.base}{SAMPLE}"

    def metadata(self, _request: Request) -> Response:
        """The sample resource's metadata (RFC 9728 §2)."""
        members: dict[str, object] = {
            "resource": self.sample_url,
            "authorization_servers": [self._ground.issuer],
            "scopes_supported": list(self._ground.base_scopes),
            "bearer_methods_supported": ["header"],
            "resource_name": "Demo resource",
        }
        if self._ground.features.dpop != "off":
            members["dpop_bound_access_tokens_required"] = self._ground.features.dpop == "required"
        return json_response(200, members)

    def _admitted(self, request: Request) -> tuple[FakeGrant, TokenFacts]:
        """The grant of the token shown; one that is bound to a key needs its proof (RFC 9449 §7.1)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if request.path == "/userinfo":
            scheme, token = self._shown(request, scheme, token)
        token, shown_as = token.strip(), scheme.lower()
        if shown_as not in ("bearer", "dpop") or not token:
            raise _Refused("Bearer" if self._ground.features.dpop != "required" else "DPoP", None)
        facts = self._ground.store.token_facts(token)
        grant_id = self._ground.store.live_access_token(token, self._ground.clock.now())
        if grant_id is not None and self._ground.store.terms(grant_id).tenant != request.tenant:
            grant_id = None
        if grant_id is None or (shown_as == "dpop") != (facts.jkt is not None):
            raise _Refused("DPoP" if facts.jkt or shown_as == "dpop" else "Bearer", "invalid_token")
        if facts.jkt is not None:
            self._require_proof(request, token, facts.jkt)
        return self._ground.store.grants(grant_id)[0], facts

    def _shown(self, request: Request, scheme: str, token: str) -> tuple[str, str]:
        """Scheme and token, wherever the provider wants to see them."""
        quirks = self._ground.quirks
        if quirks.identity_token == "query":
            return "bearer", request.query.get("access_token") or ""
        if (quirks.identity_header, quirks.identity_scheme) == ("authorization", "Bearer"):
            return scheme, token
        shown = request.headers.get(quirks.identity_header, "")
        prefix = f"{quirks.identity_scheme} ".lstrip()
        return "bearer", shown.removeprefix(prefix) if shown.startswith(prefix) else ""

    def _require_proof(self, request: Request, token: str, jkt: str) -> None:
        try:
            thumbprint = self._ground.proofs.presented(request, token)
        except OAuthError as error:
            raise _Refused("DPoP", error.error) from error
        if thumbprint is None:
            raise _Refused("DPoP", "invalid_dpop_proof")
        if thumbprint != jkt:
            raise _Refused("DPoP", "invalid_token")

    def _challenge(self, refused: _Refused, *further: str) -> Response:
        words = [_REALM, *further]
        if refused.code is not None:
            words.insert(1, f'error="{refused.code}"')
        if refused.scheme == "DPoP":
            words.append('algs="ES256 EdDSA RS256 PS256"')
        header: Headers = (("www-authenticate", f"{refused.scheme} {', '.join(words)}"),)
        return json_response(401, {} if refused.code is None else {"error": refused.code}, header)
