"""`jobspan sites`: which sites get jobs."""

import argparse

from runner.commands.context import Command, Context
from runner.commands.terminal import one_line
from runner.errors import ConfigError

HEADS = {
    "list": ("Site", "Status", "LastUpdateTime", "Author", "Comment"),
    "history": ("ChangeTime", "Site", "Status", "Author", "Comment"),
}


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "history", "ban", "allow"), help="see below")
    parser.add_argument("sites", metavar="SITE", nargs="*", help="names of sites, for ban and allow, and history")
    parser.add_argument("--comment", default="", help="ban, allow: why")


def _run(context: Context) -> int:
    action = context.arguments.action
    return _show(context, action) if action in HEADS else _set(context, banned=action == "ban")


def _show(context: Context, action: str) -> int:
    from runner.compose.kinds import open_client

    client, names = open_client(context.config), context.arguments.sites
    rows = client.sites() if action == "list" else client.site_history()
    rows = [each for each in rows if not names or each["Site"] in names]
    if rows:
        heads = HEADS[action]
        cells = [tuple(one_line(each.get(name)) for name in heads) for each in rows]
        context.terminal.show_table(heads, cells, flexible=4)
    else:
        context.terminal.line("nothing was said of any site: all get jobs")
    context.terminal.json([dict(each) for each in rows])
    return 0


def _set(context: Context, *, banned: bool) -> int:
    from runner.compose.kinds import open_client

    names = context.arguments.sites
    if not names:
        raise ConfigError(f"which site? `jobspan sites {'ban' if banned else 'allow'} SITE`")
    client = open_client(context.config, "admin")
    for name in names:
        client.set_site(name, banned=banned, comment=context.arguments.comment)
        context.terminal.line(f"{one_line(name)}  {'gets no more jobs' if banned else 'gets jobs'}")
    context.terminal.json([{"Site": name, "Status": "Banned" if banned else "Active"} for name in names])
    return 0


COMMAND = Command(
    description=(
        "The site mask. A banned site gets no more jobs until it is allowed again; jobs that run there go on, and jobs "
        "that ask for it wait. ban and allow need the administrator's token; list shows the sites of which somebody "
        "has spoken (all others get jobs), history who said what and when."
    ),
    examples=(
        "jobspan sites ban LCG.Example.org --comment 'storage is down'",
        "jobspan sites allow LCG.Example.org",
        "jobspan sites list",
        "jobspan sites history LCG.Example.org",
    ),
    configure=_configure,
    run=_run,
)
