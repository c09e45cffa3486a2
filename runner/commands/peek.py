"""`jobspan peek`: the last lines of a job's output."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runner.commands.context import Command, Context, one_job
from runner.commands.terminal import clean

if TYPE_CHECKING:
    from runner.wms.answers import Peek
    from runner.wms.client import WmsClient


def _configure(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--follow", action="store_true", help="go on until the job has ended")


def _run(context: Context) -> int:
    from runner.commands import jobs
    from runner.compose.clients import open_client
    from runner.errors import ConfigError

    terminal, number = context.terminal, context.arguments.id
    client = open_client(context.config)
    if context.arguments.follow:
        if terminal.as_json:
            raise ConfigError("--follow prints lines as they come, --json one value; leave one of them out")
        return _follow(context, client)
    jobs.find(client, [number])
    peek = _peek(client, number)
    text = clean(peek.standard_output).rstrip("\n")
    terminal.line(text or f"job {number} has shown no output yet; it comes with the heartbeat")
    terminal.json({"job_id": number, "time": peek.time, "standard_output": peek.standard_output})
    return 0


def _follow(context: Context, client: "WmsClient") -> int:
    from runner.commands import jobs

    shown: list[str] = []
    for _ in jobs.watch(client, [context.arguments.id]):
        lines = clean(_peek(client, context.arguments.id).standard_output).splitlines()
        for line in fresh(shown, lines):
            context.terminal.line(line)
        shown = lines
    return 0


def _peek(client: "WmsClient", number: int) -> "Peek":
    """The last lines; none when the job has sent none yet."""
    from runner.errors import NotFoundError
    from runner.wms.answers import Peek

    try:
        return client.peek(number)
    except NotFoundError:
        return Peek("", "")


def fresh(shown: Sequence[str], lines: Sequence[str]) -> Sequence[str]:
    """What of *lines* (the end of a growing text) comes after *shown* (an earlier end of it)."""
    for overlap in range(min(len(shown), len(lines)), 0, -1):
        if list(shown[-overlap:]) == list(lines[:overlap]):
            return lines[overlap:]
    return lines


COMMAND = Command(
    description=(
        "Show the last lines that a job has written (MaxJobPeekLines), as of its last heartbeat "
        "(CheckingTime). Control characters are left out."
    ),
    examples=("jobspan peek 12", "jobspan peek 12 --follow"),
    configure=_configure,
    run=_run,
)
