"""`jobspan wms`: the embedded WMS in the foreground."""

from runner.commands.announcing import announcer
from runner.commands.context import Command, Context, end_with_parent, may_end_with_parent


def _run(context: Context) -> int:
    from runner.compose.wms import run_wms

    end_with_parent(context)
    return run_wms(context.config, announcer(context.terminal))


COMMAND = Command(
    description=(
        "Serve the embedded WMS (SQLite in the folder, loopback) until SIGINT or SIGTERM. Its address is "
        "written to wms.url in the folder, its tokens to tokens/. The first line on stdout says that it "
        "answers."
    ),
    examples=("jobspan wms", "jobspan --folder /data/site wms &"),
    configure=may_end_with_parent,
    run=_run,
)
