"""The demonstration's report as a page: what became of each job, where its time went, whether the ledgers agree."""

from collections.abc import Mapping
from typing import Any

from dashboards.charts import Bar
from dashboards.report_page import BarChart, Card, Column, Report, Section, Table, Value
from runner.commands.demonstration.report import SHOWN_METRICS, Outcome, places
from runner.commands.demonstration.results import JobResult
from telemetry.facts import ACCOUNTED_STAGES
from telemetry.reconcile.statement import summary

_JOBS = (
    Column("job_id", "Job", "id"),
    Column("what", "What it does", "long"),
    Column("status", "Ended as", "status"),
    Column("minor_status", "Because"),
    Column("attempts", "Attempts", "count"),
    Column("wall", "Wall clock", "seconds"),
    Column("cpu", "CPU", "seconds"),
    Column("method", "Measured by"),
    Column("lines", "Lines", "count"),
    Column("promise", "As promised", "status"),
)
_CHECKS = (Column("what", "What must hold"), Column("result", "Result", "status"), Column("wrong", "What is wrong"))
_DIFFERENCES = (
    Column("class", "Class", "status"),
    Column("job_id", "Job", "id"),
    Column("attempt", "Attempt", "id"),
    Column("what", "What", "long"),
    Column("core_hours", "Core hours", "hours"),
)
_METRICS = (Column("name", "Metric"), Column("labels", "Labels"), Column("value", "Value", "number"))
_PLACES = (Column("what", "What", "long"), Column("where", "Where"))


def demonstration_view(outcome: Outcome) -> Report:
    """Everything that the demonstration has shown."""
    good = sum(1 for each in outcome.results if not each.missed)
    records = [record for each in outcome.results for record in each.records]
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
                table=Table(name="jobs", columns=_JOBS, rows=[_job_row(each) for each in outcome.results]),
            ),
            Section(
                title="Wall clock by stage",
                text="Of each attempt, from its accounting record; the shares sum up to the wall clock exactly.",
                chart=_stages(outcome),
            ),
            Section(
                title="Reconciliation",
                text=summary(outcome.reconciliation),
                table=Table(
                    name="differences", columns=_DIFFERENCES, rows=_difference_rows(outcome),
                    empty="The WMS's accounting and the telemetry agree on every attempt.",
                ),
            ),
            Section(title="Checks", table=Table(name="checks", columns=_CHECKS, rows=_check_rows(outcome))),
            Section(
                title="Metrics of the agent",
                table=Table(name="metrics", columns=_METRICS, rows=_metric_rows(outcome), empty="The agent told none."),
            ),
            Section(
                title="Where everything lies",
                table=Table(name="places", columns=_PLACES, rows=list(places(outcome).items())),
            ),
        ),
        main="jobs",
    )  # fmt: skip


def _job_row(each: JobResult) -> tuple[Value, ...]:
    row, last = each.row, each.last
    return (
        *(row.job_id, each.job.what, row.status, row.minor_status, row.attempt),
        *(_number(last, "WallClockTime"), _number(last, "CPUTime"), str(last.get("CPUMethod") or "no payload")),
        *(int(last.get("OutputLines") or 0), "bad" if each.missed else "ok"),
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


def _difference_rows(outcome: Outcome) -> list[tuple[Value, ...]]:
    return [
        (each.name, each.job_id, each.attempt, each.cause, each.core_hours)
        for each in outcome.reconciliation.differences
    ]


def _check_rows(outcome: Outcome) -> list[tuple[Value, ...]]:
    return [(sentence, "bad" if wrong else "ok", wrong) for sentence, wrong in outcome.checks]


def _metric_rows(outcome: Outcome) -> list[tuple[Value, ...]]:
    return [
        (name, ", ".join(f"{label}={text}" for label, text in labels.items()), value)
        for name, labels, value in outcome.metrics
        if name in SHOWN_METRICS
    ]


def _number(record: Mapping[str, Any], name: str) -> float:
    return float(record.get(name) or 0.0)
