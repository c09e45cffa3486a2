"""`jobspan outbox`: what this node still owes, what will never be taken, and another try."""

import argparse
import json
from typing import TYPE_CHECKING

from runner.commands.context import Command, Context, job_id
from runner.commands.terminal import seconds_text

if TYPE_CHECKING:
    from runner.agent.outbox import OutboxItem

HEADS = ("JOB", "TRY", "SINK", "KIND", "STATE", "AGE", "BYTES", "NEXT TRY", "REASON")


def _configure(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    parser.add_argument("action", choices=("list", "retry", "export"), help="show, try again, or write as JSON lines")
    parser.add_argument("--job", metavar="ID", type=job_id, action="append", default=[], help="only this job (again)")
    parser.add_argument("--sink", metavar="SINK", action="append", default=[], help="only this sink, such as otlp-http")
    what.add_argument("--dead", action="store_true", help="only what its sink will never take")
    what.add_argument("--all", action="store_true", help="retry: the dead letters of all jobs and sinks")
    parser.add_argument("--to", metavar="FILE", help="export: into this new file, and not to standard output")


def _run(context: Context) -> int:
    arguments = context.arguments
    if arguments.action == "retry":
        return _retry(context)
    return _export(context) if arguments.action == "export" else _list(context)


def _chosen(context: Context) -> "list[OutboxItem]":
    from runner.compose.outbox import listing

    arguments = context.arguments
    return [
        item
        for item in listing(context.config)
        if (not arguments.job or item.folder.job_id in arguments.job)
        and (not arguments.sink or item.sink in arguments.sink)
        and (not arguments.dead or item.state == "dead")
    ]


def _list(context: Context) -> int:
    from runner.compose.outbox import counted, row
    from telemetry.clock import SystemClock

    items, counts, terminal = _chosen(context), counted(context.config), context.terminal
    rows = [row(item, SystemClock()) for item in items]
    if rows:
        terminal.show_table(HEADS, [_cells(each) for each in rows], flexible=len(HEADS) - 1)
    dead = sum(item.state == "dead" for item in items)
    terminal.line(f"{len(items) - dead} pending, {dead} dead" if items else "the outbox is empty")
    for what, words in (("copies", "copies sent more than once"), ("expired", "removed before they were taken")):
        if counts[what]:
            terminal.line(f"{words}: " + ", ".join(f"{sink} {count}" for sink, count in counts[what].items()))
    terminal.json({"items": rows, **counts})
    return 0


def _cells(row: dict[str, object]) -> tuple[object, ...]:
    next_try = str(row["NextTry"] or "")[11:19]
    age = seconds_text(float(str(row["AgeSeconds"])))
    return (
        row["JobID"],
        row["Attempt"],
        row["Sink"],
        row["Kind"],
        row["State"],
        age,
        row["SizeBytes"],
        next_try,
        row["Reason"],
    )


def _retry(context: Context) -> int:
    from runner.compose.outbox import retry
    from runner.errors import ConfigError

    arguments, terminal = context.arguments, context.terminal
    if not (arguments.job or arguments.sink or arguments.all):
        raise ConfigError("say which dead letters: --job ID, --sink SINK, or --all")
    retried = retry(context.config, _chosen(context))
    words = {
        "agent": "the agent delivers them",
        "command": "delivered" if retried.done else "tried; not all were taken, see `jobspan outbox list`",
        "nobody": "nothing to deliver",
    }
    terminal.line(f"{retried.count} dead letters re-opened; {words[retried.by]}")
    terminal.json({"reopened": retried.count, "by": retried.by, "done": retried.done})
    return 1 if retried.by == "command" and not retried.done else 0


def _export(context: Context) -> int:
    from runner.compose.outbox import documents
    from runner.errors import ConfigError
    from telemetry.clock import SystemClock

    items = _chosen(context)
    lines = "".join(json.dumps(each) + "\n" for each in documents(context.config, items, SystemClock()))
    if context.arguments.to is None:
        print(lines, end="", flush=True)
        return 0
    try:
        with open(context.arguments.to, "x", opener=_for_us_alone) as file:
            file.write(lines)
    except OSError as error:
        raise ConfigError(f"{context.arguments.to} cannot be made: {error.strerror}; name a new file") from error
    context.terminal.line(f"{len(items)} documents in {context.arguments.to}")
    context.terminal.json({"documents": len(items), "file": context.arguments.to})
    return 0


def _for_us_alone(path: str, flags: int) -> int:
    import os

    return os.open(path, flags, 0o600)


COMMAND = Command(
    description=(
        "What the jobs of this node have not delivered, by job and sink (wms-status, wms-accounting, reschedule, "
        "otlp-file, otlp-http ...): pending documents are tried again by themselves, dead ones were refused for good "
        "and block nobody. `retry` puts dead ones back: the agent delivers them, or this command where no agent runs. "
        "`export` writes all of it as JSON lines, each with its body as the sink would get it: for a report to whoever "
        "runs the sink, and for its own tools where this node is to be given up; nothing reads it back here. Bodies "
        "of otlp-http are OTLP/JSON: POST `.Body.traces` to /v1/traces and `.Body.logs` to /v1/logs of a collector. "
        "What a node can still deliver is sent by `retry`."
    ),
    examples=(
        "jobspan outbox list",
        "jobspan outbox list --sink otlp-http --json | jq '.items[].Reason'",
        "jobspan outbox retry --job 12",
        "jobspan outbox retry --sink otlp-http",
        "jobspan outbox export --dead --to dead.jsonl",
        "jq -c '.Body.logs // empty' dead.jsonl | while read -r body; do "
        'printf %s "$body" | curl --json @- https://collector.example.org/v1/logs; done',
    ),
    configure=_configure,
    run=_run,
)
