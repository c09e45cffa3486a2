"""`jobspan delete`: put jobs away that are over."""

import argparse
from typing import TYPE_CHECKING

from runner.commands.context import Command, Context, some_jobs
from runner.commands.terminal import one_line

if TYPE_CHECKING:
    from runner.wms.operations import Order


def _configure(parser: argparse.ArgumentParser) -> None:
    some_jobs(parser)
    parser.add_argument("--remove", action="store_true", help="forget them for good, but for their accounting")


def _run(context: Context) -> int:
    from runner.compose.kinds import open_client

    order: Order = "remove" if context.arguments.remove else "delete"
    said = open_client(context.config).order(order, context.arguments.ids)
    for job_id, words in said.items():
        context.terminal.line(f"job {job_id}  {one_line(words) or f'{order}d'}")
    refused = {job_id for job_id, words in said.items() if words.startswith("not ")}
    context.terminal.json(
        [{"job_id": job_id, order + "d": job_id not in refused, "reason": words} for job_id, words in said.items()]
    )
    return 4 if refused else 0


COMMAND = Command(
    description=(
        "Put jobs away: they are Deleted, and no search for other statuses shows them. A job that is with a wrapper is "
        "killed first, and can be deleted when it has ended. --remove forgets jobs that are over, with their history, "
        "parameters and sandboxes; accounting records stay. Exit code 4 when a job cannot be put away."
    ),
    examples=("jobspan delete 12", "jobspan delete 12 13 --remove"),
    configure=_configure,
    run=_run,
)
