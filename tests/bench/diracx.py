"""The WMS beside a real DiracX server under the same load, on one machine: calls a second and their latencies.

Where MariaDB is installed both have one, each a server of its own (on SQLite DiracX locks), and ours on its default,
SQLite, is a further row. They are measured in turns, the load coming from a process of its own each time. The
floor is a plain FastAPI over SQLite that forces one insert a call to the disk, and nothing else. Needs `make diracx`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.floor import served
from tests.bench.table import Row
from tests.support.databases import MariaDB
from tests.support.diracx import best_database, missing, running_diracx
from tests.support.twins import server_process

CALLS = ("submit", "status", "heartbeat", "search")
CLIENTS = (1, 8, 32)
#: Of these the aim is a multiple of DiracX's throughput; and 99th percentiles in milliseconds.
AIM_TIMES, AIMED_CALLS = 5.0, ("status", "heartbeat")
AIMS_MS = {8: 50.0, 32: 150.0}


def rows(quick: bool) -> Iterator[Row]:
    """A row for each database, kind of call and number of clients; one that says why there is none without a DiracX."""
    if reason := missing():
        yield Row(what="beside DiracX", ours=f"not measured: {reason}")
        return
    seconds = 1.0 if quick else 8.0
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name, ExitStack() as stack:
        base, database = Path(name), best_database()
        ours = {}
        if database == "mariadb":
            mariadb = MariaDB(options=("--innodb-flush-log-at-trx-commit=1",), on_disk=True)
            stack.callback(mariadb.close)
            ours["mariadb"] = stack.enter_context(server_process(base / "mariadb", mariadb.fresh()))
        ours["sqlite"] = stack.enter_context(server_process(base / "sqlite", ""))
        diracx = stack.enter_context(running_diracx(base / "diracx", database))
        (base / "token").write_text(diracx.token())
        floor, _ = stack.enter_context(served(base))
        for clients in CLIENTS:
            found = _measure(floor.removesuffix("/jobs/1/report"), base / "token", "floor", clients, seconds)
            what = f"floor: a plain FastAPI, a durable insert a call, clients: {clients}"
            yield Row(what=what, ours=_shown(found))
        for what in CALLS:
            for clients in CLIENTS:
                theirs = _measure(diracx.url, base / "token", what, clients, seconds)
                for kind, server in ours.items():
                    token = server.folder / "tokens" / "user.token"
                    found = _measure(server.url, token, what, clients, seconds)
                    yield _row(kind, diracx.database, found, theirs)
        yield Row(what="load of the machine at the end, in 1, 5 and 15 minutes", ours=_load())


def _measure(url: str, token: Path, what: str, clients: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.load", "--url", url, "--token-file", str(token), "--what", what]
    options = ["--clients", str(clients), "--seconds", str(seconds)]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _row(kind: str, database: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Row:
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
        what=f"{kind}: {what}, clients: {clients}",
        ours=_shown(ours),
        against=f"DiracX on {database}: {_shown(theirs)}",
        ratio=f"{times:.1f}",
        aim=", ".join(aims),
        reached=all(reached),
    )


def _shown(found: dict[str, Any]) -> str:
    errors = f", {found['errors']} errors" if found["errors"] else ""
    shown = "{per_second:.0f} a second, median {median_ms:.1f}, p99 {p99_ms:.0f} ms (the load took {load_cores} cores)"
    return shown.format(**found) + errors


def _load() -> str:
    return f"{' '.join(f'{each:.1f}' for each in os.getloadavg())} on {os.cpu_count()} cores"
