"""From match to final status: `/bin/true` beside a bare run, jobs a second, and where the time goes.

Both times are by the WMS's own clock, one job after another; the first jobs of a series warm up and do not count.
What the machine needs at least is measured in the same run (`floor`): on one that is slower, or busy, both grow.
"""

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from telemetry.clock import NANOSECONDS
from telemetry.live.otlp_files import read_spans
from tests.bench import floor
from tests.bench.place import CONFIGURATION, TRUE, Place, a_place, latencies, rate
from tests.bench.table import Row, percentile

WARM_UP = 5
SLOTS = 2
OUTPUTS = {**TRUE, "OutputSandbox": ["std.out", "std.err"]}
#: (a) and (b) of the aims: name, description, median and 99th percentile in milliseconds.
SERIES = (
    ("(a) /bin/true, match to final status, no sandboxes", TRUE, 30.0, 150.0),
    ("(b) the same, with both outputs uploaded", OUTPUTS, 50.0, 150.0),
)


def rows(quick: bool) -> Iterator[Row]:
    """Latency warm and alone, and throughput."""
    jobs = 20 if quick else 200
    bare = floor.measure(jobs)
    yield from bare.rows()
    with a_place() as place:
        for (what, description, median_ms, p99_ms), bare_ms in zip(
            SERIES, (bare.job_ms, bare.output_job_ms), strict=True
        ):
            yield from _series(place, what, description, jobs, (median_ms, p99_ms, bare_ms))
        yield from _throughput(place, jobs, bare)
    with a_place(CONFIGURATION.replace("[WMS]", "WarmStart = false\n[WMS]")) as place:
        ids = place.submit(TRUE, jobs // 10)
        place.drain(1, 60 + jobs)
        alone = statistics.median(latencies(place, ids)) * 1000
        imports = statistics.median(_imports(jobs // 10)) * 1000
        yield Row(
            what="the same as (a), each wrapper a new interpreter",
            ours=f"{alone:.0f} ms",
            against=f"a new interpreter that only imports the wrapper: {imports:.0f} ms",
            ratio=f"{alone / imports:.1f}",
            aim="300 ms",
            reached=alone <= 300,
        )


def _series(
    place: Place, what: str, description: dict[str, object], jobs: int, limits_ms: tuple[float, float, float]
) -> Iterator[Row]:
    """*limits_ms*: the aims for the median and the 99th percentile, and the bare job."""
    median_aim, last_aim, bare_job = limits_ms
    ids = place.submit(description, jobs + WARM_UP)
    bare = statistics.median(_bare(jobs)) * 1000
    place.drain(1, 60 + jobs)
    times = [each * 1000 for each in latencies(place, ids[WARM_UP:])]
    median, last = statistics.median(times), percentile(times, 0.99)
    _show_spans(place, what, ids[WARM_UP:])
    yield Row(
        what=f"{what}, median of {jobs}",
        ours=f"{median:.1f} ms",
        against=f"bare job {bare_job:.1f} ms; bare run {bare:.1f} ms; DIRAC 5.78 s",
        ratio=f"{median / bare_job:.1f}",
        aim=f"{median_aim:.0f} ms",
        reached=median <= median_aim,
    )
    yield Row(
        what=f"{what}, 99th percentile", ours=f"{last:.1f} ms", aim=f"{last_aim:.0f} ms", reached=last <= last_aim
    )


def _throughput(place: Place, jobs: int, bare: floor.Floor) -> Iterator[Row]:
    """Jobs a second, and what one costs the WMS and the agent with all its processes, less an agent without jobs."""
    idle = _drained(place)
    ids = place.submit(TRUE, jobs + WARM_UP)
    wms, others = (used - start for used, start in zip(_drained(place, jobs), idle, strict=True))
    found = rate(place, ids[WARM_UP:])
    cost = (wms + others) / len(ids) * 1000
    yield Row(
        what=f"jobs a second, {SLOTS} slots",
        ours=f"{found:.1f}",
        against=f"bare jobs {bare.jobs_a_second:.1f}",
        ratio=f"{found / bare.jobs_a_second:.2f}",
        aim="at least 25",
        reached=found >= 25,
    )
    yield Row(
        what=f"CPU of one of these jobs (WMS {wms / len(ids) * 1000:.1f} ms)",
        ours=f"{cost:.1f} ms",
        against=f"bare job {bare.job_cpu_ms:.1f} ms",
        ratio=f"{cost / bare.job_cpu_ms:.1f}",
    )


def _drained(place: Place, jobs: int = 0) -> tuple[float, float]:
    """CPU seconds of the WMS, and of an agent with its processes, that runs until no job is left."""
    wms, others = floor.cpu_seconds(place.wms_pid), floor.children_cpu_seconds()
    place.drain(SLOTS, 60 + jobs)
    return floor.cpu_seconds(place.wms_pid) - wms, floor.children_cpu_seconds() - others


def _imports(count: int) -> list[float]:
    """Seconds of each of *count* interpreters that load what a wrapper needs, and end."""
    return [_seconds([sys.executable, "-I", "-c", "import runner.compose.wrapper"]) for _ in range(count)]


def _bare(count: int) -> list[float]:
    """Seconds of each of *count* bare runs."""
    return [_seconds(["/bin/true"]) for _ in range(count)]


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def _show_spans(place: Place, what: str, jobs: Sequence[int]) -> None:
    """Print median and count a job of every span's name: where the time goes."""
    wanted = {str(job) for job in jobs}
    read = read_spans(place.folder / "telemetry" / "traces.jsonl").spans
    traces = {each.trace_id for each in read if str(each.attributes.get("jobspan.job.id")) in wanted}
    durations = defaultdict(list)
    for each in read:
        if each.trace_id in traces and each.name not in ("submit", "queue"):  # before the match
            durations[each.name].append((each.end_ns - each.start_ns) / NANOSECONDS * 1000)
    print(f"where the time goes, {what} (median ms of a span, spans a job)")
    for name, values in sorted(durations.items(), key=lambda item: -statistics.median(item[1])):
        print(f"  {name:44}{statistics.median(values):8.2f}{len(values) / len(jobs):8.2g}")
