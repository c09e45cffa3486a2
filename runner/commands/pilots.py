"""`jobspan pilots`: the agents that the WMS knows, what they have said, and their end."""

import argparse

from runner.commands.context import Command, Context, job_id
from runner.commands.terminal import one_line
from runner.errors import ConfigError

PILOT = ("PilotStamp", "Status", "GridSite", "DestinationSite", "SubmissionTime", "LastUpdateTime")
MESSAGE = ("MessageTime", "Severity", "Source", "Message")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "logs", "kill"), help="see below")
    parser.add_argument("stamps", metavar="STAMP", nargs="*", help="stamps of pilots, for logs and kill")
    parser.add_argument("--job", metavar="JOB", type=job_id, help="list, logs: the pilots in which this job ran")


def _run(context: Context) -> int:
    return {"list": _list, "logs": _logs, "kill": _kill}[context.arguments.action](context)


def _list(context: Context) -> int:
    from runner.compose.kinds import open_client

    rows = open_client(context.config).pilots(context.arguments.job)
    if rows:
        cells = [tuple(one_line(each.get(name)) for name in PILOT) for each in rows]
        context.terminal.show_table(PILOT, cells, flexible=2)
    else:
        context.terminal.line("no pilots")
    context.terminal.json([dict(each) for each in rows])
    return 0


def _logs(context: Context) -> int:
    from runner.compose.kinds import open_client

    client, job = open_client(context.config), context.arguments.job
    stamps = context.arguments.stamps or ([str(each["PilotStamp"]) for each in client.pilots(job)] if job else [])
    if not stamps:
        raise ConfigError(
            "which pilot? `jobspan pilots logs STAMP`, or --job JOB; `jobspan pilots list` has the stamps"
        )
    logs = {stamp: client.pilot_log(stamp) for stamp in stamps}
    for stamp, rows in logs.items():
        context.terminal.line(f"pilot {one_line(stamp)}: {len(rows)} messages")
        for each in rows:
            context.terminal.line(" ".join(one_line(each.get(name)) for name in MESSAGE))
    context.terminal.json({stamp: [dict(each) for each in rows] for stamp, rows in logs.items()})
    return 0


def _kill(context: Context) -> int:
    from runner.compose.kinds import open_client

    stamps = context.arguments.stamps
    if not stamps:
        raise ConfigError("which pilot? `jobspan pilots kill STAMP`; `jobspan pilots list` has the stamps")
    client = open_client(context.config, "admin")
    for stamp in stamps:
        client.kill_pilot(stamp)
        context.terminal.line(f"pilot {one_line(stamp)}  told to stop")
    context.terminal.json([{"PilotStamp": stamp, "Ordered": True} for stamp in stamps])
    return 0


COMMAND = Command(
    description=(
        "The pilots (agents) of the WMS. list shows them, the newest first; logs what they have said; kill tells them "
        "to stop as by SIGTERM: their jobs end with their grace and go back to the queue. kill needs the "
        "administrator's token."
    ),
    examples=(
        "jobspan pilots list",
        "jobspan pilots list --job 12",
        "jobspan pilots logs --job 12",
        "jobspan pilots kill 0a1b2c3d",
    ),
    configure=_configure,
    run=_run,
)
