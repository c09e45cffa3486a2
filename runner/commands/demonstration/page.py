"""The demonstration's report as a page: what became of each job, where its time went, whether the ledgers agree."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from dashboards.charts import Bar
from dashboards.report_page import ATTEMPT, BarChart, Card, Column, Report, Section, Shape
from runner.commands.demonstration.report import SHOWN_METRICS, Outcome, places
from runner.commands.demonstration.results import JobResult
from telemetry.facts import ACCOUNTED_STAGES
from telemetry.reconcile.result import Difference
from telemetry.reconcile.statement import summary

#: A sentence that must hold, and what is wrong with it.
Check: TypeAlias = tuple[str, str]
#: Name, labels and value of a metric.
Sample: TypeAlias = tuple[str, Mapping[str, str], float]

_JOBS = Shape[JobResult](
    "jobs",
    (
        (Column("job_id", "Job", "id"), lambda each: each.row.job_id),
        (Column("what", "What it does", "long"), lambda each: each.job.what),
        (Column("status", "Ended as", "status"), lambda each: each.row.status),
        (Column("minor_status", "Because"), lambda each: each.row.minor_status),
        (Column("attempts", "Attempts", "count"), lambda each: each.row.attempt),
        (Column("wall", "Wall clock", "seconds"), lambda each: _number(each.last, "WallClockTime")),
        (Column("cpu", "CPU", "seconds"), lambda each: _number(each.last, "CPUTime")),
        (Column("method", "Measured by"), lambda each: str(each.last.get("CPUMethod") or "no payload")),
        (Column("lines", "Lines", "count"), lambda each: int(each.last.get("OutputLines") or 0)),
        (Column("promise", "As promised", "status"), lambda each: "bad" if each.missed else "ok"),
    ),
)
_DIFFERENCES = Shape[Difference](
    "differences",
    (
        (Column("class", "Class", "status"), lambda each: each.name),
        *ATTEMPT,
        (Column("what", "What", "long"), lambda each: each.cause),
        (Column("core_hours", "Core hours", "hours"), lambda each: each.core_hours),
    ),
    empty="The WMS's accounting and the telemetry agree on every attempt.",
)
_CHECKS = Shape[Check](
    "checks",
    (
        (Column("what", "What must hold"), lambda check: check[0]),
        (Column("result", "Result", "status"), lambda check: "bad" if check[1] else "ok"),
        (Column("wrong", "What is wrong"), lambda check: check[1]),
    ),
)
_METRICS = Shape[Sample](
    "metrics",
    (
        (Column("name", "Metric"), lambda sample: sample[0]),
        (Column("labels", "Labels"), lambda sample: ", ".join(map("=".join, sample[1].items()))),
        (Column("value", "Value", "number"), lambda sample: sample[2]),
    ),
    empty="The agent told none.",
)
_PLACES = Shape[tuple[str, str]](
    "places",
    (
        (Column("what", "What"), lambda place: place[0]),
        (Column("where", "Where", "long"), lambda place: place[1]),
    ),
)


def demonstration_view(outcome: Outcome) -> Report:
    """Everything that the demonstration has shown."""
    good = sum(1 for each in outcome.results if not each.missed)
    records = [record for each in outcome.results for record in each.records]
    shown = [sample for sample in outcome.metrics if sample[0] in SHOWN_METRICS]
    return Report(
        name="demonstration",
        title="jobspan: the demonstration",
        verdict="All is as promised." if outcome.is_good else "NOT all is as promised.",
        mood="good" if outcome.is_good else "bad",
        cards=(
            Card(label="Jobs as promised", value=f"{good} of {len(outcome.results)}"),
            Card(label="Attempts accounted", value=len(records), kind="count"),
            Card(label="Differences", value=outcome.reconciliation.different, kind="count"),
            Card(label="CPU", value=sum(_number(each, "CPUTime") for each in records), kind="seconds"),
            Card(label="Took", value=outcome.seconds, kind="seconds"),
        ),
        sections=(
            Section(
                title="Jobs",
                text="Some fail on purpose: each ends as its description promises.",
                table=_JOBS.of(outcome.results),
            ),
            Section(
                title="Wall clock by stage",
                text="Of each attempt, from its accounting record; the shares sum up to the wall clock exactly.",
                chart=_stages(outcome),
            ),
            Section(
                title="Reconciliation",
                text=summary(outcome.reconciliation),
                table=_DIFFERENCES.of(outcome.reconciliation.differences),
            ),
            Section(title="Checks", table=_CHECKS.of(outcome.checks)),
            Section(title="Metrics of the agent", table=_METRICS.of(shown)),
            Section(title="Where everything lies", table=_PLACES.of(places(outcome).items())),
        ),
        main="jobs",
    )


def _stages(outcome: Outcome) -> BarChart:
    bars = [
        Bar(
            f"{each.row.job_id}.{record['Attempt']} {each.row.name}",
            tuple(_number(record, f"StageWallClockTime.{stage}") for stage in ACCOUNTED_STAGES),
        )
        for each in outcome.results
        for record in each.records
    ]
    return BarChart(series=ACCOUNTED_STAGES, bars=tuple(bars), kind="seconds")


def _number(record: Mapping[str, Any], name: str) -> float:
    return float(record.get(name) or 0.0)
