"""`jobspan wms`: the embedded WMS in the foreground."""

import argparse

from runner.commands.announcing import announcer
from runner.commands.context import Command, Context, end_with_parent, may_end_with_parent


def _configure(parser: argparse.ArgumentParser) -> None:
    may_end_with_parent(parser)
    parser.add_argument(
        "--database",
        metavar="URL",
        help="mariadb://user@host/name, mysql:// or postgresql:// instead of [WMS] Database; a password is better kept "
        "in the file [WMS] DatabasePasswordFile, since command lines can be seen by others",
    )
    parser.add_argument(
        "--migrate", action="store_true", help="bring the database of an earlier version to this one's, and end"
    )


def _run(context: Context) -> int:
    from runner.commands.overrides import with_options
    from runner.compose.wms import migrate_wms, run_wms

    end_with_parent(context)
    config, database = context.config, context.arguments.database
    if database is not None:
        config = with_options(config, {"WMS": {"Database": database}})
    if context.arguments.migrate:
        return migrate_wms(config, announcer(context.terminal))
    return run_wms(config, announcer(context.terminal))


COMMAND = Command(
    description=(
        "Serve the embedded WMS (SQLite in the folder or another database) until SIGINT or SIGTERM. Its address is "
        "written to wms.url in the folder, its tokens to tokens/. The first line on stdout says that it "
        "answers."
    ),
    examples=(
        "jobspan wms",
        "jobspan --folder /data/site wms &",
        "jobspan wms --database mariadb://jobspan@db.example.org/jobspan",
        "jobspan wms --migrate",
    ),
    configure=_configure,
    run=_run,
)
