"""`jobspan trace`: the spans of a job."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from runner.commands.context import Command, Context, one_job
from runner.commands.extras import needs_extra

if TYPE_CHECKING:
    from telemetry.live.traces import JobTrace


def _configure(parser: argparse.ArgumentParser) -> None:
    one_job(parser)
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="write a page that shows all that is known, as one file"
    )
    parser.add_argument(
        "--perfetto", metavar="FILE", type=Path, help="write trace events for ui.perfetto.dev and chrome://tracing"
    )
    further_files(parser)


def further_files(parser: argparse.ArgumentParser) -> None:
    """Spans from elsewhere."""
    parser.add_argument(
        "--from",
        dest="further",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="look into this file of OTLP/JSON lines too, such as a collector's or another node's; may be repeated",
    )


def _run(context: Context) -> int:
    from runner.compose.traces import find_trace
    from runner.errors import NotFoundError
    from telemetry.live.traces import trace_values
    from telemetry.live.waterfall import waterfall

    arguments, terminal = context.arguments, context.terminal
    found = find_trace(context.config, arguments.id, arguments.further)
    if not found.attempts and not found.submit:
        raise NotFoundError(
            f"no spans of job {arguments.id} in {context.config.telemetry_folder}; "
            "they are written when an attempt has ended"
        )
    written = _write(context, found)
    if not written:
        terminal.line(waterfall(found, width=terminal.width, colour=terminal.colour).rstrip("\n"))
    for path in written:
        terminal.line(f"wrote {path}")
    terminal.json(trace_values(found))
    return 0


def _write(context: Context, found: "JobTrace") -> list[Path]:
    """The files that were asked for."""
    arguments = context.arguments
    if arguments.html is not None:
        with needs_extra("reports", "jobspan trace --html"):
            from runner.compose.traces import trace_page

            page = trace_page(context.config, found)
        write_file(arguments.html, page)
    if arguments.perfetto is not None:
        from runner.compose.traces import find_courses
        from telemetry.live.perfetto import trace_events

        courses = find_courses(context.config, arguments.id)
        write_file(arguments.perfetto, json.dumps(trace_events(found, courses)))
    return [path for path in (arguments.html, arguments.perfetto) if path is not None]


def write_file(path: Path, text: str) -> None:
    """What the user wants in a file.

    Raises:
        ConfigError: it cannot be written.
    """
    from runner.errors import ConfigError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


COMMAND = Command(
    description=(
        "Draw submission, queue, match and all attempts of a job as a waterfall, with the usage of each stage and all "
        "that happened, from the spans in this folder. --html writes a page of it, with the job's output and the "
        "course of its use where the journal is at hand."
    ),
    examples=("jobspan trace 12", "jobspan trace 12 --html job12.html", "jobspan trace 12 --perfetto job12.json"),
    configure=_configure,
    run=_run,
)
