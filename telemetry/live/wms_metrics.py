"""The WMS's metrics: what its calls and transactions told, and at each scrape what there is in its databases.

Telling costs a microsecond under a lock of its own. A database that does not answer costs the
scrape its gauges, and nothing else: `jobspan_wms_inventory_ok` is 0 then.
"""

import logging
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import CollectorRegistry

from telemetry import catalogue as names
from telemetry.live.wms_state import ProcessState, WmsState

_log = logging.getLogger(__name__)
#: Series that exist from the start, so that the first one is an increase and not a beginning.
_OUTCOMES = ("job", "none")
_COPIED = ("status", "accounting", "request")
_REQUEST_STATUSES = ("Waiting", "Done", "Failed")
_DROPS = ("rate", "queue", "file", "collector")


class _Histogram:
    """Observations by label values."""

    def __init__(self, metric: names.Metric) -> None:
        self.metric = metric
        self._counts: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * (len(metric.buckets) + 1))
        self._sums: defaultdict[tuple[str, ...], float] = defaultdict(float)

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count *value*; a bucket holds what is at most its bound."""
        self._counts[labels][bisect_left(self.metric.buckets, value)] += 1
        self._sums[labels] += value

    def family(self) -> Metric:
        """As Prometheus wants it: each bucket holds those below it as well."""
        family = HistogramMetricFamily(self.metric.name, self.metric.help, labels=self.metric.labels)
        bounds = (*(str(bound) for bound in self.metric.buckets), "+Inf")
        for labels, counts in sorted(self._counts.items()):
            reached, buckets = 0, []
            for bound, count in zip(bounds, counts, strict=True):
                reached += count
                buckets.append((bound, reached))
            family.add_metric(labels, buckets, self._sums[labels])
        return family


class WmsMetrics:
    """A prometheus_client collector. Safe to use from several threads."""

    def __init__(self, *, version: str, process: Callable[[], ProcessState]) -> None:
        """*process* says how the process fares; `watch` brings the databases."""
        self._version = version
        self._process = process
        self._inventory: Callable[[], WmsState] | None = None
        self._mutex = threading.Lock()
        self._requests = _Histogram(names.WMS_REQUEST_DURATION)
        self._transactions = _Histogram(names.WMS_TRANSACTION_DURATION)
        self._waits = _Histogram(names.WMS_LOCK_WAIT)
        self._matches = dict.fromkeys(_OUTCOMES, 0)
        self._heartbeats = 0
        self._copies = dict.fromkeys(_COPIED, 0)

    def registry(self) -> CollectorRegistry:
        """A registry of its own, with nothing else in it."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def watch(self, inventory: Callable[[], WmsState] | None) -> None:
        """Ask *inventory* at each scrape from now on; None: the databases are closed."""
        self._inventory = inventory

    # --- what happens -----------------------------------------------------------------------------

    def request(self, method: str, route: str, code: int, seconds: float) -> None:
        """A call has ended; its *code* is 0 when nobody waited for the answer."""
        with self._mutex:
            self._requests.observe((method, route, str(code) if code else "none"), seconds)

    def transaction(self, kind: str, waited_seconds: float, held_seconds: float) -> None:
        """A transaction has ended."""
        with self._mutex:
            self._waits.observe((kind,), waited_seconds)
            self._transactions.observe((kind,), held_seconds)

    def match(self, *, found: bool) -> None:
        """A slot has asked for a job."""
        with self._mutex:
            self._matches["job" if found else "none"] += 1

    def heartbeats(self, count: int) -> None:
        """So many jobs have said that they live."""
        with self._mutex:
            self._heartbeats += count

    def copies(self, kind: str, count: int) -> None:
        """So many copies have come of a *kind* of document that was here already."""
        with self._mutex:
            self._copies[kind] = self._copies.get(kind, 0) + count

    # --- what is shown ----------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """All metrics of the WMS."""
        with self._mutex:
            yield from [each.family() for each in (self._requests, self._transactions, self._waits)]
            matches, heartbeats, copies = dict(self._matches), self._heartbeats, dict(self._copies)
        yield _counter(names.WMS_MATCHES, {(outcome,): count for outcome, count in matches.items()})
        yield _counter(names.WMS_HEARTBEATS, {(): heartbeats})
        yield _counter(names.WMS_COPIES, {(kind,): count for kind, count in copies.items()})
        process = self._process()
        yield _gauge(names.WMS_IN_PROGRESS, {(route,): count for route, count in process.in_progress.items()})
        yield _gauge(names.WMS_SPANS_QUEUED, {(): process.spans_queued})
        dropped = {**dict.fromkeys(_DROPS, 0), **process.spans_dropped}
        yield _counter(names.WMS_SPANS_DROPPED, {(reason,): count for reason, count in dropped.items()})
        yield _gauge(names.BUILD_INFO, {(self._version,): 1})
        state = self._state()
        yield _gauge(names.WMS_INVENTORY_OK, {(): float(state is not None)})
        if state is not None:
            yield from _state_families(state)

    def _state(self) -> WmsState | None:
        try:
            return self._inventory() if self._inventory else None
        except Exception as error:  # noqa: BLE001 - boundary of a scrape: a database that is away hides no other metric
            _log.warning("cannot count what is in the databases: %s", type(error).__name__)
            return None


def _state_families(state: WmsState) -> Iterator[Metric]:
    yield _gauge(names.WMS_JOBS, {(status,): count for status, count in state.jobs.items()})
    yield _gauge(names.WMS_WAITING, {kind: count for kind, count in state.waiting.items()})
    yield _gauge(names.WMS_TASK_QUEUES, {(): state.task_queues})
    yield _gauge(names.WMS_LONGEST_WAIT, {(): state.longest_wait_seconds})
    requests = {**dict.fromkeys(_REQUEST_STATUSES, 0), **state.requests}
    yield _gauge(names.WMS_REQUESTS, {(status,): count for status, count in requests.items()})
    yield _gauge(names.WMS_COMMANDS, {(): state.commands})
    yield _gauge(names.WMS_SANDBOXES, {(): state.sandboxes})
    yield _gauge(names.WMS_SANDBOX_BYTES, {(): state.sandbox_bytes})


def _gauge(metric: names.Metric, values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _counter(metric: names.Metric, values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family
