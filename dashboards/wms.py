"""The dashboard of the WMS: does it answer, what waits, what holds it up. Names come from the catalogue."""

from typing import Any

from dashboards.builder import Panel, Query, Row, dashboard
from telemetry import catalogue

UID = "jobspan-wms"
_RATE = "[$__rate_interval]"
#: Calls that wait inside for something to happen: how long they take says nothing about the server.
_POLLS = 'route!~"/api/jobspan/(match|commands)"'


def _quantile(quantile: float, metric: catalogue.Metric, by: str, matchers: str = "") -> str:
    return f"histogram_quantile({quantile}, sum by (le, {by}) (rate({metric.name}_bucket{{{matchers}}}{_RATE})))"


def _calls() -> Row:
    duration = catalogue.WMS_REQUEST_DURATION
    return Row(
        "Calls",
        (
            Panel(
                title="Calls by code",
                description="Answers a second; none: the caller had gone before there was one.",
                unit="reqps",
                is_stacked=True,
                queries=(Query(f"sum by (code) (rate({duration.name}_count{_RATE}))", "{{code}}"),),
            ),
            Panel(
                title="Calls by route",
                description="Answers a second.",
                unit="reqps",
                queries=(
                    Query(f"sum by (method, route) (rate({duration.name}_count{_RATE}))", "{{method}} {{route}}"),
                ),
            ),
            Panel(
                title="Duration of calls, 99th percentile",
                description="Without long polls, which wait for a job or a command.",
                unit="s",
                queries=(Query(_quantile(0.99, duration, "route", _POLLS), "{{route}}"),),
            ),
            Panel(
                title="Calls under way",
                description="Long polls (match, commands) are many, and cost nothing; others should be few.",
                unit="short",
                queries=(Query(f"sum by (route) ({catalogue.WMS_IN_PROGRESS.name})", "{{route}}"),),
            ),
            Panel(
                title="Copies",
                description="What came again as an answer was lost, and changed nothing. Many tell of a bad network.",
                unit="short",
                queries=(Query(f"sum by (of) (increase({catalogue.WMS_COPIES.name}{_RATE}))", "{{of}}"),),
            ),
        ),
    )


def _jobs() -> Row:
    return Row(
        "Jobs",
        (
            Panel(
                title="Jobs by status",
                description="All that the database holds.",
                unit="short",
                queries=(Query(f"max by (status) ({catalogue.WMS_JOBS.name})", "{{status}}"),),
            ),
            Panel(
                title="Waiting jobs by group, type and site",
                description="The fifty largest sets; all others are one.",
                unit="short",
                is_stacked=True,
                queries=(
                    Query(
                        f"max by (owner_group, job_type, site) ({catalogue.WMS_WAITING.name})",
                        "{{owner_group}} {{job_type}} {{site}}",
                    ),
                ),
            ),
            Panel(
                title="Task queues",
                description="Of those in which jobs wait; each is for what its jobs ask for.",
                unit="short",
                queries=(Query(f"max({catalogue.WMS_TASK_QUEUES.name})", "task queues"),),
            ),
            Panel(
                title="Longest wait",
                description="How long the job has waited that has waited longest.",
                unit="s",
                queries=(Query(f"max({catalogue.WMS_LONGEST_WAIT.name})", "longest wait"),),
            ),
            Panel(
                title="Matches and heartbeats",
                description="A match without a job is an agent that found nothing in time.",
                unit="cps",
                queries=(
                    Query(f"sum by (outcome) (rate({catalogue.WMS_MATCHES.name}{_RATE}))", "match: {{outcome}}"),
                    Query(f"sum(rate({catalogue.WMS_HEARTBEATS.name}{_RATE}))", "heartbeats"),
                ),
            ),
        ),
    )


def _stores() -> Row:
    held, waited = catalogue.WMS_TRANSACTION_DURATION, catalogue.WMS_LOCK_WAIT
    return Row(
        "Databases and stores",
        (
            Panel(
                title="Transactions, 99th percentile",
                description="From begin to end, the commit among it.",
                unit="s",
                queries=(Query(_quantile(0.99, held, "kind"), "{{kind}}"),),
            ),
            Panel(
                title="Wait for a turn, 99th percentile",
                description="Before a transaction begins; where this grows, writers queue.",
                unit="s",
                queries=(Query(_quantile(0.99, waited, "kind"), "{{kind}}"),),
            ),
            Panel(
                title="What waits besides jobs",
                description="Combined requests by status, and commands that no wrapper has acknowledged.",
                unit="short",
                queries=(
                    Query(f"max by (status) ({catalogue.WMS_REQUESTS.name})", "requests {{status}}"),
                    Query(f"max({catalogue.WMS_COMMANDS.name})", "commands"),
                    Query(f"max({catalogue.WMS_SANDBOXES.name})", "sandboxes stored"),
                ),
            ),
            Panel(
                title="Size of the sandboxes",
                description="What the stored sandboxes take.",
                unit="bytes",
                queries=(Query(f"max({catalogue.WMS_SANDBOX_BYTES.name})", "sandboxes"),),
            ),
            Panel(
                title="Telemetry itself",
                description="Spans that no sink has taken yet or ever will; 1 while the databases can be counted.",
                unit="short",
                queries=(
                    Query(f"sum({catalogue.WMS_SPANS_QUEUED.name})", "spans queued"),
                    Query(
                        f"sum by (reason) (increase({catalogue.WMS_SPANS_DROPPED.name}{_RATE}))", "dropped: {{reason}}"
                    ),
                    Query(f"min({catalogue.WMS_INVENTORY_OK.name})", "inventory ok"),
                ),
            ),
        ),
    )


def wms_dashboard() -> dict[str, Any]:
    """The document."""
    return dashboard(
        uid=UID,
        title="jobspan: WMS",
        description="The workload management system: calls, jobs, queues, databases. Generated by dashboards.generate.",
        rows=(_calls(), _jobs(), _stores()),
    )
