"""Why a payload could not be started, in words that its owner can act on."""

import errno
import os
import platform
import struct
from pathlib import Path

from runner.process.command import PayloadCommand

#: Linux takes no single argument longer than this (MAX_ARG_STRLEN).
_LONGEST_ARGUMENT_BYTES = 131072
#: e_machine of an ELF file to what `uname -m` calls it.
_MACHINES = {3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64",
             243: "riscv64", 258: "loongarch64"}  # fmt: skip


def explain(step: str, number: int, command: PayloadCommand) -> str:
    """The cause of errno *number* in *step* of the start of *command*, with what can be found out about it."""
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
        return f"{name} could not be started: ended before its start ({os.strerror(number) if number else 'killed'})"
    return _explain_exec(number, command)


def _explain_exec(number: int, command: PayloadCommand) -> str:
    name = command.argv[0]
    path = _existing(command)
    if number in (errno.ENOENT, errno.ENOTDIR):
        if path is not None:
            return f"{name} cannot be executed: {_missing_interpreter(path)}"
        where = "" if "/" in name else f" in PATH ({command.environment.get('PATH', 'not set')})"
        return f"{name} was not found{where}"
    if number == errno.EACCES:
        return f"{name} cannot be executed: {_forbidden(path)}"
    if number == errno.ENOEXEC:
        return f"{name} cannot be executed: {_unknown_format(path)}"
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


def _missing_interpreter(path: Path) -> str:
    if not path.exists():
        return f"{path} is a link to nothing"
    first = _head(path).split(b"\n", 1)[0]
    if first.startswith(b"#!"):
        interpreter = first[2:].strip(b" \t").split(b" ", 1)[0].decode(errors="replace")
        hint = "; the file has Windows line ends" if interpreter.endswith("\r") else ""
        return f"its interpreter {interpreter.strip()} does not exist{hint}"
    return "the loader that it was linked for does not exist on this machine"


def _forbidden(path: Path | None) -> str:
    if path is None or not os.access(path.parent, os.X_OK):
        return "a folder on its way may not be searched"
    if path.is_dir():
        return f"{path} is a folder"
    if not path.stat().st_mode & 0o111:
        return f"{path} is not marked executable; chmod +x it"
    return "permission denied: by its mode, by its interpreter's, or because its file system is mounted noexec"


def _unknown_format(path: Path | None) -> str:
    head = _head(path) if path else b""
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
    try:
        with path.open("rb") as file:
            return file.read(256)
    except OSError:
        return b""
