"""`jobspan agent`: take jobs and run them, in the foreground."""

import argparse

from runner.commands.announcing import announcer
from runner.commands.context import Command, Context, end_with_parent, has_log_format, may_end_with_parent
from runner.commands.overrides import with_options


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--drain", action="store_true", help="end when the WMS has no job for us and all have ended")
    parser.add_argument("--slots", type=int, metavar="N", help="processors for jobs (option Slots)")
    has_log_format(parser)
    may_end_with_parent(parser)


def _run(context: Context) -> int:
    from runner.compose.agent import run_agent

    end_with_parent(context)
    slots = context.arguments.slots
    config = context.config if slots is None else with_options(context.config, {"JobAgent": {"Slots": slots}})
    arguments = context.arguments
    return run_agent(
        config, drain=arguments.drain, announce=announcer(context.terminal), log_format=arguments.log_format
    )


COMMAND = Command(
    description=(
        "Take jobs from the WMS and run each in a wrapper of its own, until SIGINT or SIGTERM: jobs that run "
        "then are given back (Rescheduled) and end in order. The first line on stdout says where /metrics is."
    ),
    examples=("jobspan agent --slots 4", "jobspan agent --drain"),
    configure=_configure,
    run=_run,
)
