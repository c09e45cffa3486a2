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
        help="two or more; kinds: wms, sql, otlp, parquet, csv, sacct, prometheus, apel, auditor;"
        " options follow after commas, such as zone=Europe/Berlin or grace=3600",
    )
    parser.add_argument(
        "--since", metavar="TIME", default="", help="of attempts that ended then or later (a day, or UTC)"
    )
    parser.add_argument("--until", metavar="TIME", default="", help="of attempts that ended before")
    parser.add_argument("--digest", action="store_true", help="compare digests by hour first, then only what differs")
    add_reconciliation_outputs(parser)


def _run(context: Context) -> int:
    given = context.arguments
    if given.source:
        return _of_sources(context)
    wanted = [
        name for name in ("since", "until", "digest", "html", "csv", "parquet", "metrics") if getattr(given, name)
    ]
    if wanted:
        from runner.errors import ConfigError

        raise ConfigError(f"--{wanted[0]} needs sources, such as --source wms=wms --source otlp=otlp:logs.jsonl")
    return _of_this_node(context)


def _of_sources(context: Context) -> int:
    from runner.commands.extras import needs_extra
    from runner.commands.reconciliation_files import present

    with needs_extra("reports", "jobspan reconcile --source"):
        from runner.compose.reconciliation import reconciled
    given, limits = context.arguments, context.config.reconcile
    with reconciled(context.config, given.source, since=given.since, until=given.until, digest=given.digest) as outcome:
        present(outcome, context)
    too_much = outcome.core_hours_at_stake > limits.allowed_core_hours and outcome.different > 0
    return int(bool(outcome.problems) or too_much or outcome.different > limits.allowed_differences)


def _of_this_node(context: Context) -> int:
    from runner.compose.clients import Role, token_path
    from runner.compose.kinds import open_client
    from runner.compose.reports import reconcile
    from telemetry.ledger.report import exit_code, render_text, to_json

    # The records of all users are compared where we may see them.
    role: Role = "admin" if token_path(context.config, "admin").is_file() else "user"
    result = reconcile(context.config, open_client(context.config, role))
    context.terminal.line(render_text(result, colour=context.terminal.colour).rstrip("\n"))
    context.terminal.json(to_json(result))
    return 0 if exit_code(result) == 0 else 1


COMMAND = Command(
    description=(
        "Compare, attempt by attempt, the accounting records of the WMS with those in this site's telemetry, "
        "and both with what others saw: the WMS's clock, the last heartbeat, the status, the agent's "
        "counters. With --source any sources are held against the first one that has attempts, however many records "
        "they are. Exit code 1 when anything differs (beyond what [Reconcile] allows) or could not be read."
    ),
    examples=(
        "jobspan reconcile",
        "jobspan reconcile --json | jq '.differences'",
        "jobspan reconcile --source wms=wms --source otlp=otlp:logs.jsonl --html report.html",
        "jobspan reconcile --source wms=wms --source batch=sacct:jobs.txt,zone=Europe/Berlin --since 2026-11-01",
    ),
    configure=_configure,
    run=_run,
)
