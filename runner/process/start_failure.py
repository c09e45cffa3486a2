"""Why a payload could not be started, in words that its owner can act on."""

import errno
import os
import platform
import re
import stat
import struct
from pathlib import Path

from runner.process.command import PayloadCommand

#: Linux takes no single argument longer than this (MAX_ARG_STRLEN).
_LONGEST_ARGUMENT_BYTES = 131072
#: So often Linux goes on from a script to its interpreter.
_MOST_INTERPRETERS = 5
#: The interpreter in the first line of a script, as Linux reads it.
_FIRST_LINE = re.compile(rb"#![ \t]*([^ \t\n\0]+)")
#: e_machine of an ELF file to what `uname -m` calls it.
_MACHINES = {3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64",
             243: "riscv64", 258: "loongarch64"}  # fmt: skip


def explain(step: str, number: int, command: PayloadCommand) -> str:
    """The cause of errno *number* in *step* of the start of *command*, with what can be found out about it."""
    try:
        return _explain(step, number, command)
    except OSError:  # whoever may not look at what was to be started has the errno alone
        return f"{command.argv[0]} could not be started: {_words(number)}"


def _explain(step: str, number: int, command: PayloadCommand) -> str:
    name = command.argv[0]
    if not command.folder.is_dir():
        return f"the working directory {command.folder} does not exist"
    if step == "folder":
        return f"the working directory {command.folder} cannot be entered: {os.strerror(number)}"
    if step == "output":
        return f"the output files {command.stdout} and {command.stderr} cannot be opened: {os.strerror(number)}"
    if step == "user":
        user = command.user.name if command.user else ""
        return f"the payload cannot run as user {user!r}: {os.strerror(number)}; only root may change the user"
    if step == "group":
        return f"the payload cannot enter its control group: {os.strerror(number)}; use CPUMethod wait4"
    if step == "fork":
        return f"{name} could not be started: no process can be made here now ({os.strerror(number)})"
    if step != "exec":
        return f"{name} could not be started: ended before its start ({_words(number)})"
    return _explain_exec(number, command)


def _words(number: int) -> str:
    return os.strerror(number) if number else "killed"


def _explain_exec(number: int, command: PayloadCommand) -> str:
    name = command.argv[0]
    path = _existing(command)
    if path is not None and number in (errno.ENOENT, errno.ENOTDIR, errno.ENOEXEC):
        return f"{name} cannot be executed: {_unusable(number, path, command.folder)}"
    if number in (errno.ENOENT, errno.ENOTDIR):
        where = "" if "/" in name else f" in PATH ({command.environment.get('PATH', 'not set')})"
        return f"{name} was not found{where}"
    if number == errno.EACCES:
        return f"{name} cannot be executed: {_forbidden(path)}"
    if number == errno.ETXTBSY:
        return f"{name} cannot be executed: a process still has {path} open for writing"
    if number == errno.E2BIG:
        return f"{name} cannot be executed: {_too_long(command)}"
    if number == errno.EINVAL:
        return f"{name} cannot be executed: its arguments or environment contain a NUL or an impossible name"
    return f"{name} cannot be executed: {os.strerror(number)}"


def _existing(command: PayloadCommand) -> Path | None:
    for candidate in command.candidates():
        path = command.folder / candidate
        if os.path.lexists(path):
            return path
    return None


def _unusable(number: int, path: Path, folder: Path, levels: int = _MOST_INTERPRETERS) -> str:
    """Why the kernel can do nothing with *path*: of a script whose interpreter is there, why not with that one."""
    if not path.exists():
        return f"{path} is a link to nothing"
    if not levels:  # a circle, closed only after the kernel had looked
        return os.strerror(number)
    try:
        head = _head(path)
    except OSError:
        return f"{os.strerror(number)}; {path} cannot be read to say more"
    first = _FIRST_LINE.match(head)
    name = first[1].decode(errors="replace") if first else ""
    if first and (interpreter := folder / os.fsdecode(first[1])).exists():
        return f"its interpreter {name}: {_unusable(number, interpreter, folder, levels - 1)}"
    if number == errno.ENOEXEC:
        return _unknown_format(head)
    if first:
        hint = "; the file has Windows line ends" if name.endswith("\r") else ""
        return f"its interpreter {name.strip()} does not exist{hint}"
    return "the loader that it was linked for does not exist on this machine"


def _forbidden(path: Path | None) -> str:
    if path is None or not os.access(path.parent, os.X_OK):
        return "a folder on its way may not be searched"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"{path} leads to {os.path.realpath(path)}: {error.strerror}"
    if stat.S_ISDIR(mode):
        return f"{path} is a folder"
    if not mode & 0o111:
        return f"{path} is not marked executable; chmod +x it"
    return "permission denied: by its mode, by its interpreter's, or because its file system is mounted noexec"


def _unknown_format(head: bytes) -> str:
    if head.startswith(b"\x7fELF") and len(head) >= 20:
        order = ">" if head[5] == 2 else "<"
        (machine,) = struct.unpack_from(f"{order}H", head, 18)
        made_for = _MACHINES.get(machine, f"machine type {machine}")
        return f"it was built for another architecture ({made_for}), this machine is {platform.machine()}"
    if not head:
        return "the file is empty"
    return "neither a program nor a script with a first line such as #!/bin/sh"


def _too_long(command: PayloadCommand) -> str:
    variables = [f"{name}={value}" for name, value in command.environment.items()]
    longest = max(len(os.fsencode(text)) for text in (*command.argv, *variables))
    if longest >= _LONGEST_ARGUMENT_BYTES:
        return f"an argument or variable of {longest} bytes is too long; {_LONGEST_ARGUMENT_BYTES - 1} are possible"
    total = sum(len(os.fsencode(text)) + 1 for text in (*command.argv, *variables))
    return f"its arguments and environment are too long together ({total} bytes); pass them in a file"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)
