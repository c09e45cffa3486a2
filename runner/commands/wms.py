"""`jobspan wms`: the embedded WMS in the foreground."""

import argparse

from runner.commands.announcing import announcer
from runner.commands.context import Command, Context, end_with_parent, has_log_format, may_end_with_parent


def _configure(parser: argparse.ArgumentParser) -> None:
    has_log_format(parser)
    may_end_with_parent(parser)


def _run(context: Context) -> int:
    from runner.compose.wms import run_wms

    end_with_parent(context)
    arguments = context.arguments
    return run_wms(
        context.config, announcer(context.terminal), log_format=arguments.log_format, verbose=arguments.verbose
    )


COMMAND = Command(
    description=(
        "Serve the embedded WMS (SQLite in the folder, loopback) until SIGINT or SIGTERM. Its address is "
        "written to wms.url in the folder, that of its metrics to wms-metrics.url, its tokens to tokens/. The "
        "first line on stdout says that it answers. /healthz says that it lives, /readyz whether it can work. "
        "Told to stop, it answers long polls at once and lets other calls end (ShutdownTime)."
    ),
    examples=("jobspan wms", "jobspan --folder /data/site wms &", "jobspan wms --log-format json"),
    configure=_configure,
    run=_run,
)
