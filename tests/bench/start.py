"""From the fork request for a wrapper to its payload's exec, beside `subprocess.Popen` of the same program."""

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence

from telemetry.clock import NANOSECONDS
from telemetry.facts import OperationFinished, PayloadStarted, WrapperStarted
from telemetry.journal import read_journal
from tests.bench.floor import bare_jobs
from tests.bench.place import TRUE, Place, a_place
from tests.bench.table import Row

WARM_UP = 5
AIM_MS = 10.0


def rows(quick: bool) -> Iterator[Row]:
    """The whole start, and what of it is not the wait for the WMS's word that this execution may run."""
    jobs = 20 if quick else 200
    with a_place() as place:
        ids = place.submit(TRUE, jobs + WARM_UP)
        place.drain(1, 60 + jobs)
        starts = [_start(place, job) for job in ids[WARM_UP:]]
    popen = statistics.median(_popen(jobs))
    whole = statistics.median(start for start, _ in starts)
    own = statistics.median(start - wait for start, wait in starts)
    bones = bare_jobs(jobs)
    bare = statistics.median(each.own_start_seconds for each in bones) * 1000
    bare_whole = statistics.median(each.start_seconds for each in bones) * 1000
    yield Row(
        what="floor of this run: the same of a bare job (warm wrapper and starter, a group, two lines forced before)",
        ours=f"{bare:.1f} ms; with the answer {bare_whole:.1f} ms",
        against=f"Popen {popen:.1f} ms",
        ratio=f"{bare / popen:.1f}",
    )
    yield Row(
        what="fork request to payload exec, warm, less the WMS's answer to Running",
        ours=f"{own:.1f} ms",
        against=f"bare job {bare:.1f} ms; Popen {popen:.1f} ms",
        ratio=f"{own / bare:.1f}",
        aim="below 10 ms",
        reached=own < AIM_MS,
    )
    yield Row(
        what="the same with that answer (no payload starts before it: the fence)",
        ours=f"{whole:.1f} ms",
        against=f"bare job {bare_whole:.1f} ms; Popen {popen:.1f} ms",
        ratio=f"{whole / bare_whole:.1f}",
    )


def _start(place: Place, job: int) -> tuple[float, float]:
    """Milliseconds of the start, and of the calls in `initialize`, which it waits for."""
    entries = read_journal(place.control(job))
    begin = next(each.fact.start_boottime_ns for each in entries if isinstance(each.fact, WrapperStarted))
    end = next(each.boottime_ns for each in entries if isinstance(each.fact, PayloadStarted))
    calls: Sequence[int] = [
        each.fact.end_boottime_ns - each.fact.start_boottime_ns
        for each in entries
        if isinstance(each.fact, OperationFinished) and each.fact.stage == "initialize" and each.boottime_ns < end
    ]
    return (end - begin) / NANOSECONDS * 1000, sum(calls) / NANOSECONDS * 1000


def _popen(count: int) -> list[float]:
    """Milliseconds until Popen knows that the exec has succeeded."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        process = subprocess.Popen(["/bin/true"])
        times.append((time.perf_counter() - start) * 1000)
        process.wait()
    return times
