"""`jobspan reconcile`: the WMS's accounting against the site's telemetry, or any sources against each other."""

import argparse

from runner.commands.context import Command, Context
from runner.commands.reconciliation_files import add_reconciliation_outputs


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        metavar="NAME=KIND:WHERE",
        action="append",
        default=[],
        help="two or more; kinds: wms, sql, otlp, parquet, csv, sacct, prometheus, apel, auditor; of whole records,"
        " compared field by field: ledger, events; who saw these attempts: seen, counters;"
        " options follow after commas, such as zone=Europe/Berlin or grace=3600",
    )
    parser.add_argument(
        "--since", metavar="TIME", default="", help="of attempts that ended then or later (a day, or UTC)"
    )
    parser.add_argument("--until", metavar="TIME", default="", help="of attempts that ended before")
    parser.add_argument("--digest", action="store_true", help="compare digests by hour first, then only what differs")
    add_reconciliation_outputs(parser)


def _run(context: Context) -> int:
    from runner.commands.extras import needs_extra
    from runner.commands.reconciliation_files import present, state
    from runner.errors import ConfigError

    given, limits = context.arguments, context.config.reconcile
    if given.digest and not given.source:
        raise ConfigError("--digest needs sources, such as --source wms=wms --source otlp=otlp:logs.jsonl")
    with needs_extra("reports", "jobspan reconcile"):
        from runner.compose.reconciliation import reconciled
    with reconciled(context.config, given.source, since=given.since, until=given.until, digest=given.digest) as outcome:
        (present if given.source else state)(outcome, context)
    too_much = outcome.core_hours_at_stake > limits.allowed_core_hours and outcome.different > 0
    return int(bool(outcome.problems) or too_much or outcome.different > limits.allowed_differences)


COMMAND = Command(
    description=(
        "Compare, attempt by attempt and field by field, the accounting records of the WMS with those in this site's "
        "telemetry, and both with what others saw: the WMS's clock, the last heartbeat, the status, the agent's "
        "counters. With --source any sources are held against the first one that has attempts, however many records "
        "they are. Exit code 1 when anything differs (beyond what [Reconcile] allows) or could not be read."
    ),
    examples=(
        "jobspan reconcile",
        "jobspan reconcile --json | jq '.differences'",
        "jobspan reconcile --source wms=wms --source otlp=otlp:logs.jsonl --html report.html",
        "jobspan reconcile --source wms=wms --source batch=sacct:jobs.txt,zone=Europe/Berlin --since 2026-11-01",
        "jobspan reconcile --source wms=ledger --source otlp=events --source seen=seen --source batch=sacct:jobs.txt",
    ),
    configure=_configure,
    run=_run,
)
