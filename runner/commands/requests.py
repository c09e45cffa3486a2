"""`jobspan requests`: what is still to be done for jobs whose wrappers have gone."""

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.commands.context import Command, Context, job_id
from runner.commands.terminal import one_line
from runner.errors import ConfigError

PAGE = 100


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "show", "run", "files"), help="see below")
    parser.add_argument("ids", metavar="ID", type=job_id, nargs="*", help="numbers of requests, for show and run")
    parser.add_argument("--job", metavar="JOB", type=job_id, help="list, files: of this job only")
    parser.add_argument("--status", choices=("Waiting", "Done", "Failed"), help="list: with this status only")
    parser.add_argument("--now", action="store_true", help="run: all that wait, whether they are due or not")


def _run(context: Context) -> int:
    actions = {"list": _list, "show": _show, "run": _execute, "files": _files}
    return actions[context.arguments.action](context)


def _list(context: Context) -> int:
    from runner.compose.kinds import open_client

    client = open_client(context.config)
    rows = _all(
        lambda page: client.requests(context.arguments.job, context.arguments.status or "", page=page, per_page=PAGE)
    )
    _table(context, ("RequestID", "RequestName", "JobID", "Status", "Failures", "NotBefore", "Error"), rows, "requests")
    return 0


def _show(context: Context) -> int:
    from runner.compose.kinds import open_client

    if not context.arguments.ids:
        raise ConfigError("which one? `jobspan requests show ID`; `jobspan requests list` has the numbers")
    client = open_client(context.config)
    found = [client.request(each) for each in context.arguments.ids]
    for request in found:
        context.terminal.line(" ".join(one_line(request.get(each)) for each in ("RequestID", "RequestName", "Status")))
        heads = ("Order", "Type", "TargetSE", "Files", "Status", "Error")
        rows = [{**each, "Files": _names(each)} for each in request["Operations"]]
        context.terminal.show_table(heads, _cells(heads, rows), flexible=3)
    context.terminal.json(found)
    return 0


def _execute(context: Context) -> int:
    from runner.compose.kinds import open_client
    from runner.compose.requests import open_executor

    ids: list[int] | None = context.arguments.ids or None
    if ids is None and context.arguments.now:
        client = open_client(context.config, "admin")
        ids = [
            int(each["RequestID"])
            for each in _all(lambda page: client.requests(status="Waiting", page=page, per_page=PAGE))
        ]
    with open_executor(context.config) as executor:
        done = executor.run(ids)
    rows = [
        {
            "RequestID": each.request_id,
            "RequestName": each.name,
            "JobID": each.job_id,
            "Status": each.status,
            "Error": each.error,
        }
        for each in done
    ]
    _table(context, ("RequestID", "RequestName", "JobID", "Status", "Error"), rows, "requests that are due")
    return 0 if all(each.status == "Done" for each in done) else 1


def _files(context: Context) -> int:
    from runner.compose.kinds import open_client

    client = open_client(context.config)
    rows = _all(lambda page: client.file_statuses(context.arguments.job, page=page, per_page=PAGE))
    _table(context, ("ProductionID", "LFN", "Status", "JobID", "Attempt", "LastUpdateTime"), rows, "file statuses")
    return 0


def _all(page_of: Callable[[int], list[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for number in itertools.count(1):
        page = page_of(number)
        rows += page
        if len(page) < PAGE:
            break
    return rows


def _table(context: Context, heads: tuple[str, ...], rows: Sequence[Mapping[str, Any]], what: str) -> None:
    if rows:
        context.terminal.show_table(
            heads, _cells(heads, rows), flexible=heads.index("Error") if "Error" in heads else 1
        )
    else:
        context.terminal.line(f"no {what}")
    context.terminal.json([dict(each) for each in rows])


def _cells(heads: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [tuple(one_line("" if row.get(name) is None else row.get(name)) for name in heads) for row in rows]


def _names(operation: Mapping[str, Any]) -> str:
    entries = [*operation.get("Files", ()), *operation.get("Arguments", {}).get("Statuses", ())]
    return ", ".join(str(each.get("LFN", "")) for each in entries)


COMMAND = Command(
    description=(
        "Requests are what could not be done when a job ended: output data for a storage element that was away, "
        "registrations, file reports. list and show say how far they are; files shows what file reports said; run "
        "executes those that are due (all that wait with --now, or those with these numbers, also when they were "
        "given up), with the administrator's token. A job that waited for them is Done afterwards."
    ),
    examples=(
        "jobspan requests list --status Waiting",
        "jobspan requests show 3",
        "jobspan requests run --now",
        "jobspan requests run 3",
        "jobspan requests files --job 12",
    ),
    configure=_configure,
    run=_run,
)
