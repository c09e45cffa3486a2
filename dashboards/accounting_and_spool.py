"""The dashboard of the accounting: what was used, what has not been delivered, and whether all ledgers agree."""

from typing import Any

from dashboards.builder import Panel, Query, Row, dashboard
from dashboards.queries import NODE, increase, rate, series, total
from telemetry import catalogue

UID = "jobspan-accounting"
_CPU, _WALL_CORE = series(catalogue.PAYLOAD_CPU, NODE), series(catalogue.WALL_CORE, NODE)
_SECONDS_AN_HOUR = 3600


def _hours(counter: str, *by: str) -> str:
    return f"{total(increase(counter), *by)} / {_SECONDS_AN_HOUR}"


def _use() -> Row:
    return Row(
        "Use in the time that is shown",
        (
            Panel(
                title="Core-hours",
                description="Wall clock times processors, as the accounting has it; and the CPU that was used of it.",
                kind="stat",
                unit="none",
                decimals=3,
                width=8,
                queries=(
                    Query(_hours(_WALL_CORE), "core-hours", is_instant=True),
                    Query(_hours(_CPU), "CPU-hours", is_instant=True),
                ),
            ),
            Panel(
                title="CPU efficiency",
                description="CPU over wall clock times processors, of all payloads together.",
                kind="stat",
                unit="percentunit",
                width=4,
                queries=(
                    Query(f"{total(increase(_CPU))} / {total(increase(_WALL_CORE))}", "CPU / wall", is_instant=True),
                ),
            ),
            Panel(
                title="Core-hours by node",
                description="The ten largest.",
                kind="bargauge",
                unit="none",
                decimals=3,
                queries=(Query(f"topk(10, {_hours(_WALL_CORE, 'instance')})", "{{instance}}", is_instant=True),),
            ),
        ),
    )


def _over_time() -> Row:
    return Row(
        "Over time",
        (
            Panel(
                title="Cores held and used",
                description="Processors' worth of slots that jobs hold, and of CPU that they really use.",
                unit="none",
                queries=(
                    Query(total(rate(_WALL_CORE)), "held"),
                    Query(total(rate(_CPU), "mode"), "used: {{mode}}"),
                ),
            ),
            Panel(
                title="Attempts accounted",
                description="Ended attempts by final status: each of them owes one record.",
                unit="cps",
                is_stacked=True,
                queries=(Query(total(rate(series(catalogue.JOBS_FINISHED, NODE)), "status"), "{{status}}"),),
            ),
        ),
    )


def _spool() -> Row:
    return Row(
        "Spool",
        (
            Panel(
                title="Not delivered yet",
                description=(
                    "Ended attempts that a sink has not taken. Back to zero within seconds while the sink is there; "
                    "what rises waits for it. `jobspan outbox list` on the node says why."
                ),
                unit="short",
                queries=(Query(total(series(catalogue.SPOOL_PENDING, NODE), "sink"), "{{sink}}"),),
            ),
            Panel(
                title="Never delivered",
                description="Dead: refused for good; `jobspan outbox retry` tries again. Expired: removed before.",
                unit="short",
                queries=(
                    Query(total(series(catalogue.OUTBOX_DEAD, NODE), "sink"), "dead for {{sink}}"),
                    Query(total(increase(series(catalogue.OUTBOX_EXPIRED, NODE)), "sink"), "expired for {{sink}}"),
                ),
            ),
            Panel(
                title="Nodes that take no job",
                description="Short of room on the disk or in the outbox.",
                unit="short",
                queries=(Query(total(series(catalogue.SHORTAGE, NODE), "of"), "short of {{of}}"),),
            ),
            Panel(
                title="Copies and damage",
                description=(
                    "Copies that a sink got because an answer was lost: harmless, readers fold them by their id. "
                    "Damaged journal lines: the disk."
                ),
                unit="short",
                queries=(
                    Query(total(increase(series(catalogue.DELIVERY_COPIES, NODE)), "sink"), "copies to {{sink}}"),
                    Query(total(increase(series(catalogue.FACTS_DAMAGED, NODE))), "damaged lines"),
                ),
            ),
        ),
    )


def _payloads() -> Row:
    calls = series(catalogue.PAYLOAD_TELEMETRY_CALLS, NODE, 'outcome!~"taken|again"')
    items = series(catalogue.PAYLOAD_TELEMETRY_ITEMS, NODE)
    size = series(catalogue.PAYLOAD_TELEMETRY_BYTES, NODE)
    return Row(
        "Telemetry of the payloads themselves",
        (
            Panel(
                title="Spans and log records of payloads",
                description="Taken, and those that were refused, because they stood for ours or were too many.",
                unit="cps",
                is_stacked=True,
                width=8,
                queries=(Query(total(rate(items), "signal", "outcome"), "{{signal}} {{outcome}}"),),
            ),
            Panel(
                title="Calls of payloads that were refused",
                description=(
                    "By reason: no valid secret, beyond the rate or what a job may send, no room on the disk, not "
                    "OTLP. The log of the agent names the job."
                ),
                unit="cps",
                width=8,
                queries=(Query(total(rate(calls), "outcome"), "{{outcome}}"),),
            ),
            Panel(
                title="What payloads send",
                description="Unpacked, as it counts against PayloadTelemetryLimit of a job.",
                unit="Bps",
                width=8,
                queries=(Query(total(rate(size), "signal"), "{{signal}}"),),
            ),
        ),
    )


def _reconciliation() -> Row:
    differences, at_stake = catalogue.RECONCILIATION_DIFFERENCES, catalogue.RECONCILIATION_CORE_HOURS
    return Row(
        "Reconciliation",
        (
            Panel(
                title="Differences",
                description="Of the last `jobspan reconcile`, by class. All zero is what one wants.",
                unit="short",
                is_stacked=True,
                width=10,
                queries=(Query(f"max by (class) ({differences.name})", "{{class}}"),),
            ),
            Panel(
                title="Core-hours at stake",
                description="What these differences would add or take, by class.",
                unit="none",
                decimals=2,
                is_stacked=True,
                width=10,
                queries=(Query(f"max by (class) ({at_stake.name})", "{{class}}"),),
            ),
            Panel(
                title="Last reconciled",
                description="How long ago; a daily run is red after two days.",
                kind="stat",
                unit="s",
                width=4,
                alarm_above=2 * 86400.0,
                queries=(Query(f"time() - max({catalogue.RECONCILIATION_TIMESTAMP.name})", "ago", is_instant=True),),
            ),
        ),
    )


def accounting_dashboard() -> dict[str, Any]:
    """The document."""
    return dashboard(
        uid=UID,
        title="jobspan: accounting and spool",
        description="What was used, what is not delivered, what does not agree. Generated by dashboards.generate.",
        by_node=True,
        rows=(_use(), _over_time(), _spool(), _payloads(), _reconciliation()),
    )
