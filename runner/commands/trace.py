"""`jobspan trace`: the spans of a job."""

from runner.commands.context import Command, Context, one_job


def _run(context: Context) -> int:
    from runner.compose.clients import open_client
    from runner.compose.reports import trace
    from runner.errors import NotFoundError
    from telemetry.live.traces import trace_values
    from telemetry.live.waterfall import waterfall

    number, terminal = context.arguments.id, context.terminal
    found = trace(context.config, number, open_client(context.config))
    if not found.attempts and not found.submit:
        raise NotFoundError(
            f"no spans of job {number} in {context.config.telemetry_folder}; they are written when an attempt has ended"
        )
    terminal.line(waterfall(found, width=terminal.width, colour=terminal.colour).rstrip("\n"))
    terminal.json(trace_values(found))
    return 0


COMMAND = Command(
    description=(
        "Draw submission, queue, match and all attempts of a job as a waterfall, from the spans in this folder."
    ),
    examples=("jobspan trace 12", "jobspan trace 12 --json"),
    configure=one_job,
    run=_run,
)
