"""`make faults`: run the laboratory and print its table as Markdown; exit code 1 where a zero is none."""

from __future__ import annotations

import argparse
import io
import secrets
import sys
import time
from pathlib import Path

import uvloop

from faults.laboratory import CASES, Lab, run
from faults.report import Row, table
from grantkeeper import logs

QUICK = 0.1


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="make faults", description="Kill, freeze and cut off refreshing processes.")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be given again")
    parser.add_argument("--quick", action="store_true", help=f"a tenth of everything: --seconds-scale {QUICK}")
    parser.add_argument("--seconds-scale", type=float, default=1.0, help="less than 1: fewer faults in less time")
    parser.add_argument("--seed", type=int, help="repeat the random choices of an earlier run")
    parser.add_argument("--keep", type=Path, help="an empty or new directory in which logs and databases remain")
    arguments = parser.parse_args()
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    scale = QUICK if arguments.quick else min(10.0, max(0.01, arguments.seconds_scale))
    # The lab looks at databases that are away: no news.
    logs.configure("error", io.StringIO())
    print(f"seed {seed}", file=sys.stderr)
    began = time.monotonic()
    rows = uvloop.run(_run(Lab(seed, scale, arguments.keep), arguments.case or list(CASES)))
    print(table(rows))
    print(f"{time.monotonic() - began:.0f} s, seed {seed}", file=sys.stderr)
    return 0 if all(row.good for row in rows) else 1


async def _run(lab: Lab, names: list[str]) -> list[Row]:
    async with lab:
        return await run(lab, names)


if __name__ == "__main__":
    raise SystemExit(main())
