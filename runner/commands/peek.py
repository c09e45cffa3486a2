"""`jobspan peek`: the last lines of a job's output."""

import argparse
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runner.commands.context import Command, Context, one_job
from runner.commands.terminal import clean

if TYPE_CHECKING:
    from runner.compose.peeks import JobPeek
    from runner.wms.answers import Peek
    from runner.wms.client import WmsClient

#: How long one call to the agent waits for lines.
WAIT_SECONDS = 2.0
#: Calls between two looks at whether the job is over: so many an agent answers at once.
MOST_ANSWERS = 8


def _configure(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument("--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument(
        "--stream", choices=("stdout", "stderr", "both"), default="both", help="only this stream (default: both)"
    )


def _run(context: Context) -> int:
    from runner.commands import jobs
    from runner.compose.kinds import open_client
    from runner.compose.peeks import peek_at
    from runner.errors import ConfigError, UnavailableError

    client = open_client(context.config)
    if context.arguments.follow:
        if context.terminal.as_json:
            raise ConfigError("--follow prints lines as they come, --json one value; leave one of them out")
        return _follow(context, client)
    jobs.find(client, [context.arguments.id])
    try:
        look = peek_at(context.config, context.arguments.id, context.arguments.stream)
    except UnavailableError as error:
        _show_heartbeat(context, client, str(error))
    else:
        _show(context, look)
    return 0


def _show_heartbeat(context: Context, client: "WmsClient", why: str) -> None:
    terminal, number = context.terminal, context.arguments.id
    peek = _peek(client, number)
    text = clean(peek.standard_output).rstrip("\n")
    if context.arguments.stream != "both":
        terminal.line(f"({clean(why)}; both streams, as of the last heartbeat)")
    terminal.line(text or f"job {number} has shown no output yet; it comes with the heartbeat")
    terminal.json({"job_id": number, "time": peek.time, "standard_output": peek.standard_output})


def _show(context: Context, look: "JobPeek") -> None:
    terminal, number = context.terminal, context.arguments.id
    most = context.config.job_wrapper.max_job_peek_lines
    shown, skipped = {}, {}
    for name, stream in look.streams.items():
        lines = [*stream.lines, *([(stream.next, stream.open_line)] if stream.open_line else [])]
        lines = lines[-most:] if most else []
        shown[name] = [line for _, line in lines]
        skipped[name] = lines[0][0] if lines else stream.next
        for line in shown[name]:
            terminal.line(clean(line))
    if not any(shown.values()):
        terminal.line(f"job {number} has written nothing yet")
    text = "".join(f"{line}\n" for lines in shown.values() for line in lines)
    terminal.json({"job_id": number, "time": "", "standard_output": text, "streams": shown, "skipped_bytes": skipped})


class _Follower:
    """Prints what an agent shows, line by line, each once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._attempt = 0
        self._after: dict[str, int] = {}
        self._pause = threading.Event()
        #: Whether the agent has shown anything: then the heartbeats have nothing to add.
        self.has_shown = False

    def go_on(self, *, to_the_end: bool) -> None:
        """Print what is new, waiting for it a moment; *to_the_end*: all that there is."""
        from runner.compose.peeks import peek_at
        from runner.errors import UnavailableError

        arguments, is_more, answers = self._context.arguments, True, 0
        while is_more:
            after = self._after or {"stdout": 0, "stderr": 0}
            try:
                look = peek_at(
                    self._context.config, arguments.id, arguments.stream, after=after, wait_seconds=WAIT_SECONDS
                )
            except UnavailableError as error:
                if error.retry_after_seconds is None:
                    return
                self._pause.wait(error.retry_after_seconds)
                continue
            answers += 1
            is_more = self._print(look) and (to_the_end or (look.is_full and answers < MOST_ANSWERS))

    def _print(self, look: "JobPeek") -> bool:
        """Whether there was anything."""
        self.has_shown = True
        if look.attempt != self._attempt:  # it was rescheduled: from the beginning
            is_first, self._attempt, self._after = not self._attempt, look.attempt, {}
            if not is_first:
                return True
        for name, stream in look.streams.items():
            skipped = stream.start - self._after.get(name, 0)
            if skipped > 0:
                print(f"({skipped} bytes of {name} are not shown)", file=sys.stderr, flush=True)
            for _, line in stream.lines:
                self._context.terminal.line(clean(line))
            self._after[name] = stream.next
        return any(stream.lines for stream in look.streams.values())


def _follow(context: Context, client: "WmsClient") -> int:
    from runner.commands import jobs

    shown: list[str] = []
    follower = _Follower(context)
    for rows in jobs.watch(client, [context.arguments.id]):
        follower.go_on(to_the_end=all(row.is_over for row in rows))
        if not follower.has_shown:
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
        "Show the last lines that a job has written (MaxJobPeekLines): from the agent on this folder, as of now and by "
        "stream, else as of the job's last heartbeat (CheckingTime). Control characters are left out."
    ),
    examples=("jobspan peek 12", "jobspan peek 12 --stream stderr --follow"),
    configure=_configure,
    run=_run,
)
