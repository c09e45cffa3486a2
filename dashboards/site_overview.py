"""The dashboard to begin with: is the site well, are its slots used, do its jobs succeed; and where to look next."""

from typing import Any

from dashboards.builder import Panel, Query, Row, dashboard
from dashboards.queries import NODE, increase, rate, series, total
from telemetry import catalogue

UID = "jobspan-site"
_LIVING, _SLOTS = series(catalogue.JOBS_LIVING, NODE), series(catalogue.SLOTS, NODE)
_FINISHED = series(catalogue.JOBS_FINISHED, NODE)
_GOOD = series(catalogue.JOBS_FINISHED, NODE, 'status=~"Done|Completed"')
_BAD = series(catalogue.JOBS_FINISHED, NODE, 'error_type!=""')
_WAITING = series(catalogue.WMS_JOBS, 'status="Waiting"')


def _number(title: str, description: str, expression: str, **options: Any) -> Panel:
    queries = (Query(expression, title.lower(), is_instant=True),)
    return Panel(
        title=title,
        description=description,
        kind="stat",
        width=4,
        height=4,
        unit=options.pop("unit", "short"),
        queries=queries,
        **options,
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            _number("Agents", "Agents that answer, each with its slots.", f"count({_SLOTS})"),
            _number("Jobs that run", "Jobs whose wrapper runs now.", total(_LIVING)),
            _number("Slots in use", "Jobs over slots.", f"{total(_LIVING)} / {total(_SLOTS)}", unit="percentunit"),
            _number(
                "Jobs that wait",
                "In the WMS, for a slot that fits.",
                f"max({_WAITING}) or vector(0)",
            ),
            _number(
                "Agents that take no job",
                "Short of room on the disk or in the outbox: Accounting and spool says which.",
                f"sum(max by (instance) ({series(catalogue.SHORTAGE, NODE)}))",
                alarm_above=0.5,
            ),
            _number(
                "Alerts",
                "That fire now, of the rules that come with these dashboards.",
                'count(ALERTS{alertname=~"Jobspan.+", alertstate="firing"}) or vector(0)',
                alarm_above=0.5,
            ),
        ),
    )


def _outcomes() -> Row:
    return Row(
        "Outcomes",
        (
            Panel(
                title="Attempts ended",
                description="In the time that is shown. A Rescheduled attempt is followed by another of the same job.",
                kind="bargauge",
                unit="short",
                decimals=0,
                width=8,
                queries=(Query(total(increase(_FINISHED), "status"), "{{status}}", is_instant=True),),
            ),
            Panel(
                title="Causes of those that failed",
                description="The ten most frequent in the time that is shown.",
                kind="bargauge",
                unit="short",
                decimals=0,
                if_empty="none",
                width=8,
                queries=(
                    Query(f"topk(10, {total(increase(_BAD), 'error_type')} > 0)", "{{error_type}}", is_instant=True),
                ),
            ),
            Panel(
                title="Success",
                description="Attempts that ended Done or Completed, of all that ended.",
                unit="percentunit",
                width=8,
                queries=(Query(f"{total(rate(_GOOD))} / {total(rate(_FINISHED))}", "success"),),
            ),
            Panel(
                title="Attempts ended by status and cause",
                description="An empty cause is success.",
                unit="cps",
                is_stacked=True,
                queries=(Query(f"{total(rate(_FINISHED), 'status', 'error_type')} > 0", "{{status}} {{error_type}}"),),
            ),
            Panel(
                title="Nodes with most failures",
                description="The ten first. A single node that fails far more than others swallows jobs.",
                unit="cps",
                queries=(Query(f"topk(10, {total(rate(_BAD), 'instance')})", "{{instance}}"),),
            ),
        ),
    )


def _use() -> Row:
    cpu = total(rate(series(catalogue.PAYLOAD_CPU, NODE)))
    wall_core = total(rate(series(catalogue.WALL_CORE, NODE)))
    return Row(
        "Use of the slots",
        (
            Panel(
                title="Slots and jobs",
                description="The gap between the lines is what idles.",
                unit="short",
                queries=(Query(total(_SLOTS), "slots"), Query(total(_LIVING), "jobs")),
            ),
            Panel(
                title="CPU efficiency",
                description="Payload CPU over wall clock times processors.",
                unit="percentunit",
                queries=(Query(f"{cpu} / {wall_core}", "CPU / wall"),),
            ),
            Panel(
                title="Jobs by node",
                description="The twenty with most.",
                unit="short",
                is_stacked=True,
                queries=(Query(f"topk(20, {total(_LIVING, 'instance')})", "{{instance}}"),),
            ),
            Panel(
                title="Versions",
                description="How many agents, wrappers without one, and servers run which version.",
                kind="bargauge",
                unit="short",
                queries=(Query(f"count by (version) ({catalogue.BUILD_INFO.name})", "{{version}}", is_instant=True),),
            ),
        ),
    )


def site_dashboard() -> dict[str, Any]:
    """The document."""
    return dashboard(
        uid=UID,
        title="jobspan: site overview",
        description="Whether the site is well, and where to look next. Generated by dashboards.generate.",
        by_node=True,
        rows=(_now(), _outcomes(), _use()),
    )
