"""A hostile token endpoint, or somebody between: forged ID tokens, weaker tokens, endless demands. Each is refused
with an error of its own, through the whole flow, and nothing is stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from grantkeeper.access import browser_caller
from grantkeeper.authorize import DevicePrompt
from grantkeeper.errors import AuthorizationFailed
from grantkeeper.oauth import dpop
from grantkeeper.testing import Features
from grantkeeper.testing.wording import base64url
from tests.engine.attack_scenes import DEVICE, Bank, bank_world, openid
from tests.engine.scenes import complete, connections_of, token_set
from tests.support.world import BROWSER, CLIENT_SECRET

OAUTH_ERROR = [("content-type", "application/json")]


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """A bank whose keys are known."""
    async with bank_world(tmp_path) as bank:
        yield bank


async def given(bank: Bank, id_token: object, url: str) -> AuthorizationFailed:
    """How the attempt ends when the bank's answer brings this ID token."""
    bank.fake.policy.override["id_token"] = id_token
    return await bank.refused(bank.fake.approve(url))


class TestIdToken:
    """OpenID Connect Core §3.1.3.7, RFC 8725."""

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"iss": "https://evil.example"}, "id_token_iss"),
            ({"iss": None}, "id_token_iss"),
            ({"aud": "another-client"}, "id_token_aud"),
            ({"aud": None}, "id_token_aud"),
            ({"aud": ["grantkeeper-test", "another-client"], "azp": "grantkeeper-test"}, "id_token_aud"),
            ({"azp": "another-client"}, "id_token_azp"),
            ({"nonce": "another"}, "id_token_nonce"),
            ({"nonce": None}, "id_token_nonce"),
            ({"at_hash": "aGFsZiBhIGhhc2ggLi4uLg"}, "id_token_at_hash"),
            ({"exp": 1}, "id_token_exp"),
            ({"exp": None}, "id_token_exp"),
            ({"iat": 99_999_999_999}, "id_token_iat"),
            ({"sub": None}, "id_token_sub"),
            ({"sub": 7}, "id_token_sub"),
        ],
    )
    async def test_claims(self, bank: Bank, changes: dict[str, Any], code: str) -> None:
        """Signed by the bank, and not for this attempt: each claim has its own refusal."""
        url = await bank.begin()
        failure = await given(bank, bank.fake.keys.sign(bank.claims(url, **changes)), url)
        assert failure.reason == code

    async def test_unsigned(self, bank: Bank) -> None:
        """`alg` none, in any spelling, is no signature."""
        for alg in ("none", "None", "NONE", ""):
            url = await bank.begin()
            header, payload = (base64url(json.dumps(part).encode()) for part in ({"alg": alg}, bank.claims(url)))
            failure = await given(bank, f"{header}.{payload}.", url)
            assert failure.reason == "id_token_alg"

    async def test_signature_cut_off(self, bank: Bank) -> None:
        """The bank's own ID token with another payload, or without its signature."""
        url = await bank.begin()
        header, payload, signature = bank.fake.keys.sign(bank.claims(url)).split(".")
        other = base64url(json.dumps(bank.claims(url, sub="mallory")).encode())
        for forged in (f"{header}.{other}.{signature}", f"{header}.{payload}."):
            url = await bank.begin()
            assert (await given(bank, forged, url)).reason == "id_token_signature"

    async def test_hmac_with_what_is_public(self, bank: Bank) -> None:
        """Algorithm confusion: HS256 with the public key, or with our own secret, is not among those allowed."""
        public = json.dumps(bank.fake.keys.current.as_dict(private=False))
        for secret in (public, CLIENT_SECRET):
            url = await bank.begin()
            header = {"alg": "HS256", "kid": bank.fake.keys.current.kid}
            forged = jwt.encode(header, bank.claims(url), OctKey.import_key(secret), algorithms=["HS256"])
            assert (await given(bank, forged, url)).reason == "id_token_alg"

    async def test_another_key_of_the_same_name(self, bank: Bank) -> None:
        """The key id says who signed; the signature does not agree."""
        url = await bank.begin()
        header = {"alg": "ES256", "kid": bank.fake.keys.current.kid}
        forged = jwt.encode(header, bank.claims(url), ECKey.generate_key("P-256"), algorithms=["ES256"])
        assert (await given(bank, forged, url)).reason == "id_token_signature"

    async def test_key_of_another_type(self, bank: Bank) -> None:
        """RS256 under the id of a key on a curve fits no key."""
        url = await bank.begin()
        key = RSAKey.generate_key(2048)
        header = {"alg": "RS256", "kid": bank.fake.keys.current.kid}
        forged = jwt.encode(header, bank.claims(url), key, algorithms=["RS256"])
        assert (await given(bank, forged, url)).reason == "id_token_key"

    async def test_key_that_it_brings_along(self, bank: Bank) -> None:
        """Keys in the header, or at a URL in it, are the attacker's: nobody looks there (RFC 8725 §3.10)."""
        key = ECKey.generate_key("P-256", auto_kid=True)
        bank.other.features.openid = True
        for brought in ({"jwk": key.as_dict(private=False)}, {"jku": f"{bank.other.issuer}/jwks"}):
            url = await bank.begin()
            header = {"alg": "ES256", "kid": key.kid, **brought}
            forged = jwt.encode(header, bank.claims(url), key, algorithms=["ES256"])
            assert (await given(bank, forged, url)).reason == "id_token_key"
        assert bank.other.counts["jwks"] == 0

    async def test_of_another_provider(self, bank: Bank) -> None:
        """One that the other provider signed for the same client id, with the bank's name in it."""
        url = await bank.begin()
        failure = await given(bank, bank.other.keys.sign(bank.claims(url)), url)
        assert failure.reason == "id_token_key"

    async def test_critical_extension(self, bank: Bank) -> None:
        """An extension that must be understood is not (RFC 7515 §4.1.11)."""
        url = await bank.begin()
        token = bank.fake.keys.sign(bank.claims(url))
        header = base64url(json.dumps({"alg": "ES256", "crit": ["x"], "x": 1}).encode())
        assert (await given(bank, f"{header}.{token.partition('.')[2]}", url)).reason == "id_token_crit"

    async def test_left_out(self, bank: Bank) -> None:
        """Asked for and not given: the nonce could not be compared."""
        wrong: tuple[object, ...] = (None, 7, {})
        for missing in wrong:
            url = await bank.begin()
            assert (await given(bank, missing, url)).reason == "id_token_missing"

    async def test_garbage(self, bank: Bank) -> None:
        """What is no JWT at all."""
        for garbage in ("", "x", "a.b.c", "." * 3, "ü.ü.ü", "{}"):
            url = await bank.begin()
            assert (await given(bank, garbage, url)).reason == "id_token_malformed"

    async def test_at_hash_of_another_access_token(self, bank: Bank) -> None:
        """A genuine ID token beside an access token that was exchanged for another (§3.1.3.8)."""
        bank.fake.policy.override["access_token"] = "slipped-in"
        failure = await bank.refused(await bank.callback())
        assert failure.reason == "id_token_at_hash"


class TestKeyRollOver:
    """Keys change at the provider's own address, and at nobody's wish more often than that."""

    async def test_roll_over(self, bank: Bank) -> None:
        """A new key at the known address is found by itself; the old ID tokens' keys may go."""
        await bank.connect()
        bank.fake.rotate_keys(keep_old=False)
        bank.clock.advance(60)
        await bank.connect()
        assert bank.fake.counts["jwks"] == 2

    async def test_made_up_key_ids(self, bank: Bank) -> None:
        """Ever new key ids make us ask once a minute, not for each (denial of service through us)."""
        await bank.connect()
        key = ECKey.generate_key("P-256")
        bank.clock.advance(60)
        for number in range(5):
            url = await bank.begin()
            header = {"alg": "ES256", "kid": f"made-up-{number}"}
            forged = jwt.encode(header, bank.claims(url), key, algorithms=["ES256"])
            assert (await given(bank, forged, url)).reason == "id_token_key"
        assert bank.fake.counts["jwks"] == 2


class TestSenderConstrained:
    """RFC 9449."""

    @pytest.fixture
    async def bank(self, tmp_path: Path) -> AsyncIterator[Bank]:
        """A bank that binds tokens to keys."""
        features = msgspec.structs.replace(openid(), dpop="required")
        async with bank_world(tmp_path, features=features, token='sender_constrained = "dpop"') as bank:
            yield bank

    async def test_good(self, bank: Bank) -> None:
        """As it should be: the token is bound to a key that only this connection has."""
        first, second = await bank.connect(), await bank.connect()
        assert first.token_type == "DPoP"
        keys = [(await token_set(bank.world, connection)).dpop_key or "" for connection in (first, second)]
        assert len({dpop.thumbprint(key) for key in keys}) == 2
        stored = await token_set(bank.world, first)
        assert bank.fake.token_facts(stored.access_token).jkt == dpop.thumbprint(keys[0])

    @pytest.mark.parametrize("token_type", ["Bearer", "bearer", None])
    async def test_downgrade(self, bank: Bank, token_type: str | None) -> None:
        """DPoP was asked for and a bearer token came: anybody who steals it could use it (§5)."""
        bank.fake.features.dpop = "off"
        callback = await bank.callback()
        if token_type is None:
            bank.fake.policy.omit.add("token_type")
        else:
            bank.fake.policy.override["token_type"] = token_type
        failure = await bank.refused(callback)
        assert failure.reason == "token_type_mismatch"

    async def test_nonces(self, bank: Bank) -> None:
        """A server that wants its nonce gets it, at the cost of one more request."""
        bank.fake.features.dpop_nonces = True
        await bank.connect()
        assert bank.fake.counts["token"] == 2

    async def test_endless_nonces(self, bank: Bank) -> None:
        """A server that is never content is asked twice, and no more."""
        callback = await bank.callback()
        for number in range(10):
            bank.fake.answer_with(
                b'{"error": "use_dpop_nonce"}', status=400, headers=[*OAUTH_ERROR, ("dpop-nonce", f"n{number}")]
            )
        failure = await bank.refused(callback)
        assert (failure.reason, failure.code) == ("provider_down", "use_dpop_nonce")
        assert bank.fake.counts["token"] == 2

    async def test_endless_nonces_at_a_refresh(self, bank: Bank) -> None:
        """Nor does a refresh go on for ever; the connection lives on, and works once the server does."""
        connection = await bank.connect()
        bank.clock.advance(3601)
        before = bank.fake.counts["token"]
        for number in range(10):
            bank.fake.answer_with(
                b'{"error": "use_dpop_nonce"}', status=400, headers=[*OAUTH_ERROR, ("dpop-nonce", f"n{number}")]
            )
        assert (await bank.world.read_token(connection)).status_code == 503
        assert bank.fake.counts["token"] == before + 2
        bank.fake.forget_script()
        bank.clock.advance(600)
        assert (await bank.world.read_token(connection)).status_code == 200

    async def test_endless_nonces_at_userinfo(self, bank: Bank) -> None:
        """Nor does the question who somebody is."""
        challenge = ("www-authenticate", 'DPoP error="use_dpop_nonce"')
        for number in range(20):
            bank.fake.answer_with(
                b"{}", status=401, endpoint="userinfo", headers=[challenge, ("dpop-nonce", f"n{number}")]
            )
        await bank.connect()
        assert bank.fake.counts["userinfo"] <= 4


class TestUnasked:
    """RFC 9449 §5, the other way round."""

    async def test_bound_to_nothing_of_ours(self, bank: Bank) -> None:
        """A token of type DPoP that nobody asked for is bound to somebody else's key."""
        bank.fake.policy.override["token_type"] = "DPoP"
        failure = await bank.refused(await bank.callback())
        assert failure.reason == "token_type_mismatch"


class TestTokenEndpoint:
    """RFC 9700 §4.12: redirects and other answers that are none."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirect(self, bank: Bank, status: int) -> None:
        """A redirect would carry code, verifier and our credentials away: it is not followed."""
        callback = await bank.callback()
        location = [("location", f"{bank.other.issuer}/token")]
        bank.fake.answer_with(b"{}", status=status, headers=[*OAUTH_ERROR, *location])
        failure = await bank.refused(callback)
        assert failure.reason == "redirect"
        assert bank.other.counts["token"] == 0

    async def test_redirect_at_a_refresh(self, bank: Bank) -> None:
        """Neither does it get the refresh token; the connection is not condemned by it."""
        connection = await bank.connect()
        bank.clock.advance(3601)
        location = [("location", f"{bank.other.issuer}/token")]
        bank.fake.answer_with(b"{}", status=307, headers=[*OAUTH_ERROR, *location], times=20)
        assert (await bank.world.read_token(connection)).status_code == 503
        assert bank.other.counts["token"] == 0
        assert (await bank.world.stored(connection)).status.value in ("active", "failing")

    @pytest.mark.parametrize(
        "body", [b"<h1>Welcome</h1>", b"[]", b"null", b"{}", b'{"access_token": ""}', b'{"access_token": "a b"}']
    )
    async def test_no_token(self, bank: Bank, body: bytes) -> None:
        """A page, a list, nothing, or a token that is none."""
        callback = await bank.callback()
        bank.fake.answer_with(body)
        assert (await bank.refused(callback)).reason == "malformed_answer"


class TestPushed:
    """RFC 9126: what the provider calls the pushed request is all that the browser carries."""

    @pytest.fixture
    async def bank(self, tmp_path: Path) -> AsyncIterator[Bank]:
        """A bank where requests are pushed."""
        features = msgspec.structs.replace(openid(), pushed_requests="required")
        pushed = 'pushed = true\npushed_url = "{base_url}/par"'
        async with bank_world(tmp_path, features=features, authorization=pushed) as bank:
            yield bank

    async def test_good(self, bank: Bank) -> None:
        """As it should be, the browser carries nothing else."""
        url = await bank.begin()
        assert url.startswith(f"{bank.fake.issuer}/authorize?")
        assert set(url.partition("?")[2].replace("&", "=").split("=")[::2]) == {"client_id", "request_uri"}
        completed = await complete(bank.world, bank.fake.approve(url), provider="bank")
        assert completed.connection.identity == "Ada Lovelace"

    async def test_foreign_request_uri(self, bank: Bank) -> None:
        """A name at another origin leads the browser nowhere but to the bank's own page."""
        body = json.dumps({"request_uri": "https://evil.example/authorize", "expires_in": 60}).encode()
        bank.fake.answer_with(body, status=201, endpoint="par")
        url = await bank.begin()
        assert url.startswith(f"{bank.fake.issuer}/authorize?")

    @pytest.mark.parametrize(
        "request_uri", ["u:" + "x" * 5000, "", None, 7, "two words", "u:a\nb", "no-scheme", ["u:a"], "u:ü"]
    )
    async def test_unusable_request_uri(self, bank: Bank, request_uri: object) -> None:
        """Huge, missing, or no URI: the browser is sent nowhere, and nothing is remembered."""
        body = json.dumps({"request_uri": request_uri, "expires_in": 60}).encode()
        bank.fake.answer_with(body, status=201, endpoint="par")
        with pytest.raises(AuthorizationFailed) as failure:
            await bank.begin()
        assert failure.value.reason == "no_request_uri"

    @pytest.mark.parametrize("status", [302, 307])
    async def test_redirect(self, bank: Bank, status: int) -> None:
        """The push is not sent on to somebody else."""
        location = [("location", f"{bank.other.issuer}/par"), *OAUTH_ERROR]
        bank.fake.answer_with(b"{}", status=status, endpoint="par", headers=location)
        with pytest.raises(AuthorizationFailed) as failure:
            await bank.begin()
        assert failure.value.reason == "malformed_answer"
        assert bank.other.counts["par"] == 0


class TestDevice:
    """RFC 8628 §3.5: answers to polls."""

    @pytest.fixture
    async def bank(self, tmp_path: Path) -> AsyncIterator[Bank]:
        """A bank that is connected with a code typed in elsewhere."""
        features = Features(openid=True, device_code=True)
        top, more = 'grant = "device_code"', '[device]\nurl = "{base_url}/device_authorization"'
        async with bank_world(tmp_path, features=features, definition=DEVICE, top=top, more=more) as bank:
            yield bank

    async def start(self, bank: Bank) -> str:
        """Begin; the handle of the attempt."""
        caller = browser_caller(bank.world.login)
        return await bank.world.services.authorizations.start_device(caller, "bank", BROWSER, None, None)

    async def poll(self, bank: Bank, handle: str, browser: str | None = BROWSER) -> object:
        """Ask, once the interval is over."""
        bank.clock.advance(60)
        return await bank.world.services.authorizations.poll_device("bank", handle, browser, "request-1")

    async def ends(self, bank: Bank, handle: str, browser: str | None = BROWSER) -> AuthorizationFailed:
        """How the poll ends the attempt, which makes no connection."""
        with pytest.raises(AuthorizationFailed) as failure:
            await self.poll(bank, handle, browser)
        assert await connections_of(bank.world) == []
        return failure.value

    def says(self, bank: Bank, error: str) -> None:
        """The next poll is answered with that error."""
        bank.fake.answer_with(json.dumps({"error": error}).encode(), status=400)

    async def test_slow_down(self, bank: Bank) -> None:
        """The interval grows by five seconds at each, and the attempt goes on."""
        handle = await self.start(bank)
        intervals = []
        for _ in range(3):
            self.says(bank, "slow_down")
            prompt = await self.poll(bank, handle)
            assert isinstance(prompt, DevicePrompt)
            following = await bank.world.services.authorizations.poll_device("bank", handle, BROWSER, "request-1")
            assert isinstance(following, DevicePrompt)
            intervals.append(following.interval)
        assert intervals == [10, 15, 20]
        assert bank.fake.counts["token"] == 3

    @pytest.mark.parametrize(("error", "reason"), [("expired_token", "expired"), ("access_denied", "denied")])
    async def test_ended(self, bank: Bank, error: str, reason: str) -> None:
        """Each end has its own words, and is an end: nothing is polled after it."""
        handle = await self.start(bank)
        self.says(bank, error)
        assert (await self.ends(bank, handle)).reason == reason
        assert (await self.ends(bank, handle)).reason == "replayed"
        assert bank.fake.counts["token"] == 1

    @pytest.mark.parametrize(
        ("status", "body"),
        [(200, b"<h1>Welcome</h1>"), (200, b"[]"), (200, b"{}"), (400, b"{}"), (400, b'{"error": {}}'), (302, b"")],
    )
    async def test_garbage(self, bank: Bank, status: int, body: bytes) -> None:
        """What is no answer ends the attempt, and connects nothing."""
        handle = await self.start(bank)
        bank.fake.answer_with(body, status=status)
        assert (await self.ends(bank, handle)).reason == ("redirect" if status == 302 else "malformed_answer")

    async def test_server_down(self, bank: Bank) -> None:
        """A server that is away for a moment is asked again later."""
        handle = await self.start(bank)
        bank.fake.fail_next(status=503)
        assert isinstance(await self.poll(bank, handle), DevicePrompt)
        assert isinstance(await self.poll(bank, handle), DevicePrompt)

    async def test_another_browser(self, bank: Bank) -> None:
        """Who knows the handle but has not begun sees nothing, and polls nothing."""
        handle = await self.start(bank)
        for browser in (None, "m" * 43):
            assert (await self.ends(bank, handle, browser)).reason == "other_browser"
        assert bank.fake.counts["token"] == 0

    async def test_handle_as_state(self, bank: Bank) -> None:
        """The handle of a device's attempt is no state: a callback with it is nobody's."""
        handle = await self.start(bank)
        failure = await bank.refused(f"{bank.fake.issuer}/callback?code=x&state={handle}")
        assert failure.reason == "unknown_state"

    @pytest.mark.parametrize(
        "changes",
        [
            {"verification_uri": "javascript:alert(1)"},
            {"verification_uri": "http://evil.example/"},
            {"verification_uri": None},
            {"user_code": "x" * 5000},
            {"user_code": None},
            {"device_code": None},
        ],
    )
    async def test_bad_codes(self, bank: Bank, changes: dict[str, Any]) -> None:
        """Codes that cannot be shown, and pages that nobody should be sent to, begin nothing."""
        good = {"device_code": "d", "user_code": "U", "verification_uri": "https://bank.example/", "expires_in": 60}
        body = json.dumps(good | changes).encode()
        bank.fake.answer_with(body, endpoint="device_authorization")
        with pytest.raises(AuthorizationFailed) as failure:
            await self.start(bank)
        assert failure.value.reason == f"no_{next(iter(changes))}"
