"""`jobspan metrics`: what the agent exposes."""

import argparse
import re
from typing import Any

from runner.commands.context import Command, Context

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grep", metavar="TEXT", default="", help="only metrics whose name contains TEXT")


def _run(context: Context) -> int:
    from runner.compose.reports import metrics_text

    text = metrics_text(context.config)
    wanted = context.arguments.grep
    for line in text.splitlines():
        if wanted in _name(line):
            context.terminal.line(line)
    context.terminal.json([each for each in samples(text) if wanted in each["name"]])
    return 0


def samples(text: str) -> list[dict[str, Any]]:
    """The samples of an exposition in Prometheus's text format: name, labels, value."""
    found = (_SAMPLE.match(line) for line in text.splitlines() if not line.startswith("#"))
    return [
        {"name": each[1], "labels": dict(_LABEL.findall(each[2] or "")), "value": float(each[3])}
        for each in found
        if each
    ]


def _name(line: str) -> str:
    words = line.split()
    if line.startswith("#"):
        return words[2] if len(words) > 2 else ""
    return re.split(r"[{ ]", line, maxsplit=1)[0]


COMMAND = Command(
    description=("Show what the agent on this folder exposes to Prometheus at this moment. It must be running."),
    examples=("jobspan metrics", "jobspan metrics --grep cpu", "jobspan metrics --json"),
    configure=_configure,
    run=_run,
)
