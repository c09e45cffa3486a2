"""`jobspan wms`: the embedded WMS in the foreground; its users and keys."""

import argparse
from dataclasses import replace

from runner.commands.announcing import announcer
from runner.commands.context import Command, Context, end_with_parent, may_end_with_parent
from runner.errors import ConfigError

ACTIONS = ("user", "login-code", "rotate-keys", "audit")


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", metavar="ACTION", nargs="?", choices=ACTIONS, help=f"{', '.join(ACTIONS)}; none: serve")
    add("words", metavar="WORD", nargs="*", help="user: add, list, groups, password, remove, logout; and a name")
    serving = parser.add_argument_group("to serve")
    serving.add_argument("--tls-cert", metavar="FILE", help="certificate (chain), PEM; serve with TLS")
    serving.add_argument("--tls-key", metavar="FILE", help="its private key, PEM; none: in the same file")
    serving.add_argument("--plain-http", action="store_true", help="serve a network without TLS all the same")
    may_end_with_parent(serving)
    users = parser.add_argument_group("for users and keys")
    users.add_argument("--group", metavar="NAME", action="append", help="user add, groups: a group that the user is in")
    users.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    users.add_argument("--no-password", action="store_true", help="this user logs in with one-time codes only")
    users.add_argument("--now", action="store_true", help="rotate-keys: no earlier token counts any more")
    users.add_argument("--limit", type=int, metavar="N", default=100, help="audit: so many entries (100)")


def _run(context: Context) -> int:
    from runner.commands import registry

    arguments = context.arguments
    if arguments.action is not None:
        actions = {
            "user": registry.user,
            "login-code": registry.login_code,
            "rotate-keys": registry.rotate_keys,
            "audit": registry.audit,
        }
        return actions[arguments.action](context)
    if arguments.words:
        raise ConfigError(f"{arguments.words[0]} is nothing that `jobspan wms` does")
    return _serve(context)


def _serve(context: Context) -> int:
    from runner.compose.wms import run_wms

    end_with_parent(context)
    arguments, wms = context.arguments, context.config.wms
    if arguments.tls_cert:
        wms = replace(wms, tls_cert=arguments.tls_cert, tls_key="")
    if arguments.tls_key:
        wms = replace(wms, tls_key=arguments.tls_key)
    wms = replace(wms, plain_http=wms.plain_http or arguments.plain_http)
    return run_wms(replace(context.config, wms=wms), announcer(context.terminal))


COMMAND = Command(
    description=(
        "Serve the embedded WMS (SQLite in the folder, loopback) until SIGINT or SIGTERM. Its address is "
        "written to wms.url in the folder, its tokens to tokens/. The first line on stdout says that it "
        "answers. With an ACTION: who may log in, and which key signs; the server need not be stopped for that."
    ),
    examples=(
        "jobspan wms",
        "jobspan --folder /data/site wms &",
        "jobspan wms --tls-cert wms.pem --tls-key wms.key",
        "jobspan wms user add alice --group local_user",
        "jobspan wms login-code alice",
        "jobspan wms rotate-keys",
    ),
    configure=_configure,
    run=_run,
)
