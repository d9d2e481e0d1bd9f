"""The shipped authorization server speaks OAuth 2 as the RFCs say, driven over loopback."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus, urlencode

import httpx2
import pytest

from grantkeeper.testing import FakeClient, FakeClock, FakeProvider
from grantkeeper.testing.asgi import Receive, Scope, Send
from grantkeeper.testing.server import ProviderServer
from tests.support.provider_client import (
    CALLBACK,
    CLIENT,
    POST,
    SECRET,
    ProviderClient,
    answer_in,
    form_in,
    good,
    plain_client,
    refused,
)


class TestAuthorize:
    """GET /authorize and POST /consent."""

    async def test_allow(self, provider: ProviderClient) -> None:
        """A person picks who they are and clicks Allow: code, state and issuer go to the redirect URI."""
        page = await provider.http.get(provider.authorization_url())
        assert page.status_code == 200
        assert "Test &lt;App&gt; would like to use your account" in page.text
        assert "Grace Hopper" in page.text
        decided = {**form_in(page), "subject": "grace-hopper", "decision": "allow"}
        sent_on = await provider.http.post(f"{provider.fake.issuer}/consent", data=decided)
        assert sent_on.status_code == 303
        location = sent_on.headers["location"]
        assert location.startswith("http://client.example/callback?")
        answer = answer_in(location)
        assert (answer["keep"], answer["state"], answer["iss"]) == ("me", "st&te", provider.fake.issuer)
        tokens = good(await provider.exchange(answer["code"]))
        person = (await provider.userinfo(tokens["access_token"])).json()
        assert person == {"sub": "grace-hopper", "name": "Grace Hopper", "email": "grace@example.com"}

    async def test_deny(self, provider: ProviderClient) -> None:
        """Deny gives access_denied with state and issuer, and no code."""
        page = await provider.http.get(provider.authorization_url())
        decided = {**form_in(page), "subject": "ada-lovelace", "decision": "deny"}
        sent_on = await provider.http.post(f"{provider.fake.issuer}/consent", data=decided)
        answer = answer_in(sent_on.headers["location"])
        expected = {"keep": "me", "error": "access_denied", "state": "st&te", "iss": provider.fake.issuer}
        assert answer == expected
        assert provider.fake.deny(provider.authorization_url()) == sent_on.headers["location"]

    async def test_no_state(self, provider: ProviderClient) -> None:
        """A request without state gets an answer without state."""
        assert "state" not in answer_in(provider.fake.approve(provider.authorization_url(state=None)))

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": None}, "unsupported_response_type"),
            ({"code_challenge": None}, "invalid_request"),
            ({"code_challenge_method": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"code_challenge": "ü" * 43}, "invalid_request"),
            ({"scope": "profile everything"}, "invalid_scope"),
        ],
    )
    async def test_errors_that_redirect(
        self, provider: ProviderClient, changes: dict[str, str | None], error: str
    ) -> None:
        """A bad request of a known client goes back to it as an error, with state and issuer."""
        response = await provider.http.get(provider.authorization_url(**changes))
        assert response.status_code == 303
        answer = answer_in(response.headers["location"])
        assert (answer["error"], answer["state"], answer["iss"]) == (error, "st&te", provider.fake.issuer)

    @pytest.mark.parametrize(
        "changes",
        [
            {"client_id": "nobody"},
            {"client_id": None},
            {"redirect_uri": None},
            {"redirect_uri": CALLBACK + "/"},
            {"redirect_uri": "https://evil.example/"},
        ],
    )
    async def test_errors_that_must_not_redirect(
        self, provider: ProviderClient, changes: dict[str, str | None]
    ) -> None:
        """An unknown client or redirect URI is told to the person, not to whoever the URI names."""
        response = await provider.http.get(provider.authorization_url(**changes))
        assert response.status_code == 400
        assert "location" not in response.headers
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        with pytest.raises(ValueError, match=r"client|redirect URI"):
            provider.fake.approve(provider.authorization_url(**changes))

    async def test_repeated_parameters(self, provider: ProviderClient) -> None:
        """A repeated parameter is an error; a repeated redirect URI is one that does not redirect."""
        twice = await provider.http.get(f"{provider.authorization_url()}&state=two")
        answer = answer_in(twice.headers["location"])
        assert answer["error"] == "invalid_request"
        assert "state" not in answer
        url = f"{provider.authorization_url()}&redirect_uri={quote(CALLBACK)}"
        assert (await provider.http.get(url)).status_code == 400

    async def test_consent_needs_the_browser_that_saw_the_page(self, provider: ProviderClient) -> None:
        """A consent form posted without the cookie, or with another request in it, is refused."""
        page = await provider.http.get(provider.authorization_url())
        consent = f"{provider.fake.issuer}/consent"
        decided = {**form_in(page), "subject": "ada-lovelace", "decision": "allow"}
        swapped = {**decided, "request": decided["request"].replace("profile", "accounts.read")}
        assert (await provider.http.post(consent, data=swapped)).status_code == 403
        async with plain_client() as other_browser:
            assert (await other_browser.post(consent, data=decided)).status_code == 403
            await other_browser.get(provider.authorization_url())
            assert (await other_browser.post(consent, data=decided)).status_code == 403
        stranger = await provider.http.post(consent, data={**decided, "subject": "nobody"})
        assert stranger.status_code == 400

    async def test_two_tabs(self, provider: ProviderClient) -> None:
        """A second consent page in the same browser does not spoil the first."""
        pages = [await provider.http.get(provider.authorization_url(state=state)) for state in "ab"]
        for page, state in zip(pages, "ab", strict=True):
            decided = {**form_in(page), "subject": "ada-lovelace", "decision": "allow"}
            sent_on = await provider.http.post(f"{provider.fake.issuer}/consent", data=decided)
            assert answer_in(sent_on.headers["location"])["state"] == state

    async def test_pages_are_locked_down(self, provider: ProviderClient) -> None:
        """Pages run no script, load nothing, are not framed and not cached."""
        page = await provider.http.get(provider.authorization_url())
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        cookie = page.headers["set-cookie"]
        assert "; Path=/demo-provider; HttpOnly; SameSite=Lax" in cookie


class TestCode:
    """grant_type=authorization_code."""

    async def test_answer(self, provider: ProviderClient) -> None:
        """A code gives a complete answer that no cache keeps."""
        response = await provider.exchange(provider.code())
        tokens = good(response)
        assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
        assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
        assert tokens["scope"] == "profile email"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-type"] == "application/json"

    async def test_replay_revokes(self, provider: ProviderClient) -> None:
        """A code used twice is refused, and what it gave first is dead."""
        code = provider.code()
        tokens = good(await provider.exchange(code))
        assert refused(await provider.exchange(code)) == (400, "invalid_grant")
        assert (await provider.userinfo(tokens["access_token"])).status_code == 401
        assert refused(await provider.refresh(tokens["refresh_token"])) == (400, "invalid_grant")

    async def test_lives_60_seconds(self, provider: ProviderClient) -> None:
        """A code is good for a minute and no longer."""
        early, late = provider.code(), provider.code()
        provider.clock.advance(59)
        good(await provider.exchange(early))
        provider.clock.advance(1)
        assert refused(await provider.exchange(late)) == (400, "invalid_grant")

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"code_verifier": "w" * 43}, "invalid_grant"),
            ({"code_verifier": ""}, "invalid_grant"),
            ({"redirect_uri": "http://client.example/other"}, "invalid_grant"),
            ({"code": "made-up"}, "invalid_grant"),
            ({"code": ""}, "invalid_request"),
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"grant_type": ""}, "invalid_request"),
            ({"client_id": "other", "client_secret": "other-secret"}, "invalid_grant"),
        ],
    )
    async def test_refusals(self, provider: ProviderClient, changes: dict[str, str], error: str) -> None:
        """Each thing that does not fit is refused with the error RFC 6749 has for it."""
        assert refused(await provider.exchange(provider.code(), **changes)) == (400, error)

    async def test_wrong_verifier_spends_the_code(self, provider: ProviderClient) -> None:
        """Whoever guesses at a verifier has one guess."""
        code = provider.code()
        await provider.exchange(code, code_verifier="w" * 43)
        assert refused(await provider.exchange(code)) == (400, "invalid_grant")


class TestClientAuthentication:
    """RFC 6749 §2.3."""

    async def send(self, provider: ProviderClient, authorization: str, **form: str) -> httpx2.Response:
        """A token request with this Authorization header."""
        fields = {"grant_type": "refresh_token", "refresh_token": "x", **form}
        headers = {"authorization": authorization}
        return await provider.http.post(f"{provider.fake.issuer}/token", data=fields, headers=headers)

    def basic(self, client_id: str, secret: str) -> str:
        """An Authorization header whose parts are urlencoded first."""
        joined = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        return "Basic " + base64.b64encode(joined.encode()).decode()

    async def test_basic_is_urlencoded_first(self, provider: ProviderClient) -> None:
        """Ids and secrets with colons, spaces, plus signs and umlauts get through Basic when encoded."""
        response = await self.send(provider, self.basic(CLIENT.client_id, SECRET))
        assert refused(response) == (400, "invalid_grant")
        raw = base64.b64encode(f"{CLIENT.client_id}:{SECRET}".encode()).decode()
        assert refused(await self.send(provider, f"Basic {raw}")) == (401, "invalid_client")

    @pytest.mark.parametrize("header", ["Basic ???", "Basic", "Bearer x", "Basic " + "w7w="])
    async def test_bad_header(self, provider: ProviderClient, header: str) -> None:
        """A malformed or foreign Authorization header is invalid_client with a challenge."""
        response = await self.send(provider, header)
        assert refused(response) == (401, "invalid_client")
        assert response.headers["www-authenticate"].startswith("Basic ")

    async def test_two_methods_at_once(self, provider: ProviderClient) -> None:
        """Basic together with client_secret in the body is invalid_request; so are two client ids."""
        header = self.basic(CLIENT.client_id, SECRET)
        assert refused(await self.send(provider, header, client_secret=SECRET)) == (400, "invalid_request")
        assert refused(await self.send(provider, header, client_id="other")) == (400, "invalid_request")
        same = await self.send(provider, header, client_id=CLIENT.client_id)
        assert refused(same) == (400, "invalid_grant")

    async def test_rotated_secret(self, provider: ProviderClient) -> None:
        """Once the secret is rotated the old one is invalid_client, the new one works, no grant suffers."""
        tokens = await provider.tokens()
        provider.fake.rotate_client_secret(CLIENT.client_id, "new")
        assert refused(await provider.refresh(tokens["refresh_token"])) == (401, "invalid_client")
        good(await provider.refresh(tokens["refresh_token"], client_secret="new"))

    @pytest.mark.parametrize("secret", ["", "wrong", "ü"])
    async def test_wrong_secret(self, provider: ProviderClient, secret: str) -> None:
        """No secret, or a wrong one, is invalid_client."""
        response = await provider.exchange(provider.code(), client_secret=secret)
        assert refused(response) == (401, "invalid_client")

    async def test_method_of_the_client(self, provider: ProviderClient) -> None:
        """A client registered for post only may not use basic."""
        provider.fake.register(
            FakeClient(
                client_id="poster",
                client_secret="p",
                redirect_uris=(CALLBACK,),
                auth_methods=frozenset({"client_secret_post"}),
            )
        )
        assert refused(await self.send(provider, self.basic("poster", "p"))) == (401, "invalid_client")
        by_post = await provider.refresh("x", client_id="poster", client_secret="p")
        assert refused(by_post) == (400, "invalid_grant")

    async def test_request_must_be_a_form(self, provider: ProviderClient) -> None:
        """JSON, repeated parameters, a huge body and GET are refused, each in its way."""
        url = f"{provider.fake.issuer}/token"
        as_json = await provider.http.post(url, json=POST)
        assert refused(as_json) == (400, "invalid_request")
        form = {"content-type": "application/x-www-form-urlencoded"}
        body = urlencode({**POST, "grant_type": "refresh_token"})
        twice = await provider.http.post(url, content=f"{body}&grant_type=x", headers=form)
        assert refused(twice) == (400, "invalid_request")
        huge = await provider.http.post(url, content="x=" + "y" * 70_000, headers=form)
        assert refused(huge) == (413, "invalid_request")
        by_get = await provider.http.get(url)
        assert (by_get.status_code, by_get.headers["allow"]) == (405, "POST")


class TestRefresh:
    """grant_type=refresh_token and rotation."""

    async def test_rotates(self, provider: ProviderClient) -> None:
        """A refresh gives new tokens of the same scope, and counts as one use of that generation."""
        first = await provider.tokens()
        second = good(await provider.refresh(first["refresh_token"]))
        assert second["refresh_token"] != first["refresh_token"]
        assert second["scope"] == "profile email"
        third = good(await provider.refresh(second["refresh_token"]))
        assert (await provider.userinfo(third["access_token"])).status_code == 200
        [grant] = provider.fake.grants()
        assert provider.fake.refresh_counts == {(grant.grant_id, 1): 1, (grant.grant_id, 2): 1}

    async def test_strict(self, provider: ProviderClient) -> None:
        """In mode strict a spent refresh token kills the whole family at once."""
        provider.fake.policy.mode = "strict"
        first = await provider.tokens()
        second = good(await provider.refresh(first["refresh_token"]))
        assert refused(await provider.refresh(first["refresh_token"])) == (400, "invalid_grant")
        assert refused(await provider.refresh(second["refresh_token"])) == (400, "invalid_grant")
        assert (await provider.userinfo(second["access_token"])).status_code == 401
        assert provider.fake.grants()[0].revoked_at == provider.clock.now()

    async def test_grace(self, provider: ProviderClient) -> None:
        """In mode grace a spent token is honoured for 30 seconds from its first use; then it kills."""
        first = await provider.tokens()
        good(await provider.refresh(first["refresh_token"]))
        provider.clock.advance(29)
        again = good(await provider.refresh(first["refresh_token"]))
        provider.clock.advance(1)
        assert refused(await provider.refresh(first["refresh_token"])) == (400, "invalid_grant")
        assert refused(await provider.refresh(again["refresh_token"])) == (400, "invalid_grant")

    async def test_rotation_off(self, provider: ProviderClient) -> None:
        """Without rotation the answer carries no refresh token and the old one stays good."""
        first = await provider.tokens()
        provider.fake.policy.mode = "off"
        for _ in range(2):
            answer = good(await provider.refresh(first["refresh_token"]))
            assert "refresh_token" not in answer

    async def test_scope(self, provider: ProviderClient) -> None:
        """A refresh may ask for less, not for more, and asking for less loses nothing for good."""
        first = await provider.tokens()
        wider = await provider.refresh(first["refresh_token"], scope="profile accounts.read")
        assert refused(wider) == (400, "invalid_scope")
        narrow = good(await provider.refresh(first["refresh_token"], scope="profile"))
        assert narrow["scope"] == "profile"
        assert good(await provider.refresh(narrow["refresh_token"]))["scope"] == "profile email"

    async def test_lifetimes(self, provider: ProviderClient) -> None:
        """Lifetimes are as set, said in the answer, and kept: access and refresh tokens expire."""
        provider.fake.policy.access_token_lifetime = 30
        provider.fake.policy.refresh_token_lifetime = 100
        tokens = await provider.tokens()
        assert (tokens["expires_in"], tokens["refresh_token_expires_in"]) == (30, 100)
        provider.clock.advance(29.5)
        assert (await provider.userinfo(tokens["access_token"])).status_code == 200
        provider.clock.advance(0.5)
        expired = await provider.userinfo(tokens["access_token"])
        assert expired.status_code == 401
        assert 'error="invalid_token"' in expired.headers["www-authenticate"]
        provider.clock.advance(70)
        assert refused(await provider.refresh(tokens["refresh_token"])) == (400, "invalid_grant")

    async def test_omit_and_override(self, provider: ProviderClient) -> None:
        """Members of the answer can be left out or bent; without new refresh tokens the old stays good."""
        first = await provider.tokens()
        provider.fake.policy.omit |= {"refresh_token", "expires_in", "token_type"}
        provider.fake.policy.override["scope"] = 7
        for _ in range(2):
            answer = good(await provider.refresh(first["refresh_token"]))
            assert answer.keys() == {"access_token", "scope"}
            assert answer["scope"] == 7
        assert "refresh_token" not in await provider.tokens()

    async def test_of_another_client(self, provider: ProviderClient) -> None:
        """A refresh token is good only for the client it was given to, and survives the attempt."""
        tokens = await provider.tokens()
        stolen = await provider.refresh(tokens["refresh_token"], client_id="other", client_secret="other-secret")
        assert refused(stolen) == (400, "invalid_grant")
        good(await provider.refresh(tokens["refresh_token"]))

    async def test_ended_at_the_provider(self, provider: ProviderClient) -> None:
        """Grants and tokens that a test ends are ended, and only those."""
        one = provider.fake.issue(CLIENT.client_id, subject="alan-turing", scopes=["profile"])
        two = provider.fake.issue(CLIENT.client_id)
        provider.fake.expire_access_tokens(one.grant_id)
        assert (await provider.userinfo(one.access_token)).status_code == 401
        assert (await provider.userinfo(two.access_token)).json()["sub"] == "ada-lovelace"
        provider.fake.expire_refresh_tokens(one.grant_id)
        assert refused(await provider.refresh(one.refresh_token)) == (400, "invalid_grant")
        provider.fake.revoke_grants(two.grant_id)
        assert refused(await provider.refresh(two.refresh_token)) == (400, "invalid_grant")


class TestRevocation:
    """POST /revoke (RFC 7009)."""

    async def revoke(self, provider: ProviderClient, token: object, **changes: str) -> httpx2.Response:
        """Ask for a token's end."""
        form = {**POST, "token": str(token), **changes}
        return await provider.http.post(f"{provider.fake.issuer}/revoke", data=form)

    async def test_refresh_token(self, provider: ProviderClient) -> None:
        """Revoking a refresh token ends the grant, and doing it twice is fine."""
        tokens = await provider.tokens()
        for _ in range(2):
            assert (await self.revoke(provider, tokens["refresh_token"])).status_code == 200
        assert (await provider.userinfo(tokens["access_token"])).status_code == 401
        assert refused(await provider.refresh(tokens["refresh_token"])) == (400, "invalid_grant")

    async def test_access_token(self, provider: ProviderClient) -> None:
        """Revoking an access token ends just that one."""
        tokens = await provider.tokens()
        hinted = await self.revoke(provider, tokens["access_token"], token_type_hint="refresh_token")
        assert hinted.status_code == 200
        assert (await provider.userinfo(tokens["access_token"])).status_code == 401
        good(await provider.refresh(tokens["refresh_token"]))

    async def test_refusals(self, provider: ProviderClient) -> None:
        """An unknown token is fine; another client's, no token at all and a wrong secret are not."""
        tokens = await provider.tokens()
        assert (await self.revoke(provider, "unknown")).status_code == 200
        assert refused(await self.revoke(provider, "")) == (400, "invalid_request")
        wrong = await self.revoke(provider, "x", client_secret="wrong")
        assert refused(wrong) == (401, "invalid_client")
        foreign = await self.revoke(provider, tokens["refresh_token"], client_id="other", client_secret="other-secret")
        assert refused(foreign) == (400, "invalid_grant")
        good(await provider.refresh(tokens["refresh_token"]))


class TestMetadata:
    """RFC 8414 and the mount."""

    @pytest.mark.parametrize(
        "path",
        [
            "/demo-provider/.well-known/oauth-authorization-server",
            "/demo-provider/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/demo-provider",
        ],
    )
    async def test_served(self, provider: ProviderClient, path: str) -> None:
        """The metadata is found in each of the places, names this issuer and promises `iss`."""
        origin = provider.fake.issuer.removesuffix("/demo-provider")
        metadata = (await provider.http.get(origin + path)).json()
        assert metadata["issuer"] == provider.fake.issuer
        assert metadata["token_endpoint"] == f"{provider.fake.issuer}/token"
        assert metadata["authorization_response_iss_parameter_supported"] is True

    @pytest.mark.parametrize(("root_path", "strip"), [("/demo-provider", True), ("/demo-provider", False), ("", True)])
    async def test_mounted(self, root_path: str, strip: bool) -> None:
        """It finds its endpoints whether the server takes the prefix off the path or not."""
        fake = FakeProvider("http://demo.example/demo-provider", [CLIENT], FakeClock())

        async def mount(scope: Scope, receive: Receive, send: Send) -> None:
            path = str(scope["path"])
            scope["path"] = path.removeprefix("/demo-provider") if strip else path
            scope["root_path"] = root_path
            await fake(scope, receive, send)

        async with ProviderServer(mount) as server, plain_client() as http:
            assert (await http.get(f"{server.url}/demo-provider/userinfo")).status_code == 401
            assert (await http.get(f"{server.url}/demo-provider/nowhere")).status_code == 404
        fake.close()

    async def test_userinfo_without_token(self, provider: ProviderClient) -> None:
        """No token gets a bare challenge (RFC 6750 §3.1)."""
        response = await provider.http.get(f"{provider.fake.issuer}/userinfo")
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="demo provider"'
