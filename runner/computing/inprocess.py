"""The in-process computing element: wrappers are processes of this machine, children of the agent."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.computing.spawners import Spawner
from runner.process.linux import become_subreaper
from telemetry.clock import Clock, SystemClock
from telemetry.measure.procfs import children

BATCH_SYSTEM = "InProcess"


@dataclass(frozen=True)
class Submission:
    """A wrapper that was taken: the name of its task, its process, and the slots that it fills."""

    task: str
    pid: int
    processors: int = 1


@dataclass(frozen=True, kw_only=True)
class WrapperEnd:
    """How a wrapper ended, as wait4 told it; the CPU is that of the wrapper and its waited-for children."""

    task: str
    pid: int
    exit_code: int | None
    signal: int | None
    end_boottime_ns: int
    user_cpu_seconds: float
    system_cpu_seconds: float


class InProcessComputingElement:
    """Slots of one processor each; a wrapper fills as many as its job needs.

    Safe from several threads; `wait` belongs to one.
    """

    def __init__(self, spawner: Spawner, *, slots: int, clock: Clock | None = None) -> None:
        """This process becomes the parent of all its orphaned descendants."""
        become_subreaper()
        self._spawner = spawner
        self._slots = slots
        self._clock = clock or SystemClock()
        self._mutex = threading.Lock()
        self._spawning = threading.Lock()
        self._running: dict[int, Submission] = {}  # by pidfd
        self._submitted = 0
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def free_slots(self) -> int:
        """How many processors are free now."""
        with self._mutex:
            return self._slots - sum(each.processors for each in self._running.values())

    @property
    def running(self) -> tuple[Submission, ...]:
        """The wrappers that have not been reaped."""
        with self._mutex:
            return tuple(self._running.values())

    def submit_job(self, script: Path, log: Path, processors: int = 1) -> Submission:
        """Run the wrapper *script*, which fills *processors* slots; the acceptance.

        Raises:
            UnavailableError: no process can be made now.
        """
        with self._spawning:  # until it is noted, a new child must not be taken for a stray
            pid = self._spawner.spawn(script, log)
            with self._mutex:
                self._submitted += 1
                submission = Submission(f"{BATCH_SYSTEM}-{os.getpid()}-{self._submitted}", pid, processors)
                # Nobody but us reaps it, so the pid is still its own.
                self._running[os.pidfd_open(pid)] = submission
        self.wake()
        return submission

    def wait(self, timeout_seconds: float, *extra: int) -> list[WrapperEnd]:
        """Reap wrappers that have ended; wait for one, a `wake`, or something to read from *extra* descriptors."""
        poll = select.poll()
        with self._mutex:
            known = tuple(self._running)
        for fd in (*known, self._wake_reader, *extra):
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(timeout_seconds * 1000)}
        if self._wake_reader in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)
        return [self._reap(fd) for fd in known if fd in ready]

    def wake(self) -> None:
        """End a `wait` at once."""
        with self._mutex, contextlib.suppress(OSError):  # full of wakes already, or closed
            os.write(self._wake_writer, b"w")

    def signal(self, number: signal.Signals, submissions: Iterable[Submission] | None = None) -> None:
        """Send *number* to all wrappers, or to *submissions*. The wrapper ends its payload, not we."""
        chosen = None if submissions is None else set(submissions)
        with self._mutex:
            for fd, submission in self._running.items():
                if chosen is None or submission in chosen:
                    with contextlib.suppress(ProcessLookupError):  # a zombie that we have not reaped yet
                        signal.pidfd_send_signal(fd, number)

    def reap_strays(self) -> int:
        """Reap, by pid, orphans that came to us and have ended; how many still live."""
        if not self._spawning.acquire(blocking=False):
            return 0
        try:
            alive = 0
            for pid in self._found():
                with contextlib.suppress(ChildProcessError):
                    alive += os.waitpid(pid, os.WNOHANG) == (0, 0)
            return alive
        finally:
            self._spawning.release()

    def strays(self) -> frozenset[int]:
        """Orphans that came to us, zombies included: what a wrapper and its starter have left when both died."""
        with self._spawning:
            return self._found()

    def close(self) -> None:
        """Accept no more; the wrappers that run are left to themselves."""
        self._spawner.close()
        with self._mutex:
            for fd in (*self._running, self._wake_reader, self._wake_writer):
                os.close(fd)
            self._running.clear()
            self._wake_reader = self._wake_writer = -1

    def _found(self) -> frozenset[int]:
        """Children of ours that are neither wrappers nor the spawner's. They are listed before the spawner is asked: it
        announces its own before they become our children."""
        found = frozenset(children(os.getpid()))
        return found - {submission.pid for submission in self.running} - self._spawner.pids()

    def _reap(self, pidfd: int) -> WrapperEnd:
        submission = self._running[pidfd]
        _, status, usage = os.wait4(submission.pid, 0)
        end = self._clock.boottime_ns()
        with self._mutex:
            del self._running[pidfd]
        os.close(pidfd)
        return WrapperEnd(
            task=submission.task,
            pid=submission.pid,
            exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            end_boottime_ns=end,
            user_cpu_seconds=usage.ru_utime,
            system_cpu_seconds=usage.ru_stime,
        )
