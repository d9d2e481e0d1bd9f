"""Which addresses a provider may have: those of the public Internet, and what the operator allows (CWE-918).

URLs come from settings, definitions, metadata and people; without this check one of them could make us ask our own
network. The networks stand here and not in `ipaddress.is_global`, which changes from one Python to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from grantkeeper.errors import AddressRefused
from grantkeeper.model import Record

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What is not globally routable unicast, from IANA's special-purpose registries (RFC 6890 and its updates:
# iana-ipv4-special-registry, iana-ipv6-special-registry) and the multicast registries. The first that fits names
# an address; those at which clouds hand out their machines' credentials come first, one of them being public.
_REFUSED = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("169.254.169.254", "a cloud's metadata address"),
        ("100.100.100.200", "a cloud's metadata address"),  # Alibaba
        ("168.63.129.16", "a cloud's metadata address"),  # Azure
        ("192.0.0.192", "a cloud's metadata address"),  # Oracle
        ("fd00:ec2::254", "a cloud's metadata address"),  # AWS
        ("0.0.0.0/8", "an unspecified address"),  # RFC 791: this network
        ("10.0.0.0/8", "a private address"),  # RFC 1918
        ("100.64.0.0/10", "a carrier's private address"),  # RFC 6598
        ("127.0.0.0/8", "a loopback address"),  # RFC 1122
        ("169.254.0.0/16", "a link-local address"),  # RFC 3927
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),  # RFC 6890: protocol assignments
        ("192.0.2.0/24", "a documentation address"),  # RFC 5737
        ("192.88.99.0/24", "a reserved address"),  # RFC 7526: was 6to4
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmark address"),  # RFC 2544
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),  # RFC 5771
        ("240.0.0.0/4", "a reserved address"),  # RFC 1112; the last one is broadcast
        ("::", "an unspecified address"),  # RFC 4291
        ("::1", "a loopback address"),
        ("::/96", "an IPv4-compatible address"),  # RFC 4291 §2.5.5.1: deprecated
        ("64:ff9b:1::/48", "a local NAT64 address"),  # RFC 8215: what it leads to, only its network knows
        ("100::/64", "a discard address"),  # RFC 6666
        ("2001::/32", "a Teredo address"),  # RFC 4380: carries an IPv4 address
        ("2001:2::/48", "a benchmark address"),  # RFC 5180
        ("2001::/23", "a reserved address"),  # RFC 2928: protocol assignments
        ("2001:db8::/32", "a documentation address"),  # RFC 3849
        ("2002::/16", "a 6to4 address"),  # RFC 3056: carries an IPv4 address
        ("3fff::/20", "a documentation address"),  # RFC 9637
        ("fc00::/7", "a private address"),  # RFC 4193: unique local
        ("fe80::/10", "a link-local address"),  # RFC 4291
        ("fec0::/10", "a site-local address"),  # RFC 3879: deprecated
        ("ff00::/8", "a multicast address"),
    )
)
# Compared as numbers, which is quicker than `in`: every new connection passes here.
_RANGES = [(network.version, int(network[0]), int(network[-1]), kind) for network, kind in _REFUSED]
# All that IANA has given out for global unicast (RFC 4291 §2.4, iana-ipv6-address-space).
_GLOBAL = IPv6Network("2000::/3")
# Where there is no IPv4 left, every IPv4 host is in here (RFC 6052 §2.1).
_NAT64 = IPv6Network("64:ff9b::/96")

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
# 2130706433, 0x7f.1, 127.1, 0177.0.0.1: names that resolvers read as IPv4 addresses, each in its own way.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


class Allowed(Record, frozen=True):
    """What the operator allows beyond the public Internet: networks, and names at whatever address they are."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    def name(self, host: str) -> bool:
        """Whether the host is allowed by its name."""
        return host.rstrip(".") in self.names

    def address(self, address: Address) -> bool:
        """Whether the address is in an allowed network."""
        return any(address in network for network in self.networks)


NOTHING_MORE = Allowed()
"""The public Internet only."""


def allow(words: Sequence[str]) -> Allowed:
    """The operator's `provider_networks`: addresses, networks (RFC 4632) and host names."""
    networks: list[Network] = []
    names: set[str] = set()
    for word in words:
        try:
            networks.append(ip_network(word))
        except ValueError:
            names.add(word.lower().rstrip("."))
    return Allowed(networks=tuple(networks), names=frozenset(names))


def address_of(host: str) -> Address | None:
    """The address that the host of a URL is (without brackets), None for a name; lower-case ASCII is expected.

    AddressRefused where it is neither: resolvers differ in how they read `127.1`, `0x7f.0.0.1` or `2130706433`, so
    nobody can say beforehand where it leads.
    """
    with suppress(ValueError):
        if "%" not in host:
            return ip_address(host)
    if _NUMBER.fullmatch(host) or not _NAME.fullmatch(host):
        raise AddressRefused(
            f"{host[:80]!a} is neither a plain address nor a host name; "
            "write it like 192.0.2.1, [2001:db8::1] or idp.example.com"
        )
    return None


def checked(host: str, found: Sequence[str], allowed: Allowed = NOTHING_MORE) -> list[str]:
    """The addresses found for a host, to be connected to as they are here; AddressRefused where any may not be."""
    addresses = [_plain(ip_address(text)) for text in found]
    if not allowed.name(host):
        for address in addresses:
            if kind := _refusal(address, allowed):
                where = f"{address} is" if address_of(host) else f"{host} is at {address},"
                raise AddressRefused(f"{where} {kind}; allow it with provider_networks")
    return [str(address) for address in addresses]


def refused_address(host: str, allowed: Allowed = NOTHING_MORE) -> str | None:
    """Why the host of a URL may not be connected to, as far as its text says; None where it has to be resolved."""
    try:
        if address_of(host) is not None:
            checked(host, [host], allowed)
    except AddressRefused as error:
        return error.message
    return None


def _plain(address: Address) -> Address:
    """An IPv4 address in IPv6's clothes (RFC 4291 §2.5.5.2) as what it is."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _refusal(address: Address, allowed: Allowed) -> str | None:
    """The class of an address that may not be connected to."""
    if allowed.address(address):
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "an address on one network interface only"
    return _kind(address)


def _kind(address: Address) -> str | None:
    """The class of an address outside the public Internet."""
    version, number = address.version, int(address)
    for their_version, first, last, kind in _RANGES:
        if version == their_version and first <= number <= last:
            return kind
    if isinstance(address, IPv4Address) or address in _GLOBAL:
        return None
    if address in _NAT64:
        inner = _kind(IPv4Address(address.packed[12:]))
        return inner and f"{inner} behind NAT64"
    return "a reserved address"
