"""`make bench`: requests and refreshes a second, what a million connections and 400 definitions cost; as ratios.

The machine may be shared and noisy: what is compared is measured in alternation, and what is reported
is a median. Everything talks to 127.0.0.1, for a bounded time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench import api, catalogue, refresh, scale  # noqa: E402 - after the path is set
from bench.server import BenchServer  # noqa: E402

ROUNDS = {"catalogue": 7, "api": 5, "refresh": 3, "scale": 7}
_NEED_PROGRAMS = frozenset(("api", "refresh", "scale"))


def main() -> int:
    """Measure and print Markdown tables."""
    arguments = _arguments()
    parts = {part: arguments.rounds or rounds for part, rounds in ROUNDS.items() if part in (arguments.only or ROUNDS)}
    if parts.keys() & _NEED_PROGRAMS and shutil.which("wrk") is None:
        print("wrk is missing: apt install wrk", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gk-bench-")))
        if "catalogue" in parts:
            catalogue.measure(directory, parts["catalogue"])
        if not parts.keys() & _NEED_PROGRAMS:
            return 0
        postgres = stack.enter_context(BenchServer())
        if "api" in parts:
            api.measure(directory, postgres, parts["api"], arguments.seconds)
        if "refresh" in parts:
            refresh.measure(directory, postgres, parts["refresh"], arguments.seconds, [None, *arguments.concurrency])
        if "scale" in parts:
            scale.measure(directory, postgres, parts["scale"], arguments.idle)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--only", choices=[*ROUNDS], action="append", help="measure this part; may be repeated")
    parser.add_argument(
        "--rounds", type=int, choices=range(1, 21), metavar="N", help="rounds of every part, instead of each its own"
    )
    parser.add_argument(
        "--seconds", type=int, default=3, choices=range(1, 31), metavar="N", help="of each measurement under load"
    )
    parser.add_argument(
        "--idle", type=int, default=20, choices=range(5, 121), metavar="N", help="seconds to watch idle workers"
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        default=[],
        action="append",
        help="refresh with this worker_concurrency too",
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
