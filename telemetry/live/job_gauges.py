"""The gauges of living jobs, as the metrics of a node and of a single job both show them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import CollectorRegistry

from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS, Clock
from telemetry.facts import STAGES
from telemetry.journal import JournalTail
from telemetry.live.following import Followed
from telemetry.live.tally import Living


def job_gauges(living: Sequence[Living], clock: Clock) -> Iterator[Metric]:
    """What each of the *living* jobs shows now."""
    now = (clock.boot_id, clock.boottime_ns())
    columns: tuple[tuple[names.Metric, Callable[[Living], float | None]], ...] = (
        (names.JOB_WALL, lambda job: _since(job.wall_start, now)),
        (names.JOB_CPU, lambda job: job.cpu_ns / NANOSECONDS),
        (names.JOB_MEMORY, lambda job: job.rss_bytes),
        (names.JOB_PEEK_LINES, lambda job: job.lines),
        (names.JOB_LAST_OUTPUT, lambda job: job.last_output_utc_ns / NANOSECONDS or None),
    )
    for metric, value_of in columns:
        rows = [((str(job.job_id),), value_of(job)) for job in living]
        yield gauge(metric, ((labels, value) for labels, value in rows if value is not None))


def stage_gauges(living: Sequence[Living], clock: Clock) -> Iterator[Metric]:
    """In which stages the *living* jobs are, and how long at most; every stage has its series."""
    now = (clock.boot_id, clock.boottime_ns())
    jobs, longest = dict.fromkeys(STAGES, 0), dict.fromkeys(STAGES, 0.0)
    for job in living:
        jobs[job.stage] += 1
        longest[job.stage] = max(longest[job.stage], _since(job.stage_start, now) or 0.0)
    yield gauge(names.STAGE_JOBS, (((stage,), count) for stage, count in jobs.items()))
    yield gauge(names.STAGE_LONGEST, (((stage,), seconds) for stage, seconds in longest.items()))


def gauge(metric: names.Metric, rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """*metric* with a sample a row."""
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


class OneJob:
    """A prometheus_client collector for a wrapper without an agent: its gauges while the job lives, and no totals.

    A counter of a job that lives shorter than two scrapes lies; its totals are in the accounting.
    """

    def __init__(self, control: Path, clock: Clock, *, version: str, is_alone: Callable[[], bool]) -> None:
        """Follow the attempt in *control*; nothing is shown when an agent follows it too, which *is_alone* tells."""
        self._followed = Followed(JournalTail(control))
        self._clock = clock
        self._version = version
        self._is_alone = is_alone
        self._mutex = threading.Lock()

    def registry(self) -> CollectorRegistry:
        """A registry of its own, with nothing else in it."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        """The gauges of the job, in which stage it is, and which version runs it."""
        with self._mutex:
            self._followed.read()
            living = self._followed.living
        yield from job_gauges([living] if living and self._is_alone() else [], self._clock)
        yield gauge(names.BUILD_INFO, [((self._version,), 1)])
        yield from self._counted(living)

    def _counted(self, living: Living | None) -> Iterator[Metric]:
        """The job among all that live, which agents count too."""
        ours = [living] if living and self._is_alone() else []
        yield gauge(names.JOBS_LIVING, [((), len(ours))])
        yield from stage_gauges(ours, self._clock)


def _since(start: tuple[str, int], now: tuple[str, int]) -> float | None:
    """Seconds between two boottimes; None across boots."""
    return (now[1] - start[1]) / NANOSECONDS if start[0] == now[0] else None
