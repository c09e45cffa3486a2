"""`jobspan status`: jobs and where they are."""

import argparse
from typing import TYPE_CHECKING

from runner.commands.context import Command, Context, job_id

if TYPE_CHECKING:
    from runner.commands.jobs import JobRow


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", type=job_id, nargs="*", help="numbers of jobs; none: the newest")
    parser.add_argument("--limit", type=int, metavar="N", default=50, help="without ID: so many jobs at most (50)")


def _run(context: Context) -> int:
    from runner.commands import jobs
    from runner.compose.kinds import open_client

    client = open_client(context.config)
    ids = context.arguments.ids
    rows = jobs.find(client, ids) if ids else jobs.newest(client, max(1, context.arguments.limit))
    terminal = context.terminal
    if rows:
        shown = [(*jobs.cells(row), *_times(row)) for row in rows]
        terminal.show_table((*jobs.LiveTable.HEADS, "SUBMITTED", "ENDED"), shown, flexible=4)
    else:
        terminal.line("no jobs; `jobspan submit FILE` hands one in")
    terminal.json([row.to_json() for row in rows])
    return 0


def _times(row: "JobRow") -> tuple[str, ...]:
    return tuple(str(row.values.get(name) or "").replace("T", " ")[:19] for name in ("SubmissionTime", "EndExecTime"))


COMMAND = Command(
    description=(
        "Show jobs with status and minor status. Killed jobs say whether the kill is only ordered or "
        "confirmed by the wrapper. Times are UTC."
    ),
    examples=("jobspan status", "jobspan status 12 13", "jobspan status --json | jq '.[].Status'"),
    configure=_configure,
    run=_run,
)
