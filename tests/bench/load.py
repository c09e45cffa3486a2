"""Load for a WMS that speaks DiracX's dialect, ours or DiracX itself: calls a second and their latencies, as JSON.

    python -m tests.bench.load --url URL --token-file FILE [--what submit status ...] [--clients 1 8 32] [--seconds 5]

The token is a NormalUser's; `match` needs ours, and a pilot's token. Each client has a connection and jobs of its own,
so that a server's rules about one job's moments are met. All clients are served by one thread that waits for whichever
has its answer: threads would wait for each other, and their waiting would be taken for the server's. What the load
itself takes of a core stands in the result.
"""

import argparse
import gc
import http.client
import itertools
import json
import selectors
import socket
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
#: `floor` is what `tests.bench.floor` serves.
WITHOUT_JOBS = ("submit", "match", "floor")
PART_OF_A_PAGE = 206
LOOK_SECONDS, MOST_LOOKS = 0.5, 60


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


def _floors(_jobs: list[int]) -> Iterator[tuple[str, str, Any]]:
    while True:
        update = {"MinorStatus": "step", "ApplicationStatus": "busy", "Source": "JobWrapper"}
        yield "POST", "/jobs/1/report", {"Statuses": {datetime.now(UTC).isoformat(): update}, "Parameters": {}}


CALLS: dict[str, Callable[[list[int]], Iterator[tuple[str, str, Any]]]] = {
    "submit": _submits, "status": _statuses, "heartbeat": _heartbeats, "search": _searches, "match": _matches,
    "floor": _floors,
}  # fmt: skip


class Connection:
    """One client of a measurement: it asks again as soon as it has its answer."""

    def __init__(self, url: str, token: str, what: str) -> None:
        parts = urlsplit(url)
        self._head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        client = Client(url, token)
        jobs = client.submit(JOBS) if what not in WITHOUT_JOBS else []
        self._calls = CALLS[what](jobs)
        self.socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = bytearray()
        self._begun = 0.0
        self.is_asking = False
        self.times: list[float] = []
        self.errors: list[str] = []

    def ask(self) -> None:
        """Send the next call."""
        method, path, body = next(self._calls)
        text = json.dumps(body).encode()
        message = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(text)}\r\n\r\n".encode() + text
        self.is_asking = True
        self._begun = time.perf_counter()
        self.socket.sendall(message)

    def hear(self) -> bool:
        """Take what has come; whether that completes the answer."""
        part = self.socket.recv(1 << 18)
        elapsed = time.perf_counter() - self._begun
        assert part, "the server has closed the connection"
        self._answer += part
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(bytes(head)):
            return False
        self.times.append(elapsed)
        code = int(head[9:12])
        if code >= 300 and code != PART_OF_A_PAGE:
            self.errors.append(f"{code} {body[:200]!r}")
        self._answer.clear()
        self.is_asking = False
        return True


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise AssertionError(f"an answer without its length: {head!r}")


def _settle(client: Client) -> None:
    """What the server does with new jobs by itself is over when their statuses no longer change."""
    before: Any = None
    for _ in range(MOST_LOOKS):
        _, counts = client.call("POST", "/api/jobs/summary", {"grouping": ["Status"]})
        if counts == before:
            return
        before = counts
        threading.Event().wait(LOOK_SECONDS)


def _keep_asking(selector: selectors.BaseSelector, connections: list[Connection], end: float) -> None:
    """Until *end*, and until the last answer is there."""
    for each in connections:
        each.ask()
    under_way = len(connections)
    while under_way:
        ready = selector.select(TIMEOUT_SECONDS)
        assert ready, f"no answer within {TIMEOUT_SECONDS:.0f} s"
        for connection in (key.data for key, _ in ready):
            if connection.hear() and time.perf_counter() < end:
                connection.ask()
            elif not connection.is_asking:
                under_way -= 1


def measure(url: str, token: str, what: str, clients: int, seconds: float) -> dict[str, Any]:
    """Calls a second, median, 99th percentile and worst in milliseconds, and how many were refused or failed."""
    connections = [Connection(url, token, what) for _ in range(clients)]
    if what not in WITHOUT_JOBS:
        _settle(Client(url, token))
    gc.disable()
    with selectors.DefaultSelector() as selector:
        for each in connections:
            selector.register(each.socket, selectors.EVENT_READ, each)
        start, own = time.perf_counter(), time.process_time()
        _keep_asking(selector, connections, start + seconds)
        elapsed, own = time.perf_counter() - start, time.process_time() - own
    for each in connections:
        each.socket.close()
    found = sorted(1000 * each for connection in connections for each in connection.times)
    errors = [each for connection in connections for each in connection.errors]
    return {
        "what": what, "clients": clients, "calls": len(found), "per_second": round(len(found) / elapsed, 1),
        "median_ms": round(statistics.median(found), 2), "p99_ms": round(found[int(0.99 * (len(found) - 1))], 2),
        "worst_ms": round(found[-1], 2), "errors": len(errors), "first_error": errors[0][:200] if errors else "",
        "load_cores": round(own / elapsed, 2),
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
