"""The agent's metrics: a fold of the journals, shown by a Prometheus collector of our own.

Totals belong to the agent, because a counter of a job that lives shorter than two scrapes lies.
They are the shares of ended attempts (`counters`, durable) and of the living, which are folded
from their journals at each scrape. What was shown once never falls: an accounting record that
corrects a total downwards sets a floor until the truth has grown past it.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar

from telemetry import catalogue as names
from telemetry import identity
from telemetry.clock import NANOSECONDS, Clock
from telemetry.facts import STAGES
from telemetry.journal import JournalTail, is_written
from telemetry.live.counters import CountersFile, StageHistogram, Totals
from telemetry.live.kills import BOUNDS, SUM
from telemetry.live.tally import STREAMS, AttemptFold, Key, Living, StageSeen, corrected, in_unit

_log = logging.getLogger(__name__)

_COUNTERS = (
    *(names.PAYLOAD_CPU, names.WALL, names.WALL_CORE, names.PEEK_LINES, names.PEEK_LINES_DROPPED),
    *(names.OUTPUT_BYTES, names.JOBS_FINISHED, names.LIMITS_HIT, names.KILLS, names.SIGNALS, names.KILL_SURVIVED),
)
#: Sinks whose series exist from the start, beside those of the telemetry.
_WMS_SINKS = ("wms-status", "wms-accounting")
#: Other ends than success whose first one somebody waits for: an alert sees an increase, and never a beginning.
_OTHER_ENDS = (
    *(("Failed", cause) for cause in ("payload_failed", "wrapper_died", "reboot", "starter_died", "submission_failed")),
    *(("Rescheduled", cause) for cause in ("wrapper_died", "reboot", "starter_died", "submission_failed", "preempted")),
    ("Killed", "killed"),
)
#: Series that exist from the start, so that the first job is an increase and not a beginning.
_ZEROS: dict[Key, int] = {
    **{(names.PAYLOAD_CPU.name, (mode,)): 0 for mode in ("user", "system")},
    **{(names.WALL.name, (stage,)): 0 for stage in STAGES},
    (names.WALL_CORE.name, ()): 0,
    **{
        (metric.name, (stream,)): 0
        for metric in (names.PEEK_LINES, names.PEEK_LINES_DROPPED, names.OUTPUT_BYTES)
        for stream in STREAMS
    },
    (names.JOBS_FINISHED.name, ("Done", "")): 0,
    **{(names.JOBS_FINISHED.name, end): 0 for end in _OTHER_ENDS},
    (names.LIMITS_HIT.name, ("cpu", "kill")): 0,
    **{(names.KILLS.name, (origin, "")): 0 for origin in ("user", "signal", "fence", "wrapper", "recovery")},
    **{(names.KILLS.name, ("watchdog", limit)): 0 for limit in ("cpu", "memory", "wall_clock")},
    (names.SIGNALS.name, ("SIGTERM", "end")): 0,
    (names.KILL_SURVIVED.name, ()): 0,
}


@dataclass(frozen=True, kw_only=True)
class SelfStatus:
    """How the telemetry itself fares, by sink: ended attempts that it has not taken, dead letters, copies that it
    got, what was removed before it took it; and by what the agent is short of, why it takes no job."""

    spool_pending: Mapping[str, int] = field(default_factory=dict)
    dead: Mapping[str, int] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)
    expired: Mapping[str, int] = field(default_factory=dict)
    shortage: Mapping[str, str] = field(default_factory=dict)
    #: Ended attempts of which the WMS has not taken everything.
    owed_to_wms: int = 0
    #: How many jobs run at most at one time; 0 where there is no agent.
    slots: int = 0


@dataclass
class _Followed:
    tail: JournalTail
    fold: AttemptFold = field(default_factory=AttemptFold)

    def poll(self) -> None:
        for entry in self.tail.poll():
            self.fold.add(entry)


class JobMetrics:
    """A prometheus_client collector over the attempts of one agent. Safe to use from several threads."""

    def __init__(
        self,
        counters: Path,
        clock: Clock,
        *,
        version: str,
        status: Callable[[], SelfStatus] = SelfStatus,
    ) -> None:
        """Load the file *counters*; *version* is the agent's."""
        self._file = CountersFile(counters)
        self._clock = clock
        self._version = version
        self._status = status
        self._mutex = threading.Lock()
        self._followed: dict[Path, _Followed] = {}
        self._shown: dict[Key, int] = dict(self._file.floors)
        self._damaged = self._file.damaged

    def registry(self) -> CollectorRegistry:
        """A registry of its own, with nothing else in it."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    # --- what happens -----------------------------------------------------------------------------

    def follow(self, control: Path) -> None:
        """Fold the journal in *control* from now on; following it twice changes nothing."""
        with self._mutex:
            self._followed.setdefault(control, _Followed(JournalTail(control)))

    def rescan(self, jobs_folder: Path) -> list[Path]:
        """Follow every attempt below *jobs_folder* that is not in the counters yet.

        To be called before /metrics is served: a total without the living jobs of before would look
        like a counter reset. Returns the folders of attempts that have ended and wait for `attempt_ended`.
        """
        ended = []
        for control in sorted(jobs_folder.glob("*/control")):
            followed = _Followed(JournalTail(control))
            followed.poll()
            match = followed.fold.match
            if match is None or match.uid in self._file:
                continue
            with self._mutex:
                self._followed.setdefault(control, followed)
            if followed.fold.ended and not is_written(control, "wrapper"):  # else it is in finalize
                ended.append(control)
        return ended

    def attempt_ended(self, control: Path, record: Mapping[str, object] | None) -> None:
        """Make the share of the attempt in *control* final, as *record* corrects it; once for each UID."""
        with self._mutex:
            followed = self._followed.pop(control, None) or _Followed(JournalTail(control))
            followed.poll()
            self._damaged += followed.tail.damaged
            tally = followed.fold.tally()
            if not tally.uid:
                return
            try:
                self._file.add(corrected(tally, record) if record else tally)
                self._keep_floors()
            except OSError as error:  # counted in memory; the journal is folded again after a restart
                _log.warning("cannot write the counters: %s", error)

    def _keep_floors(self) -> None:
        totals = self._totals()
        floors = {
            key: shown
            for key, shown in self._shown.items()
            if shown > totals.counters.get(key, 0) and shown > self._file.floors.get(key, 0)
        }
        if floors:
            self._file.raise_floors(floors)

    # --- what is shown ----------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """All metrics of the catalogue, read from the journals now."""
        with self._mutex:
            for control in list(self._followed):
                self._followed[control].poll()
            totals = self._totals()
            counters = self._never_falling(totals.counters)
            living = self._living()
            damaged = self._damaged + sum(each.tail.damaged for each in self._followed.values())
        yield from _counter_families(counters)
        yield _kill_family(counters)
        yield _histogram_family(totals.histograms)
        yield from self._gauge_families(living)
        yield from self._self_families(damaged)

    def _totals(self) -> Totals:
        shares = (each.fold.tally() for each in self._followed.values())
        return self._file.totals.plus(share for share in shares if share.uid not in self._file)

    def _never_falling(self, counters: Mapping[Key, int]) -> Mapping[Key, int]:
        for key, value in (*_ZEROS.items(), *counters.items()):
            self._shown[key] = max(value, self._shown.get(key, 0))
        return dict(self._shown)

    def _living(self) -> list[Living]:
        """The living jobs, of two attempts the later; a job whose folder has vanished does not live."""
        by_job: dict[int, Living] = {}
        for control, followed in self._followed.items():
            living = followed.fold.living()
            if living and control.is_dir():
                before = by_job.get(living.job_id)
                by_job[living.job_id] = living if before is None or living.attempt > before.attempt else before
        return [by_job[job_id] for job_id in sorted(by_job)]

    def _gauge_families(self, living: list[Living]) -> Iterator[Metric]:
        now = (self._clock.boot_id, self._clock.boottime_ns())
        columns: tuple[tuple[names.Metric, Callable[[Living], float | None]], ...] = (
            (names.JOB_WALL, lambda job: _since(job.wall_start, now)),
            (names.JOB_CPU, lambda job: job.cpu_ns / NANOSECONDS),
            (names.JOB_MEMORY, lambda job: job.rss_bytes),
            (names.JOB_PEEK_LINES, lambda job: job.lines),
            (names.JOB_LAST_OUTPUT, lambda job: job.last_output_utc_ns / NANOSECONDS or None),
        )
        for metric, value_of in columns:
            rows = [((str(job.job_id),), value_of(job)) for job in living]
            yield _gauge(metric, ((labels, value) for labels, value in rows if value is not None))
        yield from _stage_families(living, now)

    def _self_families(self, damaged: int) -> Iterator[Metric]:
        status = self._status()
        family = CounterMetricFamily(names.FACTS_DAMAGED.name, names.FACTS_DAMAGED.help)
        family.add_metric((), damaged)
        yield family
        pending = {**status.spool_pending, "wms": status.owed_to_wms}
        yield _gauge(names.SPOOL_PENDING, (((sink,), count) for sink, count in sorted(pending.items())))
        zeros = dict.fromkeys((*_WMS_SINKS, *status.spool_pending), 0)
        dead = {**zeros, **status.dead}
        yield _gauge(names.OUTBOX_DEAD, (((sink,), count) for sink, count in sorted(dead.items())))
        yield _counter(names.OUTBOX_EXPIRED, {**zeros, **status.expired})
        yield _counter(names.DELIVERY_COPIES, {**zeros, **status.copies})
        yield _gauge(names.SHORTAGE, (((of,), of in status.shortage) for of in ("disk", "outbox")))
        if status.slots:
            yield _gauge(names.SLOTS, [((), status.slots)])
        yield _gauge(names.BUILD_INFO, [((self._version,), 1)])


def _stage_families(living: list[Living], now: tuple[str, int]) -> Iterator[Metric]:
    jobs, longest = dict.fromkeys(STAGES, 0), dict.fromkeys(STAGES, 0.0)
    for job in living:
        jobs[job.stage] += 1
        longest[job.stage] = max(longest[job.stage], _since(job.stage_start, now) or 0.0)
    yield _gauge(names.JOBS_LIVING, (((stage,), count) for stage, count in jobs.items()))
    yield _gauge(names.STAGE_LONGEST, (((stage,), seconds) for stage, seconds in longest.items()))


def _since(start: tuple[str, int], now: tuple[str, int]) -> float | None:
    """Seconds between two boottimes; None across boots."""
    return (now[1] - start[1]) / NANOSECONDS if start[0] == now[0] else None


def _gauge(metric: names.Metric, rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _counter(metric: names.Metric, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for label, count in sorted(counts.items()):
        family.add_metric((label,), count)
    return family


def _counter_families(counters: Mapping[Key, int]) -> Iterator[Metric]:
    for metric in _COUNTERS:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for (name, labels), value in sorted(counters.items()):
            if name == metric.name:
                family.add_metric(labels, in_unit((name, labels), value))
        yield family


def _kill_family(counters: Mapping[Key, int]) -> Metric:
    metric = names.KILL_SECONDS
    family = HistogramMetricFamily(metric.name, metric.help)
    reached = 0
    buckets: list[tuple[str, float]] = []
    for bound in BOUNDS:
        reached += counters.get((metric.name, (bound,)), 0)
        buckets.append((bound, reached))
    family.add_metric((), buckets, counters.get((metric.name, (SUM,)), 0) / NANOSECONDS)
    return family


def _histogram_family(histograms: Mapping[tuple[str, str], StageHistogram]) -> Metric:
    metric = names.STAGE_DURATION
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = (*(str(bound) for bound in metric.buckets), "+Inf")
    for labels, histogram in sorted(histograms.items()):
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        reached = 0
        for index, bound in enumerate(bounds):
            reached += histogram.counts[index]
            latest = histogram.exemplars.get(index)
            buckets.append((bound, reached, _exemplar(*latest)) if latest else (bound, reached))
        family.add_metric(labels, buckets, histogram.sum_ns / NANOSECONDS)
    return family


def _exemplar(uid: str, seen: StageSeen) -> Exemplar:
    """The trace of an attempt and the span of its stage, which both follow from the UID."""
    span_id = identity.span_id(uid, names.stage_path(seen.stage))
    labels = {"trace_id": identity.trace_id(uid), "span_id": span_id}
    return Exemplar(labels, seen.duration_ns / NANOSECONDS, seen.end_utc_ns / NANOSECONDS)
