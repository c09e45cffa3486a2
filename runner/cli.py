"""The command `jobspan`: arguments to commands, errors to one line and an exit code.

A command's module is imported only when that command is asked for, so `jobspan --help` loads none.
"""

import argparse
import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import runner
from runner.commands.context import Command, Context
from runner.commands.terminal import Terminal, clean
from runner.errors import ConfigError, DescriptionError, JobspanError, RefusedError, UnavailableError

OK, FAILED, USAGE, UNREACHABLE, REFUSED, INTERNAL, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 4, 70, 130, 141

#: Name, module below runner.commands, what it does. In the order in which people meet them.
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("run", "run", "run one job, with a WMS and an agent just for it"),
    ("demo", "demo", "run the demonstration jobs, check all that they leave behind"),
    ("wms", "wms", "serve the embedded WMS until told to stop; its users and keys"),
    ("agent", "agent", "take jobs from the WMS and run them"),
    ("submit", "submit", "hand in jobs (JDL, JSON or YAML)"),
    ("status", "status", "show jobs and where they are"),
    ("why", "why", "say why a job does not run"),
    ("log", "log", "show every status that a job had, with times and sources"),
    ("parameters", "parameters", "show what a job's wrapper reported about it"),
    ("peek", "peek", "show the last lines of a job's output"),
    ("kill", "kill", "order jobs to end"),
    ("reschedule", "reschedule", "give jobs another attempt"),
    ("delete", "delete", "put jobs away that are over"),
    ("output", "output", "fetch a job's output sandbox and unpack it"),
    ("trace", "trace", "draw the spans of a job as a waterfall"),
    ("slow", "slow", "say which stages were slow, and where"),
    ("metrics", "metrics", "show what the agent's /metrics says"),
    ("accounting", "accounting", "show the accounting records, superseded ones too"),
    ("reconcile", "reconcile", "compare the WMS's accounting with the site's telemetry"),
    ("report", "report", "sum up a month: core hours, efficiency, what is missing or late"),
    ("requests", "requests", "show and execute what is pending for jobs that have ended"),
    ("module", "module", "run a workflow module inside a payload"),
    ("sites", "sites", "show and set which sites get jobs"),
    ("pilots", "pilots", "show the agents that the WMS knows, and end them"),
    ("outbox", "outbox", "show what was not delivered, and try it again"),
    ("login", "login", "log in to a WMS, by a browser anywhere"),
    ("logout", "logout", "end the login"),
    ("whoami", "whoami", "show as whom the WMS knows us"),
    ("config", "config", "show every option with its value, its default and its meaning"),
    ("doctor", "doctor", "check what this machine grants and what can be reached"),
)

EXIT_CODES = """exit codes:
  0    done; for jobs: all are Done
  1    what was asked about has failed, or differs
  2    wrong arguments, configuration or job description
  3    the WMS or the agent cannot be reached
  4    refused: not allowed, not found, or not possible now
  70   an error in jobspan itself
  130  interrupted
"""


class Parser(argparse.ArgumentParser):
    """argparse, with errors in one line that says what to do."""

    def error(self, message: str) -> None:  # type: ignore[override]  # argparse says NoReturn; we raise
        """Raise instead of printing the usage.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code (see `EXIT_CODES`)."""
    given = list(sys.argv[1:] if argv is None else argv)
    verbose = "-v" in given or "--verbose" in given
    try:
        code = _run(given)
        sys.stdout.flush()
        return code
    except JobspanError as error:
        return _complain(str(error), _code_of(error))
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the process's boundary: a user gets one line, and with -v the traceback
        return _internal(error, verbose=verbose)


def _run(argv: list[str]) -> int:
    before, name, after = _split(argv)
    parser = _main_parser()
    namespace = parser.parse_args(before)
    if not name:
        parser.print_help()
        return USAGE
    modules = {each: module for each, module, _ in COMMANDS}
    if name not in modules:
        parser.error(f"there is no command {name!r}{_near(name, modules)}")
    command: Command = importlib.import_module(f"runner.commands.{modules[name]}").COMMAND
    arguments = _command_parser(name, command).parse_args(after, namespace)
    from runner.config import load  # --help does without

    config = load(arguments.config, arguments.folder)
    terminal = Terminal.of(config.environment, as_json=arguments.json, no_colour=arguments.no_colour)
    if arguments.verbose:
        _log_to_stderr()
    return command.run(Context(arguments, config, terminal))


def _split(argv: list[str]) -> tuple[list[str], str, list[str]]:
    """The options before the command, the command, what follows it."""
    position = 0
    while position < len(argv) and argv[position].startswith("-"):
        position += 2 if argv[position] in ("--config", "--folder") else 1
    return argv[:position], argv[position] if position < len(argv) else "", argv[position + 1 :]


def _main_parser() -> Parser:
    width = max(len(name) for name, _, _ in COMMANDS)
    commands = "\n".join(f"  {name:{width}}  {summary}" for name, _, summary in COMMANDS)
    parser = Parser(
        prog="jobspan",
        usage="jobspan [options] COMMAND ...",
        description="Run jobs and see each of them: every stage a span, every attempt accounted for.",
        epilog=f"commands:\n{commands}\n\n{EXIT_CODES}\nexample:\n  jobspan run job.jdl\n"
        "  jobspan COMMAND --help shows the options of a command, with examples",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jobspan {runner.__version__}")
    _common(parser, config=None, folder=None, json=False, verbose=False, no_colour=False)
    return parser


def _command_parser(name: str, command: Command) -> Parser:
    parser = Parser(
        prog=f"jobspan {name}",
        description=textwrap.fill(command.description, min(88, shutil.get_terminal_size((88, 24)).columns)),
        epilog="examples:\n" + "\n".join(f"  {example}" for example in command.examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    common = parser.add_argument_group("common options")
    unset = argparse.SUPPRESS
    _common(common, config=unset, folder=unset, json=unset, verbose=unset, no_colour=unset)
    return parser


def _common(parser: argparse._ActionsContainer, **defaults: object) -> None:
    """The options that stand before or after the command."""
    add = parser.add_argument
    add("--config", metavar="FILE", type=Path, default=defaults["config"], help="configuration file (TOML)")
    add("--folder", metavar="DIR", type=Path, default=defaults["folder"], help="folder of WMS, jobs and telemetry")
    add("--json", action="store_true", default=defaults["json"], help="one JSON value on stdout and nothing else")
    add("-v", "--verbose", action="store_true", default=defaults["verbose"], help="log to stderr; show tracebacks")
    add("--no-color", dest="no_colour", action="store_true", default=defaults["no_colour"], help="no colours")


def _near(name: str, known: dict[str, str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f", did you mean {near[0]}?" if near else ""


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")


def _internal(error: Exception, *, verbose: bool) -> int:
    if verbose:
        import traceback

        traceback.print_exception(error)
    what = f"internal error, {type(error).__name__}: {error}"
    return _complain(what if verbose else f"{what}; repeat with -v and report the traceback", INTERNAL)


def _code_of(error: JobspanError) -> int:
    if isinstance(error, ConfigError | DescriptionError):
        return USAGE
    if isinstance(error, UnavailableError):
        return UNREACHABLE
    return REFUSED if isinstance(error, RefusedError) else FAILED


def _complain(message: str, code: int) -> int:
    print(f"jobspan: {clean(' '.join(message.split()))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
