"""A reconciliation as metrics: a file for the textfile collector of a node exporter, so that it can be alerted on.

Every class has its series, also one that has not occurred, so that an alert has something to fall back to.
"""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from telemetry import catalogue
from telemetry.clock import NANOSECONDS
from telemetry.reconcile.result import KINDS, Outcome, class_name


def write_metrics(outcome: Outcome, path: Path) -> None:
    """Write the file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    registry = CollectorRegistry()
    differences = _gauge(catalogue.RECONCILIATION_DIFFERENCES, registry)
    hours = _gauge(catalogue.RECONCILIATION_CORE_HOURS, registry)
    for name in _classes(outcome):
        differences.labels(name).set(0)
        hours.labels(name).set(0)
    for each in outcome.totals:
        if each.is_difference:
            differences.labels(each.name).inc(each.pairs)
            hours.labels(each.name).inc(each.core_hours)
    _gauge(catalogue.RECONCILIATION_TIMESTAMP, registry).set(outcome.made_utc_ns / NANOSECONDS)
    write_to_textfile(str(path), registry)


def _classes(outcome: Outcome) -> Iterable[str]:
    for kind in KINDS:
        is_of_nobody = kind == "missing" and any(side.level == "witness" for side in outcome.sides)
        if kind == "missing":
            yield from (class_name(kind, side.name) for side in outcome.sides if side.level != "witness")
        if kind != "missing" or is_of_nobody:
            yield kind


def _gauge(metric: catalogue.Metric, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)
