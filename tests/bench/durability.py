"""What it costs that facts are forced to disk: how often for one job, how long that takes, and what it adds to it.

Agent and wrapper are started through this module's own door, which counts and times each fsync; in every second
job the wrapper's are left out, and that is the alternative.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telemetry.facts import AttemptEnded, JobMatched
from telemetry.journal import read_journal
from tests.bench.table import Row, spread
from tests.support.site import Site, running_site

JOBS = 60
WARM_UP = 4
CALLS = "fsyncs"
_HOOK = "from runner.compose.wrapper import wrapper_main\n"


def rows(quick: bool) -> Iterator[Row]:
    """Calls and milliseconds of one job, and the life of a job with and without."""
    jobs = 8 if quick else JOBS
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name, running_site(Path(name) / "site") as site:
        site.agent.stop()
        command = [sys.executable, "-m", "tests.bench.durability", "--folder", str(site.config.folder), "agent"]
        with (site.config.folder / "agent.err").open("ab") as errors:
            agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, stdin=subprocess.DEVNULL)
        try:
            lives = [_life(site) for _ in range(WARM_UP + jobs)][WARM_UP:]
        finally:
            agent.terminate()
            agent.wait(60)
        calls = [line.split() for line in (site.config.folder / CALLS).read_text().splitlines()]
    yield from _rows(lives, calls)


def _rows(lives: list[tuple[int, float]], calls: list[list[str]]) -> Iterator[Row]:
    whole = [(job_id, life) for job_id, life in lives if _is_forced(job_id)]
    counts, durations = [], []
    for job_id, _ in whole:
        nanoseconds = [int(ns) for job, ns in calls if job == f"{job_id}.1"]
        counts.append(len(nanoseconds))
        durations.append(sum(nanoseconds) / 1e6)
    with_, without = [life for _, life in whole], [life for job_id, life in lives if not _is_forced(job_id)]
    pairs = [one / other for one, other in zip(with_, without, strict=False)]
    yield Row(
        what="forced to disk for one /bin/true job, agent and wrapper",
        ours=f"{statistics.median(counts):.0f} calls, {statistics.median(durations):.1f} ms",
    )
    yield Row(
        what=f"/bin/true from match to end, {len(pairs)} pairs",
        ours=f"{statistics.median(with_):.1f} ms",
        against=f"wrapper without fsync: {statistics.median(without):.1f} ms",
        ratio=spread(pairs),
    )


def _life(site: Site) -> tuple[int, float]:
    job_id = site.submit(Executable="/bin/true")
    end = site.wait_fact(job_id, AttemptEnded).boottime_ns
    control = site.wait_folder(job_id) / "control"
    (start,) = [each.boottime_ns for each in read_journal(control) if isinstance(each.fact, JobMatched)]
    site.wait(job_id, "Done")
    return job_id, (end - start) / 1e6


def _is_forced(job_id: int) -> bool:
    return job_id % 2 == 0


def count(folder: Path, *, control: Path | None = None) -> None:
    """From now on each fsync of this process is timed and written down, by the attempt of its file."""
    calls = os.open(folder / CALLS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    forced = control is None or _is_forced(int(control.parent.name.partition(".")[0]))

    def timed(inner: Any) -> Any:
        def call(fd: int) -> None:
            start = time.perf_counter_ns()
            if forced:
                inner(fd)
            end = time.perf_counter_ns()
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            os.write(calls, f"{path.parent.parent.name} {end - start}\n".encode())

        return call

    os.fsync, os.fdatasync = timed(os.fsync), timed(os.fdatasync)


def main(arguments: list[str]) -> int:
    """The agent, with its own and its wrappers' calls counted."""
    from runner.cli import main as jobspan
    from runner.wrapper import template

    count(Path(arguments[1]))
    hook = "from tests.bench.durability import count\n\ncontrol = Path(__file__).absolute().parent\n"
    hook += "count(control.parents[2], control=control)\n"
    template.TEMPLATE = template.TEMPLATE.replace(_HOOK, _HOOK + hook)
    return jobspan(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
