"""What this machine needs at least for a job, in the same run as the latency: calls, processes, disk; and a bare job.

    python -m tests.bench.floor FOLDER   serves a plain FastAPI over SQLite, one durable insert a call; prints its port

The calls go through a `requests` session that is kept, as a wrapper's do; the process that forks is as large as one.
The bare job is `bare_job`'s.
"""

import itertools
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.bench.bare_job import LINES_AFTER, LINES_BEFORE, OUTPUT_CALLS, PLAIN_CALLS, Bones, Caller, Spare, force
from tests.bench.table import Row

CALLS = 10
#: Where the aims were set (issue B): milliseconds of the calls, and from fork to end.
CALLS_THEN_MS, PROCESS_THEN_MS = 18.0, 4.0
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Medians of one run, in milliseconds; and of bare jobs, two at once, how many a second at what CPU."""

    calls_ms: float
    process_ms: float
    line_ms: float
    #: Of a bare job, from the match to the end; the same with outputs.
    job_ms: float
    output_job_ms: float
    jobs_a_second: float
    job_cpu_ms: float

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
            what="floor of this run: a bare job (warm wrapper and starter, group, lines, calls), as for (a) and (b)",
            ours=f"{self.job_ms:.1f} and {self.output_job_ms:.1f} ms",
        )
        yield Row(
            what="floor of this run: bare jobs a second, two at once, with match and record",
            ours=f"{self.jobs_a_second:.1f}",
            against=f"CPU {self.job_cpu_ms:.1f} ms each",
        )


def measure(rounds: int) -> Floor:
    """The parts and the bare jobs in turns, *rounds* times; then the jobs two at once."""
    with tempfile.TemporaryDirectory(prefix="jobspan-floor-") as name, served(Path(name)) as (url, server):
        folder, caller = Path(name), Caller(url)
        numbers = itertools.count()
        with (folder / "lines").open("ab", buffering=0) as file:
            parts: tuple[Callable[[], float], ...] = (
                lambda: _timed(lambda: [caller.call() for _ in range(CALLS)]),
                lambda: _timed(_process),
                lambda: _timed(lambda: force(file.fileno(), 1)),
                lambda: _bones(caller, url, folder / str(next(numbers)), PLAIN_CALLS).seconds,
                lambda: _bones(caller, url, folder / str(next(numbers)), OUTPUT_CALLS).seconds,
            )
            times: list[list[float]] = [[] for _ in parts]
            for _ in range(rounds):
                for part, found in zip(parts, times, strict=True):
                    found.append(part() * 1000)
        caller.close()
        a_second, cpu_ms = _two_at_once(url, folder, rounds, server)
    calls, process, line, job, output_job = map(statistics.median, times)
    return Floor(
        calls_ms=calls,
        process_ms=process,
        line_ms=line,
        job_ms=job,
        output_job_ms=output_job,
        jobs_a_second=a_second,
        job_cpu_ms=cpu_ms,
    )


def bare_jobs(count: int) -> list[Bones]:
    """What *count* of them took, one after another."""
    with tempfile.TemporaryDirectory(prefix="jobspan-floor-") as name, served(Path(name)) as (url, _):
        caller = Caller(url)
        found = [_bones(caller, url, Path(name) / str(number), PLAIN_CALLS) for number in range(count)]
        caller.close()
        return found


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


def _process() -> None:
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)


def _bones(caller: Caller, url: str, folder: Path, calls: int) -> Bones:
    spare = Spare.fork(url, calls)
    bones = spare.take(folder, caller.call())
    spare.reap()
    return bones


def _two_at_once(url: str, folder: Path, count: int, server: int) -> tuple[float, float]:
    """Bare jobs a second and CPU milliseconds of each, the server's too; two agents take theirs one after another."""
    each = max(1, count // 2)
    cpu = children_cpu_seconds() + cpu_seconds(server)
    start = time.perf_counter()
    agents = [_agent(url, folder / f"agent-{number}", each) for number in range(2)]
    for pid in agents:
        if os.waitpid(pid, 0)[1]:
            raise SystemExit("a bare job failed; that is no measurement")
    seconds = time.perf_counter() - start
    cpu = children_cpu_seconds() + cpu_seconds(server) - cpu
    return 2 * each / seconds, cpu / (2 * each) * 1000


def _agent(url: str, folder: Path, count: int) -> int:
    """A process that runs *count* bare jobs, each with its match and its record; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        caller = Caller(url)
        for number in range(count):
            spare = Spare.fork(url, PLAIN_CALLS, with_record=True)
            spare.take(folder / str(number), caller.call())
            spare.reap()
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
        return {"CommittedNs": time.monotonic_ns()}

    # The protocol is named, because asyncio sets TCP_NODELAY only then.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
