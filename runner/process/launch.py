"""The last moments before the exec, in the child: what a payload inherits, and what it does not.

It inherits its working directory, its environment, three streams and its user; nothing else of ours:
no signal disposition, no mask, and no descriptor (the starter has closed what it inherited itself, and
what it opens is closed by the exec). Whatever fails is told through a pipe that a successful exec closes.
"""

import contextlib
import errno
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, Self

from runner.process.command import PayloadCommand, PayloadUser
from runner.process.output import open_for_payload

Step = Literal["session", "group", "output", "user", "folder", "exec"]
#: So much rather than us does the kernel kill the payload when memory runs out (of 1000).
_OOM_SCORE_MORE = 500
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
ALL_SIGNALS = signal.valid_signals()
_RESETTABLE = tuple(number for number in ALL_SIGNALS if number not in (signal.SIGKILL, signal.SIGSTOP))


@dataclass(frozen=True)
class Parent:
    """What the child must know of the starter."""

    pid: int
    #: Signals that are not at their default; the others need no reset.
    changed_signals: tuple[int, ...]
    #: Of the payload: when memory runs out, the kernel ends it rather than those who report it.
    oom_score: bytes

    @classmethod
    def current(cls) -> Self:
        """Of the process that calls."""
        own = int(Path("/proc/self/oom_score_adj").read_text())
        return cls(
            os.getpid(),
            tuple(number for number in _RESETTABLE if signal.getsignal(number) != signal.SIG_DFL),
            b"%d" % min(1000, own + _OOM_SCORE_MORE),
        )


def launch(command: PayloadCommand, error_fd: int, parent: Parent) -> NoReturn:
    """Become the payload; only for a process that *parent* has forked, in its session and its groups."""
    step: Step = "session"
    try:
        _reset_signals(parent.changed_signals)
        os.umask(command.umask)
        step = "output"
        _connect_streams(command)
        step = "user"
        if command.user is not None:
            _become(command.user)
        step = "folder"
        os.chdir(command.folder)
        step = "exec"
        if os.getppid() != parent.pid:
            # Nobody would watch this payload. Whoever cleans up behind a dead starter finds its processes by a mark
            # that they have from their exec on, so that none may come after that.
            os._exit(127)
        _execute(command)
    except OSError as error:
        tell(error_fd, step, error.errno)
    except ValueError:  # a NUL in an argument, "=" in the name of a variable, a text that no encoding takes
        tell(error_fd, step, errno.EINVAL)
    finally:
        os._exit(127)


def tell(error_fd: int, step: Step, number: int | None) -> None:
    """Say to the starter which *step* has failed, and the error's *number*."""
    os.write(error_fd, f"{step}:{number or errno.EIO}".encode())


def make_killable(pid: int, oom_score: bytes) -> None:
    """Give a process that *oom_score*.

    A child that is not root may not do that to itself, as it still has the starter's secrets; the starter does it
    for such a child after its exec, a moment later.
    """
    with contextlib.suppress(OSError):  # see above; or it has ended already
        file = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, oom_score)
        finally:
            os.close(file)


def is_killable(pid: int, oom_score: bytes) -> bool:
    """Whether it has that score."""
    try:
        return Path(f"/proc/{pid}/oom_score_adj").read_bytes().strip() == oom_score
    except OSError:  # it has ended
        return True


def _reset_signals(changed: tuple[int, ...]) -> None:
    for number in changed:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _connect_streams(command: PayloadCommand) -> None:
    owner = None if command.user is None else (command.user.uid, command.user.gid)
    null = os.open(os.devnull, os.O_RDONLY)
    stdout = open_for_payload(command.folder, command.stdout, owner)
    # One file is opened once, so that both streams share it as `2>&1` does.
    stderr = stdout if command.stderr == command.stdout else open_for_payload(command.folder, command.stderr, owner)
    for number, fd in enumerate((null, stdout, stderr)):
        os.dup2(fd, number)


def _become(user: PayloadUser) -> None:
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def _execute(command: PayloadCommand) -> None:
    """Execute the first candidate that can be, passing over absent and forbidden ones as execvp does."""
    failure: OSError | None = None
    for path in command.candidates():
        try:
            os.execve(path, command.argv, command.environment)  # noqa: S606 - a shell only where the job asks for it
        except OSError as error:
            if error.errno not in (*_NOT_THERE, errno.EACCES):
                raise
            if failure is None or failure.errno in _NOT_THERE:
                failure = error
    if failure is not None:
        raise failure
