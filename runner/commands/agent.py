"""`jobspan agent`: take jobs and run them, in the foreground."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from runner.commands.announcing import announcer
from runner.commands.context import Command, Context, end_with_parent, has_log_format, job_id, may_end_with_parent
from runner.commands.overrides import with_options

if TYPE_CHECKING:
    from runner.job.description import JobDescription


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--drain", action="store_true", help="end when the WMS has no job for us and all have ended")
    parser.add_argument("--slots", type=int, metavar="N", help="processors for jobs (option Slots)")
    has_log_format(parser)
    parser.add_argument(
        "--job",
        dest="jobs",
        metavar="ID[=FILE]",
        type=_named_job,
        action="append",
        help="with a DiracX server: run this job, which was submitted from this folder or is described in FILE, and "
        "end when all named jobs have ended; may be repeated",
    )
    may_end_with_parent(parser)


def _run(context: Context) -> int:
    from runner.compose.agent import run_agent

    end_with_parent(context)
    slots = context.arguments.slots
    config = context.config if slots is None else with_options(context.config, {"JobAgent": {"Slots": slots}})
    jobs = {number: _description(path, number) for number, path in context.arguments.jobs or ()}
    drain = context.arguments.drain or bool(jobs)
    return run_agent(
        config,
        drain=drain,
        jobs=jobs,
        announce=announcer(context.terminal),
        log_format=context.arguments.log_format,
    )


def _named_job(text: str) -> tuple[int, Path | None]:
    number, _, file = text.partition("=")
    return job_id(number), Path(file) if file else None


def _description(path: Path | None, number: int) -> "JobDescription | None":
    from runner.commands.packing import local_files, read_job
    from runner.errors import DescriptionError

    if path is None:
        return None
    description = read_job(path).description.with_job_id(number)
    if local := local_files(description):
        reason = f"{local[0]} was never uploaded; name the sandbox (SB:...) that the job was submitted with"
        raise DescriptionError(reason, source=str(path), field="InputSandbox")
    return description


COMMAND = Command(
    description=(
        "Take jobs from the WMS and run each in a wrapper of its own, until SIGINT or SIGTERM: jobs that run "
        "then are given back (Rescheduled) and end in order. The first line on stdout says where /metrics is."
    ),
    examples=("jobspan agent --slots 4", "jobspan agent --drain", "jobspan agent --job 17 --job 18=analysis.jdl"),
    configure=_configure,
    run=_run,
)
