"""The process that will be the payload, from its fork to the word what to execute."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Self

from runner.process import linux
from runner.process.command import PayloadCommand
from runner.process.launch import ALL_SIGNALS, Parent, Step, launch, make_killable, tell
from telemetry.measure.meter import Group

#: Beyond any descriptor; the kernel closes a range at once.
_LAST_FD = (1 << 31) - 1


@dataclass
class _Word:
    """What to execute, from the starter to its child: a file in memory, so that nobody waits however long it is, and a
    pipe whose end says that it is there, or that there will be none."""

    content_fd: int
    wait_fd: int
    tell_fd: int

    @classmethod
    def make(cls) -> Self:
        """For a child that is not forked yet."""
        content_fd = os.memfd_create("jobspan-word")
        try:
            return cls(content_fd, *os.pipe())
        except OSError:
            os.close(content_fd)
            raise

    def will_be_given(self) -> None:
        """In the starter: the other end is the child's alone."""
        os.close(self.wait_fd)
        self.wait_fd = -1

    def give(self, command: PayloadCommand) -> None:
        """In the starter: say it, once."""
        with contextlib.suppress(OSError), os.fdopen(self.content_fd, "wb", closefd=False) as file:
            file.write(json.dumps(command.to_json()).encode())
        self.close()

    def await_it(self) -> PayloadCommand | None:
        """In the child: wait for it; None when there will be none."""
        os.read(self.wait_fd, 1)
        content = os.pread(self.content_fd, os.fstat(self.content_fd).st_size, 0)
        return PayloadCommand.from_json(json.loads(content)) if content else None

    def close(self) -> None:
        """Let go of it; whoever waits is told."""
        for fd in (self.content_fd, self.wait_fd, self.tell_fd):
            if fd >= 0:
                os.close(fd)


class Candidate:
    """A process that was forked to become the payload, and waits for the word what to execute.

    It is forked ahead, while the job gets ready: the fork of an interpreter and the first touch of its pages take
    longer than all else that a start needs. It is in its session and its groups already. Should the starter die, it
    ends.
    """

    def __init__(self, pid: int, word: _Word, error_fd: int, oom_score: bytes) -> None:
        """Use `fork`."""
        self.pid = pid
        #: The pipe that exec closes, and into which a failure is told.
        self.error_fd = error_fd
        self.oom_score = oom_score
        self._word = word

    @classmethod
    def fork(cls, group: Group | None, note_ourselves: Callable[[], None]) -> Self:
        """Make one that enters *group*; only in a process of one thread. The child calls *note_ourselves* first.

        Raises:
            OSError: too many processes, or no memory for one more.
        """
        parent = Parent.current()
        word = _Word.make()
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        # A signal before its first line would run a handler of ours in the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
        try:
            pid, enter = _fork(group)
            if pid == 0:
                _wait(word, write_fd, note_ourselves, enter, parent)
        except OSError:
            os.close(read_fd)
            word.close()
            raise
        finally:
            os.close(write_fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        word.will_be_given()
        return cls(pid, word, read_fd, parent.oom_score)

    def was_killed(self) -> bool:
        """Whether somebody has ended it while it waited."""
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return info is not None and info.si_code in (os.CLD_KILLED, os.CLD_DUMPED)

    def execute(self, command: PayloadCommand) -> None:
        """Give the word. If it has died, the end of the pipe tells."""
        self._word.give(command)

    def dismiss(self) -> None:
        """There is nothing to execute: see it end."""
        os.kill(self.pid, signal.SIGKILL)  # our child, which we have not reaped; one that is stopped ends, too
        os.waitpid(self.pid, 0)
        self._word.close()
        os.close(self.error_fd)


def _fork(group: Group | None) -> tuple[int, Callable[[], None]]:
    """Fork, into *group* if the kernel can; the pid, and how the child enters what it is not in yet."""
    if group is None:
        return os.fork(), lambda: None
    if group.birth_path is None:
        return os.fork(), group.enter
    group_fd = os.open(group.birth_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.fork_into(group_fd), group.enter_others
    except OSError:
        return os.fork(), group.enter
    finally:
        os.close(group_fd)


def _wait(
    word: _Word, error_fd: int, note_ourselves: Callable[[], None], enter: Callable[[], None], parent: Parent
) -> NoReturn:
    """The life of the child: into its session and groups, wait for the word, become the payload."""
    step: Step = "session"
    try:
        note_ourselves()
        _let_go(word.content_fd, word.wait_fd, error_fd)
        make_killable(os.getpid(), parent.oom_score)
        os.setsid()
        _listen_to_nobody()
        step = "group"
        enter()
        step = "session"
        command = word.await_it()
        if command is not None:
            launch(command, error_fd, parent)
    except OSError as error:
        tell(error_fd, step, error.errno)
    finally:
        os._exit(127)


def _let_go(*kept: int) -> None:
    """Close all but *kept* of what exec would close: as long as we held the starter's line, its death would not be
    noticed; nor would ours."""
    first = 3
    for fd in (*sorted(kept), _LAST_FD):
        os.closerange(first, fd)
        first = fd + 1


def _listen_to_nobody() -> None:
    """While we wait we hear what the starter hears: nothing that was meant for the wrapper, or for all of the job."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
