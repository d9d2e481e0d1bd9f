"""Faults that live inside a process under test: a clock that somebody else sets, a disk without space."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grantkeeper import clock


class SharedNumber:
    """A number that the lab sets and processes under test read.

    As `clock` it is an offset in microseconds that they add to their wall clock: the machine's own clock is
    never touched, nor is any monotonic one. As `full`, other than 0, their journals find no space left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(struct.pack("q", 0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    def set(self, number: int) -> None:
        """What they read from now on."""
        self._shared[:8] = struct.pack("q", number)


class _Seen:
    """The same, as a process under test sees it."""

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    def __call__(self) -> int:
        return int(struct.unpack("q", self._shared[:8])[0])


def apply(wanted: Mapping[str, Any]) -> None:
    """In a process under test, before the product runs."""
    if path := wanted.get("clock"):
        _follow(_Seen(path))
    if path := wanted.get("full"):
        _run_out_of_space(_Seen(path))
    # A process looks at the wall clock when it imports the product: this one begins now.
    clock._shared = clock._Anchor(time.time_ns, clock.steady_ns)


def _follow(offset: _Seen) -> None:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + offset() / 1_000_000
    time.time_ns = lambda: real_ns() + offset() * 1000


def _run_out_of_space(full: _Seen) -> None:
    """Only the journal writes by position."""
    real = os.pwrite

    def pwrite(file: int, data: Any, at: int, /) -> int:
        if full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data, at)

    os.pwrite = pwrite
