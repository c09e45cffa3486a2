"""`jobspan log`: the logging info of a job."""

from runner.commands.context import Command, Context, one_job


def _run(context: Context) -> int:
    from runner.commands.jobs import find
    from runner.compose.kinds import open_client

    client = open_client(context.config)
    find(client, [context.arguments.id])
    condition = {"parameter": "JobID", "operator": "eq", "value": context.arguments.id}
    (found,) = client.search(("JobID", "LoggingInfo"), [condition])
    entries = found.get("LoggingInfo") or []
    names = ("StatusTime", "Status", "MinorStatus", "ApplicationStatus", "Source")
    rows = [[_moment(entry) if name == "StatusTime" else entry.get(name) for name in names] for entry in entries]
    context.terminal.show_table(("TIME (UTC)", "STATUS", "MINOR STATUS", "APPLICATION", "SOURCE"), rows, flexible=3)
    context.terminal.json(entries)
    return 0


def _moment(entry: dict[str, object]) -> str:
    return str(entry.get("StatusTime") or "").replace("T", " ").removesuffix("Z").removesuffix("+00:00")[:23]


COMMAND = Command(
    description=("Show the logging info of a job: every status it had, when, and who said so."),
    examples=("jobspan log 12", "jobspan log 12 --json"),
    configure=one_job,
    run=_run,
)
