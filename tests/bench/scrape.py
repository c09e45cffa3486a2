"""A scrape of an agent with 1,000 living jobs, beside a process that holds plain gauges of prometheus_client for them.

Ours reads the journals of its jobs, which grow meanwhile as those of long jobs do (a sample and a look at the output
each 15 s), keeps its durable totals, and shows 5 gauges a job. The other has those 5 gauges of the same jobs with the
same values, set once, reads nothing, and serves them by the library's own server. Both are processes of their own,
scraped as Prometheus does it, in turns. CPU is that of such a process from one scrape to the next, for what else it
does meanwhile too. Memory is resident memory after all scrapes, beside that of ours without a job.
"""

import gzip
import http.client
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from telemetry.clock import SystemClock
from telemetry.facts import JobAccepted, OutputSeen, StageFinished, StageStarted, UsageSampled, WrapperStarted
from telemetry.journal import Journal
from tests.bench.table import Row, percentile, spread
from tests.support.attempts import job_matched

AIM_MS, AIM_MIB = 50.0, 10.0
SAMPLE_SECONDS = 15.0
SCRAPES = 30
#: Between two scrapes of the same process: the journals grow meanwhile.
PAUSE_SECONDS = 1.0
GAUGES = 5
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}


def rows(quick: bool) -> Iterator[Row]:
    """Time and memory, of fewer jobs and scrapes when *quick*."""
    jobs, scrapes = (50, 4) if quick else (1000, SCRAPES)
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        journals = [stack.enter_context(each) for each in _living(folder / "full" / "jobs", jobs)]
        (folder / "empty" / "jobs").mkdir(parents=True)
        stack.enter_context(_growing(journals))
        ours, plain, idle = (
            stack.enter_context(_server(kind, folder / where, jobs))
            for kind, where in (("ours", "full"), ("plain", "full"), ("ours", "empty"))
        )
        before = [_cpu_ms(each) for each in (ours, plain, idle)]
        took = _scraped((ours, plain, idle), scrapes)
        used = [(_cpu_ms(each) - cpu) / (scrapes + 1) for each, cpu in zip((ours, plain, idle), before, strict=True)]
        expected = jobs * GAUGES
        found = [_gauges_in(each) for each in (ours, plain, idle)]
        if found != [expected, expected, 0]:
            raise SystemExit(f"{found} gauges are shown, not {expected}, {expected} and 0: this is no measurement")
        more, theirs = (_rss_mib(each) - _rss_mib(idle) for each in (ours, plain))
    ms = [[1000 * each for each in times] for times in took]
    yield Row(
        what=f"scrape of an agent with {jobs} living jobs, median (95th percentile) and all CPU until the next",
        ours=f"{_figures(ms[0])}, CPU {used[0]:.0f} ms",
        against=f"plain gauges {_figures(ms[1])}, CPU {used[1]:.0f} ms",
        ratio=spread([one / other for one, other in zip(ms[0], ms[1], strict=True)]),
        aim=f"{AIM_MS:.0f} ms",
        reached=statistics.median(ms[0]) < AIM_MS,
    )
    yield Row(
        what=f"the agent's memory with {jobs} living jobs, beside itself without",
        ours=f"{more:+.1f} MiB",
        against=f"plain gauges {theirs:+.1f} MiB",
        aim=f"{AIM_MIB:.0f} MiB",
        reached=more <= AIM_MIB,
    )


def _figures(ms: Sequence[float]) -> str:
    return f"{statistics.median(ms):.1f} ms ({percentile(ms, 0.95):.1f})"


def _living(folder: Path, count: int) -> Iterator[Journal]:
    """The journals of *count* wrappers whose payloads run."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 1 << 16), most))
    clock = SystemClock()
    for job_id in range(1, count + 1):
        control = folder / f"{job_id}.1" / "control"
        control.mkdir(parents=True)
        with Journal(control, "agent", clock) as agent:
            agent.append(job_matched(job_id))
            agent.append(JobAccepted(task=f"task-{job_id}", computing_element="ce.test.org"))
        journal = Journal(control, "wrapper", clock)
        now = clock.boottime_ns()
        journal.append(WrapperStarted(pid=job_id, start_boottime_ns=now, started_by="zygote", version="1.0"))
        for stage, following in (("initialize", "transfer_input_sandbox"), ("transfer_input_sandbox", "execute")):
            journal.append(StageFinished(stage=stage, at_boottime_ns=now, result="success"))  # type: ignore[arg-type]
            journal.append(StageStarted(stage=following, at_boottime_ns=now))  # type: ignore[arg-type]
        _sample(journal, 1)
        yield journal


def _sample(journal: Journal, number: int) -> None:
    """What a watchdog writes at one sample."""
    journal.append(
        UsageSampled(
            stage="execute", cpu_user_seconds=14.5 * number, cpu_system_seconds=0.3 * number, cpu_method="cgroup2",
            wall_seconds=15.0 * number, rss_bytes=1 << 30, processes=3, threads=9, read_bytes=number << 20,
            written_bytes=number << 16, available_disk_bytes=1 << 38, load_average=64.0,
        )
    )  # fmt: skip
    journal.append(OutputSeen(stream="stdout", lines=40 * number, bytes=4000 * number, peek_lines_dropped=20 * number))


@contextmanager
def _growing(journals: Sequence[Journal]) -> Iterator[None]:
    """Each of *journals* gets a sample every 15 s, one after another, while the block runs."""
    over = threading.Event()

    def write() -> None:
        number = 1
        while True:
            number += 1
            for journal in journals:
                if over.wait(SAMPLE_SECONDS / len(journals)):
                    return
                _sample(journal, number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _server(kind: str, folder: Path, jobs: int) -> Iterator[tuple[str, int]]:
    """Address and pid of a process that serves the metrics."""
    command = [sys.executable, __file__, kind, str(folder), str(jobs)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.communicate()


def _scraped(servers: Sequence[tuple[str, int]], scrapes: int) -> list[list[float]]:
    """Seconds of each scrape, the servers in turns."""
    took: list[list[float]] = [[] for _ in servers]
    pause = threading.Event()
    for number in range(scrapes + 1):
        for times, server in zip(took, servers, strict=True):
            begun = time.perf_counter()
            _scrape(server)
            if number:  # the first one warms up
                times.append(time.perf_counter() - begun)
        pause.wait(PAUSE_SECONDS)
    return took


def _scrape(server: tuple[str, int]) -> bytes:
    address = urlsplit(server[0])
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.request("GET", address.path, headers=HEADERS)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"a scrape ended with {answer.status}")
    return body


def _gauges_in(server: tuple[str, int]) -> int:
    """How many gauges of jobs a scrape shows."""
    return gzip.decompress(_scrape(server)).decode().count('{job_id="')


def _cpu_ms(server: tuple[str, int]) -> float:
    """CPU of a server so far."""
    fields = Path(f"/proc/{server[1]}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(server: tuple[str, int]) -> float:
    pages = int(Path(f"/proc/{server[1]}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    """One of the processes: it serves until its input ends."""
    kind, folder, jobs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    print(_ours(folder) if kind == "ours" else _plain(jobs), flush=True)
    sys.stdin.read()


def _ours(folder: Path) -> str:
    """What an agent does for its metrics; their address."""
    from telemetry.live.exposition import MetricsServer
    from telemetry.live.metrics import JobMetrics
    from telemetry.live.reading import Reader

    metrics = JobMetrics(folder / "counters.jsonl", SystemClock(), version="1.0")
    metrics.rescan(folder / "jobs")
    Reader(metrics.look).start()
    server = MetricsServer(metrics)
    server.start()
    return server.url


def _plain(jobs: int) -> str:
    """What somebody would write who has prometheus_client and no journals."""
    from prometheus_client import CollectorRegistry, Gauge, start_http_server

    from telemetry import catalogue as names

    registry = CollectorRegistry()
    for metric in (names.JOB_WALL, names.JOB_CPU, names.JOB_MEMORY, names.JOB_PEEK_LINES, names.JOB_LAST_OUTPUT):
        gauge = Gauge(metric.name, metric.help, metric.labels, registry=registry)
        for job_id in range(1, jobs + 1):
            gauge.labels(str(job_id)).set(1e9 + job_id / 7)
    server, _ = start_http_server(0, "127.0.0.1", registry)
    return f"http://127.0.0.1:{server.server_port}/metrics"


if __name__ == "__main__":
    main()
