"""That the benchmarks still run: what is only started by hand is broken by the next change, unnoticed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.components import KEPT, require
from tests.support.tree import ROOT

#: What a part measures with, beside ourselves.
COMPONENTS = {"console": "chromium", "shipping": "otelcol"}


@pytest.mark.parametrize("part", ["start", "matching", "durability", "scrape", "reconcile", "console", "shipping"])
def test_a_benchmark_still_runs(part: str, tmp_path: Path) -> None:
    """`make bench` ends well and has figures in each row; which ones is not asked, as the machine is shared."""
    if part in COMPONENTS:
        require(COMPONENTS[part])
    found = tmp_path / "rows.json"
    command = [sys.executable, "tests/bench/run.py", "--quick", "--only", part, "--json", str(found)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(KEPT.parent)}  # where what `make servers` has built is found
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(found.read_text())
    assert rows
    assert all(row["what"] and any(character.isdigit() for character in row["ours"]) for row in rows)
    assert all(row["what"] in done.stdout for row in rows)
