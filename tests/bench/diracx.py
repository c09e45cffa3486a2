"""The WMS beside a real DiracX server under the same load, on one machine: calls a second and their latencies.

DiracX runs on MariaDB where that is installed (on SQLite it locks), ours on its default; the two are measured in turns,
the load coming from a process of its own each time. Needs `make diracx`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.compose.site import Service
from runner.config import load
from tests.bench.table import Row
from tests.support.diracx import missing, running_diracx

CALLS = ("submit", "status", "heartbeat", "search")
CLIENTS = (1, 8, 32)
#: Of these the aim is a multiple of DiracX's throughput; and 99th percentiles in milliseconds.
AIM_TIMES, AIMED_CALLS = 5.0, ("status", "heartbeat")
AIMS_MS = {8: 50.0, 32: 150.0}


def rows(quick: bool) -> Iterator[Row]:
    """A row for each kind of call and number of clients; one that says why there is none without a DiracX."""
    if reason := missing():
        yield Row(what="beside DiracX", ours=f"not measured: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as base:
        folder = Path(base)
        service = Service(load(folder=folder / "ours"), ["wms"], folder / "wms.log")
        try:
            with running_diracx(folder / "diracx") as diracx:
                (folder / "token").write_text(diracx.token())
                ours = ((folder / "ours" / "wms.url").read_text().strip(), folder / "ours" / "tokens" / "user.token")
                theirs = (diracx.url, folder / "token")
                for what in CALLS:
                    for clients in CLIENTS:
                        measured = [_measure(*each, what, clients, 1.0 if quick else 8.0) for each in (ours, theirs)]
                        yield _row(diracx.database, *measured)
        finally:
            service.stop()


def _measure(url: str, token: Path, what: str, clients: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.load", "--url", url, "--token-file", str(token), "--what", what]
    options = ["--clients", str(clients), "--seconds", str(seconds)]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _row(database: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Row:
    times = ours["per_second"] / max(theirs["per_second"], 0.1)
    what, clients = ours["what"], ours["clients"]
    aims, reached = ["no errors"], [ours["errors"] == 0]
    if what in AIMED_CALLS:
        aims.append(f"{AIM_TIMES:g} times")
        reached.append(times >= AIM_TIMES)
    if clients in AIMS_MS:
        aims.append(f"p99 below {AIMS_MS[clients]:.0f} ms")
        reached.append(ours["p99_ms"] < AIMS_MS[clients])
    return Row(
        what=f"{what}, clients: {clients}",
        ours=_shown(ours),
        against=f"DiracX on {database}: {_shown(theirs)}",
        ratio=f"{times:.1f}",
        aim=", ".join(aims),
        reached=all(reached),
    )


def _shown(found: dict[str, Any]) -> str:
    errors = f", {found['errors']} errors" if found["errors"] else ""
    return "{per_second:.0f} a second, p99 {p99_ms:.0f} ms".format(**found) + errors
