"""The dashboard of the stages: where jobs spend their time, and what the living ones do."""

from typing import Any

from dashboards.builder import Panel, Query, Row, dashboard
from dashboards.queries import NODE, quantile, rate, series, total
from telemetry import catalogue

UID = "jobspan-stages"
_DURATION = catalogue.STAGE_DURATION
_BUCKETS = series(_DURATION, NODE, 'result!="skip"', part="bucket")


def _now() -> Row:
    return Row(
        "Now",
        (
            Panel(
                title="Living jobs by stage",
                description="Where jobs are at this moment.",
                unit="short",
                is_stacked=True,
                queries=(Query(total(series(catalogue.STAGE_JOBS, NODE), "stage"), "{{stage}}"),),
            ),
            Panel(
                title="Longest in its stage",
                description=(
                    "How long the living job has been in its stage that has been there longest. A line that rises "
                    "and rises in any stage but execute is a job that hangs in ours, not in its own work."
                ),
                unit="s",
                queries=(Query(f"max by (stage) ({series(catalogue.STAGE_LONGEST, NODE)})", "{{stage}}"),),
            ),
        ),
    )


def _durations() -> Row:
    shares = total(rate(series(catalogue.WALL, NODE)), "stage")
    accounted = total(rate(series(catalogue.WALL, NODE)))
    return Row(
        "Durations",
        (
            Panel(
                title="Duration, median",
                description="Skipped stages are left out. The points are exemplars and lead to a trace.",
                unit="s",
                queries=(Query(quantile(0.5, _BUCKETS, "stage"), "{{stage}}", with_exemplars=True),),
            ),
            Panel(
                title="Duration, 95th percentile",
                description="Skipped stages are left out. The points are exemplars and lead to a trace.",
                unit="s",
                queries=(Query(quantile(0.95, _BUCKETS, "stage"), "{{stage}}", with_exemplars=True),),
            ),
            Panel(
                title="Share of the wall clock",
                description="What part of the time of all slots goes to each stage; all but execute is overhead.",
                unit="percentunit",
                is_stacked=True,
                queries=(Query(f"{shares} / ignoring (stage) group_left {accounted}", "{{stage}}"),),
            ),
            Panel(
                title="Stages that did not succeed",
                description="Ended stages per second; error is the infrastructure's, failure the payload's.",
                unit="cps",
                queries=(
                    Query(
                        total(rate(series(_DURATION, NODE, 'result!~"success|skip"', part="count")), "stage", "result"),
                        "{{stage}} {{result}}",
                    ),
                ),
            ),
        ),
    )


def _living() -> Row:
    cpu, wall = series(catalogue.JOB_CPU, NODE), series(catalogue.JOB_WALL, NODE)
    return Row(
        "Living jobs, the first twenty of each",
        (
            Panel(
                title="Oldest jobs",
                description="Wall clock so far. These series end with their job.",
                unit="s",
                queries=(Query(f"topk(20, {wall})", "job {{job_id}}"),),
            ),
            Panel(
                title="Processors in use by job",
                description="CPU so far over wall clock so far: of a job with eight processors at most eight.",
                unit="none",
                queries=(Query(f"topk(20, {cpu} / {wall})", "job {{job_id}}"),),
            ),
            Panel(
                title="Largest memory",
                description="Resident memory of the process tree.",
                unit="bytes",
                queries=(Query(f"topk(20, {series(catalogue.JOB_MEMORY, NODE)})", "job {{job_id}}"),),
            ),
            Panel(
                title="Most lines written",
                description="Lines of output so far; `jobspan peek` shows the last of them.",
                unit="short",
                queries=(Query(f"topk(20, {series(catalogue.JOB_PEEK_LINES, NODE)})", "job {{job_id}}"),),
            ),
        ),
    )


def _output() -> Row:
    return Row(
        "Output",
        (
            Panel(
                title="Output lines",
                description="Lines that payloads write, by stream; dropped ones were not kept for the peek.",
                unit="cps",
                queries=(
                    Query(total(rate(series(catalogue.PEEK_LINES, NODE)), "stream"), "{{stream}}"),
                    Query(total(rate(series(catalogue.PEEK_LINES_DROPPED, NODE)), "stream"), "{{stream}} dropped"),
                ),
            ),
            Panel(
                title="Output bytes",
                description="Bytes that payloads write to their streams.",
                unit="Bps",
                queries=(Query(total(rate(series(catalogue.OUTPUT_BYTES, NODE)), "stream"), "{{stream}}"),),
            ),
        ),
    )


def stages_dashboard() -> dict[str, Any]:
    """The document."""
    return dashboard(
        uid=UID,
        title="jobspan: job stages",
        description="Which stages are slow or fail, and what living jobs do. Generated by dashboards.generate.",
        by_node=True,
        rows=(_now(), _durations(), _living(), _output()),
    )
