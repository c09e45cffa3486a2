"""`jobspan report`: a month of accounting."""

import argparse
from datetime import date

from runner.commands.context import Command, Context
from runner.commands.reporting import add_outputs
from runner.errors import ConfigError


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--month", metavar="YYYY-MM", required=True, help="attempts that ended in this month (UTC)")
    parser.add_argument(
        "--closing-date",
        metavar="YYYY-MM-DD",
        help="the last day on which a record is in time; none: the 8th of the next month",
    )
    add_outputs(parser)


def _run(context: Context) -> int:
    from runner.commands.reporting import show, write_files
    from runner.commands.views import month_view
    from runner.compose.accounts import Accounts
    from telemetry.ledger.monthly import Month

    given = context.arguments
    try:
        month = Month.of(given.month)
        closing = date.fromisoformat(given.closing_date) if given.closing_date else month.closing_date
    except ValueError as error:
        raise ConfigError(str(error)) from error
    accounts = Accounts(context.config)
    result = accounts.month(month, closing)
    report = month_view(result, accounts.problems, accounts.wms_id)
    files = write_files(report, given)
    show(report, context.terminal)
    for path in files:
        context.terminal.line(f"written: {path}")
    context.terminal.json(report.values())
    return 0 if report.mood == "good" else 1


COMMAND = Command(
    description=(
        "Sum up the accounting of a month: core hours, efficiency and normalised work by VO, group, site and cores; "
        "which attempts have no record, which only the WMS's estimate, and which records came after the closing date. "
        "Exit code 1 when there is any of these."
    ),
    examples=(
        "jobspan report --month 2026-11",
        "jobspan report --month 2026-11 --closing-date 2026-12-08 --html november.html --parquet november.parquet",
        "jobspan report --month 2026-11 --json | jq '.tables.used'",
    ),
    configure=_configure,
    run=_run,
)
