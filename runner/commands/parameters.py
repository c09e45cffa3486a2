"""`jobspan parameters`: what was reported about a job."""

from runner.commands.context import Command, Context, one_job


def _run(context: Context) -> int:
    from runner.commands.jobs import find
    from runner.compose.kinds import open_client

    client = open_client(context.config)
    find(client, [context.arguments.id])
    parameters = client.parameters(context.arguments.id)
    if not parameters:
        context.terminal.line(f"job {context.arguments.id} has no parameters yet")
    else:
        context.terminal.show_table(("PARAMETER", "VALUE"), sorted(parameters.items()))
    context.terminal.json(dict(parameters))
    return 0


COMMAND = Command(
    description=(
        "Show the parameters of a job, under DIRAC's names: host, processor, memory, CPU and wall time, payload."
    ),
    examples=("jobspan parameters 12", "jobspan parameters 12 --json | jq '.HostName'"),
    configure=one_job,
    run=_run,
)
