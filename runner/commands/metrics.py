"""`jobspan metrics`: what the agent, or the WMS, exposes."""

import argparse
import re

from runner.commands.context import Command, Context


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grep", metavar="TEXT", default="", help="only metrics whose name contains TEXT")
    parser.add_argument("--wms", action="store_true", help="those of the embedded WMS instead of the agent's")


def _run(context: Context) -> int:
    from dashboards.check import samples
    from runner.compose.reports import metrics_text, wms_metrics_text

    text = wms_metrics_text(context.config) if context.arguments.wms else metrics_text(context.config)
    wanted = context.arguments.grep
    for line in text.splitlines():
        if wanted in _name(line):
            context.terminal.line(line)
    context.terminal.json(
        [{"name": name, "labels": labels, "value": value} for name, labels, value in samples(text) if wanted in name]
    )
    return 0


def _name(line: str) -> str:
    words = line.split()
    if line.startswith("#"):
        return words[2] if len(words) > 2 else ""
    return re.split(r"[{ ]", line, maxsplit=1)[0]


COMMAND = Command(
    description=(
        "Show what the agent on this folder, or with --wms the WMS, exposes to Prometheus at this moment. It must be "
        "running."
    ),
    examples=(
        "jobspan metrics",
        "jobspan metrics --grep cpu",
        "jobspan metrics --wms --grep jobs",
        "jobspan metrics --json",
    ),
    configure=_configure,
    run=_run,
)
