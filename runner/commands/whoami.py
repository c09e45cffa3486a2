"""`jobspan whoami`: as whom the WMS knows us."""

from runner.commands.context import Command, Context, no_arguments
from runner.commands.terminal import one_line

SHOWN = (("preferred_username", "user"), ("vo", "VO"), ("dirac_group", "group"), ("sub", "subject"))


def _run(context: Context) -> int:
    from runner.compose.kinds import open_client

    client = open_client(context.config)
    who = client.userinfo()
    for name, title in SHOWN:
        context.terminal.line(f"{title:11} {one_line(who.get(name))}")
    context.terminal.line(f"{'properties':11} {one_line(', '.join(map(str, who.get('properties') or [])))}")
    context.terminal.line(f"{'at':11} {client.url}")
    context.terminal.json({**who, "url": client.url})
    return 0


COMMAND = Command(
    description="Show as whom the WMS knows us: user, virtual organisation, group, and what that group may do.",
    examples=("jobspan whoami", "jobspan whoami --json | jq .properties"),
    configure=no_arguments,
    run=_run,
)
