"""`jobspan login`: a login at a WMS, by a browser anywhere."""

import argparse
import sys
from pathlib import Path

from runner.commands.context import Command, Context


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", nargs="?", help="address of the WMS; none: the one that is configured")
    parser.add_argument("--vo", metavar="VO", default="", help="virtual organisation; needed where there are several")
    parser.add_argument("--group", metavar="GROUP", default="", help="group in which to act; none: the VO's default")
    parser.add_argument(
        "--save", metavar="FILE", type=Path, help="keep the login there, for TokenFile or PilotTokenFile"
    )


def _run(context: Context) -> int:
    from runner.compose.clients import credentials_path, login_client, wms_url
    from runner.wms.credentials import Credentials, write_credentials
    from runner.wms.login import only_organisation
    from runner.wms.transport import checked_url
    from telemetry.clock import SystemClock

    arguments = context.arguments
    url = checked_url(arguments.url or wms_url(context.config))
    client = login_client(context.config, url)
    vo = only_organisation(client.organisations(), arguments.vo)
    flow = client.begin(vo, arguments.group)
    # On stderr, because whoever reads a value from stdout must still see where to go.
    print(f"open {flow.verification_uri_complete}", file=sys.stderr)
    print(f"and go on only if it shows the code {flow.user_code}", file=sys.stderr, flush=True)
    path = arguments.save or credentials_path(context.config)
    write_credentials(path, Credentials.of(client.wait(flow), url, SystemClock()))
    context.terminal.line(f"logged in at {url}; the login is kept in {path}")
    context.terminal.json({"url": url, "vo": vo, "file": str(path)})
    return 0


COMMAND = Command(
    description=(
        "Log in to a WMS (this one or a DiracX). A page is shown that is to be opened in a browser, on any "
        "machine: there you prove who you are. The login is kept in the folder, readable by you alone, and "
        "renewed by itself until it has not been used for a week."
    ),
    examples=(
        "jobspan login https://wms.example.org:8443",
        "jobspan login --group local_admin",
        "jobspan login --group local_pilot --save pilot.json",
    ),
    configure=_configure,
    run=_run,
)
