"""`jobspan output`: fetch a job's output sandbox."""

import argparse
from pathlib import Path

from runner.commands.context import Command, Context, one_job


def _configure(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--to", type=Path, metavar="DIR", help="new folder for the files (./output-ID)")


def _run(context: Context) -> int:
    from runner.commands.fetching import fetch_output
    from runner.commands.jobs import find
    from runner.commands.terminal import one_line
    from runner.compose.kinds import open_client

    number, client = context.arguments.id, open_client(context.config)
    find(client, [number])
    target = context.arguments.to or Path(f"output-{number}")
    files = fetch_output(client, number, target)
    for name in files:
        context.terminal.line(one_line(target / name))
    context.terminal.json({"job_id": number, "folder": str(target.absolute()), "files": files})
    return 0


COMMAND = Command(
    description=(
        "Fetch the output sandbox of a job's last attempt and unpack it into a new folder. The archive is "
        "untrusted: only regular files and folders, inside that folder and within limits, are unpacked."
    ),
    examples=("jobspan output 12", "jobspan output 12 --to results"),
    configure=_configure,
    run=_run,
)
