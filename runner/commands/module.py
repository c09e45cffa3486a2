"""`jobspan module`: one module of a workflow, inside a payload."""

import argparse
from pathlib import Path

from runner.commands.context import Command, Context
from runner.errors import DescriptionError

#: Who the job is, in a payload's environment; JOBID is DIRAC's.
_JOB_VARIABLES = ("JOBSPAN_JOB_ID", "JOBID")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="FailoverRequest, or a module that a package of yours brings")
    parser.add_argument("--step", metavar="FILE", type=Path, help="JSON with the variables of workflow and step")


def _run(context: Context) -> int:
    from runner.failover import modules

    folder, path = Path.cwd(), context.arguments.step
    given = [context.config.environment.get(name, "") for name in _JOB_VARIABLES]
    job = next((each for each in given if each), "0")
    if not job.isascii() or not job.isdigit():
        raise DescriptionError(f"{job[:40]!r} is not the number of a job", source=_JOB_VARIABLES[0])
    try:
        text = path.read_text() if path else "{}"
    except (OSError, UnicodeDecodeError) as error:
        raise DescriptionError(f"cannot be read: {error}", source=str(path)) from error
    step = modules.read_step(text, str(path), folder=folder, job_id=int(job))
    result = modules.load(context.arguments.name)(step).execute()
    context.terminal.line(result.message)
    context.terminal.json({"ok": result.ok, "message": result.message, "errno": result.errno})
    return 0 if result.ok else 1


COMMAND = Command(
    description=(
        "Run a module of a workflow in the present folder, as a payload does. It needs no WMS and no token: what it "
        "wants done it writes into the folder, where the job's wrapper finds it. Exit code 1 when the module fails."
    ),
    examples=("jobspan module FailoverRequest --step step.json",),
    configure=_configure,
    run=_run,
)
