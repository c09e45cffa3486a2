"""Load for a WMS that speaks DiracX's dialect, ours or DiracX itself: calls a second and their latencies, as JSON.

    python -m tests.bench.load --url URL --token-file FILE [--what submit status ...] [--clients 1 8 32] [--seconds 5]

The token is a NormalUser's; `match` needs ours, and a pilot's token. Each client has a connection and jobs of its own,
so that a server's rules about one job's moments are met.
"""

import argparse
import http.client
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

JDL = 'Executable = "/bin/true"; JobName = "load"; CPUTime = 1000;'
#: So many jobs of a client are taken in turn: DiracX refuses two heartbeats of one job in a second.
JOBS = 50
PER_SUBMISSION = 10
TIMEOUT_SECONDS = 60.0


class Client:
    """One connection."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """One call: code and answer."""
        self._connection.request(method, path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text and answer.status < 500 else None

    def submit(self, count: int) -> list[int]:
        """New jobs."""
        numbers: list[int] = []
        while len(numbers) < count:
            code, inserted = self.call("POST", "/api/jobs/jdl", [JDL] * PER_SUBMISSION)
            assert code in (200, 201), inserted
            numbers += [job["JobID"] for job in inserted]
        return numbers


def _submits(_jobs: list[int]) -> Iterator[tuple[str, str, Any]]:
    while True:
        yield "POST", "/api/jobs/jdl", [JDL]


def _statuses(jobs: list[int]) -> Iterator[tuple[str, str, Any]]:
    for number, job in enumerate(itertools.cycle(jobs)):
        update = {"MinorStatus": f"step {number}", "ApplicationStatus": "busy", "Source": "JobWrapper"}
        yield "PATCH", "/api/jobs/status", {job: {datetime.now(UTC).isoformat(): update}}


def _heartbeats(jobs: list[int]) -> Iterator[tuple[str, str, Any]]:
    for number, job in enumerate(itertools.cycle(jobs)):
        data = {
            "CPUConsumed": number * 0.5,
            "WallClockTime": number * 1.0,
            "MemoryUsed": 1e6,
            "StandardOutput": "busy\n" * 20,
        }
        yield "PATCH", "/api/jobs/heartbeat", {job: data}


def _searches(jobs: list[int]) -> Iterator[tuple[str, str, Any]]:
    wanted = [{"parameter": "JobID", "operator": "in", "values": jobs[:10]}]
    while True:
        yield "POST", "/api/jobs/search", {"parameters": ["JobID", "Status", "MinorStatus"], "search": wanted}


def _matches(_jobs: list[int]) -> Iterator[tuple[str, str, Any]]:
    for number in itertools.count():
        yield "POST", "/api/jobspan/match", {"PilotStamp": f"s{number % 7}", "Site": "LCG.Load.org", "WaitSeconds": 0}


CALLS: dict[str, Callable[[list[int]], Iterator[tuple[str, str, Any]]]] = {
    "submit": _submits, "status": _statuses, "heartbeat": _heartbeats, "search": _searches, "match": _matches,
}  # fmt: skip


def measure(url: str, token: str, what: str, clients: int, seconds: float) -> dict[str, Any]:
    """Calls a second, median, 99th percentile and worst in milliseconds, and how many were refused or failed."""
    times: list[list[float]] = [[] for _ in range(clients)]
    errors: list[str] = []
    go, stop = threading.Barrier(clients + 1), threading.Event()

    def work(mine: list[float]) -> None:
        client = Client(url, token)
        jobs = client.submit(JOBS) if what not in ("submit", "match") else []
        go.wait()
        for method, path, body in CALLS[what](jobs):
            start = time.perf_counter()
            code, answer = client.call(method, path, body)
            mine.append(time.perf_counter() - start)
            if code >= 300:
                errors.append(f"{code} {answer}")
            if stop.is_set():
                return

    threads = [threading.Thread(target=work, args=(mine,), daemon=True) for mine in times]
    for thread in threads:
        thread.start()
    go.wait()
    start = time.perf_counter()
    stop.wait(seconds)
    stop.set()
    elapsed = time.perf_counter() - start
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
    found = sorted(1000 * each for mine in times for each in mine)
    return {
        "what": what, "clients": clients, "calls": len(found), "per_second": round(len(found) / elapsed, 1),
        "median_ms": round(statistics.median(found), 2), "p99_ms": round(found[int(0.99 * (len(found) - 1))], 2),
        "worst_ms": round(found[-1], 2), "errors": len(errors), "first_error": errors[0][:200] if errors else "",
    }  # fmt: skip


def main() -> None:
    """One line of JSON for each kind of call and number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--what", nargs="+", choices=list(CALLS), default=["submit", "status", "heartbeat", "search"])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    token = options.token_file.read_text().strip()
    for what in options.what:
        for clients in options.clients:
            print(json.dumps(measure(options.url, token, what, clients, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
