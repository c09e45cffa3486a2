"""`jobspan kill`: order jobs to end."""

from runner.commands.context import Command, Context, some_jobs


def _run(context: Context) -> int:
    from runner.commands import jobs
    from runner.commands.killing import kill
    from runner.compose.kinds import open_client

    client = open_client(context.config)
    outcomes = [kill(client, row) for row in jobs.find(client, context.arguments.ids)]
    for outcome in outcomes:
        words = "kill ordered" if outcome.ordered else f"not killed: {outcome.reason}"
        context.terminal.line(f"job {outcome.job_id}  {words}")
    context.terminal.json(
        [{"job_id": each.job_id, "ordered": each.ordered, "reason": each.reason} for each in outcomes]
    )
    return 0 if all(each.ordered for each in outcomes) else 4


COMMAND = Command(
    description=(
        "Order jobs to end. The wrapper gets the order within two seconds, ends the payload (TERM, grace, "
        "KILL), uploads what there is and confirms; `jobspan status` shows both. Exit code 4 when a job "
        "cannot be killed any more."
    ),
    examples=("jobspan kill 12", "jobspan kill 12 13 14"),
    configure=some_jobs,
    run=_run,
)
