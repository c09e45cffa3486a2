"""The WMS under load: calls a second and their latencies, searches among a million jobs, two processes at once.

On SQLite, and on MariaDB where that is installed (started here, durable as it comes: every commit is on the disk).
`python -m tests.bench.load` puts the same load on any server of the dialect, a real DiracX for instance.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import insert

from runner.config import load
from runner.server.app import application, open_context
from runner.server.db.job_db import JOBS
from runner.server.models import ScalarSearchSpec, SearchParams
from runner.server.routes.dependencies import Services
from runner.server.settings import ServerSettings
from runner.server.tokens import Identity, Role
from telemetry.clock import SystemClock
from tests.bench.databases import a_database, kinds
from tests.bench.load import Client
from tests.bench.table import Row, percentile
from tests.support.twins import server_process, twins

CALLS = ("submit", "status", "heartbeat", "search")
CLIENTS = (1, 8, 32)
#: 99th percentiles in milliseconds.
AIMS_MS = {8: 50.0, 32: 150.0}
ALICE = Identity("alice", "local_user", "local", frozenset({Role.USER}))
STATUSES = ("Waiting", "Running", "Done", "Done", "Done", "Failed", "Killed", "Matched", "Completing", "Done")
OWNERS = 200


def rows(quick: bool) -> Iterator[Row]:
    """Load and searches on each database, then two processes on MariaDB."""
    for kind in kinds():
        with a_database(kind) as url, tempfile.TemporaryDirectory() as folder:
            yield from _load(kind, Path(folder), url, 1.0 if quick else 8.0)
        with a_database(kind) as url, tempfile.TemporaryDirectory() as folder:
            yield from _searches(kind, Path(folder), url, 20_000 if quick else 1_000_000)
    if "mariadb" in kinds():
        with a_database("mariadb") as url, tempfile.TemporaryDirectory() as folder:
            yield _twice(Path(folder), url, 200 if quick else 10_000)


def _load(kind: str, folder: Path, url: str, seconds: float) -> Iterator[Row]:
    """The load comes from a process of its own, as the server is one."""
    with server_process(folder, url) as server:
        token = server.folder / "tokens" / "user.token"
        command = [sys.executable, "-m", "tests.bench.load", "--url", server.url, "--token-file", str(token)]
        options = ["--what", *CALLS, "--clients", *map(str, CLIENTS), "--seconds", str(seconds)]
        output = subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout
    for found in map(json.loads, output.splitlines()):
        aim = AIMS_MS.get(found["clients"])
        yield Row(
            what=f"{kind}: {found['what']}, clients: {found['clients']}",
            ours="{per_second:.0f} a second, median {median_ms:.1f} ms, p99 {p99_ms:.0f} ms".format(**found),
            aim=f"p99 below {aim:.0f} ms, no errors" if aim else "no errors",
            reached=found["errors"] == 0 and (aim is None or found["p99_ms"] < aim),
        )


def _services(folder: Path, url: str) -> Services:
    config = load(folder=folder, environment={}, overrides={"WMS": {"Database": url, "Owner": "alice"}})
    services: Services = application(open_context(ServerSettings.from_config(config), SystemClock())).state.services
    return services


def _searches(kind: str, folder: Path, url: str, jobs: int) -> Iterator[Row]:
    """Jobs are written straight into the table: a million submissions would take an hour."""
    services = _services(folder, url)
    fixed = {"OwnerGroup": "local_user", "VO": "local", "MinorStatus": "m"}
    fixed |= dict.fromkeys(("SubmissionTime", "LastStatusTime", "SubmitStart", "SubmitEnd"), 1)  # type: ignore[arg-type]
    for first in range(0, jobs, 10_000):
        values = [
            {**fixed, "Owner": f"user{number % OWNERS}", "Status": STATUSES[number // OWNERS % len(STATUSES)]}
            for number in range(first, min(jobs, first + 10_000))
        ]
        with services.context.databases.write() as transaction:
            transaction.connection.execute(insert(JOBS), values)
    for status, what in (("Running", "few"), ("Done", "half")):
        wanted = [ScalarSearchSpec(parameter="Status", operator="eq", value=status)]
        wanted.append(ScalarSearchSpec(parameter="Owner", operator="eq", value="user7"))
        times = []
        for _ in range(20):
            start = time.perf_counter()
            services.job_monitoring.search(ALICE, SearchParams(search=wanted), 0, 100)
            times.append(1000 * (time.perf_counter() - start))
        yield Row(
            what=f"{kind}: search by status and owner among {jobs} jobs ({what} of that owner's have it)",
            ours=f"median {percentile(times, 0.5):.1f} ms, p99 {percentile(times, 0.99):.1f} ms",
            aim="below 50 ms",
            reached=percentile(times, 0.5) < 50,
        )
    services.context.databases.close()


def _twice(folder: Path, url: str, requests: int) -> Row:
    """Pilots that ask two processes at once, for as many jobs as there are requests."""
    given: Counter[int] = Counter()
    mutex, clients = threading.Lock(), 16
    with twins(folder, url) as servers:
        Client(servers[0].url, servers[0].token("user")).submit(requests)

        def work(number: int) -> None:
            server = servers[number % len(servers)]
            client = Client(server.url, server.token("pilot"))
            body = {"PilotStamp": f"p{number}", "Site": "LCG.Load.org", "WaitSeconds": 0}
            for _ in range(requests // clients + 1):
                code, answer = client.call("POST", "/api/jobspan/match", body)
                assert code == 200, answer
                with mutex:
                    given.update([answer["Job"]["JobID"]] if answer["Job"] else [])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - start
    double = sum(1 for times in given.values() if times > 1)
    return Row(
        what=f"two processes on one MariaDB, {requests} concurrent match requests",
        ours=f"{len(given)} jobs given, {double} twice, {len(given) / elapsed:.0f} matches a second",
        aim="none twice",
        reached=double == 0,
    )
