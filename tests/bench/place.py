"""Where the benchmarks run jobs: an embedded WMS and agents, all as in production, durable writes and telemetry on."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.config import HttpConfig
from runner.wms.client import WmsClient
from runner.wms.tokens import FileToken
from telemetry.clock import NANOSECONDS, parse_utc
from telemetry.entries import Entry
from telemetry.facts import JobMatched
from telemetry.journal import read_journal
from tests.support.waiting import eventually

CONFIGURATION = """
[JobAgent]
PollingTime = 0.5
[WMS]
MaxSandboxSize = 1000000
"""
TRUE = {"Executable": "/bin/true", "CPUTime": 600}


class Place:
    """An embedded WMS in a folder, and agents that come and go."""

    def __init__(self, folder: Path, configuration: str = CONFIGURATION) -> None:
        self.folder = folder
        #: Of the WMS, while it runs.
        self.wms_pid = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "jobspan.toml").write_text(configuration)
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JOBSPAN_", "OTEL_", "PYTHONDONT"))
        } | {"JOBSPAN_FOLDER": str(folder)}

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """`jobspan wms` or `agent` while the block runs; ended by SIGTERM, unless it has ended by itself or we have."""
        command = [Path(sys.executable).with_name("jobspan"), *arguments, "--end-with", str(os.getpid())]
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)

    def client(self) -> WmsClient:
        """A client with the user's token."""
        url = eventually(lambda: _text(self.folder / "wms.url"), 120, "the WMS's address")
        return WmsClient(url, FileToken(self.folder / "tokens" / "user.token"), http=HttpConfig())

    def submit(self, description: Mapping[str, Any], count: int) -> list[int]:
        """The ids of *count* jobs like *description*, all waiting."""
        client = self.client()
        jobs = [each.job_id for _ in range(count) for each in client.submit([_jdl(description)])]
        client.close()
        return jobs

    def control(self, job: int) -> Path:
        """Where the journal of *job* is."""
        return self.folder / "jobs" / f"{job}.1" / "control"

    def entry(self, job: int, kind: type[Any]) -> Entry | None:
        """The first fact of its *kind* in the journal of *job*."""
        folder = self.control(job)
        entries = read_journal(folder) if folder.is_dir() else []
        return next((each for each in entries if isinstance(each.fact, kind)), None)

    def ended(self, jobs: Sequence[int]) -> bool:
        """Whether all of *jobs* are settled for the agent."""
        return all((self.control(job) / "settled").exists() for job in jobs)

    def drain(self, slots: int, limit_seconds: float) -> None:
        """Run an agent until no job is left."""
        with self.process("agent", "--drain", "--slots", str(slots)) as agent:
            if agent.wait(limit_seconds) != 0:
                raise SystemExit(f"the agent failed; see {self.folder / 'agent.log'}")


@contextmanager
def a_place(configuration: str = CONFIGURATION) -> Iterator[Place]:
    """One that is gone afterwards, with its WMS running."""
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name:
        place = Place(Path(name), configuration)
        with place.process("wms") as wms:
            place.wms_pid = wms.pid
            place.client().close()  # once it listens
            yield place


def moments(place: Place, jobs: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Match and final status of each job, UTC nanoseconds by the WMS's clock."""
    found, client = {}, place.client()
    for job in jobs:
        attempts = list(client.witness(job))
        if [each["Status"] for each in attempts] != ["Done"]:
            ends = ", ".join(f"{each['Status']} / {each['MinorStatus']}" for each in attempts)
            raise SystemExit(f"job {job} ended {ends}, which is no measurement")
        (attempt,) = attempts
        matched = next(e.fact for e in read_journal(place.control(job)) if isinstance(e.fact, JobMatched))
        found[job] = (matched.match_end_utc_ns, parse_utc(str(attempt["EndTime"])))
    client.close()
    return found


def latencies(place: Place, jobs: Sequence[int]) -> list[float]:
    """Seconds from match to final status."""
    return [(end - start) / NANOSECONDS for start, end in moments(place, jobs).values()]


def rate(place: Place, jobs: Sequence[int]) -> float:
    """Jobs a second, from the first match to the last final status."""
    times = moments(place, jobs).values()
    return len(jobs) * NANOSECONDS / (max(end for _, end in times) - min(start for start, _ in times))


def private_bytes(pid: int) -> int | None:
    """Private_Clean + Private_Dirty of a process; None where the kernel hides it from us (it is non-dumpable)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        return None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def _jdl(description: Mapping[str, Any]) -> str:
    def value(each: Any) -> str:
        return "{" + ", ".join(map(value, each)) + "}" if isinstance(each, list) else json.dumps(each)

    return "[" + " ".join(f"{name} = {value(each)};" for name, each in description.items()) + "]"


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
