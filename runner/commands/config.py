"""`jobspan config show`: every option."""

import argparse
from typing import Any

from runner.commands.context import Command, Context


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("show",), metavar="show", help="print all options as a configuration file")
    parser.add_argument("--changed", action="store_true", help="only options that differ from their default")


def _run(context: Context) -> int:
    from runner.config import describe

    terminal, config = context.terminal, context.config
    options = [each for each in describe(config) if not context.arguments.changed or each[2] != each[3]]
    terminal.line(f"# folder: {config.folder}")
    terminal.line(f"# file:   {config.source or 'none; all options have their defaults'}")
    shown = ""
    for table, name, value, default, help in options:
        if table != shown:
            terminal.line(f"\n[{table}]")
            shown = table
        terminal.line(f"# {help}" + ("" if value == default else f" (default: {toml(default)})"))
        terminal.line(terminal.paint(f"{name} = {toml(value)}", "" if value == default else "bold"))
    terminal.json(
        {
            "folder": str(config.folder),
            "file": str(config.source) if config.source else None,
            "options": [
                {"table": table, "name": name, "value": value, "default": default, "help": help}
                for table, name, value, default, help in options
            ],
        }
    )
    return 0


def toml(value: Any) -> str:
    """*value* as the configuration file has it."""
    import json

    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    return json.dumps(value) if isinstance(value, str) else str(value)


COMMAND = Command(
    description=(
        "Show every option with its present value and its meaning, as a configuration file that could be "
        "used. Values of secrets are masked."
    ),
    examples=("jobspan config show", "jobspan config show --changed", "jobspan --config site.toml config show --json"),
    configure=_configure,
    run=_run,
)
