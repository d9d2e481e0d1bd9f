"""A hostile browser, provider or client sends each attack of RFC 9700 at the callback: each is refused with an error
of its own, and nothing is stored. What is attacked in tokens and in metadata is in the files beside this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from grantkeeper.authorize import OtherIdentity
from grantkeeper.testing import Features
from tests.engine.attack_scenes import MALLORY, Bank, bank_world, changed, parameters_of
from tests.engine.scenes import complete, connections_of, redirect_uri
from tests.support.world import CLIENT_ID


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """A bank with PKCE, `iss`, ID tokens and keys."""
    async with bank_world(tmp_path) as bank:
        yield bank


class TestMixUp:
    """RFC 9700 §4.4: the answer of one authorization server passed off as that of another."""

    async def test_another_issuer(self, bank: Bank) -> None:
        """`iss` names somebody else: the code goes to nobody."""
        failure = await bank.refused(changed(await bank.callback(), iss=bank.other.issuer))
        assert failure.reason == "wrong_issuer"
        assert bank.fake.counts["token"] == bank.other.counts["token"] == 0

    @pytest.mark.parametrize("spelling", ["{}/", "{}#", " {}", "{}?"])
    async def test_almost_the_issuer(self, bank: Bank, spelling: str) -> None:
        """Issuers are compared to the letter (RFC 9207 §2.4)."""
        failure = await bank.refused(changed(await bank.callback(), iss=spelling.format(bank.fake.issuer)))
        assert failure.reason == "wrong_issuer"

    async def test_no_issuer(self, bank: Bank) -> None:
        """`iss` is missing though the server promises it: taking it away is the attack."""
        failure = await bank.refused(changed(await bank.callback(), iss=None))
        assert failure.reason == "wrong_issuer"

    async def test_error_of_another_issuer(self, bank: Bank) -> None:
        """Errors are checked as answers are: nobody else may end the attempt with words of their own."""
        denied = bank.fake.deny(await bank.begin())
        failure = await bank.refused(changed(denied, iss=bank.other.issuer))
        assert failure.reason == "wrong_issuer"

    async def test_at_the_redirect_uri_of_another(self, bank: Bank) -> None:
        """The bank's answer arrives where the attacker's belongs: his token endpoint never sees the code."""
        failure = await bank.refused(await bank.callback(), provider="other")
        assert failure.reason == "unknown_state"
        assert bank.other.counts["token"] == 0

    async def test_the_attackers_answer_at_the_banks(self, bank: Bank) -> None:
        """His code with his state at the bank's redirect URI is nobody's."""
        his = bank.other.approve(await bank.begin(provider="other"))
        failure = await bank.refused(his)
        assert failure.reason == "unknown_state"
        assert bank.fake.counts["token"] == 0


class TestCodeInjection:
    """RFC 9700 §4.5: a code of one session slipped into another."""

    async def test_pkce(self, bank: Bank) -> None:
        """The code of another attempt does not fit this attempt's verifier."""
        stolen = parameters_of(await bank.callback(subject=MALLORY))["code"]
        failure = await bank.refused(changed(await bank.callback(), code=stolen))
        assert failure.reason == "invalid_grant"

    async def test_nonce_where_the_server_forgets_pkce(self, bank: Bank) -> None:
        """A server that drops the challenge redeems the injected code; its ID token gives it away."""
        bank.fake.policy.checks_pkce = False
        stolen = parameters_of(await bank.callback(subject=MALLORY))["code"]
        failure = await bank.refused(changed(await bank.callback(), code=stolen))
        assert failure.reason == "id_token_nonce"
        assert bank.fake.counts["token"] == 1

    async def test_nonce_at_reauthorization(self, bank: Bank) -> None:
        """The same against a connection that exists: it keeps its own tokens."""
        connection = await bank.connect()
        bank.fake.policy.checks_pkce = False
        stolen = parameters_of(await bank.callback())["code"]
        failure = await bank.refused(changed(await bank.callback(connection), code=stolen))
        assert failure.reason == "id_token_nonce"
        assert len(await connections_of(bank.world)) == 1

    async def test_verifier_and_challenge_are_of_one_attempt(self, bank: Bank) -> None:
        """No two attempts share verifier, nonce or state."""
        urls = [parameters_of(await bank.begin()) for _ in range(3)]
        for name in ("code_challenge", "nonce", "state"):
            assert len({url[name] for url in urls}) == 3
        assert {url["code_challenge_method"] for url in urls} == {"S256"}


class TestRedirectUri:
    """RFC 9700 §4.1 and §4.11: answers that come another way than they should."""

    async def test_each_provider_has_its_own(self, bank: Bank) -> None:
        """One redirect URI for each authorization server (RFC 9700 §2.1)."""
        ours = [parameters_of(await bank.begin(provider=name))["redirect_uri"] for name in ("bank", "other")]
        assert ours == [redirect_uri("bank"), redirect_uri("other")]

    @pytest.mark.parametrize("name", ["state", "code", "error", "iss"])
    async def test_duplicated_parameter(self, bank: Bank, name: str) -> None:
        """A parameter that comes twice may be read two ways, so it is not read at all (RFC 6749 §3.1)."""
        callback = await bank.callback()
        twice = f"{callback}&{name}=x" if name != "error" else f"{callback}&error=a&error=b"
        failure = await bank.refused(twice)
        assert failure.reason == "malformed_callback"
        assert bank.fake.counts["token"] == 0

    async def test_fragment(self, bank: Bank) -> None:
        """An answer in the fragment, as for scripts, never reaches us: what does is incomplete."""
        failure = await bank.refused((await bank.callback()).replace("?", "#"))
        assert failure.reason == "malformed_callback"

    async def test_access_token_in_the_front_channel(self, bank: Bank) -> None:
        """Tokens in the query are not taken (RFC 9700 §2.1.2)."""
        callback = changed(await bank.callback(), code=None, access_token="slipped-in", token_type="Bearer")
        failure = await bank.refused(callback)
        assert failure.reason == "malformed_callback"


class TestOtherBrowser:
    """RFC 6749 §10.12 and RFC 9700 §4.7: cross-site request forgery and replay."""

    @pytest.mark.parametrize("browser", [None, "m" * 43])
    async def test_in_another_browser(self, bank: Bank, browser: str | None) -> None:
        """An answer is good in the browser that began; the attempt waits for it unharmed."""
        callback = await bank.callback(subject=MALLORY)
        failure = await bank.refused(callback, browser=browser)
        assert failure.reason == "other_browser"
        assert bank.fake.counts["token"] == 0
        await complete(bank.world, callback, provider="bank")

    async def test_replayed(self, bank: Bank) -> None:
        """An answer is good once: the code is not sent again, and the connection it made stays."""
        callback = await bank.callback()
        await complete(bank.world, callback, provider="bank")
        failure = await bank.refused(callback)
        assert failure.reason == "replayed"
        assert bank.fake.counts["token"] == 1

    async def test_state_with_another_code(self, bank: Bank) -> None:
        """A state that was used opens nothing for a fresh code either."""
        callback = await bank.callback()
        await complete(bank.world, callback, provider="bank")
        fresh = parameters_of(await bank.callback(subject=MALLORY))["code"]
        assert (await bank.refused(changed(callback, code=fresh))).reason == "replayed"

    async def test_made_up_state(self, bank: Bank) -> None:
        """A state that we never gave is nobody's."""
        failure = await bank.refused(changed(await bank.callback(), state="s" * 43))
        assert failure.reason == "unknown_state"

    async def test_late(self, bank: Bank) -> None:
        """After ten minutes the attempt is over."""
        callback = await bank.callback()
        bank.clock.advance(600)
        assert (await bank.refused(callback)).reason == "expired"


class TestSignedResponse:
    """JARM: where the provider signs its answers, nothing else is one."""

    @pytest.fixture
    async def bank(self, tmp_path: Path) -> AsyncIterator[Bank]:
        """A bank that signs its answers."""
        features = Features(openid=True, jarm=True)
        async with bank_world(tmp_path, features=features, authorization="signed_response = true") as bank:
            yield bank

    def signed(self, bank: Bank, callback: str, key: ECKey | None = None, **changes: Any) -> str:
        """The callback with its signed response made anew, by the bank's key unless another is given."""
        token = parameters_of(callback)["response"]
        claims = jwt.decode(token, bank.fake.keys.current, algorithms=["ES256"]).claims
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        if key is None:
            return changed(callback, response=bank.fake.keys.sign(kept))
        header = {"alg": "ES256", "kid": bank.fake.keys.current.kid}
        return changed(callback, response=jwt.encode(header, kept, key, algorithms=["ES256"]))

    async def test_good(self, bank: Bank) -> None:
        """As the bank means it, it connects."""
        connection = await bank.connect()
        assert connection.identity == "Ada Lovelace"

    async def test_replaced_by_a_plain_one(self, bank: Bank) -> None:
        """The same answer without the signature is refused, a right code or not."""
        callback = await bank.callback()
        token = parameters_of(callback)["response"]
        claims = jwt.decode(token, bank.fake.keys.current, algorithms=["ES256"]).claims
        plain = {name: str(claims[name]) for name in ("code", "state", "iss")}
        failure = await bank.refused(str(httpx2.URL(redirect_uri("bank"), params=plain)))
        assert failure.reason == "unsigned_response"
        assert bank.fake.counts["token"] == 0

    async def test_twice(self, bank: Bank) -> None:
        """Two responses are none."""
        callback = await bank.callback()
        failure = await bank.refused(f"{callback}&response={parameters_of(callback)['response']}")
        assert failure.reason == "unsigned_response"

    async def test_plain_parameters_beside_it(self, bank: Bank) -> None:
        """What stands beside the signed response counts for nothing."""
        denied = bank.fake.deny(await bank.begin())
        code = jwt.decode(
            parameters_of(await bank.callback(subject=MALLORY))["response"],
            bank.fake.keys.current,
            algorithms=["ES256"],
        ).claims["code"]
        failure = await bank.refused(changed(denied, code=code))
        assert failure.reason == "denied"
        assert bank.fake.counts["token"] == 0

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"iss": "https://evil.example"}, "jarm_iss"),
            ({"iss": None}, "jarm_iss"),
            ({"aud": "another-client"}, "jarm_aud"),
            ({"aud": [CLIENT_ID, "another-client"]}, "jarm_aud"),
            ({"exp": 1}, "jarm_exp"),
            ({"exp": None}, "jarm_exp"),
            ({"state": None}, "malformed_callback"),
            ({"state": ["a", "b"]}, "jarm_malformed"),
        ],
    )
    async def test_not_for_us(self, bank: Bank, changes: dict[str, Any], reason: str) -> None:
        """Genuine, but of another server, for another client, or of another time."""
        failure = await bank.refused(self.signed(bank, await bank.callback(), **changes))
        assert failure.reason == reason

    async def test_forged(self, bank: Bank) -> None:
        """Signed by another key under the bank's key id, or by nobody."""
        callback = await bank.callback()
        forged = self.signed(bank, callback, ECKey.generate_key("P-256"))
        assert (await bank.refused(forged)).reason == "jarm_signature"
        payload = parameters_of(callback)["response"].split(".")[1]
        unsigned = changed(callback, response=f"eyJhbGciOiJub25lIn0.{payload}.")
        assert (await bank.refused(unsigned)).reason == "jarm_alg"


class TestReauthorization:
    """A connection is its person's: nobody else's grant is put in its place."""

    async def test_silent_swap(self, bank: Bank) -> None:
        """Somebody else signs in at the bank: the connection keeps its grant, and its user is asked."""
        connection = await bank.connect()
        failure = await bank.refused(await bank.callback(connection, subject=MALLORY))
        assert isinstance(failure, OtherIdentity)
        assert failure.reason == "other_identity"

    async def test_swap_by_a_nameless_answer(self, bank: Bank) -> None:
        """A bank that suddenly does not say who signed in is not believed to mean the same person."""
        connection = await bank.connect()
        bank.fake.policy.omit.add("id_token")
        failure = await bank.refused(await bank.callback(connection, subject=MALLORY))
        assert failure.reason == "id_token_missing"

    async def test_userinfo_of_another(self, bank: Bank) -> None:
        """The ID token names one person, /userinfo another (OpenID Connect Core §5.3.2): neither is believed."""
        bank.fake.policy.userinfo_claims["sub"] = MALLORY
        failure = await bank.refused(await bank.callback())
        assert failure.reason == "userinfo_subject"


class TestScopes:
    """RFC 6749 §3.3: the server decides; what it decided is what is shown."""

    async def test_narrowed(self, bank: Bank) -> None:
        """Fewer scopes than asked for are stored as they are, and what is missing is told."""
        bank.fake.policy.override["scope"] = "openid"
        completed = await complete(bank.world, await bank.callback(), provider="bank")
        assert completed.connection.scopes == ("openid",)
        assert completed.refused_scopes == ("profile",)

    async def test_widened(self, bank: Bank) -> None:
        """More scopes than asked for are not hidden from their owner."""
        bank.fake.policy.override["scope"] = "openid profile payments"
        completed = await complete(bank.world, await bank.callback(), provider="bank")
        assert completed.connection.scopes == ("openid", "profile", "payments")
        [shown] = await connections_of(bank.world)
        assert "payments" in str(shown)
