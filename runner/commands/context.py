"""What a command is, and what it is given."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.commands.terminal import Terminal

if TYPE_CHECKING:  # `jobspan --help` shall not load the configuration
    from runner.config import Config


@dataclass(frozen=True)
class Context:
    """Everything that a command may use."""

    arguments: argparse.Namespace
    config: "Config"
    terminal: Terminal


@dataclass(frozen=True)
class Command:
    """One command: what its help says, its arguments, what it does."""

    description: str
    examples: tuple[str, ...]
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Context], int]


def no_arguments(_: argparse.ArgumentParser) -> None:
    """For commands that have only the common options."""


def job_id(text: str) -> int:
    """The number of a job, as an argument.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a job")
    return int(text)


def one_job(parser: argparse.ArgumentParser) -> None:
    """One job number."""
    parser.add_argument("id", metavar="ID", type=job_id, help="number of the job")


def some_jobs(parser: argparse.ArgumentParser) -> None:
    """One job number or more."""
    parser.add_argument("ids", metavar="ID", type=job_id, nargs="+", help="numbers of jobs")


def has_log_format(parser: argparse._ActionsContainer) -> None:
    """For services: how they log."""
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="log lines on stderr, for people or for machines"
    )


def may_end_with_parent(parser: argparse._ActionsContainer) -> None:
    """For services that other commands start: nothing of them is left when those are killed."""
    parser.add_argument(
        "--end-with",
        type=int,
        metavar="PID",
        help="end as by SIGTERM when the process PID, which started this one, ends",
    )


def end_with_parent(context: Context) -> None:
    """Do what `--end-with` asks for."""
    if context.arguments.end_with is not None:
        from runner.process.linux import end_with_parent as arrange

        arrange(context.arguments.end_with)
