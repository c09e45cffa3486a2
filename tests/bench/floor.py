"""What this machine needs at least for a job, in the same run as the latency: calls, processes, disk.

    python -m tests.bench.floor FOLDER   serves a plain FastAPI over SQLite, one durable insert a call; prints its port

The calls go through a `requests` session that is kept, as a wrapper's do; the process that forks is as large as one.
"""

import os
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
from pathlib import Path
from typing import Any

import requests

import runner.compose.wrapper  # noqa: F401 - for its size
from tests.bench.table import Row

CALLS = 10
#: Where the aims were set (issue B): milliseconds of the calls, and from fork to end.
CALLS_THEN_MS, PROCESS_THEN_MS = 18.0, 4.0
BODY = {"Statuses": {"2026-01-01T00:00:00Z": {"Status": "Running", "MinorStatus": "Application"}}, "Parameters": {}}
TIMEOUT_SECONDS = 30.0


def rows(rounds: int) -> Iterator[Row]:
    """The three of them, medians of *rounds*, in turns."""
    with tempfile.TemporaryDirectory(prefix="jobspan-floor-") as name, served(Path(name)) as url:
        session = requests.Session()
        session.trust_env = False
        with (Path(name) / "lines").open("ab", buffering=0) as file:
            parts: tuple[Callable[[], None], ...] = (lambda: _calls(session, url), _process, lambda: _line(file))
            times: list[list[float]] = [[] for _ in parts]
            for _ in range(rounds):
                for part, found in zip(parts, times, strict=True):
                    start = time.perf_counter()
                    part()
                    found.append((time.perf_counter() - start) * 1000)
        session.close()
    calls, process, line = map(statistics.median, times)
    yield Row(
        what=f"floor of this run: {CALLS} calls to a plain FastAPI, each a durable commit of SQLite",
        ours=f"{calls:.1f} ms",
        against=f"{CALLS_THEN_MS:.0f} ms where the aims were set",
        ratio=f"{calls / CALLS_THEN_MS:.1f}",
    )
    yield Row(
        what="floor of this run: fork to end of /bin/true, from a process as large as a wrapper",
        ours=f"{process:.1f} ms",
        against=f"{PROCESS_THEN_MS:.0f} ms where the aims were set",
        ratio=f"{process / PROCESS_THEN_MS:.1f}",
    )
    yield Row(
        what="floor of this run: a line forced to the disk (a job waits for five)",
        ours=f"{line:.2f} ms",
        against="0.2 ms where the aims were set",
        ratio=f"{line / 0.2:.1f}",
    )


def _calls(session: requests.Session, url: str) -> None:
    for _ in range(CALLS):
        session.post(url, json=BODY, timeout=TIMEOUT_SECONDS).raise_for_status()


def _process() -> None:
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)


def _line(file: Any) -> None:
    file.write(b"x" * 300 + b"\n")
    os.fdatasync(file.fileno())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a call."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.bench.floor", str(folder)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/jobs/1/report"
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
