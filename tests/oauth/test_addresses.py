"""Which addresses are connected to: no spelling, name, answer of a name server or redirect leads into our network."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grantkeeper import logs
from grantkeeper.errors import AddressRefused, ClientRejected, ProviderUnavailable
from grantkeeper.oauth.address import allow, checked, refused_address
from grantkeeper.oauth.http import ProviderHttp
from grantkeeper.oauth.message import Request
from grantkeeper.oauth.token import may_have_spent
from tests.support.dns import DnsServer

SPELLINGS = [
    # Loopback, as resolvers and browsers read it.
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "127.127.127.127",
    "2130706433",
    "2130706433.",
    "02130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0x0.0x0.0x1",
    "0x7f.1",
    "0x7f.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0177.1",
    "00000177.0.0.1",
    "127.0.0.001",
    "127.000.000.001",
    "127.0.0.0x1",
    "4294967295",
    "4294967297",
    "127.0.0.1.1",
    "0",
    "0x",
    "0.0.0.0",
    "0.0.0.1",
    "localhost",
    "LOCALHOST",
    # The same by other characters, encodings and parts of a URL.
    "１２７.０.０.１",  # noqa: RUF001
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127．0．0．1",  # noqa: RUF001
    "127｡0｡0｡1",
    "127.0.0.\u00ad1",
    "127.0.0.1\u200b",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ｌｏｃａｌｈｏｓｔ",  # noqa: RUF001
    "127%2e0%2e0%2e1",
    "%31%32%37.0.0.1",
    "127.0.0.1%00.idp.example.com",
    "idp.example.com\\127.0.0.1",
    "127.0.0.1\\.idp.example.com",
    "idp.example.com@127.0.0.1",
    "idp.example.com:443@127.0.0.1",
    "127.0.0.1\\@idp.example.com",
    "127.0.0.1 @idp.example.com",
    "127.0.0.1%20",
    "127.0.0.1%23.idp.example.com",
    "-127.0.0.1",
    "+127.0.0.1",
    "127..0.0.1",
    "127.0.0.1..",
    # IPv6, and IPv4 in it.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:7F00:0001]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[::ffff:10.0.0.8]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[64:ff9b:1:7f00:1::]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    "[2001:0:0:0:0:0:80ff:fffe]",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25eth0]",
    "[2606:4700::1%25eth0]",
    "[fe80::1]",
    "[febf::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    "[ff02::1]",
    "[100::1]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[4000::1]",
    # Private, shared and reserved networks.
    "10.0.0.8",
    "10.255.255.255",
    "012.0.0.8",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.1",
    "100.64.0.1",
    "100.127.255.254",
    "169.254.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    # Where clouds tell a machine its secrets.
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
]

REFUSED = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",
    )
]
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")  # noqa: RUF001


def get(url: str) -> Request:
    """The simplest request."""
    return Request(method="GET", url=url, headers={})


class Listener:
    """A server that says which addresses were connected to, and answers 204."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        self.port = 0
        self.answer = b"HTTP/1.1 204 No Content\r\n\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client leaves."""
        self.visits.append(writer.get_extra_info("sockname")[0])
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self.answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(*addresses: str) -> AsyncIterator[Listener]:
    """A listener on one port of several loopback addresses."""
    listener = Listener()
    async with AsyncExitStack() as stack:
        for address in addresses:
            server = await asyncio.start_server(listener.serve, address, listener.port)
            await stack.enter_async_context(server)
            listener.port = server.sockets[0].getsockname()[1]
        yield listener


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """127.0.0.2 stands for a public address where a test allows it; 127.0.0.1 is what must not be reached."""
    async with listening("127.0.0.1", "127.0.0.2") as listener:
        yield listener


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """A name server in the hands of whoever attacks."""
    async with DnsServer() as dns:
        yield dns


@pytest.fixture
async def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every host that the event loop was told to connect to."""
    loop, hosts = asyncio.get_running_loop(), list[str]()
    connect = loop.create_connection

    async def noted(factory: Any, host: str, *arguments: Any, **options: Any) -> Any:
        hosts.append(host)
        return await connect(factory, host, *arguments, **options)

    monkeypatch.setattr(loop, "create_connection", noted)
    return hosts


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged."""
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    logs.configure("debug", stream)
    yield stream
    logs.configure("warning", sys.__stderr__)
    root.handlers[:] = handlers
    root.setLevel(level)


@asynccontextmanager
async def client(**options: Any) -> AsyncIterator[ProviderHttp]:
    """The product's socket, closed at the end."""
    http = ProviderHttp(20, **options)
    try:
        yield http
    finally:
        await http.close()


async def test_the_list_is_long() -> None:
    """Sixty spellings or more, each once."""
    assert len(SPELLINGS) >= 60
    assert len({*SPELLINGS}) == len(SPELLINGS)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_spelling(spelling: str, scheme: str, attempts: list[str]) -> None:
    """No way to write an address of our network gets a connection, by the real socket and the machine's resolver."""
    async with listening("127.0.0.1") as listener, client() as http:
        with pytest.raises(AddressRefused) as refusal:
            await http.send(get(f"{scheme}://{spelling}:{listener.port}/t"))

    assert not refusal.value.sent
    assert attempts == []
    assert listener.visits == []


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """An address of a refused network, in some spelling."""
    network = draw(st.sampled_from(REFUSED))
    number = draw(st.integers(int(network[0]), int(network[-1])))
    address = IPv4Address(number)
    parts = [*address.packed]
    high, low = number >> 16, number & 0xFFFF
    bases = [draw(st.sampled_from(["{}", "0x{:x}", "0{:o}", "00{:o}", "0X{:X}", "{:03}"])) for _ in parts]
    spellings = [
        str(address),
        f"{address}.",
        str(number),
        f"0x{number:08x}",
        f"0{number:o}",
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{low}",
        ".".join(base.format(part) for base, part in zip(bases, parts, strict=True)),
        str(address).translate(WIDE),
        str(number).translate(WIDE),
        str(address).replace(".", "。"),
        "".join(f"%{ord(character):02x}" for character in str(address)),
        f"[::ffff:{address}]",
        f"[::ffff:{high:x}:{low:x}]",
        f"[{IPv6Address(f'::ffff:{address}').exploded}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[64:ff9b:1::{address}]",
        f"[2002:{high:x}:{low:x}::1]",
        f"[2001:0:{high:x}:{low:x}::]",
        f"user@{address}",
        f"{quote(str(address))}%2e",
    ]
    return draw(st.sampled_from(spellings))


@settings(max_examples=300)
@given(host=spelled())
async def test_any_address_of_a_refused_network(host: str) -> None:
    """Whichever address, whichever spelling: refused, and no name server is asked for it."""
    asked: list[str] = []

    async def resolve(name: str, _port: int) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"]

    async with client(resolve=resolve) as http:
        with pytest.raises(AddressRefused):
            await http.send(get(f"https://{host}/t"))
    assert asked == []


@settings(max_examples=1000)
@given(st.ip_addresses())
def test_what_is_let_through_is_global(address: IPv4Address | IPv6Address) -> None:
    """Whatever is not refused, Python too takes for a global unicast address."""
    if refused_address(str(address)) is None:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "host",
    [
        "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0",
        "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.17",
        "2000::", "2001:200::1", "2001:4860:4860::8888", "2606:4700:4700::1111", "3ffe:ffff::1", "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8", "idp.example.com", "xn--bcher-kva.example", "1.example", "a_b.example.com.",
    ],
)  # fmt: skip
def test_the_public_internet_is_open(host: str) -> None:
    """The neighbours of refused networks, public IPv6, an IPv4 host through NAT64, and names."""
    assert refused_address(host) is None


@pytest.mark.parametrize(
    ("host", "found", "says"),
    [
        ("10.0.0.8", "10.0.0.8", "10.0.0.8 is a private address; allow it with provider_networks"),
        ("::ffff:7f00:1", "::ffff:7f00:1", "127.0.0.1 is a loopback address; allow it with provider_networks"),
        ("a.example", "169.254.169.254", "a.example is at 169.254.169.254, a cloud's metadata address; allow"),
        ("a.example", "100.100.100.200", "a cloud's metadata address"),
        ("a.example", "100.64.1.1", "a carrier's private address"),
        ("a.example", "64:ff9b::a00:8", "a.example is at 64:ff9b::a00:8, a private address behind NAT64"),
        ("a.example", "fe80::1%eth0", "an address on one network interface only"),
        ("127.1", "127.0.0.1", "'127.1' is neither a plain address nor a host name; write it like 192.0.2.1"),
        ("ho\nst", "127.0.0.1", r"'ho\nst' is neither a plain address nor a host name"),
    ],
)
def test_the_message_tells_the_operator(host: str, found: str, says: str) -> None:
    """It names host, address and class, and the setting; the operator must act, and nothing was sent."""
    with pytest.raises(AddressRefused) as refusal:
        checked(host, [found])
    assert says in refusal.value.message
    assert isinstance(refusal.value, ClientRejected)
    assert not may_have_spent(refusal.value, None)
    assert refused_address(host) in (None, refusal.value.message)


@pytest.mark.parametrize(
    ("allowed", "host", "good"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "::1", False),
        ("127.0.0.1", "64:ff9b::127.0.0.1", False),
        ("10.1.0.0/16", "10.1.255.255", True),
        ("10.1.0.0/16", "10.2.0.0", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fc12::1", False),
        ("169.254.169.254", "169.254.169.254", True),
        ("0.0.0.0/0", "10.0.0.8", True),
        ("0.0.0.0/0", "fd12::1", False),
        ("2002::/16", "2002:7f00:1::", True),
        ("localhost", "127.0.0.1", False),
        # An unusual spelling stays one: nobody knows where it leads.
        ("127.0.0.0/8", "127.1", False),
    ],
)
def test_what_the_operator_allows(allowed: str, host: str, good: bool) -> None:
    """Networks and addresses that are allowed, and no others."""
    assert (refused_address(host, allow([allowed])) is None) == good


def test_an_allowed_name() -> None:
    """A name is allowed wherever it is, in any case and with the root's dot; other names are not, at the same place."""
    allowed = allow(["IdP.Internal"])
    for host in ("idp.internal", "idp.internal."):
        assert checked(host, ["10.0.0.8", "::1"], allowed) == ["10.0.0.8", "::1"]
    for host in ("internal", "other.internal", "x.idp.internal", "idp.internal.example"):
        with pytest.raises(AddressRefused):
            checked(host, ["10.0.0.8"], allowed)


def test_what_is_connected_to_is_plain() -> None:
    """An IPv4 address in IPv6's clothes is connected to as the IPv4 address that was checked."""
    assert checked("::ffff:8.8.8.8", ["::ffff:8.8.8.8"]) == ["8.8.8.8"]
    assert checked("a.example", ["8.8.8.8", "2606:4700::1"]) == ["8.8.8.8", "2606:4700::1"]


async def test_a_password_in_a_url_is_shown_nowhere(log: io.StringIO) -> None:
    """Neither in the message nor in the log, though the URL is one that nobody should have written."""
    async with client() as http:
        with pytest.raises(AddressRefused, match="must not carry a user or a password") as refusal:
            await http.send(get("https://user:hush-hush@idp.test/t?code=hush"))
    assert '"idp.test/t"' in log.getvalue()
    assert "hush" not in log.getvalue() + str(refusal.value)


class TestNames:
    """A name server that belongs to somebody else."""

    async def test_rebinding(self, dns: DnsServer, listener: Listener, attempts: list[str]) -> None:
        """A good address for the check and a bad one after it: one look-up serves for both, so the bad is not reached.

        On the next connection it is looked up and checked anew, and refused.
        """
        dns.script("idp.test", ["127.0.0.2"], ["127.0.0.1"])
        url = f"http://idp.test:{listener.port}/t"
        async with client(allowed=["127.0.0.2"], resolve=dns.resolve) as http:
            assert (await http.send(get(url))).status == 204
            assert dns.lookups == {"idp.test": 1}
            assert (attempts, listener.visits) == (["127.0.0.2"], ["127.0.0.2"])
        async with client(allowed=["127.0.0.2"], resolve=dns.resolve) as http:
            with pytest.raises(AddressRefused, match=r"idp\.test is at 127\.0\.0\.1, a loopback address"):
                await http.send(get(url))
        assert dns.lookups == {"idp.test": 2}
        assert (attempts, listener.visits) == (["127.0.0.2"], ["127.0.0.2"])

    async def test_rebinding_from_a_public_address(
        self, dns: DnsServer, listener: Listener, attempts: list[str]
    ) -> None:
        """Nothing allowed: each look-up is checked by itself, whatever the one before has said."""
        dns.script("idp.test", ["192.0.2.1"], ["127.0.0.1"], ["::1"], ["169.254.169.254"])
        async with client(resolve=dns.resolve) as http:
            for _ in range(4):
                with pytest.raises(AddressRefused):
                    await http.send(get(f"http://idp.test:{listener.port}/t"))
        assert dns.lookups == {"idp.test": 4}
        assert (attempts, listener.visits) == ([], [])

    async def test_a_connection_that_is_kept(self, dns: DnsServer, listener: Listener) -> None:
        """It goes on where it was checked to lead, without another look-up."""
        dns.script("idp.test", ["127.0.0.2"], ["127.0.0.1"])
        async with client(allowed=["127.0.0.2"], resolve=dns.resolve) as http:
            for _ in range(3):
                assert (await http.send(get(f"http://idp.test:{listener.port}/t"))).status == 204
        assert dns.lookups == {"idp.test": 1}
        assert listener.visits == ["127.0.0.2"]

    @pytest.mark.parametrize(
        "answer",
        [
            ["8.8.8.8", "127.0.0.1"],
            ["127.0.0.1", "8.8.8.8"],
            ["8.8.8.8", "::1"],
            ["8.8.8.8", "1.1.1.1", "169.254.169.254"],
            ["2606:4700::1", "10.0.0.8"],
            ["8.8.8.8", "::ffff:10.0.0.8"],
        ],
    )
    async def test_mixed(self, dns: DnsServer, listener: Listener, attempts: list[str], answer: list[str]) -> None:
        """One bad address among good ones is enough: not even a good one is tried."""
        dns.script("idp.test", answer)
        async with client(resolve=dns.resolve) as http:
            with pytest.raises(AddressRefused):
                await http.send(get(f"http://idp.test:{listener.port}/t"))
        assert (attempts, listener.visits) == ([], [])

    async def test_another_name(self, dns: DnsServer, listener: Listener, attempts: list[str]) -> None:
        """A name that is an alias, of an alias, of an address inside is checked by that address."""
        dns.script("idp.test", ["alias.test"])
        dns.script("alias.test", ["metadata.test"])
        dns.script("metadata.test", ["169.254.169.254"])
        async with client(resolve=dns.resolve) as http:
            with pytest.raises(AddressRefused, match="cloud's metadata address"):
                await http.send(get(f"http://idp.test:{listener.port}/t"))
            dns.script("metadata.test", ["127.0.0.1"])
            with pytest.raises(AddressRefused, match="loopback"):
                await http.send(get(f"http://idp.test:{listener.port}/t"))
        assert (attempts, listener.visits) == ([], [])

    @pytest.mark.parametrize(
        "name",
        [
            "localhost.",
            "127.0.0.1.nip.test",
            "127-0-0-1.test",
            "7f000001.0a000008.test",
            "metadata.google.internal",
            "0x.test",
        ],
    )
    async def test_names_with_an_address_in_them(self, dns: DnsServer, listener: Listener, name: str) -> None:
        """Such a name is a name, and checked by what it leads to."""
        dns.script(name.rstrip("."), ["127.0.0.1"])
        async with client(resolve=dns.resolve) as http:
            with pytest.raises(AddressRefused, match="loopback"):
                await http.send(get(f"http://{name}:{listener.port}/t"))
        assert dns.lookups == {name.rstrip("."): 1}
        assert listener.visits == []

    async def test_an_allowed_name_is_reached(self, dns: DnsServer, listener: Listener) -> None:
        """The operator's own name leads to a private address, by what its name server says."""
        dns.script("idp.test", ["127.0.0.1"])
        async with client(allowed=["idp.test"], resolve=dns.resolve) as http:
            assert (await http.send(get(f"http://idp.test:{listener.port}/t"))).status == 204
            with pytest.raises(AddressRefused):
                await http.send(get(f"http://127.0.0.1:{listener.port}/t"))
        assert listener.visits == ["127.0.0.1"]

    async def test_the_next_address(self, dns: DnsServer, attempts: list[str]) -> None:
        """Where nobody listens at the first address the next one is tried, in the order of the answer."""
        dns.script("idp.test", ["127.0.0.2", "127.0.0.1"])
        async with listening("127.0.0.1") as listener, client(allowed=["127.0.0.0/8"], resolve=dns.resolve) as http:
            assert (await http.send(get(f"http://idp.test:{listener.port}/t"))).status == 204
        assert attempts == ["127.0.0.2", "127.0.0.1"]
        assert dns.lookups == {"idp.test": 1}

    async def test_nothing_found(self, dns: DnsServer) -> None:
        """A name without addresses may get some: it is tried again, and nobody must act."""

        async def nothing(_host: str, _port: int) -> list[str]:
            return []

        for resolve in (dns.resolve, nothing):
            async with client(resolve=resolve) as http:
                with pytest.raises(ProviderUnavailable, match="ConnectError") as failure:
                    await http.send(get("http://idp.test/t"))
            assert not failure.value.sent

    async def test_the_machines_resolver(self, listener: Listener) -> None:
        """`localhost`, as this machine knows it, by its name and by its addresses."""
        for allowed in (["localhost"], ["127.0.0.0/8", "::1"]):
            async with client(allowed=allowed) as http:
                assert (await http.send(get(f"http://localhost:{listener.port}/t"))).status == 204
        assert listener.visits == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/", "http://169.254.169.254/latest/", "http://127.1/", "//[::1]/"]
)
async def test_redirects(status: int, target: str, listener: Listener, attempts: list[str]) -> None:
    """A provider that sends us elsewhere gets its own answer taken for one: nobody goes there."""
    location = target.format(port=listener.port)
    listener.answer = f"HTTP/1.1 {status} Over there\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
    async with client(allowed=["127.0.0.2"]) as http:
        response = await http.send(get(f"http://127.0.0.2:{listener.port}/t"))
    assert response.status == status
    assert (attempts, listener.visits) == (["127.0.0.2"], ["127.0.0.2"])
