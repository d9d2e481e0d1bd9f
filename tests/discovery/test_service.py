"""Metadata and registrations, fetched, kept and shared: on both databases, against a server on loopback."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from grantkeeper.clock import SystemClock
from grantkeeper.crypto import RootKeyset
from grantkeeper.errors import ClientRejected, ConfigError, ProviderProtocolError, ProviderUnavailable
from grantkeeper.testing import FakeClock
from tests.discovery.processes import Running, meet_at, register_in_process, running
from tests.discovery.servers import Server

WELL_KNOWN = "GET /.well-known/oauth-authorization-server"
RESOURCE_WELL_KNOWN = "GET /.well-known/oauth-protected-resource/mcp"
PUT, POST, DELETE = "PUT /register/client-1", "POST /register", "DELETE /register/client-1"
HOURS = 3600.0


def two_lines(server: Server) -> dict[str, Any]:
    """The settings of a provider by its issuer."""
    return {"issuer": server.url, "client_id": "id-1"}


async def look(process: Running, name: str = "acme") -> None:
    """Ask for a client as every caller does, and wait for what that begins beside."""
    await process.discovery.ensure(name)
    await process.discovery.caught_up()


async def test_asked_once_and_kept(database_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """However often a client is wanted, its server is asked once; the next process does not ask at all."""
    async with running(database_url, root, clock, acme=two_lines(server)) as process:
        assert process.clients.offers() == []
        await asyncio.gather(*(process.discovery.ensure("acme") for _ in range(20)))
        await process.discovery.ensure("acme")
        assert process.clients.offered("acme").token_url == f"{server.url}/token"
    async with running(database_url, root, clock, acme=two_lines(server)) as process:
        assert [name for name, _ in process.clients.offers()] == ["acme"]
        await process.discovery.ensure("acme")
    assert server.counts[WELL_KNOWN] == 1


async def test_what_is_known_outlives_its_server(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """Days after, with nobody answering, over a restart: the client is what it was, and nobody waits."""
    async with running(database_url, root, clock, acme=two_lines(server)) as process:
        await process.discovery.ensure("acme")
    server.status = 503
    clock.advance(72 * HOURS)
    async with running(database_url, root, clock, acme=two_lines(server)) as process:
        clock.advance(60)
        await look(process)
        assert process.clients.problems("acme") == []
        assert process.clients.registered("acme", "id-1").token_url == f"{server.url}/token"
        asked = server.counts[WELL_KNOWN]
        clock.advance(120)
        await look(process)
        assert server.counts[WELL_KNOWN] == asked


@pytest.mark.parametrize(
    "changes",
    [{"issuer": "https://evil.example"}, {"token_endpoint": "http://evil.example/token"}, {"token_endpoint": 7}],
)
async def test_a_document_that_turned_bad_is_not_taken(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server, changes: dict[str, Any]
) -> None:
    """The kept one stays, and the reason is in the error of whoever asks on purpose."""
    async with running(sqlite_url, root, clock, acme=two_lines(server)) as process:
        await process.discovery.ensure("acme")
        assert server.document is not None
        server.document |= changes
        clock.advance(25 * HOURS)
        await look(process)
        with pytest.raises(ProviderProtocolError):
            await process.discovery.renew("acme")
        assert process.clients.offered("acme").token_url == f"{server.url}/token"


async def test_renewed_after_a_day(database_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """Beside what goes on, and by one process: the other takes over what the first has stored."""
    settings = two_lines(server)
    async with running(database_url, root, clock, acme=settings) as one:
        await one.discovery.ensure("acme")
        async with running(database_url, root, clock, acme=settings) as other:
            assert server.document is not None
            server.document["token_endpoint"] = f"{server.url}/new-token"
            clock.advance(23 * HOURS)
            await look(one)
            assert server.counts[WELL_KNOWN] == 1
            clock.advance(2 * HOURS)
            await look(one)
            await look(other)
            assert server.counts[WELL_KNOWN] == 2
            for process in (one, other):
                assert process.clients.offered("acme").token_url == f"{server.url}/new-token"


async def test_nobody_answers(database_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """The reason stands where the operator looks; a refresh waits; it is tried again, but not at every call."""
    server.status = 503
    async with running(database_url, root, clock, acme=two_lines(server)) as process:
        await process.discovery.ensure("acme")
        (problem,) = process.clients.problems("acme")
        assert "HTTP 503" in problem
        with pytest.raises(ProviderUnavailable) as caught:
            process.clients.registered("acme", "id-1")
        assert caught.value.sent is False
        asked = server.counts[WELL_KNOWN]
        await process.discovery.ensure("acme")
        assert server.counts[WELL_KNOWN] == asked
        server.status = 200
        clock.advance(31)
        await process.discovery.ensure("acme")
        assert process.clients.problems("acme") == []


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "HTTP 404"),
        ({"issuer": "https://other.example"}, "issuer is 'https://other.example'"),
        ({"issuer": ""}, "issuer is missing"),
    ],
)
async def test_what_cannot_be_used_says_why(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server, document: Any, problem: str
) -> None:
    """A document that is wrong tells more than those that are missing."""
    server.document = document
    async with running(sqlite_url, root, clock, acme=two_lines(server)) as process:
        await process.discovery.ensure("acme")
        assert problem in process.clients.problems("acme")[0]


async def test_another_issuer_in_the_settings(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """What was kept of the issuer before is not used for the next."""
    async with running(sqlite_url, root, clock, acme=two_lines(server)) as process:
        await process.discovery.ensure("acme")
    settings = {"issuer": f"{server.url}/other", "client_id": "id-1"}
    async with running(sqlite_url, root, clock, acme=settings) as process:
        assert process.clients.pending("acme")


async def test_the_loop_needs_nothing_to_find(sqlite_url: str, root: RootKeyset, clock: FakeClock) -> None:
    """Where all is in the definitions it ends, and asks nobody."""
    async with running(sqlite_url, root, clock, xero={"client_id": "a", "client_secret": "b"}) as process:
        await process.discovery.run()
        with pytest.raises(ConfigError):
            await process.discovery.renew("xero")


async def test_the_loop_completes_what_is_missing(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """Without anybody asking; and again after a server that did not answer."""
    server.status = 503
    async with running(sqlite_url, root, clock, acme=two_lines(server)) as process:
        loop = asyncio.create_task(process.discovery.run())
        await clock.wait_for_sleepers()
        assert process.clients.offers() == []
        server.status = 200
        clock.advance(60)
        await clock.wait_for_sleepers()
        assert process.clients.offers() != []
        loop.cancel()


async def test_a_resource_by_its_url_alone(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """RFC 9728 leads to the server, registration to a client; the token is for that resource (RFC 8707)."""
    async with running(database_url, root, clock, files={"resource": f"{server.url}/mcp"}) as process:
        await process.discovery.ensure("files")
        client = process.clients.offered("files")
        assert (client.issuer, client.client_id) == (server.url, "client-1")
        assert (client.client_secret, client.authentication) == ("secret-of-client-1", "client_secret_basic")
        assert (client.resources, client.scopes) == ((f"{server.url}/mcp",), ("files:read",))
    async with running(database_url, root, clock, files={"resource": f"{server.url}/mcp"}) as process:
        assert process.clients.offered("files") == client
    assert (server.counts[RESOURCE_WELL_KNOWN], server.counts[POST]) == (1, 1)


async def test_a_challenge_leads_elsewhere(sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """The challenge of the resource says where its metadata are, and which scopes it wants (RFC 9728 §5.1)."""
    server.challenge = f'Bearer resource_metadata="{server.url}/elsewhere", scope="files:write"'
    async with running(sqlite_url, root, clock, files={"resource": f"{server.url}/mcp"}) as process:
        await process.discovery.ensure("files")
        assert process.clients.offered("files").scopes == ("files:write",)
    assert (server.counts["GET /elsewhere"], server.counts[RESOURCE_WELL_KNOWN]) == (1, 0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"resource": "https://other.example/mcp"}, "resource is 'https://other.example/mcp'"),
        ({"authorization_servers": []}, "names no authorization server"),
        ({"authorization_servers": ["http://evil.example"]}, "authorization_servers"),
    ],
)
async def test_a_resource_that_cannot_be_believed(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server, changes: dict[str, Any], problem: str
) -> None:
    """One that speaks for another, or sends us nowhere, is a problem that says so."""
    assert server.resource is not None
    server.resource |= changes
    async with running(sqlite_url, root, clock, files={"resource": f"{server.url}/mcp"}) as process:
        await process.discovery.ensure("files")
        assert problem in process.clients.problems("files")[0]


async def test_a_challenge_to_plain_http_is_refused(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """A resource cannot have its metadata fetched without TLS."""
    server.challenge = 'Bearer resource_metadata="http://evil.example/x"'
    async with running(sqlite_url, root, clock, files={"resource": f"{server.url}/mcp"}) as process:
        await process.discovery.ensure("files")
        assert "must start with https" in process.clients.problems("files")[0]


async def test_metadata_at_the_root_of_the_host(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """An MCP server may describe its whole host; then the token is for the host, as it names itself."""
    origin = server.url
    document = {"resource": origin, "authorization_servers": [origin]}
    server.resource = None
    server.more["/.well-known/oauth-protected-resource"] = document
    async with running(sqlite_url, root, clock, files={"resource": f"{origin}/mcp"}) as process:
        await process.discovery.ensure("files")
        assert process.clients.offered("files").resources == (origin,)


async def test_a_resource_that_says_nothing_needs_an_issuer(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """With the issuer in the settings, a resource without metadata is still named in every request."""
    server.resource = None
    settings = {"resource": f"{server.url}/mcp", **two_lines(server)}
    async with running(sqlite_url, root, clock, files=settings) as process:
        await process.discovery.ensure("files")
        assert process.clients.offered("files").resources == (f"{server.url}/mcp",)


async def test_a_resource_that_changes_its_server_is_not_followed(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """What was granted belongs to the server before: it goes on, and the operator is told what to do."""
    async with running(sqlite_url, root, clock, files={"resource": f"{server.url}/mcp"}) as process:
        await process.discovery.ensure("files")
        assert server.resource is not None
        server.resource["authorization_servers"] = ["https://evil.example"]
        clock.advance(25 * HOURS)
        await look(process, "files")
        assert process.clients.offered("files").issuer == server.url
        with pytest.raises(ProviderProtocolError, match="providers unregister"):
            await process.discovery.renew("files")


async def test_two_processes_register_once(database_url: str, root_text: str, server: Server) -> None:
    """Both begin together, one registers, both are the same client."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, meet_at, (context.Barrier(2),)) as executor:
        loop = asyncio.get_running_loop()
        work = (loop.run_in_executor(executor, register_in_process, database_url, root_text, server.url) for _ in "ab")
        assert await asyncio.gather(*work) == ["client-1", "client-1"]
    assert server.counts[POST] == 1


async def test_who_comes_second_waits_for_the_first(database_url: str, root: RootKeyset, server: Server) -> None:
    """While one waits for the server's answer, another asks nothing and then has the same client."""
    server.hold = True
    settings = {"issuer": server.url}
    async with (
        running(database_url, root, SystemClock(), acme=settings) as one,
        running(database_url, root, SystemClock(), acme=settings) as other,
    ):
        tasks = [asyncio.create_task(process.discovery.ensure("acme")) for process in (one, other)]
        await server.arrived.wait()
        server.released.set()
        await asyncio.gather(*tasks)
        assert one.clients.offered("acme") == other.clients.offered("acme")
    assert server.counts[POST] == 1


async def test_a_claim_of_a_process_that_died_lapses(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """It keeps others from registering for five minutes, and no longer."""
    async with running(database_url, root, clock, acme={"issuer": server.url}) as process:
        now = clock.now()
        assert await process.store.claim_registration("acme", server.url, "dead", now, now + 300_000_000)
        assert not await process.store.claim_registration("acme", server.url, "us", now, now + 300_000_000)
        clock.advance(300)
        await process.discovery.ensure("acme")
        assert process.clients.offered("acme").client_id == "client-1"


async def test_a_refused_registration(database_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """The reason is the client's problem; the claim is given back, so that the next try is not in its own way."""
    server.refuse_registration = (400, {"error": "invalid_client_metadata"})
    async with running(database_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        assert "invalid_client_metadata" in process.clients.problems("acme")[0]
        server.refuse_registration = None
        clock.advance(31)
        await process.discovery.ensure("acme")
        assert process.clients.offered("acme").client_id == "client-1"


async def test_no_secret_is_stored_in_the_clear(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """Neither the client secret nor the registration's token can be read from the row."""
    async with running(database_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        row = await process.database.fetch_one("SELECT * FROM registrations")
        assert row is not None
        whole = b" ".join(str(value).encode() if not isinstance(value, bytes) else value for value in row)
        assert b"client-1" in whole
        assert b"secret-of" not in whole
        assert b"rat-" not in whole


async def test_a_registration_in_another_s_place_does_not_open(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """A sealed registration moved to another provider is refused, and says so."""
    async with running(database_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        await process.database.execute("UPDATE registrations SET provider = 'other'")
    async with running(database_url, root, clock, other={"issuer": server.url}) as process:
        await process.discovery.ensure("other")
        assert "cannot be read" in process.clients.problems("other")[0]
    assert server.counts[POST] == 1


async def test_a_registration_belongs_to_its_issuer(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """At another issuer it is not used: its secret must not go there."""
    async with running(sqlite_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        await process.database.execute("UPDATE registrations SET issuer = 'https://before.example'")
    async with running(sqlite_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        assert "is registered at https://before.example" in process.clients.problems("acme")[0]


async def test_a_client_id_of_the_operator_s_needs_no_registration(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """A registration that is left over, at whatever issuer, is in nobody's way."""
    async with running(sqlite_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        await process.database.execute("UPDATE registrations SET issuer = 'https://before.example'")
    async with running(sqlite_url, root, clock, acme=two_lines(server)) as process:
        assert process.clients.offered("acme").client_id == "id-1"


async def test_an_answer_that_was_not_heard(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """The server may have registered us: nobody tries again before the claim lapses."""
    server.refuse_registration = (502, {})
    async with running(database_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        assert "HTTP 502" in process.clients.problems("acme")[0]
        now = clock.now()
        assert not await process.store.claim_registration("acme", server.url, "another", now, now + 1)
        server.refuse_registration = None
        clock.advance(300)
        await process.discovery.ensure("acme")
        assert process.clients.offered("acme").client_id == "client-1"
    assert server.counts[POST] == 2


async def test_who_was_unregistered_elsewhere_notices(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """Another process ends the registration and makes a new one: this one takes it over."""
    async with running(database_url, root, clock, acme={"issuer": server.url}) as one:
        await one.discovery.ensure("acme")
        async with running(database_url, root, clock, acme={"issuer": server.url}) as other:
            await other.discovery.unregister("acme")
            server.registered["client-1"] = {}
            await other.discovery.ensure("acme")
        clock.advance(60)
        await look(one)
        assert one.clients.offered("acme").client_id == "client-2"


async def test_registering_again_brings_up_to_date(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """The second time the server is told what we are like now (RFC 7592 §2.2); what it changes is kept."""
    async with running(sqlite_url, root, clock, acme={"issuer": server.url}) as process:
        assert (await process.discovery.register("acme"))[1] is True
        server.registration_answer = {"client_secret": "rotated"}
        registration, new = await process.discovery.register("acme")
        assert (registration.client_secret, new) == ("rotated", False)
    assert server.counts[PUT] == 1
    async with running(sqlite_url, root, clock, acme={"issuer": server.url}) as process:
        assert process.clients.offered("acme").client_secret == "rotated"


async def test_a_secret_is_renewed_before_it_ends(
    database_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """A day before its end the server is asked for another, and every process takes it over within a minute."""
    server.registration_answer = {"client_secret_expires_at": clock.now() // 1_000_000 + 30 * 3600}
    settings = {"issuer": server.url}
    async with running(database_url, root, clock, acme=settings) as one:
        await one.discovery.ensure("acme")
        async with running(database_url, root, clock, acme=settings) as other:
            server.registration_answer = {"client_secret": "rotated"}
            clock.advance(5 * HOURS)
            await look(one)
            assert server.counts[PUT] == 0
            clock.advance(2 * HOURS)
            await look(one)
            await look(other)
            for process in (one, other):
                assert process.clients.offered("acme").client_secret == "rotated"
    assert server.counts[PUT] == 1


async def test_unregistering(database_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """The server is told, the row goes, and the client is pending again; a second time there is nothing."""
    async with running(database_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        assert await process.discovery.unregister("acme") is True
        assert server.registered == {}
        assert process.clients.pending("acme")
        assert await process.discovery.unregister("acme") is None
    assert server.counts[DELETE] == 1


async def test_what_the_server_does_not_delete_stays(
    sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server
) -> None:
    """Nobody is left with a client at the server that we no longer know."""
    async with running(sqlite_url, root, clock, acme={"issuer": server.url}) as process:
        await process.discovery.ensure("acme")
        server.refuse_registration = (403, {})
        with pytest.raises(ClientRejected):
            await process.discovery.unregister("acme")
        assert process.clients.offered("acme").client_id == "client-1"


async def test_what_cannot_be_registered(sqlite_url: str, root: RootKeyset, clock: FakeClock, server: Server) -> None:
    """A client that was registered by hand, and a server without a place to register at, are told apart."""
    async with running(sqlite_url, root, clock, acme=two_lines(server)) as process:
        with pytest.raises(ConfigError, match="is a client of"):
            await process.discovery.register("acme")
        assert server.document is not None
        del server.document["registration_endpoint"]
        with pytest.raises(ConfigError, match="no registration endpoint"):
            await process.discovery.register("acme")
    assert server.counts[POST] == 0
