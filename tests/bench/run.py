"""What supervision costs: every benchmark of this folder, ours beside the alternative, in one table.

    python tests/bench/run.py [--only PART ...] [--quick] [--json FILE]

Each part is a module beside this one with `rows(quick)`, which yields `table.Row`. Nothing is asserted: a figure of a
noisy machine must not fail a build. `--quick` shortens every part to a look whether it runs.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.table import Row, table

PARTS = (
    "accuracy",
    "sampling",
    "output",
    "start",
    "latency",
    "memory",
    "many",
    "durability",
    "blackhole",
    "recovery",
    "wms",
    "console",
    "matching",
    "diracx",
    "shipping",
)


def main() -> None:
    """Run the parts that were asked for, print their tables as they come, write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds")
    parser.add_argument("--json", type=Path, help="write all rows to this file too")
    options = parser.parse_args()
    found: list[Row] = []
    for part in options.only:
        print(f"\n{part}", flush=True)
        rows = list(_rows(part, options.quick))
        print(table(rows), flush=True)
        found += rows
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")


def _rows(part: str, quick: bool) -> Iterator[Row]:
    module = importlib.import_module(f"tests.bench.{part}")
    yield from module.rows(quick)


if __name__ == "__main__":
    main()
