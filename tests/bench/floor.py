"""What this machine needs at least for a job, in the same run as the latency: calls, processes, disk, and their chain.

    python -m tests.bench.floor FOLDER   serves a plain FastAPI over SQLite, one durable insert a call; prints its port

The calls go through a `requests` session that is kept, as a wrapper's do; the process that forks is as large as one.
The bare chain is a job without anything that makes it one: no description, journal, starter, watchdog, record or span.
"""

import os
import resource
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil
import requests

import runner.compose.wrapper  # noqa: F401 - for its size
from tests.bench.table import Row

CALLS = 10
#: Lines that a job forces to the disk before its payload starts, and until it has ended.
LINES_BEFORE, LINES_AFTER = 3, 2
#: Calls of a job from the match to the final status: Running, the end; with outputs, their address and their name too.
PLAIN_CALLS, OUTPUT_CALLS = 2, 4
#: Beside those the match and the record, which the rate pays for and the latency does not.
OTHER_CALLS = 2
#: Where the aims were set (issue B): milliseconds of the calls, and from fork to end.
CALLS_THEN_MS, PROCESS_THEN_MS = 18.0, 4.0
BODY = {"Statuses": {"2026-01-01T00:00:00Z": {"Status": "Running", "MinorStatus": "Application"}}, "Parameters": {}}
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Medians of one run, in milliseconds; and of bare chains, two at once, how many a second at what CPU."""

    calls_ms: float
    process_ms: float
    line_ms: float
    #: From the word to begin to the answer of the last call, in a process that was forked and warmed before.
    chain_ms: float
    output_chain_ms: float
    chains_a_second: float
    chain_cpu_ms: float

    def rows(self) -> Iterator[Row]:
        """All of them, beside those of the place where the aims were set."""
        yield Row(
            what=f"floor of this run: {CALLS} calls to a plain FastAPI, each a durable commit of SQLite",
            ours=f"{self.calls_ms:.1f} ms",
            against=f"{CALLS_THEN_MS:.0f} ms where the aims were set",
            ratio=f"{self.calls_ms / CALLS_THEN_MS:.1f}",
        )
        yield Row(
            what="floor of this run: fork to end of /bin/true, from a process as large as a wrapper",
            ours=f"{self.process_ms:.1f} ms",
            against=f"{PROCESS_THEN_MS:.0f} ms where the aims were set",
            ratio=f"{self.process_ms / PROCESS_THEN_MS:.1f}",
        )
        yield Row(
            what=f"floor of this run: a line forced to the disk (a job waits for {LINES_BEFORE + LINES_AFTER})",
            ours=f"{self.line_ms:.2f} ms",
            against="0.2 ms where the aims were set",
            ratio=f"{self.line_ms / 0.2:.1f}",
        )
        yield Row(
            what="floor of this run: a bare chain (such calls, process and lines, in a warm fork), as for (a) and (b)",
            ours=f"{self.chain_ms:.1f} and {self.output_chain_ms:.1f} ms",
        )
        yield Row(
            what="floor of this run: bare chains a second, two at once, with match and record",
            ours=f"{self.chains_a_second:.1f}",
            against=f"CPU {self.chain_cpu_ms:.1f} ms each",
        )


def measure(rounds: int) -> Floor:
    """The parts and the chains in turns, *rounds* times; then the chains two at once."""
    with tempfile.TemporaryDirectory(prefix="jobspan-floor-") as name, served(Path(name)) as (url, server):
        session = requests.Session()
        session.trust_env = False
        path = Path(name) / "lines"
        with path.open("ab", buffering=0) as file:
            parts: tuple[Callable[[], float], ...] = (
                lambda: _timed(lambda: _calls(session, url, CALLS)),
                lambda: _timed(_process),
                lambda: _timed(lambda: _lines(file, 1)),
                lambda: _warm_chain(url, path, PLAIN_CALLS),
                lambda: _warm_chain(url, path, OUTPUT_CALLS),
            )
            times: list[list[float]] = [[] for _ in parts]
            for _ in range(rounds):
                for part, found in zip(parts, times, strict=True):
                    found.append(part() * 1000)
        session.close()
        a_second, cpu_ms = _two_at_once(url, path, rounds, server)
    calls, process, line, chain, output_chain = map(statistics.median, times)
    return Floor(
        calls_ms=calls,
        process_ms=process,
        line_ms=line,
        chain_ms=chain,
        output_chain_ms=output_chain,
        chains_a_second=a_second,
        chain_cpu_ms=cpu_ms,
    )


def starts(rounds: int) -> Sequence[float]:
    """Seconds from the word to begin to the exec, in a warm fork that forces one line before it; *rounds* times."""
    with tempfile.TemporaryDirectory(prefix="jobspan-floor-") as name:
        path = Path(name) / "lines"
        return [_in_a_fork(lambda: None, lambda: _start(path)) for _ in range(rounds)]


def cpu_seconds(pid: int) -> float:
    """What the process *pid* has used of the processors."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def children_cpu_seconds() -> float:
    """What children of ours that have ended have used, with all of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _timed(part: Callable[[], object]) -> float:
    start = time.perf_counter()
    part()
    return time.perf_counter() - start


def _calls(session: requests.Session, url: str, count: int) -> None:
    for _ in range(count):
        session.post(url, json=BODY, timeout=TIMEOUT_SECONDS).raise_for_status()


def _process() -> None:
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)


def _lines(file: Any, count: int) -> None:
    for _ in range(count):
        file.write(b"x" * 300 + b"\n")
        os.fdatasync(file.fileno())


def _start(path: Path) -> None:
    """Until the exec has closed a pipe; the process is left to its end."""
    with path.open("ab", buffering=0) as file:
        _lines(file, 1)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.execv("/bin/true", ["true"])
    os.close(writer)
    os.read(reader, 1)


def _chain(session: requests.Session, url: str, path: Path, calls: int) -> None:
    """What a job does between its match and the answer to its final status, and nothing else."""
    with path.open("ab", buffering=0) as file:
        _calls(session, url, 1)
        _lines(file, LINES_BEFORE)
        _process()
        _lines(file, LINES_AFTER)
        _calls(session, url, calls - 1)


def _warm_chain(url: str, path: Path, calls: int) -> float:
    """Seconds of a chain in a fork that has made a call before, as a spare has."""
    session = requests.Session()
    session.trust_env = False
    return _in_a_fork(lambda: _calls(session, url, 1), lambda: _chain(session, url, path, calls))


def _in_a_fork(before: Callable[[], None], part: Callable[[], None]) -> float:
    """Seconds of *part* in a process that is forked, does *before*, and waits for the word to begin."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            _live(theirs, before, part)
        ours.settimeout(TIMEOUT_SECONDS)
        ours.recv(1)
        start = time.perf_counter()
        ours.send(b"b")
        if ours.recv(1) != b"e":
            raise SystemExit("a bare chain failed; that is no measurement")
        seconds = time.perf_counter() - start
    os.waitpid(pid, 0)
    return seconds


def _live(line: socket.socket, before: Callable[[], None], part: Callable[[], None]) -> NoReturn:
    try:
        before()
        line.send(b"r")
        line.recv(1)
        part()
        line.send(b"e")
    finally:
        os._exit(0)


def _two_at_once(url: str, path: Path, count: int, server: int) -> tuple[float, float]:
    """Chains a second and CPU milliseconds of each, the server's too; two processes fork theirs one after another."""
    each = max(1, count // 2)
    cpu = children_cpu_seconds() + cpu_seconds(server)
    start = time.perf_counter()
    drivers = [_driver(url, path, each) for _ in range(2)]
    for pid in drivers:
        if os.waitpid(pid, 0)[1]:
            raise SystemExit("a bare chain failed; that is no measurement")
    seconds = time.perf_counter() - start
    cpu = children_cpu_seconds() + cpu_seconds(server) - cpu
    return 2 * each / seconds, cpu / (2 * each) * 1000


def _driver(url: str, path: Path, count: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        session = requests.Session()
        session.trust_env = False
        for _ in range(count):
            _calls(session, url, 1)
            if child := os.fork():
                os.waitpid(child, 0)
                continue
            own = requests.Session()
            own.trust_env = False
            _chain(own, url, path, PLAIN_CALLS)
            _calls(own, url, OTHER_CALLS - 1)
            os._exit(0)
        code = 0
    finally:
        os._exit(code)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """The address of a call, and the pid of who answers it."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.bench.floor", str(folder)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/jobs/1/report", process.pid
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)


def _serve(folder: Path) -> None:
    import uvicorn
    from fastapi import FastAPI

    local = threading.local()
    app = FastAPI()

    def connection() -> sqlite3.Connection:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
            local.connection.execute("PRAGMA journal_mode=WAL")
            local.connection.execute("PRAGMA synchronous=FULL")
            local.connection.execute("CREATE TABLE IF NOT EXISTS reports (job INTEGER, body TEXT)")
        return local.connection  # type: ignore[no-any-return]

    @app.post("/jobs/{job_id}/report")
    def report(job_id: int, body: dict[str, Any]) -> dict[str, Any]:
        connection().execute("INSERT INTO reports VALUES (?, ?)", (job_id, str(body)))
        return {"Kept": None, "Commands": []}

    # The protocol is named, because asyncio sets TCP_NODELAY only then.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
