"""What the operator of an embedded WMS does with its users, keys and audit log: `jobspan wms ACTION ...`."""

import getpass
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runner.commands.context import Context
from runner.commands.terminal import one_line
from runner.errors import ConfigError

USER_ACTIONS = ("add", "list", "groups", "password", "remove", "logout")


def user(context: Context) -> int:
    """`wms user add|list|groups|password|remove|logout NAME`."""
    from runner.compose.registry import open_registry

    words = context.arguments.words
    action, names = (words[0] if words else ""), words[1:]
    if action not in USER_ACTIONS or len(names) != (action != "list"):
        raise ConfigError(f"`jobspan wms user {'|'.join(USER_ACTIONS)} NAME` (list: without a name)")
    if action == "list":
        return _list(context)
    name, groups = names[0], context.arguments.group or []
    if action in ("add", "groups") and not groups:
        raise ConfigError("in which group? --group NAME, once or more; [WMS] Groups has them")
    password = _password(context, name) if action in ("add", "password") else None
    with open_registry(context.config) as registry:
        done: Mapping[str, Callable[[], object]] = {
            "add": lambda: registry.add(name, groups, password),
            "groups": lambda: registry.set_groups(name, groups),
            "password": lambda: registry.set_password(name, password),
            "remove": lambda: registry.remove(name),
            "logout": lambda: registry.end_sessions(name),
        }
        done[action]()
    said = {
        "add": f"{name} can log in" + ("" if password else f" with a code of `jobspan wms login-code {name}`"),
        "groups": f"{name} is in {', '.join(groups)}",
        "password": f"{name} has another password; all logins have ended",
        "remove": f"{name} is no user any more; all logins have ended",
        "logout": f"all logins of {name} have ended",
    }
    return _say(context, said[action], {"UserName": name})


def login_code(context: Context) -> int:
    """`wms login-code NAME`."""
    from runner.compose.registry import open_registry

    if len(context.arguments.words) != 1:
        raise ConfigError("for whom? `jobspan wms login-code NAME`")
    name = context.arguments.words[0]
    with open_registry(context.config) as registry:
        code = registry.login_code(name)
    return _say(context, f"{code}  lets {name} log in once, within 15 minutes", {"UserName": name, "Code": code})


def rotate_keys(context: Context) -> int:
    """`wms rotate-keys [--now]`."""
    from runner.compose.registry import rotate_keys as rotate

    kid = rotate(context.config, now=context.arguments.now)
    rest = "no earlier token counts any more" if context.arguments.now else "earlier tokens count until they end"
    return _say(context, f"key {kid} signs from now on; {rest}", {"kid": kid})


def revoke_token(context: Context) -> int:
    """`wms revoke-token FILE|ID`."""
    from runner.compose.registry import open_registry

    words = context.arguments.words
    if len(words) != 1:
        raise ConfigError("which one? `jobspan wms revoke-token FILE`, with a token in it, or the id (jti) of one")
    path = Path(words[0])
    with open_registry(context.config) as registry:
        jti = registry.revoke_token(path.read_text().strip() if path.is_file() else words[0])
    return _say(context, f"token {jti} counts no more; a server that runs knows it within a second", {"jti": jti})


def audit(context: Context) -> int:
    """`wms audit [--limit N]`."""
    from runner.compose.registry import open_registry
    from telemetry.clock import utc_text

    with open_registry(context.config) as registry:
        entries = registry.audit(max(1, context.arguments.limit))
    rows = [{**entry, "EntryTime": utc_text(entry["EntryTime"])} for entry in reversed(entries)]
    heads = ("EntryTime", "Event", "UserName", "Address", "Detail")
    context.terminal.show_table(heads, [[one_line(row[each]) for each in heads] for row in rows], flexible=4)
    context.terminal.json(rows)
    return 0


def _list(context: Context) -> int:
    from runner.compose.registry import open_registry

    with open_registry(context.config) as registry:
        users = registry.users()
    rows = [(each["UserName"], ", ".join(each["Groups"]), "yes" if each["Password"] else "no") for each in users]
    context.terminal.show_table(("USER", "GROUPS", "PASSWORD"), rows, flexible=1)
    context.terminal.json(users)
    return 0


def _password(context: Context, name: str) -> str | None:
    """From standard input, or asked for twice."""
    if context.arguments.no_password:
        return None
    if context.arguments.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise ConfigError("no terminal to ask for a password: give --password-stdin or --no-password")
    first = getpass.getpass(f"password of {name}: ")
    if first != getpass.getpass("again: "):
        raise ConfigError("the two are not the same")
    return first


def _say(context: Context, text: str, value: dict[str, object]) -> int:
    context.terminal.line(text)
    context.terminal.json(value)
    return 0
