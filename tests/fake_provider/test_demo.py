"""The shipped authorization server as the demo and as a test double: settings, state, scripted answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from grantkeeper.testing import FakeClient, FakeClock, FakeProvider
from grantkeeper.testing.asgi import ASGIApp, Receive, Scope, Send
from grantkeeper.testing.server import ProviderServer
from tests.support.chromium import browser_context, launched_chromium, watch_console
from tests.support.provider_client import (
    CALLBACK,
    CLIENT,
    SECRET,
    VERIFIER,
    ProviderClient,
    answer_in,
    form_in,
    good,
    plain_client,
    refused,
)


class TestSettingsPage:
    """GET / and POST /settings, for the demo."""

    async def test_switch_lifetime(self, provider: ProviderClient) -> None:
        """The page lists the clients, and what is chosen on it counts for the next token."""
        page = await provider.http.get(f"{provider.fake.issuer}/")
        assert CLIENT.client_id in page.text
        assert CALLBACK in page.text
        form = {**form_in(page), "access_token_lifetime": "30"}
        saved = await provider.http.post(f"{provider.fake.issuer}/settings", data=form)
        assert (saved.status_code, saved.headers["location"]) == (303, "/demo-provider/")
        assert (await provider.tokens())["expires_in"] == 30

    async def test_lifetime_that_is_not_on_the_list(self, provider: ProviderClient) -> None:
        """A lifetime set in code is shown on the page and can be saved as it stands."""
        provider.fake.policy.access_token_lifetime = 5
        page = await provider.http.get(f"{provider.fake.issuer}/")
        assert "5 seconds" in page.text
        form = {**form_in(page), "access_token_lifetime": "5"}
        saved = await provider.http.post(f"{provider.fake.issuer}/settings", data=form)
        assert saved.status_code == 303

    async def test_withdraw(self, provider: ProviderClient) -> None:
        """A person withdraws what they allowed, and its tokens are dead."""
        tokens = await provider.tokens()
        page = await provider.http.get(f"{provider.fake.issuer}/")
        assert "Ada Lovelace, 16 January 2026, 13:10 UTC" in page.text
        form = {**form_in(page), "revoke": provider.fake.grants()[0].grant_id}
        await provider.http.post(f"{provider.fake.issuer}/settings", data=form)
        assert refused(await provider.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
        assert "Ada Lovelace" not in (await provider.http.get(f"{provider.fake.issuer}/")).text

    async def test_refusals(self, provider: ProviderClient) -> None:
        """Another site cannot post it, and only the lifetimes shown can be chosen."""
        url = f"{provider.fake.issuer}/settings"
        assert (await provider.http.post(url, data={"access_token_lifetime": "30"})).status_code == 403
        form = form_in(await provider.http.get(f"{provider.fake.issuer}/"))
        for nonsense in ("31", "-1", "x"):
            response = await provider.http.post(url, data={**form, "access_token_lifetime": nonsense})
            assert response.status_code == 400
        assert provider.fake.policy.access_token_lifetime == 3600

    async def test_only_when_asked_for(self) -> None:
        """A provider for tests has no settings page."""
        async with ProviderServer() as server, plain_client() as http:
            fake = FakeProvider(server.url, [CLIENT], FakeClock())
            server.app = fake
            assert (await http.get(f"{server.url}/")).status_code == 404
            assert (await http.post(f"{server.url}/settings", data={"a": "b"})).status_code == 404
            fake.close()


class TestState:
    """What is kept, where, and what is never shown."""

    async def test_survives_a_restart_and_holds_no_token(self, tmp_path: Path) -> None:
        """Grants, hashes and the chosen lifetime are in the file; codes, tokens and secrets are not."""
        path, clock = tmp_path / "provider.sqlite3", FakeClock()
        async with ProviderServer() as server, plain_client() as http:
            first = FakeProvider(server.url, [CLIENT], clock, path=path)
            server.app = first
            before = ProviderClient(first, clock, http)
            code = before.code()
            tokens = good(await before.exchange(code))
            first.policy.access_token_lifetime = 300
            stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
            first.close()
            again = FakeProvider(server.url, [CLIENT], clock, path=path)
            server.app = again
            after = ProviderClient(again, clock, http)
            assert (await after.userinfo(tokens["access_token"])).json()["sub"] == "ada-lovelace"
            assert good(await after.refresh(tokens["refresh_token"]))["expires_in"] == 300
            again.close()
        for secret in (code, tokens["access_token"], tokens["refresh_token"], SECRET, "st&te", VERIFIER):
            assert str(secret).encode() not in stored
        assert path.stat().st_mode & 0o077 == 0

    async def test_nothing_secret_is_shown(self, provider: ProviderClient) -> None:
        """No repr shows a secret or token, and what was seen is remembered without them."""
        code = provider.code()
        tokens = good(await provider.exchange(code))
        await provider.refresh(tokens["refresh_token"], scope="profile")
        issued = provider.fake.issue(CLIENT.client_id)
        shown = repr([CLIENT, provider.fake, issued, *provider.fake.seen])
        for secret in (SECRET, code, VERIFIER, tokens["refresh_token"], issued.access_token):
            assert str(secret) not in shown
        last = provider.fake.seen[-1]
        assert (last.endpoint, last.auth_method, last.generation) == ("token", "client_secret_post", 1)
        assert last.parameters["scope"] == "profile"


class TestScript:
    """What a test makes the endpoints do."""

    async def test_hold(self, provider: ProviderClient) -> None:
        """Held requests wait, can be waited for, and go on when released."""
        grants = [provider.fake.issue(CLIENT.client_id) for _ in range(3)]
        provider.fake.hold()
        waiting = [asyncio.create_task(provider.refresh(grant.refresh_token)) for grant in grants]
        await provider.fake.wait_for_held(3)
        assert not any(task.done() for task in waiting)
        assert provider.fake.counts["token"] == 3
        provider.fake.release()
        for response in await asyncio.gather(*waiting):
            good(response)

    async def test_hold_after(self, provider: ProviderClient) -> None:
        """With when="after" the request has been carried out while its answer is kept back."""
        provider.fake.policy.mode = "strict"
        grant = provider.fake.issue(CLIENT.client_id)
        provider.fake.hold(when="after")
        waiting = asyncio.create_task(provider.refresh(grant.refresh_token))
        await provider.fake.wait_for_held()
        provider.fake.release()
        assert refused(await provider.refresh(grant.refresh_token)) == (400, "invalid_grant")
        good(await waiting)

    async def test_fail_next(self, provider: ProviderClient) -> None:
        """The next n requests fail as told and are not carried out; the one after is answered."""
        provider.fake.policy.mode = "strict"
        grant = provider.fake.issue(CLIENT.client_id)
        provider.fake.fail_next(2, status=429, headers=[("retry-after", "7")])
        for _ in range(2):
            response = await provider.refresh(grant.refresh_token)
            assert (response.status_code, response.headers["retry-after"]) == (429, "7")
        provider.fake.fail_next(error="temporarily_unavailable", status=400)
        assert refused(await provider.refresh(grant.refresh_token)) == (400, "temporarily_unavailable")
        good(await provider.refresh(grant.refresh_token))
        assert provider.fake.refresh_counts[grant.grant_id, 1] == 4

    async def test_lost_answer(self, provider: ProviderClient) -> None:
        """With commit the provider has rotated although it answered 500."""
        provider.fake.policy.mode = "strict"
        grant = provider.fake.issue(CLIENT.client_id)
        provider.fake.fail_next(status=500, commit=True)
        assert (await provider.refresh(grant.refresh_token)).status_code == 500
        assert refused(await provider.refresh(grant.refresh_token)) == (400, "invalid_grant")

    async def test_answer_with(self, provider: ProviderClient) -> None:
        """Any bytes, status and headers can be the answer, of any endpoint."""
        provider.fake.answer_with(b"<h1>hello</h1>", headers=[("content-type", "text/html")])
        response = await provider.exchange("x")
        assert (response.text, response.headers["content-type"]) == ("<h1>hello</h1>", "text/html")
        provider.fake.answer_with(b"[]", endpoint="userinfo")
        assert (await provider.userinfo("x")).json() == []
        assert provider.fake.counts == {"token": 1, "userinfo": 1}


@pytest.mark.browser
async def test_consent_in_chromium() -> None:
    """Without JavaScript, Allow leads the browser to another origin, and on from there to a third."""
    async with AsyncExitStack() as stack:
        end, client, server = [await stack.enter_async_context(ProviderServer()) for _ in range(3)]
        callback = f"{client.url}/callback"
        registered = FakeClient(client_id="app", client_secret="s", redirect_uris=(callback,))
        fake = FakeProvider(f"{server.url}/demo-provider", [registered], FakeClock(), settings_page=True)
        stack.callback(fake.close)
        client.app, end.app, server.app = redirecting_to(f"{end.url}/done"), redirecting_to(None), fake
        browser = await stack.enter_async_context(launched_chromium())
        page = await (await stack.enter_async_context(browser_context(browser, javascript=False))).new_page()
        console = watch_console(page)

        http = await stack.enter_async_context(plain_client())
        asking = ProviderClient(fake, FakeClock(), http)
        await page.goto(asking.authorization_url(client_id="app", redirect_uri=callback))
        await page.get_by_label("Grace Hopper").check()
        await page.get_by_role("button", name="Allow").click()
        await page.wait_for_url(f"{end.url}/done*")
        answer = answer_in(page.url)
        assert (answer["iss"], "code" in answer) == (fake.issuer, True)

        await page.goto(f"{fake.issuer}/")
        await page.get_by_label("30 seconds").check()
        await page.get_by_role("button", name="Save").click()
        await page.wait_for_url(f"{fake.issuer}/")
        assert await page.get_by_label("30 seconds").is_checked()
        assert fake.policy.access_token_lifetime == 30
        console.assert_clean()


def redirecting_to(url: str | None) -> ASGIApp:
    """Sends every browser on to `url` with the query it came with; None: the end of the way."""

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        location = f"{url}?{scope['query_string'].decode()}".encode()
        headers = [(b"location", location)] if url else [(b"content-type", b"text/html")]
        status = 303 if url else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body"})

    return application
