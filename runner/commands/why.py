"""`jobspan why`: why a job does not run."""

from runner.commands.context import Command, Context, one_job
from runner.commands.terminal import one_line


def _run(context: Context) -> int:
    from runner.compose.kinds import open_client

    answer = open_client(context.config).why(context.arguments.id)
    terminal = context.terminal
    terminal.line(f"job {context.arguments.id} {one_line(answer.get('Summary'))}")
    agents = list(answer.get("Agents", ()))
    rows = [
        (one_line(each["PilotStamp"]), one_line(each["Site"]), one_line("; ".join(each["Reasons"])) or "could run it")
        for each in agents
    ]
    if rows:
        terminal.show_table(("AGENT", "SITE", "WHAT STANDS AGAINST IT"), rows, flexible=2)
    terminal.json(dict(answer))
    return 1 if agents and all(each["Reasons"] for each in agents) else 0


COMMAND = Command(
    description=(
        "Say why a job does not run: what it waits for, or which of its demands no agent meets that has asked for "
        "jobs lately, agent by agent. Exit code 1 when none of the agents could run it."
    ),
    examples=("jobspan why 12", "jobspan why 12 --json | jq -r .Summary"),
    configure=one_job,
    run=_run,
)
