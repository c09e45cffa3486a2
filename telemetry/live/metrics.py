"""The agent's metrics: a fold of the journals, shown by a Prometheus collector of our own.

Totals belong to the agent, because a counter of a job that lives shorter than two scrapes lies.
They are the shares of ended attempts (`counters`, durable) and of the living, as far as their
journals were read. `look` reads them, again and again, so that a scrape waits for no file. What was
shown once never falls: an accounting record that corrects a total downwards sets a floor until the
truth has grown past it. The number of series is bounded, whatever jobs do.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar

from telemetry import catalogue as names
from telemetry import identity
from telemetry.clock import NANOSECONDS, Clock
from telemetry.facts import STAGES
from telemetry.journal import JournalTail, is_written
from telemetry.live.counters import CountersFile, StageHistogram, merged
from telemetry.live.following import Attempts, Followed
from telemetry.live.job_gauges import gauge, job_gauges, stage_gauges
from telemetry.live.kills import BOUNDS, SUM
from telemetry.live.tally import STREAMS, Key, StageSeen, corrected, in_unit

_log = logging.getLogger(__name__)

_COUNTERS = (
    *(names.PAYLOAD_CPU, names.WALL, names.WALL_CORE, names.PEEK_LINES, names.PEEK_LINES_DROPPED),
    *(names.OUTPUT_BYTES, names.JOBS_FINISHED, names.LIMITS_HIT, names.KILLS, names.SIGNALS, names.KILL_SURVIVED),
)
_PAYLOAD_TELEMETRY = (names.PAYLOAD_TELEMETRY_CALLS, names.PAYLOAD_TELEMETRY_ITEMS, names.PAYLOAD_TELEMETRY_BYTES)
#: Classes of errors come from communities too: so many combinations with statuses have a series each, then `OTHER`.
MOST_ENDS = 200
OTHER = "other"
#: Jobs with gauges of their own, unless the configuration says otherwise.
MOST_JOB_GAUGES = 1000
#: So many journals are read at least in one look, however small its share.
LEAST_LOOK = 50
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
    #: What has become of the telemetry that payloads have handed in.
    payload_telemetry: Mapping[Key, int] = field(default_factory=dict)


class JobMetrics:
    """A prometheus_client collector over the attempts of one agent. Safe to use from several threads."""

    def __init__(
        self,
        counters: Path,
        clock: Clock,
        *,
        version: str,
        status: Callable[[], SelfStatus] = SelfStatus,
        job_gauges: int = MOST_JOB_GAUGES,
    ) -> None:
        """Load the file *counters*; *version* is the agent's. At most *job_gauges* jobs have gauges of their own."""
        self._file = CountersFile(counters)
        self._clock = clock
        self._version = version
        self._status = status
        self._job_gauges = job_gauges
        self._mutex = threading.Lock()
        self._attempts = Attempts(self._file.__contains__)
        self._shown: dict[Key, int] = {**_ZEROS, **self._file.floors}
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
            self._attempts.add(control)

    def look(self, share: float = 1.0) -> None:
        """Read on in the journals: in all, or in the next *share* of them. Nobody waits for more than one of them."""
        count = len(self._attempts)
        for _ in range(min(count, max(LEAST_LOOK, ceil(share * count)))):
            with self._mutex:
                self._attempts.read_next()

    def rescan(self, jobs_folder: Path) -> list[Path]:
        """Follow every attempt below *jobs_folder* that is not in the counters yet.

        To be called before /metrics is served: a total without the living jobs of before would look
        like a counter reset. Returns the folders of attempts that have ended and wait for `attempt_ended`.
        """
        ended = []
        for control in sorted(jobs_folder.glob("*/control")):
            followed = Followed(JournalTail(control))
            followed.read()
            identity = followed.fold.identity
            if identity is None or identity.uid in self._file:
                continue
            with self._mutex:
                self._attempts.add(control, followed)
            if followed.fold.ended and not is_written(control, "wrapper"):  # else it is in finalize
                ended.append(control)
        return ended

    def attempt_ended(self, control: Path, record: Mapping[str, object] | None) -> None:
        """Make the share of the attempt in *control* final, as *record* corrects it; once for each UID."""
        with self._mutex:
            followed = self._attempts.pop(control)
            self._damaged += followed.tail.damaged
            tally = followed.fold.tally()
            if not tally.uid:
                return
            self._attempts.settled(tally.uid)
            try:
                self._file.add(corrected(tally, record) if record else tally)
                self._keep_floors()
            except OSError as error:  # counted in memory; the journal is folded again after a restart
                _log.warning("cannot write the counters: %s", error)

    def _keep_floors(self) -> None:
        totals = self._bounded(merged(self._file.totals, self._attempts.totals).counters)
        floors = {
            key: shown
            for key, shown in self._shown.items()
            if shown > totals.get(key, 0) and shown > self._file.floors.get(key, 0)
        }
        if floors:
            self._file.raise_floors(floors)

    # --- what is shown ----------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """All metrics of the catalogue, as far as the journals were read."""
        with self._mutex:
            totals = merged(self._file.totals, self._attempts.totals)
            counters = self._never_falling(self._bounded(totals.counters))
            living = self._attempts.living()
            damaged = self._damaged + self._attempts.damaged()
        yield from _counter_families(_COUNTERS, counters)
        yield _kill_family(counters)
        yield _histogram_family(totals.histograms)
        yield gauge(names.JOBS_LIVING, [((), len(living))])
        yield from stage_gauges(living, self._clock)
        yield from job_gauges(living[: self._job_gauges], self._clock)
        yield from self._self_families(damaged)

    def _bounded(self, counters: Mapping[Key, int]) -> dict[Key, int]:
        """*counters* with one series for all ends beyond those that were there first."""
        known = sum(key[0] == names.JOBS_FINISHED.name for key in self._shown)
        bounded: dict[Key, int] = {}
        for key, value in counters.items():
            if key[0] == names.JOBS_FINISHED.name and key not in self._shown and key not in bounded:
                known += 1
                if known > MOST_ENDS:
                    key = (key[0], (key[1][0], OTHER))
            bounded[key] = bounded.get(key, 0) + value
        return bounded

    def _never_falling(self, counters: Mapping[Key, int]) -> Mapping[Key, int]:
        for key, value in counters.items():
            self._shown[key] = max(value, self._shown.get(key, 0))
        return dict(self._shown)

    def _self_families(self, damaged: int) -> Iterator[Metric]:
        status = self._status()
        family = CounterMetricFamily(names.FACTS_DAMAGED.name, names.FACTS_DAMAGED.help)
        family.add_metric((), damaged)
        yield family
        pending = {**status.spool_pending, "wms": status.owed_to_wms}
        yield gauge(names.SPOOL_PENDING, (((sink,), count) for sink, count in sorted(pending.items())))
        zeros = dict.fromkeys((*_WMS_SINKS, *status.spool_pending), 0)
        dead = {**zeros, **status.dead}
        yield gauge(names.OUTBOX_DEAD, (((sink,), count) for sink, count in sorted(dead.items())))
        yield _counter(names.OUTBOX_EXPIRED, {**zeros, **status.expired})
        yield _counter(names.DELIVERY_COPIES, {**zeros, **status.copies})
        yield from _counter_families(_PAYLOAD_TELEMETRY, status.payload_telemetry)
        yield gauge(names.SHORTAGE, (((of,), of in status.shortage) for of in ("disk", "outbox")))
        if status.slots:
            yield gauge(names.SLOTS, [((), status.slots)])
        yield gauge(names.BUILD_INFO, [((self._version,), 1)])


def _counter(metric: names.Metric, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for label, count in sorted(counts.items()):
        family.add_metric((label,), count)
    return family


def _counter_families(metrics: Sequence[names.Metric], counters: Mapping[Key, int]) -> Iterator[Metric]:
    for metric in metrics:
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
