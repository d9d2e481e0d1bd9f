"""What hundreds of definitions cost: at the start of a process with three clients, and all of them read.

Beside it the same files are read with `tomllib` alone, in alternation; what counts is the ratio.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.clients import Clients
from grantkeeper.config import ClientSettings

WANTED = 400
CLIENTS = ("google", "github", "xero")
_START = """
import sys, time
from pathlib import Path
from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.clients import Clients
from grantkeeper.config import ClientSettings
settings = {name: ClientSettings(client_id="id", client_secret="secret") for name in sys.argv[2:]}
began = time.perf_counter()
assert len(Clients(load_catalogue(None, Path(sys.argv[1])), settings, "https://gk.example").offers()) == len(settings)
print(time.perf_counter() - began)
"""


class Took(NamedTuple):
    """Seconds of one round."""

    plain: float
    start: float
    cold: float
    everything: float
    own: float


def measure(directory: Path, rounds: int) -> None:
    """Copy the shipped definitions until there are enough, measure in turns, print a table."""
    folder = _definitions(directory / "catalogue")
    took = [_round(folder) for _ in range(rounds)]
    count = sum(1 for _ in folder.iterdir())
    print(f"\n{count} definitions, median of {rounds} rounds\n")
    print("| what | ms (lowest to highest) | of reading the files with tomllib alone |")
    print("|---|---:|---:|")
    for what, times in (
        ("the files with tomllib alone", [one.plain for one in took]),
        (f"start with {len(CLIENTS)} clients", [one.start for one in took]),
        ("the same, first of a new process", [one.cold for one in took]),
        ("all read and checked", [one.everything for one in took]),
        ("all as the operator's own, at start", [one.own for one in took]),
    ):
        ratio = statistics.median(time / one.plain for time, one in zip(times, took, strict=True))
        each = f"{statistics.median(times) * 1000:.1f} ({min(times) * 1000:.1f} to {max(times) * 1000:.1f})"
        print(f"| {what} | {each} | {ratio:.2f} |")


def _definitions(folder: Path) -> Path:
    """The shipped files; where they are too few, copies of them under other names."""
    folder.mkdir()
    shipped = sorted(
        (file for file in resources.files("grantkeeper.catalogue").joinpath("providers").iterdir()),
        key=lambda file: file.name,
    )
    texts = {
        file.name.removesuffix(".toml"): file.read_text("utf-8") for file in shipped if file.name.endswith(".toml")
    }
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    for number in range(max(0, WANTED - len(texts))):
        name, text = list(texts.items())[number % len(texts)]
        copy = f"{name}-{number}"
        (folder / f"{copy}.toml").write_text(text.replace(f'name = "{name}"', f'name = "{copy}"', 1))
    return folder


def _round(folder: Path) -> Took:
    credentials = {name: ClientSettings(client_id="id", client_secret="secret") for name in CLIENTS}
    return Took(
        plain=_seconds(lambda: [tomllib.loads(file.read_text("utf-8")) for file in folder.glob("*.toml")]),
        start=_seconds(lambda: Clients(load_catalogue(None, folder), credentials, "https://gk.example").offers()),
        cold=_cold(folder),
        everything=_seconds(lambda: list(load_catalogue(None, folder))),
        own=_seconds(lambda: load_catalogue(folder)),
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _cold(folder: Path) -> float:
    """As `start`, but nothing was ever read in that process; imports do not count."""
    command = [sys.executable, "-c", _START, str(folder), *CLIENTS]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
