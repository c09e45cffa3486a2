"""`jobspan wms`: the embedded WMS in the foreground; its users and keys."""

import argparse
from dataclasses import replace

from runner.commands.announcing import announcer
from runner.commands.context import Command, Context, end_with_parent, has_log_format, may_end_with_parent
from runner.commands.overrides import with_options
from runner.errors import ConfigError

ACTIONS = ("migrate", "user", "login-code", "rotate-keys", "revoke-token", "audit")


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", metavar="ACTION", nargs="?", choices=ACTIONS, help=f"{', '.join(ACTIONS)}; none: serve")
    add("words", metavar="WORD", nargs="*", help="user: add, list, groups, password, remove, logout; and a name")
    serving = parser.add_argument_group("to serve")
    serving.add_argument("--tls-cert", metavar="FILE", help="certificate (chain), PEM; serve with TLS")
    serving.add_argument("--tls-key", metavar="FILE", help="its private key, PEM; none: in the same file")
    serving.add_argument(
        "--database",
        metavar="URL",
        help="mariadb://user@host/name, mysql:// or postgresql:// instead of [WMS] Database; a password is better kept "
        "in the file [WMS] DatabasePasswordFile, since command lines can be seen by others",
    )
    serving.add_argument("--plain-http", action="store_true", help="serve a network without TLS all the same")
    has_log_format(serving)
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
    if arguments.database is not None:
        context = replace(context, config=with_options(context.config, {"WMS": {"Database": arguments.database}}))
    if arguments.action is not None:
        actions = {
            "migrate": _migrate,
            "user": registry.user,
            "login-code": registry.login_code,
            "rotate-keys": registry.rotate_keys,
            "revoke-token": registry.revoke_token,
            "audit": registry.audit,
        }
        return actions[arguments.action](context)
    if arguments.words:
        raise ConfigError(f"{arguments.words[0]} is nothing that `jobspan wms` does")
    return _serve(context)


def _migrate(context: Context) -> int:
    from runner.compose.wms import migrate_wms

    return migrate_wms(context.config, announcer(context.terminal))


def _serve(context: Context) -> int:
    from runner.compose.wms import run_wms

    end_with_parent(context)
    arguments, wms = context.arguments, context.config.wms
    if arguments.tls_cert:
        wms = replace(wms, tls_cert=arguments.tls_cert, tls_key="")
    if arguments.tls_key:
        wms = replace(wms, tls_key=arguments.tls_key)
    wms = replace(wms, plain_http=wms.plain_http or arguments.plain_http)
    config = replace(context.config, wms=wms)
    return run_wms(config, announcer(context.terminal), log_format=arguments.log_format, verbose=arguments.verbose)


COMMAND = Command(
    description=(
        "Serve the embedded WMS (SQLite in the folder or another database) until SIGINT or SIGTERM. Its address is "
        "written to wms.url in the folder, that of its metrics to wms-metrics.url, its tokens to tokens/. The "
        "first line on stdout says that it answers. /healthz says that it lives, /readyz whether it can work. "
        "Told to stop, it answers long polls at once and lets other calls end (ShutdownTime). With an ACTION: "
        "who may log in, and which key signs; only `migrate` needs the server to be stopped."
    ),
    examples=(
        "jobspan wms",
        "jobspan --folder /data/site wms &",
        "jobspan wms --database mariadb://jobspan@db.example.org/jobspan",
        "jobspan wms migrate",
        "jobspan wms --tls-cert wms.pem --tls-key wms.key",
        "jobspan wms user add alice --group local_user",
        "jobspan wms login-code alice",
        "jobspan wms rotate-keys",
        "jobspan wms --log-format json",
    ),
    configure=_configure,
    run=_run,
)
