"""`jobspan reconcile`: the WMS's accounting against the site's telemetry."""

from runner.commands.context import Command, Context, no_arguments


def _run(context: Context) -> int:
    from runner.compose.clients import Role, token_path
    from runner.compose.kinds import open_client
    from runner.compose.reports import reconcile
    from telemetry.ledger.report import exit_code, render_text, to_json

    # The records of all users are compared where we may see them.
    role: Role = "admin" if token_path(context.config, "admin").is_file() else "user"
    result = reconcile(context.config, open_client(context.config, role))
    context.terminal.line(render_text(result, colour=context.terminal.colour).rstrip("\n"))
    context.terminal.json(to_json(result))
    return 0 if exit_code(result) == 0 else 1


COMMAND = Command(
    description=(
        "Compare, attempt by attempt, the accounting records of the WMS with those in this site's telemetry, "
        "and both with what others saw: the WMS's clock, the last heartbeat, the status, the agent's "
        "counters. Exit code 1 when anything differs or could not be read."
    ),
    examples=("jobspan reconcile", "jobspan reconcile --json | jq '.differences'"),
    configure=no_arguments,
    run=_run,
)
