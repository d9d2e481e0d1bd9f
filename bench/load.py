"""The load generator: wrk."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

_LINE = re.compile(r"(50%|99%|Requests/sec:|Non-2xx or 3xx responses:)\s+(\S+)")


class Sample(NamedTuple):
    """One run of the load generator: answers a second, latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


def load(url: str, seconds: int, connections: int, options: Sequence[str] = (), script: Sequence[str] = ()) -> Sample:
    """Keep `connections` busy; SystemExit where an answer is not a good one. `script` is a file and its arguments."""
    options = [*options, "-s", script[0]] if script else options
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", *options, url, *script[1:]]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    found = dict(_LINE.findall(output))
    if "Non-2xx or 3xx responses:" in found:
        raise SystemExit(f"{url}: wrong answers\n{output}")
    return Sample(float(found["Requests/sec:"]), _milliseconds(found["50%"]), _milliseconds(found["99%"]))


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)
