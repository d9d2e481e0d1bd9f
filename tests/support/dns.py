"""A name server on loopback that says what a test wants, and a resolver that asks it (RFC 1035)."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

_A, _CNAME, _AAAA, _IN = 1, 5, 28, 1
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_ANSWER, _NO_SUCH_NAME = 0x8580, 0x8583
_PATIENCE = 10.0


class DnsServer(asyncio.DatagramProtocol):
    """Answers on UDP while its `async with` block runs; a name that was not scripted does not exist.

    `lookups` counts, for each name, how often it was looked up.
    """

    def __init__(self) -> None:
        self._zone: dict[str, list[Sequence[str]]] = {}
        self.lookups: Counter[str] = Counter()

    def script(self, name: str, *answers: Sequence[str]) -> None:
        """What each look-up in turn finds, the last one for ever: addresses, or one other name (CNAME)."""
        self._zone[name] = [*answers]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    async def resolve(self, host: str, _port: int) -> list[str]:
        """The addresses that this server gives for a name, IPv4 first; OSError where it gives none."""
        address = self._transport.get_extra_info("sockname")
        found = [text for kind in (_A, _AAAA) for text in await _ask(address, host.rstrip("."), kind)]
        if not found:
            raise OSError(f"no address of {host}")
        return found

    def datagram_received(self, data: bytes, address: Any) -> None:
        """One question, one answer."""
        number = _HEADER.unpack_from(data)[0]
        name, after = _name_at(data, _HEADER.size)
        (kind, _) = struct.unpack_from(">HH", data, after)
        if kind == _A:
            self.lookups[name] += 1
        records = self._records(name, kind)
        code = _ANSWER if name in self._zone else _NO_SUCH_NAME
        head = _HEADER.pack(number, code, 1, len(records), 0, 0)
        self._transport.sendto(head + data[_HEADER.size : after + 4] + b"".join(records), address)

    def _records(self, name: str, kind: int) -> list[bytes]:
        answers = self._zone.get(name, [()])
        values = answers[min(max(self.lookups[name], 1), len(answers)) - 1]
        records = []
        for value in values:
            try:
                packed = ipaddress.ip_address(value).packed
            except ValueError:
                records += [_record(name, _CNAME, _wire_name(value)), *self._records(value, kind)]
            else:
                if kind == (_A if len(packed) == 4 else _AAAA):
                    records.append(_record(name, kind, packed))
        return records


class _Question(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(data)


async def _ask(address: Any, name: str, kind: int) -> list[str]:
    """The addresses in the answer to one question."""
    transport, question = await asyncio.get_running_loop().create_datagram_endpoint(_Question, remote_addr=address)
    try:
        transport.sendto(_HEADER.pack(1, 0x0100, 1, 0, 0, 0) + _wire_name(name) + struct.pack(">HH", kind, _IN))
        return _addresses(await asyncio.wait_for(question.answer, _PATIENCE))
    finally:
        transport.close()


def _addresses(answer: bytes) -> list[str]:
    count = _HEADER.unpack_from(answer)[3]
    _, place = _name_at(answer, _HEADER.size)
    place += 4
    found = []
    for _ in range(count):
        _, place = _name_at(answer, place)
        kind, _, _, length = _RECORD.unpack_from(answer, place)
        place += _RECORD.size
        if kind in (_A, _AAAA):
            found.append(str(ipaddress.ip_address(answer[place : place + length])))
        place += length
    return found


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _wire_name(name) + _RECORD.pack(kind, _IN, 0, len(data)) + data


def _wire_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _name_at(data: bytes, place: int) -> tuple[str, int]:
    """The name that begins at `place`, and where it has ended; no compression, as nobody here does it."""
    labels = []
    while length := data[place]:
        labels.append(data[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels), place + 1
