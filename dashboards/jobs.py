"""The dashboard of the jobs: a panel for each question that an operator asks. Names come from the catalogue."""

from typing import Any

from dashboards.builder import Panel, Query, Row, dashboard
from telemetry import catalogue

UID = "jobspan-jobs"
_RATE = "[$__rate_interval]"


def _rate(metric: catalogue.Metric, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({metric.name}{_RATE}))" if by else f"sum(rate({metric.name}{_RATE}))"


def _quantile(quantile: float) -> str:
    buckets = f'{catalogue.STAGE_DURATION.name}_bucket{{result!="skip"}}'
    return f"histogram_quantile({quantile}, sum by (le, stage) (rate({buckets}{_RATE})))"


def _outcomes() -> Row:
    finished, living = catalogue.JOBS_FINISHED, catalogue.JOB_WALL
    return Row(
        "Outcomes",
        (
            Panel(
                title="Living jobs",
                description="Jobs whose wrapper runs now.",
                kind="stat",
                unit="short",
                width=4,
                queries=(Query(f"count({living.name}) or vector(0)", "jobs"),),
            ),
            Panel(
                title="Attempts finished in the range",
                description="By final status. A Rescheduled attempt is followed by another one of the same job.",
                kind="bargauge",
                unit="short",
                width=8,
                queries=(
                    Query(f"sum by (status) (increase({finished.name}[$__range]))", "{{status}}", is_instant=True),
                ),
            ),
            Panel(
                title="Attempts finished",
                description="Rate by final status and class of error; an empty class is success.",
                unit="cps",
                is_stacked=True,
                queries=(Query(_rate(finished, "status", "error_type"), "{{status}} {{error_type}}"),),
            ),
        ),
    )


def _stages() -> Row:
    return Row(
        "Stages",
        (
            Panel(
                title="Stage duration, median",
                description="Skipped stages are left out. The points are exemplars and lead to a trace.",
                unit="s",
                queries=(Query(_quantile(0.5), "{{stage}}", with_exemplars=True),),
            ),
            Panel(
                title="Stage duration, 95th percentile",
                description="Skipped stages are left out. The points are exemplars and lead to a trace.",
                unit="s",
                queries=(Query(_quantile(0.95), "{{stage}}", with_exemplars=True),),
            ),
            Panel(
                title="Wall clock by stage",
                description="Where the slots spend their time: wall-clock seconds per second.",
                unit="none",
                is_stacked=True,
                queries=(Query(_rate(catalogue.WALL, "stage"), "{{stage}}"),),
            ),
            Panel(
                title="Stages by result",
                description="Ended stages per second; error is the infrastructure's, failure the payload's.",
                unit="cps",
                is_stacked=True,
                queries=(
                    Query(
                        f"sum by (result) (rate({catalogue.STAGE_DURATION.name}_count{_RATE}))",
                        "{{result}}",
                    ),
                ),
            ),
        ),
    )


def _use() -> Row:
    cpu = f"rate({catalogue.PAYLOAD_CPU.name}{_RATE})"
    wall_core = f"rate({catalogue.WALL_CORE.name}{_RATE})"
    return Row(
        "Use of the slots",
        (
            Panel(
                title="Payload CPU by mode",
                description="Processors' worth of CPU that payloads and all their descendants use.",
                unit="none",
                is_stacked=True,
                queries=(Query(_rate(catalogue.PAYLOAD_CPU, "mode"), "{{mode}}"),),
            ),
            Panel(
                title="CPU efficiency",
                description="Payload CPU over wall clock times processors.",
                unit="percentunit",
                queries=(Query(f"sum({cpu}) / sum({wall_core})", "CPU / wall"),),
            ),
            Panel(
                title="CPU of living jobs",
                description="Seconds so far. These series end with their job.",
                unit="s",
                queries=(Query(catalogue.JOB_CPU.name, "job {{job_id}}"),),
            ),
            Panel(
                title="Memory of living jobs",
                description="Resident memory of the process tree.",
                unit="bytes",
                queries=(Query(catalogue.JOB_MEMORY.name, "job {{job_id}}"),),
            ),
        ),
    )


def _kills() -> Row:
    duration = catalogue.KILL_SECONDS.name
    return Row(
        "Limits and kills",
        (
            Panel(
                title="Limits reached",
                description="By limit; to warn is to say what the job would have been ended for.",
                unit="cps",
                queries=(Query(_rate(catalogue.LIMITS_HIT, "limit", "action"), "{{limit}} {{action}}"),),
            ),
            Panel(
                title="Kills by origin",
                description="Who wanted jobs ended; of the watchdog by the limit.",
                unit="cps",
                queries=(Query(_rate(catalogue.KILLS, "origin", "limit"), "{{origin}} {{limit}}"),),
            ),
            Panel(
                title="Signals to payloads",
                description="Processes that got one. A survivor is a process that no KILL could end.",
                unit="cps",
                queries=(
                    Query(_rate(catalogue.SIGNALS, "signal"), "{{signal}}"),
                    Query(f"sum(rate({catalogue.KILL_SURVIVED.name}{_RATE}))", "survivors"),
                ),
            ),
            Panel(
                title="Duration of kills, 95th percentile",
                description="From the first signal to the last process's end.",
                unit="s",
                queries=(Query(f"histogram_quantile(0.95, sum by (le) (rate({duration}_bucket{_RATE})))", "kills"),),
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
                    Query(_rate(catalogue.PEEK_LINES, "stream"), "{{stream}}"),
                    Query(_rate(catalogue.PEEK_LINES_DROPPED, "stream"), "{{stream}} dropped"),
                ),
            ),
            Panel(
                title="Output bytes",
                description="Bytes that payloads write to their streams.",
                unit="Bps",
                queries=(Query(_rate(catalogue.OUTPUT_BYTES, "stream"), "{{stream}}"),),
            ),
            Panel(
                title="Silence of living jobs",
                description="Time since a living job wrote last.",
                unit="s",
                queries=(Query(f"time() - {catalogue.JOB_LAST_OUTPUT.name}", "job {{job_id}}"),),
            ),
            Panel(
                title="Telemetry itself",
                description="Ended attempts that a sink has not taken yet, and journal lines that were damaged.",
                unit="short",
                queries=(
                    Query(f"sum by (sink) ({catalogue.SPOOL_PENDING.name})", "pending for {{sink}}"),
                    Query(f"sum(increase({catalogue.FACTS_DAMAGED.name}{_RATE}))", "damaged lines"),
                ),
            ),
        ),
    )


def jobs_dashboard() -> dict[str, Any]:
    """The document."""
    return dashboard(
        uid=UID,
        title="jobspan: jobs",
        description="Attempts of jobs by outcome, stage, use and output. Generated by dashboards.generate.",
        tags=("jobspan",),
        rows=(_outcomes(), _stages(), _use(), _kills(), _output()),
    )
