"""Metadata that lie: of another issuer, with endpoints inside our network, with weaker PKCE, with somebody's keys.
Each is refused with a problem of its own before anybody is asked, or a browser sent, anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from grantkeeper.clock import DAY, SECOND
from grantkeeper.errors import AddressRefused, AuthorizationFailed, NotFound, ProviderProtocolError, Unavailable
from grantkeeper.testing import FakeClock, FakeProvider, Features
from grantkeeper.testing.loopback import LoopbackServer
from grantkeeper.testing.server import ProviderServer
from tests.engine.attack_scenes import Bank, bank_client, bank_world, changed
from tests.engine.scenes import connections_of
from tests.support.provider_client import plain_client
from tests.support.world import CLIENT_ID, CLIENT_SECRET, open_world

WELL_KNOWN = (".well-known/oauth-authorization-server", ".well-known/openid-configuration")
RESOURCE_WELL_KNOWN = ".well-known/oauth-protected-resource"
EVIL = "https://evil.example"


class Inside(LoopbackServer):
    """Something in our own network that nobody outside should reach; counts who tries."""

    def __init__(self) -> None:
        super().__init__(host="127.0.0.2")
        self.visits = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    """That, listening."""
    async with Inside() as inside:
        yield inside


@asynccontextmanager
async def discovered(
    folder: Path,
    *,
    features: Features | None = None,
    metadata: dict[str, Any] | None = None,
    lies: dict[str, Any] | None = None,
    networks: Sequence[str] = ("127.0.0.1",),
    client: Mapping[str, str | None] = MappingProxyType({}),
) -> AsyncIterator[Bank]:
    """The product, where the provider `bank` is an issuer and nothing else, or what `client` says instead.

    It lies about itself as `metadata` says, and its sample resource as `lies` says.
    """
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ProviderServer()) for _ in range(2)]
        fakes = [
            FakeProvider(server.url, [bank_client("bank")], clock, features=features or Features(openid=True))
            for server in servers
        ]
        for server, fake in zip(servers, fakes, strict=True):
            server.app = fake
            stack.callback(fake.close)
        bank, other = fakes
        bank.policy.metadata |= metadata or {}
        if lies is not None:
            document = {"resource": f"{bank.issuer}/mcp", "authorization_servers": [bank.issuer]} | lies
            told = msgspec.json.encode({name: value for name, value in document.items() if value is not None})
            for place in (RESOURCE_WELL_KNOWN, f"{RESOURCE_WELL_KNOWN}/mcp"):
                bank.answer_with(told, endpoint=place, times=100)
        given = {"issuer": bank.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **client}
        settings = {name: value.format(issuer=bank.issuer) for name, value in given.items() if value is not None}
        world = await stack.enter_async_context(
            open_world(
                folder,
                f"sqlite:///{folder / 'grantkeeper.sqlite3'}",
                clock=clock,
                provider_networks=list(networks),
                clients={"bank": settings},
            )
        )
        await world.services.discovery.ensure("bank")
        yield Bank(world, bank, other, clock)


async def problem_of(bank: Bank) -> str:
    """Why the bank is not offered; nobody can begin, and nothing was asked of it but its metadata."""
    with pytest.raises((NotFound, Unavailable)):
        await bank.begin()
    assert await connections_of(bank.world) == []
    assert set(bank.fake.counts) <= set(WELL_KNOWN)
    assert not bank.other.counts
    [problem] = bank.world.services.clients.problems("bank")
    return problem


async def test_good(tmp_path: Path) -> None:
    """Two lines of settings and a server that tells the truth make a connection, with `iss` and PKCE in force."""
    async with discovered(tmp_path) as bank:
        connection = await bank.connect()
        assert connection.subject == "ada-lovelace"
        failure = await bank.refused(changed(await bank.callback(), iss=None))
        assert failure.reason == "wrong_issuer"


class TestIssuer:
    """RFC 8414 §3.3: metadata are of the very issuer that was asked for."""

    @pytest.mark.parametrize("issuer", [EVIL, "{}/", "{}/tenant", "", 7, None])
    async def test_another(self, tmp_path: Path, issuer: object) -> None:
        """Another issuer, almost the issuer, or none."""
        async with discovered(tmp_path) as honest:
            named = issuer.format(honest.fake.issuer) if isinstance(issuer, str) else issuer
            honest.fake.policy.metadata["issuer"] = named
            with pytest.raises(ProviderProtocolError) as failure:
                await honest.world.services.discovery.renew("bank")
            assert failure.value.code == "metadata_mismatch"

    async def test_never_known(self, tmp_path: Path) -> None:
        """A server that lies from the first day is not offered."""
        async with discovered(tmp_path, metadata={"issuer": EVIL}) as bank:
            assert f"issuer is '{EVIL}', not what was asked for" in await problem_of(bank)

    async def test_later(self, tmp_path: Path) -> None:
        """A server that is taken over, and says so by another issuer, changes nothing of what is known."""
        async with discovered(tmp_path) as bank:
            connection = await bank.connect()
            bank.fake.policy.metadata |= {"issuer": EVIL, "token_endpoint": f"{bank.other.issuer}/token"}
            bank.clock.advance(2 * DAY / SECOND)
            with pytest.raises(ProviderProtocolError):
                await bank.world.services.discovery.renew("bank")
            assert (await bank.world.read_token(connection)).status_code == 200
            assert bank.other.counts["token"] == 0

    @pytest.mark.parametrize("status", [301, 302, 307])
    async def test_redirect(self, tmp_path: Path, status: int) -> None:
        """Metadata are where they must be: a redirect to another server's is not followed."""
        async with discovered(tmp_path) as bank:
            location = [("location", f"{bank.other.issuer}/.well-known/oauth-authorization-server")]
            for endpoint in WELL_KNOWN:
                bank.fake.answer_with(b"{}", status=status, headers=location, endpoint=endpoint)
            with pytest.raises(ProviderProtocolError, match="redirect"):
                await bank.world.services.discovery.renew("bank")
            assert not bank.other.counts

    @pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"issuer":', b"{" + b" " * 300_000 + b"}"])
    async def test_unreadable(self, tmp_path: Path, body: bytes) -> None:
        """A page, half a document, or a huge one is none."""
        async with discovered(tmp_path) as bank:
            for endpoint in WELL_KNOWN:
                bank.fake.answer_with(body, endpoint=endpoint)
            with pytest.raises(ProviderProtocolError):
                await bank.world.services.discovery.renew("bank")
            await bank.connect()


class TestPkceDowngrade:
    """RFC 9700 §2.1.1 and §4.8: a server without S256 lets codes be injected."""

    @pytest.mark.parametrize("methods", [["plain"], [], ["s256"]])
    async def test_not_offered(self, tmp_path: Path, methods: list[str]) -> None:
        """Who announces no S256 is not connected at all, rather than with less."""
        async with discovered(tmp_path, metadata={"code_challenge_methods_supported": methods}) as bank:
            assert "lacks S256" in await problem_of(bank)

    async def test_not_announced(self, tmp_path: Path) -> None:
        """Who says nothing about it is sent S256 all the same."""
        async with discovered(tmp_path, metadata={"code_challenge_methods_supported": None}) as bank:
            assert "code_challenge_method=S256" in await bank.begin()


class TestEndpointsInside:
    """Server-side request forgery through metadata: what they name is checked as what an operator names."""

    @pytest.mark.parametrize(
        "member",
        [
            "authorization_endpoint",
            "token_endpoint",
            "revocation_endpoint",
            "userinfo_endpoint",
            "jwks_uri",
            "registration_endpoint",
            "pushed_authorization_request_endpoint",
            "device_authorization_endpoint",
        ],
    )
    async def test_plain_http(self, tmp_path: Path, member: str) -> None:
        """http to anything but this machine is refused at once, whichever endpoint it is."""
        async with discovered(tmp_path, metadata={member: "http://169.254.169.254/latest/meta-data"}) as bank:
            assert f"{member} must start with https://" in await problem_of(bank)

    @pytest.mark.parametrize(
        "url",
        [
            "http://10.0.0.8/token",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/",
            "javascript:alert(1)",
            "https://user:secret@bank.example/token",
            "https://bank.example/token#fragment",
            "https:///token",
            "https://[::1/token",
            "https://bank.example/to ken",
            "https://bank.example/{client_id}",
            "//bank.example/token",
            "/token",
        ],
    )
    async def test_no_url_of_a_provider(self, tmp_path: Path, url: str) -> None:
        """Other schemes, credentials, fragments, placeholders and what is no URL at all."""
        async with discovered(tmp_path, metadata={"token_endpoint": url}) as bank:
            problem = await problem_of(bank)
            assert "token_endpoint" in problem
            assert "secret" not in problem

    @pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "0x7f.2", "[::ffff:127.0.0.2]"])
    async def test_private_token_endpoint(self, tmp_path: Path, inside: Inside, host: str) -> None:
        """https to an address inside, however it is spelled: no connection is opened, and no code sent."""
        lie = {"token_endpoint": f"https://{host}:{inside.port}/token"}
        async with discovered(tmp_path, metadata=lie) as bank:
            failure = await bank.refused(await bank.callback())
            assert failure.reason == "address_refused"
            assert isinstance(failure.__context__, AddressRefused)
            assert inside.visits == 0

    async def test_allowed_by_the_operator(self, tmp_path: Path, inside: Inside) -> None:
        """The same address is connected to once the operator allows it; what answers there speaks no TLS."""
        lie = {"token_endpoint": f"https://127.0.0.2:{inside.port}/token"}
        async with discovered(tmp_path, metadata=lie, networks=("127.0.0.1", "127.0.0.2")) as bank:
            failure = await bank.refused(await bank.callback())
            assert failure.reason == "provider_down"
            assert inside.visits == 1

    async def test_private_pushed_endpoint(self, tmp_path: Path, inside: Inside) -> None:
        """Nor is a request pushed inside."""
        lie = {
            "pushed_authorization_request_endpoint": f"https://127.0.0.2:{inside.port}/par",
            "require_pushed_authorization_requests": True,
        }
        async with discovered(tmp_path, metadata=lie) as bank:
            with pytest.raises(AuthorizationFailed) as failure:
                await bank.begin()
            assert failure.value.reason == "address_refused"
            assert isinstance(failure.value.__context__, AddressRefused)
            assert inside.visits == 0

    async def test_private_keys(self, tmp_path: Path, inside: Inside) -> None:
        """Nor are keys fetched inside: without them no ID token is believed."""
        async with discovered(tmp_path, metadata={"jwks_uri": f"https://127.0.0.2:{inside.port}/jwks"}) as bank:
            failure = await bank.refused(await bank.callback())
            assert failure.reason == "jwks"
            assert inside.visits == 0

    async def test_private_registration(self, tmp_path: Path, inside: Inside) -> None:
        """Nor do we register inside."""
        lie = {"registration_endpoint": f"https://127.0.0.2:{inside.port}/register"}
        async with discovered(tmp_path, metadata=lie, client={"client_id": None, "client_secret": None}) as bank:
            assert "127.0.0.2 is a loopback address" in await problem_of(bank)
            assert inside.visits == 0

    async def test_private_issuer(self, tmp_path: Path, inside: Inside) -> None:
        """An issuer inside is the operator's own doing, and refused all the same unless allowed."""
        async with discovered(tmp_path, client={"issuer": f"https://127.0.0.2:{inside.port}"}) as bank:
            assert "127.0.0.2 is a loopback address" in await problem_of(bank)
            assert inside.visits == 0


class TestKeys:
    """Whose keys count."""

    async def test_keys_at_the_attackers(self, tmp_path: Path) -> None:
        """Metadata that move the keys elsewhere do not move those that the definition names."""
        async with bank_world(tmp_path, top="discovery = true") as bank:
            bank.fake.policy.metadata["jwks_uri"] = f"{bank.other.issuer}/jwks"
            await bank.world.services.discovery.renew("bank")
            await bank.connect()
            url = await bank.begin()
            bank.fake.policy.override["id_token"] = bank.other.keys.sign(bank.claims(url))
            failure = await bank.refused(bank.fake.approve(url))
            assert failure.reason == "id_token_key"
            assert bank.other.counts["jwks"] == 0

    @pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"keys": 7}', b'{"keys": [7]}', b"{}"])
    async def test_unreadable(self, tmp_path: Path, body: bytes) -> None:
        """Keys that cannot be read verify nothing."""
        async with discovered(tmp_path) as bank:
            bank.fake.answer_with(body, endpoint="jwks")
            failure = await bank.refused(await bank.callback())
            assert failure.reason in ("jwks", "id_token_key")

    async def test_weak_key(self, tmp_path: Path) -> None:
        """A key for signatures that anybody can make is no key: HMAC among the public keys (RFC 8725 §3.1)."""
        async with discovered(tmp_path) as bank:
            bank.fake.answer_with(b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k"}]}', endpoint="jwks")
            url = await bank.begin()
            key = ECKey.generate_key("P-256")
            forged = jwt.encode({"alg": "ES256", "kid": "k"}, bank.claims(url), key, algorithms=["ES256"])
            bank.fake.policy.override["id_token"] = forged
            failure = await bank.refused(bank.fake.approve(url))
            assert failure.reason in ("jwks", "id_token_key")


class TestResource:
    """RFC 9728 §7: a resource that is connected by its URL alone speaks for itself only."""

    FEATURES = Features(
        openid=True, sample_resource=True, resource_indicators=True, registration=True, public_clients=True
    )
    BY_URL: Mapping[str, str | None] = {
        "issuer": None,
        "client_id": None,
        "client_secret": None,
        "resource": "{issuer}/mcp",
    }

    async def test_good(self, tmp_path: Path) -> None:
        """Its URL is enough: we register, connect, and the token opens it and is for nobody else."""
        async with discovered(tmp_path, features=self.FEATURES, client=self.BY_URL) as bank:
            await bank.connect()
            [(_, tokens)] = await bank.stored()
            assert bank.fake.token_facts(tokens.access_token).audience == (f"{bank.fake.issuer}/mcp",)
            async with plain_client() as http:
                headers = {"authorization": f"Bearer {tokens.access_token}"}
                opened = await http.get(f"{bank.fake.issuer}/mcp", headers=headers)
            assert opened.json()["sub"] == "ada-lovelace"

    @pytest.mark.parametrize(
        ("document", "problem"),
        [
            ({"resource": f"{EVIL}/mcp"}, "not what was asked for"),
            ({"resource": None}, "resource is missing"),
            ({"authorization_servers": []}, "names no authorization server"),
            ({"authorization_servers": ["http://10.0.0.8"]}, "must start with https://"),
        ],
    )
    async def test_lies(self, tmp_path: Path, document: dict[str, Any], problem: str) -> None:
        """It names another resource, no server, or one inside: nobody registers, and nobody is asked."""
        async with discovered(tmp_path, features=self.FEATURES, lies=document, client=self.BY_URL) as bank:
            [told] = bank.world.services.clients.problems("bank")
            assert problem in told
            assert bank.fake.counts["register"] == 0
            with pytest.raises((NotFound, Unavailable)):
                await bank.begin()
