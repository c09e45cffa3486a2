"""What a job costs: `/bin/true` from match to final status, beside a bare `subprocess.run` of it.

    python tests/bench/latency.py [--jobs 200] [--slots 2] [--json FILE] [--folder DIR]

Prints, from one run on one machine: median and 99th percentile of the time from match to final status, both by the
WMS's own clock, (a) without sandboxes and (b) with both outputs uploaded, one job after another; jobs a second
with all slots; private memory of a wrapper while its payload runs; and, from the traces, where the time goes.
Durable writes and telemetry are on, as in production. The first jobs of each series warm up and do not count.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runner.config import HttpConfig
from runner.wms.client import WmsClient
from runner.wms.tokens import FileToken
from telemetry.clock import NANOSECONDS, parse_utc
from telemetry.facts import JobMatched, PayloadStarted, WrapperStarted
from telemetry.journal import read_journal
from telemetry.live.otlp_files import read_spans
from tests.support.waiting import eventually

WARM_UP = 5
CONFIGURATION = """
[JobAgent]
PollingTime = 0.5
[WMS]
MaxSandboxSize = 1000000
"""
TRUE = {"Executable": "/bin/true", "CPUTime": 600}
SERIES = {
    "a: no sandboxes": {**TRUE, "JobName": "bare"},
    "b: outputs uploaded": {**TRUE, "JobName": "outputs", "OutputSandbox": ["std.out", "std.err"]},
}


class Site:
    """An embedded WMS in a folder, and agents that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "jobspan.toml").write_text(CONFIGURATION)
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JOBSPAN_", "OTEL_", "PYTHONDONT"))
        } | {"JOBSPAN_FOLDER": str(folder)}

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A `jobspan` command while the block runs; ended with SIGTERM unless it has ended by itself."""
        program = Path(sys.executable).with_name("jobspan")
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen([program, *arguments], env=self._environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def client(self) -> WmsClient:
        """A client with the user's token."""
        url = eventually(lambda: _text(self.folder / "wms.url"), 30, "the WMS's address")
        return WmsClient(url, FileToken(self.folder / "tokens" / "user.token"), http=HttpConfig())

    def submit(self, description: dict[str, Any], count: int) -> list[int]:
        """The ids of *count* jobs like *description*, all waiting."""
        client = self.client()
        jobs = [each.job_id for _ in range(count) for each in client.submit([_jdl(description)])]
        client.close()
        return jobs

    def drain(self, slots: int, limit_seconds: float) -> None:
        """Run an agent until no job is left."""
        with self.process("agent", "--drain", "--slots", str(slots)) as agent:
            if agent.wait(limit_seconds) != 0:
                raise SystemExit(f"the agent failed; see {self.folder / 'agent.log'}")


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="jobs in each series (default: 200)")
    parser.add_argument("--slots", type=int, default=2, help="slots of the throughput series (default: 2)")
    parser.add_argument("--folder", type=Path, help="empty folder to work in and to keep (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name:
        site = Site(options.folder or Path(name))
        with site.process("wms"):
            figures = measure(site, options.jobs, options.slots)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(site: Site, jobs: int, slots: int) -> dict[str, Any]:
    """All figures, seconds and bytes."""
    figures: dict[str, Any] = {"jobs": jobs, "latency": {"bare subprocess.run": spread(bare(jobs))}, "spans": {}}
    for name, description in SERIES.items():
        ids = site.submit(description, jobs + WARM_UP)
        site.drain(1, 60 + jobs)
        counted = ids[WARM_UP:]
        figures["latency"][name] = spread(latencies(site, counted))
        figures["spans"][name] = spans(site, counted)
    ids = site.submit(SERIES["a: no sandboxes"], jobs + WARM_UP)
    site.drain(slots, 60 + jobs)
    figures["throughput"] = {"slots": slots, "jobs_per_second": rate(site, ids[WARM_UP:])}
    figures["wrapper_private_bytes"] = private_memory(site)
    return figures


def bare(count: int) -> list[float]:
    """Seconds of each of *count* bare runs."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        times.append(time.perf_counter() - start)
    return times


def moments(site: Site, jobs: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Match and final status of each job, UTC nanoseconds by the WMS's clock."""
    found, client = {}, site.client()
    for job in jobs:
        attempts = client.witness(job)
        if [each["Status"] for each in attempts] != ["Done"]:
            ends = ", ".join(f"{each['Status']} / {each['MinorStatus']}" for each in attempts)
            raise SystemExit(f"job {job} ended {ends}, which is no measurement")
        (attempt,) = attempts
        matched = next(e.fact for e in read_journal(_control(site, job)) if isinstance(e.fact, JobMatched))
        found[job] = (matched.match_end_utc_ns, parse_utc(str(attempt["EndTime"])))
    client.close()
    return found


def latencies(site: Site, jobs: Sequence[int]) -> list[float]:
    """Seconds from match to final status."""
    return [(end - start) / NANOSECONDS for start, end in moments(site, jobs).values()]


def rate(site: Site, jobs: Sequence[int]) -> float:
    """Jobs a second, from the first match to the last final status."""
    times = moments(site, jobs).values()
    return len(jobs) * NANOSECONDS / (max(end for _, end in times) - min(start for start, _ in times))


def spans(site: Site, jobs: Sequence[int]) -> dict[str, dict[str, float]]:
    """Median seconds and count a job of every span's name."""
    wanted = {str(job) for job in jobs}
    read = read_spans(site.folder / "telemetry" / "traces.jsonl").spans
    traces = {each.trace_id for each in read if str(each.attributes.get("jobspan.job.id")) in wanted}
    durations = defaultdict(list)
    for each in read:
        if each.trace_id in traces and each.name not in ("submit", "queue"):  # before the match
            durations[each.name].append((each.end_ns - each.start_ns) / NANOSECONDS)
    return {
        name: {"median_seconds": statistics.median(values), "a_job": len(values) / len(jobs)}
        for name, values in durations.items()
    }


def private_memory(site: Site) -> int | None:
    """Private_Clean + Private_Dirty of a wrapper while its payload waits; None where the kernel hides it from us."""
    gate = site.folder / "gate"
    os.mkfifo(gate)
    (job,) = site.submit({"Executable": "/bin/cat", "Arguments": str(gate), "CPUTime": 600}, 1)
    with site.process("agent", "--drain") as agent:
        eventually(lambda: _fact(site, job, PayloadStarted), 30, "the payload")
        with gate.open("w"):  # opens when the payload reads, and lets it go when closed
            started = _fact(site, job, WrapperStarted)
            size = _private(started.pid)
        agent.wait(60)
    return size


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {
        "median_seconds": statistics.median(values),
        "p99_seconds": sorted(values)[min(len(values) - 1, round(len(values) * 0.99))],
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    print(f"/bin/true, {figures['jobs']} runs each{'':8}{'median ms':>12}{'p99 ms':>10}")
    for name, values in figures["latency"].items():
        print(f"  {name:30}{values['median_seconds'] * 1000:12.1f}{values['p99_seconds'] * 1000:10.1f}")
    throughput, private = figures["throughput"], figures["wrapper_private_bytes"]
    print(f"jobs a second, {throughput['slots']} slots{throughput['jobs_per_second']:22.1f}")
    shown = (
        f"{private / 2**20:.1f} MiB"
        if private is not None
        else "not readable as an ordinary user (wrappers are non-dumpable)"
    )
    print(f"private memory of a wrapper     {shown:>11}")
    for name, table in figures["spans"].items():
        print(f"where the time goes, {name} (median ms of a span, spans a job)")
        for span, values in sorted(table.items(), key=lambda item: -item[1]["median_seconds"]):
            print(f"  {span:44}{values['median_seconds'] * 1000:8.2f}{values['a_job']:8.2g}")


def _fact(site: Site, job: int, kind: type[Any]) -> Any:
    folder = _control(site, job)
    facts = (entry.fact for entry in read_journal(folder)) if folder.is_dir() else ()
    return next((each for each in facts if isinstance(each, kind)), None)


def _control(site: Site, job: int) -> Path:
    return site.folder / "jobs" / f"{job}.1" / "control"


def _private(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        return None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def _jdl(description: dict[str, Any]) -> str:
    def value(each: Any) -> str:
        return "{" + ", ".join(map(value, each)) + "}" if isinstance(each, list) else json.dumps(each)

    return "[" + " ".join(f"{name} = {value(each)};" for name, each in description.items()) + "]"


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


if __name__ == "__main__":
    main()
