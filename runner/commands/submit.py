"""`jobspan submit`: hand in jobs."""

import argparse
from pathlib import Path

from runner.commands.context import Command, Context


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="job description, - for standard input")
    parser.add_argument(
        "--wait", action="store_true", help="show the jobs until all have ended; exit 0 if all are Done"
    )


def _run(context: Context) -> int:
    from runner.commands import jobs, packing
    from runner.compose.kinds import open_client

    terminal = context.terminal
    files = [packing.read_job(path) for path in context.arguments.files]
    client = open_client(context.config)
    client.transport.traceparent = context.config.environment.get("TRACEPARENT", "")  # the caller's span, if it has one
    made = packing.submit_all(files, client)
    if not context.arguments.wait:
        for job_id, file in made:
            terminal.line(f"job {job_id}  {file.path}")
        terminal.json([{"job_id": job_id, "file": str(file.path)} for job_id, file in made])
        return 0
    rows = jobs.wait(client, [job_id for job_id, _ in made], jobs.LiveTable(terminal).show)
    terminal.json([row.to_json() for row in rows])
    return 0 if jobs.all_done(rows) else 1


COMMAND = Command(
    description=(
        "Hand in one job for each FILE (JDL, JSON or YAML), or as many as a parametric one stands for. "
        "Files named in InputSandbox are packed and "
        "uploaded; their names are relative to the description. Nothing is submitted unless all descriptions "
        "are valid."
    ),
    examples=(
        "jobspan submit analysis.jdl",
        "jobspan submit *.yaml --wait",
        "echo 'Executable: /bin/hostname' | jobspan submit -",
    ),
    configure=_configure,
    run=_run,
)
